"""Keeps the treasury going: rounds, audits and pools in threads beside the loop that shows them.

Each may wait for somebody else for minutes, and none keeps another waiting.
"""

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import msgspec
import structlog

from controller.channel.treasury import TreasuryImage
from controller.clock import SiteClock
from controller.treasury.alarms import KEEPS_FROM_WORK, Alarm, AlarmKind, Standing, fault_of
from controller.treasury.database import DatabaseError
from controller.treasury.work import Work

PUBLISH_S = 1.0
LATE_MIN_S = 60.0
LATE_ROUNDS = 10

_log = structlog.get_logger()
_Result = TypeVar("_Result")


async def off_loop(work: Callable[[], _Result]) -> _Result:
    """Run blocking work in a thread of its own that does not keep the process alive.

    A node may hold a call for minutes; whoever ends the process then must not wait, and may not
    harm: everything is stored before it leaves.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[_Result] = loop.create_future()

    def settle(result: _Result | None, error: BaseException | None) -> None:
        if outcome.cancelled():
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as found:  # noqa: BLE001 - it is raised where it is awaited
            error = found
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:
            _log.info("ended_while_working")

    threading.Thread(target=run, daemon=True).start()
    return await outcome


class Loops:
    """The tasks of one treasury. `late_s`: how much longer than usual a round may take."""

    def __init__(
        self, work: Work, poll_s: float, *, audit_every_s: float, late_s: float, clock: SiteClock
    ) -> None:
        self._work = work
        self._poll_s = poll_s
        self._audit_every_s = audit_every_s
        self._late_s = max(LATE_MIN_S, LATE_ROUNDS * poll_s + late_s)
        self._clock = clock
        self._begun_s = clock.monotonic_s()
        self._own = Standing()
        self._failed: dict[str, Alarm] = {}

    async def run(self, publish: Callable[[TreasuryImage], None]) -> None:
        """Work and publish for ever; the first part that fails ends all."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._rounds())
            tasks.create_task(self._audits())
            tasks.create_task(self._pools())
            tasks.create_task(self._show(publish))

    def not_ready(self) -> list[str]:
        """What keeps the treasury from its work now, for `/readyz`."""
        image = self.image()
        if image is None:
            return ["no round is done yet"]
        kinds = {str(kind) for kind in KEEPS_FROM_WORK}
        return [
            f"{alarm.alarm_id}: {alarm.detail}" for alarm in image.alarms if alarm.alarm_id in kinds
        ]

    def image(self) -> TreasuryImage | None:
        """The last round's image as of now; None before the first."""
        image = self._work.image
        if image is None:
            return None
        now, tip_at = self._clock.utc(), image.chain.tip_at
        age_s = None if tip_at is None else max(0.0, (now - tip_at).total_seconds())
        chain = msgspec.structs.replace(image.chain, tip_age_s=age_s)
        since_s = self._clock.monotonic_s() - (self._work.done_s or self._begun_s)
        own = list(self._failed.values())
        if since_s > self._late_s:
            own.append(Alarm(kind=AlarmKind.ROUND_LATE, detail=f"for {since_s:.0f} s"))
        alarms = [*self._own.view(own, now), *image.alarms]
        return msgspec.structs.replace(image, at=now, chain=chain, alarms=alarms)

    async def _rounds(self) -> None:
        while True:
            await off_loop(self._work.round)
            await asyncio.sleep(0.0 if self._work.has_more else self._poll_s)

    async def _audits(self) -> None:
        """Compare at every new tip, but no more often than asked."""
        audit = self._work.parts.audit
        while True:
            await asyncio.sleep(self._poll_s)
            stands_at = self._work.stands_at
            seen = None if audit.finding is None else audit.finding.block_hash
            if stands_at is not None and stands_at != seen:
                await off_loop(partial(self._kept, "audit", audit.compare))
                await asyncio.sleep(self._audit_every_s)

    async def _pools(self) -> None:
        work = self._work
        while work.parts.pools:
            await asyncio.sleep(min(1.0, self._poll_s))
            for desk in work.parts.pools:
                if desk.is_due():
                    ask = partial(desk.ask, work.parts.database)
                    await off_loop(partial(self._kept, "pools", ask))

    async def _show(self, publish: Callable[[TreasuryImage], None]) -> None:
        while True:
            if (image := self.image()) is not None:
                publish(image)
            await asyncio.sleep(PUBLISH_S)

    def _kept(self, what: str, act: Callable[[], None]) -> None:
        """Run an act that must not end the others, whatever it meets."""
        self._failed.pop(what, None)
        try:
            act()
        except DatabaseError as error:
            _log.error("database_failed", error=str(error))  # the next round meets it too
        except Exception as error:  # noqa: BLE001 - people must see it, and the rest go on
            _log.exception("act_failed", act=what)
            self._failed[what] = Alarm(
                kind=AlarmKind.PROGRAM_FAILED, detail=fault_of(error), about=what
            )
