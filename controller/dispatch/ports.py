"""What the site and the dispatcher's tools ask of a link. MQTT and its in-memory twin offer it."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

PAYLOAD_BYTES_MAX = 131_072
"""What is larger is dropped unread. Twice an envelope's bound, so that one that is too large is
still answered: REJECTED, OVERSIZED. The protocol's own messages stay under 2 KiB.
"""
INBOX_MAX = 256
OUTBOX_MAX = 1_024


@dataclass(frozen=True, slots=True)
class Inbound:
    """One message as it came in. `received_s` is CLOCK_MONOTONIC, `received_at` UTC."""

    topic: str
    payload: bytes
    received_s: float
    received_at: datetime
    retained: bool


@dataclass(frozen=True, slots=True)
class LastWill:
    """What the broker publishes, retained, when the link breaks; sent as well on a clean end."""

    topic: str
    payload: bytes


@dataclass(slots=True)
class LinkCounts:
    """What went lost and how often, since the start. `connections` counts successful ones.

    `unasked_dropped` counts messages on topics that were not subscribed to: amqtt 0.12 hands a
    connecting client what is retained for the subscriptions of others.
    """

    connections: int = 0
    inbox_dropped: int = 0
    oversized_dropped: int = 0
    unasked_dropped: int = 0
    outbox_dropped: int = 0
    published: int = 0


class Clock(Protocol):
    """Both clocks, for stamping what comes in."""

    def monotonic_s(self) -> float:
        """CLOCK_MONOTONIC in seconds."""
        ...

    def utc(self) -> datetime:
        """Aware wall-clock time in UTC."""
        ...


class Link(Protocol):
    """A connection that mends itself. Used as an async context manager."""

    inbox: asyncio.Queue[Inbound]
    counts: LinkCounts

    @property
    def connected(self) -> bool:
        """Whether the broker is reached and every subscription stands."""
        ...

    @property
    def last_error(self) -> str | None:
        """Why the link is, or was last, down; None when it never was."""
        ...

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Hand a message over; it goes out, at least once, whenever the broker is reached.

        Never waits for the broker. A retained message replaces an unsent one of the same topic and
        is sent again after every reconnection. Of the others at most OUTBOX_MAX wait; when one more
        comes, the oldest is dropped and counted.
        """
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
