"""The pool's book: what was hashed, earned and paid, in one SQLite file of one writer.

Everything that belongs together is one transaction: a line of the plant's truth counts once, an
earning is paid by one payout, and a payout's signed transaction is in the book before the node sees
it. So whatever is interrupted, nothing is earned or paid twice.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

from simulators.services.pool.earning import Carried, Terms
from simulators.services.pool.truth import Sample
from simulators.services.pool.wallet import Payment

_SCHEMA = """
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS earning (
    id INTEGER PRIMARY KEY, block_hash TEXT NOT NULL UNIQUE, at TEXT NOT NULL,
    address TEXT NOT NULL, hashes TEXT NOT NULL, fee_sat INTEGER NOT NULL,
    net_sat INTEGER NOT NULL, payout INTEGER REFERENCES payout (id));
CREATE TABLE IF NOT EXISTS payout (
    id INTEGER PRIMARY KEY, address TEXT NOT NULL, said_sat INTEGER NOT NULL,
    raw TEXT NOT NULL, txid TEXT NOT NULL UNIQUE, sent_at TEXT);
CREATE TABLE IF NOT EXISTS spent (
    outpoint TEXT PRIMARY KEY, payout INTEGER NOT NULL REFERENCES payout (id));
"""
ROWS_MAX = 20_000
"""Of one answer about earnings."""


class TooMany(ValueError):
    """More rows than one answer holds."""


@dataclass(frozen=True, slots=True)
class Earning:
    """What an address earned up to one block."""

    block_hash: str
    at: datetime
    hashes: int
    fee_sat: int
    net_sat: int


@dataclass(frozen=True, slots=True)
class Owed:
    """What an address has earned and was not paid; `last` is the last earning in it."""

    address: str
    sat: int
    last: int


@dataclass(frozen=True, slots=True)
class Payout:
    """A signed transaction of the book; `sent`: a node has taken it."""

    number: int
    txid: str
    raw: str
    sent: bool


@dataclass(frozen=True, slots=True)
class Said:
    """What the pool says it paid, when and by which transaction."""

    at: datetime
    txid: str
    sat: int


class Book:
    """Opens the book in a folder; another process that has it open is refused."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError when the folder cannot be used or is in use."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._db = sqlite3.connect(folder / "pool.db", isolation_level=None)
            self._db.executescript(
                f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;{_SCHEMA}"
            )
        except BlockingIOError:
            os.close(self._lock)
            raise OSError(f"{folder}: another pool works here; give a folder of its own") from None
        except sqlite3.Error as error:
            os.close(self._lock)
            raise OSError(f"{folder / 'pool.db'}: {error}; move it away to begin anew") from None

    def close(self) -> None:
        """Close the book and let others have it."""
        self._db.close()
        os.close(self._lock)

    # What was hashed and earned

    def last_sample(self) -> Sample | None:
        """The newest line of the truth that was counted."""
        text = self._state("sample")
        if text is None:
            return None
        at, t_ms, hashrate_hs = text.split(" ")
        return Sample(datetime.fromisoformat(at), int(t_ms), int(hashrate_hs))

    def count(self, hashes: int, newest: Sample) -> None:
        """Add hashes that are not credited yet; `newest` is the last line they come from."""
        with self._transaction():
            self._set("hashes", self._pending() + hashes)
            self._set("sample", f"{newest.at.isoformat()} {newest.t_ms} {newest.hashrate_hs}")

    def credit(self, block_hash: str, at: datetime, address: str, terms: Terms) -> None:
        """Credit what was hashed since the last block that brought whole satoshis."""
        with self._transaction():
            if self._state("block") == block_hash:
                return
            self._set("block", block_hash)
            hashes = self._pending()
            carried = Carried(*(Fraction(self._state(n) or 0) for n in ("net_rest", "fee_rest")))
            credit, carried = terms.credit(hashes, carried)
            # A block that comes back after a reorganisation was credited once already.
            known = self._db.execute("SELECT 1 FROM earning WHERE block_hash = ?", (block_hash,))
            if credit.net_sat <= 0 or known.fetchone():
                return
            self._db.execute(
                "INSERT INTO earning (block_hash, at, address, hashes, fee_sat, net_sat) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (block_hash, _text(at), address, str(hashes), credit.fee_sat, credit.net_sat),
            )
            self._set("hashes", 0)
            self._set("net_rest", carried.net_sat)
            self._set("fee_rest", carried.fee_sat)

    def owed(self) -> Owed | None:
        """What the address that waits longest waits for; None: nobody waits."""
        row = self._db.execute(
            "SELECT address, SUM(net_sat), MAX(id) FROM earning WHERE payout IS NULL "
            "GROUP BY address ORDER BY MIN(id) LIMIT 1"
        ).fetchone()
        return Owed(*row) if row else None

    # What is paid

    def due_at(self) -> datetime | None:
        """Since when a payment is due; None: none is."""
        return self._moment("due_at")

    def paid_at(self) -> datetime | None:
        """When the last payment was made, or the pool began; None before `begin`."""
        return self._moment("paid_at")

    def begin(self, at: datetime) -> None:
        """Count the time to the first payment from `at`, unless it is counted already."""
        if self.paid_at() is None:
            self._set("paid_at", _text(at))

    def fall_due(self, at: datetime) -> None:
        """A payment is due since `at`."""
        self._set("due_at", _text(at))

    def enter_payout(self, owed: Owed, payment: Payment, at: datetime) -> None:
        """Pay what is owed by this payment."""
        with self._transaction():
            number = self._db.execute(
                "INSERT INTO payout (address, said_sat, raw, txid) VALUES (?, ?, ?, ?)",
                (owed.address, owed.sat, payment.raw, payment.txid),
            ).lastrowid
            self._db.execute(
                "UPDATE earning SET payout = ? WHERE payout IS NULL AND address = ? AND id <= ?",
                (number, owed.address, owed.last),
            )
            self._db.executemany(
                "INSERT INTO spent VALUES (?, ?)", [(coin, number) for coin in payment.spent]
            )
            self._set("paid_at", _text(at))
            self._db.execute("DELETE FROM state WHERE name = 'due_at'")

    def spent(self) -> set[str]:
        """Outpoints that a payout has used; they are never used again."""
        return {str(outpoint) for (outpoint,) in self._db.execute("SELECT outpoint FROM spent")}

    def sent(self, payout: Payout, at: datetime) -> None:
        """A node has taken it: from now on the pool says that it has paid."""
        self._db.execute(
            "UPDATE payout SET sent_at = ? WHERE id = ? AND sent_at IS NULL",
            (_text(at), payout.number),
        )

    def latest_payouts(self, count: int) -> list[Payout]:
        """The newest ones, oldest first, sent or not."""
        query = "SELECT id, txid, raw, sent_at IS NOT NULL FROM payout ORDER BY id DESC LIMIT ?"
        rows = self._db.execute(query, (count,)).fetchall()
        return [Payout(number, txid, raw, bool(sent)) for number, txid, raw, sent in rows[::-1]]

    def payouts_made(self) -> int:
        """How many there are."""
        return int(self._db.execute("SELECT COUNT(*) FROM payout").fetchone()[0])

    # What the API says

    def addresses(self) -> set[str]:
        """Whoever earned or was paid here."""
        found = self._db.execute("SELECT address FROM earning UNION SELECT address FROM payout")
        return {str(address) for (address,) in found}

    def earnings(self, address: str, start: datetime, end: datetime) -> list[Earning]:
        """Newest first, both ends included. Raises TooMany."""
        query = "SELECT block_hash, at, hashes, fee_sat, net_sat FROM earning"
        rows = self._between(query, "at", address, start, end)
        return [Earning(r[0], datetime.fromisoformat(r[1]), int(r[2]), r[3], r[4]) for r in rows]

    def said(self, address: str, start: datetime, end: datetime) -> list[Said]:
        """What the pool says it paid, newest first, both ends included. Raises TooMany."""
        query = "SELECT sent_at, txid, said_sat FROM payout"
        rows = self._between(query, "sent_at", address, start, end)
        return [Said(datetime.fromisoformat(at), txid, sat) for at, txid, sat in rows]

    def _between(
        self, query: str, column: str, address: str, start: datetime, end: datetime
    ) -> list[tuple[Any, ...]]:
        rows = self._db.execute(
            f"{query} WHERE address = ? AND {column} BETWEEN ? AND ? ORDER BY id DESC LIMIT ?",
            (address, _text(start), _text(end), ROWS_MAX + 1),
        ).fetchall()
        if len(rows) > ROWS_MAX:
            raise TooMany(f"more than {ROWS_MAX} rows; ask for a shorter time")
        return rows

    def _pending(self) -> int:
        return int(self._state("hashes") or 0)

    def _moment(self, name: str) -> datetime | None:
        text = self._state(name)
        return None if text is None else datetime.fromisoformat(text)

    def _state(self, name: str) -> str | None:
        row = self._db.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else None

    def _set(self, name: str, value: object) -> None:
        self._db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, str(value)))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def _text(at: datetime) -> str:
    """One length for all, so that text sorts as time does."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds")
