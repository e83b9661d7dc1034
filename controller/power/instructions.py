"""What people and the dispatcher tell a site, already verified, as facts for the next tick."""

from dataclasses import dataclass
from datetime import datetime

from controller.power.state import OnExpiry, OrderClass


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOrder:
    """An accepted order. Exactly one of the three amounts is given; it is resolved once, by decide.

    `clock_disagrees`: its time stamps do not fit our clock; it lowers the load, so it is applied
    and alarmed.
    """

    order_id: str
    issuer: str
    node_id: str
    order_class: OrderClass
    valid_from: datetime
    valid_until: datetime
    cap_w: float | None = None
    curtail_by_w: float | None = None
    curtail_percent: float | None = None
    within_s: float | None = None
    reason: str = ""
    order_number: str | None = None
    clock_disagrees: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseOrder:
    """The end of an order, ordered. Two-person releases were checked before."""

    order_id: str
    issuer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSetpoint:
    """A standing limit of one node, in force until `valid_until`."""

    issuer: str
    node_id: str
    sequence: int
    cap_w: float
    valid_from: datetime
    valid_until: datetime
    on_expiry: OnExpiry
    clock_disagrees: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatHeard:
    """The dispatcher lives. `reaffirms`: it echoed exactly the setpoints that are in force here."""

    heard_s: float
    reaffirms: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SetOperatorCap:
    """The operator limits a node."""

    node_id: str
    cap_w: float
    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearOperatorCap:
    """The operator lifts his own limit of a node."""

    node_id: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmFeeder:
    """From now on the feeder's miners are commanded, not only watched."""

    node_id: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DisarmFeeder:
    """Back to observing: the feeder's miners are no longer commanded."""

    node_id: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TagMiner:
    """A person works on this miner: it is never commanded until the tag is taken off."""

    miner_id: str
    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UntagMiner:
    """The person has left."""

    miner_id: str
    by: str


Instruction = (
    NewOrder
    | ReleaseOrder
    | NewSetpoint
    | HeartbeatHeard
    | SetOperatorCap
    | ClearOperatorCap
    | ArmFeeder
    | DisarmFeeder
    | TagMiner
    | UntagMiner
)
