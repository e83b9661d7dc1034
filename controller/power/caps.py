"""Every limit of the site as upper bounds on the tree, joined by min; the argmin is the reason.

No sentinel: 0 W means 0 W, no limit is the absence of a record, and the hardware rating is always
there, so the set is never empty. What is planned is already a bound now: the line that the load
must come down along so as to *arrive* at `valid_from`.

    W
    │────────╮ rating
    │         ╲  ramp_down
    │          ╰───────── cap
    └─────────┴──┴─────── t
          lead  valid_from
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from math import isfinite

from controller.power.calendar import occurrences
from controller.power.image import Image
from controller.power.site import FailsafeCurve, NodeKind, OnMeterLoss, Policy, Site
from controller.power.state import OnExpiry, OrderClass, Setpoint, State
from drivers.contract.quantities import Quality


class CapClass(IntEnum):
    """Attribution of a limit: who may release it and how the load moves. Arithmetic ignores it."""

    PROTECTION = 0
    LOCKOUT = 1
    FREQUENCY = 2
    FEEDER = 3
    PLANT = 4
    DISPATCH = 5
    QUOTA = 6
    PRICE = 7
    OPERATOR = 8


class Scope(StrEnum):
    """What a limit counts: the mining load alone, or everything that flows through the node."""

    MINING = "mining"
    TOTAL = "total"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """One upper bound. `valid_from` in the future makes it a planned one."""

    cap_id: str
    node_id: str
    value_w: float
    cap_class: CapClass
    reason: str
    scope: Scope = Scope.MINING
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    quality: Quality = Quality.GOOD


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What one node's mining load may be now, which cap says so, and whether that one is still to
    come.
    """

    node_id: str
    limit_w: float
    cap: Cap
    planned: bool


def failsafe_w(last_w: float, age_s: float, curve: FailsafeCurve) -> float:
    """Limit of a source that has been silent for `age_s`; monotonically falling, never above
    `last_w`.

    >>> curve = FailsafeCurve(hold_s=30, decay_s=60, value_w=40)
    >>> [failsafe_w(100.0, age_s, curve) for age_s in (30, 60, 999)]
    [100.0, 70.0, 40]
    """
    if age_s <= curve.hold_s or curve.value_w >= last_w:
        return last_w
    fallen = min(1.0, (age_s - curve.hold_s) / curve.decay_s) if curve.decay_s > 0 else 1.0
    return last_w + (curve.value_w - last_w) * fallen if fallen < 1.0 else curve.value_w


def collect(state: State, image: Image, site: Site) -> tuple[Cap, ...]:
    """Every cap that stands or is planned, from every source."""
    caps = [
        Cap(
            cap_id=f"rating:{node.node_id}",
            node_id=node.node_id,
            value_w=node.rating_w,
            cap_class=CapClass.PLANT if node.kind is NodeKind.PLANT else CapClass.FEEDER,
            reason=f"rating of {node.node_id}",
            scope=Scope.TOTAL,
        )
        for node in site.nodes.values()
    ]
    caps += _calendar_caps(image, site)
    caps += _order_caps(state, image, site)
    caps += _setpoint_caps(state, image, site)
    caps += _operator_caps(state, site)
    caps += _silence_caps(state, image, site)
    caps += _meter_loss_caps(state, image, site)
    caps += _guard_caps(image, site)
    return tuple(caps)


def _guard_caps(image: Image, site: Site) -> Iterator[Cap]:
    """A tripped watchdog's limit. The controller would else wake what the guard put to sleep."""
    if image.guard_limit_w is not None:
        yield Cap(
            cap_id="guard",
            node_id=next(node.node_id for node in site.nodes.values() if node.parent is None),
            value_w=image.guard_limit_w,
            cap_class=CapClass.PROTECTION,
            reason="the guard has tripped and is not released",
        )


def _calendar_caps(image: Image, site: Site) -> list[Cap]:
    return [
        Cap(
            cap_id=f"window:{window.window_id}",
            node_id=window.node_id,
            value_w=window.cap_w,
            cap_class=CapClass.DISPATCH,
            reason=f"planned window {window.window_id}",
            valid_from=begin,
            valid_until=end,
        )
        for window in site.windows
        for begin, end in occurrences(window, image.now, site.timezone)
    ]


