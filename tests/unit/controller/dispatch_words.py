"""A dispatcher's words for tests: keys, good messages of each kind, and the judge they go to."""

import json
from datetime import UTC, datetime, timedelta

from controller.dispatch.acceptance import (
    Arrival,
    ClockView,
    InForce,
    KnownOrder,
    SequenceBook,
    SiteView,
    accept,
)
from controller.dispatch.message import PAYLOAD_TYPES, Heartbeat, Order, Setpoint, encode
from controller.dispatch.sealing import seal
from controller.dispatch.topics import heartbeat_topic, order_topic, setpoint_topic
from controller.power.state import OrderClass
from controller.signing import PublicKey, Role, sign
from tests.unit.controller.seeded_keys import signing_key

SITE = "kambarata"
NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
NOW_S = 5_000.0
ORDER, HEARTBEAT, SETPOINT = order_topic(SITE), heartbeat_topic(SITE), setpoint_topic(SITE, "plant")


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
