"""The messages of the dispatcher's protocol, as they stand in a signed payload.

JSON. Powers are whole watts, instants are RFC 3339 in UTC, unknown fields are errors: a site that
does not understand a word of an order must not act on the rest. What is absent is unknown, never 0.
Every bound here is part of the protocol (docs/protocol/README.md).
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from controller.dispatch.topics import NAME_PATTERN
from controller.power.state import OnExpiry, OrderClass

POWER_MAX_W = 10_000_000_000
"""10 GW: above the largest plant of any cascade; more is a slip of the unit."""
SEQUENCE_MAX = 2**53 - 1
"""Largest integer that every JSON reader keeps exact."""
SPAN_MAX = timedelta(days=366)
_EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)
"""Bounds of every instant, so that no sum of instant and span leaves the calendar."""

Name = Annotated[str, Meta(pattern=NAME_PATTERN)]
Watts = Annotated[int, Meta(ge=0, le=POWER_MAX_W)]
MeasuredWatts = Annotated[int, Meta(ge=-POWER_MAX_W, le=POWER_MAX_W)]
Sequence = Annotated[int, Meta(ge=1, le=SEQUENCE_MAX)]
Instant = Annotated[datetime, Meta(tz=True)]
Text = Annotated[str, Meta(max_length=500)]
Percent = Annotated[float, Meta(gt=0, le=100)]
Seconds = Annotated[float, Meta(ge=0, le=31_622_400)]


class ReceiptStage(StrEnum):
    """How far a message has come before anything is measured."""

    RECEIVED = "RECEIVED"
    ACCEPTED = "ACCEPTED"
    ACCEPTED_PARTIAL = "ACCEPTED_PARTIAL"
    REJECTED = "REJECTED"


class ConfirmationStage(StrEnum):
    """What became of an accepted order or setpoint."""

    VERIFIED = "VERIFIED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"
    SUPERSEDED = "SUPERSEDED"
    RELEASED = "RELEASED"


class _Message(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What all messages share. `sequence` grows by sender and topic."""

    site: Name
    sequence: Sequence


class Order(_Message, frozen=True, kw_only=True, rename={"order_class": "class"}):
    """An event: lower a node under a cap for a time, or release an earlier order.

    Exactly one of `cap_w`, `curtail_by_w`, `curtail_percent` (of the measured mining power) and
    `release` (id of an earlier order) is given. `within_s` is the activation time asked for;
    `order_number` is the number of the legal order, needed for a lockout. A release carries the
    class of the order that it ends, and for a lockout an order number too.
    """

    id: Name
    issuer: Name
    node: Name
    issued_at: Instant
    valid_from: Instant
    valid_until: Instant
    order_class: OrderClass = OrderClass.DISPATCH
    cap_w: Watts | None = None
    curtail_by_w: Watts | None = None
    curtail_percent: Percent | None = None
    release: Name | None = None
    reason: Text = ""
    order_number: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    within_s: Seconds | None = None

    def __post_init__(self) -> None:
        """Refuse what the field types cannot express. Raises ValueError."""
        _check_window(self.issued_at, self.valid_from, self.valid_until)
        actions = (self.cap_w, self.curtail_by_w, self.curtail_percent, self.release)
        if sum(action is not None for action in actions) != 1:
            raise ValueError(
                "give exactly one of `cap_w`, `curtail_by_w`, `curtail_percent`, `release`"
            )
        if self.order_class is OrderClass.LOCKOUT and self.order_number is None:
            raise ValueError("an order of class lockout needs `order_number`")
        if self.release == self.id:
            raise ValueError("an order cannot release itself: give `release` the earlier id")


class Setpoint(_Message, frozen=True, kw_only=True):
    """State: the cap of one node, retained by the broker, replaced by the next sequence.

    `on_expiry` says what the node does when `valid_until` passes and no newer one came: hold the
    cap, walk the fail-safe curve, or drop it (the other limits remain).
    """

    issuer: Name
    node: Name
    issued_at: Instant
    valid_from: Instant
    valid_until: Instant
    cap_w: Watts
    on_expiry: OnExpiry = OnExpiry.HOLD
    reason: Text = ""

    def __post_init__(self) -> None:
        """Refuse what the field types cannot express. Raises ValueError."""
        _check_window(self.issued_at, self.valid_from, self.valid_until)


class Heartbeat(_Message, frozen=True, kw_only=True):
    """The dispatcher is alive; `setpoints` names the sequence in force at each node.

    `clock_synced` is the sender's own word about its clock, for people; None when it does not know.
    What a site trusts is the offset that it sees itself.
    """

    issuer: Name
    at: Instant
    clock_synced: bool | None = None
    setpoints: Annotated[dict[Name, Sequence], Meta(max_length=256)] = {}

    def __post_init__(self) -> None:
        """Refuse what the field types cannot express. Raises ValueError."""
        _check_instant("at", self.at)


