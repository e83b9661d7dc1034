"""The guard itself: takes beats and ladders, looks at the silence, and sheds when it must."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

import msgspec
import structlog

from controller.channel.curtail import Collect, Curtail, Outcomes, Taken
from controller.channel.frames import RequestRefused
from controller.channel.guard import (
    LADDER_PART_ENTRIES,
    Beat,
    EndHold,
    Entry,
    GuardAsk,
    GuardImage,
    Ladder,
    LadderPart,
    LatchView,
    Look,
    Release,
    Shed,
    TakeHold,
    TakeOver,
    ladder_sha256,
)
from controller.clock import SiteClock
from controller.guard.contactor import overdue_w
from controller.guard.curtail import Curtailments
from controller.guard.heartbeat import Heartbeat
from controller.guard.holding import Holding
from controller.guard.ladder import to_shed
from controller.guard.parts import Parts
from controller.guard.shedder import Shedder
from controller.guard.store import Store, StoreError
from controller.guard.watch import (
    Latch,
    Watch,
    heard,
    limit_w,
    looked,
    released,
    walked,
)
from controller.power.site import FailsafeCurve
from drivers.contract.devices import MinerDriver

_log = structlog.get_logger()

STEP_S = 0.25
LADDER_AGE_S_MAX = 60.0
"""A ladder that is older than this while the controller is heard is alarmed: it gives one every
ten seconds where anything changed.
"""

RIVAL_S = 60.0
"""How long a second controller is alarmed after it was last heard."""

_FALLS = "miners did not go to sleep, so the contactor must fall"

Build = Callable[[tuple[Entry, ...]], Mapping[str, MinerDriver]]
"""Drivers of a ladder's entries; one that cannot be driven from here is left out."""


