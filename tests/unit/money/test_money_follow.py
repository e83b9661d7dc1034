"""What a block's transactions are booked as."""

import pytest

from controller.money.facts import Wallet
from controller.money.follow import read_block
from controller.money.ledger import Account, EntryKind
from tests.unit.money.money_facts import COLLECTION, RESERVE, STRANGER, WATCHED, block, coin, tx

C1, C2 = coin("c1", 700), coin("c2", 300)
R1 = coin("r1", 5000, wallet=Wallet.RESERVE)
UNKNOWN = coin("u1", 1).outpoint
COINS = {c.outpoint: c for c in (C1, C2, R1)}
SWEEP = tx("sweep", spends=(C1.outpoint, C2.outpoint), pays=[(RESERVE, 950)])


def booked(*txs, sweeps=()):
    reading = read_block(block(9, *txs), WATCHED, COINS, set(sweeps))
    return reading, [
        (
            entry.kind,
            {
                account: total
                for account in Account
                if (total := sum(p.amount_sat for p in entry.postings if p.account is account))
            },
        )
        for entry in reading.entries
    ]


@pytest.mark.parametrize(
    ("made", "ours", "kind", "sums"),
    [
        (
            tx("p", pays=[(COLLECTION, 40), (STRANGER, 9)], coinbase=True),
            False,
            EntryKind.RECEIPT,
            {Account.COLLECTION: 40, Account.POOL: -40},
        ),
        (
            tx("d", pays=[(RESERVE, 40)]),
            False,
            EntryKind.RECEIPT,
            {Account.RESERVE: 40, Account.POOL: -40},
        ),
        (
            SWEEP,
            True,
            EntryKind.SWEEP,
            {Account.COLLECTION: -1000, Account.RESERVE: 950, Account.FEE: 50},
        ),
        (
            SWEEP,
            False,
            EntryKind.SWEEP,
            {Account.COLLECTION: -1000, Account.RESERVE: 950, Account.FEE: 50},
        ),
        (
            tx("fee thief", spends=(C1.outpoint, C2.outpoint), pays=[(RESERVE, 949)]),
            False,
            EntryKind.FOREIGN,
            {Account.COLLECTION: -1000, Account.RESERVE: 949, Account.FOREIGN: 51},
        ),
        (
            tx("change", spends=(C1.outpoint,), pays=[(RESERVE, 680), (COLLECTION, 10)]),
            False,
            EntryKind.FOREIGN,
            {Account.COLLECTION: -690, Account.RESERVE: 680, Account.FOREIGN: 10},
        ),
        (
            tx("mixed", spends=(C1.outpoint, R1.outpoint), pays=[(RESERVE, 5690)]),
            False,
            EntryKind.FOREIGN,
            {Account.COLLECTION: -700, Account.RESERVE: 690, Account.FOREIGN: 10},
        ),
        (
            tx("with a stranger's", spends=(C1.outpoint, UNKNOWN), pays=[(RESERVE, 690)]),
            False,
            EntryKind.FOREIGN,
            {Account.COLLECTION: -700, Account.RESERVE: 690, Account.FOREIGN: 10},
        ),
        (
            tx("thief", spends=(C1.outpoint,), pays=[(STRANGER, 690)]),
            False,
            EntryKind.FOREIGN,
            {Account.COLLECTION: -700, Account.FOREIGN: 700},
        ),
        (
            tx("custody", spends=(R1.outpoint,), pays=[(STRANGER, 4000), (RESERVE, 900)]),
            False,
            EntryKind.CUSTODIANS,
            {Account.RESERVE: -4100, Account.CUSTODIANS: 4100},
        ),
        (
            tx("both", spends=(R1.outpoint, C1.outpoint), pays=[(STRANGER, 1)]),
            False,
            EntryKind.FOREIGN,
            {Account.RESERVE: -5000, Account.COLLECTION: -700, Account.FOREIGN: 5700},
        ),
    ],
    ids=[
        "coinbase",
        "direct",
        "sweep",
        "lost sweep",
        "taken as a fee",
        "change",
        "reserve too",
        "unknown input",
        "thief",
        "custodians",
        "both",
    ],
)
def test_kinds_of_transactions(made, ours, kind, sums):
    _, entries = booked(made, sweeps=[made.txid] if ours else ())
    assert entries == [(kind, sums)]


def test_a_transaction_that_touches_nothing_of_ours_is_passed_over():
    reading, entries = booked(tx("x", pays=[(STRANGER, 5)]), tx("zero", pays=[(RESERVE, 0)]))
    assert (entries, reading.created, dict(reading.spent)) == ([], (), {})


def test_a_coin_that_comes_and_goes_in_one_block():
    came = tx("in", pays=[(COLLECTION, 40)])
    point = read_block(block(9, came), WATCHED, {}, set()).created[0].outpoint
    gone = tx("out", spends=(point,), pays=[(RESERVE, 30)])
    reading, entries = booked(came, gone, sweeps=[gone.txid])
    assert [kind for kind, _ in entries] == [EntryKind.RECEIPT, EntryKind.SWEEP]
    assert reading.spent == {point: gone.txid}
    assert [c.sat for c in reading.created] == [40, 30]


def test_every_output_of_a_receipt_is_a_posting_of_its_own():
    reading, _ = booked(tx("p", pays=[(COLLECTION, 1), (COLLECTION, 2)]))
    points = [p.outpoint.vout for p in reading.entries[0].postings if p.outpoint]
    assert points == [0, 1]
