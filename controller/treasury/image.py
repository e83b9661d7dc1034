"""Draws the treasury's image for people and pages from what is stored and what was last seen."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection

from controller.channel.treasury import (
    CollectionView,
    PoolView,
    ReserveView,
    SweepView,
    TreasuryImage,
)
from controller.channel.view import EventView
from controller.money.facts import Coin, Wallet
from controller.money.ledger import Account
from controller.money.sweep import FINAL_CONFIRMATIONS, Confirmed, by_chain, is_mature
from controller.treasury import book, events, sweep_book
from controller.treasury.alarms import Alarm, Standing
from controller.treasury.audit import Finding
from controller.treasury.descriptors import WatchedWallet
from controller.treasury.node import NodeState
from controller.treasury.sweep_book import Sweep

SWEEPS_SHOWN = 20
EVENTS_SHOWN = 20


class Painter:
    """Draws for one treasury."""

    def __init__(self, treasury_id: str, name: str, reserve: WatchedWallet) -> None:
        self._treasury_id = treasury_id
        self._name = name
        self._reserve = reserve
        self._standing = Standing()

    def draw(
        self,
        db: Connection,
        node: NodeState,
        finding: Finding | None,
        pools: Sequence[PoolView],
        alarms: Iterable[Alarm],
        now: datetime,
    ) -> TreasuryImage:
        """The image at this moment."""
        at = book.cursor(db)
        height = -1 if at is None else at.height
        coins = list(book.unspent(db).values())
        return TreasuryImage(
            treasury_id=self._treasury_id,
            name=self._name,
            at=now,
            chain=node.view,
            collection=_collection(coins, height),
            reserve=self._reserve_view(db, coins, height, finding),
            sweeps=[
                self._sweep(db, sweep, height)
                for sweep in sweep_book.sweeps(db, limit=SWEEPS_SHOWN)
            ],
            pools=list(pools),
            alarms=self._standing.view(alarms, now),
            events=[
                EventView(at=event.at, kind=event.kind, text=event.text)
                for event in events.newest(db, EVENTS_SHOWN)
            ],
        )

    def _reserve_view(
        self, db: Connection, coins: list[Coin], height: int, finding: Finding | None
    ) -> ReserveView:
        ledger_sat = book.balances(db)[Account.RESERVE]
        held = [coin for coin in coins if coin.place.wallet is Wallet.RESERVE]
        # An agreement is shown only as long as the balance is the one that was compared.
        counts = finding is not None and (
            bool(finding.differences) or finding.book_sat == ledger_sat
        )
        return ReserveView(
            ledger_sat=ledger_sat,
            final_sat=sum(c.sat for c in held if c.confirmations(height) >= FINAL_CONFIRMATIONS),
            chain_sat=finding.chain_sat if finding is not None and counts else None,
            checked_height=None if finding is None else finding.height,
            descriptor_sha256=self._reserve.sha256,
        )

    def _sweep(self, db: Connection, sweep: Sweep, height: int) -> SweepView:
        spenders = book.spenders(db, sweep.coins)
        verdict = by_chain(sweep.coins, spenders, {a.txid for a in sweep.attempts})
        confirmed = verdict if isinstance(verdict, Confirmed) else None
        # The attempt that confirmed is shown once one has: it need not be the newest.
        won = [a for a in sweep.attempts if confirmed is not None and a.txid == confirmed.txid]
        attempt = won[0] if won else sweep.newest
        return SweepView(
            sweep_id=sweep.sweep_id,
            attempt=0 if attempt is None else attempt.number,
            stage=sweep.stage,
            inputs=len(sweep.coins),
            amount_sat=sweep.total_sat if attempt is None else attempt.amount_sat,
            fee_sat=0 if attempt is None else attempt.fee_sat,
            vsize=None if attempt is None else attempt.vsize,
            address=self._reserve.address(sweep.dest_index),
            dest_index=sweep.dest_index,
            txid="" if attempt is None else attempt.txid,
            confirmations=0 if confirmed is None else height - confirmed.height + 1,
            block_height=None if confirmed is None else confirmed.height,
            created_at=sweep.created_at,
            updated_at=sweep.updated_at,
            reason=sweep.reason,
        )


def _collection(coins: list[Coin], height: int) -> CollectionView:
    held = [coin for coin in coins if coin.place.wallet is Wallet.COLLECTION]
    mature_sat = sum(coin.sat for coin in held if is_mature(coin, height))
    return CollectionView(
        mature_sat=mature_sat,
        maturing_sat=sum(coin.sat for coin in held) - mature_sat,
        coins=len(held),
    )
