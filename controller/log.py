"""Logs of every process: structured, for people or as JSON, and bounded for each device.

A device that fails every second must not fill the disk or hide the others: of one event about one
device, `BURST` lines a minute are written; the first of the next minute says how many were left
out. A line that cannot be written (a full disk, a reader that went away) is lost and counted, and
stops nothing.
"""

import sys
import threading
import time
from collections.abc import Callable, MutableMapping
from typing import Any, TextIO

import structlog

BURST = 5
WINDOW_S = 60.0
_DEVICE_KEYS = ("miner", "meter", "pool")
_KEYS_MAX = 50_000
"""More devices than any site has; beyond, the oldest windows are forgotten."""

Entry = MutableMapping[str, Any]


class DeviceRate:
    """A structlog processor that drops what one device says too often."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._windows: dict[tuple[str, str], tuple[float, int]] = {}

    def __call__(self, _logger: object, _method: str, entry: Entry) -> Entry:
        """Pass an entry on, with `left_out` where lines before it were dropped, or drop it."""
        device = next((str(entry[key]) for key in _DEVICE_KEYS if key in entry), None)
        if device is None:
            return entry
        key, now_s = (str(entry.get("event")), device), self._monotonic_s()
        begun_s, said = self._windows.get(key, (now_s, 0))
        if now_s - begun_s >= WINDOW_S:
            if said > BURST:
                entry["left_out"] = said - BURST
            begun_s, said = now_s, 0
            self._windows.pop(key, None)
        self._windows[key] = (begun_s, said + 1)
        if len(self._windows) > _KEYS_MAX:
            del self._windows[next(iter(self._windows))]
        if said >= BURST:
            raise structlog.DropEvent
        return entry


class LineLogger:
    """What structlog writes to. Never raises: the next line that can be written follows one that
    says how many may be lost.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._lost = 0

    def msg(self, line: str) -> None:
        """Write a line."""
        with self._lock:
            try:
                if self._lost:
                    self._stream.write(f"{self._lost} lines of this log may be lost\n")
                self._stream.write(f"{line}\n")
                self._stream.flush()
            except (OSError, ValueError):
                self._lost += 1
            else:
                self._lost = 0

    debug = info = warning = error = critical = msg


def configure(*, as_json: bool) -> None:
    """Log to standard error from now on: JSON lines for programs, or a line for people."""
    logger = LineLogger(sys.stderr)
    plain = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            DeviceRate(),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info
            if as_json
            else structlog.processors.StackInfoRenderer(),
            structlog.processors.JSONRenderer() if as_json else plain,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(20),
        logger_factory=lambda *_: logger,
    )
