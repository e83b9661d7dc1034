"""The book in the database: blocks read, coins of ours, entries; in the caller's transaction.

A block is connected or disconnected as a whole: cursor, coins and entries change together.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Select, delete, func, insert, select, update

from controller.money import ledger
from controller.money.facts import Block, Coin, OutPoint, Place, Wallet
from controller.money.follow import Reading
from controller.money.ledger import Account, Entry, EntryKind, LedgerError, Posting
from controller.money.sweep import Spender
from controller.treasury.tables import ATTEMPT, BLOCK, COIN, ENTRY, META, POSTING

_ACKNOWLEDGED = "foreign_acknowledged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """The block that was read last."""

    height: int
    hash: str
    at: datetime


def cursor(db: Connection) -> Cursor | None:
    """Where we stand; None before the first block."""
    row = db.execute(select(BLOCK).order_by(BLOCK.c.height.desc()).limit(1)).first()
    return None if row is None else Cursor(height=row.height, hash=row.hash, at=row.at)


def hash_at(db: Connection, height: int) -> str | None:
    """The block that was read at `height`; None: none was."""
    return db.execute(select(BLOCK.c.hash).where(BLOCK.c.height == height)).scalar()


def unspent(db: Connection) -> dict[OutPoint, Coin]:
    """Every coin of ours that the chain holds at the cursor."""
    rows = db.execute(select(COIN).where(COIN.c.spent_by.is_(None)))
    return {coin.outpoint: coin for coin in map(_coin, rows)}


def unspent_at(db: Connection, height: int) -> dict[OutPoint, Coin]:
    """Every coin of ours that the chain held after the block at `height`, read already."""
    later = COIN.c.spent_by.is_(None) | (COIN.c.spent_height > height)
    rows = db.execute(select(COIN).where(COIN.c.height <= height, later))
    return {coin.outpoint: coin for coin in map(_coin, rows)}


def spenders(db: Connection, outpoints: Iterable[OutPoint]) -> dict[OutPoint, Spender]:
    """Who spent each of these coins; those that the chain does not hold are left out."""
    wanted = set(outpoints)
    rows = db.execute(select(COIN).where(COIN.c.txid.in_({point.txid for point in wanted})))
    found: dict[OutPoint, Spender] = {
        OutPoint(row.txid, row.vout): None
        if row.spent_by is None
        else (row.spent_by, row.spent_height)
        for row in rows
    }
    return {point: spender for point, spender in found.items() if point in wanted}


def received_at(db: Connection, scripts: Iterable[bytes]) -> Iterator[tuple[str, datetime, int]]:
    """Transaction, time of its block and satoshis of every coin that these scripts received."""
    rows = db.execute(
        select(COIN.c.txid, BLOCK.c.at, COIN.c.sat)
        .join(BLOCK, BLOCK.c.hash == COIN.c.block_hash)
        .where(COIN.c.script.in_(set(scripts)))
        .order_by(COIN.c.height)
    )
    for row in rows:
        yield row.txid, row.at, row.sat


def highest_index(db: Connection, wallet: Wallet) -> int | None:
    """The highest receiving index that was ever paid to on this chain; None: none was."""
    query = select(func.max(COIN.c.idx)).where(COIN.c.wallet == wallet, COIN.c.branch == 0)
    return db.execute(query).scalar()


def connect(db: Connection, block: Block, reading: Reading) -> None:
    """Take a block in: it must stand on the cursor. Raises LedgerError."""
    db.execute(insert(BLOCK).values(height=block.height, hash=block.hash, at=block.at))
    if reading.created:
        db.execute(insert(COIN), [_coin_values(coin) for coin in reading.created])
    for outpoint, spender in reading.spent.items():
        db.execute(
            update(COIN)
            .where(COIN.c.txid == outpoint.txid, COIN.c.vout == outpoint.vout)
            .values(spent_by=spender, spent_height=block.height)
        )
    for entry in reading.entries:
        append(db, entry)


def disconnect(db: Connection) -> list[Entry]:
    """Give the cursor's block back to before it was read; returns what was reversed."""
    top = cursor(db)
    if top is None:
        return []
    query = _entries().where(ENTRY.c.block_hash == top.hash)
    standing: dict[tuple[str, str], Entry] = {}
    for _, entry in _read(db, query):
        if entry.is_reversal:
            del standing[entry.key]
        else:
            standing[entry.key] = entry
    for entry in reversed(standing.values()):
        append(db, ledger.reversal(entry))
    db.execute(
        update(COIN)
        .where(COIN.c.spent_height == top.height)
        .values(spent_by=None, spent_height=None)
    )
    db.execute(delete(COIN).where(COIN.c.block_hash == top.hash))
    db.execute(delete(BLOCK).where(BLOCK.c.height == top.height))
    return list(standing.values())


def append(db: Connection, entry: Entry) -> None:
    """Append an entry. Raises LedgerError when it does not balance or must not be there."""
    query = _entries().where(ENTRY.c.txid == entry.txid, ENTRY.c.block_hash == entry.block_hash)
    before = [found for _, found in _read(db, query)]
    standing = before[-1] if before and not before[-1].is_reversal else None
    ledger.check(entry, standing)
    turn = sum(found.is_reversal for found in before)
    added = db.execute(
        insert(ENTRY).values(
            kind=entry.kind,
            txid=entry.txid,
            block_hash=entry.block_hash,
            height=entry.height,
            at=entry.at,
            turn=turn,
            is_reversal=entry.is_reversal,
        )
    )
    (seq,) = added.inserted_primary_key or (None,)
    db.execute(
        insert(POSTING),
        [
            {
                "entry": seq,
                "line": number,
                "account": line.account,
                "amount_sat": line.amount_sat,
                "txid": line.outpoint.txid if line.outpoint else None,
                "vout": line.outpoint.vout if line.outpoint else None,
            }
            for number, line in enumerate(entry.postings)
        ],
    )


