"""What a site remembers: its state, orders, inventory and events, durable before a command leaves.

One process writes (`SiteLock`), through one thread. A batch is one transaction: once `commit`
returns it survives the loss of power; when it raises, nothing of it is stored. Monotonic instants
are stored as they are, with the boot they belong to: whoever loads them after a reboot must take
every age as unknown.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from controller.config.inventory import InventoryRow
from controller.power.state import Order, State, Target
from controller.site.journal_forms import ORDER, ROW, STATE, TARGET, Form
from controller.site.journal_schema import (
    STEPS,
    JournalError,
    Place,
    Step,
    damaged,
    open_database,
    transaction,
)

EVENTS_MAX = 100_000
EVENTS_AGE_MAX = timedelta(days=400)
EVENTS_ALWAYS = 10_000
"""The newest events stay however old they look: a wall clock that is wrong must not wipe them."""
_TEXT_MAX = 1_000
"""Longest text in an event. It may be a device's or a stranger's; a longer one is cut."""

_Result = TypeVar("_Result")
_Value = TypeVar("_Value")

Detail = Mapping[str, str | int | float | bool | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, for people. `kind` is one word of a fixed set of the writer's."""

    at: datetime
    kind: str
    detail: Detail = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one tick has to store; `at` is its wall time.

    `state` None: as it was. `changed_targets` and `blobs` name what changed; None removes one.
    `state.targets` is not looked at. `orders` are kept for ever, the newest form of each.
    """

    at: datetime
    state: State | None = None
    changed_targets: Mapping[str, Target | None] = field(default_factory=dict)
    orders: tuple[Order, ...] = ()
    events: tuple[Event, ...] = ()
    blobs: Mapping[str, bytes | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was remembered. `boot_id` None: nothing was ever committed, and all else is fresh."""

    state: State
    inventory: tuple[InventoryRow, ...]
    blobs: Mapping[str, bytes]
    boot_id: str | None
    created_at: datetime


