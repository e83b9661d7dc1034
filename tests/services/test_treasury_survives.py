"""What nobody expected ends no process: it is alarmed, and everything else goes on."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from embit.psbt import PSBT

from controller.channel.frames import RequestRefused
from controller.channel.treasury_acts import AbandonSweep, LedgerPage, ReadLedger, TreasuryDone
from controller.money.sweep import Stage
from controller.treasury import sweep_book
from controller.treasury.loops import Loops
from controller.treasury.psbt_facts import UnreadableTransaction
from controller.treasury.psbt_parts import signatures_of
from tests.services.treasury_ground import Ground, act_on, stolen


@pytest.fixture
def ground(aged, tmp_path):
    opened = Ground(aged, tmp_path)
    opened.pay(10**7)
    yield opened
    opened.close()


@pytest.fixture
def simple(aged_simulated, tmp_path):
    opened = Ground(aged_simulated, tmp_path)
    opened.pay(10**7)
    yield opened
    opened.close()


def answer_of(ground):
    """The signer's answer, lying where it waits to be read."""
    ground.round(3)
    ground.sign()
    (path,) = (ground.config.exchange_dir / "signed").iterdir()
    return path


@pytest.mark.parametrize("key", [b"\xfc\x05naryn\x00", b"\xf0\x01", b"\xfc" + bytes(300)])
def test_a_signer_may_add_fields_of_his_own(ground, key):
    path = answer_of(ground)
    psbt = PSBT.from_string(path.read_text("ascii"))
    psbt.inputs[0].unknown[key] = b"hello" * 100
    psbt.outputs[0].unknown[key] = b""
    psbt.unknown[key] = b"x"
    path.write_text(psbt.to_string(), "ascii")
    ground.until(Stage.BROADCAST)
    assert ground.alarms() == set()


@pytest.mark.parametrize("cut", [0, 4, 5, 6, 40, 100])
def test_half_a_psbt_is_refused_with_a_sentence(simple, cut):
    whole = answer_of(simple).read_text("ascii").strip()
    assert signatures_of(whole)
    with pytest.raises(UnreadableTransaction, match="is no "):
        signatures_of(whole[: cut * 4])
    with pytest.raises(UnreadableTransaction, match="base64"):
        signatures_of(whole + "\ud800")


def test_one_sweep_that_fails_stops_nothing_else(simple, monkeypatch):
    sweeper = simple.work.parts.sweeper

    def fails(*_):
        raise TypeError("unhashable\x1b")

    with monkeypatch.context() as patch:
        patch.setattr(sweeper, "_proposed", fails)
        simple.round(2)
        (alarm,) = simple.image.alarms
        sweep = simple.image.sweeps[0]
        assert alarm.alarm_id == f"program_failed:{sweep.sweep_id}"
        assert alarm.detail == f"sweep {sweep.sweep_id}: TypeError: unhashable?"
        simple.chain.mine(1)
        simple.follow()
    simple.until(Stage.BROADCAST)
    assert simple.alarms() == set()


@pytest.mark.parametrize("part", ["look", "follower"])
def test_a_round_that_fails_is_shown_and_the_next_one_goes_on(simple, monkeypatch, part):
    def fails():
        raise OverflowError("too large")

    with monkeypatch.context() as patch:
        if part == "look":
            patch.setattr(simple.work.parts, "look", fails)
        else:
            patch.setattr(simple.work.parts.follower, "follow", fails)
        simple.round()
        assert simple.alarms() == {"program_failed"}
    simple.round()
    assert simple.alarms() == set()


async def test_an_audit_that_fails_is_shown_beside_the_rounds(simple, monkeypatch):
    loops = Loops(simple.work, 0.01, audit_every_s=0.0, late_s=10.0, clock=simple.clock)

    def fails():
        raise OverflowError("too large")

    monkeypatch.setattr(simple.work.parts.audit, "compare", fails)
    running = asyncio.create_task(loops.run(lambda _: None))
    for _ in range(1_000):
        await asyncio.sleep(0.02)
        if "program_failed:audit" in {alarm.alarm_id for alarm in loops.image().alarms}:
            break
    else:
        raise AssertionError("it was never alarmed")
    assert not running.done()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def test_what_is_grave_stands_while_the_node_is_away(simple):
    simple.until(Stage.BLOCKED, fault="other-output")
    assert simple.alarms() == {"signer_hostile"}
    simple.chain.close()
    simple.round(2)
    assert simple.alarms() == {"signer_hostile", "node_unreachable"}
    simple.reopen()
    simple.round()
    assert simple.alarms() == {"signer_hostile", "node_unreachable"}
    simple.chain.start()
    simple.clock.ahead = timedelta(days=3)
    simple.round()
    assert simple.alarms() == {"signer_hostile", "node_stale"}


