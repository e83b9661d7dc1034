"""What happened, for people: the treasury's log in its database; in the caller's transaction."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, delete, func, insert, select

from controller.treasury.tables import EVENT

EVENTS_MAX = 100_000
_TEXT_MAX = 1_000


class EventKind(StrEnum):
    """The kinds of lines."""

    RECEIPT = "receipt"
    SWEEP = "sweep"
    REORG = "reorg"
    FOREIGN = "foreign"
    PEOPLE = "people"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line."""

    at: datetime
    kind: EventKind
    text: str


def tell(db: Connection, now: datetime, kind: EventKind, text: str) -> None:
    """Add a line; the oldest beyond EVENTS_MAX go."""
    shown = text if len(text) <= _TEXT_MAX else text[: _TEXT_MAX - 1] + "…"
    db.execute(insert(EVENT).values(at=now, kind=kind, text=shown))
    db.execute(
        delete(EVENT).where(
            EVENT.c.seq <= select(func.max(EVENT.c.seq)).scalar_subquery() - EVENTS_MAX
        )
    )


def newest(db: Connection, count: int) -> list[Event]:
    """The last lines, the newest first."""
    rows = db.execute(select(EVENT).order_by(EVENT.c.seq.desc()).limit(count))
    return [Event(at=row.at, kind=EventKind(row.kind), text=row.text) for row in rows]
