"""When the pool pays, with which coins, and what it does when the node will not have it."""

import asyncio
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from types import SimpleNamespace

import pytest
from embit.script import Script
from embit.transaction import Transaction

from simulators.services.key_file import KeyFileError
from simulators.services.pool.book import ROWS_MAX, Book, TooMany
from simulators.services.pool.earning import Terms
from simulators.services.pool.node import NodeAway, NodeRefused
from simulators.services.pool.paying import Habits, Paymaster
from simulators.services.pool.truth import Sample
from simulators.services.pool.wallet import COINS_MAX, DUST_SAT, Coin, Wallet, script_of

START = datetime(2026, 11, 25, 6, tzinfo=UTC)
TERMS = Terms(Fraction(1), 2**32, 0)
"""One hash earns one satoshi."""
OURS = "bcrt1qqyqszqgpqyqszqgpqyqszqgpqyqszqgpvxat9t"


class FakeNode:
    """Holds coins, takes transactions or refuses them."""

    def __init__(self):
        self.block = "b0"
        self.held = [Coin(f"{number:064x}:0", 100_000) for number in range(1, 9)]
        self.taken = []
        self.error = None

    async def tip(self):
        return self.block

    async def coins(self, script_hex):
        return list(self.held)

    async def send(self, raw):
        if self.error:
            raise self.error
        self.taken.append(raw)


@pytest.fixture
def ground(tmp_path):
    book = Book(tmp_path / "pool")
    wallet = Wallet.of_file(tmp_path / "pool.key")
    node = FakeNode()
    habits = Habits([OURS], every=timedelta(seconds=60), threshold_sat=1_000)

    def turn(second, hashes=0, *, habits=habits):
        now = START + timedelta(seconds=second)
        if hashes:
            book.count(hashes, Sample(now, second * 1000, 0))
        node.block = f"b{second}"
        paymaster = Paymaster(book, node, wallet, TERMS, habits)
        return asyncio.run(paymaster.turn(now))

    def said():
        return [row.sat for row in book.said(OURS, START, START + timedelta(days=1))]

    yield SimpleNamespace(book=book, node=node, turn=turn, said=said, habits=habits)
    book.close()


def test_it_pays_at_its_times_from_its_threshold_on(ground):
    ground.turn(0)
    ground.turn(30, 900)
    ground.turn(59, 100)
    assert ground.said() == []
    assert ground.turn(60) is None
    assert ground.said() == [1_000]
    ground.turn(100, 5_000)
    ground.turn(119)
    assert ground.said() == [1_000]
    ground.turn(120)
    assert ground.said() == [5_000, 1_000]
    ground.turn(180, 999)
    ground.turn(500, 1)
    assert ground.said() == [1_000, 5_000, 1_000]


def test_late_counts_from_when_it_was_due(ground):
    late = Habits([OURS], timedelta(seconds=60), 1_000, late=timedelta(seconds=100))
    ground.turn(0)
    ground.turn(60, 1_000, habits=late)
    ground.turn(159, 500, habits=late)
    assert ground.said() == []
    ground.turn(160, habits=late)
    assert ground.said() == [1_500]
    ground.turn(219, 1_000, habits=late)
    ground.turn(220, habits=late)
    ground.turn(319, habits=late)
    assert ground.said() == [1_500]
    ground.turn(320, habits=late)
    assert ground.said() == [1_000, 1_500]


def test_what_the_node_refuses_is_not_said_to_be_paid_and_nothing_overtakes_it(ground):
    ground.turn(0)
    ground.node.error = NodeRefused(-26, "min relay fee not met")
    assert "is refused by the node: min relay fee not met (-26)" in ground.turn(60, 1_000)
    assert "is refused by the node" in ground.turn(200, 2_000)
    assert (ground.said(), ground.book.payouts_made()) == ([], 1)
    ground.node.error = NodeAway("node: gone")
    assert ground.turn(201) == "node: gone; it is asked again"
    ground.node.error = None
    ground.turn(202)
    assert ground.said() == [2_000, 1_000]
    assert len(set(ground.node.taken)) == 2


def test_what_was_taken_once_stays_paid_when_its_outputs_are_spent(ground):
    ground.turn(0)
    ground.turn(60, 1_000)
    ground.node.error = NodeRefused(-25, "bad-txns-inputs-missingorspent")
    assert ground.turn(61) is None
    assert ground.said() == [1_000]


