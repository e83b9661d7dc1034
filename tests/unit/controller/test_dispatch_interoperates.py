"""The independent dispatcher and our verifier read the protocol alike."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controller.dispatch.acceptance import (
    Accepted,
    AcceptedHeartbeat,
    Alarm,
    Arrival,
    ClockView,
    InForce,
    KnownOrder,
    Reason,
    SequenceBook,
    SiteView,
    accept,
)
from controller.dispatch.memory import MemoryBroker
from controller.dispatch.message import Order, Receipt, Setpoint
from controller.dispatch.receipts import Stamp, accepted, received, rejected
from controller.dispatch.sealing import seal
from controller.dispatch.topics import receipt_topic
from controller.power.state import OrderClass
from controller.signing import PublicKey, Role, SigningKey
from simulators.scenario import Event
from simulators.services.dispatcher import Dispatcher, EventError

SITE = "kambarata"
START = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
NDC, CHIEF, OWN = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2, 3))
HARD = [Role.DISPATCH, Role.EMERGENCY, Role.LOCKOUT]


def public(key, issuer, roles):
    return PublicKey.of(key.public_key().public_bytes_raw(), issuer=issuer, roles=roles)


TRUSTED = {k.key_id: k for k in (public(NDC, "ndc", HARD), public(CHIEF, "chief", HARD))}
OWN_KEY = SigningKey.of(OWN)


def event(at_s, kind, **params):
    return Event(at_s=at_s, kind=kind, params=params)


class Site:
    """Just enough of a site: it judges and answers, and remembers what it accepted."""

    def __init__(self, broker):
        self.broker, self.book, self.now_s = broker, SequenceBook(), 0.0
        self.orders, self.setpoints, self.verdicts, self.sequence = {}, {}, [], 0
        self.offset_s = {}
        for topic in ("order", "setpoint/+", "heartbeat"):
            broker.subscribe(f"naryn/v1/{SITE}/dispatch/{topic}", self.hear)

    def hear(self, topic, payload, retained):
        now = START + timedelta(seconds=self.now_s)
        view = SiteView(
            site=SITE,
            keys=TRUSTED,
            caps_now_w={"plant": 8e6, "feeder-1": 4e6},
            orders=self.orders,
            setpoints=self.setpoints,
            clock=ClockView(self.offset_s),
        )
        verdict, self.book = accept(self.book, Arrival(topic, payload, now, self.now_s), view)
        self.verdicts.append(verdict)
        if isinstance(verdict, AcceptedHeartbeat):
            return
        self.say(received(verdict.reference, self.stamp(now)))
        if not isinstance(verdict, Accepted):
            self.say(rejected(verdict, self.stamp(now)))
            return
        match verdict.message:
            case Order(release=None) as order:
                self.orders[order.id] = KnownOrder(order.node, order.order_class, in_force=True)
            case Setpoint() as setpoint:
                self.setpoints[setpoint.node] = InForce(
                    setpoint.issuer, setpoint.sequence, setpoint.cap_w
                )
        self.say(accepted(verdict, self.stamp(now), verdict.message.cap_w))

    def stamp(self, now):
        self.sequence += 1
        return Stamp(SITE, self.sequence, now)

    def say(self, message):
        assert isinstance(message, Receipt)
        self.broker.publish(receipt_topic(SITE), seal(message, [OWN_KEY]))


def evening(*events, until_s=60, **how):
    broker = MemoryBroker()
    site = Site(broker)
    if "offset_s" in how:
        site.offset_s = {"ndc": how.pop("offset_s")}
    dispatcher = Dispatcher(
        site=SITE,
        issuer="ndc",
        keys=[NDC, CHIEF],
        events=events,
        site_key=OWN.public_key(),
        publish=lambda topic, payload, retain: broker.publish(topic, payload, retain=retain),
        **how,
    )
    broker.subscribe(
        f"naryn/v1/{SITE}/#", lambda topic, payload, _: dispatcher.hear(topic, payload)
    )
    for tenth in range(until_s * 10):
        site.now_s = tenth / 10
        dispatcher.play(site.now_s, START + timedelta(seconds=site.now_s))
    return site, dispatcher


def test_orders_of_every_kind_are_understood():
    site, dispatcher = evening(
        event(1, "order", id="a", curtail_percent=40, within_s=30, for_s=600, reason="чоку"),
        event(2, "order", id="b", cap_w=10_000, node="feeder-1"),
        event(3, "order", id="c", curtail_by_w=500_000, in_s=600),
        event(4, "release", order="a"),
        event(5, "setpoint", cap_w=5_000_000, for_s=20, on_expiry="failsafe"),
    )
    for order in ("a", "b", "c", "a-release"):
        assert dispatcher.stages(order) == ["RECEIVED", "ACCEPTED"]
    assert all(answer.verified for answer in dispatcher.answers if answer.kind == "receipt")
    first = next(v.message for v in site.verdicts if isinstance(v, Accepted))
    assert (first.curtail_percent, first.within_s, first.reason) == (40, 30, "чоку")
    assert first.valid_until - first.valid_from == timedelta(seconds=600)


@pytest.mark.parametrize(
    ("kind", "extra"), [("emergency", {}), ("lockout", {"order_number": "КР-17"})]
)
def test_hard_orders_are_released_by_two_keys(kind, extra):
    site, dispatcher = evening(
        event(1, "order", id="a", cap_w=0, **{"class": kind}, **extra),
        event(2, "release", order="a"),
    )
    assert dispatcher.stages("a-release") == ["RECEIVED", "ACCEPTED"]
    assert site.verdicts[-1].__class__ is AcceptedHeartbeat
    assert site.orders["a"].order_class is OrderClass(kind)


def test_heartbeats_come_every_five_seconds_and_echo_the_setpoint():
    site, _ = evening(event(7, "setpoint", cap_w=5_000_000, for_s=30), until_s=60)
    beats = [v for v in site.verdicts if isinstance(v, AcceptedHeartbeat)]
    assert len(beats) == 12
    # The setpoint runs out at 37 s; until then the echo is exact.
    assert [beat.reaffirms for beat in beats] == [True] * 8 + [False] * 4
    assert beats[2].message.setpoints == {"plant": 1}


def test_heartbeat_stops_and_resumes():
    site, _ = evening(event(11, "heartbeat_stop"), event(40, "heartbeat_resume"), until_s=60)
    at_s = [(v.message.at - START).total_seconds() for v in site.verdicts]
    assert at_s == [0, 5, 10, 40, 45, 50, 55]


def test_a_wrong_clock_lowers_with_an_alarm_and_cannot_raise():
    site, dispatcher = evening(
        event(1, "order", id="a", cap_w=1_000_000),
        event(2, "release", order="a"),
        clock_offset_s=-3_600.0,
        offset_s=-3_600.0,
        until_s=3,
    )
    order, lift = (v for v in site.verdicts if not isinstance(v, AcceptedHeartbeat))
    assert (type(order), order.alarm) == (Accepted, Alarm.CLOCK_DISAGREES)
    assert lift.reason is Reason.CLOCK_DISAGREES
    assert dispatcher.stages("a-release") == ["RECEIVED", "REJECTED"]


def test_a_dispatcher_that_starts_again_is_above_its_old_sequences():
    site, _ = evening(event(1, "order", id="a", cap_w=1), until_s=3)
    again = Dispatcher(
        site=SITE,
        issuer="ndc",
        keys=[NDC],
        first_sequence=1_000,
        events=[event(0, "order", id="b", cap_w=1)],
        publish=lambda *_: None,
    )
    for topic, payload, retain in again.due(0.0, START):
        site.hear(topic, payload, retain)
    assert isinstance(site.verdicts[-2], Accepted)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (event(3, "order", id="a"), "exactly one of"),
        (event(3, "order", id="a", cap_w=1, curtail_by_w=1), "exactly one of"),
        (event(3, "order", cap_w=1), "needs id"),
        (event(3, "release"), "needs order"),
        (event(3, "setpoint", cap_w="much"), "cap_w must be a number"),
        (event(3, "order", id="a", cap_w=1, colour="red"), "does not know colour"),
        (event(3, "heartbeat_stop", node="x"), "does not know node"),
    ],
)
def test_events_that_cannot_be_played_are_named_at_once(bad, words):
    with pytest.raises(EventError, match=f"at 3 s.*{words}"):
        Dispatcher(site=SITE, issuer="ndc", keys=[NDC], events=[bad], publish=lambda *_: None)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"[" * 50_000,
        b"\xff",
        b"x" * 70_000,
        b'{"payloadType":1,"payload":"AA==","signatures":[]}',
    ],
)
def test_what_cannot_be_read_is_not_kept(payload):
    dispatcher = Dispatcher(site=SITE, issuer="ndc", keys=[NDC], events=[], publish=lambda *_: None)
    assert dispatcher.hear(receipt_topic(SITE), payload) is None
    assert not dispatcher.answers


def test_forged_receipts_are_seen_to_be_forged():
    site, dispatcher = evening(until_s=1)
    forger = SigningKey.of(NDC)
    verdict = site.verdicts[0]
    forged = seal(received(verdict.reference, Stamp(SITE, 99, START)), [forger])
    assert dispatcher.hear(receipt_topic(SITE), forged).verified is False
