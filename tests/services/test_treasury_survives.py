"""What nobody expected ends no process: it is alarmed, and everything else goes on."""

import asyncio

import pytest
from embit.psbt import PSBT

from controller.money.sweep import Stage
from controller.treasury.loops import Loops
from controller.treasury.psbt_facts import UnreadableTransaction
from controller.treasury.psbt_parts import signatures_of
from tests.services.treasury_ground import Ground


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
