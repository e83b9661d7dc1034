"""Reorganisations: the book goes back and forth with the chain, and so do the sweeps."""

import pytest

from controller.channel.treasury_acts import AbandonSweep, Acknowledge, TreasuryDone
from controller.money.facts import OutPoint
from controller.money.ledger import Account
from controller.money.sweep import Stage
from controller.treasury.audit import Audit
from tests.services.treasury_ground import Ground, act_on, payment, transaction, txid_of


@pytest.fixture
def ground(aged, tmp_path):
    opened = Ground(aged, tmp_path)
    yield opened
    opened.close()


def branch(chain, below, blocks, transactions=()):
    """A longer branch that parts under the block `below`."""
    parent = chain.rpc("getblockheader", below)["previousblockhash"]
    chain.mine(blocks, on=parent, transactions=transactions)


def test_a_sweep_goes_back_to_the_mempool_and_confirms_again(ground):
    ground.pay(10**7)
    sent = ground.until(Stage.BROADCAST)
    block = ground.chain.mine_mempool()
    ground.until(Stage.CONFIRMED)
    swept = ground.balances()
    ground.audit()
    branch(ground.chain, block, 2)
    ground.round()
    assert ground.balances()[Account.RESERVE] == 0
    ground.audit()
    assert ground.image.sweeps[0].stage in {Stage.SIGNED, Stage.BROADCAST}
    again = ground.until(Stage.BROADCAST)
    assert again.txid == sent.txid
    assert ground.in_mempool() == {sent.txid}
    ground.chain.mine_mempool()
    ground.chain.mine(5)
    final = ground.until(Stage.FINAL)
    assert (final.txid, final.attempt) == (sent.txid, 1)
    assert ground.balances() == swept
    ground.audit()
    assert any(event.kind == "reorg" for event in ground.image.events)


def test_a_payout_that_is_reorganised_away_holds_its_sweep_and_lets_it_go_on(ground):
    raw, block = ground.pay(10**7)
    sent = ground.until(Stage.BROADCAST)
    branch(ground.chain, block, 8)
    ground.follow()
    assert ground.balances()[Account.COLLECTION] == 0
    assert ground.image.sweeps[0].stage == Stage.STUCK
    assert ground.alarms() == {"sweep_stuck"}
    ground.audit()
    ground.chain.mine(1, transactions=[raw])
    ground.chain.mine(1)
    ground.follow()
    back = ground.until(Stage.BROADCAST)
    assert (back.txid, ground.alarms()) == (sent.txid, set())
    ground.chain.mine_mempool()
    ground.chain.mine(5)
    ground.until(Stage.FINAL)
    ground.audit()


def test_a_payout_that_never_comes_back_is_given_up(ground):
    _, block = ground.pay(10**7)
    lost = ground.until(Stage.BROADCAST)
    branch(ground.chain, block, 8)
    ground.follow()
    act_on(ground, AbandonSweep(by="asel", sweep_id=lost.sweep_id), TreasuryDone)
    ground.pay(10**6)
    new = ground.until(Stage.BROADCAST)
    assert new.sweep_id != lost.sweep_id
    assert ground.image.sweeps[1].stage == Stage.ABANDONED
    assert ground.alarms() == set()


def test_a_final_sweep_that_the_chain_gives_back_is_alarmed(ground):
    ground.pay(10**7)
    sent = ground.until(Stage.BROADCAST)
    block = ground.chain.mine_mempool()
    ground.chain.mine(5)
    ground.until(Stage.FINAL)
    branch(ground.chain, block, 8)
    ground.follow()
    ground.round()
    assert "deep_reorg" in ground.alarms()
    assert ground.until(Stage.BROADCAST).txid == sent.txid
    ground.chain.mine_mempool()
    ground.chain.mine(5)
    ground.until(Stage.FINAL)
    ground.round()
    assert ground.alarms() == set()
    ground.audit()


def test_the_same_block_may_come_back(ground):
    raw, block = ground.pay(10**6, deep=False)
    parent = ground.chain.rpc("getblockheader", block)["previousblockhash"]
    (aside,) = ground.chain.mine(2, on=parent)[-1:]
    ground.follow()
    assert ground.balances()[Account.COLLECTION] == 0
    ground.chain.mine(3, on=block)
    ground.follow()
    assert ground.chain.tip() != aside
    assert ground.balances()[Account.COLLECTION] == 10**6
    ground.audit()
    assert txid_of(raw) in str(ground.image.events)


