"""Keeps lines on disk until the database has them: durable, numbered, bounded.

    append ──► batch 1 │ batch 2 │ … │ batch n ──► oldest ──► delivered │ rejected
                 └─ dropped when `bytes_max` is reached

A batch is one row: up to 256 KiB of whole lines with the numbers first to last. A number is given
in the transaction that commits its line, so a committed number is never given again, whatever dies
when. Numbers that will never be delivered are kept as ranges in `gone`, for `naryn telemetry
audit`. Every method may be called from any thread; each waits for the disk.
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

from controller.telemetry.lines import Line, numbered, seq_of
from controller.telemetry.store import Shape, explained, open_store, open_to_read, transaction

ROW_BYTES = 256 * 1024
REJECTED_MAX = 1_000
"""Bad lines that are kept for people to look at: the newest."""
GONE_MAX = 10_000
"""Ranges of `gone` that are kept; when the oldest is forgotten, an audit begins behind it."""
_DETAIL_CHARS = 300
_SHAPE = Shape(
    application_id=0x4E52_5350,  # "NRSP"
    version=1,
    statements=(
        """CREATE TABLE account (
             one INTEGER PRIMARY KEY CHECK (one = 1), first_seq INTEGER NOT NULL,
             last_seq INTEGER NOT NULL, unrecorded INTEGER NOT NULL, dropped INTEGER NOT NULL,
             rejected INTEGER NOT NULL
           )""",
        """CREATE TABLE batch (
             first_seq INTEGER PRIMARY KEY, last_seq INTEGER NOT NULL, lines INTEGER NOT NULL,
             bytes INTEGER NOT NULL, body BLOB NOT NULL
           )""",
        # Sums are read from it alone: the rows themselves are as large as the spool.
        "CREATE INDEX batch_size ON batch (bytes, lines)",
        """CREATE TABLE gone (
             first_seq INTEGER PRIMARY KEY, last_seq INTEGER NOT NULL, why TEXT NOT NULL
           )""",
        """CREATE TABLE rejected (
             id INTEGER PRIMARY KEY AUTOINCREMENT, at_unix_s REAL NOT NULL, detail TEXT NOT NULL,
             line BLOB NOT NULL
           )""",
    ),
)

DROPPED, REJECTED = "dropped", "rejected"
Range = tuple[int, int]
"""First and last number, both of it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Committed lines, with a newline between each and the next."""

    first_seq: int
    last_seq: int
    body: bytes

    @property
    def lines(self) -> int:
        """How many lines it holds."""
        return self.last_seq - self.first_seq + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What became of the numbers `first_seq` to `last_seq`, the highest committed.

    `unrecorded` lines never got a number, because the disk was behind; `dropped` were thrown out
    undelivered, `rejected` refused by the database.
    """

    first_seq: int
    last_seq: int
    unrecorded: int
    dropped: int
    rejected: int


