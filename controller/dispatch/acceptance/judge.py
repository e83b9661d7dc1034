"""From received bytes to a verdict, and the book of sequences that goes with it.

    size, envelope, signature → words → topic, site, issuer, role, node → sequence → time, order
    └──────────── a stranger can fail here: the book is unchanged ───┘   └─ remembered ─┘

Pure: the caller brings the clock readings and journals the new book before it acts.
"""

import hashlib
from dataclasses import replace

from controller.dispatch.acceptance.book import Entry, SequenceBook
from controller.dispatch.acceptance.clock import (
    FRESH_S,
    Dated,
    Timing,
    Untimely,
    heartbeat_delay_s,
    judge_time,
)
from controller.dispatch.acceptance.verdicts import (
    Accepted,
    AcceptedHeartbeat,
    AlreadySo,
    Reason,
    Rejected,
    Verdict,
)
from controller.dispatch.acceptance.view import Arrival, SiteView
from controller.dispatch.message import (
    PAYLOAD_TYPES,
    Heartbeat,
    Inward,
    Order,
    Reference,
    Setpoint,
    decode,
)
from controller.dispatch.topics import Kind, TopicRef, parse_topic
from controller.power.state import OrderClass
from controller.signing import PublicKey, Rejection, RejectionReason, Role, verify

_TYPES: dict[Kind, type[Inward]] = {
    Kind.ORDER: Order,
    Kind.SETPOINT: Setpoint,
    Kind.HEARTBEAT: Heartbeat,
}
_ENVELOPE_REASONS = {
    RejectionReason.OVERSIZED: Reason.OVERSIZED,
    RejectionReason.MALFORMED: Reason.MALFORMED,
    RejectionReason.PAYLOAD_TYPE: Reason.WRONG_TOPIC,
    RejectionReason.UNSIGNED: Reason.UNSIGNED,
    RejectionReason.UNKNOWN_KEY: Reason.UNKNOWN_KEY,
    RejectionReason.BAD_SIGNATURE: Reason.BAD_SIGNATURE,
}
_DETAIL_MAX = 400


def accept(book: SequenceBook, arrival: Arrival, view: SiteView) -> tuple[Verdict, SequenceBook]:
    """Judge one message. Never raises, whatever the bytes."""
    read = _read(arrival, view)
    if isinstance(read, Rejected):
        return read, book
    message, reference, digest, signers = read
    refusal = _misplaced(message, reference, signers, view)
    if refusal is not None:
        return refusal, book
    seen = book.find(message.issuer, arrival.topic)
    if seen is not None and message.sequence <= seen.sequence:
        if (message.sequence, digest) == (seen.sequence, seen.payload_sha256):
            return AlreadySo(message=message, reference=reference, entry=seen), book
        detail = f"sequence {message.sequence} is not above {seen.sequence}, the last of "
        detail += f"{message.issuer} on this topic"
        return Rejected(reason=Reason.REPLAYED, detail=detail, reference=reference), book
    verdict: Verdict
    if isinstance(message, Heartbeat):
        verdict = _heartbeat(message, reference, arrival, view)
    else:
        issuers = frozenset(signer.issuer for signer in signers)
        verdict = _instruction(message, reference, arrival, view, issuers)
    word = verdict.reason.value if isinstance(verdict, Rejected) else "ACCEPTED"
    entry = Entry(message.sequence, digest, word)
    if isinstance(verdict, Rejected):
        verdict = replace(verdict, keep=entry)
    return verdict, book.with_entry(message.issuer, arrival.topic, entry)


_Read = tuple[Inward, Reference, str, tuple[PublicKey, ...]]


def _read(arrival: Arrival, view: SiteView) -> _Read | Rejected:
    """Check what any stranger could get wrong: topic, size, envelope, signature, words."""
    topic = arrival.topic[:300]
    digest = hashlib.sha256(arrival.payload).hexdigest()
    reference = Reference(topic=topic, envelope_sha256=digest)
    place = parse_topic(arrival.topic)
    if place is None:
        detail = f"no topic of the protocol: {topic!r}"
        return Rejected(reason=Reason.WRONG_TOPIC, detail=detail, reference=reference)
    if place.site != view.site:
        return _foreign(place.site, view.site, reference)
    kind = _TYPES[place.kind]
    opened = verify(arrival.payload, view.keys, PAYLOAD_TYPES[kind])
    if isinstance(opened, Rejection):
        return Rejected(
            reason=_ENVELOPE_REASONS[opened.reason],
            detail=opened.detail[:_DETAIL_MAX],
            reference=reference,
        )
    message = _words(opened.payload, place, view.site, reference)
    if isinstance(message, Rejected):
        return message
    payload_digest = hashlib.sha256(opened.payload).hexdigest()
    return message, _refer(reference, message), payload_digest, opened.signers


def _words(payload: bytes, place: TopicRef, site: str, reference: Reference) -> Inward | Rejected:
    """Parse the verified bytes, and see that they are for this site and this topic."""
    try:
        message = decode(payload, _TYPES[place.kind])
    except ValueError as error:
        detail = f"not a valid {place.kind}: {error}"[:_DETAIL_MAX]
        return Rejected(reason=Reason.MALFORMED, detail=detail, reference=reference)
    reference = _refer(reference, message)
    if message.site != site:
        return _foreign(message.site, site, reference)
    if isinstance(message, Setpoint) and message.node != place.node:
        detail = f"a setpoint of node {message.node!r} came on the topic of node {place.node!r}"
        return Rejected(reason=Reason.WRONG_TOPIC, detail=detail, reference=reference)
    return message


