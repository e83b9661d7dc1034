"""Sweeps, their coins and attempts, and given addresses; in the caller's transaction.

The coins and the destination of a sweep are taken in one transaction, and the database itself
refuses to hold a coin twice or to use a destination again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, insert, select, tuple_, update

from controller.money.facts import Coin, OutPoint, Output, Wallet
from controller.money.sweep import NEXT, Stage
from controller.treasury.book import highest_index
from controller.treasury.tables import ADDRESS, ATTEMPT, SWEEP, SWEEP_INPUT

SETTLED_WATCHED = 20


class SweepError(Exception):
    """A step that a sweep must not take. Says which sweep and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One transaction of a sweep, known by its id before it is signed. `raw`: when it is."""

    number: int
    txid: str
    amount_sat: int
    fee_sat: int
    vsize: int
    psbt: str
    created_at: datetime
    raw: bytes | None = None
    is_spoiled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A sweep as it is stored. `attempts` in their order; the last one counts.

    `is_held`: its coins are its own; not so once it was abandoned, whatever the chain says later.
    `was_final`: it was once, whatever stage the chain gave it later.
    """

    sweep_id: str
    stage: Stage
    dest_index: int
    reason: str
    created_at: datetime
    updated_at: datetime
    coins: Mapping[OutPoint, Output]
    attempts: tuple[Attempt, ...]
    is_held: bool = True
    was_final: bool = False

    @property
    def newest(self) -> Attempt | None:
        """The attempt that counts; None until one is built."""
        return self.attempts[-1] if self.attempts else None

    @property
    def total_sat(self) -> int:
        """What its coins hold together."""
        return sum(coin.sat for coin in self.coins.values())


def begin(
    db: Connection, sweep_id: str, dest_index: int, coins: Iterable[Coin], now: datetime
) -> None:
    """Hold these coins and this destination for a new sweep."""
    give(db, Wallet.RESERVE, dest_index, f"sweep {sweep_id}", now)
    db.execute(
        insert(SWEEP).values(
            sweep_id=sweep_id,
            stage=Stage.PROPOSED,
            dest_index=dest_index,
            reason="",
            created_at=now,
            updated_at=now,
            was_final=False,
        )
    )
    db.execute(
        insert(SWEEP_INPUT),
        [
            {
                "sweep_id": sweep_id,
                "txid": coin.outpoint.txid,
                "vout": coin.outpoint.vout,
                "sat": coin.sat,
                "script": coin.script,
                "is_held": True,
            }
            for coin in coins
        ],
    )


def add_attempt(db: Connection, sweep_id: str, attempt: Attempt) -> None:
    """Store a newly built attempt; the same number again changes nothing."""
    db.execute(
        insert(ATTEMPT)
        .prefix_with("OR IGNORE")
        .values(
            sweep_id=sweep_id,
            number=attempt.number,
            txid=attempt.txid,
            amount_sat=attempt.amount_sat,
            fee_sat=attempt.fee_sat,
            vsize=attempt.vsize,
            psbt=attempt.psbt,
            raw=attempt.raw,
            is_spoiled=attempt.is_spoiled,
            created_at=attempt.created_at,
        )
    )


def store_raw(db: Connection, sweep_id: str, number: int, raw: bytes) -> None:
    """Keep an attempt's signed transaction, before anybody is shown it."""
    db.execute(
        update(ATTEMPT)
        .where(ATTEMPT.c.sweep_id == sweep_id, ATTEMPT.c.number == number)
        .values(raw=raw)
    )


def spoil(db: Connection, sweep_id: str, number: int) -> None:
    """An attempt was refused or answered badly: it is not given out again."""
    db.execute(
        update(ATTEMPT)
        .where(ATTEMPT.c.sweep_id == sweep_id, ATTEMPT.c.number == number)
        .values(is_spoiled=True)
    )


def move(db: Connection, sweep_id: str, stage: Stage, now: datetime, reason: str = "") -> None:
    """Bring a sweep to its next stage. Raises SweepError when there is no such way.

    The same stage again changes the reason alone.
    """
    before = Stage(
        db.execute(select(SWEEP.c.stage).where(SWEEP.c.sweep_id == sweep_id)).scalar_one()
    )
    if stage is not before and stage not in NEXT[before]:
        raise SweepError(f"sweep {sweep_id}: does not go from {before} to {stage}")
    db.execute(
        update(SWEEP)
        .where(SWEEP.c.sweep_id == sweep_id)
        .values(stage=stage, reason=reason, updated_at=now)
    )
    if stage is Stage.FINAL:
        db.execute(update(SWEEP).where(SWEEP.c.sweep_id == sweep_id).values(was_final=True))
    if stage is Stage.ABANDONED:
        db.execute(
            update(SWEEP_INPUT).where(SWEEP_INPUT.c.sweep_id == sweep_id).values(is_held=False)
        )


