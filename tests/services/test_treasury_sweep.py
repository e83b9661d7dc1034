"""A sweep from coinbase to final, on the simulated chain and on Bitcoin Core."""

from datetime import timedelta

import pytest

from controller.money.ledger import Account
from controller.money.sweep import Stage
from tests.services.treasury_ground import SUBSIDY_SAT, SWEEP, Ground, payment


@pytest.fixture
def ground(aged, tmp_path):
    opened = Ground(aged, tmp_path)
    yield opened
    opened.close()


def final(ground):
    """Confirm what was broadcast, and bury it."""
    ground.chain.mine_mempool()
    ground.chain.mine(5)
    return ground.until(Stage.FINAL)


def test_a_whole_sweep_of_coinbases(chain, tmp_path):
    ground = Ground(chain, tmp_path)
    chain.mine(3, script_hex=ground.collection_script())
    chain.mine(97)
    ground.follow()
    assert ground.image.collection.coins == 3
    assert ground.image.collection.maturing_sat == 3 * SUBSIDY_SAT
    assert ground.image.sweeps == [], "99 and 100 confirmations are not enough"
    chain.mine(3)
    ground.follow()
    assert ground.until(Stage.PROPOSED).inputs == 3
    sent = ground.until(Stage.BROADCAST)
    assert sent.txid in ground.in_mempool()
    assert ground.alarms() == set()
    chain.mine_mempool()
    assert ground.until(Stage.CONFIRMED).confirmations == 1
    ground.audit()
    chain.mine(4)
    ground.follow()
    assert (ground.image.sweeps[0].stage, ground.image.sweeps[0].confirmations) == ("confirmed", 5)
    chain.mine(1)
    swept = ground.until(Stage.FINAL)
    assert swept.confirmations == 6
    ground.audit()
    balances = ground.balances()
    reserve_sat = balances[Account.RESERVE]
    assert reserve_sat == swept.amount_sat == 3 * SUBSIDY_SAT - swept.fee_sat
    assert balances[Account.FEE] == swept.fee_sat > 0
    assert balances[Account.COLLECTION] == 0
    image = ground.round()
    assert image.reserve.ledger_sat == image.reserve.chain_sat == reserve_sat
    assert image.reserve.final_sat == reserve_sat
    ground.close()


def test_a_sweep_of_payouts_waits_for_six_confirmations(ground):
    ground.pay(10**7, 2 * 10**7, deep=False)
    ground.chain.mine(4)
    ground.follow()
    ground.round(2)
    assert ground.image.sweeps == []
    ground.chain.mine(1)
    assert ground.until(Stage.BROADCAST).inputs == 2
    swept = final(ground)
    assert swept.amount_sat + swept.fee_sat == 3 * 10**7
    ground.audit()


def test_direct_payouts_to_the_reserve_are_booked_without_a_sweep(aged, tmp_path):
    ground = Ground(aged, tmp_path, sweep="")
    pays = [(ground.reserve_script(3), 10**6), (ground.collection_script(), 10**5)]
    aged.mine(7, transactions=[payment(aged, *pays)])
    ground.follow()
    ground.round(3)
    balances = ground.balances()
    assert (balances[Account.RESERVE], balances[Account.COLLECTION]) == (10**6, 10**5)
    assert balances[Account.POOL] == -(10**6 + 10**5)
    assert ground.image.sweeps == []
    assert not ground.config.exchange_dir.exists()
    ground.audit()
    ground.close()


def test_the_next_sweep_goes_to_a_fresh_address(ground):
    raw = payment(ground.chain, (ground.reserve_script(4), 10**6))
    ground.chain.mine(1, transactions=[raw])
    ground.pay(10**7)
    ground.until(Stage.BROADCAST)
    final(ground)
    ground.pay(10**7)
    ground.until(Stage.BROADCAST)
    assert [sweep.dest_index for sweep in ground.image.sweeps] == [6, 5]
    assert len({sweep.address for sweep in ground.image.sweeps}) == 2


def test_too_little_is_left_where_it_is(ground):
    ground.pay(99_999)
    ground.round(3)
    assert ground.image.sweeps == []
    ground.pay(2_720)
    assert ground.until(Stage.BROADCAST).inputs == 2


def test_each_coin_is_swept_once_while_more_come(ground):
    for _ in range(3):
        ground.pay(10**6, 10**6)
        ground.until(Stage.BROADCAST)
        ground.chain.mine_mempool()
    ground.chain.mine(6)
    ground.until(Stage.FINAL)
    swept = [point for sweep in ground.sweeps() for point in sweep.coins]
    assert len(swept) == len(set(swept)) == 6
    assert ground.balances()[Account.COLLECTION] == 0
    ground.audit()


BUMP = SWEEP + "bump_after_s = 3_600\n"


def raise_the_rate(ground):
    """Two hours later, people write a higher rate and restart."""
    ground.clock.ahead = timedelta(hours=2)
    text = ground.path.read_text("utf-8")
    ground.path.write_text(text.replace("feerate_sat_kvb = 2_000", "feerate_sat_kvb = 9_000"))
    assert ground.path.read_text("utf-8") != text
    ground.reopen()


def test_a_slow_sweep_is_replaced_at_a_higher_rate(aged, tmp_path):
    ground = Ground(aged, tmp_path, sweep=BUMP)
    ground.pay(10**7, 10**7)
    first = ground.until(Stage.BROADCAST)
    ground.clock.ahead = timedelta(hours=2)
    ground.round()
    assert ground.alarms() == {"sweep_slow"}
    raise_the_rate(ground)
    ground.round(2)
    assert first.txid in ground.in_mempool(), "the older attempt stands until the newer is sent"
    second = ground.until(Stage.BROADCAST)
    assert (second.attempt, second.sweep_id) == (2, first.sweep_id)
    assert second.fee_sat > first.fee_sat
    assert ground.in_mempool() == {second.txid}
    assert final(ground).txid == second.txid
    ground.audit()
    ground.close()


def test_the_older_attempt_may_win(aged, tmp_path):
    ground = Ground(aged, tmp_path, sweep=BUMP)
    ground.pay(10**7)
    first = ground.until(Stage.BROADCAST)
    raw = ground.sweeps()[0].newest.raw
    raise_the_rate(ground)
    assert ground.until(Stage.BROADCAST).attempt == 2
    aged.mine(1, transactions=[raw.hex()])
    won = ground.until(Stage.CONFIRMED)
    assert (won.txid, won.attempt) == (first.txid, 1)
    aged.mine(5)
    ground.until(Stage.FINAL)
    assert ground.balances()[Account.FEE] == first.fee_sat
    ground.audit()
    ground.close()
