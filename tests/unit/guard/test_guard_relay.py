"""When the beats for the relay must stop: by the guard's own account, and not before its time."""

from datetime import UTC, datetime

from controller.channel.guard import Entry, Ladder
from controller.guard.contactor import overdue_w
from controller.guard.ladder import to_shed
from controller.guard.watch import Latch, Watch, walked
from controller.power.site import FailsafeCurve

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
CURVE = FailsafeCurve(hold_s=20.0, decay_s=60.0, value_w=10_000.0)


def latched(silent_from_s):
    return Watch(heard_s=0.0, latch=Latch(tripped_at=NOW, start_w=1.0, silent_from_s=silent_from_s))


def ladder(*powers_w, floor_w=500.0):
    entries = tuple(Entry(f"m{n}", "h", "any", "any", {}, w) for n, w in enumerate(powers_w))
    return Ladder(site_id="s", epoch="e", floor_w=floor_w, entries=entries)


def test_the_curve_has_an_end():
    assert not walked(Watch(heard_s=0.0), 1e6, CURVE)
    assert not walked(latched(100.0), 179.9, CURVE)
    assert walked(latched(100.0), 180.0, CURVE)
    assert walked(latched(None), 0.0, CURVE), "one of an earlier run counts as walked"


def test_what_does_not_sleep_is_overdue_above_the_limit():
    there = ladder(3_000.0, 2_000.0, 1_000.0)
    assert overdue_w(there, 0.0, ()) == 6_000.0
    assert overdue_w(there, 0.0, {"m0", "m2"}) == 2_000.0
    assert overdue_w(there, 0.0, {"m0", "m1", "m2"}) == 0.0, "the floor is nobody's fault"
    assert overdue_w(there, 400.0, {"m0", "m1", "m2"}) == 0.0
    assert overdue_w(there, 2_500.0, {"m0"}) == 1_000.0


def test_whoever_was_shed_as_the_limit_asks_is_not_overdue():
    there = ladder(*(3_333.3 for _ in range(30)))
    for limit_w in (0.0, 499.9, 10_000.0, 50_000.1, 1e9):
        gone = {entry.miner_id for entry in to_shed(there, limit_w, (), ())}
        assert overdue_w(there, limit_w, gone) == 0.0