def sweeps(db: Connection, *, limit: int | None = None) -> list[Sweep]:
    """Sweeps, the newest first."""
    query = select(SWEEP).order_by(SWEEP.c.created_at.desc(), SWEEP.c.dest_index.desc())
    return [_sweep(db, row) for row in db.execute(query.limit(limit)).all()]


def watched(db: Connection) -> list[Sweep]:
    """The sweeps that may still move, the oldest first: all that are not settled, and the last
    settled ones, which a reorganisation may bring back.
    """
    settled = (Stage.FINAL, Stage.ABANDONED)
    last = select(SWEEP.c.sweep_id).order_by(SWEEP.c.updated_at.desc()).limit(SETTLED_WATCHED)
    query = (
        select(SWEEP)
        .where(SWEEP.c.stage.not_in(settled) | SWEEP.c.sweep_id.in_(last))
        .order_by(SWEEP.c.dest_index)
    )
    return [_sweep(db, row) for row in db.execute(query).all()]


def is_busy(db: Connection, now: datetime, every: timedelta) -> bool:
    """Whether a sweep is under way, or the last one was begun less than `every` ago.

    One that was begun in the future does not count: a clock was wrong, and must not stop sweeps.
    """
    begun = db.execute(select(SWEEP.c.stage, SWEEP.c.created_at)).all()
    return any(Stage(row.stage).is_open or now - every < row.created_at <= now for row in begun)


def find(db: Connection, sweep_id: str) -> Sweep | None:
    """One sweep; None: there is none of that name."""
    row = db.execute(select(SWEEP).where(SWEEP.c.sweep_id == sweep_id)).first()
    return None if row is None else _sweep(db, row)


def get(db: Connection, sweep_id: str) -> Sweep:
    """One sweep that is known to be there: none is ever erased. Raises SweepError."""
    found = find(db, sweep_id)
    if found is None:
        raise SweepError(f"there is no sweep {sweep_id}")
    return found


def held(db: Connection) -> set[OutPoint]:
    """Every coin that some sweep holds."""
    query = select(SWEEP_INPUT.c.txid, SWEEP_INPUT.c.vout).where(SWEEP_INPUT.c.is_held)
    return {OutPoint(txid, vout) for txid, vout in db.execute(query)}


def attempt_txids(db: Connection) -> set[str]:
    """The ids of all our transactions, of abandoned sweeps too: one of them may still confirm."""
    return set(db.execute(select(ATTEMPT.c.txid)).scalars())


def txids_over(db: Connection, coins: Iterable[OutPoint]) -> set[str]:
    """The ids of all our transactions that spend any of these coins, of whatever sweep."""
    query = (
        select(ATTEMPT.c.txid)
        .join(SWEEP_INPUT, SWEEP_INPUT.c.sweep_id == ATTEMPT.c.sweep_id)
        .where(
            tuple_(SWEEP_INPUT.c.txid, SWEEP_INPUT.c.vout).in_([(c.txid, c.vout) for c in coins])
        )
    )
    return set(db.execute(query).scalars())


def give(db: Connection, wallet: Wallet, index: int, purpose: str, now: datetime) -> None:
    """Write down what an address is for; each index and each purpose once."""
    db.execute(insert(ADDRESS).values(wallet=wallet, idx=index, purpose=purpose, at=now))


def given(db: Connection, wallet: Wallet, purpose: str) -> int | None:
    """The index that was given to a purpose; None: none was."""
    query = select(ADDRESS.c.idx).where(ADDRESS.c.wallet == wallet, ADDRESS.c.purpose == purpose)
    return db.execute(query).scalar()


def next_index(db: Connection, wallet: Wallet) -> int:
    """The first index beyond all that were given away or paid to: never used before."""
    query = select(func.max(ADDRESS.c.idx)).where(ADDRESS.c.wallet == wallet)
    used = [db.execute(query).scalar(), highest_index(db, wallet)]
    return max((index for index in used if index is not None), default=-1) + 1


def _sweep(db: Connection, row: Any) -> Sweep:
    inputs = db.execute(select(SWEEP_INPUT).where(SWEEP_INPUT.c.sweep_id == row.sweep_id)).all()
    attempts = db.execute(
        select(ATTEMPT).where(ATTEMPT.c.sweep_id == row.sweep_id).order_by(ATTEMPT.c.number)
    )
    return Sweep(
        sweep_id=row.sweep_id,
        stage=Stage(row.stage),
        dest_index=row.dest_index,
        reason=row.reason,
        created_at=row.created_at,
        updated_at=row.updated_at,
        is_held=all(entry.is_held for entry in inputs),
        was_final=row.was_final,
        coins={
            OutPoint(entry.txid, entry.vout): Output(script=entry.script, sat=entry.sat)
            for entry in inputs
        },
        attempts=tuple(
            Attempt(
                number=entry.number,
                txid=entry.txid,
                amount_sat=entry.amount_sat,
                fee_sat=entry.fee_sat,
                vsize=entry.vsize,
                psbt=entry.psbt,
                raw=entry.raw,
                is_spoiled=entry.is_spoiled,
                created_at=entry.created_at,
            )
            for entry in attempts
        ),
    )
