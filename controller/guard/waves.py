"""Waves of prepared commands, each in a thread of its own, and their outcomes back in the loop.

start ─▶ thread: wave ─▶ outcomes, gathered ─▶ loop: told one by one
"""

import asyncio
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import structlog

from drivers.contract.commands import Outcome, Unconfirmed
from drivers.contract.frames import SleepFrame
from drivers.transport.ports import Clock

_log = structlog.get_logger()

_GATHER_S = 0.1
"""Outcomes are told together, so often: each by itself takes the wave's turn away from it."""
_END_S = 1.0

SendWave = Callable[
    [Iterable[SleepFrame], Callable[[SleepFrame, Outcome], None], Callable[[], bool]], None
]
"""Sends frames; blocks until each has its outcome, or the last argument says that this ends. Run in
a thread of its own.
"""


class Waves:
    """The waves of one guard. `told` hears each outcome once, in the loop that began the wave."""

    def __init__(self, send: SendWave, clock: Clock, told: Callable[[str, Outcome], None]) -> None:
        self._send = send
        self._clock = clock
        self._told = told
        self._threads: list[threading.Thread] = []
        self._sending: set[object] = set()
        """Waves with commands that have not left."""
        self._ending = threading.Event()

    @property
    def sending(self) -> bool:
        """Whether commands of any wave have not left."""
        return bool(self._sending)

    def start(self, frames: list[SleepFrame], until_s: float = math.inf) -> None:
        """Send these, those that want two requests first; returns at once. What has not left by
        `until_s` is too old to be sent.
        """
        loop = asyncio.get_running_loop()
        frames = sorted(frames, key=lambda frame: not frame.goes_on)
        open_names = {frame.miner_id for frame in frames}
        gathered: deque[tuple[str, Outcome]] = deque()
        sending = object()
        self._sending.add(sending)

        def leaving() -> Iterator[SleepFrame]:
            for frame in frames:
                late = self._clock.monotonic_s() > until_s
                yield replace(frame, valid_until_s=until_s) if late else frame
            self._sending.discard(sending)

        def answered(frame: SleepFrame, outcome: Outcome) -> None:
            open_names.discard(frame.miner_id)
            gathered.append((frame.miner_id, outcome))
            if len(gathered) == 1:
                loop.call_soon_threadsafe(loop.call_later, _GATHER_S, tell)

        def tell() -> None:
            while gathered:
                loop.call_soon(self._told, *gathered.popleft())

        def send() -> None:
            try:
                self._send(leaving(), answered, self._ending.is_set)
            except Exception as error:  # noqa: BLE001 - unanswered, its miners would count as off for ever
                _log.exception("wave_failed")
                lost = Unconfirmed(detail=f"the wave failed: {error!r}")
                for name in tuple(open_names):
                    loop.call_soon_threadsafe(self._told, name, lost)
            finally:
                self._sending.discard(sending)

        # A thread of its own: the wave must not wait for anything that this loop does.
        thread = threading.Thread(target=send, name="wave", daemon=True)
        self._threads = [wave for wave in self._threads if wave.is_alive()] + [thread]
        thread.start()

    async def close(self) -> None:
        """Stop waiting for answers. What a miner has received it carries out all the same."""
        self._ending.set()
        for wave in self._threads:
            await asyncio.to_thread(wave.join, _END_S)
