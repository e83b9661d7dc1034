"""One guard with miners in memory on a real channel, for tests."""

import asyncio
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
from controller.guard.desk import Guard
from controller.guard.holding import Holding
from controller.guard.shedder import Shedder
from controller.guard.store import Store
from controller.power.site import FailsafeCurve
from drivers.contract.commands import Applied

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
