"""The book: balanced after every entry, mirrored once, the same when read again."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from controller.money.facts import OutPoint, Wallet
from controller.money.follow import read_block
from controller.money.ledger import (
    Account,
    Entry,
    EntryKind,
    LedgerError,
    Posting,
    check,
    replay,
    reversal,
)
from tests.unit.money.money_facts import COLLECTION, RESERVE, STRANGER, T0, WATCHED, block, tx, txid

PLAIN = Entry(
    kind=EntryKind.RECEIPT,
    txid=txid("a"),
    block_hash=txid("block", 1),
    height=1,
    at=T0,
    postings=(
        Posting(account=Account.COLLECTION, amount_sat=7, outpoint=OutPoint(txid("a"), 0)),
        Posting(account=Account.POOL, amount_sat=-7),
    ),
)


def test_a_booking_and_its_mirror_leave_nothing():
    balances = replay([PLAIN, reversal(PLAIN)])
    assert set(balances.values()) == {0}


def test_a_block_that_comes_back_is_booked_again():
    assert replay([PLAIN, reversal(PLAIN), PLAIN])[Account.COLLECTION] == 7


def lines(*amounts):
    return tuple(Posting(account=Account.FEE, amount_sat=amount) for amount in amounts)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([PLAIN, PLAIN], "booked already"),
        ([reversal(PLAIN)], "exactly and once"),
        ([PLAIN, reversal(PLAIN), reversal(PLAIN)], "exactly and once"),
        ([PLAIN, replace(reversal(PLAIN), height=2)], "exactly and once"),
        ([replace(PLAIN, postings=lines(1, -2))], "sum to -1 sat"),
        ([replace(PLAIN, postings=())], "says nothing"),
        ([replace(PLAIN, postings=lines(1.0, -1.0))], "whole satoshis"),
        ([replace(PLAIN, postings=lines(True, -1))], "whole satoshis"),
        ([replace(PLAIN, postings=PLAIN.postings[:1] * 2 + lines(-14))], "named twice"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_must_not_be_booked(entries, said):
    with pytest.raises(LedgerError, match=said):
        replay(entries)


def test_a_reversal_is_not_reversed():
    with pytest.raises(LedgerError, match="not reversed"):
        reversal(reversal(PLAIN))


class Chain(RuleBasedStateMachine):
    """A chain that grows and is taken back; beside it, the truth: what coins there are."""

    def __init__(self):
        super().__init__()
        self.entries = []
        self.stack = []
        self.coins = {}
        self.names = 0
        self.branch = 0
        self.sweeps = set()

    @rule(
        received=st.lists(
            st.tuples(st.sampled_from([COLLECTION, RESERVE, STRANGER]), st.integers(1, 10**9)),
            min_size=1,
            max_size=4,
        ),
        spends=st.integers(0, 3),
        ours=st.booleans(),
    )
    def grow(self, received, spends, ours):
        self.names += 1
        known = list(self.coins)[:spends]
        made = tx(self.names, spends=known, pays=received, coinbase=not known)
        if ours:
            self.sweeps.add(made.txid)
        new = block(len(self.stack) + 1, made, branch=self.branch)
        reading = read_block(new, WATCHED, self.coins, self.sweeps)
        for entry in reading.entries:
            check(entry, None)
        self.entries += reading.entries
        self.stack.append((reading, dict(self.coins)))
        self.coins |= {coin.outpoint: coin for coin in reading.created}
        for outpoint in reading.spent:
            del self.coins[outpoint]

    @precondition(lambda self: self.stack)
    @rule()
    def take_back(self):
        reading, self.coins = self.stack.pop()
        self.entries += [reversal(entry) for entry in reversed(reading.entries)]
        self.branch += 1

    @invariant()
    def the_book_is_the_coins(self):
        balances = replay(self.entries)
        assert sum(balances.values()) == 0
        for wallet, account in (
            (Wallet.COLLECTION, Account.COLLECTION),
            (Wallet.RESERVE, Account.RESERVE),
        ):
            held = sum(coin.sat for coin in self.coins.values() if coin.place.wallet is wallet)
            assert balances.get(account, 0) == held


TestChain = Chain.TestCase


@given(st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=5))
def test_only_what_sums_to_zero_is_booked(amounts):
    entry = replace(PLAIN, postings=lines(*amounts))
    if sum(amounts):
        with pytest.raises(LedgerError):
            check(entry, None)
    else:
        check(entry, None)
