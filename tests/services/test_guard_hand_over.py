"""The controller's end of a hand-over, against a real guard: no Sleep is left without a word."""

import asyncio
import threading
import time
from contextlib import AsyncExitStack

import msgspec
import pytest

from controller.channel.curtail import Collect, Curtail, OutcomeLine, Outcomes, Taken
from controller.channel.guard import GuardAsk
from controller.channel.server import ChannelServer
from controller.power.decide import MinerCommand
from controller.power.instructions import TagMiner
from controller.site.curtail import HAND_OVER_S, Curtailer
from controller.site.guarded import LADDER_S, GuardLink
from controller.site.slots import MinerSlots
from drivers.contract.commands import Applied, RefusalReason, Refused, Sleep, Unconfirmed
from tests.patience import until
from tests.services.guard_ground import Bench, Clock, HeldWave, Prepared, rows_of, tick
from tests.unit.power.toy import build

MINERS = 70
PATIENCE_S = 10.0
"""For a hand-over, so that no test depends on a quick machine."""
APPLIED = Applied(persistent_writes=1)


class Stage:
    """A guard whose process can be ended and begun anew, and a controller's link to it."""

    def __init__(self, folder):
        folder.chmod(0o700)
        self.bench, self.toy = Bench(folder), build(miners=MINERS, firmwares=("whatsminer-v2",))
        self.bench.send = self.wave = HeldWave()
        self.bench.new_miner = lambda name: Prepared(name, self.bench.clock)
        self.clock = Clock(now_s=5.0)  # its own, as on another host
        rows = rows_of(self.toy)
        self.link = GuardLink(self.bench.path, self.toy.site, rows, "one", self.clock)
        self.miners = MinerSlots()
        self.told, self.asked, self.deaf = [], [], set()
        self._server = AsyncExitStack()
        self._tasks = []

    async def answer(self, body):
        """The guard's answer; it gives none to those asks that it is deaf to."""
        ask = msgspec.msgpack.decode(body, type=GuardAsk)
        self.asked.append(ask)
        if type(ask) in self.deaf:
            await asyncio.Event().wait()
        return await self.bench.guard.answer(body)

    async def begin(self):
        """The guard's process."""
        await self._server.enter_async_context(ChannelServer(self.bench.path, self.answer))
        self._tasks.append(asyncio.create_task(self.bench.shedder.run()))

    async def end(self):
        """As after `kill -9`: nothing more is said."""
        await self._server.aclose()

    async def ready(self):
        """The link is up and every Sleep lies prepared."""
        self._tasks.append(asyncio.create_task(self.link.run()))
        tick(self.link, self.toy)
        await until(self.link.takes_sleeps, "the guard is reached")
        await until(lambda: self.bench.shedder.ready() == MINERS, "all are prepared")

    async def close(self):
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.wave.may_answer.set()
        await self.bench.shedder.close()
        await self.end()

    def sleeps(self):
        return [
            MinerCommand(miner_id=name, command=Sleep(), commanded_s=1.0)
            for name in self.toy.miners
        ]

    async def curtail(self):
        """Hand every miner over; returns those that were taken."""
        return await self.link.curtail(
            self.sleeps(),
            self.miners,
            lambda command, outcome: self.told.append((command.miner_id, outcome)),
        )

    async def hears(self, outcome):
        """Wait until every miner's outcome was told, each this one and each once."""
        await until(lambda: len(self.told) >= MINERS, "all are told")
        await asyncio.sleep(0.1)
        assert sorted(self.told) == [(name, outcome) for name in sorted(self.toy.miners)]


@pytest.fixture
async def stage(tmp_path_factory, monkeypatch):
    monkeypatch.setattr("controller.site.guarded.BEAT_S", 0.05)
    monkeypatch.setattr("controller.site.guarded._AGAIN_S", 0.05)
    monkeypatch.setattr("controller.site.curtail.COLLECT_S", 0.02)
    monkeypatch.setattr("controller.site.curtail.HAND_OVER_S", PATIENCE_S)
    made = Stage(tmp_path_factory.mktemp("g"))
    await made.begin()
    yield made
    await made.close()


async def test_all_are_taken_and_each_is_told_once(stage):
    await stage.ready()
    assert await stage.curtail() == frozenset(stage.toy.miners)
    await stage.hears(APPLIED)
    assert len(stage.wave.sent) == MINERS
    collected = len([ask for ask in stage.asked if isinstance(ask, Collect)])
    await asyncio.sleep(0.3)
    assert len([ask for ask in stage.asked if isinstance(ask, Collect)]) == collected, (
        "it does not ask while nothing is open"
    )


async def test_before_a_guard_was_heard_nothing_is_handed_over(stage):
    assert not stage.link.takes_sleeps()
    assert await stage.curtail() == frozenset()


async def test_a_request_names_the_moment_by_the_guards_own_clock(stage):
    await stage.ready()
    await stage.curtail()
    (ask,) = [ask for ask in stage.asked if isinstance(ask, Curtail)]
    assert ask.until_s == pytest.approx(stage.bench.clock.now_s + PATIENCE_S)


async def test_moments_of_change_are_told_by_the_guards_own_clock(stage):
    await stage.ready()
    silent, *_ = stage.toy.miners
    stage.miners.miss(silent, 1.0, "no answer")
    await stage.curtail()
    (ask,) = [ask for ask in stage.asked if isinstance(ask, Curtail)]
    assert ask.changed_s == pytest.approx({silent: stage.bench.clock.now_s})


