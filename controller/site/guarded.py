"""The controller's end of the guard: says that it ticks, gives the ladder, obeys the latch, hands
over Sleeps.

A beat leaves only while ticks end: a loop that turns and decides nothing is as good as dead, and
the guard must see that.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import structlog

from controller.channel.client import ChannelClient, connect
from controller.channel.frames import ChannelError
from controller.channel.guard import (
    LADDER_PART_ENTRIES,
    Beat,
    Entry,
    GuardAsk,
    GuardImage,
    Ladder,
    LadderPart,
    Shed,
    TakeOver,
    ladder_sha256,
)
from controller.channel.view import AlarmView
from controller.clock import SiteClock
from controller.config.inventory import InventoryRow
from controller.power.alarms import Severity
from controller.power.decide import MinerCommand
from controller.power.image import GuardShed, Image
from controller.power.ledger import Ledger
from controller.power.site import Site
from controller.power.state import State
from controller.site.curtail import Curtailer, Told, changed_since
from controller.site.ladder import ladder_of
from controller.site.slots import MinerSlots

_log = structlog.get_logger()

BEAT_S = 1.0
LADDER_S = 10.0
"""How often a ladder is made while anything changes."""
_ANSWER_S = 2.0
_AGAIN_S = 1.0
_LATE_TICKS = 5.0
"""Periods without a tick after which no beat leaves any more."""


class GuardLink:
    """One site's link to its guard; `run` keeps it up for ever."""

    def __init__(
        self,
        path: Path,
        site: Site,
        rows: Mapping[str, InventoryRow],
        epoch: str,
        clock: SiteClock,
    ) -> None:
        """`epoch` names this run of this process, unlike any other."""
        self._path = path
        self._site = site
        self._rows = rows
        self._epoch = epoch
        self._clock = clock
        self._ticked_s: float | None = None
        self._ladder: Ladder | None = None
        self._ladder_sha256: str | None = None
        self._made_s: float | None = None
        self._image: GuardImage | None = None
        self._shed: Mapping[str, GuardShed] = {}
        self._curtailer = Curtailer(site.site_id, epoch, clock)
        self._trouble: str | None = "naryn guard was not reached yet"
        self._since_at = clock.utc()

    def ticked(self, state: State, image: Image, ledger: Ledger) -> None:
        """A tick has ended; makes a new ladder when one is due."""
        now_s = self._clock.monotonic_s()
        self._ticked_s = now_s
        if self._made_s is None or now_s - self._made_s >= LADDER_S:
            self._made_s = now_s
            self._ladder = ladder_of(state, image, self._site, ledger, self._rows, self._epoch)
            self._ladder_sha256 = ladder_sha256(self._ladder)

    def watches(self) -> bool:
        """Whether the guard answers and has what it needs of this controller."""
        return self._trouble is None

    def takes_sleeps(self) -> bool:
        """Whether a hand-over has a chance: a guard answers, and its latch is open."""
        return self.watches() and self.limit_w() is None and self._curtailer.is_connected

    async def curtail(
        self, sleeps: Sequence[MinerCommand], miners: MinerSlots, told: Told
    ) -> frozenset[str]:
        """Hand Sleeps to the guard's wave; see `Curtailer.curtail`. `miners`: as last read."""
        changed_s = changed_since(miners, self._clock.monotonic_s())
        return await self._curtailer.curtail(sleeps, changed_s, told)

    def shed(self) -> Mapping[str, GuardShed]:
        """Miners that the guard put to sleep and has not given back, by id."""
        return self._shed

    def limit_w(self) -> float | None:
        """The load that the guard's latch lets stand, in W; None while none is known. A latch
        outlives the connection: only the guard itself can say that it was released.
        """
        latch = None if self._image is None else self._image.latch
        return None if latch is None else latch.limit_w

    def alarms(self) -> list[AlarmView]:
        """What people must know of the guard."""
        alarms = []
        if self._trouble is not None:
            alarms.append(
                AlarmView(
                    alarm_id="guard_lost",
                    severity=Severity.CRITICAL,
                    since_at=self._since_at,
                    detail=self._trouble,
                    meaning="nobody would put the miners to sleep if this process died",
                    mend="start `naryn guard run` for this site; this user must reach its socket",
                )
            )
        image = self._image
        if image is not None and image.latch is not None:
            alarms.append(
                AlarmView(
                    alarm_id="guard_latched",
                    severity=Severity.CRITICAL,
                    since_at=image.latch.tripped_at,
                    detail=f"the guard lets {image.latch.limit_w / 1000:.1f} kW stand",
                    meaning="this process was silent too long, and the guard took the load down",
                    mend="find out why, then end the latch by `naryn guard release`",
                )
            )
        if image is not None and self._trouble is None and image.alarms:
            alarms.append(
                AlarmView(
                    alarm_id="guard_incomplete",
                    severity=Severity.WARNING,
                    since_at=self._since_at,
                    detail="; ".join(image.alarms)[:500],
                    meaning="the guard could not do all of its work",
                    mend="see `naryn guard status`",
                )
            )
        return alarms

    async def run(self) -> None:
        """Beat for ever; connects again whenever the guard is lost."""
        while True:
            try:
                # Two: requests of one are answered in turn, and a ladder takes its time.
                async with (
                    connect(self._path, "naryn guard run") as slow,
                    connect(self._path, "naryn guard run") as quick,
                    asyncio.TaskGroup() as tasks,
                ):
                    tasks.create_task(self._beat(slow))
                    tasks.create_task(self._curtailer.run(quick))
            except* (ChannelError, msgspec.MsgspecError) as errors:
                self._lost(str(errors.exceptions[0]))
            await self._curtailer.lose()
            await asyncio.sleep(_AGAIN_S)

    async def _beat(self, client: ChannelClient) -> None:
        while True:
            if self._ticks():
                beat = Beat(
                    site_id=self._site.site_id, epoch=self._epoch, ladder=self._ladder_sha256
                )
                self._found(await self._ask(client, beat))
                if self._image is not None and self._image.ladder_wanted:
                    await self._give(client)
                await self._take_over(client)
            await asyncio.sleep(BEAT_S)

    async def _give(self, client: ChannelClient) -> None:
        ladder, digest = self._ladder, self._ladder_sha256
        if ladder is None or digest is None:
            return
        entries = ladder.entries
        parts = max(1, -(-len(entries) // LADDER_PART_ENTRIES))
        for part in range(parts):
            begin = part * LADDER_PART_ENTRIES
            image = await self._ask(
                client,
                LadderPart(
                    site_id=self._site.site_id,
                    epoch=self._epoch,
                    sha256=digest,
                    part=part,
                    parts=parts,
                    floor_w=ladder.floor_w,
                    entries=entries[begin : begin + LADDER_PART_ENTRIES],
                ),
            )
        self._found(image)

    async def _take_over(self, client: ChannelClient) -> None:
        """Learn whom a latched guard put to sleep."""
        if self._image is None or self._image.latch is None:
            self._shed = {}
            return
        if not self._image.untaken:
            return
        shed: dict[str, GuardShed] = {}
        while True:
            ask = TakeOver(site_id=self._site.site_id, epoch=self._epoch, offset=len(shed))
            page = msgspec.msgpack.decode(await self._said(client, ask), type=Shed)
            shed |= {entry.miner_id: self._one(entry) for entry in page.entries}
            if not page.entries or len(shed) >= page.count:
                break
        self._shed = shed

    def _one(self, entry: Entry) -> GuardShed:
        miner = self._site.miners.get(entry.miner_id)
        return GuardShed(
            baseline_w=entry.power_w + (0.0 if miner is None else miner.sleep_power_w),
            mode=entry.mode,
            raw_mode=entry.raw_mode,
            power_limit_w=entry.power_limit_w,
        )

    async def _said(self, client: ChannelClient, ask: GuardAsk) -> bytes:
        return await client.request(msgspec.msgpack.encode(ask), _ANSWER_S)

    async def _ask(self, client: ChannelClient, ask: GuardAsk) -> GuardImage:
        return msgspec.msgpack.decode(await self._said(client, ask), type=GuardImage)

    def _ticks(self) -> bool:
        ticked_s = self._ticked_s
        return ticked_s is not None and (
            self._clock.monotonic_s() - ticked_s <= _LATE_TICKS * self._site.policy.tick_s
        )

    def _found(self, image: GuardImage) -> None:
        if self._trouble is not None:
            _log.info("guard_reached", entries=image.entries)
            self._since_at = self._clock.utc()
        self._image, self._trouble = image, None
        self._curtailer.heard(image.now_s)

    def _lost(self, why: str) -> None:
        if self._trouble is None:
            self._since_at = self._clock.utc()
        if self._trouble != why:
            _log.error("guard_lost", error=why)
        self._trouble = why
