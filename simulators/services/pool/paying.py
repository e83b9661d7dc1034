"""Credits at each block, pays at its times; what the node refuses or cannot take waits, in order.

A payout is due when its time has come and enough is owed. It is built from coins that no payout has
used, entered in the book, and only then sent: again after a restart, and again with each new block,
since a reorganisation may have thrown it out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from simulators.services.pool.book import Book, Payout
from simulators.services.pool.earning import Terms
from simulators.services.pool.node import Node, NodeAway, NodeRefused
from simulators.services.pool.wallet import Wallet, script_of

RESENT = 20
"""Payouts that are sent again with each new block."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How the pool pays; `late` and `short_permille` are what it does wrong."""

    destinations: Sequence[str]
    every: timedelta
    threshold_sat: int
    late: timedelta = timedelta(0)
    short_permille: int = 0


class Paymaster:
    """One pool's money: from hashes in the book to transactions in the chain."""

    def __init__(
        self, book: Book, node: Node, wallet: Wallet, terms: Terms, habits: Habits
    ) -> None:
        self._book = book
        self._node = node
        self._wallet = wallet
        self._terms = terms
        self._habits = habits
        self._tip: str | None = None

    async def turn(self, now: datetime) -> str | None:
        """Do what is due; return what stands in the way, for people. `now` is aware."""
        self._book.begin(now)
        try:
            tip = await self._node.tip()
            if tip != self._tip:
                self._book.credit(tip, now, self._address(), self._terms)
            refused = await self._send(now, again=tip != self._tip)
            self._tip = tip
            return refused or await self._pay(now)
        except NodeAway as error:
            return f"{error}; it is asked again"
        except NodeRefused as error:
            return f"the node refuses: {error}; it is asked again"

    def _address(self) -> str:
        """Whose turn it is: the next of the destinations after each payout."""
        return self._habits.destinations[self._book.payouts_made() % len(self._habits.destinations)]

    async def _send(self, now: datetime, *, again: bool) -> str | None:
        refused = None
        for payout in self._book.latest_payouts(RESENT):
            if again or not payout.sent:
                refused = await self._send_one(payout, now) or refused
        return refused

    async def _send_one(self, payout: Payout, now: datetime) -> str | None:
        try:
            await self._node.send(payout.raw)
        except NodeRefused as error:
            # One that was taken before is in the chain, and its outputs may be spent already.
            if not payout.sent:
                return f"payout {payout.txid} is refused by the node: {error}; it is sent again"
        else:
            self._book.sent(payout, now)
        return None

    async def _pay(self, now: datetime) -> str | None:
        owed, due_at = self._book.owed(), self._book.due_at()
        if owed is None or owed.sat < self._habits.threshold_sat:
            return None
        if due_at is None:
            last_at = self._book.paid_at()
            if last_at is None or now < last_at + self._habits.every:
                return None
            self._book.fall_due(due_at := now)
        if now < due_at + self._habits.late:
            return None
        spent = self._book.spent()
        coins = [
            coin
            for coin in await self._node.coins(self._wallet.script_hex)
            if coin.outpoint not in spent
        ]
        sent_sat = owed.sat * (1000 - self._habits.short_permille) // 1000
        payment = self._wallet.pay(coins, script_of(owed.address), sent_sat)
        if payment is None:
            has_sat = sum(coin.amount_sat for coin in coins)
            return (
                f"{owed.sat} sat are owed to {owed.address}, and the pool has {has_sat} sat that "
                f"it may spend; let its coinbases mature (100 blocks) or mine more to its script"
            )
        self._book.enter_payout(owed, payment, now)
        return await self._send(now, again=False)
