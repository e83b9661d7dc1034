"""What people ask the running treasury over its channel, and its answers."""

from datetime import datetime

import msgspec


class _Act(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`by`: who asks, the login name at the command line."""

    by: str


class GiveAddress(_Act, frozen=True, kw_only=True, tag="address"):
    """The next unused address of a wallet ("reserve" or "collection") for a purpose of one word.

    The same purpose is given the same address again.
    """

    wallet: str
    purpose: str


class RetrySweep(_Act, frozen=True, kw_only=True, tag="retry"):
    """Make a new attempt of a blocked sweep: the same coins, the same destination."""

    sweep_id: str


class AbandonSweep(_Act, frozen=True, kw_only=True, tag="abandon"):
    """Give up a blocked or stuck sweep; its coins may be swept by another."""

    sweep_id: str


class Acknowledge(_Act, frozen=True, kw_only=True, tag="acknowledge"):
    """Every foreign spend until now was seen; sweeps may be proposed again."""


class ReadLedger(_Act, frozen=True, kw_only=True, tag="ledger"):
    """Entries of the book behind number `after`, in their order, at most `limit`."""

    after: int = 0
    limit: int = 200


TreasuryAct = GiveAddress | RetrySweep | AbandonSweep | Acknowledge | ReadLedger


class TreasuryDone(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """The act is stored."""

    detail: str


class GivenAddress(msgspec.Struct, frozen=True, kw_only=True, tag="given"):
    """An address and where it stands in its descriptor."""

    wallet: str
    index: int
    address: str
    purpose: str


class PostingLine(msgspec.Struct, frozen=True, kw_only=True):
    """One posting in satoshis. `coin`: txid:vout, empty for what has no coin."""

    account: str
    amount_sat: int
    coin: str = ""


class EntryLine(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the book, in the order of `seq`."""

    seq: int
    kind: str
    txid: str
    block_hash: str
    height: int
    at: datetime
    is_reversal: bool
    postings: list[PostingLine]


class LedgerPage(msgspec.Struct, frozen=True, kw_only=True, tag="ledger_page"):
    """A page of the book, and every account's balance at the last block that was read."""

    entries: list[EntryLine]
    balances: dict[str, int]
    height: int | None


TreasuryAnswer = TreasuryDone | GivenAddress | LedgerPage