class Reference(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Which message an answer is about.

    `envelope_sha256` (hex, of the bytes as received) stands in every receipt; issuer, sequence,
    node and order only where the message could be read and its signature held. `order` is None for
    setpoints.
    """

    topic: Annotated[str, Meta(max_length=300)]
    envelope_sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")] | None = None
    issuer: Name | None = None
    sequence: Sequence | None = None
    node: Name | None = None
    order: Name | None = None


class Receipt(_Message, frozen=True, kw_only=True):
    """First answer. `cap_w` is the order's amount as resolved, in absolute watts.

    ACCEPTED_PARTIAL carries `deliverable_w` (the lowest power that can be reached) and
    `deliverable_at`; REJECTED carries `reason` and `detail`; `alarm` is set where a message was
    applied although something about it was wrong.
    """

    at: Instant
    of: Reference
    stage: ReceiptStage
    cap_w: Watts | None = None
    valid_from: Instant | None = None
    valid_until: Instant | None = None
    deliverable_w: Watts | None = None
    deliverable_at: Instant | None = None
    reason: Annotated[str, Meta(max_length=40)] | None = None
    detail: Text | None = None
    alarm: Annotated[str, Meta(max_length=40)] | None = None

    def __post_init__(self) -> None:
        """Refuse an answer that does not say what its stage promises. Raises ValueError."""
        if self.stage is ReceiptStage.REJECTED and self.reason is None:
            raise ValueError("a REJECTED receipt needs `reason`")
        if self.stage is ReceiptStage.ACCEPTED_PARTIAL and (
            self.deliverable_w is None or self.deliverable_at is None
        ):
            raise ValueError("ACCEPTED_PARTIAL needs `deliverable_w` and `deliverable_at`")


class Confirmation(_Message, frozen=True, kw_only=True):
    """Second answer, from the meter: `meter` names it, `t90_s` counts from acceptance.

    `floor_w` is the draw that remains with every miner asleep; `delivered_wh` is baseline minus
    measured over the time so far; `shortfall_w` is how far the power stayed above the cap. Where no
    meter could tell, a FAILED confirmation carries `detail` instead: unknown is absent, never 0.
    """

    at: Instant
    of: Reference
    stage: ConfirmationStage
    cap_w: Watts | None = None
    meter: Text | None = None
    t90_s: Seconds | None = None
    measured_w: MeasuredWatts | None = None
    floor_w: Watts | None = None
    delivered_wh: Watts | None = None
    shortfall_w: Watts | None = None
    detail: Text | None = None

    def __post_init__(self) -> None:
        """Refuse an answer that does not say what its stage promises. Raises ValueError."""
        measured = (self.meter, self.t90_s, self.measured_w)
        if self.stage is ConfirmationStage.VERIFIED and None in measured:
            raise ValueError("a VERIFIED confirmation needs `meter`, `t90_s` and `measured_w`")
        if self.stage is ConfirmationStage.FAILED and self.shortfall_w is None and not self.detail:
            raise ValueError("a FAILED confirmation needs `shortfall_w`, or `detail` that says why")


class Status(_Message, frozen=True, kw_only=True):
    """Retained state of the site. The last will is one with state "offline".

    `mode` is the site's own word for how far it acts, e.g. observe or armed.
    """

    at: Instant
    state: Annotated[str, Meta(pattern=r"^(online|offline)\Z")]
    mode: Annotated[str, Meta(max_length=40)] | None = None
    cap_w: Watts | None = None
    power_w: MeasuredWatts | None = None
    floor_w: Watts | None = None
    clock_synced: bool | None = None
    setpoints: Annotated[dict[Name, Sequence], Meta(max_length=256)] = {}


class Event(_Message, frozen=True, kw_only=True):
    """One line of the audit mirror: something happened at the site."""

    at: Instant
    kind: Annotated[str, Meta(max_length=64)]
    severity: Annotated[str, Meta(pattern=r"^(info|warning|alarm)\Z")]
    text: Text
    node: Name | None = None
    order: Name | None = None


Inward = Order | Setpoint | Heartbeat
Outward = Receipt | Confirmation | Status | Event

M = TypeVar("M", bound=Inward | Outward)

PAYLOAD_TYPES: dict[type[Inward | Outward], str] = {
    message: f"application/vnd.naryn.{message.__name__.lower()}.v1+json"
    for message in (Order, Setpoint, Heartbeat, Receipt, Confirmation, Status, Event)
}


def encode(message: Inward | Outward) -> bytes:
    """Payload bytes of a message."""
    return msgspec.json.encode(message)


def decode(payload: bytes, kind: type[M]) -> M:
    """Read a payload strictly. Raises ValueError, whatever the bytes."""
    try:
        return msgspec.json.decode(payload, type=kind)
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None


def _check_instant(name: str, instant: datetime) -> None:
    if instant.utcoffset() != timedelta(0):
        raise ValueError(f"`{name}` must be in UTC, ending in Z")
    if not _EARLIEST <= instant <= _LATEST:
        raise ValueError(f"`{name}` must lie between the years 2020 and 2200")


def _check_window(issued_at: datetime, valid_from: datetime, valid_until: datetime) -> None:
    instants = {"issued_at": issued_at, "valid_from": valid_from, "valid_until": valid_until}
    for name, instant in instants.items():
        _check_instant(name, instant)
    if not timedelta(0) < valid_until - valid_from <= SPAN_MAX:
        raise ValueError("`valid_until` must lie after `valid_from` by at most 366 days")
    if valid_from - issued_at > SPAN_MAX:
        raise ValueError("`valid_from` may lie at most 366 days after `issued_at`")
