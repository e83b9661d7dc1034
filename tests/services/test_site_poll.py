"""The polling of miners, on a virtual clock."""

import asyncio
import random
from dataclasses import replace
from types import SimpleNamespace

import pytest

from controller.cli.scenario.virtual_time import VirtualClock, run_virtual
from controller.site.poll import MinerPoll, Periods, PollPace
from controller.site.slots import MinerSlots
from drivers.contract.errors import Unreachable
from drivers.contract.readings import MinerReading
from tests.services.site_ground import START

PACE = PollPace(period_s=30.0, order_period_s=5.0, reads_max=4)


class Scripted:
    """A driver whose reads take `takes_s` and may raise `error`; notes when each began."""

    def __init__(self, miner_id, clock, *, takes_s=0.1, error=None):
        self.miner_id, self.clock, self.takes_s, self.error = miner_id, clock, takes_s, error
        self.begun_s = []
        self.reading_now = 0

    async def read(self):
        begun_s = self.clock.monotonic_s()
        self.begun_s.append(begun_s)
        self.reading_now += 1
        try:
            await asyncio.sleep(self.takes_s)
        finally:
            self.reading_now -= 1
        if self.error is not None:
            raise self.error
        return MinerReading(
            miner_id=self.miner_id, begun_s=begun_s, taken_s=self.clock.monotonic_s()
        )


def unreachable(name="m0"):
    return Unreachable(name, "read", "no whole reply within 5 s", connected=False)


async def polled(drivers, seconds, *, pace=PACE, during=None):
    """Poll for some virtual seconds; `during(poll, slots)` runs beside it."""
    slots = MinerSlots()
    poll = MinerPoll(drivers, slots, VirtualClock(START), pace, random.Random(3))
    running = asyncio.create_task(poll.run())
    if during is not None:
        await during(poll, slots)
    await asyncio.sleep(seconds - asyncio.get_running_loop().time())
    assert not running.done(), "the polling ended by itself"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return slots


def gaps(driver):
    return [b - a for a, b in zip(driver.begun_s, driver.begun_s[1:], strict=False)]


def fleet(count, **script):
    clock = VirtualClock(START)
    return {f"m{i}": Scripted(f"m{i}", clock, **script) for i in range(count)}


def test_each_miner_is_read_once_a_period_and_out_of_step():
    miners = fleet(20)
    run_virtual(polled(miners, 200.0))
    for driver in miners.values():
        assert driver.begun_s[0] <= 6.0, "the first round is over in one order period"
        assert all(28.0 <= gap <= 32.0 for gap in gaps(driver)), gaps(driver)
    firsts = [driver.begun_s[0] for driver in miners.values()]
    assert max(firsts) - min(firsts) > 2.0, "the first round is spread"


def test_a_hastened_miner_is_read_at_the_orders_pace_and_back():
    miners = fleet(2)

    async def during(poll, _slots):
        await asyncio.sleep(50.0)
        poll.hasten(["m0"])
        await asyncio.sleep(50.0)
        poll.hasten([])

    run_virtual(polled(miners, 200.0, during=during))
    hastened = [s for s in miners["m0"].begun_s if 50.0 <= s < 100.0]
    assert hastened[0] <= 55.1
    assert 9 <= len(hastened) <= 11
    later = [s for s in miners["m0"].begun_s if s > 106.0]
    assert len(later) <= 4
    assert all(gap > 28.0 for gap in gaps(miners["m1"])), "the other keeps its pace"


def test_miners_that_were_late_together_are_not_due_together():
    miners, pace = fleet(60), PollPace(period_s=5.0, order_period_s=5.0, reads_max=4)

    async def during(_poll, _slots):
        await asyncio.sleep(50.0)
        for driver in miners.values():
            driver.takes_s = 8.0
        await asyncio.sleep(1.0)
        for driver in miners.values():
            driver.takes_s = 0.1

    run_virtual(polled(miners, 90.0, pace=pace, during=during))
    begun_s = sorted(s for driver in miners.values() for s in driver.begun_s)
    assert not [s for s in begun_s if 52.0 < s < 58.0], "all places were held"
    seconds = [sum(second <= s < second + 1.0 for s in begun_s) for second in range(65, 90)]
    assert max(seconds) <= 25, "twelve a second, not sixty at once"
    assert sum(seconds) == pytest.approx(12 * 25, rel=0.05)


