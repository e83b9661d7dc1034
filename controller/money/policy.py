"""What a sweep's transaction must be: everything that is not plainly right is a violation.

Judged are facts that a second implementation read from the PSBT or the signed transaction; the
amounts and scripts of the coins come from the node. The same rules hold before the signer sees it,
when it comes back, and before it is broadcast.
"""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

from controller.money.facts import OutPoint, Output

VERSION = 2
SEQUENCE = 0xFFFFFFFD
SIGHASH_ALL = 1
ANCHOR_BYTES = 32
_OP_RETURN_32 = b"\x6a\x20"


class Reason(StrEnum):
    """Stable names of what is wrong; one of them stands in a blocked sweep."""

    VERSION = "version"
    LOCKTIME = "locktime"
    INPUTS = "inputs"
    SEQUENCE = "sequence"
    PREVIOUS_MISSING = "previous_missing"
    PREVIOUS_TXID = "previous_txid"
    PREVIOUS_OUTPUT = "previous_output"
    COIN_UNKNOWN = "coin_unknown"
    SIGHASH = "sighash"
    DESTINATION = "destination"
    OUTPUTS = "outputs"
    ANCHOR = "anchor"
    AMOUNT = "amount"
    FEE = "fee"
    FEE_SHARE = "fee_share"
    FEERATE = "feerate"
    TXID = "txid"
    UNSIGNED = "unsigned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One rule that does not hold, and what stands there."""

    reason: Reason
    sentence: str

    def __str__(self) -> str:
        """For people: the reason's name, then the sentence."""
        return f"{self.reason}: {self.sentence}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One input. `sighashes`: every kind named or used by its signatures.

    `previous_txid`: of the whole previous transaction in the PSBT; None without one. `claimed`:
    every output that the PSBT says it spends.
    """

    outpoint: OutPoint
    sequence: int
    sighashes: frozenset[int]
    previous_txid: str | None = None
    claimed: tuple[Output, ...] = ()
    signed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A transaction as it was read. `vsize`: virtual bytes when signed; None until then."""

    txid: str
    version: int
    locktime: int
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    vsize: int | None = None

    @property
    def is_final(self) -> bool:
        """Whether this is the signed transaction and no PSBT."""
        return self.vsize is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a sweep may cost at most. Rates in sat/kvB."""

    max_fee_sat: int
    max_fee_percent: int
    floor_sat_kvb: int
    ceiling_sat_kvb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the sweep was made to be.

    `coins`: the reserved outpoints with amount and script by the node. `destination`: the script
    that the reserve descriptor gives at the sweep's own index. `vsize`: an upper bound, from the
    plan. `anchor`: 32 bytes that an OP_RETURN must carry; None: there is none. `txid`: None until
    the first PSBT is built.
    """

    coins: Mapping[OutPoint, Output]
    destination: bytes
    amount_sat: int
    vsize: int
    limits: Limits
    anchor: bytes | None = None
    txid: str | None = None


def violations(facts: Facts, expected: Expected) -> tuple[Violation, ...]:
    """Every rule that does not hold; empty: it may go on."""
    found = (
        *_form(facts, expected),
        *_inputs(facts, expected),
        *_outputs(facts, expected),
        *_fee(facts, expected),
    )
    return tuple(Violation(reason=reason, sentence=sentence) for reason, sentence in found)


_Found = Iterator[tuple[Reason, str]]


def _form(facts: Facts, expected: Expected) -> _Found:
    if facts.version != VERSION:
        yield Reason.VERSION, f"transaction version {facts.version}, not {VERSION}"
    if facts.locktime != 0:
        yield Reason.LOCKTIME, f"lock time {facts.locktime}, not 0"
    if expected.txid is not None and facts.txid != expected.txid:
        yield Reason.TXID, f"is transaction {facts.txid}, not {expected.txid} as was given out"


def _inputs(facts: Facts, expected: Expected) -> _Found:
    spent = [entry.outpoint for entry in facts.inputs]
    if set(spent) != set(expected.coins) or len(set(spent)) != len(spent):
        yield Reason.INPUTS, _difference(set(spent), set(expected.coins))
    for entry in facts.inputs:
        yield from _one_input(entry, expected.coins.get(entry.outpoint), is_final=facts.is_final)


