"""The threads that write to disk: once a second, what came meanwhile, in one commit.

The site only puts things into memory here. When the disk is slow or broken they wait, up to a
bound, and then are counted and left out; the site never waits and is never told.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import structlog

from controller.clock import SiteClock
from controller.telemetry.lines import Line
from controller.telemetry.spool import Spool
from controller.telemetry.store import StoreDamaged, StoreError, damaged_path, move_aside

_log = structlog.get_logger()

COMMIT_EVERY_S = 1.0
LINES_MAX = 50_000
"""Lines that wait in memory for the disk: half a minute of a large site."""

_Result = TypeVar("_Result")


class Commits:
    """A thread that commits once a second until it is ended, and once more then."""

    def __init__(self, name: str, commit: Callable[[], None]) -> None:
        """`commit` may raise StoreError; then it is called again a second later."""
        self.error: str | None = None
        """Why the last commit failed; None when it did not."""
        self._name = name
        self._commit = commit
        self._told = threading.Event()
        # A daemon: a disk that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> None:
        """Ask for the last commit and the end; returns at once."""
        self._told.set()

    @property
    def ended(self) -> bool:
        """Whether the last commit was made, or nothing was ever begun."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._told.wait(COMMIT_EVERY_S):
            self._once()
        self._once()

    def _once(self) -> None:
        error = None
        try:
            self._commit()
        except StoreError as failed:
            error = str(failed)
        except Exception as failed:  # noqa: BLE001 - a fault of ours must not end the thread for ever
            error = f"a fault of the program: {failed!r}"
        if error is not None and self.error is None:
            _log.error("not_written_to_disk", part=self._name, error=error)
        elif error is None and self.error is not None:
            _log.info("written_to_disk_again", part=self._name)
        self.error = error


class SpoolKeeper:
    """Lines on their way into the spool, and the spool itself once it could be opened."""

    def __init__(self, path: Path, bytes_max: int, clock: SiteClock) -> None:
        self.path = path
        self.damaged = damaged_path(path).exists()
        """Whether a damaged spool was moved aside and stands there still."""
        self._bytes_max = bytes_max
        self._clock = clock
        self._lines: deque[Line] = deque()
        self._left_out, self._told = 0, 0  # each written by one thread only
        self._spool: Spool | None = None
        self._opening = threading.Lock()
        self._filled = threading.Event()

    @property
    def spool(self) -> Spool | None:
        """The spool; None while it cannot be opened."""
        return self._spool

    @property
    def unrecorded(self) -> int:
        """Lines left out since the spool took the last ones."""
        return self._left_out - self._told

    def put(self, lines: Iterable[Line]) -> None:
        """Hand in lines. Returns at once; those for which memory has no place are counted."""
        for line in lines:
            if len(self._lines) < LINES_MAX:
                self._lines.append(line)
            else:
                self._left_out += 1

    def commit(self) -> None:
        """Move what was handed in to the disk. Raises StoreError; then it waits on."""
        self.damaged = damaged_path(self.path).exists()
        taken = [self._lines.popleft() for _ in range(len(self._lines))]
        unrecorded = self.unrecorded
        if not taken and not unrecorded and self._spool is not None:
            return
        try:
            self.use(lambda spool: spool.append(taken, unrecorded=unrecorded))
        except BaseException:
            self._lines.extendleft(reversed(taken))
            raise
        self._told += unrecorded
        self._filled.set()

    def wait_filled(self, seconds: float) -> None:
        """Wait until a commit brought lines, or `seconds` have passed."""
        self._filled.wait(seconds)
        self._filled.clear()

    def use(self, act: Callable[[Spool], _Result]) -> _Result:
        """Do something with the spool, which is opened if need be. Raises StoreError.

        A damaged one is moved aside; the next call begins a new one.
        """
        with self._opening:
            if self._spool is None:
                try:
                    now_unix_s = self._clock.utc().timestamp()
                    self._spool = Spool(self.path, bytes_max=self._bytes_max, now_unix_s=now_unix_s)
                except StoreDamaged as error:
                    self._move_aside(error)
                    raise
            spool = self._spool
        try:
            return act(spool)
        except StoreDamaged as error:
            with self._opening:
                if self._spool is spool:
                    self._spool = None
                    spool.close()
                    self._move_aside(error)
            raise

    def close(self) -> None:
        """Close the spool."""
        with self._opening:
            if self._spool is not None:
                self._spool.close()

    def _move_aside(self, error: StoreDamaged) -> None:
        _log.error("spool_damaged", error=str(error), moved_to=str(damaged_path(self.path)))
        move_aside(self.path)
        self.damaged = True
