"""What waits for the broker. Bounded; retained topics keep only their newest payload. Pure."""

from collections import deque
from dataclasses import dataclass

from controller.dispatch.ports import OUTBOX_MAX


@dataclass(frozen=True, slots=True, eq=False)
class Outgoing:
    """One message to send. Two are the same only if they are the same object."""

    topic: str
    payload: bytes
    retain: bool


class Outbox:
    """Messages until their PUBACK: `head`, send, `done`. Events first, in order, then state."""

    def __init__(self, size_max: int = OUTBOX_MAX) -> None:
        self._size_max = size_max
        self._events: deque[Outgoing] = deque()
        self._retained: dict[str, Outgoing] = {}
        self._unsent: dict[str, None] = {}

    def put(self, message: Outgoing) -> int:
        """Add a message. Returns how many older ones were dropped for it: 0 or 1."""
        if message.retain:
            self._retained[message.topic] = message
            self._unsent[message.topic] = None
            return 0
        self._events.append(message)
        if len(self._events) <= self._size_max:
            return 0
        self._events.popleft()
        return 1

    def head(self) -> Outgoing | None:
        """The next message to send; None when all are through."""
        if self._events:
            return self._events[0]
        topic = next(iter(self._unsent), None)
        return None if topic is None else self._retained[topic]

    def done(self, message: Outgoing) -> None:
        """The broker has acknowledged `message`."""
        if message.retain:
            if self._retained.get(message.topic) is message:
                self._unsent.pop(message.topic, None)
        elif self._events and self._events[0] is message:
            self._events.popleft()

    def resend_retained(self) -> None:
        """A new connection: the broker may hold our last will, or nothing at all."""
        self._unsent = dict.fromkeys(self._retained)

    def __len__(self) -> int:
        return len(self._events) + len(self._unsent)
