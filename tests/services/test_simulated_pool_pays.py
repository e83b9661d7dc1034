"""The simulated pool pays what its truth file earns, on both chains, whatever comes between."""

import signal
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.patience import eventually
from tests.services.pool_ground import (
    NEXT,
    OURS,
    Pool,
    earned_by,
    nth_payout,
    paid_by,
    paid_sat,
    received_sat,
    script_hex_of,
    waits,
)

simulated = pytest.mark.parametrize("chain", ["simulated"], indirect=True)


def test_it_pays_what_the_fleet_hashed_less_its_fee(chain, pool):
    """The whole way on both chains, the amount to the satoshi; change goes back to the pool."""
    pool.start()
    assert pool.status("/v1/ping") == (200, b"PONG")
    assert pool.result(f"/v1/earnpay/{OURS}")["earnings"] == []
    pool.hash(1.0, 101)
    pool.counted()
    chain.mine(1)
    (payout,) = eventually(pool.payouts, "it pays")
    sat = earned_by(100 * 10**12)
    (earning,) = pool.result(f"/v1/earnpay/{OURS}")["earnings"]
    assert earning == {
        "block_hash": chain.tip(),
        "ts": earning["ts"],
        "shares_in_window": 100 * 10**12 // 2**32,
        "fees_colected_satoshis": 145_519,
        "satoshis_net_earned": sat,
    }
    txid = payout["on_chain_txid"]
    assert payout == {
        "ts": payout["ts"],
        "on_chain_txid": txid,
        "total_satoshis_net_paid": sat,
        "is_generation_txn": False,
    }
    for row in (earning, payout):
        at = datetime.fromisoformat(row["ts"] + "+00:00")
        assert abs(datetime.now(UTC) - at) < timedelta(minutes=2)
    waits(chain, txid)
    paid = paid_by(chain, chain.mine_mempool(), txid)
    assert paid[script_hex_of(OURS)] == sat == received_sat(chain)
    assert set(paid) == {script_hex_of(OURS), pool.script_hex}
    assert 50 * 10**8 - sum(paid.values()) == 2 * (11 + 68 + 31 + 31)
    assert pool.log() == ""


def test_of_several_addresses_each_is_an_account_in_its_turn(chain, pool):
    pool.start(destinations=(OURS, NEXT))
    for address, count in ((OURS, 1), (NEXT, 1), (OURS, 2)):
        pool.hash(1.0, 21)
        pool.counted()
        chain.mine(1)
        newest = nth_payout(pool, address, count)
        waits(chain, newest["on_chain_txid"])
        chain.mine_mempool()
    for address, count in ((OURS, 2), (NEXT, 1)):
        said = [row["total_satoshis_net_paid"] for row in pool.payouts(address)]
        assert len(said) == count
        assert sum(said) == pool.earned_sat(address) == received_sat(chain, address)
    assert pool.earned_sat(OURS) + pool.earned_sat(NEXT) == earned_by(62 * 10**12)


@simulated
def test_killed_at_any_moment_it_pays_each_earning_once(chain, pool):
    for number in range(8):
        pool.start()
        pool.hash(1.0, 11)
        chain.mine(1)
        time.sleep(0.17 * number)
        pool.end(signal.SIGKILL)
        chain.mine_mempool()
    pool.start()
    pool.counted()
    chain.mine(1)
    sat = earned_by((pool.second - 1) * 10**12)
    eventually(lambda: pool.earned_sat() == sat, "it credits what is left")
    eventually(lambda: paid_sat(pool) == sat, "it pays what is left")
    for row in pool.payouts():
        with_mempool = chain.rpc("getrawmempool")
        if row["on_chain_txid"] in with_mempool:
            chain.mine_mempool()
    assert received_sat(chain) == sat


def test_a_payout_that_a_reorganisation_threw_out_comes_back(chain, pool):
    pool.start()
    pool.hash(1.0, 21)
    pool.counted()
    fork = chain.mine(1)[0]
    (payout,) = eventually(pool.payouts, "it pays")
    waits(chain, payout["on_chain_txid"])
    chain.mine_mempool()
    assert received_sat(chain) == earned_by(20 * 10**12)
    chain.mine(2, on=fork)
    assert received_sat(chain) == 0
    waits(chain, payout["on_chain_txid"])
    chain.mine_mempool()
    assert received_sat(chain) == earned_by(20 * 10**12)
    assert len(pool.payouts()) == 1


def test_a_node_that_went_away_is_met_again(chain, pool):
    pool.start()
    pool.hash(1.0, 21)
    pool.counted()
    chain.restart(kill=False)
    chain.mine(1)
    (payout,) = eventually(pool.payouts, "it pays")
    waits(chain, payout["on_chain_txid"])


def test_a_wrong_password_is_said(chain, pool, tmp_path):
    (tmp_path / "wrong").write_text("__cookie__:00")
    pool.start("--cookie", tmp_path / "wrong")
    sentence = f"it does not take the password in {tmp_path / 'wrong'}"
    eventually(lambda: sentence in pool.log(), "it says why")


@simulated
def test_without_coins_it_owes_and_says_so(chain, tmp_path):
    pool = Pool(chain, tmp_path)
    chain.mine(1, script_hex=pool.script_hex)
    try:
        pool.start()
        pool.hash(1.0, 21)
        pool.counted()
        chain.mine(98)
        sentence = f"{earned_by(20 * 10**12)} sat are owed to {OURS}, and the pool has 0 sat"
        eventually(lambda: sentence in pool.log(), "it says what stands in the way")
        time.sleep(1.0)
        assert pool.payouts() == []
        chain.mine(1)
        eventually(pool.payouts, "its coinbase has matured")
        assert pool.log().count("are owed") == 1
    finally:
        pool.end()


@simulated
def test_less_than_the_threshold_waits(chain, pool):
    pool.start("--threshold-sat", "2000000")
    pool.hash(1.0, 21)
    pool.counted()
    chain.mine(1)
    eventually(lambda: pool.earned_sat() == earned_by(20 * 10**12), "it credits")
    time.sleep(2.0)
    assert pool.payouts() == []
    pool.hash(1.0, 20)
    pool.counted()
    chain.mine(1)
    (payout,) = eventually(pool.payouts, "the threshold is reached")
    assert payout["total_satoshis_net_paid"] == earned_by(40 * 10**12)
