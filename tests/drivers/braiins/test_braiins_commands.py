"""Commands to Braiins OS+ against the simulated miner, in virtual time; its physics judge."""

import asyncio

import pytest

from drivers.contract.commands import (
    AlreadySo,
    Applied,
    LimitPower,
    Outcome,
    Refused,
    Sleep,
    Unconfirmed,
    Wake,
)
from drivers.contract.readings import WorkMode
from drivers.transport.memory import GrpcAnswer
from simulators.devices import protobuf
from tests.drivers.braiins.braiins_stage import DEAD, UNCERTAIN


def test_sleep_and_wake_are_seen_at_once_and_write_nothing(stage, driver, virtually) -> None:
    async def play() -> None:
        miner = driver()
        await miner.read()
        assert await miner.apply(Sleep()) == Applied(persistent_writes=0)
        ramping = await miner.read()
        assert (ramping.hashing, ramping.mode) == (True, WorkMode.SLEEP)
        assert await miner.apply(Sleep()) == AlreadySo()
        await asyncio.sleep(10.0)
        asleep = await miner.read()
        assert (asleep.hashing, asleep.mode) == (False, WorkMode.SLEEP)
        assert asleep.hashrate_ths == 0.0
        assert stage.persona.miner.wall_power_w < 100.0
        assert await miner.apply(Wake(power_limit_w=asleep.power_limit_w)) == Applied()
        assert await miner.apply(Wake()) == AlreadySo()
        await asyncio.sleep(60.0)
        awake = await miner.read()
        assert (awake.hashing, awake.mode) == (True, WorkMode.NORMAL)

    virtually(play())
    assert stage.persona.persistent_writes == 0
    assert "SetPowerTarget" not in stage.asked


def test_a_limit_is_written_once_and_held_at_the_wall(stage, driver, virtually) -> None:
    async def play() -> None:
        miner = driver()
        assert await miner.apply(LimitPower(power_w=2_000.9)) == Applied(persistent_writes=1)
        assert await miner.apply(LimitPower(power_w=2_000.0)) == AlreadySo()
        await asyncio.sleep(40.0)
        reading = await miner.read()
        assert reading.power_limit_w == 2_000.0
        assert stage.persona.miner.wall_power_w == pytest.approx(2_000.0)
        assert stage.asked.count("GetConstraints") == 1, "the bounds are kept"
        assert await miner.apply(Wake(power_limit_w=3_068.0)) == Applied(persistent_writes=1)

    virtually(play())
    assert stage.persona.persistent_writes == 2
    assert stage.persona.target_w == 3_068


@pytest.mark.parametrize(("power_w", "stands_w"), [(0.0, 920), (100.0, 920), (9_999.0, 3_375)])
def test_a_limit_is_clamped_to_what_the_firmware_takes(
    stage, driver, virtually, power_w, stands_w
) -> None:
    assert virtually(driver().apply(LimitPower(power_w=power_w))) == Applied(persistent_writes=1)
    assert stage.persona.target_w == stands_w


def test_without_bounds_the_firmware_itself_says_no(stage, driver, virtually) -> None:
    stage.says["GetConstraints"] = GrpcAnswer(message=None, status=12)
    outcome = virtually(driver().apply(LimitPower(power_w=100.0)))
    assert isinstance(outcome, Refused)
    assert outcome.reason == "device_refused"
    assert "outside of 920" in outcome.detail
    zero = virtually(driver().apply(LimitPower(power_w=0.4)))
    assert isinstance(zero, Refused)
    assert "use Sleep" in zero.detail
    assert stage.persona.persistent_writes == 0


@pytest.mark.parametrize(
    "tuner",
    [b"\x08\x00\x1a\x03\x08\xd0\x0f", b"\x08\x01\x10\x02"],
    ids=["off, with 2000 W stored", "after a hashrate"],
)
def test_a_tuner_without_a_power_target_is_left_as_it_is(stage, driver, virtually, tuner) -> None:
    stage.configure(tuner)
    limited = virtually(driver().apply(LimitPower(power_w=2_000.0)))
    assert isinstance(limited, Refused)
    assert limited.reason == "unsupported"
    assert "use Sleep" in limited.detail
    stage.persona.control("pause", 130.0)
    assert virtually(driver().apply(Wake(power_limit_w=2_000.0))) == Applied()
    assert stage.persona.persistent_writes == 0


def test_a_wake_to_the_stored_target_asks_for_no_bounds(stage, driver, virtually) -> None:
    stage.persona.control("pause", 130.0)
    assert virtually(driver().apply(Wake(power_limit_w=3_068.0))) == Applied()
    assert stage.asked == ["Login", "GetMinerConfiguration", "ResumeMining"]


def test_what_the_miner_then_says_decides(stage, driver, virtually) -> None:
    stage.says["SetPowerTarget"] = GrpcAnswer(message=protobuf.encode({1: {1: 2_500}}))
    outcome = virtually(driver().apply(LimitPower(power_w=2_000.0)))
    assert outcome == Unconfirmed(detail="asked for 2000 W, and the miner says 2500 W")


