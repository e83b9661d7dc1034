"""Carries every sweep through its stages; a crash between any two steps loses nothing.

What leaves is stored first, what is stored can be given out again, and whatever happens twice
happens to the same coins. The chain alone decides what is confirmed. Each step reads the sweep as
it is stored, does one thing, and stores what came of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection

from controller.clock import SiteClock
from controller.money.amounts import btc_text
from controller.money.facts import Wallet
from controller.money.sweep import (
    FINAL_CONFIRMATIONS,
    Confirmed,
    Gone,
    NotWorth,
    Stage,
    by_chain,
    cost,
    plan,
    sweep_id,
    sweepable,
)
from controller.treasury import book, sweep_book
from controller.treasury.alarms import Alarm, AlarmKind, fault_of
from controller.treasury.broadcast import Sent, Waits, broadcast
from controller.treasury.build import Builder, Fault, NotNow
from controller.treasury.chain import Chain, ChainError
from controller.treasury.database import Database, DatabaseError
from controller.treasury.descriptors import WatchedWallet
from controller.treasury.events import EventKind, tell
from controller.treasury.exchange import Exchange, ExchangeError, Refused
from controller.treasury.signature import take_in
from controller.treasury.sweep_book import Attempt, Sweep

_log = structlog.get_logger()
_STEP_SAT_KVB = 100
"""A replacement must pay this much more for its size, or no node relays it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """When to begin a sweep, and how long others may take."""

    every: timedelta
    signer_patience: timedelta
    bump_after: timedelta


