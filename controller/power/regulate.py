"""The control law: from limits, ledger and meters to watts that must go and watts that may come.

    settle = auxiliaries + gain · model_end + bias           where commands already given will
    arrive down:  settle > limit − margin                           → that much must go, now up:
    settle < limit − margin − deadband for recover_s, nothing descending
    → starts within the ramp's credit guard: meter above the limit *and* above the expected
    trajectory for two ticks, nothing descending → one rung: trust the meter at once

The guard compares with the trajectory, so a fleet of slow firmware is not called disobedient
while its commands are still on their way, and the same excess is never shed twice.
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
    start_limits: Mapping[str, Limit],
) -> Regulation:
    """Apply the law at every node. `start_limits` look ahead as far as a start takes and must
    last.
    """
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
    nodes = _node_loads(image, site, ledger, feeders, limits, start_limits)
    guards, feeders = _guard(state, image, site, ledger, nodes, feeders)
    if any(g.rung for g in guards.values()):
        nodes = _node_loads(image, site, ledger, feeders, limits, start_limits)
    return _with_starts(state, image, site, ledger, nodes, feeders, guards)


def _node_loads(
    image: Image,
    site: Site,
    ledger: Ledger,
    feeders: Mapping[str, FeederState],
    limits: Mapping[str, Limit],
    start_limits: Mapping[str, Limit],
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
        start_held_w = min(held_w, start_limits[name].limit_w * (1.0 - site.policy.margin))
        loads[name] = NodeLoad(
            node_id=name,
            limit=limit,
            measured_w=None if rack else measured_w(image, site, name),
            expected_w=settle if rack else sum(expected[f] for f in below),
            settle_w=settle,
            floor_w=floor,
            must_go_w=max(0.0, settle - max(held_w, floor)),
            room_w=start_held_w - site.policy.deadband * site.nodes[name].rating_w - settle,
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
        if not is_over(node, site) or node.measured_w is None:
            continue
        held = state.guards.get(name, GuardState(over_since_s=image.now_s))
        below = site.feeders_below[name]
        descending = any(ledger.feeders[f].down_until_s is not None for f in below)
        if descending:
            held = replace(held, over_since_s=image.now_s)
        elif image.now_s - held.over_since_s >= 2 * site.policy.tick_s:
            held = GuardState(over_since_s=image.now_s, rung=held.rung + 1)
            for feeder in below:
                snapped[feeder] = _snap(
                    image, site, ledger.feeders[feeder], feeder, snapped[feeder]
                )
        guards[name] = held
    return guards, snapped


def is_over(node: NodeLoad, site: Site) -> bool:
    """Whether the meters stand above the limit and above what the commands in flight explain."""
    if node.measured_w is None or node.limit.planned:
        return False
    allowed_w = max(node.limit.limit_w, node.floor_w)
    return node.measured_w > max(allowed_w, node.expected_w) + site.policy.over_limit * allowed_w


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
    blocked = (
        descending
        or bool(guards)
        or any(node.must_go_w > 0 for node in nodes.values())
        or nodes[site.root_id].room_w <= 0
    )
    since_s = None if blocked else state.headroom_since_s or image.now_s
    ready = since_s is not None and image.now_s - since_s >= policy.recover_s
    step_w = policy.ramp_up_w_per_s * policy.tick_s
    largest_w = max((m.rated_power_w for m in site.miners.values()), default=0.0)
    credit_w = min(state.start_credit_w + step_w, max(_CREDIT_TICKS * step_w, 1.5 * largest_w))
    return Regulation(
        nodes=nodes,
        start_w=credit_w if ready else 0.0,
        feeders=feeders,
        guards=guards,
        headroom_since_s=since_s,
        start_credit_w=credit_w if ready else 0.0,
    )
