"""Words of the protocol, what the site says, and the small parts around the link."""

import os
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.dispatch import topics
from controller.dispatch.message import (
    PAYLOAD_TYPES,
    Confirmation,
    ConfirmationStage,
    Order,
    Receipt,
    ReceiptStage,
    Reference,
    Setpoint,
    Status,
    decode,
    encode,
)
from controller.dispatch.outbox import Outbox, Outgoing
from controller.dispatch.sealing import open_from_site, seal
from controller.dispatch.secret_files import (
    SECRET_BYTES_MAX,
    SecretFileError,
    read_secret,
    write_secret,
)
from controller.power.state import OnExpiry, OrderClass
from controller.signing import PublicKey, Role
from tests.unit.controller.seeded_keys import signing_key

SITE = "kambarata"
AT = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
KEY = signing_key(9)
OTHER = signing_key(8)
OF = Reference(topic=topics.order_topic(SITE), envelope_sha256="0" * 64)
STATUS = Status(site=SITE, sequence=1, at=AT, state="online", mode="armed", power_w=0)


def site_keys(key=KEY, role=Role.SITE):
    return {key.key_id: PublicKey.of(key.public_bytes, issuer=SITE, roles=[role])}


def test_topics():
    assert [
        topics.order_topic(SITE),
        topics.setpoint_topic(SITE, "feeder-1"),
        topics.heartbeat_topic(SITE),
        topics.receipt_topic(SITE),
        topics.status_topic(SITE),
        topics.event_topic(SITE),
    ] == [
        "naryn/v1/kambarata/dispatch/order",
        "naryn/v1/kambarata/dispatch/setpoint/feeder-1",
        "naryn/v1/kambarata/dispatch/heartbeat",
        "naryn/v1/kambarata/dispatch/receipt",
        "naryn/v1/kambarata/status",
        "naryn/v1/kambarata/event",
    ]


def test_topics_are_read_back():
    assert topics.parse_topic(topics.order_topic(SITE)).kind is topics.Kind.ORDER
    assert topics.parse_topic(topics.heartbeat_topic(SITE)).kind is topics.Kind.HEARTBEAT
    assert topics.parse_topic(topics.setpoint_topic(SITE, "a.b:c_1")).node == "a.b:c_1"


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "naryn",
        "naryn/v2/kambarata/dispatch/order",
        "naryn/v1//dispatch/order",
        "naryn/v1/kambarata/dispatch/receipt",
        "naryn/v1/kambarata/dispatch/setpoint",
        "naryn/v1/kambarata/dispatch/setpoint/",
        "naryn/v1/kambarata/dispatch/setpoint/a/b",
        "naryn/v1/kambarata/dispatch/setpoint/a\n",
        "naryn/v1/kambarata/dispatch/order/x",
    ],
)
def test_other_topics_are_none_of_ours(topic):
    assert topics.parse_topic(topic) is None


@given(st.text(max_size=80))
def test_any_text_can_be_asked_whether_it_is_a_topic(text):
    topics.parse_topic(text)
    topics.parse_topic(f"naryn/v1/kambarata/dispatch/setpoint/{text}")


def test_payload_types_are_stable():
    assert sorted(PAYLOAD_TYPES.values()) == [
        f"application/vnd.naryn.{word}.v1+json"
        for word in ("confirmation", "event", "heartbeat", "order", "receipt", "setpoint", "status")
    ]


def test_words_on_the_wire_are_stable():
    assert list(OrderClass) == ["dispatch", "emergency", "lockout"]
    assert list(OnExpiry) == ["hold", "failsafe", "release"]
    assert list(ReceiptStage) == ["RECEIVED", "ACCEPTED", "ACCEPTED_PARTIAL", "REJECTED"]
    assert list(ConfirmationStage) == ["VERIFIED", "FAILED", "EXPIRED", "SUPERSEDED", "RELEASED"]
    assert {c.value for c in OrderClass} < {r.value for r in Role}


def test_zero_watts_is_said_and_unknown_is_not():
    words = encode(STATUS)
    assert b'"power_w":0' in words
    assert b"cap_w" not in words
    assert decode(words, Status) == STATUS


def test_an_order_reads_back_as_it_was_written():
    order = Order(
        id="o-1",
        issuer="ndc",
        site=SITE,
        sequence=1,
        node="plant",
        issued_at=AT,
        valid_from=AT,
        valid_until=AT.replace(hour=13),
        curtail_percent=40.0,
        order_class=OrderClass.EMERGENCY,
        within_s=30,
        reason="Тоскоол",
    )
    assert decode(encode(order), Order) == order
    assert b'"class":"emergency"' in encode(order)
    assert b'"issued_at":"2026-12-01T12:00:00Z"' in encode(order)