class Sweeper:
    """The sweeps of one collection wallet into one reserve. `genesis` names the chain."""

    def __init__(
        self,
        chain: Chain,
        database: Database,
        exchange: Exchange,
        builder: Builder,
        collection: WatchedWallet,
        reserve: WatchedWallet,
        pace: Pace,
        genesis: str,
        clock: SiteClock,
    ) -> None:
        self._chain = chain
        self._database = database
        self._exchange = exchange
        self._builder = builder
        self._collection = collection
        self._reserve = reserve
        self._pace = pace
        self._genesis = genesis
        self._clock = clock
        self._sent_at: dict[str, int] = {}

    def step(self, height: int) -> Iterator[Alarm]:
        """One step of every sweep, and a new one when it is due. `height`: the tip, read already.

        Raises ChainError, DatabaseError; what was done until then is stored.
        """
        with self._database.transaction() as db:
            watched = sweep_book.watched(db)
        for sweep in watched:
            try:
                yield from self._one(self._by_chain(sweep.sweep_id, height), height)
            except NotNow:
                continue
            except ExchangeError as error:
                yield Alarm(kind=AlarmKind.EXCHANGE_FAILED, detail=str(error))
            except (ChainError, DatabaseError):
                raise
            except Exception as error:  # noqa: BLE001 - one sweep must not stop the others
                _log.exception("sweep_failed", sweep=sweep.sweep_id)
                yield _alarm(AlarmKind.PROGRAM_FAILED, sweep, fault_of(error))
        yield from self._propose(height)

    def _by_chain(self, sweep_id: str, height: int) -> Sweep:
        """The sweep as it is stored, at the stage that the chain gives it."""
        with self._database.transaction() as db:
            sweep = sweep_book.get(db, sweep_id)
            ours = sweep_book.txids_over(db, sweep.coins)
            spenders = book.spenders(db, sweep.coins)
            verdict = by_chain(sweep.coins, spenders, {a.txid for a in sweep.attempts}, ours)
            stage, reason = _stage(sweep, verdict, height)
            if (stage, reason) == (sweep.stage, sweep.reason):
                return sweep
            self._move(db, sweep, stage, reason)
            return sweep_book.get(db, sweep_id)

    def _one(self, sweep: Sweep, height: int) -> Iterator[Alarm]:
        if sweep.stage is not Stage.PROPOSED and sweep.newest is not None:
            try:
                self._exchange.withdraw(_name(sweep, sweep.newest))
            except ExchangeError as error:  # what is signed must go out all the same
                yield Alarm(kind=AlarmKind.EXCHANGE_FAILED, detail=str(error))
        if sweep.stage is Stage.PROPOSED:
            yield from self._proposed(sweep, height)
        elif sweep.stage in {Stage.SIGNED, Stage.BROADCAST}:
            yield from self._signed(sweep, height)

    def _proposed(self, sweep: Sweep, height: int) -> Iterator[Alarm]:
        yield from self._older(sweep, height)
        attempt = sweep.newest
        if attempt is None or attempt.is_spoiled or attempt.raw is not None:
            built = self._builder.build(sweep, self._clock.utc())
            if isinstance(built, Fault):
                self._block(sweep, None, built)
                return
            with self._database.transaction() as db:
                sweep_book.add_attempt(db, sweep.sweep_id, built)
            return
        name = _name(sweep, attempt)
        self._exchange.offer(name, attempt.psbt)
        answer = self._exchange.answer(name)
        if answer is None:
            if self._clock.utc() - attempt.created_at > self._pace.signer_patience:
                yield _alarm(AlarmKind.SIGNER_SLOW, sweep, f"{name}.psbt waits in to-sign")
            return
        outcome: bytes | Fault
        if isinstance(answer, Refused):
            outcome = Fault(AlarmKind.SIGNER_REFUSED, answer.sentence or "without a reason")
        else:
            outcome = take_in(self._chain, self._builder, sweep, attempt, answer.psbt)
        if isinstance(outcome, Fault):
            self._block(sweep, attempt, outcome)
            return
        with self._database.transaction() as db:
            sweep_book.store_raw(db, sweep.sweep_id, attempt.number, outcome)
            self._move(db, sweep, Stage.SIGNED)

    def _signed(self, sweep: Sweep, height: int) -> Iterator[Alarm]:
        attempt = sweep.newest
        if attempt is None or attempt.raw is None:
            return
        overdue = self._clock.utc() - attempt.created_at > self._pace.bump_after
        if overdue and self._pays_more_now(sweep, attempt):
            with self._database.transaction() as db:
                self._move(db, sweep, Stage.PROPOSED)
            return
        if overdue:
            detail = f"paid {attempt.fee_sat} sat for {attempt.vsize} vB, not confirmed"
            yield _alarm(AlarmKind.SWEEP_SLOW, sweep, detail)
        if sweep.stage is Stage.BROADCAST and self._sent_at.get(attempt.txid) == height:
            return
        match self._send(sweep, attempt, attempt.raw):
            case Fault() as fault:
                self._block(sweep, attempt, fault)
            case Waits(kind, sentence):
                if kind is not None:
                    yield _alarm(kind, sweep, sentence)
            case Sent():
                if sweep.stage is not Stage.BROADCAST:
                    with self._database.transaction() as db:
                        self._move(db, sweep, Stage.BROADCAST)
                self._sent_at[attempt.txid] = height

    def _older(self, sweep: Sweep, height: int) -> Iterator[Alarm]:
        """While a new attempt waits for its signature, the one before it is still sent."""
        signed = [one for one in sweep.attempts if one.raw is not None and not one.is_spoiled]
        if not signed or signed[-1].raw is None or self._sent_at.get(signed[-1].txid) == height:
            return
        match self._send(sweep, signed[-1], signed[-1].raw):
            case Waits(AlarmKind.SWEEP_CONFLICT as kind, sentence):
                yield _alarm(kind, sweep, sentence)
            case Sent():
                self._sent_at[signed[-1].txid] = height

    def _send(self, sweep: Sweep, attempt: Attempt, raw: bytes) -> Sent | Waits | Fault:
        with self._database.transaction() as db:
            ours = sweep_book.txids_over(db, sweep.coins)
        return broadcast(self._chain, self._builder, sweep, attempt, raw, ours)

    def _pays_more_now(self, sweep: Sweep, attempt: Attempt) -> bool:
        planned = cost(tuple(sweep.coins), sweep.total_sat, self._builder.costs)
        if isinstance(planned, NotWorth):
            return False
        more_sat = planned.fee_sat - attempt.fee_sat
        return more_sat * 1000 >= planned.vsize * _STEP_SAT_KVB

    def _propose(self, height: int) -> Iterator[Alarm]:
        """Begin a sweep when one is due, none is under way and nothing foreign was seen."""
        now = self._clock.utc()
        with self._database.transaction() as db:
            if book.unacknowledged(db) or sweep_book.is_busy(db, now, self._pace.every):
                return
            due = sweepable(book.unspent(db).values(), height, sweep_book.held(db))
            planned = plan(due, self._builder.costs)
            if isinstance(planned, NotWorth):
                if sum(coin.sat for coin in due) >= self._builder.costs.min_sweep_sat:
                    yield Alarm(kind=AlarmKind.SWEEP_TOO_DEAR, detail=planned.sentence)
                return
            index = sweep_book.next_index(db, Wallet.RESERVE)
            if index >= self._reserve.addresses:
                return
            name = sweep_id(self._genesis, self._collection.sha256, index, planned.outpoints)
            chosen = [coin for coin in due if coin.outpoint in set(planned.outpoints)]
            sweep_book.begin(db, name, index, chosen, now)
            text = (
                f"sweep {name}: proposed, {len(chosen)} coins, {btc_text(planned.amount_sat)} BTC"
            )
            tell(db, now, EventKind.SWEEP, text)

    def _block(self, sweep: Sweep, attempt: Attempt | None, fault: Fault) -> None:
        """Stop a sweep until people have looked."""
        with self._database.transaction() as db:
            if attempt is not None:
                sweep_book.spoil(db, sweep.sweep_id, attempt.number)
            self._move(db, sweep, Stage.BLOCKED, f"{fault.kind}: {fault.sentence}")

    def _move(self, db: Connection, sweep: Sweep, stage: Stage, reason: str = "") -> None:
        if sweep_book.get(db, sweep.sweep_id).stage is not sweep.stage:
            raise NotNow("people moved it while we looked elsewhere")
        now: datetime = self._clock.utc()
        sweep_book.move(db, sweep.sweep_id, stage, now, reason)
        if stage is not sweep.stage:
            because = f": {reason}" if reason else ""
            tell(db, now, EventKind.SWEEP, f"sweep {sweep.sweep_id}: {stage}{because}")


