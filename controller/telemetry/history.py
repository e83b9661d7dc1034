"""Keeps the site's own past on disk, database or not, and answers for it.

    second  every tick            2 days, or what fits in 1 GiB
    minute  means of seconds    400 days, or what fits in 2 GiB
    hour    means of minutes    400 days

The steps of an answer are read from the coarsest level that is no coarser than they are, so that a
year costs as much as an hour.
"""

import math
import sqlite3
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import structlog

from controller.channel.frames import FRAME_BYTES_MAX
from controller.channel.history import POINTS_MAX, SPAN_S_MAX, HistoryPage, ReadHistory
from controller.channel.view import SiteImage
from controller.clock import SiteClock
from controller.telemetry.history_rows import (
    LEVELS,
    SECOND,
    SHAPE,
    Names,
    Row,
    fold,
    forget,
    layouts,
    means,
    packed,
    put,
    read,
)
from controller.telemetry.series import frequency_hz, hashrate_ths
from controller.telemetry.store import (
    StoreDamaged,
    damaged_path,
    explained,
    move_aside,
    open_store,
    open_to_read,
    transaction,
)

_log = structlog.get_logger()

ROWS_WAITING_MAX = 600
"""Ticks that wait in memory for the disk; then the oldest are left out."""
_VALUE_BYTES = 9
"""A float in msgpack."""
_FRAME_SHARE = 0.9
"""What of a frame an answer may fill: the rest is for its envelope and for names."""


class HistoryUnanswered(Exception):
    """The question is out of bounds, or no answer fits. Says which."""


class History:
    """The past of one site. `note` is for the tick, `commit` for a thread of its own, `page` for
    any other.
    """

    def __init__(self, path: Path, clock: SiteClock) -> None:
        self.path = path
        self.damaged = damaged_path(path).exists()
        """Whether a damaged file was moved aside and stands there still."""
        self._clock = clock
        self._waiting: deque[Row] = deque(maxlen=ROWS_WAITING_MAX)
        self._database: sqlite3.Connection | None = None
        self._nodes: list[str] = []
        self._names = _names([])

    def note(self, image: SiteImage) -> None:
        """Take the values of this tick; returns at once."""
        nodes = [node.node_id for node in image.nodes]
        if nodes != self._nodes:
            self._nodes, self._names = nodes, _names(nodes)
        values = [frequency_hz(image), hashrate_ths(image)]
        for node in image.nodes:
            values += (node.limit_w, node.measured_w, node.expected_w)
        self._waiting.append(Row(math.floor(image.at.timestamp()), self._names, packed(values)))

    def commit(self) -> None:
        """Write what was noted, make means, forget what is too old. Raises StoreError."""
        self.damaged = damaged_path(self.path).exists()
        taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
        try:
            self._write(taken)
        except StoreDamaged as error:
            _log.error("history_damaged", error=str(error), moved_to=str(damaged_path(self.path)))
            self.close()
            move_aside(self.path)
            raise
        except BaseException:
            self._waiting.extendleft(reversed(taken[-ROWS_WAITING_MAX // 2 :]))
            raise

    def _write(self, taken: list[Row]) -> None:
        if self._database is None:
            self._database = open_store(self.path, SHAPE, durable=False)
        now_s = math.floor(self._clock.utc().timestamp())
        with transaction(self._database, self.path):
            put(self._database, SECOND, taken)
            fold(self._database, now_s)
            forget(self._database, now_s)

    def close(self) -> None:
        """Close the file. Twice is once."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def page(self, asked: ReadHistory) -> HistoryPage:
        """Means over each step; fewer points than asked where a frame holds no more.

        Raises HistoryUnanswered, StoreError.
        """
        if not 0 < asked.span_s <= SPAN_S_MAX:
            raise HistoryUnanswered(f"span_s must be above 0 and at most {SPAN_S_MAX:.0f}")
        if not 1 <= asked.points <= POINTS_MAX:
            raise HistoryUnanswered(f"points must be 1 to {POINTS_MAX}")
        now_s = self._clock.utc().timestamp()
        with closing(open_to_read(self.path, SHAPE)) as database, explained(self.path):
            database.execute("BEGIN")  # one view of all tables
            newest: Names = next(reversed(layouts(database).values()), ())
            points = min(asked.points, _points_that_fit(newest))
            step_s = max(1.0, asked.span_s / points)
            points = min(points, math.ceil(asked.span_s / step_s))
            first_s = (math.floor(now_s / step_s) - points + 1) * step_s
            level = next(it for it in reversed(LEVELS) if it.step_s <= step_s)
            series = means(read(database, level, first_s), newest, first_s, step_s, points)
        at_unix_s = [first_s + number * step_s for number in range(points)]
        return HistoryPage(at_unix_s=at_unix_s, step_s=step_s, series=series)


def _names(nodes: Sequence[str]) -> Names:
    """The series of a tree, in the order in which `note` packs their values."""
    fields = ("limit_w", "measured_w", "expected_w")
    of_nodes = (f"{node}/{field}" for node in nodes for field in fields)
    return ("site/frequency_hz", "site/hashrate_ths", *of_nodes)


def _points_that_fit(names: Names) -> int:
    """How many points of so many series one frame holds. Raises HistoryUnanswered for none."""
    room = FRAME_BYTES_MAX * _FRAME_SHARE - sum(len(name.encode()) + 8 for name in names)
    points = int(room // ((len(names) + 1) * _VALUE_BYTES))
    if points < 1:
        raise HistoryUnanswered(f"{len(names)} series do not fit into one answer")
    return points