def test_no_coin_is_used_by_two_payouts(ground):
    """The chain shows a coin unspent until the payout is mined; the book knows better."""
    ground.turn(0)
    for number in range(1, 5):
        assert ground.turn(60 * number, 150_000) is None
    spent = [
        (coin.txid, coin.vout)
        for raw in set(ground.node.taken)
        for coin in Transaction.from_string(raw).vin
    ]
    assert len(spent) == len(set(spent)) == 8
    assert "are owed to" in ground.turn(300, 150_000)
    assert ground.said() == [150_000] * 4


def wallet(tmp_path):
    return Wallet.of_file(tmp_path / "pool.key")


TARGET = Script(b"\x00\x20" + bytes(32))
SIZE_VB = 11 + 68 + 43 + 31
"""One input, one output to a script hash of 32 bytes, change to a key hash."""


@pytest.mark.parametrize(
    ("spare_sat", "outputs_sat"),
    [
        (-1, None),
        (0, [50_000]),
        (DUST_SAT - 1, [50_000]),
        (DUST_SAT, [50_000, DUST_SAT]),
        (20_000, [50_000, 20_000]),
    ],
)
def test_a_payment_brings_its_fee_and_no_dust(tmp_path, spare_sat, outputs_sat):
    coin = Coin("11" * 32 + ":3", 50_000 + 2 * SIZE_VB + spare_sat)
    payment = wallet(tmp_path).pay([coin], TARGET, 50_000)
    if outputs_sat is None:
        assert payment is None
        return
    transaction = Transaction.from_string(payment.raw)
    assert [output.value for output in transaction.vout] == outputs_sat
    assert (transaction.txid().hex(), payment.spent) == (payment.txid, (coin.outpoint,))
    assert (transaction.vin[0].txid.hex(), transaction.vin[0].vout) == ("11" * 32, 3)
    stripped = len(payment.raw) // 2 - 2 - len(transaction.vin[0].witness.serialize())
    size_vb = (stripped * 4 + 2 + len(transaction.vin[0].witness.serialize()) + 3) // 4
    assert coin.amount_sat - sum(outputs_sat) >= 2 * size_vb


def test_a_payment_is_the_same_again_and_takes_the_largest_coins(tmp_path):
    coins = [Coin(f"{number:064x}:0", number * 1_000) for number in range(1, 50)]
    pool = wallet(tmp_path)
    payment = pool.pay(coins, TARGET, 90_000)
    assert payment == pool.pay(reversed(coins), TARGET, 90_000)
    assert payment.spent == (coins[-1].outpoint, coins[-2].outpoint)
    many = [Coin(f"{number:064x}:0", 1_000) for number in range(1, 2 * COINS_MAX)]
    assert len(pool.pay(many, TARGET, 150_000).spent) <= COINS_MAX
    assert pool.pay(many, TARGET, 200_000) is None


def test_the_pools_key_is_made_once(tmp_path):
    path = tmp_path / "pool.key"
    script_hex = wallet(tmp_path).script_hex
    assert script_hex == wallet(tmp_path).script_hex
    assert path.stat().st_mode & 0o777 == 0o600
    for wrong in ("zz" * 32, "11" * 31, "00" * 32):
        path.write_text(wrong + "\n")
        with pytest.raises(KeyFileError, match="is no key of a pool") as caught:
            wallet(tmp_path)
        assert wrong not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "bcrt1qwrong", "x" * 5_000, "1BoatSLRHtKNngkdXEeobR76b53LETtpyU"]
)
def test_what_is_no_address(text):
    with pytest.raises(ValueError, match="is no bitcoin address"):
        script_of(text)


def test_an_answer_has_a_bound(ground, monkeypatch):
    monkeypatch.setattr("simulators.services.pool.book.ROWS_MAX", 3)
    for number in range(4):
        ground.turn(number, 1)
    assert ROWS_MAX > 3
    with pytest.raises(TooMany, match="more than 3 rows; ask for a shorter time"):
        ground.book.earnings(OURS, START, START + timedelta(seconds=9))
    assert len(ground.book.earnings(OURS, START, START + timedelta(seconds=2))) == 3
