"""A dispatcher, a broker in memory and a small site with its real desk, for tests."""

from datetime import timedelta

import msgspec

from controller.cli.scenario.virtual_time import VirtualClock, run_virtual
from controller.dispatch.desk import Desk, DeskMemory
from controller.dispatch.memory import MemoryBroker, MemoryLink
from controller.dispatch.message import Confirmation, Heartbeat, Order, Receipt, Setpoint
from controller.dispatch.sealing import Opened, open_from_site, seal
from controller.dispatch.topics import (
    heartbeat_topic,
    order_topic,
    receipt_topic,
    setpoint_topic,
    site_subscriptions,
    status_topic,
)
from controller.power.instructions import ArmFeeder
from controller.signing import PublicKey, Role
from controller.site.tick import DESK_BLOB
from tests.services.site_ground import START, Ground
from tests.unit.controller.seeded_keys import signing_key

SITE = "toy"


NDC, CHIEF, STRANGER, OWN = map(signing_key, range(1, 5))
HARD = [Role.DISPATCH, Role.EMERGENCY, Role.LOCKOUT]
KEYS = {
    key.key_id: PublicKey.of(key.public_bytes, issuer=issuer, roles=HARD)
    for key, issuer in [(NDC, "ndc"), (CHIEF, "chief")]
}
SITE_KEYS = {OWN.key_id: PublicKey.of(OWN.public_bytes, issuer=SITE, roles=[Role.SITE])}


class Talk:
    """A dispatcher, the broker between, and a site that can be killed and started again."""

    def __init__(self, place=":memory:", **options):
        self.place, self.options = place, options
        self.broker, self.sequence, self.said, self.sequences = MemoryBroker(), 100, [], []
        for topic in (receipt_topic(SITE), status_topic(SITE), f"naryn/v1/{SITE}/event"):
            self.broker.subscribe(topic, self.hear)
        self.ground = None

    def hear(self, _topic, payload, _retained):
        opened = open_from_site(payload, SITE, SITE_KEYS)
        assert isinstance(opened, Opened), opened
        assert opened.verified
        self.said.append(opened.message)
        self.sequences.append(opened.message.sequence)

    async def start(self, plant=None):
        self.link = MemoryLink(
            broker=self.broker, subscriptions=site_subscriptions(SITE), clock=VirtualClock(START)
        )
        await self.link.__aenter__()
        self.ground = Ground(place=self.place, desk=self.desk, plant=plant, **self.options)
        return self

    def desk(self, site, restored):
        blob = restored.blobs.get(DESK_BLOB)
        memory = None if blob is None else msgspec.json.decode(blob, type=DeskMemory)
        return Desk(site, self.link, KEYS, OWN, memory)

    async def restart(self):
        """As kill -9 and a new start leave it: the broker and the miners live on."""
        self.ground.journal.close()
        self.broker.detach(self.link)
        return await self.start(self.ground.miners)

    def publish(self, message, *keys, retain=False):
        topics = {
            Order: order_topic(SITE),
            Heartbeat: heartbeat_topic(SITE),
        }
        topic = topics.get(type(message)) or setpoint_topic(SITE, message.node)
        envelope = seal(message, keys or [NDC])
        self.broker.publish(topic, envelope, retain=retain)
        return envelope

    def order(self, order_id="o1", *keys, lasts_s=3600.0, issuer="ndc", **facts):
        now = VirtualClock(START).utc()
        self.sequence += 1
        amount = {} if {"cap_w", "release", "curtail_percent"} & set(facts) else {"cap_w": 30_000}
        message = Order(
            site=SITE,
            sequence=self.sequence,
            id=order_id,
            issuer=issuer,
            node=facts.pop("node", "plant"),
            issued_at=now,
            valid_from=facts.pop("valid_from", now),
            valid_until=now + timedelta(seconds=lasts_s),
            **amount,
            **facts,
        )
        return self.publish(message, *keys)

    def setpoint(self, cap_w, *, sequence=None, lasts_s=3600.0):
        now = VirtualClock(START).utc()
        self.sequence += 1
        message = Setpoint(
            site=SITE,
            sequence=sequence or self.sequence,
            issuer="ndc",
            node="plant",
            issued_at=now,
            valid_from=now,
            valid_until=now + timedelta(seconds=lasts_s),
            cap_w=cap_w,
        )
        return self.publish(message, retain=True)

    def answers(self, kind=Receipt | Confirmation):
        return [message for message in self.said if isinstance(message, kind)]

    def stages(self, order_id="o1"):
        return [str(m.stage) for m in self.answers() if m.of.order == order_id]


async def talking(place=":memory:", **options):
    talk = await Talk(place, **options).start()
    talk.ground.acts.put(ArmFeeder(node_id="f1", by="test"))
    await talk.ground.tick(5)
    return talk


def told(story):
    return run_virtual(story())


def beat(talk, setpoints=None):
    talk.sequence += 1
    now = VirtualClock(START).utc()
    return Heartbeat(
        site=SITE, sequence=talk.sequence, issuer="ndc", at=now, setpoints=setpoints or {}
    )