def _order_caps(state: State, image: Image, site: Site) -> list[Cap]:
    return [
        Cap(
            cap_id=f"order:{order.order_id}",
            node_id=site.standing(order.node_id),
            value_w=order.cap_w,
            cap_class=CapClass.DISPATCH
            if order.order_class is OrderClass.DISPATCH
            else CapClass.LOCKOUT,
            reason=f"order {order.order_id} of {order.issuer}"
            + (f": {order.reason}" if order.reason else "")
            + _moved(order.node_id, site),
            valid_from=_begins(order.start_s, image),
            valid_until=order.valid_until,
        )
        for order in state.orders.values()
        if order.stage.in_force and image.now_s < order.expires_s
    ]


def _begins(start_s: float, image: Image) -> datetime | None:
    """When a limit begins, by monotonic time: a step of the wall clock neither lifts nor advances
    it.
    """
    left_s = start_s - image.now_s
    return image.now + timedelta(seconds=left_s) if left_s > 0 else None


def _moved(node_id: str, site: Site) -> str:
    held = f"; {node_id} is not in the tree any more, so {site.root_id} is held"
    return "" if node_id in site.nodes else held


def setpoint_in_force(node_id: str, state: State, now_s: float) -> Setpoint | None:
    """The setpoint that limits a node now: the newest, or the one before it until that begins."""
    newest = state.setpoints.get(node_id)
    if newest is not None and newest.starts_s <= now_s:
        return newest
    return state.setpoints_before.get(node_id)


def _setpoint_caps(state: State, image: Image, site: Site) -> list[Cap]:
    caps = []
    standing = list(state.setpoints.values())
    standing += [
        held
        for name, held in state.setpoints_before.items()
        if setpoint_in_force(name, state, image.now_s) is held
    ]
    for setpoint in standing:
        over_s = image.now_s - setpoint.expires_s
        value_w, said = setpoint.cap_w, f"setpoint {setpoint.sequence} of {setpoint.issuer}"
        if over_s >= 0:
            if setpoint.on_expiry is OnExpiry.RELEASE:
                continue
            said += ", expired and held"
            if setpoint.on_expiry is OnExpiry.FAILSAFE and site.dispatch is not None:
                value_w = failsafe_w(setpoint.cap_w, over_s, site.dispatch.curve)
        caps.append(
            Cap(
                cap_id=f"setpoint:{setpoint.node_id}",
                node_id=site.standing(setpoint.node_id),
                value_w=value_w,
                cap_class=CapClass.DISPATCH,
                reason=said + _moved(setpoint.node_id, site),
                valid_from=_begins(setpoint.starts_s, image),
                valid_until=setpoint.valid_until,
                quality=Quality.GOOD if over_s < 0 else Quality.STALE,
            )
        )
    return caps


def _operator_caps(state: State, site: Site) -> list[Cap]:
    return [
        Cap(
            cap_id=f"operator:{cap.node_id}",
            node_id=site.standing(cap.node_id),
            value_w=cap.cap_w,
            cap_class=CapClass.OPERATOR,
            reason=f"operator {cap.by}: {cap.reason}" + _moved(cap.node_id, site),
        )
        for cap in state.operator_caps.values()
    ]


def _silence_caps(state: State, image: Image, site: Site) -> list[Cap]:
    source, policy = state.source, site.dispatch
    if source is None or policy is None or source.lost_s is None or source.held_w is None:
        return []
    until_s = source.back_s if source.back_s is not None else image.now_s
    return [
        Cap(
            cap_id="dispatcher-silent",
            node_id=policy.node_id,
            value_w=failsafe_w(source.held_w, until_s - source.lost_s, policy.curve),
            cap_class=CapClass.DISPATCH,
            reason="dispatcher is silent: fail-safe curve"
            if source.back_s is None
            else "dispatcher is back: restart delay",
            quality=Quality.STALE,
        )
    ]


