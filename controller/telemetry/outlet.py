"""The way to a database: memory, spool, shipper, each with its thread."""

import asyncio
from collections.abc import Callable, Iterable

from controller.clock import SiteClock
from controller.telemetry.alarms import OutletFacts
from controller.telemetry.keeper import Commits, SpoolKeeper
from controller.telemetry.lines import Line
from controller.telemetry.shipper import Shipper, Writer

COMMIT_S = 1.5
"""How long the end waits for the last commit; a disk that is slower loses that second."""
SHIP_S = 1.0
"""How long the end waits for the database; what is left stays in the spool."""
_STEP_S = 0.02


class Outlet:
    """Takes lines; nobody who puts some in ever waits or is told of trouble."""

    def __init__(self, keeper: SpoolKeeper, writer: Writer, clock: SiteClock) -> None:
        self._keeper = keeper
        self._clock = clock
        self._commits = Commits("spool", keeper.commit)
        self._shipper = Shipper(keeper, writer, clock)

    def put(self, lines: Iterable[Line]) -> None:
        """Hand lines in."""
        self._keeper.put(lines)

    def start(self) -> None:
        """Begin to commit and to ship."""
        self._commits.start()
        self._shipper.start()

    async def end(self) -> None:
        """Commit what is held, ship for a moment, and end; what hangs is left behind."""
        self._commits.end()
        await until(lambda: self._commits.ended, COMMIT_S)
        self._shipper.end()
        await until(lambda: self._shipper.ended, SHIP_S)
        if self._commits.ended and self._shipper.ended:
            self._keeper.close()

    def facts(self) -> OutletFacts:
        """How it goes."""
        shipped, spool = self._shipper.shipped, self._keeper.spool
        since_s = self._shipper.waiting_since_s
        account = None if spool is None else spool.account
        lost = 0 if account is None else account.dropped + account.unrecorded
        return OutletFacts(
            verdict=None if shipped is None else shipped.verdict,
            detail="" if shipped is None else shipped.detail,
            waiting_s=None if since_s is None else self._clock.monotonic_s() - since_s,
            waiting=0 if spool is None else spool.waiting,
            rejected=0 if account is None else account.rejected,
            lost=lost + self._keeper.unrecorded,
            spool_error=self._commits.error,
            spool_damaged=self._keeper.damaged,
        )


async def until(condition: Callable[[], bool], longest_s: float) -> None:
    """Wait for a thread, without keeping the loop, for at most so long."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + longest_s
    while not condition() and loop.time() < end_s:  # noqa: ASYNC110 - a thread sets no asyncio event
        await asyncio.sleep(_STEP_S)
