"""The tick: slots → image → decide → journal → actuate → tell. Once a second, at its own pace.

A tick that overruns is skipped, counted and alarmed, never queued. What must survive is journaled
before a command leaves; when the journal fails, what lowers the load leaves all the same, what
raises it does not, and what people asked for is refused.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import structlog

from controller.channel.view import AlarmView, SiteImage, TickView
from controller.clock import SiteClock
from controller.power.decide import Decision, MinerCommand, Phase, decide
from controller.power.events import Event, happened
from controller.power.image import Answered, Image, MeterView
from controller.power.instructions import (
    HeartbeatHeard,
    Instruction,
    NewOrder,
    NewSetpoint,
    ReleaseOrder,
)
from controller.power.site import Site
from controller.power.state import State, TargetState
from controller.site.acts import ActDesk
from controller.site.actuate import Actuator
from controller.site.guarded import GuardLink
from controller.site.journal import Journal
from controller.site.journal_schema import JournalError
from controller.site.picture import LinkFacts, Pages
from controller.site.poll import MinerPoll
from controller.site.slots import Slots
from controller.site.unsaved import Unsaved
from drivers.contract.commands import Sleep

_log = structlog.get_logger()

_FAILED_MAX = 5
"""Ticks that may fail in a row before the process ends, to be started anew by its supervisor."""
_TRIED_MAX = 3
"""Ticks that may fail in a row with the same instructions; then they are dropped, lest one that
cannot be carried out ends the process again and again."""
_JOURNAL_S = 3.0
"""A disk that takes longer than this for one commit counts as failed: the load cannot wait."""
_SAVE_EVERY_S = 10.0
"""How often what the meters taught is journaled while nothing else changes."""
_LATE_TICKS = 5.0
"""Periods without a tick after which the site counts as not ready."""
DESK_BLOB = "dispatch_desk"
_OF_DISPATCHER = (NewOrder, ReleaseOrder, NewSetpoint, HeartbeatHeard)


class DispatcherDesk(Protocol):
    """The dispatcher as the tick meets him; controller/dispatch/desk.py is the real one."""

    @property
    def connected(self) -> bool:
        """Whether his broker is reached."""
        ...

    @property
    def last_error(self) -> str | None:
        """Why it is not, or was not."""
        ...

    def take(
        self,
        state: State,
        now: datetime,
        now_s: float,
        *,
        synced: bool | None,
        earlier: Sequence[Instruction],
    ) -> list[Instruction]:
        """Instructions that came in and are believed; `earlier` are not in `state` yet."""
        ...

    def hear(self, decision: Decision, image: Image) -> None:
        """Word what was decided; nothing leaves yet."""
        ...

    def say(self, event: Event) -> None:
        """Mirror an event; nothing leaves yet."""
        ...

    def memory_if_changed(self) -> bytes | None:
        """What to journal with this tick."""
        ...

    async def tell(self, decision: Decision, image: Image) -> None:
        """Send what was worded."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that a tick works with. `desk` is None for a site without a dispatcher.

    `guard` is None for a site that has none. `side_alarms` are those of parts that decide nothing;
    they are shown beside the site's own.
    """

    site: Site
    clock: SiteClock
    slots: Slots
    poll: MinerPoll
    actuator: Actuator
    journal: Journal
    acts: ActDesk
    pages: Pages
    desk: DispatcherDesk | None
    publish: Callable[[SiteImage], None]
    guard: GuardLink | None = None
    side_alarms: Callable[[], Sequence[AlarmView]] = tuple


class Ticker:
    """Runs the site's ticks. Everything it needs is given; it owns only the state."""

    def __init__(self, parts: Parts, state: State, forgotten: Iterable[str] = ()) -> None:
        """`forgotten`: miners that the journal knows and the inventory does not."""
        self.state = state
        self._site = parts.site
        self._clock = parts.clock
        self._slots = parts.slots
        self._poll = parts.poll
        self._actuator = parts.actuator
        self._journal = parts.journal
        self._acts = parts.acts
        self._pages = parts.pages
        self._desk = parts.desk
        self._publish = parts.publish
        self._guard = parts.guard
        self._side_alarms = parts.side_alarms
        self._phase: Phase | None = None
        self._expected_w: dict[str, float] = {}
        self._saved_s = self._clock.monotonic_s()
        self._ended_s: float | None = None
        self._journal_failed = False
        self._unsaved = Unsaved(targets=dict.fromkeys(forgotten))
        self._instructions: tuple[Instruction, ...] = ()
        self._answered: tuple[Answered, ...] = ()
        self.ticks_run = 0
        self.ticks_skipped = 0
        self.ticks_failed = 0

    def not_ready(self) -> list[str]:
        """Why the site does not do its work now, in sentences; empty while it does."""
        reasons = []
        if self._ended_s is None:
            reasons.append("no tick has ended yet")
        else:
            age_s = self._clock.monotonic_s() - self._ended_s
            if age_s > _LATE_TICKS * self._site.policy.tick_s:
                reasons.append(f"the last tick ended {age_s:.0f} s ago")
        if self._journal_failed:
            reasons.append("the last tick could not be journaled")
        return reasons

    async def run(self) -> None:
        """Tick for ever on a fixed grid. Raises what a tick raised after five failures in a row."""
        period_s, failed = self._site.policy.tick_s, 0
        due_s = self._clock.monotonic_s()
        while True:
            try:
                await self.step()
                failed = 0
            except Exception:
                failed += 1
                self.ticks_failed += 1
                _log.exception("tick_failed", in_a_row=failed)
                if failed >= _FAILED_MAX:
                    raise
                if failed == _TRIED_MAX:
                    self._drop_instructions()
            due_s += period_s
            late_s = self._clock.monotonic_s() - due_s
            if late_s > 0:
                missed = int(late_s // period_s) + 1
                self.ticks_skipped += missed
                due_s += missed * period_s
                _log.warning("tick_overran", late_s=round(late_s, 3), skipped=missed)
            await asyncio.sleep(max(0.0, due_s - self._clock.monotonic_s()))

    async def step(self) -> Decision:
        """One tick."""
        begun_s = self._clock.monotonic_s()
        image = self._image()
        before = self.state
        decision = decide(before, image, self._site)
        if self._desk is not None:
            self._desk.hear(decision, image)
        decision, events = await self._commit(decision, before, image)
        self.state, self._phase = decision.state, decision.phase
        self._instructions, self._answered = (), ()
        await self._actuator.give(decision.commands)
        self._poll.hasten(
            [n for n, t in decision.state.targets.items() if t.state is not TargetState.RUNNING]
        )
        if self._desk is not None:
            for event in events:
                self._desk.say(event)
            await self._desk.tell(decision, image)
        self.ticks_run += 1
        if self._guard is not None:
            self._guard.ticked(decision.state, image, decision.ledger)
        self._ended_s = self._clock.monotonic_s()
        self._show(decision, image, events, self._clock.monotonic_s() - begun_s)
        return decision

    def _image(self) -> Image:
        now, now_s = self._clock.utc(), self._clock.monotonic_s()
        synced = self._clock.synced()
        # What came in stays until a tick has taken it into the state: one that fails loses none.
        self._instructions += tuple(self._acts.take())
        if self._desk is not None:
            self._instructions += tuple(
                self._desk.take(self.state, now, now_s, synced=synced, earlier=self._instructions)
            )
        self._answered += self._slots.take_answered()
        return Image(
            now=now,
            now_s=now_s,
            meters=self._meters(now_s),
            miners=dict(self._slots.miners.readings),
            unreachable=dict(self._slots.miners.unreachable),
            answered=self._answered,
            instructions=self._instructions,
            clock_synced=synced,
            ticks_skipped=self.ticks_skipped,
            journal_failed=self._journal_failed,
            guard_limit_w=None if self._guard is None else self._guard.limit_w(),
            guarded=self._guard is not None and self._guard.watches(),
            guard_shed={} if self._guard is None else self._guard.shed(),
        )

    def _meters(self, now_s: float) -> dict[str, MeterView]:
        return {
            name: slot.view(now_s, self._expected_w.get(name))
            for name, slot in self._slots.meters.items()
        }

    def _drop_instructions(self) -> None:
        """Give up what ticks failed with, so that those who ask are answered."""
        for instruction in self._instructions:
            _log.critical("instruction_dropped", instruction=repr(instruction)[:500])
        self._instructions = ()
        self._acts.failed("the site could not carry it out; its log says why")

    async def _commit(
        self, decision: Decision, before: State, image: Image
    ) -> tuple[Decision, list[Event]]:
        """Journal the tick. Without a journal nothing may rise and nothing that people asked for
        counts: the starts are taken back, and the tick is decided again without the acts.
        """
        blob = self._desk.memory_if_changed() if self._desk is not None else None
        blobs = {} if blob is None else {DESK_BLOB: blob}
        events = happened(before, self._phase, decision, image)
        unsaved = _grown(self._unsaved, before, decision, events, blobs)
        due = image.now_s - self._saved_s >= _SAVE_EVERY_S
        if not (unsaved or image.instructions or due):
            return decision, events
        try:
            async with asyncio.timeout(_JOURNAL_S):
                await self._journal.commit(unsaved.batch(image.now, decision.state))
        except (JournalError, TimeoutError) as error:
            why = str(error) or f"the disk did not take it within {_JOURNAL_S:g} s"
            _log.critical("journal_failed", error=why)
            self._journal_failed = True
            self._acts.failed(f"not journaled, so not done: {why}")
            decision, image = self._without_acts(decision, before, image)
            decision = _without_starts(decision, before)
            events = happened(before, self._phase, decision, image)
            self._unsaved = _grown(self._unsaved, before, decision, events, blobs)
            return decision, events
        self._saved_s, self._journal_failed, self._unsaved = image.now_s, False, Unsaved()
        self._acts.journaled()
        return decision, events

    def _without_acts(
        self, decision: Decision, before: State, image: Image
    ) -> tuple[Decision, Image]:
        heard = tuple(i for i in image.instructions if isinstance(i, _OF_DISPATCHER))
        if len(heard) == len(image.instructions):
            return decision, image
        image = replace(image, instructions=heard)
        return decide(before, image, self._site), image

    def _show(self, decision: Decision, image: Image, events: list[Event], took_s: float) -> None:
        by_meter = {node.meter_id: name for name, node in self._site.nodes.items()}
        self._expected_w = {
            meter_id: decision.nodes[by_meter[meter_id]].expected_w
            for meter_id in image.meters
            if meter_id in by_meter
        }
        self._pages.note(events)
        tick = TickView(
            run=self.ticks_run,
            skipped=self.ticks_skipped,
            failed=self.ticks_failed,
            last_ms=took_s * 1000,
        )
        link = None
        if self._desk is not None:
            link = LinkFacts(connected=self._desk.connected, error=self._desk.last_error)
        self._publish(self._pages.picture(decision, image, tick, link, self._side_alarms()))


def _grown(
    unsaved: Unsaved,
    before: State,
    decision: Decision,
    events: list[Event],
    blobs: dict[str, bytes],
) -> Unsaved:
    """What the journal lacks once this tick is added. Orders count when their stage changes."""
    orders = [
        order
        for name, order in decision.state.orders.items()
        if (old := before.orders.get(name)) is None or old.stage is not order.stage
    ]
    return unsaved.with_tick(decision.changed_targets, orders, events, blobs)


def _without_starts(decision: Decision, before: State) -> Decision:
    """The same decision with only what lowers the load."""
    kept: list[MinerCommand] = []
    targets, changed = dict(decision.state.targets), dict(decision.changed_targets)
    for command in decision.commands:
        if isinstance(command.command, Sleep):
            kept.append(command)
        else:
            targets[command.miner_id] = before.targets[command.miner_id]
            changed.pop(command.miner_id, None)
    return replace(
        decision,
        state=replace(decision.state, targets=targets),
        commands=tuple(kept),
        changed_targets=changed,
    )
