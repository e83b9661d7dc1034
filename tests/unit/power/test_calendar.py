"""Windows of the calendar: local time of Bishkek (UTC+6), past midnight, months, weekdays."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.power.calendar import occurrences
from controller.power.site import Window

BISHKEK = ZoneInfo("Asia/Bishkek")
EVENING = Window(window_id="w", node_id="plant", cap_w=0.0, since=time(18), until=time(21))
NIGHT = replace(EVENING, since=time(23), until=time(2))
WINTER = replace(EVENING, months=frozenset({11, 12, 1, 2}))
FRIDAY_NIGHT = replace(NIGHT, weekdays=frozenset({4}))
LAST_OF_NOVEMBER = replace(NIGHT, months=frozenset({11}))
ALL_DAY = replace(EVENING, since=time(0), until=time(0))


def local(day: int, hour: int, minute: int = 0, month: int = 11) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=BISHKEK).astimezone(UTC)


def is_open(window: Window, at: datetime) -> bool:
    return any(begin <= at < end for begin, end in occurrences(window, at, BISHKEK))


@pytest.mark.parametrize(
    ("window", "at", "opened"),
    [
        # Sunday 2026-11-22
        (EVENING, local(22, 17, 59), False),
        (EVENING, local(22, 18), True),
        (EVENING, datetime(2026, 11, 22, 12, 0, tzinfo=UTC), True),
        (EVENING, datetime(2026, 11, 22, 11, 59, tzinfo=UTC), False),
        (EVENING, local(22, 20, 59), True),
        (EVENING, local(22, 21), False),
        (NIGHT, local(22, 22, 59), False),
        (NIGHT, local(22, 23), True),
        (NIGHT, local(23, 1, 59), True),
        (NIGHT, local(23, 2), False),
        (WINTER, local(15, 19, month=10), False),
        (WINTER, local(15, 19, month=1), True),
        # the weekday and month are those of the day on which the window begins
        (FRIDAY_NIGHT, local(20, 23, 30), True),
        (FRIDAY_NIGHT, local(21, 1), True),
        (FRIDAY_NIGHT, local(20, 1), False),
        (FRIDAY_NIGHT, local(21, 23, 30), False),
        (LAST_OF_NOVEMBER, local(1, 1, month=12), True),
        (LAST_OF_NOVEMBER, local(1, 23, 30, month=12), False),
        (LAST_OF_NOVEMBER, local(1, 1, month=11), False),
        (ALL_DAY, local(22, 0), True),
        (ALL_DAY, local(22, 13), True),
    ],
)
def test_when_a_window_is_open(window: Window, at: datetime, opened: bool) -> None:
    assert is_open(window, at) is opened


def test_the_next_opening_is_seen_a_day_ahead_and_no_further() -> None:
    seen = list(occurrences(EVENING, local(22, 17), BISHKEK))
    assert seen == [(local(22, 18), local(22, 21))]
    assert [begin for begin, _ in occurrences(EVENING, local(22, 19), BISHKEK)] == [
        local(22, 18),
        local(23, 18),
    ]


@given(
    at=st.datetimes(
        min_value=datetime(2026, 1, 1),  # noqa: DTZ001  # hypothesis adds the zone itself
        max_value=datetime(2028, 12, 31),  # noqa: DTZ001  # hypothesis adds the zone itself
        timezones=st.just(UTC),
    ),
    since=st.times(),
    until=st.times(),
)
def test_every_opening_is_current_or_near_and_lasts_at_most_a_day(
    at: datetime, since: time, until: time
) -> None:
    window = replace(EVENING, since=since, until=until)
    seen = list(occurrences(window, at, BISHKEK))
    assert seen, "an opening begins at least once in every day ahead"
    assert seen == sorted(seen)
    for begin, end in seen:
        assert at < end
        assert begin <= at + timedelta(hours=24)
        assert timedelta(0) < end - begin <= timedelta(hours=24)
