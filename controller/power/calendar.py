"""When a window of the calendar is open: a pure function of the window, the zone and now."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta, tzinfo

from controller.power.site import Window


def occurrences(
    window: Window, now: datetime, zone: tzinfo, ahead: timedelta = timedelta(hours=24)
) -> Iterator[tuple[datetime, datetime]]:
    """Yield (begin, end) of every opening that is running at `now` or begins within `ahead`,
    oldest first.
    """
    today = now.astimezone(zone).date()
    for days in range(-1, 2 + ahead.days):
        begin, end = _opening(window, today + timedelta(days=days), zone)
        if begin is not None and end > now and begin <= now + ahead:
            yield begin, end


def _opening(window: Window, day: date, zone: tzinfo) -> tuple[datetime | None, datetime]:
    begin = datetime.combine(day, window.since, tzinfo=zone)
    past_midnight = window.until <= window.since
    end = datetime.combine(day + timedelta(days=past_midnight), window.until, tzinfo=zone)
    wanted = (not window.months or day.month in window.months) and (
        not window.weekdays or day.weekday() in window.weekdays
    )
    return (begin if wanted else None), end
