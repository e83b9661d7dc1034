"""Transactions that wait for a block: who may enter, whom a newcomer replaces, whom a block drops.

Scripts are checked by the kernel with the rules of consensus; Core's further rules about scripts
are left out, but for that of low signatures, which a signer can break. There is no bound on the
pool's size and no expiry: its rules are about one transaction, not about crowds.
"""

from dataclasses import dataclass

from simulators.services.chain.kernel import Coin, script_holds
from simulators.services.chain.ledger import Ledger, Turn
from simulators.services.chain.policy import (
    RELAY_SAT_PER_KVB,
    Refused,
    check_alone,
    check_coins,
    check_fee,
    check_final,
    check_signatures_low,
    fee_sat,
    money,
    where,
)
from simulators.services.chain.wire import Outpoint, Transaction


@dataclass(frozen=True, slots=True)
class Waiting:
    """A transaction in the pool, and the fee that it pays."""

    transaction: Transaction
    fee_sat: int


class Mempool:
    """The pool on top of a ledger, in the order of coming, so parents stand before children."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._spenders: dict[Outpoint, str] = {}
        self.waiting: dict[str, Waiting] = {}

    def coin(self, outpoint: Outpoint) -> Coin | None:
        """An output that nobody spent, in a block or waiting."""
        if outpoint in self._spenders:
            return None
        return self._unspent(outpoint)

    def test(self, tx: Transaction) -> Waiting:
        """What would enter. Raises Refused."""
        return self._judge(tx, relay=True)[0]

    def add(self, tx: Transaction) -> None:
        """Let a transaction in, and those go that it replaces. Raises Refused."""
        self._add(tx, relay=True)

    def turn(self, turn: Turn) -> None:
        """Follow the chain: drop what was mined or cannot be any more, take back what came out."""
        if not turn.joined:
            return
        back = [tx for block in reversed(turn.left) for tx in block.transactions[1:]]
        for block in turn.joined:
            for tx in block.transactions:
                self.waiting.pop(tx.txid, None)
        older, self.waiting, self._spenders = self.waiting, {}, {}
        # Whoever cannot enter any more stays out, and then so do its children.
        for tx in (*back, *(entry.transaction for entry in older.values())):
            if tx.txid not in self.waiting:
                self._try(tx)

    def _try(self, tx: Transaction) -> None:
        try:
            self._add(tx, relay=False)
        except Refused:
            return

    def _add(self, tx: Transaction, *, relay: bool) -> None:
        entry, replaced = self._judge(tx, relay=relay)
        for txid in replaced:
            gone = self.waiting.pop(txid)
            for spent in gone.transaction.inputs:
                self._spenders.pop(spent.outpoint, None)
        self.waiting[tx.txid] = entry
        for spent in tx.inputs:
            self._spenders[spent.outpoint] = tx.txid

    def _judge(self, tx: Transaction, *, relay: bool) -> tuple[Waiting, list[str]]:
        """The entry and the ids that it replaces. Without `relay` no fee is asked for."""
        check_alone(tx)
        check_final(tx, self._ledger)
        here = self.waiting.get(tx.txid)
        if here is not None:
            same = here.transaction.wtxid == tx.wtxid
            raise Refused(
                "txn-already-in-mempool" if same else "txn-same-nonwitness-data-in-mempool"
            )
        coins = self._coins(tx)
        fee = check_coins(tx, coins, self._ledger)
        check_fee(tx, fee, relay=relay)
        replaced = self._replaced(tx, fee)
        check_signatures_low(tx)
        self._check_scripts(tx, coins)
        return Waiting(tx, fee), replaced

    def _coins(self, tx: Transaction) -> dict[Outpoint, Coin]:
        coins = {}
        for spent in tx.inputs:
            coin = self._unspent(spent.outpoint)
            if coin is None:
                outputs = range(len(tx.outputs))
                if any(Outpoint(tx.txid, vout) in self._ledger.coins for vout in outputs):
                    raise Refused("txn-already-known")
                raise Refused("bad-txns-inputs-missingorspent", missing=True)
            coins[spent.outpoint] = coin
        return coins

    def _unspent(self, outpoint: Outpoint) -> Coin | None:
        """A coin of the chain or an output of the pool, whoever in the pool may spend it."""
        parent = self.waiting.get(outpoint.txid)
        if parent is None:
            return self._ledger.coins.get(outpoint)
        outputs = parent.transaction.outputs
        return Coin(outputs[outpoint.vout], None, False) if outpoint.vout < len(outputs) else None

    def _replaced(self, tx: Transaction, fee: int) -> list[str]:
        """Whom it replaces, children after parents: BIP 125 without the need to signal."""
        direct = {self._spenders[s.outpoint] for s in tx.inputs if s.outpoint in self._spenders}
        if not direct:
            return []
        gone: list[str] = []
        for txid, entry in self.waiting.items():
            parents = {spent.outpoint.txid for spent in entry.transaction.inputs}
            if txid in direct or parents & set(gone):
                gone.append(txid)
        parent = next((s.outpoint.txid for s in tx.inputs if s.outpoint.txid in gone), None)
        if parent is not None:
            raise Refused(
                "bad-txns-spends-conflicting-tx",
                f"{tx.txid} spends conflicting transaction {parent}",
            )
        before = sum(self.waiting[txid].fee_sat for txid in gone)
        about = f"rejecting replacement {tx.txid}"
        if fee < before:
            less = f"less fees than conflicting txs; {money(fee)} < {money(before)}"
            raise Refused("insufficient fee", f"{about}, {less}")
        more, floor = fee - before, fee_sat(tx.virtual_size, RELAY_SAT_PER_KVB)
        if more < floor:
            less = f"not enough additional fees to relay; {money(more)} < {money(floor)}"
            raise Refused("insufficient fee", f"{about}, {less}")
        sizes = [self.waiting[txid].transaction.virtual_size for txid in direct]
        fees = [self.waiting[txid].fee_sat for txid in direct]
        if any(fee * size <= old * tx.virtual_size for old, size in zip(fees, sizes, strict=True)):
            raise Refused(
                "replacement-failed", "insufficient feerate: does not improve feerate diagram"
            )
        return gone

    def _check_scripts(self, tx: Transaction, coins: dict[Outpoint, Coin]) -> None:
        spent = [coins[entry.outpoint].output for entry in tx.inputs]
        for number in range(len(tx.inputs)):
            if not script_holds(tx, number, spent):
                # The kernel does not say what is wrong with a script.
                raise Refused(
                    "mempool-script-verify-flag-failed (unknown error)", where(tx, number)
                )
