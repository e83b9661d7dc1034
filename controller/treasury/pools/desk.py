"""Asks a pool now and then, keeps what it said, and holds it against what the chain holds."""

from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import Connection, insert, select

from controller.channel.treasury import PoolView
from controller.clock import SiteClock
from controller.money.pools import Earning, Match, Payout, PoolTrouble, Receipt, Terms, match
from controller.treasury import book
from controller.treasury.alarms import Alarm, AlarmKind
from controller.treasury.database import Database
from controller.treasury.pools.statement import PoolReader, PoolUnusable, Statement
from controller.treasury.tables import EARNING, PAYOUT

_KIND: Mapping[PoolTrouble, AlarmKind] = {
    PoolTrouble.LATE: AlarmKind.POOL_LATE,
    PoolTrouble.SHORT: AlarmKind.POOL_SHORT,
    PoolTrouble.NOT_RECEIVED: AlarmKind.POOL_NOT_RECEIVED,
    PoolTrouble.NOT_REPORTED: AlarmKind.POOL_NOT_REPORTED,
}


_AHEAD = timedelta(hours=1)
"""A pool's clock may be ahead of ours; what it dates so must not be missed."""


class PoolDesk:
    """One pool. `addresses`: where it pays to, each with its script. Never raises PoolUnusable."""

    def __init__(
        self,
        pool_id: str,
        reader: PoolReader,
        addresses: Mapping[str, bytes],
        terms: Terms,
        poll_s: float,
        window: timedelta,
        clock: SiteClock,
    ) -> None:
        self.pool_id = pool_id
        self._reader = reader
        self._addresses = addresses
        self._terms = terms
        self._poll_s = poll_s
        self._window = window
        self._clock = clock
        self._asked_s: float | None = None
        self._error: str | None = None

    def is_due(self) -> bool:
        """Whether it is time to ask again."""
        return self._asked_s is None or self._clock.monotonic_s() - self._asked_s >= self._poll_s

    def ask(self, database: Database) -> None:
        """Ask the pool for every address and store what it says. Raises DatabaseError."""
        self._asked_s = self._clock.monotonic_s()
        now = self._clock.utc()
        try:
            said = [
                self._reader.read(address, now - self._window, now + _AHEAD)
                for address in self._addresses
            ]
        except PoolUnusable as error:
            self._error = str(error)
            return
        self._error = None
        with database.transaction() as db:
            for statement in said:
                _store(db, self.pool_id, statement)

    def view(self, db: Connection) -> tuple[PoolView, list[Alarm]]:
        """The pool's three sides for people, and what does not match."""
        found = self._match(db)
        alarms = [
            Alarm(kind=_KIND[trouble], detail=f"pool {self.pool_id}: {said}", about=self.pool_id)
            for trouble, said in _joined(found).items()
        ]
        if self._error is not None:
            detail = f"pool {self.pool_id}: {self._error}"
            alarms.append(Alarm(kind=AlarmKind.POOL_SILENT, detail=detail, about=self.pool_id))
        said_before = found.earned_sat or found.paid_sat
        heard = said_before or (self._asked_s is not None and self._error is None)
        return (
            PoolView(
                pool_id=self.pool_id,
                earned_sat=found.earned_sat if heard else None,
                paid_sat=found.paid_sat if heard else None,
                received_sat=found.received_sat,
                last_paid_at=found.last_paid_at,
                error=self._error,
            ),
            alarms,
        )

    def _match(self, db: Connection) -> Match:
        earnings = db.execute(select(EARNING).where(EARNING.c.pool == self.pool_id))
        payouts = db.execute(select(PAYOUT).where(PAYOUT.c.pool == self.pool_id))
        receipts = book.received_at(db, self._addresses.values())
        return match(
            [Earning(key=row.key, at=row.at, sat=row.sat) for row in earnings],
            [Payout(key=row.key, at=row.at, sat=row.sat, txid=row.txid) for row in payouts],
            [Receipt(txid=txid, at=at, sat=sat) for txid, at, sat in receipts],
            self._terms,
            self._clock.utc(),
        )


_SHOWN_MAX = 3


def _joined(found: Match) -> dict[PoolTrouble, str]:
    """One sentence a trouble: the first few cases, and how many more there are."""
    cases: dict[PoolTrouble, list[str]] = {}
    for finding in found.findings:
        cases.setdefault(finding.trouble, []).append(finding.sentence)
    return {
        trouble: "; ".join(said[:_SHOWN_MAX])
        + (f"; and {len(said) - _SHOWN_MAX} more" if len(said) > _SHOWN_MAX else "")
        for trouble, said in cases.items()
    }


def _store(db: Connection, pool_id: str, said: Statement) -> None:
    """What the pool says now replaces what it said of the same thing before."""
    for earning in said.earnings:
        db.execute(
            insert(EARNING)
            .prefix_with("OR REPLACE")
            .values(pool=pool_id, key=earning.key, at=earning.at, sat=earning.sat)
        )
    for payout in said.payouts:
        db.execute(
            insert(PAYOUT)
            .prefix_with("OR REPLACE")
            .values(pool=pool_id, key=payout.key, at=payout.at, sat=payout.sat, txid=payout.txid)
        )