class Guard:
    """One guard. `run` lives as long as the process."""

    def __init__(
        self,
        site_id: str,
        curve: FailsafeCurve,
        store: Store,
        shedder: Shedder,
        holding: Holding,
        build: Build,
        clock: SiteClock,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        """`heartbeat`: for a site whose relay waits for one."""
        self._site_id = site_id
        self._curve = curve
        self._store = store
        self._shedder = shedder
        self._curtailments = Curtailments(shedder, clock)
        self._holding = holding
        self._build = build
        self._clock = clock
        self._heartbeat = heartbeat
        self._overdue_s: float | None = None
        """Since when miners that should sleep draw too much."""
        self._watch = Watch(heard_s=clock.monotonic_s())
        self._was_heard = False
        self._ladder: Ladder | None = None
        self._ladder_sha256: str | None = None
        self._ladder_wanted = False
        self._ladder_s: float | None = None
        self._uncovered: frozenset[str] = frozenset()
        self._parts = Parts()
        self._saving = asyncio.Lock()
        self._handed: set[str] = set()
        self._rival_s: float | None = None
        self._faults: dict[str, str] = {}

    def load(self) -> None:
        """Take up what an earlier run left. What cannot be read is alarmed, never a reason to
        stop.
        """
        try:
            ladder = self._store.load_ladder()
            if ladder is not None:
                self._take(ladder)
                self._ladder_s = None
        except StoreError as error:
            self._fault("ladder", str(error))
        try:
            latch = self._store.load_latch()
        except StoreError as error:
            self._fault("latch", str(error))
            latch = Latch(
                tripped_at=self._clock.utc(),
                start_w=self._curve.value_w,
                silent_from_s=None,
                fell=True,  # a contactor that had fallen must not come back for a damaged file
            )
        if latch is not None:
            self._shedder.look_first()
        self._holding.load()
        self._watch = Watch(heard_s=self._clock.monotonic_s(), latch=latch)

    async def answer(self, body: bytes) -> bytes:
        """Answer one request of the channel. Raises RequestRefused."""
        try:
            ask = msgspec.msgpack.decode(body, type=GuardAsk)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise RequestRefused(f"not understood: {error}; are both of one version?") from None
        if ask.site_id != self._site_id:
            raise RequestRefused(f"this guard is of site {self._site_id!r}")
        match ask:
            case Beat():
                self._hear(ask)
            case LadderPart():
                await self._hear_part(ask)
            case TakeOver():
                return msgspec.msgpack.encode(self._hand_over(ask))
            case Curtail():
                return msgspec.msgpack.encode(self._curtail(ask))
            case Collect():
                return msgspec.msgpack.encode(self._tell(ask))
            case Release(by=by):
                self._release(by)
            case TakeHold(envelope=envelope):
                await self._hold(envelope)
            case EndHold(by=by):
                await self._holding.end(by)
            case Look():
                pass
        return msgspec.msgpack.encode(self.image())

    def image(self) -> GuardImage:
        """The guard at this moment."""
        now_s, watch, ladder = self._clock.monotonic_s(), self._watch, self._ladder
        limit = limit_w(watch, now_s, self._curve)
        latch = None
        if watch.latch is not None and limit is not None:
            latch = LatchView(
                tripped_at=watch.latch.tripped_at, start_w=watch.latch.start_w, limit_w=limit
            )
        return GuardImage(
            site_id=self._site_id,
            epoch=watch.epoch,
            heard_ago_s=now_s - watch.heard_s if self._was_heard else None,
            silence_max_s=self._curve.hold_s,
            latch=latch,
            hold=self._holding.view(now_s),
            relay=None if self._heartbeat is None else self._heartbeat.view(),
            ladder=self._ladder_sha256,
            ladder_age_s=None if self._ladder_s is None else now_s - self._ladder_s,
            entries=0 if ladder is None else len(ladder.entries),
            load_w=None if ladder is None else ladder.load_w,
            ready=self._shedder.ready(),
            asleep=self._shedder.asleep,
            untaken=self._untaken(),
            under_way=self._shedder.under_way,
            failed=self._shedder.failed,
            uncovered=len(self._uncovered),
            ladder_wanted=self._ladder_wanted,
            now_s=now_s,
            curtailed=self._curtailments.sent,
            curtailing=self._curtailments.under_way,
            alarms=tuple(self._alarms(now_s)),
        )

    def not_ready(self) -> list[str]:
        """Why the guard does not do its work now, in sentences; empty while it does."""
        return self._alarms(self._clock.monotonic_s())

    async def run(self) -> None:
        """Look and shed for ever."""
        while True:
            self.step()
            await asyncio.sleep(STEP_S)

    def step(self) -> None:
        """One look at the silence; sheds what the curve asks for, and lets the relay hear of it."""
        before = self._watch.latch
        self._look()
        if self._heartbeat is not None:
            self._heartbeat.feed(self._still(self._heartbeat.grace_s))
        latch = self._watch.latch
        if latch is not None and latch != before:
            self._keep(latch)  # at last: the load does not wait for a disk

    def _look(self) -> None:
        now_s, ladder = self._clock.monotonic_s(), self._ladder
        self._watch = replace(self._watch, held_until_s=self._holding.until_s)
        if ladder is not None and any(entry.power_w > 0.0 for entry in ladder.entries):
            watch = looked(self._watch, now_s, self._clock.utc(), ladder.load_w, self._curve)
            if watch.latch is not None and self._watch.latch is None:
                self._trip(watch, watch.latch)
        limit = limit_w(self._watch, now_s, self._curve)
        if limit is None or ladder is None:
            return
        resting = self._shedder.resting() | self._uncovered
        due = to_shed(ladder, limit, self._shedder.gone, resting)
        if due:
            self._shedder.give(due)

    def _trip(self, watch: Watch, latch: Latch) -> None:
        self._watch = watch
        self._curtailments.trip()
        _log.critical("watchdog_tripped", silent_s=self._curve.hold_s, load_w=latch.start_w)

    def _keep(self, latch: Latch) -> None:
        try:
            self._store.save_latch(latch)
            self._faults.pop("latch", None)
        except StoreError as error:
            self._fault("latch", str(error))

    def _still(self, grace_s: float) -> str | None:
        """Why the relay gets no beat; None while it may."""
        latch, ladder = self._watch.latch, self._ladder
        if ladder is None:
            return "there is no ladder, so nobody could be put to sleep"
        now_s = self._clock.monotonic_s()
        limit = limit_w(self._watch, now_s, self._curve)
        if latch is None or limit is None or not walked(self._watch, now_s, self._curve):
            self._overdue_s = None
            return _FALLS if latch is not None and latch.fell else None
        over_w = overdue_w(ladder, limit, self._shedder.sleeping())
        if over_w == 0.0:
            self._overdue_s = None
        elif self._overdue_s is None:
            self._overdue_s = now_s
        elif not latch.fell and now_s - self._overdue_s > grace_s:
            latch = replace(latch, fell=True)
            self._watch = replace(self._watch, latch=latch)
            _log.critical("contactor_falls", over_w=round(over_w))
        return _FALLS if latch.fell else None

    def _hear(self, beat: Beat) -> None:
        self._believe(beat.epoch)
        self._ladder_wanted = beat.ladder is not None and beat.ladder != self._ladder_sha256
        if not self._ladder_wanted and beat.ladder is not None:
            self._ladder_s = self._clock.monotonic_s()

    def _believe(self, epoch: str) -> None:
        now_s = self._clock.monotonic_s()
        watch = heard(self._watch, epoch, now_s)
        if isinstance(watch, str):
            self._fault("epoch", watch)
            self._rival_s = now_s
            raise RequestRefused(watch)
        if self._rival_s is not None and now_s - self._rival_s > RIVAL_S:
            self._faults.pop("epoch", None)
        if watch.epoch != self._watch.epoch:
            self._handed = set()
            self._curtailments.forget()
        self._watch, self._was_heard = watch, True

    async def _hear_part(self, part: LadderPart) -> None:
        self._believe(part.epoch)
        ladder = self._parts.add(part)
        if ladder is None:
            return
        self._take(ladder)
        try:
            async with self._saving:
                # In a thread: a slow disk keeps nobody waiting, and no look at the silence.
                await asyncio.to_thread(self._store.save_ladder, ladder)
            self._faults.pop("ladder", None)
        except StoreError as error:
            self._fault("ladder", str(error))

    def _take(self, ladder: Ladder) -> None:
        drivers = self._build(ladder.entries)
        self._uncovered = frozenset(e.miner_id for e in ladder.entries) - drivers.keys()
        self._shedder.take(drivers, [e.miner_id for e in ladder.entries if e.power_w > 0.0])
        self._curtailments.cover(ladder)
        self._ladder, self._ladder_sha256 = ladder, ladder_sha256(ladder)
        self._ladder_s, self._ladder_wanted = self._clock.monotonic_s(), False

    def _hand_over(self, ask: TakeOver) -> Shed:
        self._believe(ask.epoch)
        shed = self._shedder.shed()
        page = shed[ask.offset : ask.offset + LADDER_PART_ENTRIES]
        if ask.offset == 0:
            self._handed = set()
        self._handed |= {entry.miner_id for entry in page}
        return Shed(count=len(shed), entries=page)

    def _curtail(self, ask: Curtail) -> Taken:
        self._believe(ask.epoch)
        if self._watch.latch is not None:
            raise RequestRefused("the latch has tripped: this guard commands for nobody else now")
        return self._curtailments.take(ask)

    def _tell(self, ask: Collect) -> Outcomes:
        # Asked by a loop that turns, not by a tick: no sign that the controller decides.
        if ask.epoch != self._watch.epoch:
            raise RequestRefused("another controller is in charge of this guard")
        return self._curtailments.tell()

    def _untaken(self) -> int:
        return sum(entry.miner_id not in self._handed for entry in self._shedder.shed())

    def _release(self, by: str) -> None:
        watch = released(self._watch, self._clock.monotonic_s(), self._curve)
        if isinstance(watch, str):
            raise RequestRefused(watch)
        waiting = self._shedder.under_way + self._untaken()
        if waiting:
            raise RequestRefused(
                f"the controller has not taken over {waiting} sleeping miners yet and could not "
                "wake them; try again in some seconds"
            )
        try:
            self._store.clear_latch()
        except StoreError as error:
            raise RequestRefused(str(error)) from None
        self._faults.pop("latch", None)
        self._watch = watch
        self._shedder.forget()
        _log.warning("latch_released", by=by)

    async def _hold(self, envelope: bytes) -> None:
        if self._watch.latch is not None:
            raise RequestRefused(
                "the latch has tripped, and a hold does not end it; `naryn guard release` does"
            )
        await self._holding.take(envelope)

    def _fault(self, name: str, said: str) -> None:
        if self._faults.get(name) != said:
            _log.error("guard_fault", part=name, error=said)
        self._faults[name] = said

    def _alarms(self, now_s: float) -> list[str]:
        alarms = [*self._faults.values(), *self._holding.alarms(now_s)]
        if self._heartbeat is not None:
            alarms += self._heartbeat.alarms()
        if self._ladder is None:
            alarms.append(
                "no ladder: this guard can put nobody to sleep until `naryn run` gives one"
            )
        elif self._ladder_s is not None and now_s - self._ladder_s > LADDER_AGE_S_MAX:
            alarms.append(f"the ladder is {now_s - self._ladder_s:.0f} s old")
        if self._uncovered:
            alarms.append(f"{len(self._uncovered)} miners can be commanded by the controller alone")
        return alarms
