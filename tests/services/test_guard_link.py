"""The controller's end of the guard, against a real guard over a real channel."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from controller.channel.guard import Look, Release
from controller.power.instructions import TagMiner
from controller.site.guarded import GuardLink
from controller.site.ladder import ladder_of
from tests.patience import until
from tests.services.guard_ground import opened, rows_of, settled, tick
from tests.unit.power.toy import build

MINERS = 30


@pytest.fixture
async def bench(tmp_path_factory):
    async with opened(tmp_path_factory.mktemp("g")) as made:
        yield made


@pytest.fixture
def toy():
    return build(miners=MINERS, firmwares=("whatsminer-v2", "luxos"))


def ladder(toy):
    decision = toy.tick()
    return ladder_of(decision.state, toy.images[-1], toy.site, decision.ledger, rows_of(toy), "one")


def test_the_ladder_is_the_whole_armed_fleet_worst_first(toy):
    made = ladder(toy)
    assert len(made.entries) == MINERS
    firmwares = [entry.firmware for entry in made.entries]
    assert firmwares == ["whatsminer-v2"] * 15 + ["luxos"] * 15, "worst J/TH first"
    asleep_w = sum(toy.site.miners[name].sleep_power_w for name in toy.miners)
    mined_w = sum(miner.now_w for miner in toy.miners.values())
    assert made.load_w == pytest.approx(mined_w, rel=0.06), "as far as miners tell the truth"
    assert made.floor_w == pytest.approx(asleep_w, abs=100.0 * MINERS / 2)


def test_what_is_not_ours_to_command_is_floor(toy):
    toy.tick(TagMiner(miner_id="m00000", by="anna", reason="fan"))
    tagged = ladder(toy)
    assert "m00000" not in {entry.miner_id for entry in tagged.entries}
    assert tagged.floor_w > toy.miners["m00000"].now_w * 0.9
    observed = ladder(build(miners=MINERS, armed=("f1",)))
    assert len(observed.entries) == MINERS / 2


def test_one_that_sleeps_has_nothing_to_give(toy):
    toy.guard_limit_w = 0.0
    toy.run(20)
    made = ladder(toy)
    assert {entry.power_w for entry in made.entries} == {0.0}


def link_to(there, toy, epoch="one"):
    return GuardLink(there.path, toy.site, rows_of(toy), epoch, there.clock)


async def test_it_gives_the_ladder_beats_and_takes_over(bench, toy, monkeypatch):
    monkeypatch.setattr("controller.site.guarded.BEAT_S", 0.05)
    link = link_to(bench, toy)
    (alarm,) = link.alarms()
    assert alarm.alarm_id == "guard_lost"
    assert not link.watches()
    running = asyncio.create_task(link.run())
    try:
        await asyncio.sleep(0.2)
        assert not link.watches(), "nothing has ticked yet: it must not claim to live"
        tick(link, toy)
        await until(lambda: link.watches() and link.alarms() == [], "the guard has all it needs")
        assert (await bench.ask(Look(site_id="toy"))).entries == MINERS
        assert link.limit_w() is None

        # Its ticks stop: no beat leaves any more, and the guard sheds.
        bench.clock.now_s += 30.0
        await settled(bench)
        image = await bench.ask(Look(site_id="toy"))
        assert (image.asleep, image.latch.limit_w) == (MINERS, 0.0)
        assert link.limit_w() is None, "it has not asked since"

        tick(link, toy)
        await until(lambda: len(link.shed()) == MINERS, "the sleepers are taken over")
        assert link.limit_w() == 0.0
        assert [a.alarm_id for a in link.alarms()] == ["guard_latched"]
        await bench.ask(Release(site_id="toy", by="anna"))
        await until(lambda: link.limit_w() is None and not link.shed(), "the latch is gone")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_second_controller_is_told_that_it_has_no_guard(bench, toy, monkeypatch):
    monkeypatch.setattr("controller.site.guarded.BEAT_S", 0.05)
    await bench.beat("the other")
    link = link_to(bench, toy)
    running = asyncio.create_task(link.run())
    try:
        tick(link, toy)
        await until(
            lambda: "another controller is in charge" in link.alarms()[0].detail, "it is told"
        )
        assert not link.watches()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


class Forward:
    """Carries a guard's socket, as `ssh -L` does; it can hang, and it can be cut."""

    def __init__(self, guard):
        self.path = guard.path.with_name("near.sock")
        self.flows = asyncio.Event()
        self.flows.set()
        self._guard = guard
        self._writers = []

    async def _carry(self, reader, writer):
        while data := await reader.read(65_536):
            await self.flows.wait()
            writer.write(data)
        writer.close()

    async def _arrived(self, reader, writer):
        far_reader, far_writer = await asyncio.open_unix_connection(self._guard.path)
        self._writers += [writer, far_writer]
        ways = (self._carry(reader, far_writer), self._carry(far_reader, writer))
        await asyncio.gather(*ways, return_exceptions=True)

    @asynccontextmanager
    async def open(self):
        server = await asyncio.start_unix_server(self._arrived, self.path)
        try:
            yield
        finally:
            server.close()
            self.path.unlink()
            for writer in self._writers:
                writer.transport.abort()
            self._writers.clear()


async def test_a_forwarded_socket_that_hangs_or_is_cut_is_lost_and_found_again(
    bench, toy, monkeypatch
):
    for name, seconds in (("BEAT_S", 0.05), ("_AGAIN_S", 0.05), ("_ANSWER_S", 0.3)):
        monkeypatch.setattr(f"controller.site.guarded.{name}", seconds)
    forward = Forward(bench)
    link = GuardLink(forward.path, toy.site, rows_of(toy), "one", bench.clock)
    tick(link, toy)
    running = asyncio.create_task(link.run())

    def lost(why):
        return any(a.alarm_id == "guard_lost" and why in a.detail for a in link.alarms())

    try:
        async with forward.open():
            await until(link.watches, "the guard is heard through it")
            forward.flows.clear()
            await until(lambda: lost("no answer within 0.3 s"), "it hangs")
            forward.flows.set()
            await until(link.watches, "it flows again")
        await until(lambda: lost("nobody listens here"), "it is cut")
        async with forward.open():
            await until(link.watches, "it is back")
        assert (await bench.ask(Look(site_id="toy"))).latch is None
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
