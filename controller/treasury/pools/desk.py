"""Asks a pool now and then, keeps what it said, and holds it against what the chain holds.

An answer replaces all that was said of its span before: pools correct themselves. What is older
stays as it was said last, up to ROWS_MAX of a kind.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

from sqlalchemy import Connection, Table, delete, insert, select

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


ROWS_MAX = 20_000
"""So many earnings, and so many payouts, are taken from one pool and kept of it."""
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
        self._said: Statement | None = None
        """What is stored of the pool; None: to be read."""

    def is_due(self) -> bool:
        """Whether it is time to ask again."""
        return self._asked_s is None or self._clock.monotonic_s() - self._asked_s >= self._poll_s

    def ask(self, database: Database) -> None:
        """Ask the pool for every address and store what it says. Raises DatabaseError."""
        self._asked_s = self._clock.monotonic_s()
        now = self._clock.utc()
        start, end = now - self._window, now + _AHEAD
        try:
            said = _bounded(
                (self._reader.read(address, start, end) for address in self._addresses), end
            )
        except PoolUnusable as error:
            self._error = str(error)
            return
        self._error = None
        with database.transaction() as db:
            _replace(db, EARNING, self.pool_id, start, said.earnings)
            _replace(db, PAYOUT, self.pool_id, start, said.payouts)
        self._said = None

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
        if self._said is None:
            self._said = _stored(db, self.pool_id)
        receipts = book.received_at(db, self._addresses.values())
        return match(
            self._said.earnings,
            self._said.payouts,
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


def _bounded(statements: Iterable[Statement], end: datetime) -> Statement:
    """All of a pool's statements as one. Raises PoolUnusable for what is too much or to come."""
    earnings: list[Earning] = []
    payouts: list[Payout] = []
    for statement in statements:
        earnings += statement.earnings
        payouts += statement.payouts
        if max(len(earnings), len(payouts)) > ROWS_MAX:
            raise PoolUnusable(f"says more than {ROWS_MAX} rows; shorten `window_days`")
    newest = max(
        [earning.at for earning in earnings] + [payout.at for payout in payouts], default=end
    )
    if newest > end:
        raise PoolUnusable(f"speaks of {newest:%Y-%m-%d %H:%M} UTC, which is to come")
    return Statement(earnings=tuple(earnings), payouts=tuple(payouts))


def _replace(
    db: Connection, table: Table, pool_id: str, start: datetime, rows: Sequence[Earning | Payout]
) -> None:
    """Put `rows` in the place of all since `start`, and forget the oldest beyond ROWS_MAX."""
    mine = table.c.pool == pool_id
    db.execute(delete(table).where(mine, table.c.at >= start))
    told = [{"pool": pool_id} | asdict(row) for row in rows if row.at >= start]
    if told:
        db.execute(insert(table).prefix_with("OR REPLACE"), told)
    newest = select(table.c.at).where(mine).order_by(table.c.at.desc())
    oldest_kept = db.execute(newest.offset(ROWS_MAX - 1).limit(1)).scalar()
    if oldest_kept is not None:
        db.execute(delete(table).where(mine, table.c.at < oldest_kept))


def _stored(db: Connection, pool_id: str) -> Statement:
    earnings = db.execute(select(EARNING).where(EARNING.c.pool == pool_id))
    payouts = db.execute(select(PAYOUT).where(PAYOUT.c.pool == pool_id))
    return Statement(
        earnings=tuple(Earning(key=row.key, at=row.at, sat=row.sat) for row in earnings),
        payouts=tuple(
            Payout(key=row.key, at=row.at, sat=row.sat, txid=row.txid) for row in payouts
        ),
    )
