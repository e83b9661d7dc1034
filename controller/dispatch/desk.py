"""The site's side of the dispatcher's protocol: verdicts in, receipts and proofs out.

    link.inbox ──► accept ──► instructions ──► decide ──► progress ──► receipts, confirmations ──►
    link └── book, references: journaled with the tick, before anything acts

The desk decides nothing about power: it believes or rejects, and words what was decided.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
import structlog

from controller.dispatch import receipts
from controller.dispatch.acceptance import (
    Accepted,
    AcceptedHeartbeat,
    AlreadySo,
    Arrival,
    HeartbeatClock,
    InForce,
    Rejected,
    SequenceBook,
    SiteView,
    accept,
)
from controller.dispatch.message import (
    Confirmation,
    ConfirmationStage,
    Event,
    Outward,
    Reference,
    Setpoint,
    Status,
)
from controller.dispatch.ports import Inbound, Link
from controller.dispatch.receipts import Stamp
from controller.dispatch.sealing import seal
from controller.dispatch.standing import caps_now_w, known_orders, least_cap_w
from controller.dispatch.topics import event_topic, receipt_topic, status_topic
from controller.power.alarms import Severity
from controller.power.decide import Decision
from controller.power.events import Event as SiteEvent
from controller.power.image import Image
from controller.power.instructions import (
    HeartbeatHeard,
    Instruction,
    NewOrder,
    NewSetpoint,
    ReleaseOrder,
)
from controller.power.site import Site
from controller.power.state import Order, OrderStage, State
from controller.signing import PublicKey, SigningKey

_log = structlog.get_logger()

_TAKEN_MAX = 64
"""Messages judged in one tick; what waits longer waits in the link's bounded inbox."""
_STATUS_EVERY_S = 5.0
_SEQUENCE_STRIDE = 20_000
"""Outgoing sequences are reserved in the journal in strides, so a crash never uses one twice. Half
a stride is more than one tick can say, with an alarm of every node and meter."""

_CONFIRMED = {
    OrderStage.VERIFIED: ConfirmationStage.VERIFIED,
    OrderStage.FAILED: ConfirmationStage.FAILED,
    OrderStage.EXPIRED: ConfirmationStage.EXPIRED,
    OrderStage.SUPERSEDED: ConfirmationStage.SUPERSEDED,
    OrderStage.RELEASED: ConfirmationStage.RELEASED,
}

_SEVERITIES = {
    Severity.INFO: "info",
    Severity.WARNING: "warning",
    Severity.CRITICAL: "alarm",
}


class DeskMemory(msgspec.Struct, frozen=True, kw_only=True):
    """What the desk must not forget: the journal stores it as one blob."""

    book: SequenceBook = SequenceBook()
    references: dict[str, Reference] = {}
    """Order id → the message that it came in, so that its proof can name it after a restart."""
    sequence_reserved: int = 0