@pytest.mark.parametrize("kind", list(PAYLOAD_TYPES), ids=lambda kind: kind.__name__)
@given(data=st.binary(max_size=60))
def test_random_words_raise_value_errors_only(kind, data):
    with pytest.raises(ValueError, match=r"."):
        decode(data, kind)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Receipt(site=SITE, sequence=1, at=AT, of=OF, stage=ReceiptStage.REJECTED),
            "reason",
        ),
        (
            lambda: Receipt(
                site=SITE, sequence=1, at=AT, of=OF, stage=ReceiptStage.ACCEPTED_PARTIAL
            ),
            "deliverable_w",
        ),
        (
            lambda: Confirmation(
                site=SITE,
                sequence=1,
                at=AT,
                of=OF,
                stage=ConfirmationStage.VERIFIED,
                meter="m",
                measured_w=1,
            ),
            "t90_s",
        ),
        (
            lambda: Confirmation(
                site=SITE, sequence=1, at=AT, of=OF, stage=ConfirmationStage.FAILED
            ),
            "shortfall_w",
        ),
        (
            lambda: Confirmation(
                site=SITE, sequence=1, at=AT, of=OF, stage=ConfirmationStage.FAILED, detail=""
            ),
            "detail",
        ),
        (
            lambda: Setpoint(
                issuer="ndc",
                site=SITE,
                sequence=1,
                node="plant",
                issued_at=AT,
                valid_from=AT,
                valid_until=AT,
                cap_w=0,
            ),
            "valid_until",
        ),
        (
            lambda: Order(
                id="o",
                issuer="ndc",
                site=SITE,
                sequence=1,
                node="plant",
                issued_at=AT,
                valid_from=AT,
                valid_until=AT.replace(hour=13),
            ),
            "exactly one",
        ),
    ],
)
def test_a_message_that_does_not_say_what_it_must_cannot_be_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_the_site_says_is_proved_by_its_key():
    opened = open_from_site(seal(STATUS, [KEY]), SITE, site_keys())
    assert (opened.message, opened.verified) == (STATUS, True)


def test_without_a_key_it_is_shown_as_unverified():
    opened = open_from_site(seal(STATUS, [OTHER]), SITE, {})
    assert (opened.message, opened.verified) == (STATUS, False)


@pytest.mark.parametrize(
    ("envelope", "site", "keys", "sentence"),
    [
        (b"", SITE, site_keys(), "not a DSSE envelope"),
        (seal(STATUS, [OTHER]), SITE, site_keys(), "UNKNOWN_KEY"),
        (seal(STATUS, [KEY]), SITE, site_keys(role=Role.DISPATCH), "without the role"),
        (seal(STATUS, [KEY]), "toktogul", site_keys(), "from site 'kambarata'"),
        (
            seal(STATUS, [KEY]).replace(PAYLOAD_TYPES[Status].encode(), b"text/plain"),
            SITE,
            {},
            "no message of a site",
        ),
        (seal(STATUS, [KEY]).replace(b".status.", b".receipt."), SITE, {}, "not a valid receipt"),
    ],
    ids=["empty", "other key", "wrong role", "other site", "other type", "relabelled"],
)
def test_what_cannot_be_believed_is_a_sentence(envelope, site, keys, sentence):
    assert sentence in open_from_site(envelope, site, keys)


def out(name, *, retain=False):
    return Outgoing(name, name.encode(), retain)


def drain(box):
    order = []
    while (message := box.head()) is not None:
        order.append(message.topic)
        box.done(message)
    return order


def test_outbox_keeps_events_in_order_and_state_last():
    box = Outbox()
    for message in (out("a"), out("s", retain=True), out("b")):
        assert box.put(message) == 0
    assert (len(box), drain(box), len(box)) == (3, ["a", "b", "s"], 0)


def test_outbox_newer_state_replaces_older_even_while_that_is_being_sent():
    box = Outbox()
    old, new = out("s", retain=True), out("s", retain=True)
    box.put(old)
    sending = box.head()
    box.put(new)
    box.done(sending)
    assert box.head() is new


def test_outbox_full_drops_the_oldest_even_while_that_is_being_sent():
    box = Outbox(2)
    first = out("a")
    assert [box.put(message) for message in (first, out("b"), out("c"))] == [0, 0, 1]
    box.done(first)
    assert drain(box) == ["b", "c"]


def test_outbox_sends_state_again_after_a_reconnection():
    box = Outbox()
    box.put(out("s", retain=True))
    assert drain(box) == ["s"]
    box.resend_retained()
    assert drain(box) == ["s"]


def test_secret_there_and_back(tmp_path):
    path = tmp_path / "secret"
    write_secret(path, b"words")
    assert read_secret(path) == b"words"
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(SecretFileError, match="not overwritten"):
        write_secret(path, b"other")
    assert read_secret(path) == b"words"


def test_secret_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(b"x")
    path.chmod(0o640)
    with pytest.raises(SecretFileError, match=r"mode 0640 .* chmod 600"):
        read_secret(path)


def test_secret_of_another_user_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "secret"
    write_secret(path, b"x")
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(SecretFileError, match=r"belongs to user .* chown"):
        read_secret(path)


def test_secret_must_be_a_small_regular_file(tmp_path):
    with pytest.raises(SecretFileError, match="No such file"):
        read_secret(tmp_path / "absent")
    with pytest.raises(SecretFileError, match="not a regular file"):
        read_secret(tmp_path)
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(SecretFileError, match="not a regular file"):
        read_secret(tmp_path / "fifo")
    write_secret(tmp_path / "big", b"x" * (SECRET_BYTES_MAX + 1))
    with pytest.raises(SecretFileError, match="larger than"):
        read_secret(tmp_path / "big")


def test_failed_without_a_meter_says_why_and_carries_no_number():
    failed = Confirmation(
        site=SITE,
        sequence=1,
        at=AT,
        of=OF,
        stage=ConfirmationStage.FAILED,
        detail="not measured: no meter of the node gives a usable value",
    )
    assert b"shortfall_w" not in encode(failed)
    assert decode(encode(failed), Confirmation) == failed
