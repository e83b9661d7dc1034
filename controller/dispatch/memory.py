"""A broker and its links in memory, for runs on a virtual clock. Everything happens at once.

It keeps MQTT's manners where ours depend on them: retained messages, last wills, QoS 1 queues for
a client that keeps its session, and a stop that forgets what is not written down.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

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
from controller.dispatch.topics import matches

_AWAY_MAX = 1_000
"""Messages queued for a client that is away; mosquitto's own default (max_queued_messages)."""

Listener = Callable[[str, bytes, bool], None]
"""Called with topic, payload and whether the message was retained before."""


class MemoryBroker:
    """Takes a message and hands it to everyone who subscribed."""

    def __init__(self) -> None:
        self.running = True
        self.retained: dict[str, bytes] = {}
        self._links: list[MemoryLink] = []
        self._cut: list[MemoryLink] = []
        self._listeners: list[tuple[str, Listener]] = []

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Deliver a message. With `retain` it is kept; an empty payload then clears the topic."""
        if not self.running:
            return
        if retain and payload:
            self.retained[topic] = payload
        elif retain:
            self.retained.pop(topic, None)
        for topic_filter, listener in tuple(self._listeners):
            if matches(topic_filter, topic):
                listener(topic, payload, False)
        for link in tuple(self._links):
            if any(matches(wanted, topic) for wanted in link.subscriptions):
                link.deliver(topic, payload, retained=False)

    def subscribe(self, topic_filter: str, listener: Listener) -> None:
        """Call `listener` for every message from now on, and now for each retained one."""
        self._listeners.append((topic_filter, listener))
        for topic, payload in sorted(self.retained.items()):
            if matches(topic_filter, topic):
                listener(topic, payload, True)

    def attach(self, link: "MemoryLink") -> None:
        """Let a link in; it connects at once when the broker runs."""
        self._links.append(link)
        self.mend(link)

    def detach(self, link: "MemoryLink") -> None:
        """Let a link go, properly: without its will."""
        link.lose("closed")
        self._links.remove(link)

    def cut(self, link: "MemoryLink") -> None:
        """Break a link's connection until `mend`: the broker publishes its will."""
        self._cut.append(link)
        link.lose("connection cut")
        if link.will is not None:
            self.publish(link.will.topic, link.will.payload, retain=True)

    def mend(self, link: "MemoryLink") -> None:
        """Let a cut link connect again."""
        self._cut = [other for other in self._cut if other is not link]
        if self.running:
            link.gain(sorted(self.retained.items()))

    def stop(self) -> None:
        """Die: every link is lost, and what was retained or queued is forgotten."""
        self.running = False
        self.retained.clear()
        for link in self._links:
            link.lose("broker stopped")
            link.forget()

    def start(self) -> None:
        """Come back, empty; every link that is not cut connects again."""
        self.running = True
        for link in tuple(self._links):
            if link not in self._cut:
                self.mend(link)


@dataclass(kw_only=True, eq=False)
class MemoryLink:
    """`ports.Link` on a MemoryBroker. `keeps_session`: queue for us while we are away."""

    broker: MemoryBroker
    subscriptions: tuple[str, ...]
    clock: Clock
    will: LastWill | None = None
    keeps_session: bool = True
    inbox_max: int = INBOX_MAX
    outbox_max: int = OUTBOX_MAX
    counts: LinkCounts = field(default_factory=LinkCounts)

    def __post_init__(self) -> None:
        """Make the queues; nothing is connected before the context is entered."""
        self.inbox: asyncio.Queue[Inbound] = asyncio.Queue(self.inbox_max)
        self._outbox = Outbox(self.outbox_max)
        self._away: deque[tuple[str, bytes]] = deque(maxlen=_AWAY_MAX)
        self._connected = False
        self._last_error: str | None = None

    @property
    def connected(self) -> bool:
        """Whether the broker runs and we are on it."""
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
        self._flush()

    async def __aenter__(self) -> Self:
        """Connect, if the broker runs."""
        self.broker.attach(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Say goodbye and leave."""
        if self._connected and self.will is not None:
            await self.publish(self.will.topic, self.will.payload, retain=True)
        self.broker.detach(self)

    def gain(self, retained: list[tuple[str, bytes]]) -> None:
        """Connect: what waited comes first, then what is retained, then our own backlog."""
        if self._connected:
            return
        self._connected = True
        self.counts.connections += 1
        while self._away:
            self.deliver(*self._away.popleft(), retained=False)
        for topic, payload in retained:
            if any(matches(wanted, topic) for wanted in self.subscriptions):
                self.deliver(topic, payload, retained=True)
        self._outbox.resend_retained()
        self._flush()

    def lose(self, why: str) -> None:
        """Lose the connection."""
        self._connected = False
        self._last_error = why

    def forget(self) -> None:
        """The broker has lost what it queued for us."""
        self._away.clear()

    def deliver(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """Take a message from the broker."""
        if not self._connected:
            if self.keeps_session:
                self._away.append((topic, payload))
            return
        if len(payload) > PAYLOAD_BYTES_MAX:
            self.counts.oversized_dropped += 1
            return
        now_s, now = self.clock.monotonic_s(), self.clock.utc()
        try:
            self.inbox.put_nowait(Inbound(topic, payload, now_s, now, retained))
        except asyncio.QueueFull:
            self.counts.inbox_dropped += 1

    def _flush(self) -> None:
        while self._connected and (message := self._outbox.head()) is not None:
            self._outbox.done(message)
            self.counts.published += 1
            self.broker.publish(message.topic, message.payload, retain=message.retain)
