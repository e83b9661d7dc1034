"""The one entry: `decide(state, image, site) → Decision`. Same arguments, same decision; no IO,
no clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from controller.power.absorb import absorb
from controller.power.alarms import evaluate
from controller.power.allocate import Allocation, allocate
from controller.power.caps import Limit, collect, limits, meter_w, other_load_w
from controller.power.image import Image
from controller.power.ledger import Ledger, project
from controller.power.orders import Progress, follow
from controller.power.regulate import NodeLoad, Regulation, regulate
from controller.power.site import Site
from controller.power.state import Order, OrderClass, State, Target, TargetState
from controller.power.targets import answered, begin_sleep, begin_wake, command_for, shows_awake
from drivers.contract.commands import Command


class Phase(StrEnum):
    """What the site as a whole is doing, for people; derived from the decision, never stored."""

    OBSERVE = "observe"
    LOCKOUT = "lockout"
    FAILSAFE = "failsafe"
    RAMP_DOWN = "ramp_down"
    RAMP_UP = "ramp_up"
    RECOVER_WAIT = "recover_wait"
    CURTAILED = "curtailed"
    NORMAL = "normal"


@dataclass(frozen=True, slots=True, kw_only=True)
class MinerCommand:
    """One command to one miner, stamped with the tick that decided it."""

    miner_id: str
    command: Command
    commanded_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one tick came to: the next state, the commands that follow from it, and what to tell
    whom.
    """

    state: State
    commands: tuple[MinerCommand, ...]
    progress: tuple[Progress, ...]
    phase: Phase
    nodes: Mapping[str, NodeLoad]
    allocation: Allocation
    ledger: Ledger
    changed_targets: Mapping[str, Target]
    """Targets that are not what they were in the tick before: what the journal must store."""


def decide(state: State, image: Image, site: Site) -> Decision:
    """Caps → regulate → allocate → verify, over targets moved on by their readings."""
    before = state.targets
    state = _take_over(_take_answers(state, image, site), image, site)
    ledger = project(state, image, site)
    state, told = absorb(
        replace(state, meter_lost_s=_lost_meters(state, image, site)), image, site, ledger
    )
    ceilings, ahead = _limits(state, image, site)
    regulation = regulate(state, image, site, ledger, ceilings)
    allocation = allocate(state, image, site, ledger, regulation, ahead)
    orders, progress = follow(state.orders, image, site, ledger, regulation.nodes, state.decided_s)
    targets = _command(ledger, allocation, regulation, image, site)
    state = replace(
        state,
        targets=targets,
        feeders=regulation.feeders,
        guards=regulation.guards,
        orders=_kept(orders),
        headroom_since_s=regulation.headroom_since_s,
        start_credit_w=max(0.0, regulation.start_credit_w - allocation.started_w),
        decided_s=image.now_s,
    )
    state = replace(state, alarms=evaluate(state, image, site, ledger, regulation))
    chosen = (*allocation.sleep, *allocation.wake)
    return Decision(
        state=state,
        commands=tuple(_issue(name, targets[name]) for name in chosen),
        progress=(*told, *progress),
        phase=_phase(state, ledger, regulation),
        nodes=regulation.nodes,
        allocation=allocation,
        ledger=ledger,
        changed_targets={n: t for n, t in targets.items() if before.get(n) is not t},
    )


def _take_answers(state: State, image: Image, site: Site) -> State:
    if not image.answered:
        return state
    targets = dict(state.targets)
    for answer in image.answered:
        target = targets.get(answer.miner_id)
        if target is not None and target.commanded_s == answer.commanded_s:
            targets[answer.miner_id] = answered(target, answer.outcome, image.now_s, site.policy)
    return replace(state, targets=targets)


def _take_over(state: State, image: Image, site: Site) -> State:
    """Miners that the guard put to sleep count as curtailed by us: else nobody would wake them."""
    targets = dict(state.targets)
    for name, shed in image.guard_shed.items():
        miner, target = site.miners.get(name), targets.get(name)
        if miner is None or (target is not None and target.state is not TargetState.RUNNING):
            continue
        targets[name] = Target(
            state=TargetState.CURTAILED,
            since_s=image.now_s,
            commanded_s=image.now_s,
            baseline_w=shed.baseline_w,
            from_w=miner.sleep_power_w,
            mode=shed.mode,
            raw_mode=shed.raw_mode,
            power_limit_w=shed.power_limit_w,
            attempts=1,
            why="guard",
            persistent_writes=0 if target is None else target.persistent_writes,
        )
    return state if not image.guard_shed else replace(state, targets=targets)


