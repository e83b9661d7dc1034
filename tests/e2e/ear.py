"""A client of the broker beside the site: it hears all, checks the site's keys, and may lie."""

import paho.mqtt.client as mqtt

from controller.dispatch.sealing import Opened, open_from_site
from controller.signing import PublicKey, Role, parse_public_key
from tests.patience import eventually

SITE_ID = "e2e-hpp"


class Ear:
    """Hears all that the site and its dispatcher say, by a client of its own."""

    def __init__(self, port, site_key):
        key = PublicKey.of(
            parse_public_key(site_key.read_bytes()), issuer=SITE_ID, roles=[Role.SITE]
        )
        self._keys = {key.key_id: key}
        self.messages = []
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda client, *_: client.subscribe("naryn/v1/#", qos=1)
        self.client.on_message = lambda _c, _u, m: self.messages.append((m.topic, m.payload))
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        eventually(self.client.is_connected, "the ear is connected")

    def say(self, payload):
        """Publish bytes as an order to the site."""
        self.client.publish(f"naryn/v1/{SITE_ID}/dispatch/order", payload, qos=1)

    def orders(self):
        """Envelopes of orders as they went over the wire."""
        return [payload for topic, payload in self.messages if topic.endswith("/order")]

    def answers(self, order_id=None):
        """Receipts and confirmations of the site, each checked with its key."""
        answers = []
        for topic, payload in self.messages:
            if topic.endswith("/receipt"):
                opened = open_from_site(payload, SITE_ID, self._keys)
                assert isinstance(opened, Opened), opened
                answers.append(opened.message)
        return [m for m in answers if order_id is None or m.of.order == order_id]

    def stages(self, order_id):
        """How far the site said that an order has come."""
        return [str(answer.stage) for answer in self.answers(order_id)]

    def close(self):
        """Hang up."""
        self.client.loop_stop()
        self.client.disconnect()
