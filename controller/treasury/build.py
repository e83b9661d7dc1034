"""Builds a sweep's transaction on the node, and says what every later form of it must be.

The node does the writing, the policy judges what bdkpython reads back. The same sweep at the same
rate gives the same transaction, so building again after a crash changes nothing.
"""

from dataclasses import dataclass
from datetime import datetime

from controller.money.facts import OutPoint, Output
from controller.money.policy import Expected, Facts, violations
from controller.money.sweep import Costs, NotWorth, cost
from controller.treasury.alarms import AlarmKind
from controller.treasury.chain import Chain
from controller.treasury.descriptors import DescriptorError, WatchedWallet
from controller.treasury.exchange import OFFER_BYTES_MAX
from controller.treasury.psbt_facts import UnreadableTransaction, read_psbt
from controller.treasury.sweep_book import Attempt, Sweep


class NotNow(Exception):
    """A step that cannot be taken at this moment; nothing is known to be wrong."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a sweep must not go on: the alarm that it raises, and a sentence."""

    kind: AlarmKind
    sentence: str


class Builder:
    """Builds for one pair of wallets and one set of costs."""

    def __init__(
        self, chain: Chain, collection: WatchedWallet, reserve: WatchedWallet, costs: Costs
    ) -> None:
        self.costs = costs
        self._chain = chain
        self._collection = collection
        self._reserve = reserve

    def build(self, sweep: Sweep, now: datetime) -> Attempt | Fault:
        """The sweep's next attempt, judged already. Raises NotNow, ChainError."""
        coins = self._coins(sweep)
        if coins != sweep.coins:
            return _violated("the node gives other amounts or scripts for the reserved coins")
        planned = cost(tuple(sweep.coins), sweep.total_sat, self.costs)
        if isinstance(planned, NotWorth):
            return _violated(planned.sentence)
        try:
            address = self._reserve.address(sweep.dest_index)
        except DescriptorError as error:
            return _violated(str(error))
        psbt = self._chain.create_psbt(planned.outpoints, address, planned.amount_sat)
        psbt = self._chain.update_psbt(psbt, self._known())
        if len(psbt) > OFFER_BYTES_MAX:
            return _violated(
                f"its PSBT has {len(psbt)} bytes, {OFFER_BYTES_MAX} can be exchanged: the coins' "
                "own transactions are too large together"
            )
        try:
            facts = read_psbt(psbt)
        except UnreadableTransaction as error:
            return _violated(f"the node's own PSBT {error}")
        attempt = Attempt(
            number=len(sweep.attempts) + 1,
            txid=facts.txid,
            amount_sat=planned.amount_sat,
            fee_sat=planned.fee_sat,
            vsize=planned.vsize,
            psbt=psbt,
            created_at=now,
        )
        found = violations(facts, self._expected(sweep, attempt, coins))
        return _violated("; ".join(map(str, found[:5]))) if found else attempt

    def judge(self, sweep: Sweep, attempt: Attempt, facts: Facts) -> str | None:
        """Every rule that facts about an attempt break, as one sentence; None: it may go on.

        Raises NotNow, ChainError.
        """
        found = violations(facts, self._expected(sweep, attempt, self._coins(sweep)))
        return "; ".join(map(str, found[:5])) or None

    def _expected(self, sweep: Sweep, attempt: Attempt, coins: dict[OutPoint, Output]) -> Expected:
        return Expected(
            coins=coins,
            destination=self._reserve.script(sweep.dest_index),
            amount_sat=attempt.amount_sat,
            vsize=attempt.vsize,
            limits=self.costs.limits,
            txid=attempt.txid,
        )

    def _coins(self, sweep: Sweep) -> dict[OutPoint, Output]:
        """The sweep's coins by the node itself. Raises NotNow when one is not there."""
        found = {}
        for outpoint in sweep.coins:
            coin = self._chain.coin(outpoint)
            if coin is None:
                # Spent or reorganised away since we read the chain: the next block says which.
                raise NotNow(f"{outpoint} is not unspent at this moment")
            found[outpoint] = coin
        return found

    def _known(self) -> dict[str, int | None]:
        return {
            branch: wallet.addresses if wallet.is_ranged else None
            for wallet in (self._collection, self._reserve)
            for branch in wallet.branches
        }


def _violated(sentence: str) -> Fault:
    return Fault(AlarmKind.POLICY_VIOLATION, sentence)
