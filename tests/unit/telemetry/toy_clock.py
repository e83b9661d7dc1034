"""A clock that stands where a test puts it."""

from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 25, 3, 0, 0, tzinfo=UTC)


class ToyClock:
    def __init__(self, at=START):
        self.at, self.s = at, 1000.0

    def monotonic_s(self):
        return self.s

    def utc(self):
        return self.at

    def synced(self):
        return True

    def go(self, seconds):
        self.s += seconds
        self.at += timedelta(seconds=seconds)
