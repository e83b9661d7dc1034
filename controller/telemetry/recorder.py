"""What the tick and the poll call: it takes what they saw, and never troubles them.

    image ───► Recorder ─► memory ─► spool ─► shipper ─► database      where [telemetry] is
    reading ─►    └──────► memory ─► history                           always

Both disks and the database have threads of their own. Whatever happens there, a call from the site
costs the making of a few lines, and raises nothing.
"""

import asyncio
from collections.abc import Iterator, Sequence
from math import inf
from typing import Self

import structlog

from controller.channel.view import AlarmView, SiteImage
from controller.clock import SiteClock
from controller.telemetry.alarms import Board, Facts
from controller.telemetry.history import History
from controller.telemetry.keeper import Commits
from controller.telemetry.lines import Line, unix_ns
from controller.telemetry.outlet import COMMIT_S, Outlet, until
from controller.telemetry.series import MinerSeries, SiteSeries
from drivers.contract.readings import MinerReading

_log = structlog.get_logger()

_CLOCK_S = 0.5
"""How often the wall clock is looked at for readings; between, they are placed by the monotonic."""
_GATHER_S = 0.05
_TURN = 64
"""Readings made into lines before the loop may do something else: less than a millisecond."""


class Recorder:
    """Records one site while its context is entered. `outlet` None: there is no database."""

    def __init__(
        self,
        clock: SiteClock,
        site: SiteSeries,
        miners: MinerSeries,
        history: History,
        outlet: Outlet | None,
    ) -> None:
        self._clock = clock
        self._site = site
        self._miners = miners
        self._history = history
        self._commits = Commits("history", history.commit)
        self._outlet = outlet
        self._board = Board()
        self._looked_s, self._looked_ns = -inf, 0
        self._readings: list[tuple[MinerReading, int]] = []
        """Heard, and when in ns since 1970; not yet lines."""
        self._making: asyncio.Task[None] | None = None
        self._failed = False

    def saw(self, image: SiteImage) -> None:
        """Record a tick."""
        try:
            self._history.note(image)
            if self._outlet is not None:
                self._outlet.put(self._site.lines(image))
        except Exception:  # noqa: BLE001 - a fault of telemetry must not reach the tick
            self._say_once()

    def heard(self, reading: MinerReading) -> None:
        """Record a miner's reading, soon: many lines at once cost a third of each by itself."""
        if self._outlet is None:
            return
        try:
            now_s = self._clock.monotonic_s()
            if now_s - self._looked_s >= _CLOCK_S:
                self._looked_s, self._looked_ns = now_s, unix_ns(self._clock.utc())
            at_ns = self._looked_ns + round((reading.taken_s - self._looked_s) * 1e9)
            self._readings.append((reading, at_ns))
        except Exception:  # noqa: BLE001 - nor the poll
            self._say_once()

    def alarms(self) -> Sequence[AlarmView]:
        """Telemetry's alarms that stand now."""
        try:
            facts = Facts(
                outlet=None if self._outlet is None else self._outlet.facts(),
                history_error=self._commits.error,
                history_damaged=self._history.damaged,
            )
            return self._board.standing(facts, self._clock.utc(), self._clock.monotonic_s())
        except Exception:  # noqa: BLE001 - nor the tick from here
            self._say_once()
            return ()

    async def __aenter__(self) -> Self:
        """Start the threads."""
        self._commits.start()
        if self._outlet is not None:
            self._outlet.start()
            self._making = asyncio.create_task(self._make_lines(self._outlet))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Commit what is held, ship for a moment, end. Never waits for a disk that hangs."""
        self._commits.end()
        if self._outlet is not None and self._making is not None:
            self._making.cancel()
            await asyncio.gather(self._making, return_exceptions=True)
            self._put(self._outlet, len(self._readings))
            await self._outlet.end()
        await until(lambda: self._commits.ended, COMMIT_S)
        if self._commits.ended:
            self._history.close()

    async def _make_lines(self, outlet: Outlet) -> None:
        while True:
            await asyncio.sleep(_GATHER_S)
            while self._readings:
                self._put(outlet, _TURN)
                await asyncio.sleep(0)

    def _put(self, outlet: Outlet, most: int) -> None:
        readings, self._readings = self._readings[:most], self._readings[most:]
        try:
            outlet.put(self._lines(readings))
        except Exception:  # noqa: BLE001 - nor may it end the making of lines
            self._say_once()

    def _lines(self, readings: list[tuple[MinerReading, int]]) -> Iterator[Line]:
        for reading, at_ns in readings:
            try:
                yield from self._miners.lines(reading, at_ns)
            except Exception:  # noqa: BLE001 - one that cannot be told must not cost the others
                self._say_once()

    def _say_once(self) -> None:
        """Log a fault of ours, once: it would come every second."""
        if not self._failed:
            self._failed = True
            _log.exception("telemetry_failed")