def test_a_coin_spent_by_somebody_else_stops_everything_until_people_have_looked(ground):
    """The signer was taken over: he pays himself, and mines it past us."""
    ground.pay(10**7)
    blocked = ground.until(Stage.BLOCKED, fault="other-output")
    (answer,) = (ground.config.exchange_dir / "signed").iterdir()
    stolen = ground.chain.rpc("finalizepsbt", answer.read_text("ascii").strip())
    assert stolen["complete"]
    ground.chain.mine(1, transactions=[stolen["hex"]])
    ground.follow()
    assert ground.alarms() == {"foreign_spend", "sweep_stuck"}
    (alarm,) = [a for a in ground.image.alarms if a.alarm_id.startswith("foreign_spend")]
    assert alarm.severity == "critical"
    balances = ground.balances()
    assert (balances[Account.COLLECTION], balances.get(Account.RESERVE, 0)) == (0, 0)
    assert balances[Account.FOREIGN] == 10**7
    ground.audit()
    act_on(ground, AbandonSweep(by="asel", sweep_id=blocked.sweep_id), TreasuryDone)
    ground.pay(10**7)
    ground.round(3)
    assert len(ground.image.sweeps) == 1, "nothing is proposed while the alarm stands"
    act_on(ground, Acknowledge(by="asel"), TreasuryDone)
    ground.until(Stage.BROADCAST)
    assert ground.alarms() == set()


def test_the_audit_names_what_differs(ground):
    raw, _ = ground.pay(10**7, deep=False)
    ground.audit()
    with ground.database.transaction() as db:
        db.exec_driver_sql("UPDATE coin SET sat = sat + 1")
    audit: Audit = ground.work.parts.audit
    audit.compare()
    (alarm,) = audit.alarms
    coin = OutPoint(txid_of(raw), 0)
    assert f"{coin}: the book says {10**7 + 1} sat, the node {10**7} sat" in alarm.detail
    with ground.database.transaction() as db:
        db.exec_driver_sql("DELETE FROM coin")
    audit.compare()
    assert f"the node holds {10**7} sat at {coin}, the book does not" in audit.alarms[0].detail
    ground.round()
    assert "book_differs" in ground.alarms()
    assert ground.image.reserve.checked_height == ground.chain.height()


def test_custodians_may_spend_their_reserve(aged, tmp_path):
    """A reserve that is also anybody's cannot be had: the book is given a coin to lose."""
    ground = Ground(aged, tmp_path, sweep="")
    first = payment(aged, (ground.reserve_script(), 10**6), ("51", 10**5))
    aged.mine(1, transactions=[first])
    ground.follow()
    with ground.database.transaction() as db:
        # The coin in the book now stands for the one beside it, which anyone may spend.
        db.exec_driver_sql("UPDATE coin SET vout = 1, sat = 100000")
        db.exec_driver_sql(
            "UPDATE posting SET vout = CASE WHEN txid IS NULL THEN NULL ELSE 1 END, "
            "amount_sat = amount_sat / 10"
        )
    spend = transaction([OutPoint(txid_of(first), 1)], [("51", 90_000)]).hex()
    aged.mine(1, transactions=[spend])
    ground.follow()
    balances = ground.balances()
    assert (balances[Account.RESERVE], balances[Account.CUSTODIANS]) == (0, 10**5)
    assert ground.alarms() == set()
    ground.close()


def test_a_chain_that_parts_too_far_back_is_not_followed(aged_simulated, tmp_path, monkeypatch):
    monkeypatch.setattr("controller.treasury.follower.REORG_MAX", 3)
    ground = Ground(aged_simulated, tmp_path)
    _, block = ground.pay(10**7)
    booked, ours = ground.balances(), aged_simulated.tip()
    branch(aged_simulated, block, 8)
    ground.round(3)
    assert ground.alarms() == {"other_chain"}
    assert ground.balances() == booked, "nothing is reversed"
    assert ground.image.sweeps[0].attempt == 0, "and no step is taken"
    aged_simulated.mine(5, on=ours)
    ground.follow()
    assert ground.alarms() == set()
    assert ground.until(Stage.BROADCAST).inputs == 1
    ground.close()
