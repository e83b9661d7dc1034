"""From lines of the plant's truth to hashes: into the book once, into the hashrate's windows."""

from bisect import bisect_right
from datetime import datetime

from simulators.services.pool.book import Book
from simulators.services.pool.truth import Sample, TruthTail, hashes_between

WINDOWS_S = (60, 300, 600, 1800, 3600, 10_800, 43_200, 86_400)
KEPT_S = WINDOWS_S[-1]
TRIMMED_AT = 2 * KEPT_S
"""Lines come once a second."""


class Hashrate:
    """What was hashed in the last minutes and hours."""

    def __init__(self) -> None:
        self._at_s: list[float] = []
        self._total_hashes: list[int] = []
        self._total_before = 0
        self._last_share_at: datetime | None = None

    def add(self, sample: Sample, hashes: int) -> None:
        """Add what was hashed up to a line; one from the past is left out."""
        at_s = sample.at.timestamp()
        if self._at_s and at_s <= self._at_s[-1]:
            return
        before = self._total_hashes[-1] if self._total_hashes else self._total_before
        self._at_s.append(at_s)
        self._total_hashes.append(before + hashes)
        if hashes:
            self._last_share_at = sample.at
        if len(self._at_s) > TRIMMED_AT:
            self._total_before = self._total_hashes[-KEPT_S - 1]
            del self._at_s[:-KEPT_S]
            del self._total_hashes[:-KEPT_S]

    def over(self, window_s: int, now: datetime) -> int:
        """Return the mean of a window up to `now`, in hashes per second."""
        now_s = now.timestamp()
        return (self._total_at(now_s) - self._total_at(now_s - window_s)) // window_s

    def last_share_at(self) -> datetime | None:
        """When it last hashed at all."""
        return self._last_share_at

    def _total_at(self, at_s: float) -> int:
        place = bisect_right(self._at_s, at_s)
        return self._total_hashes[place - 1] if place else self._total_before


class Intake:
    """Reads the file from its start after each restart; lines that the book has are not counted."""

    def __init__(self, tail: TruthTail, book: Book, hashrate: Hashrate) -> None:
        self._tail = tail
        self._book = book
        self._hashrate = hashrate
        self._counted = book.last_sample()
        self._previous: Sample | None = None

    def take(self) -> bool:
        """Take one portion of new lines; return whether more waits. Raises OSError."""
        samples, more = self._tail.read()
        hashes, counted = 0, self._counted
        for sample in samples:
            if self._previous:
                self._hashrate.add(sample, hashes_between(self._previous, sample))
            self._previous = sample
            if counted is None or sample.at > counted.at:
                hashes += hashes_between(counted, sample) if counted else 0
                counted = sample
        if counted is not None and counted != self._counted:
            self._book.count(hashes, counted)
            self._counted = counted
        return more
