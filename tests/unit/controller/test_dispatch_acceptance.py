"""Every bad message is REJECTED with its reason and changes nothing; every good one is taken."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from controller.dispatch.acceptance import (
    Accepted,
    AcceptedHeartbeat,
    Alarm,
    AlreadySo,
    Arrival,
    ClockView,
    InForce,
    KnownOrder,
    Reason,
    Rejected,
    SequenceBook,
    SiteView,
    accept,
)
from controller.dispatch.message import PAYLOAD_TYPES, Heartbeat, Order, Setpoint, encode
from controller.dispatch.receipts import Stamp, again, rejected
from controller.dispatch.sealing import seal
from controller.dispatch.topics import heartbeat_topic, order_topic, setpoint_topic
from controller.power.state import OrderClass
from controller.signing import ENVELOPE_BYTES_MAX, PublicKey, Role, SigningKey, sign

SITE = "kambarata"
NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
NOW_S = 5_000.0
ORDER, HEARTBEAT, SETPOINT = order_topic(SITE), heartbeat_topic(SITE), setpoint_topic(SITE, "plant")


def signing_key(seed):
    return SigningKey.of(Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


NDC, CHIEF, CLERK, STRANGER, OWN = map(signing_key, range(1, 6))
HARD = [Role.DISPATCH, Role.EMERGENCY, Role.LOCKOUT]
KEYS = {
    key.key_id: PublicKey.of(key.public_bytes, issuer=issuer, roles=roles)
    for key, issuer, roles in [
        (NDC, "ndc", HARD),
        (CHIEF, "chief", HARD),
        (CLERK, "clerk", [Role.DISPATCH]),
        (OWN, SITE, [Role.SITE]),
    ]
}
VIEW = SiteView(
    site=SITE,
    keys=KEYS,
    caps_now_w={"plant": 8_000_000.0, "feeder-1": 4_000_000.0},
    orders={
        "hard": KnownOrder("plant", OrderClass.LOCKOUT, in_force=True),
        "urgent": KnownOrder("plant", OrderClass.EMERGENCY, in_force=True),
        "soft": KnownOrder("plant", OrderClass.DISPATCH, in_force=True),
        "ended": KnownOrder("plant", OrderClass.DISPATCH, in_force=False),
    },
    setpoints={"plant": InForce("ndc", 41, 6_000_000.0)},
    clock=ClockView({"ndc": 0.1}, synced=True),
)


def ago(seconds):
    return NOW - timedelta(seconds=seconds)


def later(seconds):
    return NOW + timedelta(seconds=seconds)


def order(**changes):
    """A good order; `cap_w` gives way to another action."""
    fields = {
        "id": "o-1",
        "issuer": "ndc",
        "site": SITE,
        "sequence": 11,
        "node": "plant",
        "issued_at": ago(1),
        "valid_from": ago(1),
        "valid_until": later(900),
        "cap_w": 4_000_000,
    }
    if {"release", "curtail_by_w", "curtail_percent"} & changes.keys():
        del fields["cap_w"]
    return Order(**{**fields, **changes})


def release(of, **changes):
    return order(release=of, **changes)


def setpoint(**changes):
    fields = {
        "issuer": "ndc",
        "site": SITE,
        "sequence": 11,
        "node": "plant",
        "issued_at": ago(3600),
        "valid_from": ago(3600),
        "valid_until": later(3600),
        "cap_w": 5_000_000,
    }
    return Setpoint(**{**fields, **changes})


def heartbeat(**changes):
    fields = {"issuer": "ndc", "site": SITE, "sequence": 11, "at": NOW, "setpoints": {"plant": 41}}
    return Heartbeat(**{**fields, **changes})


def topic_of(message):
    match message:
        case Order():
            return ORDER
        case Setpoint():
            return SETPOINT
        case Heartbeat():
            return HEARTBEAT


def judge(message, *, view=VIEW, book=None, keys=(NDC,), topic=None, now=NOW):
    envelope = message if isinstance(message, bytes) else seal(message, keys)
    where = topic_of(message) if topic is None else topic
    return accept(
        SequenceBook() if book is None else book, Arrival(where, envelope, now, NOW_S), view
    )


def payload(kind=Order, /, **changes):
    """A signed payload that no struct of ours would write."""
    good = json.loads(encode({Order: order, Setpoint: setpoint}[kind]()))
    good.update(changes)
    return raw(json.dumps({k: v for k, v in good.items() if v is not ...}).encode(), kind)


def raw(body, kind=Order):
    return sign(body, PAYLOAD_TYPES[kind], [NDC])


def unsigned(message):
    envelope = json.loads(seal(message, [NDC]))
    return json.dumps({**envelope, "signatures": []}).encode()


def tampered(message):
    envelope = json.loads(seal(message, [NDC]))
    other = json.loads(seal(order(cap_w=7_999_999), [NDC]))
    return json.dumps({**envelope, "payload": other["payload"]}).encode()


R = Reason
# What a stranger, or an authentic message in the wrong place, can get wrong: no trace in the book.
NO_TRACE = [
    ("empty", b"", ORDER, R.MALFORMED),
    ("retained topic cleared", b"", SETPOINT, R.MALFORMED),
    ("garbage", b"\x00\xff" * 50, ORDER, R.MALFORMED),
    ("oversized", b"{" + b" " * ENVELOPE_BYTES_MAX, ORDER, R.OVERSIZED),
    ("deep JSON envelope", b'{"x":' * 10_000, ORDER, R.MALFORMED),
    (
        "bad base64",
        seal(order(), [NDC]).replace(b'"payload":"', b'"payload":"*'),
        ORDER,
        R.MALFORMED,
    ),
    ("bare payload, no envelope", b'{"id":"o-1","cap_w":0}', ORDER, R.MALFORMED),
    ("unsigned", unsigned(order()), ORDER, R.UNSIGNED),
    ("tampered", tampered(order()), ORDER, R.BAD_SIGNATURE),
    ("unknown key", seal(order(), [STRANGER]), ORDER, R.UNKNOWN_KEY),
    ("setpoint on the order topic", seal(setpoint(), [NDC]), ORDER, R.WRONG_TOPIC),
    ("order on the setpoint topic", seal(order(), [NDC]), SETPOINT, R.WRONG_TOPIC),
    ("setpoint of another node", seal(setpoint(node="feeder-1"), [NDC]), SETPOINT, R.WRONG_TOPIC),
    ("receipt topic", seal(order(), [NDC]), f"naryn/v1/{SITE}/dispatch/receipt", R.WRONG_TOPIC),
    ("no topic of ours", seal(order(), [NDC]), "x" * 5_000, R.WRONG_TOPIC),
    ("foreign site in the topic", seal(order(), [NDC]), order_topic("toktogul"), R.FOREIGN_SITE),
    ("foreign site in the words", seal(order(site="toktogul"), [NDC]), ORDER, R.FOREIGN_SITE),
    ("signed by another issuer", seal(order(), [CHIEF]), ORDER, R.ISSUER_MISMATCH),
    ("site's own key", seal(order(issuer=SITE), [OWN]), ORDER, R.ROLE),
    (
        "clerk in an emergency",
        seal(order(issuer="clerk", order_class=OrderClass.EMERGENCY), [CLERK]),
        ORDER,
        R.ROLE,
    ),
    ("unknown node", seal(order(node="moon"), [NDC]), ORDER, R.UNKNOWN_NODE),
    (
        "unknown node of a setpoint",
        seal(setpoint(node="moon"), [NDC]),
        setpoint_topic(SITE, "moon"),
        R.UNKNOWN_NODE,
    ),
    (
        "lockout released by one",
        seal(release("hard", order_class=OrderClass.LOCKOUT, order_number="7"), [NDC]),
        ORDER,
        R.NEEDS_TWO_SIGNATURES,
    ),
    (
        "emergency released by one, twice",
        seal(release("urgent", order_class=OrderClass.EMERGENCY), [NDC, NDC]),
        ORDER,
        R.NEEDS_TWO_SIGNATURES,
    ),
    (
        "emergency released by one and a clerk",
        seal(release("urgent", order_class=OrderClass.EMERGENCY), [NDC, CLERK]),
        ORDER,
        R.NEEDS_TWO_SIGNATURES,
    ),
    ("words: not JSON", raw(b"cap 0"), ORDER, R.MALFORMED),
    ("words: deep JSON", raw(b'{"id":' + b"[" * 20_000), ORDER, R.MALFORMED),
    ("words: NaN", raw(b'{"cap_w":NaN}'), ORDER, R.MALFORMED),
    ("words: unknown field", payload(colour="red"), ORDER, R.MALFORMED),
    ("words: no id", payload(id=...), ORDER, R.MALFORMED),
    ("words: id with a slash", payload(id="a/b"), ORDER, R.MALFORMED),
    ("words: two actions", payload(curtail_by_w=1), ORDER, R.MALFORMED),
    ("words: no action", payload(cap_w=...), ORDER, R.MALFORMED),
    ("words: negative watts", payload(cap_w=-1), ORDER, R.MALFORMED),
    ("words: more than 10 GW", payload(cap_w=10_000_000_001), ORDER, R.MALFORMED),
    ("words: 400 digits", payload(cap_w=10**400), ORDER, R.MALFORMED),
    ("words: half watts", payload(cap_w=0.5), ORDER, R.MALFORMED),
    ("words: watts as text", payload(cap_w="4000000"), ORDER, R.MALFORMED),
    ("words: cap is true", payload(cap_w=True), ORDER, R.MALFORMED),
    ("words: percent above 100", payload(cap_w=..., curtail_percent=101), ORDER, R.MALFORMED),
    ("words: percent 0", payload(cap_w=..., curtail_percent=0), ORDER, R.MALFORMED),
    ("words: sequence 0", payload(sequence=0), ORDER, R.MALFORMED),
    ("words: sequence 2^53", payload(sequence=2**53), ORDER, R.MALFORMED),
    ("words: local time", payload(issued_at="2026-12-01T18:00:00+06:00"), ORDER, R.MALFORMED),
    ("words: no zone", payload(issued_at="2026-12-01T18:00:00"), ORDER, R.MALFORMED),
    ("words: a number for a time", payload(issued_at=1_796_126_400), ORDER, R.MALFORMED),
    ("words: year 9999", payload(valid_until="9999-12-31T00:00:00Z"), ORDER, R.MALFORMED),
    ("words: two years", payload(valid_until="2028-12-31T00:00:00Z"), ORDER, R.MALFORMED),
    (
        "words: ends before it begins",
        payload(valid_until="2026-11-30T00:00:00Z"),
        ORDER,
        R.MALFORMED,
    ),
    ("words: unknown class", payload(**{"class": "royal"}), ORDER, R.MALFORMED),
    ("words: lockout without number", payload(**{"class": "lockout"}), ORDER, R.MALFORMED),
    ("words: long reason", payload(reason="x" * 501), ORDER, R.MALFORMED),
    ("words: releases itself", payload(cap_w=..., release="o-1"), ORDER, R.MALFORMED),
    ("words: setpoint without cap", payload(Setpoint, cap_w=...), SETPOINT, R.MALFORMED),
    ("words: unknown on_expiry", payload(Setpoint, on_expiry="rise"), SETPOINT, R.MALFORMED),
]


@pytest.mark.parametrize(
    ("name", "envelope", "topic", "reason"), NO_TRACE, ids=[r[0] for r in NO_TRACE]
)
def test_rejected_and_nothing_remembered(name, envelope, topic, reason):
    _, book = judge(order(sequence=5, id="o-0"))
    verdict, after = judge(envelope, topic=topic, book=book)
    assert (type(verdict), verdict.reason) == (Rejected, reason), verdict.detail
    assert after == book
    assert verdict.keep is None
    # Whatever came, the receipt that says no can be written, and is short.
    receipt = rejected(verdict, Stamp(SITE, 1, NOW))
    assert len(seal(receipt, [OWN])) < 2_048
    assert receipt.reason == reason.value


# What an authentic message in its place can get wrong. Its sequence is used up: the same bytes stay
# rejected even when the clock or the orders have changed.
REMEMBERED = [
    ("expired", order(valid_from=ago(60), valid_until=ago(1)), R.EXPIRED),
    ("expired retained setpoint", setpoint(valid_until=ago(1)), R.EXPIRED),
    ("issued after its own end", order(issued_at=later(5), valid_until=later(4)), R.EXPIRED),
    ("raise 31 s old", release("soft", issued_at=ago(31)), R.NOT_FRESH),
    ("cap above the present one, 31 s old", order(cap_w=9_000_000, issued_at=ago(31)), R.NOT_FRESH),
    ("release of an unknown order", release("never"), R.UNKNOWN_ORDER),
    ("release of an ended order", release("ended"), R.UNKNOWN_ORDER),
    ("release under another class", release("urgent"), R.UNKNOWN_ORDER),
    ("release at another node", release("soft", node="feeder-1"), R.UNKNOWN_ORDER),
    ("id used before", order(id="soft"), R.ORDER_ID_USED),
]


@pytest.mark.parametrize(("name", "message", "reason"), REMEMBERED, ids=[r[0] for r in REMEMBERED])
def test_rejected_and_remembered(name, message, reason):
    verdict, book = judge(message)
    assert (type(verdict), verdict.reason) == (Rejected, reason)
    assert verdict.keep == book.find("ndc", topic_of(message))
    assert verdict.keep.verdict == reason.value
    repeated, after = judge(message, book=book)
    assert isinstance(repeated, AlreadySo)
    assert after == book
    assert again(repeated, Stamp(SITE, 2, NOW)).reason == reason.value


def test_reasons_are_stable():
    assert sorted(Reason) == [
        "BAD_SIGNATURE",
        "CLOCK_DISAGREES",
        "EXPIRED",
        "FOREIGN_SITE",
        "ISSUER_MISMATCH",
        "MALFORMED",
        "NEEDS_TWO_SIGNATURES",
        "NOT_FRESH",
        "ORDER_ID_USED",
        "OVERSIZED",
        "REPLAYED",
        "ROLE",
        "UNKNOWN_KEY",
        "UNKNOWN_NODE",
        "UNKNOWN_ORDER",
        "UNSIGNED",
        "WRONG_TOPIC",
    ]
    assert sorted(Alarm) == ["CLOCK_DISAGREES", "DELIVERED_LATE"]


def test_every_reason_is_provoked_here():
    seen = {row[3] for row in NO_TRACE} | {row[2] for row in REMEMBERED}
    elsewhere = {R.REPLAYED, R.CLOCK_DISAGREES}
    assert seen | elsewhere == set(Reason)


@pytest.mark.parametrize(
    "message",
    [
        order(),
        order(curtail_by_w=1),
        order(curtail_percent=40.0),
        order(cap_w=0),
        order(order_class=OrderClass.EMERGENCY),
        release("soft"),
        setpoint(),
        setpoint(cap_w=9_000_000),
        order(order_class=OrderClass.LOCKOUT, order_number="КР-17"),
    ],
    ids=["cap", "by", "percent", "0 W", "emergency", "release", "setpoint", "raise", "lockout"],
)
def test_good_messages_are_accepted(message):
    verdict, book = judge(message)
    assert isinstance(verdict, Accepted), verdict
    assert verdict.alarm is None
    assert verdict.issuers == {"ndc"}
    assert verdict.message == message
    assert (verdict.window.valid_from, verdict.window.valid_until) == (
        message.valid_from,
        message.valid_until,
    )
    assert verdict.window.until_s == NOW_S + (message.valid_until - NOW).total_seconds()
    assert book.find("ndc", topic_of(message)).sequence == message.sequence
    assert (verdict.reference.sequence, verdict.reference.node) == (11, "plant")


@pytest.mark.parametrize("of", ["hard", "urgent"])
def test_two_issuers_release_what_is_hard(of):
    kind = VIEW.orders[of].order_class
    number = "7" if kind is OrderClass.LOCKOUT else None
    message = release(of, order_class=kind, order_number=number)
    verdict, _ = judge(message, keys=(NDC, CHIEF))
    assert isinstance(verdict, Accepted)
    assert verdict.issuers == {"ndc", "chief"}


def test_second_signature_may_come_later_under_the_same_words():
    message = release("urgent", order_class=OrderClass.EMERGENCY)
    alone, book = judge(message)
    assert alone.reason is R.NEEDS_TWO_SIGNATURES
    both, _ = judge(message, keys=(CHIEF, NDC), book=book)
    assert isinstance(both, Accepted)


def test_same_bytes_again_are_already_so():
    verdict, book = judge(order())
    repeated, after = judge(order(), book=book)
    assert (type(verdict), type(repeated)) == (Accepted, AlreadySo)
    assert after == book
    assert again(repeated, Stamp(SITE, 2, NOW)).stage == "ACCEPTED"


def test_same_words_in_another_envelope_are_already_so():
    # Whoever can touch the envelope on its way cannot make a second order of it.
    _, book = judge(order())
    dressed = json.dumps({**json.loads(seal(order(), [NDC])), "extra": 1}).encode()
    assert isinstance(judge(dressed, topic=ORDER, book=book)[0], AlreadySo)


@pytest.mark.parametrize(
    ("sequence", "changes"),
    [(11, {"cap_w": 1}), (10, {}), (1, {"id": "o-2"})],
    ids=["same-but-different", "lower", "much-lower"],
)
def test_old_sequences_are_replays(sequence, changes):
    _, book = judge(order())
    verdict, after = judge(order(sequence=sequence, **changes), book=book)
    assert verdict.reason is R.REPLAYED
    assert after == book


def test_sequences_are_kept_by_issuer_and_topic():
    _, book = judge(order(sequence=1_000))
    for message, keys in [
        (order(issuer="chief", sequence=1, id="o-2"), (CHIEF,)),
        (setpoint(sequence=1), (NDC,)),
        (heartbeat(sequence=1), (NDC,)),
    ]:
        verdict, book = judge(message, keys=keys, book=book)
        assert isinstance(verdict, Accepted | AcceptedHeartbeat)
    assert book.find("ndc", ORDER).sequence == 1_000


def test_book_survives_the_journal():
    _, book = judge(order())
    _, book = judge(setpoint(), book=book)
    assert SequenceBook.from_json(book.to_json()) == book
    with pytest.raises(ValueError, match="Expected `int`"):
        SequenceBook.from_json(b'{"streams":{"ndc":{"t":{"sequence":"x"}}}}')


def test_a_key_without_its_role_any_more_is_refused():
    weaker = {NDC.key_id: PublicKey.of(NDC.public_bytes, issuer="ndc", roles=[Role.LOCKOUT])}
    verdict, _ = judge(order(), view=replace(VIEW, keys=weaker))
    assert verdict.reason is R.ROLE


def test_heartbeat_reaffirms_only_what_is_in_force():
    for echoed, differs in [
        ({"plant": 41}, set()),
        ({"plant": 40}, {"plant"}),
        ({}, {"plant"}),
        ({"plant": 41, "feeder-1": 1}, {"feeder-1"}),
    ]:
        verdict, _ = judge(heartbeat(setpoints=echoed))
        assert isinstance(verdict, AcceptedHeartbeat)
        assert verdict.differs == differs
        assert verdict.reaffirms is (not differs)


def test_setpoints_of_others_do_not_count_against_a_heartbeat():
    view = replace(VIEW, setpoints={"plant": InForce("chief", 7, 1.0)})
    assert judge(heartbeat(setpoints={}), view=view)[0].reaffirms


def test_older_heartbeat_is_ignored():
    _, book = judge(heartbeat(sequence=11))
    assert judge(heartbeat(sequence=10, at=ago(5)), book=book)[0].reason is R.REPLAYED


def test_heartbeat_held_back_does_not_keep_a_dead_dispatcher_alive():
    assert isinstance(judge(heartbeat(at=ago(29)))[0], AcceptedHeartbeat)
    verdict, _ = judge(heartbeat(at=ago(31)))
    assert verdict.reason is R.NOT_FRESH


def test_heartbeat_of_a_clock_far_off_is_heard():
    far = replace(VIEW, clock=ClockView({}, synced=True))
    assert isinstance(judge(heartbeat(at=ago(86_400)), view=far)[0], AcceptedHeartbeat)


@given(st.binary(max_size=300), st.sampled_from([ORDER, SETPOINT, HEARTBEAT, "", "a/b"]))
def test_random_bytes_never_raise_and_change_nothing(data, topic):
    verdict, book = judge(data, topic=topic)
    assert isinstance(verdict, Rejected)
    assert book == SequenceBook()


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "id",
                "issuer",
                "site",
                "sequence",
                "node",
                "issued_at",
                "valid_from",
                "valid_until",
                "cap_w",
                "curtail_percent",
                "release",
                "class",
                "within_s",
            ]
        ),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(max_size=20)
        | st.sampled_from(["ndc", SITE, "plant", "2026-12-01T12:00:00Z", "2199-12-31T00:00:00Z"]),
    )
)
def test_random_signed_words_never_raise(changes):
    verdict, _ = judge(payload(**changes), topic=ORDER)
    assert isinstance(verdict, Accepted | Rejected)
