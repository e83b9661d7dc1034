"""Quality of a meter's values over time: frozen, stale, unreadable."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.contract.quantities import Quality, Signal
from drivers.contract.readings import MeterReading
from drivers.meters.quality import NOTHING_YET, FrozenRule, MeterTrack, judge

P, F = Signal.POWER_W, Signal.FREQUENCY_HZ
RULE = FrozenRule(stale_after_s=3.0, frozen_after_s=10.0, load_w=1000.0)
GOOD, STALE, BAD = Quality.GOOD, Quality.STALE, Quality.BAD


def reading(at_s: float, power_w: float | None = 5000.0, raw: int = 1) -> MeterReading:
    values = {P: power_w, F: 50.0}
    return MeterReading(meter_id="m", begun_s=at_s, taken_s=at_s + 0.05, values=values, raw=(raw,))


def played(
    words: str, *, power_w: float = 5000.0, rule: FrozenRule = RULE, expected_w: float | None = None
) -> str:
    """A letter a second is the raw word read then, `.` a second without a reading.

    Answers the quality of power second by second: G, S or B.
    """
    track: MeterTrack | None = None
    picture = ""
    for second, letter in enumerate(words):
        now = None if letter == "." else reading(float(second), power_w, ord(letter))
        track = judge(track, now, second + 0.1, rule, expected_w=expected_w)
        picture += track.quality(P).name[0]
    return picture


#    words, one a second           power        quality
PICTURES = [
    ("abcdefghijklmnop", 5000.0, "GGGGGGGGGGGGGGGG"),
    ("aaaaaaaaaaaaaaab", 5000.0, "GGGGGGGGGGGBBBBG"),
    ("aaaaaaaaaabaaaaa", 5000.0, "GGGGGGGGGGGGGGGG"),
    ("aaaaaaaaaaaaaaaa", -5000.0, "GGGGGGGGGGGBBBBB"),
    ("aaaaaaaaaaaaaaaa", 999.0, "GGGGGGGGGGGGGGGG"),
    ("aaaaaaaaaaaaaaaa", 0.0, "GGGGGGGGGGGGGGGG"),
    ("ab......c.......", 5000.0, "GGGGSSSSGGGSSSSS"),
    ("................", 5000.0, "BBBBBBBBBBBBBBBB"),
    ("a..a..a..a..a..a", 5000.0, "GGGGGGGGGGGGBBBB"),
    ("aaaaaaaaaaa.....", 5000.0, "GGGGGGGGGGGGGSSS"),
    ("aaaaaaaaaaaa....", 5000.0, "GGGGGGGGGGGBBBBB"),
]


@pytest.mark.parametrize(("words", "power_w", "quality"), PICTURES)
def test_pictures(words: str, power_w: float, quality: str) -> None:
    assert played(words, power_w=power_w) == quality


def test_a_meter_frozen_at_no_load_is_found_by_what_the_load_should_draw() -> None:
    assert played("a" * 16, power_w=0.0, expected_w=800_000.0) == "G" * 11 + "B" * 5
    assert played("a" * 16, power_w=0.0, expected_w=500.0) == "G" * 16


def test_a_map_without_the_rule_never_freezes() -> None:
    rule = FrozenRule(stale_after_s=3.0, frozen_after_s=None, load_w=0.0)
    assert played("a" * 30, rule=rule) == "G" * 30


def test_other_signals_may_stand_for_the_load() -> None:
    rule = FrozenRule(
        stale_after_s=3.0, frozen_after_s=2.0, load_w=1.0, load_signals=(Signal.UNIT1_POWER_W,)
    )
    assert played("aaaa", rule=rule) == "GGGG"
    by_frequency = FrozenRule(stale_after_s=3.0, frozen_after_s=2.0, load_w=1.0, load_signals=(F,))
    assert played("aaaa", rule=by_frequency) == "GGGB"


def test_no_value_is_bad_and_costs_the_others_nothing() -> None:
    track = judge(None, reading(0.0, power_w=None), 0.1, RULE)
    assert (track.quality(P), track.quality(F)) == (BAD, GOOD)
    assert (track.value(P), track.value(F)) == (None, 50.0)
    assert track.quality(Signal.NET_HEAD_M) is BAD
    assert track.value(Signal.NET_HEAD_M) is None


def test_age_counts_from_the_beginning_of_the_read() -> None:
    track = judge(None, reading(10.0), 13.0, RULE)
    assert (track.age_s, track.quality(P)) == (3.0, GOOD)
    track = judge(track, None, 13.01, RULE)
    assert track.age_s == pytest.approx(3.01)
    assert track.quality(P) is STALE
    assert track.value(P) == 5000.0


def test_a_frozen_value_is_no_value() -> None:
    track = judge(judge(None, reading(0.0), 0.1, RULE), reading(11.0), 11.1, RULE)
    assert track.frozen
    assert track.value(P) is None
    assert track.value(F) is None


def test_an_older_reading_does_not_replace_a_newer_one() -> None:
    newer = judge(None, reading(10.0, power_w=7000.0), 10.1, RULE)
    assert judge(newer, reading(9.0, power_w=1.0), 10.2, RULE).value(P) == 7000.0


def test_the_same_reading_twice_is_one_reading() -> None:
    one = reading(10.0)
    first = judge(None, one, 10.1, RULE)
    assert judge(first, one, 10.1, RULE) == first


def test_nothing_yet() -> None:
    assert judge(None, None, 5.0, RULE) == NOTHING_YET
    assert NOTHING_YET.quality(P) is BAD


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 5), st.one_of(st.none(), st.integers(0, 2)), st.floats(0, 3)),
        max_size=30,
    )
)
def test_good_is_always_fresh_and_never_long_unchanged(
    steps: list[tuple[float, int | None, float]],
) -> None:
    track: MeterTrack | None = None
    now_s, since_s, last_raw = 0.0, 0.0, None
    for wait_s, raw, lag_s in steps:
        now_s += wait_s
        begun_s = now_s - lag_s
        if raw is not None and (
            track is None or track.reading is None or begun_s > track.reading.begun_s
        ):
            if raw != last_raw:
                since_s, last_raw = begun_s + 0.05, raw
            track = judge(track, reading(begun_s, raw=raw), now_s, RULE)
        else:
            track = judge(track, None, now_s, RULE)
        if track.quality(P) is GOOD:
            assert track.reading is not None
            assert now_s - track.reading.begun_s <= RULE.stale_after_s
            assert track.reading.taken_s - since_s <= 10.0