def test_what_a_step_saw_stands_while_the_node_is_away(simple):
    simple.until(Stage.PROPOSED)
    simple.round(2)
    simple.clock.ahead = timedelta(hours=13)
    simple.round()
    assert simple.alarms() == {"signer_slow"}
    simple.chain.close()
    simple.round(2)
    assert simple.alarms() == {"signer_slow", "node_unreachable"}
    simple.chain.start()
    simple.until(Stage.BROADCAST)
    assert simple.alarms() == set()


def test_a_folder_in_the_requests_place_keeps_no_signed_sweep_back(simple):
    answer_of(simple)
    simple.until(Stage.SIGNED, rounds=3)
    request = simple.config.exchange_dir / "to-sign" / f"{simple.sweeps()[0].sweep_id}-1.psbt"
    request.unlink()
    request.mkdir()
    simple.round()
    assert simple.alarms() == {"exchange_failed"}
    assert simple.image.sweeps[0].stage == Stage.BROADCAST
    assert len(simple.in_mempool()) == 1


def test_people_who_decide_in_the_middle_of_a_step_are_heard(simple, monkeypatch):
    sweep = simple.until(Stage.BLOCKED, fault="garbage")
    sweeper = simple.work.parts.sweeper
    by_chain = sweeper._by_chain
    raw = stolen(simple, 90_000)

    def meanwhile(sweep_id, height):
        if simple.sweeps()[-1].stage is Stage.BLOCKED:
            act_on(simple, AbandonSweep(by="asel", sweep_id=sweep.sweep_id), TreasuryDone)
        return by_chain(sweep_id, height)

    monkeypatch.setattr(sweeper, "_by_chain", meanwhile)
    simple.chain.mine(1, transactions=[raw])
    simple.follow()
    assert simple.image.sweeps[0].stage == Stage.ABANDONED
    assert simple.alarms() == {"foreign_spend"}


def test_a_signature_that_comes_as_people_decide_moves_nothing(simple, monkeypatch):
    simple.until(Stage.PROPOSED)
    answer_of(simple)

    def blocked_meanwhile(*_):
        with simple.database.transaction() as db:
            sweep_book.move(db, simple_id, Stage.BLOCKED, simple.clock.utc(), "signer_refused: x")
        return b"raw"

    simple_id = simple.sweeps()[0].sweep_id
    monkeypatch.setattr("controller.treasury.sweeper.take_in", blocked_meanwhile)
    simple.round(2)
    assert simple.alarms() == {"signer_refused"}
    assert simple.sweeps()[0].newest.raw is None


def test_a_block_that_does_not_follow_is_alarmed_and_read_once(simple, monkeypatch):
    simple.follow()
    chain = simple.work.parts.follower._chain
    told, asked = chain.block, []

    def lying(block_hash):
        asked.append(block_hash)
        return replace(told(block_hash), previous="ab" * 32)

    monkeypatch.setattr(chain, "block", lying)
    simple.chain.mine(1)
    simple.round()
    assert simple.alarms() == {"node_unreachable"}
    assert len(asked) == 1
    monkeypatch.undo()
    simple.follow()
    assert simple.alarms() == set()


def test_a_coin_without_worth_is_no_difference(simple):
    simple.follow()
    paying = simple.payment_to_reserve(3, sat=0)
    simple.chain.mine(1, transactions=[paying])
    simple.follow()
    simple.audit()
    assert simple.alarms() == set()


def test_a_ledger_page_behind_all_numbers_is_refused(simple):
    with pytest.raises(RequestRefused, match="behind a number"):
        act_on(simple, ReadLedger(by="asel", after=2**63), LedgerPage)
