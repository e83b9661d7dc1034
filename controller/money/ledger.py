"""The book: append-only, double entry, whole satoshis.

One entry a transaction that touched a wallet, in one block. When the block leaves the chain, the
entry is not erased: its mirror is appended, once. The same block may come back; then it is booked
again. So the sum of all postings is zero after every entry, and the balance of a wallet's account
is what the chain holds for it at the block that was read last.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from controller.money.facts import OutPoint, Wallet


class LedgerError(Exception):
    """An entry that must not be booked, or a book that does not hold. Says which and why."""


class Account(StrEnum):
    """Where money stands or what it became. Assets are what the chain holds for us.

    `Equity:Custodians` is what left the reserve by its custodians' own acts; `Expenses:Foreign` is
    what left the collection wallet by a transaction that was none of ours.
    """

    COLLECTION = "Assets:Collection"
    RESERVE = "Assets:Reserve"
    POOL = "Income:Pool"
    FEE = "Expenses:Fee"
    FOREIGN = "Expenses:Foreign"
    CUSTODIANS = "Equity:Custodians"


ACCOUNT_OF: Mapping[Wallet, Account] = {
    Wallet.COLLECTION: Account.COLLECTION,
    Wallet.RESERVE: Account.RESERVE,
}


class EntryKind(StrEnum):
    """What a transaction was for us."""

    RECEIPT = "receipt"
    SWEEP = "sweep"
    FOREIGN = "foreign"
    CUSTODIANS = "custodians"


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """One line of an entry. `outpoint`: the coin it is about; None for what has no coin."""

    account: Account
    amount_sat: int
    outpoint: OutPoint | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One transaction in one block; `is_reversal` when that block was taken off the chain."""

    kind: EntryKind
    txid: str
    block_hash: str
    height: int
    at: datetime
    postings: tuple[Posting, ...]
    is_reversal: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """What may stand in the book once at a time."""
        return self.txid, self.block_hash


def reversal(entry: Entry) -> Entry:
    """The mirror of a booking. Raises LedgerError for what is a mirror itself."""
    if entry.is_reversal:
        raise LedgerError(f"{entry.txid} in {entry.block_hash}: a reversal is not reversed")
    mirrored = tuple(replace(line, amount_sat=-line.amount_sat) for line in entry.postings)
    return replace(entry, postings=mirrored, is_reversal=True)


def check(entry: Entry, standing: Entry | None) -> None:
    """Raise LedgerError unless `entry` may be appended.

    `standing`: the booking of the same transaction in the same block that is not reversed.
    """
    where = f"{entry.txid} in {entry.block_hash}"
    if not entry.postings:
        raise LedgerError(f"{where}: an entry without postings says nothing")
    if any(type(line.amount_sat) is not int for line in entry.postings):
        raise LedgerError(f"{where}: amounts are whole satoshis")
    if total := sum(line.amount_sat for line in entry.postings):
        raise LedgerError(f"{where}: the postings sum to {total} sat, not to zero")
    coins = [(line.account, line.outpoint) for line in entry.postings if line.outpoint]
    if len(set(coins)) != len(coins):
        raise LedgerError(f"{where}: a coin is named twice")
    if entry.is_reversal and (standing is None or reversal(standing) != entry):
        raise LedgerError(f"{where}: a reversal mirrors a booking that stands, exactly and once")
    if not entry.is_reversal and standing is not None:
        raise LedgerError(f"{where}: is booked already")


def replay(entries: Iterable[Entry]) -> dict[Account, int]:
    """Every account's balance, each entry checked again. Raises LedgerError at a bad one."""
    standing: dict[tuple[str, str], Entry] = {}
    balances: dict[Account, int] = defaultdict(int)
    for entry in entries:
        check(entry, standing.get(entry.key))
        if entry.is_reversal:
            del standing[entry.key]
        else:
            standing[entry.key] = entry
        for line in entry.postings:
            balances[line.account] += line.amount_sat
    return dict(balances)