def test_a_late_read_leaves_half_a_period_before_the_next():
    miners, pace = fleet(3), PollPace(period_s=5.0, order_period_s=5.0, reads_max=1)
    miners["m0"].takes_s = 4.9
    run_virtual(polled(miners, 100.0, pace=pace))
    for driver in miners.values():
        assert all(gap >= 2.3 for gap in gaps(driver)), gaps(driver)


def test_many_hastened_at_once_are_spread_over_the_orders_period():
    miners, pace = fleet(8_000, takes_s=0.01), replace(PACE, reads_max=999)

    async def during(poll, _slots):
        await asyncio.sleep(50.0)
        poll.hasten(list(miners))

    run_virtual(polled(miners, 56.0, pace=pace, during=during))
    begun_s = [s for driver in miners.values() for s in driver.begun_s if s > 50.0]
    seconds = [sum(second <= s < second + 1.0 for s in begun_s) for second in range(51, 55)]
    assert min(seconds) >= 1_500
    assert max(seconds) <= 2_500


def test_hastening_again_and_again_does_not_push_a_read_back():
    miners = fleet(1)

    async def during(poll, _slots):
        for _ in range(30):
            poll.hasten(["m0"])
            await asyncio.sleep(1.0)

    run_virtual(polled(miners, 31.0, during=during))
    assert len(miners["m0"].begun_s) >= 6


def test_a_failing_miner_is_asked_less_and_less_up_to_eight_periods():
    miners = fleet(1, error=unreachable())
    slots = run_virtual(polled(miners, 1500.0))
    factors = [gap / 30.0 for gap in gaps(miners["m0"])]
    for factor, wanted in zip(factors, (1, 2, 4, 8, 8), strict=False):
        assert factor == pytest.approx(wanted, rel=0.06)
    assert "m0" in slots.unreachable
    assert "no whole reply" in slots.errors["m0"]


def test_a_miner_of_an_order_that_restarts_is_asked_on_at_the_orders_pace():
    miners = fleet(1, error=unreachable())

    async def during(poll, _slots):
        poll.hasten(["m0"])
        await asyncio.sleep(0)

    run_virtual(polled(miners, 150.0, during=during))
    factors = [gap / 5.0 for gap in gaps(miners["m0"])]
    for factor, wanted in zip(factors, (1, 1, 1, 1, 2, 4, 8), strict=False):
        assert factor == pytest.approx(wanted, rel=0.06)


def test_one_lost_packet_is_no_news_two_are_and_an_answer_mends_it():
    miners = fleet(1)
    seen = []

    async def during(_poll, slots):
        for error in (None, unreachable(), unreachable(), None):
            miners["m0"].error = error
            count = len(miners["m0"].begun_s)
            for _ in range(1_000):
                if len(miners["m0"].begun_s) > count and not miners["m0"].reading_now:
                    break
                await asyncio.sleep(0.5)
            seen.append("m0" in slots.unreachable)

    slots = run_virtual(polled(miners, 300.0, during=during))
    assert seen == [False, False, True, False]
    assert slots.errors == {}


def test_reads_under_way_are_bounded():
    miners = fleet(40, takes_s=3.0)
    most = 0

    async def during(_poll, _slots):
        nonlocal most
        for _ in range(600):
            most = max(most, sum(driver.reading_now for driver in miners.values()))
            await asyncio.sleep(0.1)

    run_virtual(polled(miners, 61.0, during=during))
    assert most == PACE.reads_max
    assert all(driver.begun_s for driver in miners.values()), "each has its turn"


