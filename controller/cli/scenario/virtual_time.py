"""An event loop whose clock jumps from one due time to the next: hours pass in moments.

Nothing here waits for the outside world, so the order of events follows from the program alone
and a run can be repeated exactly. Sockets and threads do not belong on this loop.
"""

import asyncio
import selectors
from collections.abc import Coroutine, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")

_RESOLUTION_S = 1e-6


class Deadlock(RuntimeError):
    """Every task waits for something that no clock will bring."""


class _Patience(selectors.BaseSelector):
    """Has nothing to wait for but time, and takes none to do it."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Keep the loop's own wake-up socket, unwatched."""
        number = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = selectors.SelectorKey(fileobj, number, events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Forget it."""
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Let `timeout` seconds have passed. Raises Deadlock where nothing is due ever."""
        if timeout is None:
            raise Deadlock("nothing is due and nothing can come: a task waits for ever")
        self.now_s += max(0.0, timeout)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """What is registered."""
        return self._keys


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        self._patience = _Patience()
        super().__init__(self._patience)
        self._clock_resolution = _RESOLUTION_S

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._patience.now_s


def run_virtual(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a virtual clock that starts at 0."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


class VirtualClock:
    """Both clocks of a site on the running loop's time. The wall clock is in step by definition."""

    def __init__(self, start: datetime) -> None:
        self._start = start

    def monotonic_s(self) -> float:
        """Virtual seconds."""
        return asyncio.get_running_loop().time()

    def utc(self) -> datetime:
        """The start and the virtual seconds since."""
        return self._start + timedelta(seconds=self.monotonic_s())

    def synced(self) -> bool | None:
        """Always in step."""
        return True