def standing(sweep: Sweep) -> Iterator[Alarm]:
    """What a sweep as it is stored has to be alarmed of, whether or not the node can be asked."""
    if sweep.was_final and sweep.stage not in {Stage.FINAL, Stage.ABANDONED}:
        yield _alarm(AlarmKind.DEEP_REORG, sweep, f"is {sweep.stage} again")
    if sweep.stage is Stage.STUCK:
        yield _alarm(AlarmKind.SWEEP_STUCK, sweep, sweep.reason)
    if sweep.stage is Stage.BLOCKED:
        kind, _, sentence = sweep.reason.partition(": ")
        yield _alarm(AlarmKind(kind), sweep, sentence)


def _stage(sweep: Sweep, verdict: Confirmed | Gone | None, height: int) -> tuple[Stage, str]:
    """The stage that the chain's word gives a sweep, and the reason that stands there."""
    if isinstance(verdict, Confirmed):
        deep = height - verdict.height + 1 >= FINAL_CONFIRMATIONS
        on_chain = sweep.stage in {Stage.CONFIRMED, Stage.FINAL}
        return (Stage.FINAL if deep and on_chain else Stage.CONFIRMED), ""
    if not sweep.is_held:
        return Stage.ABANDONED, sweep.reason if sweep.stage is Stage.ABANDONED else ""
    if isinstance(verdict, Gone):
        return Stage.STUCK, verdict.sentence
    if sweep.stage not in {Stage.CONFIRMED, Stage.FINAL, Stage.STUCK}:
        return sweep.stage, sweep.reason
    newest = sweep.newest
    if newest is not None and newest.is_spoiled:
        return Stage.BLOCKED, f"{AlarmKind.POLICY_VIOLATION}: was blocked before it was stuck"
    return (Stage.PROPOSED if newest is None or newest.raw is None else Stage.SIGNED), ""


def _name(sweep: Sweep, attempt: Attempt) -> str:
    return f"{sweep.sweep_id}-{attempt.number}"


def _alarm(kind: AlarmKind, sweep: Sweep, detail: str) -> Alarm:
    return Alarm(kind=kind, detail=f"sweep {sweep.sweep_id}: {detail}", about=sweep.sweep_id)
