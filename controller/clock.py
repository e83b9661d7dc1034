"""The machine's two clocks, and what the kernel says of the wall clock."""

import ctypes
import time
from datetime import UTC, datetime
from typing import Protocol

_TIME_ERROR = 5
"""adjtimex(2): the clock is not synchronised."""
_TIMEX_BYTES = 256
"""struct timex is 208 bytes on 64-bit Linux; mode 0 at its start means read only."""


class SiteClock(Protocol):
    """Both clocks. Ages use the monotonic one, validity the wall clock."""

    def monotonic_s(self) -> float:
        """CLOCK_MONOTONIC in seconds."""
        ...

    def utc(self) -> datetime:
        """Aware wall-clock time in UTC."""
        ...

    def synced(self) -> bool | None:
        """Whether the wall clock is disciplined; None when that cannot be told."""
        ...


class SystemClock:
    """The clocks of this machine."""

    monotonic_s = staticmethod(time.monotonic)
    """CLOCK_MONOTONIC in seconds. The function itself: six of these calls go into every poll."""

    def __init__(self, *, trusted: bool = False) -> None:
        """`trusted`: a host keeps this machine's clock, so adjtimex cannot tell."""
        self._trusted = trusted
        self._libc = ctypes.CDLL(None, use_errno=True)

    def utc(self) -> datetime:
        """Aware wall-clock time in UTC."""
        return datetime.now(UTC)

    def synced(self) -> bool | None:
        """What adjtimex says; None where the kernel refuses to say (some containers)."""
        if self._trusted:
            return None
        state = int(self._libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
        return None if state < 0 else state != _TIME_ERROR
