"""Takes the instructions of one tick into the state: dispatcher, operators, heartbeats."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar, assert_never

from controller.power import instructions as said
from controller.power.caps import measured_w, setpoint_in_force, source_held_w
from controller.power.image import Image
from controller.power.ledger import Ledger, scaled_rack_w, settle_w
from controller.power.orders import Progress, least_w, open_order
from controller.power.site import Site
from controller.power.state import (
    FeederState,
    OperatorCap,
    OrderStage,
    Setpoint,
    SourceState,
    State,
)

_Kept = TypeVar("_Kept")


def absorb(state: State, image: Image, site: Site, ledger: Ledger) -> tuple[State, list[Progress]]:
    """Apply every instruction in the order of its arrival; a later one sees what an earlier one
    did.
    """
    told: list[Progress] = []
    if state.source is None:  # before the first heartbeat is judged: never heard means lost
        state = replace(state, source=watch(state, image, site))
    for instruction in image.instructions:
        match instruction:
            case said.NewOrder():
                state, progress = _order(instruction, state, image, site, ledger)
                told += progress
            case said.ReleaseOrder():
                state, progress = _release(instruction, state)
                told += progress
            case said.NewSetpoint():
                state = _setpoint(instruction, state, image)
            case said.HeartbeatHeard():
                state = replace(state, source=_beat(instruction, state.source))
            case _:
                state = _operator_act(instruction, state, image)
    return replace(state, source=watch(state, image, site)), told


def _order(
    new: said.NewOrder, state: State, image: Image, site: Site, ledger: Ledger
) -> tuple[State, list[Progress]]:
    held = state.orders.get(new.order_id)
    if held is not None:  # told twice: resolved once
        return state, [Progress(order=held, accepted=True)]
    baseline_w = baseline(new.node_id, state, image, site, ledger)
    order, *replaced = open_order(new, state, image, site, baseline_w)
    least = least_w(new.node_id, state, image, site, ledger)
    order = replace(order, deliverable_w=max(order.cap_w, least))
    orders = {**state.orders, **{old.order_id: old for old in replaced}, order.order_id: order}
    told = [Progress(order=order, accepted=True), *(Progress(order=old) for old in replaced)]
    return replace(state, orders=orders), told


def baseline(node_id: str, state: State, image: Image, site: Site, ledger: Ledger) -> float:
    """The load an order starts from, in W: the meters; where they are lost, what the miners say
    and 8 % more. A rack has no meter of ours: what its miners say, scaled by its feeder's meter.
    """
    node_id = site.standing(node_id)
    metered = measured_w(image, site, node_id)
    if metered is not None:
        return metered
    if not site.feeders_below[node_id]:
        return scaled_rack_w(node_id, state, site, ledger)
    return sum(
        settle_w(
            state.feeders.get(name, FeederState()),
            ledger.feeders[name],
            site.nodes[name].auxiliary_w,
            metered=False,
        )
        for name in site.feeders_below[node_id]
    )


def _release(release: said.ReleaseOrder, state: State) -> tuple[State, list[Progress]]:
    held = state.orders.get(release.order_id)
    if held is None or not held.stage.in_force:
        return state, []
    ended = replace(held, stage=OrderStage.RELEASED)
    return (
        replace(state, orders={**state.orders, held.order_id: ended}),
        [Progress(order=ended)],
    )


def _setpoint(new: said.NewSetpoint, state: State, image: Image) -> State:
    lasts_s = (new.valid_until - image.now).total_seconds()
    setpoint = Setpoint(
        issuer=new.issuer,
        node_id=new.node_id,
        sequence=new.sequence,
        cap_w=new.cap_w,
        valid_from=new.valid_from,
        valid_until=new.valid_until,
        on_expiry=new.on_expiry,
        received_s=image.now_s,
        starts_s=image.now_s + max(0.0, (new.valid_from - image.now).total_seconds()),
        expires_s=image.now_s + max(0.0, lasts_s),
    )
    before = _without(state.setpoints_before, new.node_id)
    held = setpoint_in_force(new.node_id, state, image.now_s)
    if setpoint.starts_s > image.now_s and held is not None:
        before[new.node_id] = held  # the old limit stands until the new one begins
    return replace(
        state, setpoints={**state.setpoints, new.node_id: setpoint}, setpoints_before=before
    )


def _operator_act(
    act: said.SetOperatorCap
    | said.ClearOperatorCap
    | said.ArmFeeder
    | said.DisarmFeeder
    | said.TagMiner
    | said.UntagMiner,
    state: State,
    image: Image,
) -> State:
    match act:
        case said.SetOperatorCap():
            cap = OperatorCap(
                node_id=act.node_id,
                cap_w=act.cap_w,
                set_at=image.now,
                by=act.by,
                reason=act.reason,
            )
            return replace(state, operator_caps={**state.operator_caps, act.node_id: cap})
        case said.ClearOperatorCap():
            return replace(state, operator_caps=_without(state.operator_caps, act.node_id))
        case said.ArmFeeder():
            return replace(state, armed=tuple(sorted({*state.armed, act.node_id})))
        case said.DisarmFeeder():
            return replace(state, armed=tuple(n for n in state.armed if n != act.node_id))
        case said.TagMiner():
            tag = f"{act.by}: {act.reason}"
            return replace(state, tags={**state.tags, act.miner_id: tag})
        case said.UntagMiner():
            return replace(state, tags=_without(state.tags, act.miner_id))
        case _:
            assert_never(act)


def _without(kept: Mapping[str, _Kept], key: str) -> dict[str, _Kept]:
    return {name: value for name, value in kept.items() if name != key}


def _beat(beat: said.HeartbeatHeard, source: SourceState | None) -> SourceState:
    if source is None:
        return SourceState(heard_s=beat.heard_s)
    back_s = source.back_s
    if source.lost_s is not None and beat.reaffirms and back_s is None:
        back_s = beat.heard_s
    heard_s = max(source.heard_s, beat.heard_s)
    return replace(source, heard_s=heard_s, back_s=back_s, ever_heard=True)


def watch(state: State, image: Image, site: Site) -> SourceState | None:
    """Find the dispatcher silent, or back for long enough. A dispatcher never heard counts as
    lost from the start.
    """
    policy, source = site.dispatch, state.source
    if policy is None:
        return None
    if source is None:
        return SourceState(
            heard_s=image.now_s,
            lost_s=image.now_s,
            held_w=source_held_w(state, image, site, policy.node_id),
            ever_heard=False,
        )
    silent = image.now_s - source.heard_s > policy.heartbeat_timeout_s
    if source.lost_s is None and silent:
        return replace(
            source,
            lost_s=source.heard_s,
            held_w=source_held_w(state, image, site, policy.node_id),
            back_s=None,
        )
    if source.back_s is not None and silent:
        return replace(source, back_s=None)
    if source.lost_s is None or source.back_s is None:
        return source
    fell = source.back_s - source.lost_s > policy.curve.hold_s
    if fell and image.now_s - source.back_s < policy.restart_delay_s:
        return source
    return SourceState(heard_s=source.heard_s)
