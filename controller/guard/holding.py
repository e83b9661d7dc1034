"""Takes signed holds, keeps them over a restart, and knows when the one in force ends."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog

from controller.channel.frames import RequestRefused
from controller.channel.guard import HoldView
from controller.clock import SiteClock
from controller.guard.hold import Hold, follows, opened, remaining_s
from controller.guard.store import Store, StoreError
from controller.signing import PublicKey

_log = structlog.get_logger()

REFUSED_S = 600.0
"""How long a refused hold stays alarmed."""


@dataclass(frozen=True, slots=True)
class _Held:
    """The newest hold that was taken, and when it ends (CLOCK_MONOTONIC)."""

    hold: Hold
    issuer: str
    envelope: bytes
    until_s: float


class Holding:
    """The holds of one guard."""

    def __init__(
        self, site_id: str, keys: Mapping[str, PublicKey], store: Store, clock: SiteClock
    ) -> None:
        """`keys`: who may sign a hold."""
        self._site_id = site_id
        self._keys = keys
        self._store = store
        self._clock = clock
        self._turn = asyncio.Lock()
        self._held: _Held | None = None
        self._last_at: datetime | None = None
        self._fault: str | None = None
        self._refused: tuple[str, float] | None = None

    @property
    def until_s(self) -> float | None:
        """When the newest hold ends or ended (CLOCK_MONOTONIC); None when there was none."""
        return None if self._held is None else self._held.until_s

    def load(self) -> None:
        """Take up the hold that an earlier run left, if it is still in force."""
        now = self._clock.utc()
        try:
            stored = self._store.load_hold()
        except StoreError as error:
            self._forgot(str(error), now)
            return
        if stored is None:
            return
        envelope, is_ended = stored
        found = opened(envelope, self._keys, self._site_id)
        if isinstance(found, str):
            self._forgot(f"the hold of an earlier run does not count: {found}", now)
            return
        hold, signer = found
        self._last_at = hold.from_at
        left_s = remaining_s(hold, now)
        if isinstance(left_s, str):
            _log.info("hold_is_over", detail=left_s)
        elif not is_ended:
            self._begin(hold, signer, envelope, left_s)

    async def take(self, envelope: bytes) -> None:
        """Take a new hold. Raises RequestRefused with why not, which is alarmed too."""
        async with self._turn:
            await self._take(envelope)

    async def _take(self, envelope: bytes) -> None:
        found = opened(envelope, self._keys, self._site_id)
        if isinstance(found, str):
            raise self._refusal(found)
        hold, signer = found
        left_s = remaining_s(hold, self._clock.utc())
        if isinstance(left_s, str):
            raise self._refusal(left_s)
        if (late := follows(hold, self._last_at)) is not None:
            raise self._refusal(late)
        try:
            await asyncio.to_thread(self._store.save_hold, envelope, is_ended=False)
        except StoreError as error:  # it could be taken again after a restart
            raise self._refusal(str(error)) from None
        self._last_at, self._fault, self._refused = hold.from_at, None, None
        self._begin(hold, signer, envelope, left_s)

    async def end(self, by: str) -> None:
        """End the hold in force. Raises RequestRefused when there is none."""
        async with self._turn:
            await self._end(by)

    async def _end(self, by: str) -> None:
        now_s, held = self._clock.monotonic_s(), self._held
        if held is None or held.until_s <= now_s:
            raise RequestRefused("no hold is in force")
        self._held = _Held(held.hold, held.issuer, held.envelope, now_s)
        _log.warning("hold_ended", by=by)
        try:
            await asyncio.to_thread(self._store.save_hold, held.envelope, is_ended=True)
        except StoreError as error:
            self._fault = f"{error}; after a restart the hold would be in force again"

    def view(self, now_s: float) -> HoldView | None:
        """The hold in force."""
        held = self._held
        if held is None or held.until_s <= now_s:
            return None
        return HoldView(
            until_at=held.hold.until_at,
            ends_in_s=held.until_s - now_s,
            reason=held.hold.reason,
            by=held.hold.by,
            issuer=held.issuer,
        )

    def alarms(self, now_s: float) -> list[str]:
        """What people must know of holds."""
        alarms = []
        if (held := self.view(now_s)) is not None:
            alarms.append(
                f"held by {held.by} ({held.issuer}) until {held.until_at:%H:%M:%S} UTC: a silent "
                "controller does not trip this guard"
            )
        if self._fault is not None:
            alarms.append(self._fault)
        if self._refused is not None and now_s - self._refused[1] < REFUSED_S:
            alarms.append(f"a hold was refused: {self._refused[0]}")
        return alarms

    def _begin(self, hold: Hold, signer: PublicKey, envelope: bytes, left_s: float) -> None:
        until_s = self._clock.monotonic_s() + left_s
        self._held = _Held(hold, signer.issuer, envelope, until_s)
        _log.warning(
            "held", by=hold.by, issuer=signer.issuer, reason=hold.reason, left_s=round(left_s)
        )

    def _forgot(self, fault: str, now: datetime) -> None:
        # Which holds were taken is unknown: none that was signed before now may count again.
        self._last_at, self._fault = now, fault
        _log.error("guard_fault", part="hold", error=fault)

    def _refusal(self, why: str) -> RequestRefused:
        self._refused = why, self._clock.monotonic_s()
        _log.error("hold_refused", error=why)
        return RequestRefused(why)
