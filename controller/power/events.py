"""What happened in a tick, as sentences: the difference of two states, so that a crash loses none.

Nothing here is remembered: the journal writes these lines in the same transaction as the state
that they tell of.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from controller.power import instructions as said
from controller.power.alarms import TABLE, Severity, kind_of
from controller.power.decide import Decision, Phase
from controller.power.image import Image
from controller.power.state import Order, OrderStage, State


class EventKind(StrEnum):
    """What a line of the log is about. Stable."""

    ALARM_RAISED = "alarm_raised"
    ALARM_CLEARED = "alarm_cleared"
    ORDER = "order"
    SETPOINT = "setpoint"
    OPERATOR = "operator"
    PHASE = "phase"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the log. `text` is for people."""

    at: datetime
    kind: EventKind
    severity: Severity
    text: str


def happened(
    before: State, phase_before: Phase | None, decision: Decision, image: Image
) -> list[Event]:
    """Every event of this tick, in the order in which a reader wants them."""
    lines = [
        *_instructions(image),
        *_orders(before, decision),
        *_alarms(before, decision),
    ]
    if phase_before is not None and phase_before is not decision.phase:
        text = f"{phase_before} → {decision.phase}"
        lines.append((EventKind.PHASE, Severity.INFO, text))
    return [Event(at=image.now, kind=k, severity=s, text=t) for k, s, t in lines]


_Line = tuple[EventKind, Severity, str]


def _instructions(image: Image) -> Iterator[_Line]:
    for act in image.instructions:
        match act:
            case said.SetOperatorCap():
                text = f"{act.by} limits {act.node_id} to {_kw(act.cap_w)}: {act.reason}"
            case said.ClearOperatorCap():
                text = f"{act.by} lifts the operator limit of {act.node_id}"
            case said.ArmFeeder():
                text = f"{act.by} arms {act.node_id}"
            case said.DisarmFeeder():
                text = f"{act.by} disarms {act.node_id}"
            case said.TagMiner():
                text = f"{act.by} tags {act.miner_id}: {act.reason}"
            case said.UntagMiner():
                text = f"{act.by} takes the tag off {act.miner_id}"
            case said.NewSetpoint():
                text = f"setpoint {act.sequence} of {act.issuer}: {act.node_id} ≤ {_kw(act.cap_w)}"
                yield EventKind.SETPOINT, Severity.INFO, text
                continue
            case _:
                continue
        yield EventKind.OPERATOR, Severity.INFO, text


def _orders(before: State, decision: Decision) -> Iterator[_Line]:
    for order in decision.state.orders.values():
        old = before.orders.get(order.order_id)
        if old is None or old.stage is not order.stage:
            severity = Severity.CRITICAL if order.stage is OrderStage.FAILED else Severity.INFO
            yield EventKind.ORDER, severity, _order_text(order, new=old is None)


def _order_text(order: Order, *, new: bool) -> str:
    text = f"order {order.order_id} {order.stage}"
    match order.stage:
        case OrderStage.WAITING | OrderStage.DELIVERING if new:
            text = f"order {order.order_id} of {order.issuer}: {order.node_id} ≤ {_kw(order.cap_w)}"
            if order.baseline_w is not None:
                text += f" from {_kw(order.baseline_w)}"
        case OrderStage.VERIFIED if order.measured_w is not None:
            text += f" at the meters: {_kw(order.measured_w)}"
            text += f", t90 {order.t90_s:.0f} s" if order.t90_s is not None else ""
        case OrderStage.FAILED:
            short = "meters lost" if order.shortfall_w is None else _kw(order.shortfall_w)
            text += f": short by {short}"
        case _:
            text += f", {order.delivered_wh / 1000:.1f} kWh delivered"
    return text


def _alarms(before: State, decision: Decision) -> Iterator[_Line]:
    for alarm_id, alarm in decision.state.alarms.items():
        if alarm_id not in before.alarms:
            yield (
                EventKind.ALARM_RAISED,
                TABLE[kind_of(alarm_id)].severity,
                (f"{alarm_id}: {alarm.detail}"),
            )
    for alarm_id in before.alarms:
        if alarm_id not in decision.state.alarms:
            yield EventKind.ALARM_CLEARED, Severity.INFO, alarm_id


def _kw(power_w: float) -> str:
    return f"{power_w / 1000:,.1f} kW".replace(",", " ")