def _meter_loss_caps(state: State, image: Image, site: Site) -> list[Cap]:
    caps = []
    for name, lost_s in state.meter_lost_s.items():
        node = site.nodes.get(name)
        if node is None or node.on_meter_loss is not OnMeterLoss.CURTAIL:
            continue
        curve = site.dispatch.curve if site.dispatch is not None else FailsafeCurve()
        curve = FailsafeCurve(hold_s=curve.hold_s, decay_s=curve.decay_s, value_w=node.failsafe_w)
        caps.append(
            Cap(
                cap_id=f"meter-lost:{name}",
                node_id=name,
                value_w=failsafe_w(node.rating_w, image.now_s - lost_s, curve),
                cap_class=CapClass.FEEDER,
                reason=f"meter of {name} is lost: fail-safe curve",
                quality=Quality.BAD,
            )
        )
    return caps


def other_load_w(image: Image, site: Site) -> dict[str, float]:
    """What flows through each node beside the mining feeders below it, in W; its worst case where
    unmeasured.
    """
    other = {}
    for node in site.nodes.values():
        if node.kind in {NodeKind.FEEDER, NodeKind.RACK}:
            other[node.node_id] = 0.0
            continue
        total_w = meter_w(image, node.meter_id)
        mining_w = measured_w(image, site, node.node_id)
        other[node.node_id] = (
            node.other_max_w
            if total_w is None or mining_w is None
            else max(0.0, total_w - mining_w)
        )
    return other


def meter_w(image: Image, meter_id: str | None) -> float | None:
    """A meter's power, None unless its quality is GOOD and it is a number."""
    view = image.meters.get(meter_id) if meter_id is not None else None
    if view is None or view.quality is not Quality.GOOD or view.power_w is None:
        return None
    return view.power_w if isfinite(view.power_w) else None


def measured_w(image: Image, site: Site, node_id: str) -> float | None:
    """Mining load below a node by its feeders' meters; None unless every one of them is GOOD."""
    total_w = 0.0
    for name in site.feeders_below[node_id]:
        power_w = meter_w(image, site.nodes[name].meter_id)
        if power_w is None:
            return None
        total_w += power_w
    return total_w if site.feeders_below[node_id] else None


def limits(
    caps: Iterable[Cap],
    other_w: Mapping[str, float],
    now: datetime,
    site: Site,
    *,
    ahead_s: float = 0.0,
) -> dict[str, Limit]:
    """The lowest bound of each node, planned ones included as the line they must be reached along.

    The order of `caps` does not matter: equal bounds are decided by class, then by id. With
    `ahead_s` a planned bound counts as it will stand that much later; what is in force now stays
    in force.
    """
    lowest: dict[str, tuple[float, int, str, Cap, bool]] = {}
    lead_s = site.slowest_down_s + 2 * site.policy.tick_s + ahead_s
    for cap in caps:
        value_w = cap.value_w - (other_w[cap.node_id] if cap.scope is Scope.TOTAL else 0.0)
        bound_w, planned = _bound_now(cap, max(0.0, value_w), now, lead_s, site.policy)
        key = (bound_w, int(cap.cap_class), cap.cap_id, cap, planned)
        held = lowest.get(cap.node_id)
        if held is None or key[:3] < held[:3]:
            lowest[cap.node_id] = key
    return {
        name: Limit(node_id=name, limit_w=key[0], cap=key[3], planned=key[4])
        for name, key in lowest.items()
    }


def _bound_now(
    cap: Cap, value_w: float, now: datetime, lead_s: float, policy: Policy
) -> tuple[float, bool]:
    if cap.valid_from is None or cap.valid_from <= now:
        return value_w, False
    left_s = max(0.0, (cap.valid_from - now).total_seconds() - lead_s)
    return value_w + policy.ramp_down_w_per_s * left_s, True


def source_held_w(state: State, image: Image, site: Site, policy_node: str) -> float:
    """The dispatcher's lowest limit in force at its fail-safe node when it falls silent; the
    rating if it set none.
    """
    own = [*_order_caps(state, image, site), *_setpoint_caps(state, image, site)]
    held = [c.value_w for c in own if c.node_id in site.paths[policy_node] and not c.valid_from]
    return min([site.nodes[policy_node].rating_w, *held])
