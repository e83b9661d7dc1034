"""What somebody must know: one row a kind, with how grave it is and what to do about it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from controller.power.caps import meter_w
from controller.power.image import Image
from controller.power.instructions import NewOrder, NewSetpoint
from controller.power.ledger import Ledger
from controller.power.regulate import Regulation
from controller.power.site import Site
from controller.power.state import AlarmState, OrderStage, State, TargetState
from drivers.contract.quantities import Quality


class Severity(StrEnum):
    """CRITICAL: act now; WARNING: act today; INFO: know it."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """One kind of alarm."""

    severity: Severity
    meaning: str
    mend: str


class AlarmKind(StrEnum):
    """Stable names; an alarm's id is `kind` or `kind:object`."""

    OVER_LIMIT = "over_limit"
    ORDER_FAILED = "order_failed"
    METER_BAD = "meter_bad"
    DISPATCHER_SILENT = "dispatcher_silent"
    CLOCK_DISAGREES = "clock_disagrees"
    CLOCK_UNSYNCED = "clock_unsynced"
    MINERS_DEAF = "miners_deaf"
    MINERS_STUCK = "miners_stuck"
    MINERS_UNREACHABLE = "miners_unreachable"
    TICKS_SKIPPED = "ticks_skipped"
    NO_WATCHDOG = "no_watchdog"
    JOURNAL_FAILED = "journal_failed"


TABLE: Mapping[AlarmKind, AlarmRow] = {
    AlarmKind.OVER_LIMIT: AlarmRow(
        Severity.CRITICAL,
        "the meters stay above the limit although every command has had its time",
        "open the feeder's breaker, or find the load that is not a miner",
    ),
    AlarmKind.ORDER_FAILED: AlarmRow(
        Severity.CRITICAL,
        "an order was not delivered in time",
        "call the dispatcher; see which miners were passed over and why",
    ),
    AlarmKind.METER_BAD: AlarmRow(
        Severity.CRITICAL,
        "a meter gives no usable value, so its limit is held by its on_meter_loss rule",
        "check the meter's network, power and register map",
    ),
    AlarmKind.DISPATCHER_SILENT: AlarmRow(
        Severity.WARNING,
        "no heartbeat of the dispatcher: the load follows the fail-safe curve",
        "check broker and link; telephone the dispatcher",
    ),
    AlarmKind.CLOCK_DISAGREES: AlarmRow(
        Severity.WARNING,
        "a message's time stamps do not fit this clock; it lowers the load, so it was applied",
        "compare both clocks and their time servers",
    ),
    AlarmKind.CLOCK_UNSYNCED: AlarmRow(
        Severity.WARNING,
        "the kernel says that the wall clock is not synchronised",
        "mend the time service: dated messages that raise the load are refused meanwhile",
    ),
    AlarmKind.MINERS_DEAF: AlarmRow(
        Severity.WARNING,
        "miners were told to sleep and draw on",
        "look at the miners named; others were curtailed in their place",
    ),
    AlarmKind.MINERS_STUCK: AlarmRow(
        Severity.WARNING,
        "miners were told to wake and did not",
        "look at the miners named; they are tried again by themselves",
    ),
    AlarmKind.MINERS_UNREACHABLE: AlarmRow(
        Severity.WARNING,
        "miners do not answer; each counts at its last known power",
        "check their network switch and power",
    ),
    AlarmKind.TICKS_SKIPPED: AlarmRow(
        Severity.WARNING,
        "a tick took longer than its period, so the next was skipped",
        "look for load on this machine",
    ),
    AlarmKind.JOURNAL_FAILED: AlarmRow(
        Severity.CRITICAL,
        "the journal cannot be written: what lowers the load is done, nothing is started",
        "free the disk of the state folder, or mend its permissions",
    ),
    AlarmKind.NO_WATCHDOG: AlarmRow(
        Severity.WARNING,
        "feeders are armed without a watchdog: if this controller dies, miners mine on",
        "start `naryn guard run` for this site, or have a relay that sheds the feeders by itself",
    ),
}

_NAMED = 5
_NOT_OBEYING = {
    TargetState.DEAF: AlarmKind.MINERS_DEAF,
    TargetState.STUCK: AlarmKind.MINERS_STUCK,
}
_MOVING = frozenset({TargetState.CURTAILING, TargetState.RESTORING})
"""A miner on its way up or down may restart and be away for a while: no news until it is late."""


def evaluate(
    state: State, image: Image, site: Site, ledger: Ledger, regulation: Regulation
) -> dict[str, AlarmState]:
    """Every alarm that stands now, keyed by id; one that stood before keeps its `since_at`."""
    standing = {}
    for kind, about, detail in _standing(state, image, site, ledger, regulation):
        alarm_id = f"{kind}:{about}" if about else str(kind)
        held = state.alarms.get(alarm_id)
        standing[alarm_id] = AlarmState(
            since_at=held.since_at if held is not None else image.now, detail=detail
        )
    return standing