def _difference(spent: AbstractSet[OutPoint], reserved: AbstractSet[OutPoint]) -> str:
    foreign = ", ".join(str(point) for point in sorted(spent - reserved)[:3]) or "none"
    absent = ", ".join(str(point) for point in sorted(reserved - spent)[:3]) or "none"
    return f"must spend exactly the reserved coins; foreign: {foreign}; left out: {absent}"


def _one_input(entry: Input, coin: Output | None, *, is_final: bool) -> _Found:
    where = str(entry.outpoint)
    if entry.sequence != SEQUENCE:
        yield Reason.SEQUENCE, f"{where}: sequence {entry.sequence:#x}, not {SEQUENCE:#x}"
    if wrong := entry.sighashes - {SIGHASH_ALL}:
        yield Reason.SIGHASH, f"{where}: signed with sighash {sorted(wrong)}, only ALL is allowed"
    if is_final:
        if not entry.signed or not entry.sighashes:
            yield Reason.UNSIGNED, f"{where}: carries no signature"
        return
    if coin is None:
        yield Reason.COIN_UNKNOWN, f"{where}: is no reserved coin that the node knows"
    if entry.previous_txid is None:
        yield Reason.PREVIOUS_MISSING, f"{where}: the whole previous transaction is not there"
    elif entry.previous_txid != entry.outpoint.txid:
        yield (
            Reason.PREVIOUS_TXID,
            f"{where}: the previous transaction there hashes to {entry.previous_txid}",
        )
    if coin is not None and any(claim != coin for claim in entry.claimed):
        yield Reason.PREVIOUS_OUTPUT, f"{where}: amount or script is not what the node says"


def _outputs(facts: Facts, expected: Expected) -> _Found:
    spends = [output for output in facts.outputs if not _is_data(output)]
    anchors = [output for output in facts.outputs if _is_data(output)]
    for output in spends:
        if output.script != expected.destination:
            foreign = output.script.hex()[:80]
            yield Reason.DESTINATION, f"pays {output.sat} sat to {foreign}, not to the reserve"
    if len(spends) != 1:
        yield Reason.OUTPUTS, f"has {len(spends)} paying outputs; exactly one is allowed, no change"
    paid_sat = sum(output.sat for output in spends)
    if paid_sat != expected.amount_sat:
        yield Reason.AMOUNT, f"pays {paid_sat} sat, not {expected.amount_sat} sat as was planned"
    asked = [] if expected.anchor is None else [expected.anchor]
    if [anchor.script for anchor in anchors] != [_OP_RETURN_32 + data for data in asked]:
        yield Reason.ANCHOR, f"has {len(anchors)} data outputs that are not what was asked for"
    if any(anchor.sat for anchor in anchors):
        yield Reason.ANCHOR, "a data output burns money"


def _is_data(output: Output) -> bool:
    return output.script[:1] == _OP_RETURN_32[:1]


def _fee(facts: Facts, expected: Expected) -> _Found:
    limits = expected.limits
    total_sat = sum(coin.sat for coin in expected.coins.values())
    fee_sat = total_sat - sum(output.sat for output in facts.outputs)
    vsize = facts.vsize if facts.vsize is not None else expected.vsize
    if not 0 < fee_sat <= limits.max_fee_sat:
        yield Reason.FEE, f"fee {fee_sat} sat; above 0 and at most {limits.max_fee_sat} sat allowed"
    if fee_sat * 100 > total_sat * limits.max_fee_percent:
        yield (
            Reason.FEE_SHARE,
            f"fee {fee_sat} sat is more than {limits.max_fee_percent} % of {total_sat} sat",
        )
    floor, ceiling = limits.floor_sat_kvb * vsize, limits.ceiling_sat_kvb * vsize
    if not floor <= fee_sat * 1000 <= ceiling:
        band = f"{limits.floor_sat_kvb} to {limits.ceiling_sat_kvb} sat/kvB"
        yield Reason.FEERATE, f"fee {fee_sat} sat for {vsize} vB is outside {band}"
