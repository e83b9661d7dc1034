"""A signer who was taken over, refuses or sends nonsense: nothing wrong is ever broadcast."""

import os
from datetime import timedelta

import pytest

from controller.channel.frames import RequestRefused
from controller.channel.treasury_acts import AbandonSweep, RetrySweep, TreasuryDone
from controller.money.sweep import Stage
from controller.treasury.people import People
from simulators.services.signer.sign import FAULTS
from tests.services.treasury_ground import Ground, act_on


@pytest.fixture
def ground(aged, tmp_path):
    opened = Ground(aged, tmp_path)
    opened.pay(10**7, 10**7)
    yield opened
    opened.close()


@pytest.fixture
def simple(aged_simulated, tmp_path):
    """Over the simulated chain alone: for what the node has no part in."""
    opened = Ground(aged_simulated, tmp_path)
    opened.pay(10**7, 10**7)
    yield opened
    opened.close()


def name_of(ground):
    sweep = ground.sweeps()[0]
    return f"{sweep.sweep_id}-{sweep.newest.number}"


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_hostile_signer_returns_is_never_broadcast(ground, fault):
    blocked = ground.until(Stage.BLOCKED, fault=fault)
    ground.round(3)
    assert ground.in_mempool() == set()
    assert ground.alarms() == {"signer_hostile"}
    (alarm,) = ground.image.alarms
    assert alarm.severity == "critical"
    assert alarm.detail.startswith(f"sweep {blocked.sweep_id}: ")
    assert "retry" in alarm.mend
    assert all(attempt.raw is None for attempt in ground.sweeps()[0].attempts)
    ground.chain.mine(3)
    ground.follow()
    assert ground.image.sweeps[0].stage == Stage.BLOCKED, "only people free it"
    assert len(ground.image.sweeps) == 1, "and nothing else is proposed meanwhile"


def test_after_people_have_looked_the_same_coins_are_tried_again(ground):
    first = ground.until(Stage.BLOCKED, fault="other-output")
    done = act_on(ground, RetrySweep(by="asel", sweep_id=first.sweep_id), TreasuryDone)
    assert "by asel" in done.detail
    second = ground.until(Stage.BROADCAST)
    assert (second.sweep_id, second.attempt) == (first.sweep_id, 2)
    assert ground.in_mempool() == {second.txid}
    assert ground.alarms() == set()


def test_a_thief_in_the_mempool_is_seen_before_he_is_mined(ground):
    first = ground.until(Stage.BLOCKED, fault="other-output")
    (answer,) = (ground.config.exchange_dir / "signed").iterdir()
    stolen = ground.chain.rpc("finalizepsbt", answer.read_text("ascii").strip())["hex"]
    thief = ground.chain.rpc("sendrawtransaction", stolen, 0)
    act_on(ground, RetrySweep(by="asel", sweep_id=first.sweep_id), TreasuryDone)
    ground.until(Stage.SIGNED)
    ground.round(2)
    assert ground.alarms() == {"sweep_conflict"}
    assert ground.in_mempool() == {thief}
    assert ground.image.sweeps[0].stage == Stage.SIGNED


def test_a_refusal_is_told_in_the_signers_words(simple):
    simple.round(3)
    answer = simple.config.exchange_dir / "signed" / f"{name_of(simple)}.refused"
    answer.write_text("not on a\nSunday\x1b[2J\n")
    blocked = simple.until(Stage.BLOCKED)
    assert simple.alarms() == {"signer_refused"}
    assert "not on a Sunday" in blocked.reason
    assert "\x1b" not in blocked.reason


def test_people_may_give_up_a_blocked_sweep(simple):
    first = simple.until(Stage.BLOCKED, fault="garbage")
    act_on(simple, AbandonSweep(by="asel", sweep_id=first.sweep_id), TreasuryDone)
    second = simple.until(Stage.BROADCAST)
    assert second.sweep_id != first.sweep_id
    assert second.dest_index == first.dest_index + 1
    assert second.inputs == first.inputs


