"""What can come of a message: accepted, known already, or rejected with a reason."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from controller.dispatch.acceptance.book import Entry
from controller.dispatch.message import Heartbeat, Order, Reference, Setpoint


class Reason(StrEnum):
    """Why a message was rejected. Stable: receipts and journals carry these words."""

    OVERSIZED = "OVERSIZED"
    MALFORMED = "MALFORMED"
    UNSIGNED = "UNSIGNED"
    UNKNOWN_KEY = "UNKNOWN_KEY"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    WRONG_TOPIC = "WRONG_TOPIC"
    FOREIGN_SITE = "FOREIGN_SITE"
    ISSUER_MISMATCH = "ISSUER_MISMATCH"
    """The message names an issuer that did not sign it."""
    ROLE = "ROLE"
    NEEDS_TWO_SIGNATURES = "NEEDS_TWO_SIGNATURES"
    UNKNOWN_NODE = "UNKNOWN_NODE"
    REPLAYED = "REPLAYED"
    EXPIRED = "EXPIRED"
    NOT_FRESH = "NOT_FRESH"
    CLOCK_DISAGREES = "CLOCK_DISAGREES"
    UNKNOWN_ORDER = "UNKNOWN_ORDER"
    """A release names an order that is not in force here, or names it wrongly."""
    ORDER_ID_USED = "ORDER_ID_USED"


class Alarm(StrEnum):
    """What was wrong with a message that was applied all the same, because it lowers the load."""

    CLOCK_DISAGREES = "CLOCK_DISAGREES"
    DELIVERED_LATE = "DELIVERED_LATE"
    """The clocks agree, but the message was more than its freshness on its way."""


@dataclass(frozen=True, slots=True)
class Window:
    """When an accepted message holds: UTC, and the same two instants as CLOCK_MONOTONIC seconds.

    Act on the monotonic pair: a step of the wall clock must neither end nor lengthen an order.
    """

    valid_from: datetime
    valid_until: datetime
    from_s: float
    until_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """An order or setpoint to act on. `issuers` are all whose valid signatures it carries.

    `alarm` is set where the clocks disagree or it came late; `window` is then the one to use
    (re-based on its receipt), not the message's own. `detail` says what was off.
    """

    message: Order | Setpoint
    reference: Reference
    window: Window
    issuers: frozenset[str]
    alarm: Alarm | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedHeartbeat:
    """The dispatcher lives. `differs` names nodes whose setpoint in force is not the echoed one."""

    message: Heartbeat
    reference: Reference
    differs: frozenset[str]

    @property
    def reaffirms(self) -> bool:
        """Whether it echoes exactly the sender's setpoints that are in force here."""
        return not self.differs


@dataclass(frozen=True, slots=True, kw_only=True)
class AlreadySo:
    """The same message again (QoS 1 may deliver twice, a retained setpoint returns).

    `entry.verdict` is what became of it the first time.
    """

    message: Order | Setpoint | Heartbeat
    reference: Reference
    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """Nothing changes. `keep` is what the book remembers of it: None when nothing.

    Only a message that is authentic, ours and in its place is remembered, so that the same bytes
    cannot be tried again later; what any stranger could send leaves no trace in the book.
    """

    reason: Reason
    detail: str
    reference: Reference
    keep: Entry | None = None


Verdict = Accepted | AcceptedHeartbeat | AlreadySo | Rejected