def _misplaced(
    message: Inward, reference: Reference, signers: tuple[PublicKey, ...], view: SiteView
) -> Rejected | None:
    """Check what an authentic message may still not do here; None when it may."""
    own = [signer for signer in signers if signer.issuer == message.issuer]
    if not own:
        who = ", ".join(sorted({signer.issuer for signer in signers}))
        detail = f"issuer is {message.issuer!r} but the signature is of {who}"
        return Rejected(reason=Reason.ISSUER_MISMATCH, detail=detail, reference=reference)
    order_class = message.order_class if isinstance(message, Order) else OrderClass.DISPATCH
    role = Role(order_class.value)
    if not any(role in signer.roles for signer in own):
        detail = f"the key of {message.issuer} does not have the role {role.value!r}"
        return Rejected(reason=Reason.ROLE, detail=detail, reference=reference)
    if isinstance(message, Heartbeat):
        return None
    if message.node not in view.caps_now_w:
        detail = f"site {view.site} has no metered node {message.node!r}"
        return Rejected(reason=Reason.UNKNOWN_NODE, detail=detail, reference=reference)
    issuers = {signer.issuer for signer in signers if role in signer.roles}
    lifts = isinstance(message, Order) and message.release is not None
    if lifts and order_class is not OrderClass.DISPATCH and len(issuers) < 2:
        detail = f"releasing an order of class {order_class.value} needs the signatures of two "
        detail += f"issuers with that role; it has that of {message.issuer} alone"
        return Rejected(reason=Reason.NEEDS_TWO_SIGNATURES, detail=detail, reference=reference)
    return None


def _heartbeat(
    message: Heartbeat, reference: Reference, arrival: Arrival, view: SiteView
) -> AcceptedHeartbeat | Rejected:
    """A heartbeat held back on its way must not keep a dead dispatcher alive."""
    offset_s = view.clock.offsets_s.get(message.issuer)
    if offset_s is not None:
        delay_s = heartbeat_delay_s(message.at, arrival.now, offset_s)
        if delay_s > FRESH_S:
            detail = f"came {delay_s:.1f} s later than the heartbeats before it"
            return Rejected(reason=Reason.NOT_FRESH, detail=detail, reference=reference)
    ours = {
        node: setpoint.sequence
        for node, setpoint in view.setpoints.items()
        if setpoint.issuer == message.issuer
    }
    differs = {
        node
        for node in ours.keys() | message.setpoints.keys()
        if ours.get(node) != message.setpoints.get(node)
    }
    return AcceptedHeartbeat(message=message, reference=reference, differs=frozenset(differs))


def _instruction(
    message: Order | Setpoint,
    reference: Reference,
    arrival: Arrival,
    view: SiteView,
    issuers: frozenset[str],
) -> Accepted | Rejected:
    refusal = _order_refusal(message, view) if isinstance(message, Order) else None
    if refusal is not None:
        return Rejected(reason=refusal[0], detail=refusal[1], reference=reference)
    dated = Dated(
        message.issued_at,
        message.valid_from,
        message.valid_until,
        event=isinstance(message, Order),
        raises=_raises(message, view),
    )
    offset_s = view.clock.offsets_s.get(message.issuer)
    timing = judge_time(dated, arrival.now, arrival.now_s, offset_s, synced=view.clock.synced)
    match timing:
        case Untimely(reason, detail):
            return Rejected(reason=reason, detail=detail, reference=reference)
        case Timing(window, alarm, detail):
            return Accepted(
                message=message,
                reference=reference,
                window=window,
                issuers=issuers,
                alarm=alarm,
                detail=detail,
            )


def _order_refusal(order: Order, view: SiteView) -> tuple[Reason, str] | None:
    if order.id in view.orders:
        return Reason.ORDER_ID_USED, f"order {order.id!r} was given before: choose a new id"
    if order.release is None:
        return None
    known = view.orders.get(order.release)
    if known is None or not known.in_force:
        state = "is not known here" if known is None else "has ended"
        return Reason.UNKNOWN_ORDER, f"order {order.release!r} {state}"
    if (known.node, known.order_class) != (order.node, order.order_class):
        return Reason.UNKNOWN_ORDER, (
            f"order {order.release!r} is of class {known.order_class.value} for node {known.node}"
        )
    return None


def _raises(message: Order | Setpoint, view: SiteView) -> bool:
    """Whether taking the message may let the load rise.

    A relative order cuts from what is measured and never does. A cap does where it lies above what
    the dispatcher allows now; a setpoint at or under the one that it replaces does not.
    """
    if isinstance(message, Order) and message.release is not None:
        return True
    old = view.setpoints.get(message.node) if isinstance(message, Setpoint) else None
    if message.cap_w is None or (old is not None and message.cap_w <= old.cap_w):
        return False
    return message.cap_w > view.caps_now_w[message.node]


def _refer(reference: Reference, message: Inward) -> Reference:
    return Reference(
        topic=reference.topic,
        envelope_sha256=reference.envelope_sha256,
        issuer=message.issuer,
        sequence=message.sequence,
        node=None if isinstance(message, Heartbeat) else message.node,
        order=message.id if isinstance(message, Order) else None,
    )


def _foreign(theirs: str, ours: str, reference: Reference) -> Rejected:
    detail = f"the message is for site {theirs!r}; this is {ours!r}"
    return Rejected(reason=Reason.FOREIGN_SITE, detail=detail, reference=reference)
