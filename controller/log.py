"""Logs of every process: structured, for people or as JSON, and bounded for each device.

A device that fails every second must not fill the disk or hide the others: of one event about one
device, `BURST` lines a minute are written; the first of the next minute says how many were left
out.
"""

import sys
import time
from collections.abc import Callable, MutableMapping
from typing import Any

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


def configure(*, as_json: bool) -> None:
    """Log to standard error from now on: JSON lines for programs, or a line for people."""
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
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
