"""A sweep from coinbase to final, on the simulated chain and on Bitcoin Core."""

import pytest

from controller.money.ledger import Account
from controller.money.sweep import Stage
from tests.services.chain_ground import chain  # noqa: F401 - a fixture
from tests.services.treasury_ground import Ground

SUBSIDY_SAT = 50 * 100_000_000


@pytest.fixture
def ground(chain, tmp_path):  # noqa: F811 - the fixture
    opened = Ground(chain, tmp_path)
    yield opened
    opened.close()


def test_a_whole_sweep(ground):
    ground.fund(3, mature=False)
    assert ground.image.collection.coins == 3
    assert ground.image.collection.maturing_sat == 3 * SUBSIDY_SAT
    assert ground.image.sweeps == []
    ground.chain.mine(100)
    ground.follow()
    proposed = ground.until(Stage.PROPOSED)
    assert proposed.inputs in {1, 3}
    sent = ground.until(Stage.BROADCAST)
    assert sent.txid in ground.in_mempool()
    assert ground.alarms() == set()
    ground.chain.mine_mempool()
    confirmed = ground.until(Stage.CONFIRMED)
    assert confirmed.confirmations == 1
    ground.audit()
    ground.chain.mine(4)
    ground.follow()
    assert ground.image.sweeps[-1].confirmations == 5
    ground.chain.mine(1)
    final = ground.until(Stage.FINAL)
    assert final.confirmations == 6
    ground.audit()
    balances = ground.balances()
    reserve = balances[Account.RESERVE]
    assert reserve == final.amount_sat == final.inputs * SUBSIDY_SAT - final.fee_sat
    assert balances[Account.FEE] == final.fee_sat > 0
    image = ground.round()
    assert image.reserve.ledger_sat == image.reserve.chain_sat == reserve
    assert image.reserve.final_sat == reserve