def test_people_may_give_up_what_waits_for_the_signer(simple):
    simple.round(3)
    first = simple.image.sweeps[0]
    assert first.stage == Stage.PROPOSED
    act_on(simple, AbandonSweep(by="asel", sweep_id=first.sweep_id), TreasuryDone)
    second = simple.until(Stage.BROADCAST)
    assert (second.sweep_id != first.sweep_id, second.inputs) == (True, first.inputs)


def test_a_psbt_that_cannot_come_back_is_not_given_out(simple, monkeypatch):
    monkeypatch.setattr("controller.treasury.build.OFFER_BYTES_MAX", 300)
    blocked = simple.until(Stage.BLOCKED)
    assert simple.alarms() == {"policy_violation"}
    assert "300 can be exchanged" in blocked.reason
    assert not list(simple.config.exchange_dir.glob("to-sign/*"))


def test_what_people_may_not_do(simple):
    running = simple.until(Stage.BROADCAST)
    people = People(simple.database, simple.wallets, simple.clock)
    for act, said in (
        (RetrySweep(by="x", sweep_id=running.sweep_id), "is broadcast; it must be blocked"),
        (AbandonSweep(by="x", sweep_id=running.sweep_id), "must be blocked or proposed or stuck"),
        (AbandonSweep(by="x", sweep_id="0000"), "there is no sweep '0000'"),
    ):
        with pytest.raises(RequestRefused, match=said):
            act_on(simple, act, TreasuryDone, people=people)


def _fifo(path):
    os.mkfifo(path)


def _link(path):
    path.symlink_to("/etc/hostname")


def _folder(path):
    path.mkdir()


def _huge(path):
    with path.open("wb") as file:
        file.truncate(9 * 1024 * 1024)


@pytest.mark.parametrize("make", [_fifo, _link, _folder, _huge])
def test_what_is_no_small_file_is_not_read(simple, make):
    simple.round(3)
    path = simple.config.exchange_dir / "signed" / f"{name_of(simple)}.psbt"
    make(path)
    simple.round(3)
    assert simple.alarms() == {"exchange_failed"}
    assert simple.image.sweeps[0].stage == Stage.PROPOSED
    path.rmdir() if path.is_dir() else path.unlink()
    simple.until(Stage.BROADCAST)
    assert simple.alarms() == set()


def test_an_answer_that_is_still_being_copied_is_waited_for(simple):
    simple.round(3)
    name = name_of(simple)
    simple.sign()
    path = simple.config.exchange_dir / "signed" / f"{name}.psbt"
    whole = path.read_bytes()
    for cut in (10, 200, 400):
        path.write_bytes(whole[:cut])
        simple.round()
        assert simple.image.sweeps[0].stage == Stage.PROPOSED
    path.write_bytes(whole)
    simple.until(Stage.BROADCAST)


def test_an_answer_to_another_sweep_is_hostile(simple):
    simple.round(3)
    name = name_of(simple)
    simple.sign()
    folder = simple.config.exchange_dir / "signed"
    old = (folder / f"{name}.psbt").read_bytes()
    simple.until(Stage.BROADCAST)
    simple.chain.mine_mempool()
    simple.pay(10**7)
    simple.until(Stage.PROPOSED)
    simple.round(2)
    assert name_of(simple) != name
    (folder / f"{name_of(simple)}.psbt").write_bytes(old)
    blocked = simple.until(Stage.BLOCKED)
    assert "is transaction" in blocked.reason


def test_a_signer_who_takes_his_time_is_asked_after(simple):
    simple.round(3)
    assert simple.alarms() == set()
    simple.clock.ahead = timedelta(hours=13)
    simple.round()
    assert simple.alarms() == {"signer_slow"}
    simple.until(Stage.BROADCAST)


def test_requests_are_taken_back_once_they_are_answered(simple):
    simple.until(Stage.BROADCAST)
    simple.round(2)
    assert list((simple.config.exchange_dir / "to-sign").iterdir()) == []
