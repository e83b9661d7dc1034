"""Reads the plant's true state as it grows, and integrates it to hashes.

Lines are hostile like any file: bounded in size and value, and a line that cannot be read is
counted and left out. A line that is not whole yet is read when its end has come.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO

LINE_BYTES_MAX = 1_048_576
READ_BYTES_MAX = 1_048_576
"""In one portion; the caller gets its breath between two."""
GAP_MAX_S = 10
"""Lines further apart are not one run: nobody knows what was hashed between them."""
HASHRATE_THS_MAX = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Sample:
    """The fleet's hashrate at one moment: `t_ms` since that run's start, hashes per second."""

    at: datetime
    t_ms: int
    hashrate_hs: int


def hashes_between(before: Sample, after: Sample) -> int:
    """Return the hashes between two lines of one run, by trapezoid; 0 when it is not one run."""
    gap_ms = after.t_ms - before.t_ms
    pause = after.at - before.at
    if not 0 < gap_ms <= GAP_MAX_S * 1000 or not timedelta(0) < pause <= timedelta(0, GAP_MAX_S):
        return 0
    return (before.hashrate_hs + after.hashrate_hs) * gap_ms // 2000


class TruthTail:
    """Follows one file; begins anew when another stands in its place or it was cut."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._partial = b""
        self._skipping = False
        self.unreadable = 0
        """Lines that were left out."""

    def read(self) -> tuple[list[Sample], bool]:
        """Return what was added, and whether more waits. A missing file has nothing yet.

        Raises OSError when it cannot be read.
        """
        if self._file is None or self._replaced(self._file):
            self.close()
            try:
                self._file = self._path.open("rb")
            except FileNotFoundError:
                return [], False
        data = self._file.read(READ_BYTES_MAX)
        return list(self._samples(data)), len(data) == READ_BYTES_MAX

    def close(self) -> None:
        """Close the file; a next read begins at its start."""
        if self._file is not None:
            self._file.close()
        self._file, self._partial, self._skipping = None, b"", False

    def _replaced(self, file: BinaryIO) -> bool:
        ours = os.fstat(file.fileno())
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino) or (
            there.st_size < file.tell()
        )

    def _samples(self, data: bytes) -> Iterator[Sample]:
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            if self._skipping:
                self._skipping = False
                continue
            sample = parse_sample(line)
            if sample is None:
                self.unreadable += 1
            else:
                yield sample
        if len(self._partial) > LINE_BYTES_MAX:
            self.unreadable += not self._skipping
            self._partial, self._skipping = b"", True


def parse_sample(line: bytes) -> Sample | None:
    """Read one line; None when it is not one."""
    try:
        state = json.loads(line, parse_float=Decimal)
        at = datetime.fromisoformat(state["at"])
        t_s, hashrate_ths = state["t_s"], state["hashrate_ths"]
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError):
        return None
    if not (_within(t_s, 10**10) and _within(hashrate_ths, HASHRATE_THS_MAX)) or at.tzinfo is None:
        return None
    hashrate_hs = int(Decimal(hashrate_ths).scaleb(12))
    return Sample(at, int(Decimal(t_s).scaleb(3)), hashrate_hs)


def _within(value: object, most: int) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return False
    return Decimal(value).is_finite() and 0 <= value <= most