def _lost_meters(state: State, image: Image, site: Site) -> dict[str, float]:
    lost = {}
    for node in site.nodes.values():
        if node.meter_id is None:
            continue
        if meter_w(image, node.meter_id) is None:
            lost[node.node_id] = state.meter_lost_s.get(node.node_id, image.now_s)
    return lost


def _limits(
    state: State, image: Image, site: Site
) -> tuple[dict[str, Limit], dict[float, dict[str, Limit]]]:
    """Limits now, and for each time that a firmware takes to come up, as they will be when a miner
    started now has come up and stayed its least time.
    """
    caps, other_w = collect(state, image, site), other_load_w(image, site)
    return limits(caps, other_w, image.now, site), {
        up_s: limits(caps, other_w, image.now, site, ahead_s=up_s + site.policy.min_on_s)
        for up_s in site.up_times_s
    }


def _command(
    ledger: Ledger, allocation: Allocation, regulation: Regulation, image: Image, site: Site
) -> dict[str, Target]:
    targets, now_s = dict(ledger.targets), image.now_s
    for name in allocation.sleep:
        miner, reading = site.miners[name], image.miners.get(name)
        targets[name] = begin_sleep(miner, targets.get(name), reading, now_s, "limit")
    for name in allocation.wake:
        miner, reading = site.miners[name], image.miners.get(name)
        targets[name] = begin_wake(miner, targets[name], reading, now_s, "restore")
    if regulation.start_w > 0:
        _forgive(targets, image, site)
    return targets


def _forgive(targets: dict[str, Target], image: Image, site: Site) -> None:
    """A deaf miner that draws while there is room is simply running: nothing is asked of it any
    more. Only a reading begun once the command had all its time shows that: one that fell asleep
    unseen would never be woken.
    """
    for name, target in targets.items():
        reading, miner = image.miners.get(name), site.miners.get(name)
        if target.state is not TargetState.DEAF or reading is None or miner is None:
            continue
        over_s = max(target.since_s, target.commanded_s + miner.dynamics.down_s)
        if reading.begun_s > over_s and shows_awake(reading, target.baseline_w):
            targets[name] = replace(
                target, state=TargetState.RUNNING, since_s=image.now_s, attempts=0
            )


def _issue(miner_id: str, target: Target) -> MinerCommand:
    command = command_for(target)
    if command is None:
        raise ValueError(f"{miner_id}: no command stands for state {target.state}")
    return MinerCommand(miner_id=miner_id, command=command, commanded_s=target.commanded_s)


_ENDED_KEPT = 50
"""Ended orders that stay in the state for people to look at; the journal keeps them all."""


def _kept(orders: Mapping[str, Order]) -> dict[str, Order]:
    ended = [order for order in orders.values() if not order.stage.in_force]
    gone = {order.order_id for order in ended[: max(0, len(ended) - _ENDED_KEPT)]}
    return {name: order for name, order in orders.items() if name not in gone}


def _phase(state: State, ledger: Ledger, regulation: Regulation) -> Phase:
    loads = ledger.feeders.values()
    in_force = [order for order in state.orders.values() if order.stage.in_force]
    if not state.armed:
        return Phase.OBSERVE
    if any(order.order_class is OrderClass.LOCKOUT for order in in_force):
        return Phase.LOCKOUT
    if state.source is not None and state.source.lost_s is not None:
        return Phase.FAILSAFE
    if any(load.down_until_s is not None for load in loads):
        return Phase.RAMP_DOWN
    if regulation.start_w > 0 and any(load.up_until_s is not None for load in loads):
        return Phase.RAMP_UP
    if any(load.asleep or load.moving for load in loads):
        waiting = regulation.headroom_since_s is not None
        return Phase.RECOVER_WAIT if waiting else Phase.CURTAILED
    return Phase.NORMAL
