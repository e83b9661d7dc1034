"""One guard with miners in memory on a real channel, for tests."""

import asyncio
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import msgspec
import pytest

from controller.channel.client import connect
from controller.channel.guard import (
    LADDER_PART_ENTRIES,
    Beat,
    GuardImage,
    LadderPart,
    ladder_sha256,
)
from controller.channel.server import ChannelServer
from controller.config.inventory import InventoryRow
from controller.guard.desk import Guard
from controller.guard.holding import Holding
from controller.guard.shedder import Shedder
from controller.guard.store import Store
from controller.power.site import FailsafeCurve
from drivers.contract.commands import AlreadySo, Applied
from drivers.contract.frames import SleepFrame

LIFE_S = 60.0
"""How long a prepared command may be sent."""

CURVE = FailsafeCurve(hold_s=20.0, decay_s=0.0, value_w=0.0)


@dataclass
class Clock:
    """A clock that stands until it is moved."""

    now_s: float = 1_000.0
    wall: datetime = datetime(2026, 11, 25, 12, tzinfo=UTC)

    def passes(self, seconds):
        self.now_s += seconds
        self.wall += timedelta(seconds=seconds)

    def monotonic_s(self):
        return self.now_s

    def utc(self):
        return self.wall

    def synced(self):
        return True


class Miner:
    """A driver that is told to sleep, and says what it is told to say."""

    def __init__(self):
        self.asked = 0
        self.outcome = Applied()
        self.hashing = True

    async def read(self):
        return SimpleNamespace(hashing=self.hashing, mode=None)

    async def apply(self, command):
        self.asked += 1
        return self.outcome


class Prepared(Miner):
    """A driver that can prepare; `says` is what comes of it."""

    def __init__(self, name, clock):
        super().__init__()
        self.name, self.clock, self.prepared = name, clock, 0
        self.says = None
        self.goes_on = False

    async def prepare(self):
        self.prepared += 1
        if isinstance(self.says, asyncio.Event):
            await self.says.wait()
        if isinstance(self.says, Exception):
            raise self.says
        if isinstance(self.says, AlreadySo):
            return self.says
        return SleepFrame(
            miner_id=self.name,
            firmware="any",
            host="10.0.0.1",
            port=1,
            request=b"",
            valid_until_s=self.clock.now_s + LIFE_S,
            answer_deadline_s=1.0,
            goes_on=self.goes_on,
        )


class HeldWave:
    """Takes the place of the sockets: holds what was sent until it is let go."""

    def __init__(self):
        self.sent, self.outcome = [], Applied(persistent_writes=1)
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.may_begin = threading.Event()
        self.may_begin.set()

    def __call__(self, frames, answered, stopped):
        assert self.may_begin.wait(10.0)
        sent = list(frames)
        self.sent += sent
        assert self.may_answer.wait(10.0)
        for frame in sent:
            answered(frame, self.outcome)


class Bench:
    """One guard with miners in memory, and its channel."""

    def __init__(self, folder):
        self.path, self.folder, self.clock = folder / "run" / "guard.sock", folder, Clock()
        self.miners: dict[str, Miner] = {}
        self.new_miner = lambda _: Miner()
        self.send = lambda *_: None
        self.hold_keys, self.heartbeat = {}, None
        self.new_guard()

    def new_guard(self):
        """As after a restart of the process."""
        store = Store(self.folder / "guard", "toy")
        self.shedder = Shedder(self._send, self.clock)
        holding = Holding("toy", self.hold_keys, store, self.clock)
        self.guard = Guard(
            "toy", CURVE, store, self.shedder, holding, self.build, self.clock, self.heartbeat
        )
        self.guard.load()

    def _send(self, *wave):
        self.send(*wave)

    def build(self, entries):
        named = [e.miner_id for e in entries if e.firmware != "pyasic"]
        self.miners = {name: self.miners.get(name) or self.new_miner(name) for name in named}
        return self.miners

    async def ask(self, ask, shape=GuardImage):
        async with connect(self.path, "naryn guard run") as client:
            return msgspec.msgpack.decode(
                await client.request(msgspec.msgpack.encode(ask), 5.0), type=shape
            )

    async def beat(self, epoch="one", ladder=None):
        return await self.ask(Beat(site_id="toy", epoch=epoch, ladder=ladder))

    async def give(self, ladder, epoch="one", **changes):
        """Give a ladder in parts, each changed as said."""
        count = max(1, -(-len(ladder.entries) // LADDER_PART_ENTRIES))
        for part in range(count):
            begin = part * LADDER_PART_ENTRIES
            facts = {
                "site_id": "toy",
                "epoch": epoch,
                "sha256": ladder_sha256(ladder),
                "part": part,
                "parts": count,
                "floor_w": ladder.floor_w,
                "entries": ladder.entries[begin : begin + LADDER_PART_ENTRIES],
            }
            image = await self.ask(LadderPart(**(facts | changes)))
        return image


@asynccontextmanager
async def opened(folder):
    """A guard that answers on a channel in this folder."""
    folder.chmod(0o700)
    made = Bench(folder)

    async def answer(body):
        return await made.guard.answer(body)

    async with ChannelServer(made.path, answer):
        yield made
    await made.shedder.close()


async def settled(bench):
    """Let the guard look, and wait for the commands that left."""
    bench.guard.step()
    for _ in range(200):
        if not bench.shedder.under_way:
            return
        await asyncio.sleep(0.01)
    pytest.fail("commands never ended")


def rows_of(toy):
    return {
        name: InventoryRow(
            miner_id=name,
            host="10.0.0.1",
            firmware=toy.miners[name].miner.firmware,
            make="any",
            model="any",
            feeder=toy.miners[name].miner.node_id,
        )
        for name in toy.miners
    }


def tick(link, toy):
    decision = toy.tick()
    link.ticked(decision.state, toy.images[-1], decision.ledger)
