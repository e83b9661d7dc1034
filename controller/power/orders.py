"""Life of an order, and its proof at the meters.

    WAITING ──start──► DELIVERING ──under the limit for verify_hold_s──► VERIFIED
                           └──────────── time is up ────────────────────► FAILED(short by)
    any of them ──► RELEASED | EXPIRED | SUPERSEDED

VERIFIED is said from GOOD readings of the mining feeders' own meters alone, never from what
miners say. A FAILED order stays in force: the load is held as low as it went.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from controller.power.image import Image
from controller.power.instructions import NewOrder
from controller.power.ledger import Ledger
from controller.power.regulate import NodeLoad
from controller.power.site import Site
from controller.power.state import Order, OrderClass, OrderStage, State, TargetState
from controller.power.targets import settled_w

_T90_SHARE = 0.9
_TOLERANCE_SHARE = 0.01
_NOISE_SHARE = 0.002
"""A meter of class 0.2 may stand this share of the baseline above the truth."""
_GAP_S = 3.0
"""Longest step that energy is integrated over; a longer silence of the meters is not counted as
delivered.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Something about an order that the dispatcher must hear."""

    order: Order
    accepted: bool = False
    """True: the receipt (ACCEPTED, or ACCEPTED_PARTIAL when `deliverable_w` is above the cap)."""


def resolve_w(order: NewOrder, baseline_w: float) -> float:
    """The absolute limit an order means, resolved once from the load at its receipt, in W, never
    below 0.

    >>> from datetime import UTC, datetime
    >>> from controller.power.state import OrderClass
    >>> at = datetime(2026, 11, 22, tzinfo=UTC)
    >>> by = NewOrder(
    ...     order_id="a", issuer="kegoc", node_id="plant", order_class=OrderClass.DISPATCH,
    ...     valid_from=at, valid_until=at, curtail_percent=40,
    ... )
    >>> resolve_w(by, 1000.0)
    600.0
    """
    if order.cap_w is not None:
        return order.cap_w
    if order.curtail_by_w is not None:
        return max(0.0, baseline_w - order.curtail_by_w)
    return max(0.0, baseline_w * (1.0 - (order.curtail_percent or 0.0) / 100.0))


def open_order(
    new: NewOrder, state: State, image: Image, site: Site, baseline_w: float
) -> tuple[Order, ...]:
    """The order as it will be kept, and the earlier ones that it replaces at once."""
    cap_w = resolve_w(new, baseline_w)
    wait_s = max(0.0, (new.valid_from - image.now).total_seconds())
    lasts_s = max(0.0, (new.valid_until - max(new.valid_from, image.now)).total_seconds())
    order = Order(
        order_id=new.order_id,
        issuer=new.issuer,
        node_id=new.node_id,
        order_class=new.order_class,
        cap_w=cap_w,
        received_at=image.now,
        received_s=image.now_s,
        valid_from=new.valid_from,
        valid_until=new.valid_until,
        start_s=image.now_s + wait_s,
        expires_s=image.now_s + wait_s + lasts_s,
        within_s=new.within_s if new.within_s is not None else site.policy.service_s,
        reason=new.reason,
        order_number=new.order_number,
        baseline_w=baseline_w,
    )
    begun = order.start_s <= image.now_s
    return (order, *(replaced(order, state.orders) if begun else ()))


def replaced(order: Order, orders: Mapping[str, Order]) -> list[Order]:
    """The orders that end because this one has begun: of its issuer and node, received before it
    and begun.

    Lockouts and emergencies are never replaced, only released: a new one stands beside the old.
    """
    if order.order_class is not OrderClass.DISPATCH:
        return []
    return [
        replace(old, stage=OrderStage.SUPERSEDED)
        for old in orders.values()
        if old.stage.in_force
        and old.order_id != order.order_id
        and old.received_s <= order.received_s
        and old.start_s <= order.start_s
        and (old.issuer, old.node_id, old.order_class)
        == (order.issuer, order.node_id, order.order_class)
    ]


def least_w(node_id: str, state: State, image: Image, site: Site, ledger: Ledger) -> float:
    """The least load that can be reached at a node: every miner that may be commanded asleep, the
    rest as it is.
    """
    node_id = site.standing(node_id)
    total_w = sum(site.nodes[name].auxiliary_w for name in site.feeders_below[node_id])
    for miner_id, miner in site.miners.items():
        if node_id not in site.paths[miner.node_id]:
            continue
        name = site.feeder_of[miner.node_id]
        feeder = state.feeders.get(name)
        gain = feeder.gain if feeder is not None and feeder.gain is not None else 1.0
        armed = name in state.armed
        total_w += gain * _least_miner_w(miner_id, state, image, site, ledger, armed=armed)
    return total_w


def _least_miner_w(
    miner_id: str, state: State, image: Image, site: Site, ledger: Ledger, *, armed: bool
) -> float:
    miner, reading = site.miners[miner_id], image.miners.get(miner_id)
    target = ledger.targets.get(miner_id)
    deaf = target is not None and target.state is TargetState.DEAF
    if armed and not deaf and miner_id not in state.tags and miner_id not in image.unreachable:
        return miner.sleep_power_w
    return settled_w(miner, target, reading)


def follow(
    orders: Mapping[str, Order],
    image: Image,
    site: Site,
    ledger: Ledger,
    nodes: Mapping[str, NodeLoad],
    previous_s: float | None,
) -> tuple[dict[str, Order], list[Progress]]:
    """Move every order on by what the meters show. `previous_s`: when the tick before was, for
    energy.
    """
    moved, told = {}, []
    for order in orders.values():
        node = nodes[site.standing(order.node_id)]
        new = _step(order, image, site, ledger, node, previous_s)
        if new.stage is not order.stage and new.stage is not OrderStage.DELIVERING:
            told.append(Progress(order=new))
        moved[order.order_id] = new
    for order in reversed([*orders.values()]):
        begun = moved[order.order_id]
        if order.stage is OrderStage.WAITING and begun.stage.in_force and begun is not order:
            for old in replaced(begun, moved):
                moved[old.order_id] = old
                told.append(Progress(order=old))
    return moved, told


def _step(
    order: Order,
    image: Image,
    site: Site,
    ledger: Ledger,
    node: NodeLoad,
    previous_s: float | None,
) -> Order:
    if not order.stage.in_force:
        return order
    if image.now_s >= order.expires_s:
        return replace(order, stage=OrderStage.EXPIRED)
    if image.now_s < order.start_s:
        return order
    if order.stage is OrderStage.WAITING:
        order = replace(order, stage=OrderStage.DELIVERING)
    if node.measured_w is None:
        order = replace(order, under_since_s=None, measured_w=None, shortfall_w=None)
    else:
        order = _measure(order, image, site, node, node.measured_w, previous_s)
    if order.stage is not OrderStage.DELIVERING:
        return order
    held = (
        order.under_since_s is not None
        and image.now_s - order.under_since_s >= site.policy.verify_hold_s
    )
    if held:
        return replace(order, stage=OrderStage.VERIFIED, shortfall_w=0.0)
    if order.under_since_s is None and _time_is_up(order, image, site, ledger):
        return replace(order, stage=OrderStage.FAILED)
    return order


def _measure(
    order: Order,
    image: Image,
    site: Site,
    node: NodeLoad,
    measured_w: float,
    previous_s: float | None,
) -> Order:
    goal_w = max(order.cap_w, node.floor_w)
    baseline_w = order.baseline_w if order.baseline_w is not None else measured_w
    tolerance_w = max(_TOLERANCE_SHARE * goal_w, _NOISE_SHARE * baseline_w)
    under = measured_w <= goal_w + tolerance_w
    t90_s = order.t90_s
    ninety_w = baseline_w - _T90_SHARE * max(0.0, baseline_w - goal_w)
    if t90_s is None and (under or measured_w <= ninety_w):
        t90_s = _newest_meter_s(order, image, site) - order.start_s
    step_s = 0.0 if previous_s is None else min(image.now_s - previous_s, _GAP_S)
    return replace(
        order,
        measured_w=measured_w,
        floor_w=node.floor_w,
        shortfall_w=0.0 if under else measured_w - goal_w,
        under_since_s=_since(order.under_since_s, image.now_s) if under else None,
        t90_s=None if t90_s is None else max(0.0, t90_s),
        delivered_wh=order.delivered_wh + max(0.0, baseline_w - measured_w) * step_s / 3600.0,
    )


def _since(held_s: float | None, now_s: float) -> float:
    return now_s if held_s is None else held_s


def _newest_meter_s(order: Order, image: Image, site: Site) -> float:
    taken = [
        view.taken_s
        for name in site.feeders_below[site.standing(order.node_id)]
        if (view := image.meters.get(site.nodes[name].meter_id or "")) is not None
        and view.taken_s is not None
    ]
    return max(taken, default=image.now_s)


def _time_is_up(order: Order, image: Image, site: Site, ledger: Ledger) -> bool:
    """Failed once its time is over and no command in flight could still help; never later than
    the slowest firmware.
    """
    over_s = image.now_s - order.start_s - order.within_s
    if over_s < site.policy.verify_hold_s + 2 * site.policy.tick_s:
        return False
    flying = any(
        ledger.feeders[name].hoped_until_s is not None
        for name in site.feeders_below[site.standing(order.node_id)]
    )
    return not flying or over_s > site.slowest_down_s + site.policy.confirm_s