async def test_a_guard_that_does_not_answer_is_not_waited_for(stage, monkeypatch):
    await stage.ready()
    monkeypatch.setattr("controller.site.curtail.HAND_OVER_S", HAND_OVER_S)
    stage.deaf = {Curtail}
    async with asyncio.timeout(5.0):
        assert await stage.curtail() == frozenset()
    assert stage.told == []
    assert not stage.wave.sent


async def test_a_lost_guard_leaves_nobody_open(stage):
    await stage.ready()
    stage.wave.may_answer.clear()
    assert len(await stage.curtail()) == MINERS
    await stage.end()
    await stage.hears(None)
    assert await stage.curtail() == frozenset()


async def test_a_guard_that_hangs_leaves_nobody_open(stage, monkeypatch):
    monkeypatch.setattr("controller.site.curtail._ANSWER_S", 0.1)
    await stage.ready()
    stage.deaf = {Collect}
    assert len(await stage.curtail()) == MINERS
    await stage.hears(None)


async def test_a_guard_that_forgot_leaves_nobody_open(stage):
    await stage.ready()
    stage.wave.may_answer.clear()
    assert len(await stage.curtail()) == MINERS
    stage.bench.guard._curtailments.forget()
    await stage.hears(None)


async def test_a_slow_disk_keeps_no_curtailment_waiting(stage, monkeypatch):
    await stage.ready()
    begun, gate = threading.Event(), threading.Event()

    def save(_):
        begun.set()
        assert gate.wait(10.0)

    monkeypatch.setattr(stage.bench.guard._store, "save_ladder", save)
    tagged, *_ = stage.toy.miners
    stage.toy.tick(TagMiner(miner_id=tagged, by="anna", reason="fan"))
    stage.clock.now_s += LADDER_S
    tick(stage.link, stage.toy)
    try:
        await until(begun.is_set, "the new ladder is being saved")
        assert await stage.curtail() == stage.toy.miners.keys() - {tagged}
    finally:
        gate.set()


async def test_a_latched_guard_is_not_asked(stage):
    await stage.ready()
    stage.bench.clock.now_s += 20.1
    stage.bench.guard.step()
    await until(lambda: not stage.link.takes_sleeps(), "it knows the latch")
    assert await stage.curtail() == frozenset()


async def test_an_expired_login_is_told_as_it_is(stage):
    await stage.ready()
    stage.wave.outcome = Refused(reason=RefusalReason.UNAUTHORIZED, detail="stale")
    await stage.curtail()
    await until(lambda: len(stage.told) == MINERS, "all are told")
    assert {outcome for _, outcome in stage.told} == {stage.wave.outcome}


class Client:
    """A guard of which only the answers are there; the last one is said again and again."""

    def __init__(self, *pages):
        self.pages, self.before_taken = list(pages), None

    async def request(self, body, _timeout_s):
        if isinstance(msgspec.msgpack.decode(body, type=GuardAsk), Curtail):
            if self.before_taken is not None:
                await self.before_taken()
            return msgspec.msgpack.encode(Taken(miner_ids=("m0",)))
        page = self.pages.pop(0) if len(self.pages) > 1 else self.pages[0]
        return msgspec.msgpack.encode(page)


@pytest.fixture
async def alone(monkeypatch):
    """A curtailer, its client, and what it was told; only m0 is ever commanded."""
    monkeypatch.setattr("controller.site.curtail.COLLECT_S", 0.02)
    made, client = Curtailer("toy", "one", Clock()), Client(Outcomes(lines=(), left=1))
    serving = asyncio.create_task(made.run(client))
    await asyncio.sleep(0)
    made.heard(1_000.0)
    yield made, client, serving
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


async def curtailed(made, told=lambda *_: None):
    command = MinerCommand(miner_id="m0", command=Sleep(), commanded_s=1.0)
    return await made.curtail([command], {}, told)


async def test_an_answer_that_came_in_time_counts_however_late_the_loop_looks(alone):
    made, client, _ = alone

    async def busy():
        asyncio.get_running_loop().call_soon(time.sleep, 2 * HAND_OVER_S)
        for _ in range(8):  # as many turns as an answer takes from the socket to here
            await asyncio.sleep(0)

    client.before_taken = busy
    assert await curtailed(made) == {"m0"}


async def test_an_answer_of_a_connection_that_has_ended_counts_for_nothing(alone):
    made, client, serving = alone

    async def ended():
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    client.before_taken = ended
    assert await curtailed(made) == frozenset(), "nobody would ask for what came of it"


async def test_an_outcome_of_another_request_is_not_this_ones(alone):
    made, client, _ = alone
    told = []
    client.pages = [
        Outcomes(lines=(OutcomeLine.of(7, "m0", Unconfirmed(detail="another")),), left=1),
        Outcomes(lines=(OutcomeLine.of(1, "m0", APPLIED),), left=0),
        Outcomes(lines=(), left=0),
    ]
    await curtailed(made, lambda _, outcome: told.append(outcome))
    await until(lambda: told, "it is told")
    await asyncio.sleep(0.1)
    assert told == [APPLIED]
