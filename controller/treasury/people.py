"""Answers what people ask the running treasury: addresses, the book, what to do with a sweep."""

import re
from collections.abc import Mapping

import msgspec
from sqlalchemy import Connection

from controller.channel.frames import RequestRefused
from controller.channel.treasury_acts import (
    AbandonSweep,
    Acknowledge,
    EntryLine,
    GiveAddress,
    GivenAddress,
    LedgerPage,
    PostingLine,
    ReadLedger,
    RetrySweep,
    TreasuryAct,
    TreasuryAnswer,
    TreasuryDone,
)
from controller.clock import SiteClock
from controller.money.facts import Wallet
from controller.money.ledger import Entry
from controller.money.sweep import Stage
from controller.treasury import book, sweep_book
from controller.treasury.database import Database, DatabaseError
from controller.treasury.descriptors import DescriptorError, WatchedWallet
from controller.treasury.events import EventKind, tell

_PURPOSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_PAGE_MAX = 200
_BY_MAX = 64


class People:
    """The desk for people's requests; blocks its thread for one short transaction each."""

    def __init__(
        self, database: Database, wallets: Mapping[Wallet, WatchedWallet], clock: SiteClock
    ) -> None:
        self._database = database
        self._wallets = wallets
        self._clock = clock

    def answer(self, body: bytes) -> bytes:
        """Answer one request in msgpack. Raises RequestRefused with a sentence."""
        try:
            act: TreasuryAct = msgspec.msgpack.decode(body, type=TreasuryAct)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise RequestRefused(f"not a request of this channel: {error}") from None
        try:
            with self._database.transaction() as db:
                return msgspec.msgpack.encode(self._act(db, act))
        except (DatabaseError, DescriptorError) as error:
            raise RequestRefused(str(error)) from None

    def _act(self, db: Connection, act: TreasuryAct) -> TreasuryAnswer:
        match act:
            case GiveAddress():
                return self._give(db, act)
            case RetrySweep():
                return self._decide(db, act, Stage.PROPOSED, {Stage.BLOCKED})
            case AbandonSweep():
                allowed = {Stage.PROPOSED, Stage.BLOCKED, Stage.STUCK}
                return self._decide(db, act, Stage.ABANDONED, allowed)
            case Acknowledge():
                count = book.acknowledge(db)
                detail = f"{count} spends acknowledged by {act.by[:_BY_MAX]}"
                tell(db, self._clock.utc(), EventKind.PEOPLE, detail)
                return TreasuryDone(detail=detail)
            case ReadLedger():
                return _page(db, act)

    def _give(self, db: Connection, act: GiveAddress) -> GivenAddress:
        watched = next((w for w in self._wallets.values() if w.wallet == act.wallet), None)
        if watched is None:
            raise RequestRefused(f"{act.wallet[:40]!r} is no wallet; ask for collection or reserve")
        if not _PURPOSE.fullmatch(act.purpose):
            raise RequestRefused("a purpose is one word, such as the pool's id")
        index = sweep_book.given(db, watched.wallet, act.purpose) if watched.is_ranged else 0
        if index is None:
            index = sweep_book.next_index(db, watched.wallet)
            address = watched.address(index)
            sweep_book.give(db, watched.wallet, index, act.purpose, self._clock.utc())
            text = f"{watched.wallet} address {index}, {address}, given to {act.purpose}"
            tell(db, self._clock.utc(), EventKind.PEOPLE, f"{text} by {act.by[:_BY_MAX]}")
        return GivenAddress(
            wallet=watched.wallet,
            index=index,
            address=watched.address(index),
            purpose=act.purpose,
        )

    def _decide(
        self, db: Connection, act: RetrySweep | AbandonSweep, stage: Stage, allowed: set[Stage]
    ) -> TreasuryDone:
        sweep = sweep_book.find(db, act.sweep_id)
        if sweep is None:
            raise RequestRefused(f"there is no sweep {act.sweep_id[:40]!r}")
        if sweep.stage not in allowed:
            words = " or ".join(sorted(allowed))
            raise RequestRefused(f"sweep {sweep.sweep_id} is {sweep.stage}; it must be {words}")
        sweep_book.move(db, sweep.sweep_id, stage, self._clock.utc())
        detail = f"sweep {sweep.sweep_id}: {stage} by {act.by[:_BY_MAX]}, was {sweep.reason}"
        tell(db, self._clock.utc(), EventKind.PEOPLE, detail)
        return TreasuryDone(detail=detail)


def _page(db: Connection, act: ReadLedger) -> LedgerPage:
    if not 1 <= act.limit <= _PAGE_MAX or not 0 <= act.after < 2**62:
        raise RequestRefused(f"a page holds 1 to {_PAGE_MAX} entries, behind a number from 0 on")
    at = book.cursor(db)
    return LedgerPage(
        entries=[_line(*row) for row in book.entries(db, after=act.after, limit=act.limit)],
        balances={str(account): sat for account, sat in book.balances(db).items()},
        height=None if at is None else at.height,
    )


def _line(seq: int, entry: Entry) -> EntryLine:
    return EntryLine(
        seq=seq,
        kind=entry.kind,
        txid=entry.txid,
        block_hash=entry.block_hash,
        height=entry.height,
        at=entry.at,
        is_reversal=entry.is_reversal,
        postings=[
            PostingLine(
                account=line.account,
                amount_sat=line.amount_sat,
                coin="" if line.outpoint is None else str(line.outpoint),
            )
            for line in entry.postings
        ],
    )
