"""The control law: from limits, ledger and meters to watts that must go and watts that may come.

    settle = auxiliaries + gain · model_end + bias      where commands already given will arrive

    down:   settle > limit − margin                     → that much must go, now
    up:     settle < limit − margin − deadband          → starts within the ramp's credit
            for recover_s, nothing descending
    guard:  meter above the limit for two ticks with    → one rung: trust the meter at once
            nothing descending, or above limit *and*
            trajectory for as long as a descent takes

While commands are on their way the guard compares with the trajectory, so a fleet of slow
firmware is not called disobedient, and the same excess is never shed twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from controller.power.caps import Limit, measured_w, meter_w
from controller.power.image import Image
from controller.power.ledger import FeederLoad, Ledger, floor_w, learn, now_w, settle_w
from controller.power.site import NodeKind, Site
from controller.power.state import FeederState, GuardState, State

_CREDIT_TICKS = 5.0
"""Ramp credit that may be saved up, so that a whole miner fits; also the largest step of one
tick.
"""


_RUNG_MAX = 4
"""More miners, outlets, contactor, breaker (energy.md §3.6); beyond the first a person must act."""
_NOISE_SHARE = 0.002
"""A meter of class 0.2 may stand this share of the node's rating above the truth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLoad:
    """One node's mining load at this tick, in W. `measured_w` is None unless every feeder meter
    is GOOD.
    """

    node_id: str
    limit: Limit
    measured_w: float | None
    expected_w: float
    settle_w: float
    floor_w: float
    must_go_w: float
    room_w: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Regulation:
    """What the law asks for: per node the watts that must go, and how much may be started now."""

    nodes: Mapping[str, NodeLoad]
    start_w: float
    feeders: Mapping[str, FeederState]
    guards: Mapping[str, GuardState]
    headroom_since_s: float | None
    start_credit_w: float


def regulate(
    state: State,
    image: Image,
    site: Site,
    ledger: Ledger,
    limits: Mapping[str, Limit],
) -> Regulation:
    """Apply the law at every node."""
    feeders = {
        name: learn(
            state.feeders.get(name, FeederState()),
            ledger.feeders[name],
            site.nodes[name].auxiliary_w,
            meter_w(image, site.nodes[name].meter_id),
            site.policy.trim_gain,
        )
        for name in site.feeders
    }
    nodes = _node_loads(image, site, ledger, feeders, limits)
    guards, feeders = _guard(state, image, site, ledger, nodes, feeders)
    if any(g.rung for g in guards.values()):
        nodes = _node_loads(image, site, ledger, feeders, limits)
    return _with_starts(state, image, site, ledger, nodes, feeders, guards)


def _node_loads(
    image: Image,
    site: Site,
    ledger: Ledger,
    feeders: Mapping[str, FeederState],
    limits: Mapping[str, Limit],
) -> dict[str, NodeLoad]:
    settled, expected, floors = {}, {}, {}
    for name in site.feeders:
        node, load = site.nodes[name], ledger.feeders[name]
        metered = meter_w(image, node.meter_id) is not None
        settled[name] = settle_w(feeders[name], load, node.auxiliary_w, metered=metered)
        expected[name] = now_w(feeders[name], load, node.auxiliary_w)
        floors[name] = floor_w(feeders[name], load, node.auxiliary_w)
    loads = {}
    for name, limit in limits.items():
        below = site.feeders_below[name]
        rack = site.nodes[name].kind is NodeKind.RACK
        settle = ledger.racks.get(name, 0.0) if rack else sum(settled[f] for f in below)
        floor = 0.0 if rack else sum(floors[f] for f in below)
        held_w = limit.limit_w * (1.0 - site.policy.margin)
        loads[name] = NodeLoad(
            node_id=name,
            limit=limit,
            measured_w=None if rack else measured_w(image, site, name),
            expected_w=settle if rack else sum(expected[f] for f in below),
            settle_w=settle,
            floor_w=floor,
            must_go_w=max(0.0, settle - max(held_w, floor)),
            room_w=held_w - site.policy.deadband * site.nodes[name].rating_w - settle,
        )
    return loads


def _guard(
    state: State,
    image: Image,
    site: Site,
    ledger: Ledger,
    nodes: Mapping[str, NodeLoad],
    feeders: Mapping[str, FeederState],
) -> tuple[dict[str, GuardState], dict[str, FeederState]]:
    """Escalate one rung at each node whose meter stays above what it should show."""
    guards: dict[str, GuardState] = {}
    snapped = dict(feeders)
    for name, node in nodes.items():
        if not is_over(node, site):
            continue
        held = state.guards.get(name, GuardState(over_since_s=image.now_s))
        below = site.feeders_below[name]
        wait_s = 2 * site.policy.tick_s
        if any(ledger.feeders[f].down_until_s is not None for f in below):
            if is_over(node, site, explained_w=node.expected_w):
                wait_s += site.slowest_down_s + site.policy.confirm_s
            elif held.rung:
                held = replace(held, over_since_s=image.now_s)
            else:
                continue
        if image.now_s - held.over_since_s >= wait_s:
            held = GuardState(over_since_s=image.now_s, rung=min(held.rung + 1, _RUNG_MAX))
            for feeder in below:
                snapped[feeder] = _snap(
                    image, site, ledger.feeders[feeder], feeder, snapped[feeder]
                )
        guards[name] = held
    return guards, snapped


def is_over(node: NodeLoad, site: Site, explained_w: float = 0.0) -> bool:
    """Whether the meters stand above the limit, and above what commands in flight explain."""
    if node.measured_w is None or node.limit.planned:
        return False
    allowed_w = max(node.limit.limit_w, node.floor_w)
    tolerance_w = max(
        site.policy.over_limit * allowed_w, _NOISE_SHARE * site.nodes[node.node_id].rating_w
    )
    return node.measured_w > max(allowed_w, explained_w) + tolerance_w


def _snap(
    image: Image, site: Site, load: FeederLoad, name: str, feeder: FeederState
) -> FeederState:
    meter = meter_w(image, site.nodes[name].meter_id)
    if meter is None:
        return feeder
    unbiased = now_w(replace(feeder, bias_w=0.0), load, site.nodes[name].auxiliary_w)
    return replace(feeder, bias_w=max(feeder.bias_w or 0.0, meter - unbiased))


def _with_starts(
    state: State,
    image: Image,
    site: Site,
    ledger: Ledger,
    nodes: Mapping[str, NodeLoad],
    feeders: Mapping[str, FeederState],
    guards: Mapping[str, GuardState],
) -> Regulation:
    policy = site.policy
    descending = any(load.down_until_s is not None for load in ledger.feeders.values())
    nodes = {
        name: replace(node, room_w=min(0.0, node.room_w)) if name in guards else node
        for name, node in nodes.items()
    }
    since_s = None
    if not (image.journal_failed or descending) and nodes[site.root_id].room_w > 0:
        held_s = state.headroom_since_s
        since_s = image.now_s if held_s is None else held_s
    ready = since_s is not None and image.now_s - since_s >= policy.recover_s
    step_w = policy.ramp_up_w_per_s * policy.tick_s
    largest_w = max((m.rated_power_w for m in site.miners.values()), default=0.0)
    credit_w = min(state.start_credit_w + step_w, max(_CREDIT_TICKS * step_w, 2.0 * largest_w))
    return Regulation(
        nodes=nodes,
        start_w=credit_w if ready else 0.0,
        feeders=feeders,
        guards=guards,
        headroom_since_s=since_s,
        start_credit_w=credit_w if ready else 0.0,
    )
