"""The three-way match: what a pool says it earned for us, says it paid, and what the chain holds.

A pool is believed about what it owes, never about what arrived.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

TRIFLE_SAT = 10_000
"""Less than this arrives at an address from anybody, and no pool need say anything of it."""


class PoolTrouble(StrEnum):
    """What does not match."""

    LATE = "late"
    SHORT = "short"
    NOT_RECEIVED = "not_received"
    NOT_REPORTED = "not_reported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Earning:
    """Credited by the pool at `at`, not yet paid by this."""

    key: str
    at: datetime
    sat: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Payout:
    """Paid by the pool's own word. `txid` None: it names no transaction."""

    key: str
    at: datetime
    sat: int
    txid: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What one transaction paid to the pool's addresses with us, by our own node."""

    txid: str
    at: datetime
    sat: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What was agreed: paid every `pay_every`, with `grace` for it to confirm; from
    `threshold_sat` on; differences up to `tolerance_permille` of the amount are no trouble.
    """

    pay_every: timedelta
    grace: timedelta
    threshold_sat: int
    tolerance_permille: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that does not match, as a sentence."""

    trouble: PoolTrouble
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The sums of the three sides in satoshis, and what does not match."""

    earned_sat: int
    paid_sat: int
    received_sat: int
    last_paid_at: datetime | None
    findings: tuple[Finding, ...]


def match(
    earnings: Iterable[Earning],
    payouts: Iterable[Payout],
    receipts: Iterable[Receipt],
    terms: Terms,
    now: datetime,
) -> Match:
    """Hold the three sides against each other. `now` is aware."""
    earnings = sorted(earnings, key=lambda earning: (earning.at, earning.key))
    payouts = sorted(payouts, key=lambda payout: (payout.at, payout.key))
    receipts = list(receipts)
    arrived: dict[str, int] = defaultdict(int)
    for receipt in receipts:
        arrived[receipt.txid] += receipt.sat
    findings = (
        *_late(earnings, payouts, terms, now),
        *_paid(payouts, arrived, terms, now),
        *_unreported(payouts, receipts, terms, now),
    )
    return Match(
        earned_sat=sum(earning.sat for earning in earnings),
        paid_sat=sum(payout.sat for payout in payouts),
        received_sat=sum(arrived.values()),
        last_paid_at=payouts[-1].at if payouts else None,
        findings=tuple(Finding(trouble=trouble, sentence=said) for trouble, said in findings),
    )


_Found = Iterator[tuple[PoolTrouble, str]]


def _late(earnings: list[Earning], payouts: list[Payout], terms: Terms, now: datetime) -> _Found:
    """Earnings are paid in their order; the oldest unpaid one says since when money is owed.

    A payout pays what was earned until then (clocks differ by less than `grace`). What it paid
    beyond that was for earnings older than those that we know, not for those to come.
    """
    owed = deque((earning.at, earning.sat) for earning in earnings)
    for payout in payouts:
        left_sat = payout.sat
        while owed and left_sat and owed[0][0] <= payout.at + terms.grace:
            at, sat = owed.popleft()
            if sat > left_sat:
                owed.appendleft((at, sat - left_sat))
            left_sat -= min(sat, left_sat)
    owed_sat = sum(sat for _, sat in owed)
    if owed_sat > 0 and owed_sat >= terms.threshold_sat:
        since = next(at for at, sat in owed if sat)
        if now - since > terms.pay_every + terms.grace:
            said = f"{owed_sat} sat are owed, some since {since:%Y-%m-%d %H:%M} UTC"
            yield PoolTrouble.LATE, said


def _paid(payouts: list[Payout], arrived: Mapping[str, int], terms: Terms, now: datetime) -> _Found:
    said: dict[str, list[Payout]] = defaultdict(list)
    for payout in payouts:
        if payout.txid is not None:
            said[payout.txid].append(payout)
        elif payout.sat and now - payout.at > terms.grace:
            said_at = f"{payout.at:%Y-%m-%d %H:%M} UTC"
            text = f"{payout.sat} sat were paid at {said_at}, the pool says, by no transaction"
            yield PoolTrouble.NOT_RECEIVED, text
    for txid, parts in said.items():
        claimed_sat, got_sat = sum(part.sat for part in parts), arrived.get(txid, 0)
        since = min(part.at for part in parts)
        if not got_sat:
            if now - since > terms.grace:
                yield (
                    PoolTrouble.NOT_RECEIVED,
                    f"{claimed_sat} sat were paid by {txid}, the pool says; none arrived",
                )
        elif (claimed_sat - got_sat) * 1000 > claimed_sat * terms.tolerance_permille:
            yield PoolTrouble.SHORT, f"{txid} paid {got_sat} sat, the pool says {claimed_sat} sat"


def _unreported(
    payouts: list[Payout], receipts: list[Receipt], terms: Terms, now: datetime
) -> _Found:
    """Only since the pool's first payout that we know: a book that begins late must not cry."""
    if not payouts:
        return
    said = {payout.txid for payout in payouts}
    for receipt in receipts:
        if receipt.sat < max(TRIFLE_SAT, terms.threshold_sat):
            continue
        told_late = receipt.at < payouts[0].at or now - receipt.at <= terms.grace
        if receipt.txid not in said and not told_late:
            yield (
                PoolTrouble.NOT_REPORTED,
                f"{receipt.sat} sat arrived by {receipt.txid}, of which the pool says nothing",
            )