def test_hung_drivers_cost_their_own_time_and_give_their_places_back():
    clock = VirtualClock(START)
    hung = {f"h{i}": Scripted(f"h{i}", clock, takes_s=1e9) for i in range(PACE.reads_max)}
    well = fleet(4)

    async def during(_poll, slots):
        await asyncio.sleep(400.0)
        assert set(slots.unreachable) <= set(hung)

    slots = run_virtual(polled({**hung, **well}, 600.0, during=during))
    for driver in well.values():
        assert len(driver.begun_s) >= 5
    assert set(slots.unreachable) == set(hung)


@pytest.mark.parametrize("error", [KeyError("bug"), ZeroDivisionError(), ValueError("x")], ids=repr)
def test_a_driver_with_a_bug_goes_on_being_polled(error):
    miners = fleet(1, error=error)

    async def during(_poll, _slots):
        await asyncio.sleep(100.0)
        miners["m0"].error = None

    slots = run_virtual(polled(miners, 400.0, during=during))
    assert "m0" in slots.readings
    assert slots.unreachable == {}


def test_a_miner_is_read_again_even_when_its_failure_cannot_be_said(monkeypatch):
    miners = fleet(1, error=unreachable())

    def unsayable(*_, **__):
        raise OSError("the log is gone")

    monkeypatch.setattr("controller.site.poll._log", SimpleNamespace(info=unsayable))
    run_virtual(polled(miners, 100.0))
    assert len(miners["m0"].begun_s) >= 3


def test_the_end_cancels_reads_under_way():
    miners = fleet(3, takes_s=1000.0)
    run_virtual(polled(miners, 20.0))
    assert [driver.reading_now for driver in miners.values()] == [0, 0, 0]


def test_an_older_reading_never_replaces_a_newer_one():
    slots = MinerSlots()
    newer = MinerReading(miner_id="m0", begun_s=10.0, taken_s=10.1)
    slots.put(newer)
    slots.put(MinerReading(miner_id="m0", begun_s=9.0, taken_s=12.0))
    assert slots.readings["m0"] is newer


def test_a_miner_with_a_pace_of_its_own_keeps_to_it():
    miners = fleet(20)
    slow = Periods(period_s=100.0, order_period_s=20.0)
    pace = PollPace(period_s=10.0, order_period_s=2.0, reads_max=9, own={"m3": slow})
    run_virtual(polled(miners, 300.0, pace=pace))
    assert 28 <= len(miners["m4"].begun_s) <= 33
    assert 3 <= len(miners["m3"].begun_s) <= 4


def test_connections_a_second_are_bounded():
    miners = fleet(100, takes_s=0.01)
    pace = PollPace(period_s=1.0, order_period_s=1.0, reads_max=1000, connections_per_s_max=20.0)
    run_virtual(polled(miners, 30.0, pace=pace))
    begun = sorted(s for driver in miners.values() for s in driver.begun_s)
    assert 20.0 * 28 <= len(begun) <= 20.0 * 31
    assert all(driver.begun_s for driver in miners.values()), "each has its turn"
    for second in range(1, 30):
        assert sum(second <= s < second + 1 for s in begun) <= 20 + 3


def test_a_large_fleets_first_round_takes_its_time():
    """It asks everything of everybody, and a tick must have its turn meanwhile."""
    miners = fleet(2_500, takes_s=0.01)
    run_virtual(
        polled(miners, 10.5, pace=PollPace(period_s=30.0, order_period_s=1.0, reads_max=99))
    )
    first = sorted(driver.begun_s[0] for driver in miners.values())
    for second in range(5):
        begun = sum(second <= s - first[0] < second + 1 for s in first)
        assert 200 < begun < 300


def test_every_read_that_ends_is_told_with_its_due_time():
    miners, told = fleet(3), []
    miners["m1"].error = unreachable("m1")

    async def run():
        clock = VirtualClock(START)
        poll = MinerPoll(miners, MinerSlots(), clock, PACE, random.Random(3), ended=told.append)
        running = asyncio.create_task(poll.run())
        await asyncio.sleep(20.0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run_virtual(run())
    assert {polled.miner_id: polled.missed for polled in told} == {"m0": 0, "m1": 1, "m2": 0}
    for polled in told:
        assert 0.0 <= polled.begun_s - polled.due_s <= 0.011