def balances(db: Connection) -> dict[Account, int]:
    """Every account's balance in satoshis, at the cursor."""
    query = select(POSTING.c.account, func.sum(POSTING.c.amount_sat)).group_by(POSTING.c.account)
    found = {Account(account): int(total) for account, total in db.execute(query)}
    return {account: found.get(account, 0) for account in Account}


def entries(db: Connection, *, after: int = 0, limit: int | None = None) -> list[tuple[int, Entry]]:
    """Entries with their numbers, in the order in which they were booked, behind number `after`."""
    numbers = select(ENTRY.c.seq).where(ENTRY.c.seq > after).order_by(ENTRY.c.seq).limit(limit)
    return list(_read(db, _entries().where(ENTRY.c.seq.in_(numbers))))


def unacknowledged(db: Connection, kind: EntryKind = EntryKind.FOREIGN) -> list[tuple[int, Entry]]:
    """Foreign spends that stand in the book and nobody has acknowledged, with their numbers.

    Of kind SWEEP: those that this database did not make.
    """
    seen = db.execute(select(META.c.value).where(META.c.name == _ACKNOWLEDGED)).scalar() or "0"
    unseen = select(ENTRY.c.seq).where(
        ENTRY.c.kind == kind,
        ENTRY.c.seq > int(seen),
        ENTRY.c.txid.not_in(select(ATTEMPT.c.txid)),
    )
    standing: dict[tuple[str, str], tuple[int, Entry]] = {}
    for seq, entry in _read(db, _entries().where(ENTRY.c.seq.in_(unseen))):
        if entry.is_reversal:
            standing.pop(entry.key, None)
        else:
            standing[entry.key] = (seq, entry)
    return list(standing.values())


def acknowledge(db: Connection) -> int:
    """A person has seen every foreign spend and unknown sweep until now; returns how many."""
    found = unacknowledged(db) + unacknowledged(db, EntryKind.SWEEP)
    if found:
        newest = str(max(seq for seq, _ in found))
        db.execute(insert(META).prefix_with("OR REPLACE").values(name=_ACKNOWLEDGED, value=newest))
    return len(found)


def verify(db: Connection) -> Mapping[Account, int]:
    """Replay the whole book and hold it against the coins. Raises LedgerError."""
    replayed = ledger.replay(entry for _, entry in entries(db))
    if any(balance != replayed.get(account, 0) for account, balance in balances(db).items()):
        raise LedgerError("the sums of the book are not what its entries give")
    coins = unspent(db).values()
    for wallet, account in ledger.ACCOUNT_OF.items():
        held_sat = sum(coin.sat for coin in coins if coin.place.wallet is wallet)
        if held_sat != replayed.get(account, 0):
            raise LedgerError(
                f"{account} says {replayed.get(account, 0)} sat, the coins hold {held_sat} sat"
            )
    return replayed


def _entries() -> "Select[Any]":
    return (
        select(ENTRY, POSTING)
        .join(POSTING, POSTING.c.entry == ENTRY.c.seq)
        .order_by(ENTRY.c.seq, POSTING.c.line)
    )


def _read(db: Connection, query: "Select[Any]") -> Iterator[tuple[int, Entry]]:
    for seq, lines in groupby(db.execute(query).mappings(), key=lambda row: row[ENTRY.c.seq]):
        rows = list(lines)
        first = rows[0]
        yield (
            int(seq),
            Entry(
                kind=EntryKind(first[ENTRY.c.kind]),
                txid=first[ENTRY.c.txid],
                block_hash=first[ENTRY.c.block_hash],
                height=first[ENTRY.c.height],
                at=first[ENTRY.c.at],
                is_reversal=first[ENTRY.c.is_reversal],
                postings=tuple(
                    Posting(
                        account=Account(row[POSTING.c.account]),
                        amount_sat=row[POSTING.c.amount_sat],
                        outpoint=None
                        if row[POSTING.c.txid] is None
                        else OutPoint(row[POSTING.c.txid], row[POSTING.c.vout]),
                    )
                    for row in rows
                ),
            ),
        )


def _coin(row: Any) -> Coin:
    return Coin(
        outpoint=OutPoint(row.txid, row.vout),
        place=Place(wallet=Wallet(row.wallet), branch=row.branch, index=row.idx),
        script=row.script,
        sat=row.sat,
        coinbase=row.coinbase,
        height=row.height,
        block_hash=row.block_hash,
    )


def _coin_values(coin: Coin) -> dict[str, Any]:
    return {
        "txid": coin.outpoint.txid,
        "vout": coin.outpoint.vout,
        "wallet": coin.place.wallet,
        "branch": coin.place.branch,
        "idx": coin.place.index,
        "script": coin.script,
        "sat": coin.sat,
        "coinbase": coin.coinbase,
        "height": coin.height,
        "block_hash": coin.block_hash,
    }