class Spool:
    """An open spool. Raises StoreError, as every method does."""

    def __init__(self, path: Path, *, bytes_max: int, now_unix_s: float) -> None:
        """`bytes_max` bounds the bodies that wait."""
        self.path = path
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._database = open_store(path, _SHAPE, durable=True)
        try:
            with transaction(self._database, path):
                self._begin(now_unix_s)
                self._account = _account(self._database)
                self._waiting = self._sum("lines")
        except BaseException:
            self._database.close()
            raise

    def __enter__(self) -> Self:
        """Nothing more: it is open already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the file, when nobody is in it. Twice is once."""
        with self._lock:
            self._database.close()

    @property
    def account(self) -> Account:
        """What is committed."""
        return self._account

    @property
    def waiting(self) -> int:
        """How many lines wait."""
        return self._waiting

    def append(self, lines: Sequence[Line], *, unrecorded: int = 0) -> None:
        """Number and commit lines, and drop the oldest batches for which there is no place.

        `unrecorded`: how many were lost since the last call before they came here.
        """
        with self._lock:
            account = self._account
            first = account.last_seq + 1
            batches = list(_batches(lines, first))
            account = replace(
                account,
                last_seq=account.last_seq + len(lines),
                unrecorded=account.unrecorded + unrecorded,
            )
            with transaction(self._database, self.path):
                self._database.executemany(
                    "INSERT INTO batch VALUES (?, ?, ?, ?, ?)",
                    ((b.first_seq, b.last_seq, b.lines, len(b.body), b.body) for b in batches),
                )
                if dropped := self._make_room():
                    account = replace(account, dropped=account.dropped + dropped)
                    account = self._bound_gone(account)
                self._store(account)
                waiting = self._sum("lines")
            self._account, self._waiting = account, waiting

    def oldest(self, lines_max: int) -> list[Batch]:
        """The oldest batches that wait, together at most `lines_max`; one at least, if there is."""
        chosen: list[Batch] = []
        with self._lock, explained(self.path):
            rows = self._database.execute(
                "SELECT first_seq, last_seq, body FROM batch ORDER BY first_seq"
            )
            with closing(rows):
                for row in rows:
                    batch = Batch(*row)
                    lines_max -= batch.lines
                    if chosen and lines_max < 0:
                        break
                    chosen.append(batch)
        return chosen

    def delivered(
        self,
        batches: Sequence[Batch],
        bad: Sequence[tuple[bytes, str]] = (),
        *,
        now_unix_s: float,
    ) -> None:
        """The database has these, but for the `bad` lines among them, each with what it said."""
        with self._lock:
            account = replace(self._account, rejected=self._account.rejected + len(bad))
            with transaction(self._database, self.path):
                self._database.executemany(
                    "DELETE FROM batch WHERE first_seq = ?", ((b.first_seq,) for b in batches)
                )
                for line, detail in bad:
                    self._database.execute(
                        "INSERT INTO rejected (at_unix_s, detail, line) VALUES (?, ?, ?)",
                        (now_unix_s, detail[:_DETAIL_CHARS], line),
                    )
                    if (seq := seq_of(line)) is not None:
                        self._note_gone(seq, seq, REJECTED)
                if bad:
                    self._database.execute(
                        "DELETE FROM rejected WHERE id <= (SELECT max(id) FROM rejected) - ?",
                        (REJECTED_MAX,),
                    )
                    account = self._bound_gone(account)
                    self._store(account)
                waiting = self._sum("lines")
            self._account, self._waiting = account, waiting

    def _begin(self, now_unix_s: float) -> None:
        """A new spool counts from the second of its making, in millionths: no other of this site
        ever gave such a number, and a database that counts in float64 holds it exactly.
        """
        before = int(now_unix_s) * 1_000_000
        self._database.execute(
            "INSERT OR IGNORE INTO account VALUES (1, ?, ?, 0, 0, 0)", (before + 1, before)
        )

    def _store(self, account: Account) -> None:
        self._database.execute(
            "UPDATE account SET first_seq = ?, last_seq = ?, unrecorded = ?, dropped = ?, "
            "rejected = ?",
            (
                account.first_seq,
                account.last_seq,
                account.unrecorded,
                account.dropped,
                account.rejected,
            ),
        )

    def _sum(self, column: Literal["bytes", "lines"]) -> int:
        row = self._database.execute(f"SELECT coalesce(sum({column}), 0) FROM batch")  # noqa: S608
        return int(row.fetchone()[0])

    def _make_room(self) -> int:
        """Drop the oldest batches until all that waits fits; returns how many lines went."""
        over, dropped = self._sum("bytes") - self._bytes_max, 0
        while over > 0:
            first, last, size = self._database.execute(
                "SELECT first_seq, last_seq, bytes FROM batch ORDER BY first_seq LIMIT 1"
            ).fetchone()
            self._database.execute("DELETE FROM batch WHERE first_seq = ?", (first,))
            self._note_gone(first, last, DROPPED)
            dropped += last - first + 1
            over -= size
        return dropped

    def _note_gone(self, first: int, last: int, why: str) -> None:
        """Add a range, joined to the one it follows."""
        before = self._database.execute(
            "SELECT max(first_seq) FROM gone WHERE last_seq = ? AND why = ?", (first - 1, why)
        ).fetchone()[0]
        if before is None:
            self._database.execute(
                "INSERT OR REPLACE INTO gone VALUES (?, ?, ?)", (first, last, why)
            )
        else:
            self._database.execute(
                "UPDATE gone SET last_seq = ? WHERE first_seq = ?", (last, before)
            )

    def _bound_gone(self, account: Account) -> Account:
        """Forget the oldest ranges beyond the bound; the account then begins behind them."""
        kept = self._database.execute(
            "SELECT first_seq FROM gone ORDER BY first_seq DESC LIMIT 1 OFFSET ?", (GONE_MAX - 1,)
        ).fetchone()
        if kept is None:
            return account
        forgotten = self._database.execute(
            "SELECT max(last_seq) FROM gone WHERE first_seq < ?", kept
        ).fetchone()[0]
        if forgotten is None:
            return account
        self._database.execute("DELETE FROM gone WHERE first_seq < ?", kept)
        return replace(account, first_seq=max(account.first_seq, forgotten + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """The account at one moment, and the ranges of it that are not in the database by our books."""

    account: Account
    waiting: Sequence[Range]
    dropped: Sequence[Range]
    rejected: Sequence[Range]


def read_books(path: Path) -> Books:
    """Read a spool while another process may write it. Raises StoreError."""
    gone = "SELECT first_seq, last_seq FROM gone WHERE why = ?"
    with closing(open_to_read(path, _SHAPE)) as database, explained(path):
        database.execute("BEGIN")  # one view of all tables
        return Books(
            account=_account(database),
            waiting=database.execute("SELECT first_seq, last_seq FROM batch").fetchall(),
            dropped=database.execute(gone, (DROPPED,)).fetchall(),
            rejected=database.execute(gone, (REJECTED,)).fetchall(),
        )


def _account(database: sqlite3.Connection) -> Account:
    row = database.execute(
        "SELECT first_seq, last_seq, unrecorded, dropped, rejected FROM account"
    ).fetchone()
    first, last, unrecorded, dropped, rejected = row
    return Account(
        first_seq=first,
        last_seq=last,
        unrecorded=unrecorded,
        dropped=dropped,
        rejected=rejected,
    )


def _batches(lines: Sequence[Line], first_seq: int) -> Iterator[Batch]:
    """Rows of at most ROW_BYTES, but for a line that is longer alone."""
    row: list[bytes] = []
    size = 0
    for seq, line in enumerate(lines, first_seq):
        whole = numbered(line, seq).encode()
        if row and size + len(whole) + len(row) > ROW_BYTES:
            yield Batch(seq - len(row), seq - 1, b"\n".join(row))
            row, size = [], 0
        row.append(whole)
        size += len(whole)
    if row:
        end = first_seq + len(lines)
        yield Batch(end - len(row), end - 1, b"\n".join(row))
