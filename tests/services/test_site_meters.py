"""The polling of meters, on a virtual clock: a fixed grid, and what is not known is not zero."""

import asyncio

import pytest

from controller.cli.scenario.virtual_time import VirtualClock, run_virtual
from controller.site.poll import poll_meter
from controller.site.slots import MeterSlot
from drivers.contract.errors import Malformed, Unreachable
from drivers.contract.quantities import Quality, Signal
from tests.services.site_ground import RULE, START, meter_reading


class Meter:
    """Answers from a script: a power, None (NaN at the wire), or an error; the last one stays."""

    def __init__(self, *script, raw=None, takes_s=0.05):
        self.script, self.raw, self.takes_s = list(script), raw, takes_s
        self.begun_s = []

    async def read(self):
        clock = VirtualClock(START)
        self.begun_s.append(clock.monotonic_s())
        said = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        await asyncio.sleep(self.takes_s)
        if isinstance(said, Exception):
            raise said
        return meter_reading(self.begun_s[-1], said, raw=self.raw)


def metered(meter, seconds, *, expected_w=None):
    """Poll a meter for some seconds; the view of each second."""

    async def run():
        slot, clock = MeterSlot(meter_id="f1-meter", rule=RULE), VirtualClock(START)
        running = asyncio.create_task(poll_meter(meter, slot, clock, 1.0))
        views = []
        for _ in range(seconds):
            await asyncio.sleep(1.0)
            views.append(slot.view(clock.monotonic_s(), expected_w))
        assert not running.done(), "the reading ended by itself"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return views, slot

    return run_virtual(run())


def lost():
    return Unreachable("f1-meter", "read", "connection refused", connected=False)


def test_a_meter_is_read_on_a_fixed_grid():
    meter = Meter(5000.0, takes_s=0.3)
    views, _ = metered(meter, 10)
    assert meter.begun_s == pytest.approx([float(i) for i in range(10)], abs=0.01)
    assert {view.quality for view in views} == {Quality.GOOD}
    assert views[-1].power_w == 5000.0


def test_a_missed_meter_ages_to_stale_and_shows_no_power():
    views, slot = metered(Meter(5000.0, 5000.0, lost()), 10)
    marks = "".join(view.quality.value[0] for view in views)
    assert marks == "gggg" + "s" * 6
    assert [view.power_w is None for view in views] == [False] * 4 + [True] * 6
    assert views[-1].fault == "connection refused"
    assert slot.track.age_s == pytest.approx(9.0, abs=0.2)


def test_a_meter_never_read_is_bad_not_zero():
    views, _ = metered(Meter(lost()), 3)
    assert {view.quality for view in views} == {Quality.BAD}
    assert views[-1].power_w is None
    assert views[-1].fault == "connection refused"


def test_a_frozen_meter_turns_bad_and_says_so():
    views, _ = metered(Meter(5000.0, raw=(1, 2)), 20)
    marks = "".join(view.quality.value[0] for view in views)
    assert marks.startswith("ggggggggg")
    assert marks.endswith("bbbbbbb")
    assert "frozen" in views[-1].fault
    assert views[-1].power_w is None
    assert views[-1].frequency_hz is None


def test_a_meter_frozen_at_no_load_is_found_by_what_the_miners_say():
    quiet, _ = metered(Meter(0.0, raw=(0, 0)), 20)
    assert quiet[-1].quality is Quality.GOOD
    contradicted, _ = metered(Meter(0.0, raw=(0, 0)), 20, expected_w=50e3)
    assert contradicted[-1].quality is Quality.BAD


def test_nan_is_bad_at_once_and_never_zero():
    views, _ = metered(Meter(5000.0, None, None, 5000.0), 6)
    marks = "".join(view.quality.value[0] for view in views)
    assert marks == "gbbggg"
    assert all(view.power_w is None for view in views if view.quality is Quality.BAD)


def test_a_meter_driver_with_a_bug_is_read_again():
    views, slot = metered(Meter(KeyError("bug"), KeyError("bug"), 5000.0), 5)
    assert views[0].fault.startswith("driver: KeyError")
    assert views[-1].power_w == 5000.0
    assert slot.fault is None


def test_a_hung_meter_is_given_up_and_read_again():
    meter = Meter(5000.0, takes_s=1e6)

    async def heal():
        slot, clock = MeterSlot(meter_id="f1-meter", rule=RULE), VirtualClock(START)
        running = asyncio.create_task(poll_meter(meter, slot, clock, 1.0))
        await asyncio.sleep(30.0)
        meter.takes_s = 0.05
        await asyncio.sleep(60.0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return slot.view(clock.monotonic_s(), None)

    assert run_virtual(heal()).quality is Quality.GOOD


def test_garbage_from_a_meter_is_a_missed_read():
    error = Malformed("f1-meter", "read", "3 words instead of 2")
    views, _ = metered(Meter(5000.0, error), 8)
    assert views[-1].quality is Quality.STALE
    assert views[-1].fault == "3 words instead of 2"


def test_a_late_read_is_not_made_up_for():
    meter = Meter(5000.0, takes_s=2.5)
    metered(meter, 11)
    assert len(meter.begun_s) <= 5


def test_power_needs_its_own_good_quality():
    slot = MeterSlot(meter_id="plc", rule=RULE, primary=Signal.NET_HEAD_M)
    assert slot.view(1.0, None).power_w is None
