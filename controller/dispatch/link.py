"""The MQTT link: connects, subscribes, delivers, and mends itself for as long as it is open.

    inbox  ◀── take ──┐                   ┌── retained topics again after every reconnection
                      ├── one session ────┤
    outbox ──▶ send ──┘   QoS 1, one in   └── receipts again until their PUBACK
                          flight, in order

MQTT 3.1.1: nothing that matters is in the properties of MQTT 5. The broker is a stranger: it can
delay and drop, and everything it hands over is judged elsewhere by its signature. A message larger
than PAYLOAD_BYTES_MAX is dropped here; set the broker's own packet limit as well (mosquitto:
`message_size_limit 65536`), because a packet is read whole before its length is known to us.
"""

import asyncio
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from aiomqtt import Client, Message, MqttError, Will
from paho.mqtt.reasoncodes import ReasonCode

from controller.dispatch.outbox import Outbox, Outgoing
from controller.dispatch.ports import (
    INBOX_MAX,
    OUTBOX_MAX,
    PAYLOAD_BYTES_MAX,
    Clock,
    Inbound,
    LastWill,
    LinkCounts,
)
from controller.dispatch.secret_files import SecretFileError, read_secret
from controller.dispatch.topics import matches

_SUBACK_FAILURE = 0x80
_DRAIN_S = 2.0
"""Longest wait, when closing, for what is still in the outbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """TLS 1.2 or newer; the broker's name is checked. `ca_file` None: the system's authorities.

    `cert_file` and `key_file` (mode 0600) authenticate us to the broker where it asks for that.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """Where the broker is and who we are to it.

    `client_id` None: a passing visitor with a random id, whose session ends with its connection;
    otherwise the broker keeps our subscriptions and queues orders while we are away (amqtt only
    where `allow_anonymous` is off). `reply_s`: longest wait for CONNACK, SUBACK and PUBACK.
    """

    host: str
    port: int
    client_id: str | None = None
    username: str | None = None
    password_file: Path | None = None
    tls: Tls | None = None
    keepalive_s: int = 10
    reply_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Pause before connecting again.

    Doubled each time up to the longest, by a random 50 to 100 %.
    """

    first_s: float = 1.0
    longest_s: float = 30.0

    def pause_s(self, failures: int, rng: random.Random) -> float:
        """Pause after the `failures`-th failure in a row (1 is the first)."""
        doubled_s = self.first_s * 2.0 ** min(failures - 1, 16)
        return min(self.longest_s, doubled_s) * (0.5 + rng.random() / 2)


@dataclass(kw_only=True)
class DispatchLink:
    """`ports.Link` over MQTT.

    `subscriptions` are topic filters, all QoS 1. `will` is retained by the broker when we break
    away, and published as well when we leave properly.
    """

    address: BrokerAddress
    subscriptions: tuple[str, ...]
    clock: Clock
    rng: random.Random
    will: LastWill | None = None
    backoff: Backoff = field(default_factory=Backoff)
    inbox_max: int = INBOX_MAX
    outbox_max: int = OUTBOX_MAX

    def __post_init__(self) -> None:
        """Make the queues; nothing is connected before the context is entered."""
        self.inbox: asyncio.Queue[Inbound] = asyncio.Queue(self.inbox_max)
        self.counts = LinkCounts()
        self._outbox = Outbox(self.outbox_max)
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        self._connected = False
        self._failures = 0
        self._last_error: str | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether the broker is reached and every subscription stands."""
        return self._connected

    @property
    def last_error(self) -> str | None:
        """Why the link is, or was last, down; None when it never was."""
        return self._last_error

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Hand a message over (see `ports.Link`). Raises ValueError for an impossible topic."""
        if not topic or "+" in topic or "#" in topic:
            raise ValueError(f"cannot publish to topic {topic!r}: it is empty or has a wildcard")
        self.counts.outbox_dropped += self._outbox.put(Outgoing(topic, payload, retain))
        self._drained.clear()
        self._wake.set()

    async def __aenter__(self) -> Self:
        """Begin connecting, in the background; an absent broker is no error here."""
        self._task = asyncio.create_task(self._run(), name="dispatch-link")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Send what can still be sent, say goodbye, and close."""
        if self._task is None:
            return
        if self._connected:
            if self.will is not None:
                await self.publish(self.will.topic, self.will.payload, retain=True)
            try:
                async with asyncio.timeout(_DRAIN_S):
                    await self._drained.wait() if len(self._outbox) else None
            except TimeoutError:
                self._last_error = f"closed with {len(self._outbox)} messages unsent"
        self._task.cancel()
        await asyncio.wait({self._task})
        self._task = None

    async def _run(self) -> None:
        """Hold one session after the other, until cancelled."""
        while True:
            try:
                await self._session()
            # ValueError: paho's word for a host or port that cannot be.
            except (MqttError, OSError, SecretFileError, ValueError) as error:
                self._last_error = f"{self.address.host}:{self.address.port}: {error}"
            finally:
                self._connected = False
            self._failures += 1
            await asyncio.sleep(self.backoff.pause_s(self._failures, self.rng))

    async def _session(self) -> None:
        """Connect, subscribe, then send and receive until the connection breaks."""
        async with await self._client() as client:
            for topic in self.subscriptions:
                codes = await client.subscribe(topic, qos=1)
                if any(_refused(code) for code in codes):
                    raise MqttError(f"the broker refuses the subscription to {topic}")
            self._outbox.resend_retained()
            self._connected = True
            self._failures = 0
            self.counts.connections += 1
            tasks = {
                asyncio.create_task(self._watch(client)),
                asyncio.create_task(self._send(client)),
            }
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                self._connected = False
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _client(self) -> Client:
        """Read the secrets anew each time, so that a renewed password or certificate counts."""
        address, will = self.address, self.will
        password = tls = None
        if address.password_file is not None:
            secret = await asyncio.to_thread(read_secret, address.password_file)
            password = secret.decode().rstrip("\r\n")
        if address.tls is not None:
            tls = await asyncio.to_thread(_tls_context, address.tls)
        return Client(
            address.host,
            address.port,
            identifier=address.client_id,
            username=address.username,
            password=password,
            tls_context=tls,
            keepalive=address.keepalive_s,
            timeout=address.reply_s,
            clean_session=address.client_id is None,
            will=None if will is None else Will(will.topic, will.payload, qos=1, retain=True),
            queue_type=_straight_to(self._take),
        )

    async def _watch(self, client: Client) -> None:
        """End when the connection does.

        Messages go straight to `_take`, none is left to iterate.
        """
        async for _ in client.messages:
            self.counts.unasked_dropped += 1

    def _take(self, message: Message) -> None:
        """Called by the MQTT library for each message.

        One bounded queue, and no other before it.
        """
        topic, payload = message.topic.value, message.payload
        if not any(matches(wanted, topic) for wanted in self.subscriptions):
            self.counts.unasked_dropped += 1
            return
        if len(payload) > PAYLOAD_BYTES_MAX:
            self.counts.oversized_dropped += 1
            return
        now_s, now = self.clock.monotonic_s(), self.clock.utc()
        try:
            self.inbox.put_nowait(Inbound(topic, payload, now_s, now, bool(message.retain)))
        except asyncio.QueueFull:
            self.counts.inbox_dropped += 1

    async def _send(self, client: Client) -> None:
        while True:
            self._wake.clear()
            while (message := self._outbox.head()) is not None:
                await client.publish(message.topic, message.payload, 1, message.retain)
                self._outbox.done(message)
                self.counts.published += 1
            self._drained.set()
            await self._wake.wait()


def _straight_to(take: Callable[[Message], None]) -> type[asyncio.Queue[Message]]:
    """A queue type for the MQTT library that hands every message on instead of keeping it.

    The library takes several turns of the loop to give one message out of its own queue; a flood
    would pile up there, beyond our bound and our count.
    """

    class Straight(asyncio.Queue[Message]):
        def put_nowait(self, item: Message) -> None:
            take(item)

    return Straight


def _refused(code: ReasonCode | int) -> bool:
    return code.is_failure if isinstance(code, ReasonCode) else code >= _SUBACK_FAILURE


def _tls_context(tls: Tls) -> ssl.SSLContext:
    """Raises OSError (ssl.SSLError is one) and SecretFileError."""
    context = ssl.create_default_context(cafile=tls.ca_file)
    if tls.cert_file is not None:
        if tls.key_file is not None:
            read_secret(tls.key_file)
        context.load_cert_chain(tls.cert_file, tls.key_file)
    return context