class Desk:
    """One site's desk. `take` before a decision, `tell` after it is journaled."""

    def __init__(
        self,
        site: Site,
        link: Link,
        keys: Mapping[str, PublicKey],
        site_key: SigningKey,
        memory: DeskMemory | None = None,
    ) -> None:
        self._site = site
        self._link = link
        self._keys = keys
        self._site_key = site_key
        self._memory = memory or DeskMemory()
        self._sequence = self._memory.sequence_reserved
        self._clock = HeartbeatClock()
        self._accepted: dict[str, Accepted] = {}
        self._outgoing: list[tuple[str, Outward, bool]] = []
        self._status_s: float | None = None
        self._changed = False

    @property
    def connected(self) -> bool:
        """Whether the dispatcher's broker is reached."""
        return self._link.connected

    @property
    def last_error(self) -> str | None:
        """Why it is not, or last was not."""
        return self._link.last_error

    def memory_if_changed(self) -> bytes | None:
        """The blob to journal with this tick; None when it is as stored."""
        if self._sequence + _SEQUENCE_STRIDE // 2 > self._memory.sequence_reserved:
            self._remember(sequence_reserved=self._sequence + _SEQUENCE_STRIDE)
        if not self._changed:
            return None
        self._changed = False
        return msgspec.json.encode(self._memory)

    def take(
        self,
        state: State,
        now: datetime,
        now_s: float,
        *,
        synced: bool | None,
        earlier: Sequence[Instruction] = (),
    ) -> list[Instruction]:
        """Judge what has come in. Receipts of what is rejected or known already are queued at
        once. `earlier`: instructions taken before that `state` does not hold yet.
        """
        instructions: list[Instruction] = []
        for _ in range(min(self._link.inbox.qsize(), _TAKEN_MAX)):
            inbound = self._link.inbox.get_nowait()
            before = (*earlier, *instructions)
            instruction = self._judge(inbound, state, now, now_s, before, synced=synced)
            if instruction is not None:
                instructions.append(instruction)
        return instructions

    def _judge(
        self,
        inbound: Inbound,
        state: State,
        now: datetime,
        now_s: float,
        earlier: Sequence[Instruction],
        *,
        synced: bool | None,
    ) -> Instruction | None:
        arrival = Arrival(
            topic=inbound.topic,
            payload=inbound.payload,
            now=inbound.received_at,
            now_s=inbound.received_s,
        )
        view = SiteView(
            site=self._site.site_id,
            keys=self._keys,
            caps_now_w=caps_now_w(state, self._site, now_s),
            orders=known_orders(state, earlier),
            setpoints={
                node: InForce(held.issuer, held.sequence, least_cap_w(node, held, state, now_s))
                for node, held in state.setpoints.items()
            },
            clock=self._clock.view(inbound.received_at, inbound.received_s, synced=synced),
        )
        verdict, book = accept(self._memory.book, arrival, view)
        if book is not self._memory.book:
            self._remember(book=book)
        match verdict:
            case Rejected():
                _log.warning("dispatch_rejected", reason=verdict.reason, detail=verdict.detail)
                self._answer(receipts.rejected(verdict, self._stamp(now)))
            case AlreadySo():
                if not isinstance(verdict.message, Setpoint) or not inbound.retained:
                    self._answer(receipts.again(verdict, self._stamp(now)))
            case AcceptedHeartbeat():
                self._clock = self._clock.observe(
                    verdict.message.issuer, verdict.message.at, inbound.received_s
                )
                return HeartbeatHeard(heard_s=inbound.received_s, reaffirms=verdict.reaffirms)
            case Accepted():
                self._answer(receipts.received(verdict.reference, self._stamp(now)))
                return self._instruct(verdict, now)
        return None

    def _instruct(self, verdict: Accepted, now: datetime) -> Instruction:
        message, window = verdict.message, verdict.window
        if isinstance(message, Setpoint):
            self._answer(receipts.accepted(verdict, self._stamp(now), message.cap_w))
            return NewSetpoint(
                issuer=message.issuer,
                node_id=message.node,
                sequence=message.sequence,
                cap_w=float(message.cap_w),
                valid_from=window.valid_from,
                valid_until=window.valid_until,
                on_expiry=message.on_expiry,
                clock_disagrees=verdict.alarm is not None,
            )
        if message.release is not None:
            self._answer(receipts.accepted(verdict, self._stamp(now), None))
            return ReleaseOrder(order_id=message.release, issuer=message.issuer)
        self._accepted[message.id] = verdict
        self._remember(references={**self._memory.references, message.id: verdict.reference})
        return NewOrder(
            order_id=message.id,
            issuer=message.issuer,
            node_id=message.node,
            order_class=message.order_class,
            valid_from=window.valid_from,
            valid_until=window.valid_until,
            cap_w=None if message.cap_w is None else float(message.cap_w),
            curtail_by_w=None if message.curtail_by_w is None else float(message.curtail_by_w),
            curtail_percent=message.curtail_percent,
            within_s=message.within_s,
            reason=message.reason,
            order_number=message.order_number,
            clock_disagrees=verdict.alarm is not None,
        )

    def hear(self, decision: Decision, image: Image) -> None:
        """Word what the decision came to. Nothing is sent before `tell`."""
        for step in decision.progress:
            if step.accepted:
                self._answer_accepted(step.order, image.now)
            else:
                self._confirm(step.order, image.now)
        orders = decision.state.orders
        kept = {name: ref for name, ref in self._memory.references.items() if name in orders}
        if len(kept) != len(self._memory.references):
            self._remember(references=kept)

    def _answer_accepted(self, order: Order, now: datetime) -> None:
        verdict = self._accepted.pop(order.order_id, None)
        if verdict is None:
            return
        deliverable = None
        if order.deliverable_w is not None and order.deliverable_w > order.cap_w + 1.0:
            deliverable = (int(order.deliverable_w) + 1, self._deliverable_at(order))
        self._answer(
            receipts.accepted(verdict, self._stamp(now), int(order.cap_w), deliverable=deliverable)
        )

    def _deliverable_at(self, order: Order) -> datetime:
        """When what can be delivered is expected: the slowest firmware that may be called, counted
        from the order's start.
        """
        node_id = self._site.standing(order.node_id)
        slowest_s = max(
            (
                miner.dynamics.down_s
                for miner in self._site.miners.values()
                if node_id in self._site.paths[miner.node_id]
            ),
            default=0.0,
        )
        start_at = max(order.valid_from, order.received_at)
        return min(start_at + timedelta(seconds=slowest_s), order.valid_until)

    def _confirm(self, order: Order, now: datetime) -> None:
        reference = self._memory.references.get(order.order_id)
        stage = _CONFIRMED.get(order.stage)
        if reference is None or stage is None:
            return
        stamp = self._stamp(now)
        meters = ", ".join(
            self._site.nodes[name].meter_id or name
            for name in self._site.feeders_below[self._site.standing(order.node_id)]
        )
        self._answer(
            Confirmation(
                site=stamp.site,
                sequence=stamp.sequence,
                at=stamp.at,
                of=reference,
                stage=stage,
                cap_w=int(order.cap_w),
                meter=meters[:500],
                t90_s=order.t90_s,
                measured_w=None if order.measured_w is None else round(order.measured_w),
                floor_w=None if order.floor_w is None else round(order.floor_w),
                delivered_wh=round(order.delivered_wh),
                shortfall_w=_shortfall_w(order),
                detail=_unmeasured(order),
            )
        )

    def say(self, event: SiteEvent) -> None:
        """Mirror one event of the journal."""
        stamp = self._stamp(event.at)
        mirrored = Event(
            site=stamp.site,
            sequence=stamp.sequence,
            at=stamp.at,
            kind=str(event.kind)[:64],
            severity=_SEVERITIES[event.severity],
            text=event.text[:500],
        )
        self._outgoing.append((event_topic(stamp.site), mirrored, False))

    async def tell(self, decision: Decision, image: Image) -> None:
        """Send what was worded, and every few seconds the retained status."""
        stale = self._status_s is None or image.now_s - self._status_s >= _STATUS_EVERY_S
        if self._outgoing or stale:
            self._status_s = image.now_s
            status = self._status(decision, image)
            self._outgoing.append((status_topic(self._site.site_id), status, True))
        outgoing, self._outgoing = self._outgoing, []
        for topic, message, retain in outgoing:
            await self._link.publish(topic, seal(message, [self._site_key]), retain=retain)

    def _status(self, decision: Decision, image: Image) -> Status:
        stamp, root = self._stamp(image.now), decision.nodes[self._site.root_id]
        state = decision.state
        return Status(
            site=stamp.site,
            sequence=stamp.sequence,
            at=stamp.at,
            state="online",
            mode=decision.phase,
            cap_w=int(root.limit.limit_w),
            power_w=None if root.measured_w is None else round(root.measured_w),
            floor_w=round(root.floor_w),
            clock_synced=image.clock_synced,
            setpoints={node: held.sequence for node, held in state.setpoints.items()},
        )

    def _answer(self, message: Outward) -> None:
        self._outgoing.append((receipt_topic(self._site.site_id), message, False))

    def _stamp(self, now: datetime) -> Stamp:
        self._sequence += 1
        return Stamp(site=self._site.site_id, sequence=self._sequence, at=now)

    def _remember(self, **changes: object) -> None:
        self._memory = msgspec.structs.replace(self._memory, **changes)
        self._changed = True


def _shortfall_w(order: Order) -> int | None:
    """How far the load is above its limit; None while the meters do not say."""
    known = order.measured_w is not None and order.shortfall_w is not None
    return round(order.shortfall_w or 0.0) if known else None


def _unmeasured(order: Order) -> str | None:
    """Why a FAILED order has no shortfall."""
    failed = order.stage is OrderStage.FAILED and _shortfall_w(order) is None
    return "not measured: no meter of the node gives a usable value" if failed else None
