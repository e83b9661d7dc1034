"""Clocks that disagree: what lowers is applied and alarmed, what raises must be right."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.dispatch.acceptance import Alarm, HeartbeatClock, Reason
from controller.dispatch.acceptance.clock import Dated, Timing, Untimely, judge_time

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
NOW_S = 5_000.0
LATE, DISAGREES = Alarm.DELIVERED_LATE, Alarm.CLOCK_DISAGREES


def seconds(count):
    return timedelta(seconds=count)


def dated(age_s, *, span_s=900, lead_s=0, event=True, raises=False):
    """Issued `age_s` ago by its own stamp, valid from `lead_s` after that for `span_s`."""
    issued = NOW - seconds(age_s)
    begin = issued + seconds(lead_s)
    return Dated(issued, begin, begin + seconds(span_s), event=event, raises=raises)


def outcome(given, offset_s, *, synced=True):
    verdict = judge_time(given, NOW, NOW_S, offset_s, synced=synced)
    return verdict.reason if isinstance(verdict, Untimely) else verdict.alarm


# offset: the dispatcher's clock minus ours, as heartbeats show it; "?" none was heard.
LOWERING = [
    ("──now──           fresh", dated(1), 0.0, None),
    ("──now──           fresh, ?", dated(1), None, None),
    ("──now──           fresh, the heartbeat's host is off", dated(1), 300.0, None),
    ("31s─now           late, clocks agree", dated(31), 1.9, LATE),
    ("31s─now           late, ?", dated(31), None, DISAGREES),
    ("31s─now           their clock is behind by 31 s", dated(31), -31.0, DISAGREES),
    ("──now─31s         in the future, clocks agree", dated(-31), 0.0, DISAGREES),
    ("──now─31s         their clock is ahead by 31 s", dated(-31), 31.0, DISAGREES),
    ("1h──end─now       their clock is behind by 1 h", dated(3_600), -3_600.0, DISAGREES),
    ("1h──end─now       ?", dated(3_600), None, Reason.EXPIRED),
    ("1h──end─now       clocks agree", dated(3_600), 0.0, Reason.EXPIRED),
    ("1h──end─now       their clock is ahead", dated(3_600), 60.0, Reason.EXPIRED),
    ("──now───1h        ahead by 1 h, ended there", dated(-3_600, span_s=10), 3_620.0, DISAGREES),
    ("──now             our clock is not synchronised", dated(1), 0.0, None),
]


@pytest.mark.parametrize(
    ("name", "given", "offset_s", "expected"), LOWERING, ids=[r[0] for r in LOWERING]
)
def test_lowering_order(name, given, offset_s, expected):
    assert outcome(given, offset_s, synced=False) == expected


R = Reason
RAISING = [
    ("──now──     fresh", dated(1), 0.0, None),
    ("──now──     fresh, ?", dated(1), None, None),
    ("──now──     offset 2 s", dated(1), 2.0, None),
    ("──now──     offset 2.1 s", dated(1), 2.1, R.CLOCK_DISAGREES),
    ("──now──     offset −2.1 s", dated(1), -2.1, R.CLOCK_DISAGREES),
    ("31s─now     late, clocks agree", dated(31), 0.0, R.NOT_FRESH),
    ("31s─now     late, ?", dated(31), None, R.CLOCK_DISAGREES),
    ("31s─now     their clock is behind by 31 s", dated(31), -31.0, R.CLOCK_DISAGREES),
    ("──now─31s   future, clocks agree", dated(-31), 0.0, R.NOT_FRESH),
    ("──now─31s   future, ?", dated(-31), None, R.CLOCK_DISAGREES),
    ("1h──end─now behind by 1 h", dated(3_600), -3_600.0, R.CLOCK_DISAGREES),
    ("1h──end─now clocks agree", dated(3_600), 0.0, R.EXPIRED),
]


@pytest.mark.parametrize(
    ("name", "given", "offset_s", "expected"), RAISING, ids=[r[0] for r in RAISING]
)
def test_raising_order(name, given, offset_s, expected):
    assert outcome(replace(given, raises=True), offset_s) == expected


def test_raising_needs_our_own_clock():
    fresh = dated(1, raises=True)
    assert outcome(fresh, 0.0, synced=False) is R.CLOCK_DISAGREES
    assert outcome(fresh, 0.0, synced=None) is None


STATE = [
    ("waited an hour at the broker", dated(3_600, span_s=7_200), 0.0, None),
    ("waited an hour, ?", dated(3_600, span_s=7_200), None, None),
    ("in the future, ?", dated(-60), None, DISAGREES),
    ("ended by our clock only", dated(3_600), -3_600.0, DISAGREES),
    ("waited, their clock is off by 1 min", dated(3_600, span_s=7_200), 60.0, DISAGREES),
    ("ended", dated(3_600), 0.0, R.EXPIRED),
]


@pytest.mark.parametrize(
    ("name", "given", "offset_s", "expected"), STATE, ids=[r[0] for r in STATE]
)
def test_lowering_setpoint_is_state(name, given, offset_s, expected):
    assert outcome(replace(given, event=False), offset_s) == expected


def window(given, offset_s):
    verdict = judge_time(given, NOW, NOW_S, offset_s, synced=True)
    assert isinstance(verdict, Timing)
    # Both pairs of the window are the same instants.
    assert verdict.window.from_s - NOW_S == (verdict.window.valid_from - NOW).total_seconds()
    assert verdict.window.until_s - NOW_S == (verdict.window.valid_until - NOW).total_seconds()
    return verdict.window.from_s - NOW_S, verdict.window.until_s - NOW_S


@pytest.mark.parametrize(
    ("name", "given", "offset_s", "expected"),
    [
        ("as dated", dated(1, span_s=900), 0.0, (-1, 899)),
        ("late but honest: as dated", dated(40, span_s=900), 0.0, (-40, 860)),
        ("disagrees: counted from receipt", dated(3_600, span_s=900), -3_600.0, (0, 900)),
        ("disagrees, ?: counted from receipt", dated(40, span_s=900), None, (0, 900)),
        ("planned: the lead is kept", dated(40, span_s=900, lead_s=600), None, (600, 1_500)),
        ("began before it was issued", dated(40, span_s=900, lead_s=-100), None, (0, 800)),
        (
            "setpoint: moved, never lengthened",
            dated(3_600, span_s=7_200, event=False),
            60.0,
            (-3_660, 3_540),
        ),
        ("setpoint from the future, ?", dated(-60, span_s=900, event=False), None, (0, 900)),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_windows(name, given, offset_s, expected):
    assert window(given, offset_s) == expected


instants = st.integers(-10_000, 10_000)


@given(
    instants,
    st.integers(1, 20_000),
    instants,
    st.none() | st.integers(-9_000, 9_000),
    st.booleans(),
)
def test_a_lowering_message_is_refused_only_when_it_has_ended(
    age_s, span_s, lead_s, offset_s, event
):
    given_ = dated(age_s, span_s=span_s, lead_s=lead_s, event=event)
    offset = None if offset_s is None else float(offset_s)
    verdict = judge_time(given_, NOW, NOW_S, offset, synced=False)
    ended = given_.valid_until <= NOW
    ended_there = offset is None or given_.valid_until <= NOW + seconds(offset)
    if isinstance(verdict, Untimely):
        assert verdict.reason is R.EXPIRED
        assert (ended and ended_there) or given_.valid_until <= given_.issued_at
    elif event:
        assert verdict.window.until_s > NOW_S
        assert verdict.window.until_s - verdict.window.from_s <= span_s


@given(instants, instants, st.none() | st.integers(-9_000, 9_000), st.booleans())
def test_whatever_raises_and_is_accepted_stands_in_both_clocks(age_s, lead_s, offset_s, event):
    given_ = dated(age_s, lead_s=lead_s, event=event, raises=True)
    offset = None if offset_s is None else float(offset_s)
    verdict = judge_time(given_, NOW, NOW_S, offset, synced=True)
    if isinstance(verdict, Timing):
        assert verdict.alarm is None
        assert given_.valid_until > NOW
        assert offset is None or abs(offset) <= 2
        assert age_s >= -30
        assert age_s <= 30 or not event


def clock_after(*heartbeats):
    """Feed (heard_s, their clock minus ours at sending, delay_s)."""
    clock = HeartbeatClock()
    for heard_s, ahead_s, delay_s in heartbeats:
        clock = clock.observe("ndc", NOW + seconds(heard_s + ahead_s - delay_s), NOW_S + heard_s)
    return clock


def offset(clock, after_s, wall_step_s=0):
    now = NOW + seconds(after_s + wall_step_s)
    return clock.view(now, NOW_S + after_s, synced=True).offsets_s.get("ndc")


def test_offset_is_that_of_the_fastest_heartbeat():
    clock = clock_after((0, 10, 0.4), (5, 10, 0.1), (10, 10, 3.0))
    assert offset(clock, 10) == pytest.approx(9.9)


def test_offset_is_unknown_before_the_first_and_long_after_the_last():
    assert offset(HeartbeatClock(), 0) is None
    clock = clock_after((0, 10, 0))
    assert offset(clock, 120) == pytest.approx(10)
    assert offset(clock, 121) is None


def test_a_step_of_our_own_clock_shows_at_once():
    clock = clock_after((0, 0, 0), (5, 0, 0))
    assert offset(clock, 6, wall_step_s=-3_600) == pytest.approx(3_600)


def test_samples_and_issuers_are_bounded():
    clock = HeartbeatClock()
    for number in range(100):
        clock = clock.observe(f"issuer-{number}", NOW, NOW_S)
        clock = clock.observe("issuer-0", NOW, NOW_S)
    assert len(clock.samples) == 32
    assert len(clock.samples["issuer-0"]) == 12
