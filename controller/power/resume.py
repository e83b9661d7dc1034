"""What a journaled state means after a reboot, when CLOCK_MONOTONIC has begun anew.

Every `*_s` of the journal belongs to a boot that is gone. How long the machine was off is known
only by the wall clock, and only if that is right; so no age is believed to be longer than it was
at the last decision, and nothing that limits the load ends by an age.
"""

from dataclasses import replace
from datetime import datetime

from controller.power.state import Order, OrderStage, Setpoint, SourceState, State, Target


def after_reboot(state: State, now_s: float, now: datetime | None) -> State:
    """The state in the new boot's monotonic time. `now` is None while the wall clock is not
    known to be right.

    The dispatcher counts as lost (a fail-safe curve goes on from where it stood), commands count
    as just given, retries are due, guards and ramp begin anew. Orders and setpoints end at their
    UTC times; without a wall clock what lowers begins at once, what raises waits, and each lasts
    its whole span again.
    """
    return replace(
        state,
        targets={name: _target(target, now_s) for name, target in state.targets.items()},
        guards={},
        orders={name: _order(order, now_s, now) for name, order in state.orders.items()},
        setpoints={
            name: _setpoint(held, state.setpoints_before.get(name), state.decided_s, now_s, now)
            for name, held in state.setpoints.items()
        },
        setpoints_before={
            name: _setpoint(held, None, state.decided_s, now_s, now)
            for name, held in state.setpoints_before.items()
        },
        source=_source(state.source, state.decided_s, now_s),
        meter_lost_s={
            name: _aged(lost_s, state.decided_s, now_s)
            for name, lost_s in state.meter_lost_s.items()
        },
        headroom_since_s=None,
        start_credit_w=0.0,
        decided_s=None,
    )


def _aged(then_s: float, decided_s: float | None, now_s: float) -> float:
    """An instant of the old boot, as old now as it was at the last decision."""
    return now_s if decided_s is None else now_s - max(0.0, decided_s - then_s)


def _target(target: Target, now_s: float) -> Target:
    return replace(target, since_s=now_s, commanded_s=now_s, retry_s=now_s)


def _order(order: Order, now_s: float, now: datetime | None) -> Order:
    start_at, stage = max(order.valid_from, order.received_at), order.stage
    if now is None:
        if stage is OrderStage.WAITING:
            stage = OrderStage.DELIVERING  # in force, but it ends no earlier order
        start_s, received_s = now_s, now_s
        expires_s = now_s + (order.valid_until - start_at).total_seconds()
    else:
        start_s = now_s + (start_at - now).total_seconds()
        received_s = now_s + (order.received_at - now).total_seconds()
        expires_s = now_s + (order.valid_until - now).total_seconds()
    return replace(
        order,
        start_s=start_s,
        received_s=received_s,
        expires_s=expires_s,
        stage=stage,
        under_since_s=None,
    )


def _setpoint(
    held: Setpoint,
    before: Setpoint | None,
    decided_s: float | None,
    now_s: float,
    now: datetime | None,
) -> Setpoint:
    if now is None:
        raises = before is not None and held.cap_w > before.cap_w
        left_s = held.starts_s - (held.received_s if decided_s is None else decided_s)
        starts_s = now_s + (max(0.0, left_s) if raises else 0.0)
        expires_s = now_s + (held.valid_until - held.valid_from).total_seconds()
    else:
        starts_s = now_s + (held.valid_from - now).total_seconds()
        expires_s = now_s + (held.valid_until - now).total_seconds()
    return replace(held, received_s=now_s, starts_s=starts_s, expires_s=expires_s)


def _source(
    source: SourceState | None, decided_s: float | None, now_s: float
) -> SourceState | None:
    """Lost, as old as it was at least; one that was heard is found lost by the next decision."""
    if source is None or source.lost_s is None:
        return None
    lost_s = _aged(source.lost_s, decided_s, now_s)
    return replace(source, heard_s=lost_s, lost_s=lost_s, back_s=None)
