"""Sweeps: which coins are due, what it costs to move them, and through which stages it goes.

Every attempt of a sweep spends the same coins to the same script, so that at most one of them can
ever confirm, whatever is broadcast twice, late, or by somebody else.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from controller.money.amounts import fee_for
from controller.money.facts import Coin, OutPoint, Wallet
from controller.money.policy import Limits

COINBASE_CONFIRMATIONS = 101
"""Consensus asks for 100; wallets of the node count from 101, and so do we."""
PAYOUT_CONFIRMATIONS = 6
FINAL_CONFIRMATIONS = 6
INPUTS_MAX = 100
"""Coins in one sweep. A PSBT carries each coin's whole transaction."""
DUST_SAT = 546
"""Nodes relay no smaller output, whatever its script."""


class Stage(StrEnum):
    """Where a sweep stands; what each means for people is in docs/treasury.md."""

    PROPOSED = "proposed"
    SIGNED = "signed"
    BROADCAST = "broadcast"
    CONFIRMED = "confirmed"
    FINAL = "final"
    BLOCKED = "blocked"
    STUCK = "stuck"
    ABANDONED = "abandoned"

    @property
    def is_open(self) -> bool:
        """Whether its coins are on the way: no other sweep is proposed meanwhile."""
        return self not in {Stage.CONFIRMED, Stage.FINAL, Stage.ABANDONED}


NEXT: Mapping[Stage, frozenset[Stage]] = {
    Stage.PROPOSED: frozenset(
        {Stage.SIGNED, Stage.CONFIRMED, Stage.BLOCKED, Stage.STUCK, Stage.ABANDONED}
    ),
    Stage.SIGNED: frozenset(
        {Stage.PROPOSED, Stage.BROADCAST, Stage.CONFIRMED, Stage.BLOCKED, Stage.STUCK}
    ),
    Stage.BROADCAST: frozenset({Stage.PROPOSED, Stage.CONFIRMED, Stage.BLOCKED, Stage.STUCK}),
    Stage.CONFIRMED: frozenset(
        {
            Stage.FINAL,
            Stage.PROPOSED,
            Stage.SIGNED,
            Stage.BLOCKED,
            Stage.STUCK,
            Stage.ABANDONED,
        }
    ),
    Stage.FINAL: frozenset(
        {
            Stage.CONFIRMED,
            Stage.PROPOSED,
            Stage.SIGNED,
            Stage.BLOCKED,
            Stage.STUCK,
            Stage.ABANDONED,
        }
    ),
    Stage.BLOCKED: frozenset({Stage.PROPOSED, Stage.CONFIRMED, Stage.STUCK, Stage.ABANDONED}),
    Stage.STUCK: frozenset(
        {Stage.PROPOSED, Stage.SIGNED, Stage.CONFIRMED, Stage.BLOCKED, Stage.ABANDONED}
    ),
    Stage.ABANDONED: frozenset({Stage.CONFIRMED}),
}
"""From each stage to the next. The chain decides about CONFIRMED, from everywhere; a reorganisation
takes a sweep back out of CONFIRMED and FINAL. Only people abandon; what they abandoned stays so
whenever the chain gives it back.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """How a sweep is weighed and what it may cost. Weights in weight units, rate in sat/kvB."""

    input_weight: int
    output_script_bytes: int
    feerate_sat_kvb: int
    min_sweep_sat: int
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to build: `amount_sat` arrives, `fee_sat` is paid, for `vsize` virtual bytes."""

    outpoints: tuple[OutPoint, ...]
    amount_sat: int
    fee_sat: int
    vsize: int


@dataclass(frozen=True, slots=True)
class NotWorth:
    """Why nothing is swept now, as a sentence."""

    sentence: str


def is_mature(coin: Coin, tip_height: int) -> bool:
    """Whether a coin may be swept: deep enough that no ordinary reorganisation takes it away."""
    needed = COINBASE_CONFIRMATIONS if coin.coinbase else PAYOUT_CONFIRMATIONS
    return coin.confirmations(tip_height) >= needed


def sweepable(
    coins: Iterable[Coin], tip_height: int, reserved: AbstractSet[OutPoint]
) -> list[Coin]:
    """The mature coins of the collection wallet that no sweep holds."""
    return [
        coin
        for coin in coins
        if coin.place.wallet is Wallet.COLLECTION
        and coin.outpoint not in reserved
        and is_mature(coin, tip_height)
    ]


