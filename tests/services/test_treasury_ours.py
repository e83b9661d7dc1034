"""Which transactions are ours: after a lost database, after abandoning, and against a thief."""

import shutil

import pytest

from controller.channel.treasury_acts import (
    AbandonSweep,
    Acknowledge,
    TreasuryDone,
)
from controller.money.ledger import Account
from controller.money.sweep import Stage
from tests.services.test_treasury_sweep import BUMP, raise_the_rate
from tests.services.treasury_ground import Ground, act_on, stolen


@pytest.fixture
def ground(aged, tmp_path):
    opened = Ground(aged, tmp_path, sweep=BUMP)
    opened.pay(10**7)
    yield opened
    opened.close()


def kept(ground):
    """A copy of the state folder as it is now."""
    ground.close()
    copy = ground.folder / "copy"
    shutil.copytree(ground.config.state_dir, copy)
    ground.open()
    return copy


def put_back(ground, copy):
    """The state folder as it was, or gone."""
    ground.close()
    shutil.rmtree(ground.config.state_dir)
    if copy is not None:
        shutil.copytree(copy, ground.config.state_dir)
    ground.open()


def test_after_a_lost_database_our_own_sweeps_are_known_again(ground):
    sent = ground.until(Stage.BROADCAST)
    ground.chain.mine_mempool()
    ground.chain.mine(6)
    ground.until(Stage.FINAL)
    booked = ground.balances()
    put_back(ground, None)
    ground.follow()
    assert ground.balances() == booked
    (alarm,) = ground.image.alarms
    assert (alarm.alarm_id, alarm.severity) == ("unknown_sweep", "warning")
    assert sent.txid in alarm.detail
    ground.audit()
    ground.pay(10**7)
    again = ground.until(Stage.BROADCAST)
    assert again.dest_index == sent.dest_index + 1, "no address is used twice"
    act_on(ground, Acknowledge(by="asel"), TreasuryDone)
    ground.round()
    assert ground.alarms() == set()


def test_an_old_copy_of_the_database_takes_its_signer_for_honest(aged, tmp_path):
    """The first sweep is in the mempool already, and the old copy makes a larger one."""
    ground = Ground(aged, tmp_path)
    copy = kept(ground)
    ground.pay(10**7)
    first = ground.until(Stage.BROADCAST)
    raw = ground.sweeps()[0].newest.raw
    put_back(ground, copy)
    ground.pay(10**7)
    ground.until(Stage.SIGNED)
    ground.round(2)
    assert ground.alarms() <= {"sweep_conflict"}, "Core keeps the first, the other the dearer one"
    ground.chain.mine(1, transactions=[raw.hex()])
    ground.follow()
    assert ground.alarms() == {"unknown_sweep", "sweep_stuck"}
    assert ground.balances()[Account.FEE] == first.fee_sat
    ground.audit()
    ground.close()


def test_a_thief_who_takes_a_second_attempts_place_is_seen(ground):
    ground.until(Stage.BROADCAST)
    raise_the_rate(ground)
    ground.round(3)
    thief = ground.chain.rpc("sendrawtransaction", stolen(ground, 90_000), 0)
    ground.until(Stage.SIGNED)
    ground.round(2)
    assert ground.alarms() == {"sweep_conflict"}
    assert ground.in_mempool() == {thief}


def given_up_while_it_waits(ground):
    """A sweep that is in the mempool and abandoned, as its second attempt came back as garbage."""
    first = ground.until(Stage.BROADCAST)
    raise_the_rate(ground)
    ground.until(Stage.BLOCKED, fault="garbage")
    act_on(ground, AbandonSweep(by="asel", sweep_id=first.sweep_id), TreasuryDone)
    return first


def test_an_abandoned_sweep_in_the_mempool_is_no_thief(ground):
    first = given_up_while_it_waits(ground)
    text = ground.path.read_text("utf-8")
    ground.path.write_text(text.replace("feerate_sat_kvb = 9_000", "feerate_sat_kvb = 2_000"))
    ground.reopen()
    ground.until(Stage.SIGNED)
    ground.round(2)
    (alarm,) = ground.image.alarms
    assert alarm.alarm_id.startswith("node_refuses:")
    assert first.txid in alarm.detail
    assert ground.in_mempool() == {first.txid}


def test_an_abandoned_sweep_that_the_chain_gives_back_stays_abandoned(ground):
    first = given_up_while_it_waits(ground)
    ground.until(Stage.PROPOSED)
    block = ground.chain.mine_mempool()
    ground.follow()
    assert [sweep.stage for sweep in ground.image.sweeps] == [Stage.STUCK, Stage.CONFIRMED]
    assert f"was spent by {first.txid}, which is another sweep's" in ground.image.sweeps[0].reason
    assert ground.alarms() == {"sweep_stuck"}
    parent = ground.chain.rpc("getblockheader", block)["previousblockhash"]
    ground.chain.mine(2, on=parent)
    ground.follow()
    new, old = ground.sweeps()
    assert (old.stage, old.is_held) == (Stage.ABANDONED, False)
    assert (new.stage.is_open, new.is_held) == (True, True)
    ground.until(Stage.BROADCAST)
    ground.chain.mine_mempool()
    ground.follow()
    assert sum(s.stage == Stage.CONFIRMED for s in ground.image.sweeps) == 1
    ground.audit()


def test_while_a_second_attempt_waits_the_first_is_sent_again(ground):
    first = ground.until(Stage.BROADCAST)
    raise_the_rate(ground)
    ground.round(3)
    assert ground.image.sweeps[0].stage == Stage.PROPOSED
    # A node that lost its mempool is another node over the same blocks.
    ground.chain.close()
    for file in ground.chain.folder.rglob("mempool*"):
        file.unlink() if file.is_file() else shutil.rmtree(file)
    ground.chain.start()
    assert ground.in_mempool() == set()
    ground.chain.mine(1)
    ground.follow()
    assert ground.in_mempool() == {first.txid}
    assert ground.image.sweeps[0].stage == Stage.PROPOSED
