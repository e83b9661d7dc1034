"""The three-way match: earned, paid, received."""

from datetime import timedelta

import pytest

from controller.money.pools import Earning, Payout, PoolTrouble, Receipt, Terms, match
from tests.unit.money.money_facts import T0

HOUR = timedelta(hours=1)
TERMS = Terms(pay_every=24 * HOUR, grace=2 * HOUR, threshold_sat=1_000, tolerance_permille=0)
TERMS_LOOSE = Terms(pay_every=24 * HOUR, grace=2 * HOUR, threshold_sat=1_000, tolerance_permille=10)


def earned(hours, sat):
    return Earning(key=f"e{hours}", at=T0 + hours * HOUR, sat=sat)


def paid(hours, sat, txid="t"):
    return Payout(key=f"p{hours}{txid}", at=T0 + hours * HOUR, sat=sat, txid=txid)


def got(hours, sat, txid="t"):
    return Receipt(txid=txid, at=T0 + hours * HOUR, sat=sat)


DAY = [earned(0, 600), earned(12, 600)]
CASES = {
    "paid and received": (DAY, [paid(20, 1200)], [got(21, 1200)], 40, set()),
    "nothing yet": (DAY, [], [], 20, set()),
    "due, in its grace": (DAY, [], [], 26, set()),
    "late": (DAY, [], [], 27, {PoolTrouble.LATE}),
    "late in part": (DAY, [paid(20, 100)], [got(20, 100)], 30, {PoolTrouble.LATE}),
    "rest is younger": (DAY, [paid(20, 150)], [got(20, 150)], 25, set()),
    "below the threshold": ([earned(0, 999)], [], [], 500, set()),
    "on its way": (DAY, [paid(20, 1200)], [], 22, set()),
    "never arrived": (DAY, [paid(20, 1200)], [], 23, {PoolTrouble.NOT_RECEIVED}),
    "short": (DAY, [paid(20, 1200)], [got(20, 1199)], 21, {PoolTrouble.SHORT}),
    "more than said": (DAY, [paid(20, 1200)], [got(20, 1201)], 21, set()),
    "without a transaction": (DAY, [paid(20, 1200, None)], [], 40, {PoolTrouble.NOT_RECEIVED}),
    "without a transaction yet": (DAY, [paid(20, 1200, None)], [], 22, set()),
    "for the time before ours": (
        [earned(20, 1200)],
        [paid(1, 50_000)],
        [got(1, 50_000)],
        47,
        {PoolTrouble.LATE},
    ),
    "for a time before ours, in part": (DAY, [paid(13, 50_000)], [got(13, 50_000)], 80, set()),
    "by a clock that is behind": ([earned(2, 1200)], [paid(1, 1200)], [got(1, 1200)], 80, set()),
    "two coins of one payment": (
        DAY,
        [paid(20, 1200)],
        [got(20, 700), got(20, 500)],
        21,
        set(),
    ),
    "not reported": (
        DAY,
        [paid(20, 1200)],
        [got(20, 1200), got(21, 10_000, "u")],
        24,
        {PoolTrouble.NOT_REPORTED},
    ),
    "not reported yet": (DAY, [paid(20, 1200)], [got(20, 1200), got(21, 10_000, "u")], 22, set()),
    "a stranger's trifle": (DAY, [paid(20, 1200)], [got(20, 1200), got(21, 9_999, "u")], 40, set()),
    "before the pool's book begins": (
        DAY,
        [paid(20, 1200)],
        [got(2, 10_000, "u"), got(20, 1200)],
        40,
        set(),
    ),
    "silent pool": ([], [], [got(2, 10_000, "u")], 40, set()),
}


@pytest.mark.parametrize(
    ("earnings", "payouts", "receipts", "hours", "troubles"), CASES.values(), ids=CASES
)
def test_what_matches_and_what_does_not(earnings, payouts, receipts, hours, troubles):
    found = match(earnings, payouts, receipts, TERMS, T0 + hours * HOUR)
    assert {finding.trouble for finding in found.findings} == troubles
    assert found.earned_sat == sum(e.sat for e in earnings)
    assert found.paid_sat == sum(p.sat for p in payouts)
    assert found.received_sat == sum(r.sat for r in receipts)


@pytest.mark.parametrize(("arrived", "short"), [(990, False), (989, True)])
def test_a_tolerance_is_kept_to_the_satoshi(arrived, short):
    found = match([earned(0, 1000)], [paid(1, 1000)], [got(1, arrived)], TERMS_LOOSE, T0 + 2 * HOUR)
    assert any(f.trouble is PoolTrouble.SHORT for f in found.findings) == short


def test_the_order_of_what_is_said_does_not_matter():
    payouts = [paid(30, 600, "b"), paid(20, 600, "a")]
    found = match(DAY[::-1], payouts, [got(20, 600, "a"), got(30, 600, "b")], TERMS, T0 + 31 * HOUR)
    assert found.findings == ()
    assert found.last_paid_at == T0 + 30 * HOUR