def vsize_of(inputs: int, costs: Costs) -> int:
    """Virtual bytes of a signed sweep at most: version, counts, lock time, marker; in- and output.

    Good for at most 252 inputs, whose count is one byte.
    """
    frame = 4 * (4 + 1 + 1 + 4) + 2
    output = 4 * (8 + 1 + costs.output_script_bytes)
    return -(-(frame + inputs * costs.input_weight + output) // 4)


def plan(due: Iterable[Coin], costs: Costs) -> Plan | NotWorth:
    """Plan a sweep of the largest coins, as many as one may hold, or say why not.

    A coin that costs more of itself to move than a sweep may cost is left: whoever floods the
    address with dust can neither stop the others nor make them dear.
    """
    own_sat = fee_for(-(-costs.input_weight // 4), costs.feerate_sat_kvb)
    worth = [coin for coin in due if own_sat * 100 <= coin.sat * costs.limits.max_fee_percent]
    chosen = sorted(worth, key=lambda coin: (-coin.sat, coin.outpoint))[:INPUTS_MAX]
    if not chosen:
        return NotWorth("no mature coin that is worth moving")
    return cost(tuple(coin.outpoint for coin in chosen), sum(coin.sat for coin in chosen), costs)


def cost(outpoints: tuple[OutPoint, ...], total_sat: int, costs: Costs) -> Plan | NotWorth:
    """Plan a sweep of exactly these coins, which hold `total_sat`; the order is fixed by it."""
    vsize = vsize_of(len(outpoints), costs)
    fee_sat = fee_for(vsize, costs.feerate_sat_kvb)
    amount_sat = total_sat - fee_sat
    if total_sat < costs.min_sweep_sat:
        return NotWorth(f"{total_sat} sat are less than min_sweep_sat = {costs.min_sweep_sat}")
    if amount_sat < DUST_SAT:
        return NotWorth(f"{amount_sat} sat would arrive, which no node relays")
    if fee_sat > costs.limits.max_fee_sat:
        return NotWorth(f"fee {fee_sat} sat is above max_fee_sat = {costs.limits.max_fee_sat}")
    if fee_sat * 100 > total_sat * costs.limits.max_fee_percent:
        return NotWorth(
            f"fee {fee_sat} sat is above max_fee_percent = {costs.limits.max_fee_percent} % "
            f"of {total_sat} sat"
        )
    return Plan(
        outpoints=tuple(sorted(outpoints)), amount_sat=amount_sat, fee_sat=fee_sat, vsize=vsize
    )


def sweep_id(genesis: str, wallet: str, dest_index: int, outpoints: Iterable[OutPoint]) -> str:
    """The sweep's name: the same coins to the same index are the same sweep. 16 hex digits.

    `wallet`: the collection descriptor's sha256.
    """
    words = [genesis, wallet, str(dest_index), *(str(point) for point in sorted(outpoints))]
    return sha256("\n".join(words).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Confirmed:
    """One of our transactions spent the sweep's coins, in the block at `height`."""

    txid: str
    height: int


@dataclass(frozen=True, slots=True)
class Gone:
    """Coins that the chain does not hold for us any more, and how they went, as a sentence."""

    sentence: str


Spender = tuple[str, int] | None
"""The transaction that spent a coin and the height of its block; None: unspent."""


def by_chain(
    coins: Iterable[OutPoint],
    spenders: Mapping[OutPoint, Spender],
    txids: AbstractSet[str],
    ours: AbstractSet[str] = frozenset(),
) -> Confirmed | Gone | None:
    """What the chain says of a sweep; None: its coins are all there, unspent.

    `spenders`: of every coin that stands on the chain. `txids`: of the sweep's attempts;
    `ours`: of other sweeps' too.
    """
    gone = []
    for outpoint in sorted(coins):
        if outpoint not in spenders:
            gone.append(f"{outpoint} is not on the chain")
            continue
        spender = spenders[outpoint]
        if spender is not None and spender[0] in txids:
            return Confirmed(*spender)
        if spender is not None:
            whose = "another sweep's" if spender[0] in ours else "not ours"
            gone.append(f"{outpoint} was spent by {spender[0]}, which is {whose}")
    return Gone("; ".join(gone[:3])) if gone else None
