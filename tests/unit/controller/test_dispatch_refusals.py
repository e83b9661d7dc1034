"""Every bad message is REJECTED with its reason and changes nothing."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.dispatch.acceptance import (
    Accepted,
    Alarm,
    AlreadySo,
    ClockView,
    Reason,
    Rejected,
    SequenceBook,
)
from controller.dispatch.message import Setpoint
from controller.dispatch.receipts import Stamp, again, rejected
from controller.dispatch.sealing import seal
from controller.dispatch.topics import order_topic, setpoint_topic
from controller.power.state import OrderClass
from controller.signing import ENVELOPE_BYTES_MAX
from tests.unit.controller.dispatch_words import (
    CHIEF,
    CLERK,
    HEARTBEAT,
    NDC,
    NOW,
    ORDER,
    OWN,
    SETPOINT,
    SITE,
    STRANGER,
    VIEW,
    ago,
    judge,
    later,
    order,
    payload,
    raw,
    release,
    setpoint,
    topic_of,
)


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


def test_a_raise_without_a_synchronised_clock_is_rejected_and_remembered():
    unsure = replace(VIEW, clock=ClockView({"ndc": 0.1}, synced=False))
    verdict, book = judge(release("soft"), view=unsure)
    assert (type(verdict), verdict.reason) == (Rejected, R.CLOCK_DISAGREES)
    assert verdict.keep == book.find("ndc", ORDER)
    repeated, after = judge(release("soft"), book=book)
    assert isinstance(repeated, AlreadySo)
    assert after == book


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


def test_every_reason_is_provoked():
    seen = {row[3] for row in NO_TRACE} | {row[2] for row in REMEMBERED}
    # By a test of its own above; and in test_dispatch_acceptance.py, with the sequences.
    elsewhere = {R.CLOCK_DISAGREES, R.REPLAYED}
    assert seen | elsewhere == set(Reason)


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
