"""What decisions remember from tick to tick. Plain values: the journal stores them, a restart
resumes them.

Instants named `*_s` are CLOCK_MONOTONIC of this boot; instants named `*_at` are UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from drivers.contract.readings import WorkMode


class TargetState(StrEnum):
    """Where one miner stands between what was asked and what readings show: targets.py."""

    RUNNING = "running"
    CURTAILING = "curtailing"
    CURTAILED = "curtailed"
    DEAF = "deaf"
    RESTORING = "restoring"
    STUCK = "stuck"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One miner that has been commanded at least once.

    `baseline_w` is its draw before it was curtailed, and `mode`, `raw_mode`, `power_limit_w` are
    what it is given back exactly. `from_w` is where the movement in flight began.
    """

    state: TargetState
    since_s: float
    commanded_s: float
    baseline_w: float
    from_w: float
    mode: WorkMode | None = None
    raw_mode: str | None = None
    power_limit_w: float | None = None
    attempts: int = 0
    retry_s: float = 0.0
    why: str = ""
    persistent_writes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FeederState:
    """What the meter of a feeder has taught: scale and offset of the model, and the measured
    floor.
    """

    gain: float | None = None
    bias_w: float | None = None
    floor_w: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardState:
    """A node whose meter stands above its limit and above the expected trajectory: since when,
    which rung.
    """

    over_since_s: float
    rung: int = 0


class OrderClass(StrEnum):
    """What kind of instruction an order is; decides who may release it."""

    DISPATCH = "dispatch"
    EMERGENCY = "emergency"
    LOCKOUT = "lockout"


class OrderStage(StrEnum):
    """Life of an order. Table: orders.py."""

    WAITING = "waiting"
    DELIVERING = "delivering"
    VERIFIED = "verified"
    FAILED = "failed"
    RELEASED = "released"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"

    @property
    def in_force(self) -> bool:
        """Whether the order still limits the load."""
        return self in {
            OrderStage.WAITING,
            OrderStage.DELIVERING,
            OrderStage.VERIFIED,
            OrderStage.FAILED,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One order of the dispatcher, already resolved to an absolute limit, with what was seen of it.

    `within_s`: time to deliver counted from `start_s` (receipt, or `valid_from` when that is
    later). `deliverable_w`: the least load that was promised when it was accepted. `expires_s` is
    the monotonic twin of `valid_until`, so that a step of the wall clock ends nothing early.
    """

    order_id: str
    issuer: str
    node_id: str
    order_class: OrderClass
    cap_w: float
    received_at: datetime
    received_s: float
    valid_from: datetime
    valid_until: datetime
    start_s: float
    expires_s: float
    within_s: float
    reason: str = ""
    order_number: str | None = None
    baseline_w: float | None = None
    deliverable_w: float | None = None
    stage: OrderStage = OrderStage.WAITING
    under_since_s: float | None = None
    t90_s: float | None = None
    measured_w: float | None = None
    floor_w: float | None = None
    shortfall_w: float | None = None
    delivered_wh: float = 0.0


class OnExpiry(StrEnum):
    """What becomes of a setpoint that nobody renewed (SunSpec's RvrtCtl)."""

    HOLD = "hold"
    FAILSAFE = "failsafe"
    RELEASE = "release"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setpoint:
    """The dispatcher's standing limit of one node. A state: the newest sequence replaces the
    older. `starts_s` and `expires_s` are the monotonic twins of `valid_from` and `valid_until`.
    """

    issuer: str
    node_id: str
    sequence: int
    cap_w: float
    valid_from: datetime
    valid_until: datetime
    on_expiry: OnExpiry
    received_s: float
    starts_s: float
    expires_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """Whether the dispatcher is heard. `lost_s` is when it was found silent; None while heard.

    `held_w` is its lowest limit when it was lost, where the fail-safe curve begins. After a loss
    it counts as back `restart_delay_s` after `back_s`, when a heartbeat re-affirmed what is in
    force.
    """

    heard_s: float
    lost_s: float | None = None
    held_w: float | None = None
    back_s: float | None = None
    ever_heard: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorCap:
    """A limit set by the site's own operator."""

    node_id: str
    cap_w: float
    set_at: datetime
    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmState:
    """An alarm that stands: since when, and the sentence that names what it is about."""

    since_at: datetime
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All of it. `targets` holds miners commanded at least once; every other one is running."""

    targets: Mapping[str, Target] = field(default_factory=dict)
    feeders: Mapping[str, FeederState] = field(default_factory=dict)
    guards: Mapping[str, GuardState] = field(default_factory=dict)
    orders: Mapping[str, Order] = field(default_factory=dict)
    setpoints: Mapping[str, Setpoint] = field(default_factory=dict)
    """The newest of each node."""
    setpoints_before: Mapping[str, Setpoint] = field(default_factory=dict)
    """By node: the one that limits until the newest one's `valid_from`."""
    operator_caps: Mapping[str, OperatorCap] = field(default_factory=dict)
    source: SourceState | None = None
    armed: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    """Miners locked out by people at work on them: id → who and why. Never commanded."""
    alarms: Mapping[str, AlarmState] = field(default_factory=dict)
    meter_lost_s: Mapping[str, float] = field(default_factory=dict)
    """Since when a node's meter is not GOOD."""
    headroom_since_s: float | None = None
    start_credit_w: float = 0.0
    decided_s: float | None = None
    """When the tick before this one was decided."""
