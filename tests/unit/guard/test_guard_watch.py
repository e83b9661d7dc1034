"""The watchdog's decisions: when it trips, how the limit falls, who may end it, who goes next."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from controller.channel.guard import Entry, Ladder
from controller.guard.ladder import to_shed
from controller.guard.watch import (
    REPLACED_S,
    Latch,
    Watch,
    heard,
    limit_w,
    looked,
    released,
)
from controller.power.site import FailsafeCurve

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
CURVE = FailsafeCurve(hold_s=20.0, decay_s=60.0, value_w=10_000.0)
LOAD_W = 70_000.0


def look(watch, now_s):
    return looked(watch, now_s, NOW, LOAD_W, CURVE)


def test_it_trips_after_the_silence_and_not_before():
    watch = Watch(heard_s=100.0)
    assert look(watch, 120.0) == watch
    tripped = look(watch, 120.01)
    assert tripped.latch == Latch(tripped_at=NOW, start_w=LOAD_W, silent_from_s=100.0)
    assert look(tripped, 500.0) == tripped, "a second look changes nothing"


def test_the_limit_falls_from_the_load_to_the_failsafe_and_stays():
    tripped = look(Watch(heard_s=100.0), 120.01)
    seen = [limit_w(tripped, 100.0 + age_s, CURVE) for age_s in (20, 50, 80, 1e9)]
    assert seen == [70_000.0, 40_000.0, 10_000.0, 10_000.0]
    assert limit_w(Watch(heard_s=100.0), 1e9, CURVE) is None


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=20), st.floats(0, 1e9))
def test_the_limit_never_rises(ages_s, load_w):
    watch = looked(Watch(heard_s=0.0), 21.0, NOW, load_w, CURVE)
    seen = [limit_w(watch, age_s, CURVE) for age_s in sorted(ages_s)]
    assert seen == sorted(seen, reverse=True)
    assert all(limit <= load_w for limit in seen)


def test_a_latch_of_an_earlier_run_counts_as_walked_to_its_end():
    latch = Latch(tripped_at=NOW, start_w=LOAD_W, silent_from_s=None)
    assert limit_w(Watch(heard_s=0.0, latch=latch), 0.0, CURVE) == CURVE.value_w
    small = Latch(tripped_at=NOW, start_w=500.0, silent_from_s=None)
    assert limit_w(Watch(heard_s=0.0, latch=small), 0.0, CURVE) == 500.0


def test_one_controller_is_obeyed_and_a_second_refused_until_the_first_is_gone():
    watch = heard(Watch(heard_s=0.0), "one", 1.0)
    assert (watch.epoch, watch.heard_s) == ("one", 1.0)
    said = heard(watch, "two", 1.0 + REPLACED_S)
    assert isinstance(said, str)
    assert "another controller" in said
    after = heard(watch, "two", 1.1 + REPLACED_S)
    assert (after.epoch, after.heard_s) == ("two", 1.1 + REPLACED_S)
    assert REPLACED_S < 5.0, "the shortest silence that a site may configure"


def test_a_latch_is_ended_only_while_the_controller_is_heard():
    latch = Latch(tripped_at=NOW, start_w=1.0, silent_from_s=None)
    assert released(Watch(heard_s=100.0, epoch="one"), 100.0, CURVE) == "nothing is latched"
    for deaf in (
        Watch(heard_s=79.0, epoch="one", latch=latch),
        Watch(heard_s=100.0, epoch=None, latch=latch),
    ):
        assert "still silent" in released(deaf, 100.0, CURVE)
    there = Watch(heard_s=81.0, epoch="one", latch=latch)
    assert released(there, 100.0, CURVE) == Watch(heard_s=81.0, epoch="one")


def test_beats_do_not_end_a_latch():
    tripped = look(Watch(heard_s=100.0, epoch="one"), 121.0)
    again = heard(tripped, "one", 122.0)
    assert not isinstance(again, str)
    assert again.latch == tripped.latch
    assert limit_w(again, 180.0, CURVE) == 10_000.0, "and the curve goes on"


def entry(name, power_w):
    return Entry(name, "127.0.0.1", "any", "any", {}, power_w)


def ladder(*powers_w, floor_w=500.0):
    entries = tuple(entry(f"m{n}", power_w) for n, power_w in enumerate(powers_w))
    return Ladder(site_id="s", epoch="e", floor_w=floor_w, entries=entries)


def names(chosen):
    return [one.miner_id for one in chosen]


def test_the_first_go_first_and_no_more_than_needed():
    there = ladder(3_000.0, 2_000.0, 1_000.0)
    assert names(to_shed(there, 6_500.0, (), ())) == []
    assert names(to_shed(there, 6_400.0, (), ())) == ["m0"]
    assert names(to_shed(there, 3_000.0, (), ())) == ["m0", "m1"]
    assert names(to_shed(there, 0.0, (), ())) == ["m0", "m1", "m2"]


def test_those_gone_count_as_off_and_those_that_failed_are_made_up_for():
    there = ladder(3_000.0, 2_000.0, 0.0, 1_000.0)
    assert names(to_shed(there, 3_500.0, {"m0"}, ())) == []
    assert names(to_shed(there, 3_400.0, {"m0"}, ())) == ["m1"]
    assert names(to_shed(there, 3_500.0, (), {"m0"})) == ["m1", "m3"]
    assert names(to_shed(there, 0.0, (), {"m0"})) == ["m1", "m3"], "one at 0 W sleeps already"
