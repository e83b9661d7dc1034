"""What the journal still lacks: changes wait here until a commit that holds them is durable.

A tick that could not be journaled is not told again by the ticks after it, for they compare with
the state that it left. Its changes therefore go with the next commit that succeeds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from controller.power.events import Event
from controller.power.state import Order, State, Target
from controller.site.journal import Batch
from controller.site.journal import Event as JournalEvent

_EVENTS_MAX = 1_000
"""Of a journal that fails for long the newest events are kept; targets and orders all are."""


@dataclass(slots=True)
class Unsaved:
    """Changes of the state that no commit holds yet."""

    targets: dict[str, Target | None] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)
    events: list[JournalEvent] = field(default_factory=list)
    blobs: dict[str, bytes | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self.targets or self.orders or self.events or self.blobs)

    def with_tick(
        self,
        targets: Mapping[str, Target],
        orders: Iterable[Order],
        events: Iterable[Event],
        blobs: Mapping[str, bytes],
    ) -> "Unsaved":
        """These changes and the older ones; the newest form of each."""
        return Unsaved(
            targets={**self.targets, **targets},
            orders={**self.orders, **{order.order_id: order for order in orders}},
            events=[*self.events, *(_journaled(event) for event in events)][-_EVENTS_MAX:],
            blobs={**self.blobs, **blobs},
        )

    def batch(self, at: datetime, state: State) -> Batch:
        """All of it as one transaction."""
        return Batch(
            at=at,
            state=state,
            changed_targets=self.targets,
            orders=tuple(self.orders.values()),
            events=tuple(self.events),
            blobs=self.blobs,
        )


def _journaled(event: Event) -> JournalEvent:
    detail = {"severity": str(event.severity), "text": event.text}
    return JournalEvent(at=event.at, kind=event.kind, detail=detail)