def kind_of(alarm_id: str) -> AlarmKind:
    """The kind that an alarm's id begins with."""
    return AlarmKind(alarm_id.partition(":")[0])


def _standing(
    state: State, image: Image, site: Site, ledger: Ledger, regulation: Regulation
) -> Iterator[tuple[AlarmKind, str, str]]:
    for name, guard in regulation.guards.items():
        node = regulation.nodes[name]
        if guard.rung > 1 and node.measured_w is not None:
            over_w = node.measured_w - max(node.limit.limit_w, node.floor_w)
            yield AlarmKind.OVER_LIMIT, name, f"{name}: {over_w / 1000:.1f} kW over its limit"
    for order in state.orders.values():
        if order.stage is OrderStage.FAILED:
            short_w = order.shortfall_w
            short = "meters lost" if short_w is None else f"short by {short_w / 1000:.1f} kW"
            yield AlarmKind.ORDER_FAILED, order.order_id, f"order {order.order_id}: {short}"
    yield from _meters(image, site)
    if state.source is not None and state.source.lost_s is not None:
        silent = f"last heartbeat {image.now_s - state.source.heard_s:.0f} s ago"
        yield AlarmKind.DISPATCHER_SILENT, "", silent if state.source.ever_heard else "never heard"
    yield from _clock(state, image)
    yield from _fleet(image, site, ledger)
    if image.journal_failed:
        yield AlarmKind.JOURNAL_FAILED, "", "the last tick could not be journaled"
    if image.ticks_skipped:
        yield AlarmKind.TICKS_SKIPPED, "", f"{image.ticks_skipped} ticks skipped since start"
    if state.armed and not image.guarded:
        yield AlarmKind.NO_WATCHDOG, "", "armed: " + ", ".join(state.armed)


def _meters(image: Image, site: Site) -> Iterator[tuple[AlarmKind, str, str]]:
    limiting = {node.meter_id for node in site.nodes.values() if node.meter_id is not None}
    for meter_id in sorted(limiting | image.meters.keys()):
        view = image.meters.get(meter_id)
        if view is None:
            yield AlarmKind.METER_BAD, meter_id, f"{meter_id}: never read"
        elif view.quality is not Quality.GOOD:
            yield AlarmKind.METER_BAD, meter_id, f"{meter_id}: {view.fault or view.quality}"
        elif meter_id in limiting and meter_w(image, meter_id) is None:
            yield AlarmKind.METER_BAD, meter_id, f"{meter_id}: no power in its reading"


def _clock(state: State, image: Image) -> Iterator[tuple[AlarmKind, str, str]]:
    if image.clock_synced is False:
        yield AlarmKind.CLOCK_UNSYNCED, "", "adjtimex: not synchronised"
    for new in image.instructions:
        if isinstance(new, NewOrder) and new.clock_disagrees:
            yield AlarmKind.CLOCK_DISAGREES, new.order_id, f"order {new.order_id} of {new.issuer}"
        elif isinstance(new, NewSetpoint) and new.clock_disagrees:
            about = f"setpoint {new.sequence}"
            yield AlarmKind.CLOCK_DISAGREES, about, f"{about} of {new.issuer}"
    for alarm_id, held in state.alarms.items():
        if kind_of(alarm_id) is AlarmKind.CLOCK_DISAGREES and _recent(held.since_at, image.now):
            yield AlarmKind.CLOCK_DISAGREES, alarm_id.partition(":")[2], held.detail


def _recent(since_at: datetime, now: datetime) -> bool:
    return 0 <= (now - since_at).total_seconds() < 600


def _fleet(image: Image, site: Site, ledger: Ledger) -> Iterator[tuple[AlarmKind, str, str]]:
    found: dict[tuple[AlarmKind, str], list[str]] = {}
    for miner_id, target in ledger.targets.items():
        kind = _NOT_OBEYING.get(target.state)
        if kind is not None and miner_id in site.miners:
            feeder = site.feeder_of[site.miners[miner_id].node_id]
            found.setdefault((kind, feeder), []).append(miner_id)
    for miner_id in image.unreachable:
        told = ledger.targets.get(miner_id)
        moving = told is not None and told.state in _MOVING
        if miner_id in site.miners and not moving:
            feeder = site.feeder_of[site.miners[miner_id].node_id]
            found.setdefault((AlarmKind.MINERS_UNREACHABLE, feeder), []).append(miner_id)
    for (kind, feeder), names in found.items():
        shown = ", ".join(sorted(names)[:_NAMED]) + (" …" if len(names) > _NAMED else "")
        yield kind, feeder, f"{feeder}: {len(names)} ({shown})"