class Journal:
    """An open journal. `threaded` False writes in the caller's thread: for a virtual clock.

    `boot_id` is the running system's, stored with each commit. `now` is the wall time, for the
    date of a new journal and the age of old events. Raises JournalError, as every method does.
    """

    def __init__(
        self,
        place: Place,
        *,
        site_id: str,
        boot_id: str,
        now: datetime,
        threaded: bool = True,
        steps: Sequence[Step] = STEPS,
    ) -> None:
        self._place = place
        self._boot_id = boot_id
        self._database: sqlite3.Connection | None = open_database(place, steps)
        try:
            self._begin(self._database, site_id, now)
        except BaseException:
            self._database.close()
            raise
        self._writer = ThreadPoolExecutor(1, "journal") if threaded else None

    def __enter__(self) -> Self:
        """Nothing more: the journal is open already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Finish what is being written and close the file. Twice is once."""
        if self._writer is not None:
            self._writer.shutdown(wait=True)
        if self._database is not None:
            self._database.close()
            self._database = None

    def load(self) -> Restored:
        """Everything that was remembered; waits for it."""
        if self._writer is None or self._database is None:
            return self._load()
        return self._writer.submit(self._load).result()

    async def commit(self, batch: Batch) -> None:
        """Store a batch; returns when it is durable.

        When it raises, nothing of the batch is stored. A cancelled call may still be stored: it is
        with the writer already.
        """
        await self._call(lambda: self._commit(batch))

    async def replace_inventory(self, rows: Sequence[InventoryRow]) -> None:
        """Store these rows, in this order, in place of all others."""
        await self._call(lambda: self._replace_inventory(rows))

    async def recent_events(self, count: int) -> tuple[Event, ...]:
        """The newest `count` events, newest first."""
        return await self._call(lambda: self._recent_events(count))

    async def recent_orders(self, count: int) -> tuple[Order, ...]:
        """The `count` orders that changed last, newest first."""
        return await self._call(lambda: self._recent_orders(count))

    async def _call(self, act: Callable[[], _Result]) -> _Result:
        if self._writer is None or self._database is None:
            return act()
        return await asyncio.get_running_loop().run_in_executor(self._writer, act)

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            raise JournalError(f"{self._place}: the journal is closed")
        return self._database

    def _begin(self, database: sqlite3.Connection, site_id: str, now: datetime) -> None:
        with transaction(database, self._place):
            meta = dict(database.execute("SELECT name, value FROM meta"))
            if not meta:
                database.executemany(
                    "INSERT INTO meta VALUES (?, ?)",
                    [("site_id", site_id), ("created_at", _utc_text(now))],
                )
            elif meta.get("site_id") != site_id:
                raise JournalError(
                    f"{self._place}: belongs to site {meta.get('site_id')!r}, not to {site_id!r}; "
                    "mend `site.id` or `site.state_dir`, or move the journal away to begin anew"
                )
            database.execute(
                """DELETE FROM event WHERE seq <= (SELECT max(seq) FROM event) - ?
                   OR (at < ? AND seq <= (SELECT max(seq) FROM event) - ?)""",
                (EVENTS_MAX, _utc_text(now - EVENTS_AGE_MAX), EVENTS_ALWAYS),
            )

    def _commit(self, batch: Batch) -> None:
        database, at = self._open(), _utc_text(batch.at)
        with transaction(database, self._place):
            database.execute("INSERT OR REPLACE INTO meta VALUES ('boot_id', ?)", (self._boot_id,))
            if batch.state is not None:
                blob = STATE.encode("state", replace(batch.state, targets={}))
                database.execute("INSERT OR REPLACE INTO state VALUES (1, ?)", (blob,))
            for miner_id, target in batch.changed_targets.items():
                if target is None:
                    database.execute("DELETE FROM target WHERE miner_id = ?", (miner_id,))
                else:
                    database.execute(
                        "INSERT OR REPLACE INTO target VALUES (?, ?)",
                        (miner_id, TARGET.encode(miner_id, target)),
                    )
            database.executemany(
                "INSERT OR REPLACE INTO order_log VALUES (?, ?, ?)",
                ((o.order_id, at, ORDER.encode(o.order_id, o)) for o in batch.orders),
            )
            database.executemany(
                "INSERT INTO event (at, kind, detail) VALUES (?, ?, ?)",
                ((_utc_text(e.at), e.kind, _detail_text(e.detail)) for e in batch.events),
            )
            for name, value in batch.blobs.items():
                if value is None:
                    database.execute("DELETE FROM blob WHERE name = ?", (name,))
                else:
                    database.execute("INSERT OR REPLACE INTO blob VALUES (?, ?)", (name, value))

    def _replace_inventory(self, rows: Sequence[InventoryRow]) -> None:
        database = self._open()
        seen: set[str] = set()
        for row in rows:
            if row.miner_id in seen:
                raise JournalError(f"inventory: miner {row.miner_id} is listed twice")
            seen.add(row.miner_id)
        with transaction(database, self._place):
            database.execute("DELETE FROM inventory")
            database.executemany(
                "INSERT INTO inventory VALUES (?, ?, ?)",
                (
                    (position, row.miner_id, ROW.encode(row.miner_id, row))
                    for position, row in enumerate(rows)
                ),
            )

    def _load(self) -> Restored:
        database = self._open()
        # One transaction: a consistent view, although nobody else writes.
        with transaction(database, self._place):
            meta = dict(database.execute("SELECT name, value FROM meta"))
            states = self._values(STATE, "SELECT 'state', value FROM state")
            targets = self._values(TARGET, "SELECT miner_id, value FROM target ORDER BY miner_id")
            rows = self._values(ROW, "SELECT miner_id, value FROM inventory ORDER BY position")
            blobs = dict(database.execute("SELECT name, value FROM blob ORDER BY name"))
        return Restored(
            state=replace(states.get("state", State()), targets=targets),
            inventory=tuple(rows.values()),
            blobs=blobs,
            boot_id=meta.get("boot_id"),
            created_at=self._instant(meta.get("created_at", "")),
        )

    def _recent_events(self, count: int) -> tuple[Event, ...]:
        with transaction(self._open(), self._place):
            found = self._open().execute(
                "SELECT at, kind, detail FROM event ORDER BY seq DESC LIMIT ?", (max(0, count),)
            )
            return tuple(
                Event(at=self._instant(at), kind=kind, detail=msgspec.json.decode(detail))
                for at, kind, detail in found
            )

    def _recent_orders(self, count: int) -> tuple[Order, ...]:
        query = "SELECT order_id, value FROM order_log ORDER BY updated_at DESC, order_id LIMIT ?"
        with transaction(self._open(), self._place):
            return tuple(self._values(ORDER, query, max(0, count)).values())

    def _values(self, form: "Form[_Value]", query: str, *arguments: int) -> dict[str, _Value]:
        values = {}
        for name, blob in self._open().execute(query, arguments):
            try:
                values[name] = form.decode(blob)
            except ValueError as error:
                raise damaged(self._place, f"{form.what} {name}: {error}") from None
        return values

    def _instant(self, text: str) -> datetime:
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            raise damaged(self._place, f"{text!r} is no date") from None


def _utc_text(at: datetime) -> str:
    """Fixed width, so that text sorts as time. Raises ValueError without an offset."""
    if at.tzinfo is None:
        raise ValueError(f"{at} has no offset; the journal keeps UTC")
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _detail_text(detail: Detail) -> str:
    fit = {name: _cut(it) if isinstance(it, str) else it for name, it in detail.items()}
    return msgspec.json.encode(fit).decode()


def _cut(text: str) -> str:
    """Short, and certainly Unicode: what a stranger wrote must not make a commit fail."""
    text = text if len(text) <= _TEXT_MAX else text[: _TEXT_MAX - 1] + "…"
    return text.encode("utf-8", "replace").decode("utf-8")
