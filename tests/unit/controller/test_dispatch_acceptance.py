"""Every good message is taken, and once: what it needs, sequences, and heartbeats."""

import json
from dataclasses import replace

import pytest

from controller.dispatch.acceptance import (
    Accepted,
    AcceptedHeartbeat,
    AlreadySo,
    ClockView,
    InForce,
    Reason,
    SequenceBook,
)
from controller.dispatch.receipts import Stamp, again
from controller.dispatch.sealing import seal
from controller.power.state import OrderClass
from controller.signing import PublicKey, Role
from tests.unit.controller.dispatch_words import (
    CHIEF,
    NDC,
    NOW,
    NOW_S,
    ORDER,
    SITE,
    VIEW,
    ago,
    heartbeat,
    judge,
    order,
    release,
    setpoint,
    topic_of,
)


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
    assert alone.reason is Reason.NEEDS_TWO_SIGNATURES
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
    assert verdict.reason is Reason.REPLAYED
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
    assert verdict.reason is Reason.ROLE


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
    assert judge(heartbeat(sequence=10, at=ago(5)), book=book)[0].reason is Reason.REPLAYED


def test_heartbeat_held_back_does_not_keep_a_dead_dispatcher_alive():
    assert isinstance(judge(heartbeat(at=ago(29)))[0], AcceptedHeartbeat)
    verdict, _ = judge(heartbeat(at=ago(31)))
    assert verdict.reason is Reason.NOT_FRESH


def test_heartbeat_of_a_clock_far_off_is_heard():
    far = replace(VIEW, clock=ClockView({}, synced=True))
    assert isinstance(judge(heartbeat(at=ago(86_400)), view=far)[0], AcceptedHeartbeat)