@pytest.mark.parametrize("mode", [WorkMode.LOW, WorkMode.HIGH, WorkMode.SLEEP])
def test_there_are_no_modes_to_wake_into(stage, driver, virtually, mode) -> None:
    for command in (Wake(mode=mode), Wake(raw_mode="2")):
        outcome = virtually(driver().apply(command))
        assert isinstance(outcome, Refused)
        assert outcome.reason == "unsupported"
    assert stage.asked == []


def test_a_token_is_kept_while_it_is_used_and_replaced_before_it_ends(
    stage, driver, virtually
) -> None:
    async def play() -> None:
        miner = driver()
        for _ in range(2):
            assert await miner.apply(Wake()) == AlreadySo()
            await asyncio.sleep(3_000.0)
        assert stage.asked.count("Login") == 1, "every use renews it"
        await asyncio.sleep(300.0)
        assert await miner.apply(Wake()) == AlreadySo()
        assert stage.asked.count("Login") == 2, "3300 s unused: it would end within minutes"

    virtually(play())


def test_a_forgotten_token_costs_one_more_login(stage, driver, virtually) -> None:
    async def play() -> Outcome:
        miner = driver()
        await miner.read()
        stage.persona._tokens.clear()
        stage.asked.clear()
        return await miner.apply(Sleep())

    assert virtually(play()) == Applied()
    assert stage.asked == ["PauseMining", "Login", "PauseMining"]


def test_a_token_that_never_holds_is_not_tried_for_ever(stage, driver, virtually) -> None:
    stage.says["PauseMining"] = GrpcAnswer(message=None, status=16, text="token")
    outcome = virtually(driver().apply(Sleep()))
    assert isinstance(outcome, Refused)
    assert outcome.reason == "unauthorized"
    assert stage.asked == ["Login", "PauseMining", "Login", "PauseMining"]


COMMANDS = {
    "PauseMining": Sleep(),
    "ResumeMining": Wake(),
    "SetPowerTarget": LimitPower(power_w=2_000.0),
}


@pytest.mark.parametrize("method", COMMANDS)
@pytest.mark.parametrize("how", DEAD)
def test_a_plain_no_is_refused(stage, driver, virtually, method, how) -> None:
    stage.says[method], reason = DEAD[how]
    outcome = virtually(driver().apply(COMMANDS[method]))
    assert isinstance(outcome, Refused)
    assert outcome.reason == reason
    assert stage.asked.count(method) == 1


@pytest.mark.parametrize("method", COMMANDS)
@pytest.mark.parametrize("how", UNCERTAIN)
def test_what_may_have_been_carried_out_is_unconfirmed_and_never_sent_again(
    stage, driver, virtually, method, how
) -> None:
    stage.says[method] = UNCERTAIN[how]
    outcome = virtually(driver().apply(COMMANDS[method]))
    assert isinstance(outcome, Unconfirmed)
    assert outcome.detail
    assert stage.asked.count(method) == 1


@pytest.mark.parametrize("method", ["Login", "GetMinerConfiguration", "GetConstraints"])
@pytest.mark.parametrize("how", [*UNCERTAIN, "refused", "said no"])
def test_what_fails_before_the_command_is_refused(stage, driver, virtually, method, how) -> None:
    stage.says[method] = UNCERTAIN.get(how) or DEAD[how][0]
    outcome = virtually(driver().apply(LimitPower(power_w=2_000.0)))
    assert isinstance(outcome, Refused)
    assert "SetPowerTarget" not in stage.asked


def test_a_target_that_was_set_and_a_resume_that_was_not_are_uncertain(
    stage, driver, virtually
) -> None:
    stage.says["ResumeMining"] = DEAD["said no"][0]
    outcome = virtually(driver().apply(Wake(power_limit_w=2_500.0)))
    assert isinstance(outcome, Unconfirmed)
    assert "the target is set" in outcome.detail
    assert stage.persona.target_w == 2_500


def test_a_target_that_fails_ends_the_wake(stage, driver, virtually) -> None:
    stage.says["SetPowerTarget"] = DEAD["said no"][0]
    outcome = virtually(driver().apply(Wake(power_limit_w=2_500.0)))
    assert isinstance(outcome, Refused)
    assert "ResumeMining" not in stage.asked


def test_one_command_at_a_time(stage, driver, virtually) -> None:
    async def play() -> tuple[Outcome, Outcome]:
        stage.latency_s = 1.0
        miner = driver()
        first = asyncio.create_task(miner.apply(Sleep()))
        await asyncio.sleep(0.5)
        return await miner.apply(Wake()), await first

    second, first = virtually(play())
    assert isinstance(second, Refused)
    assert second.reason == "busy"
    assert first == Applied()
