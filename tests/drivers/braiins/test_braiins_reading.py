"""Readings of Braiins OS+ against the simulated miner, in virtual time; its physics judge."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from drivers.contract.commands import (
    Outcome,
    Refused,
    Sleep,
    Unconfirmed,
    Wake,
)
from drivers.contract.devices import Login
from drivers.contract.errors import Malformed, Unreachable
from drivers.contract.readings import MinerReading, WorkMode
from drivers.transport.memory import GrpcAnswer
from simulators.devices import protobuf
from tests.drivers.braiins.braiins_stage import LIVE, UNCERTAIN


def test_a_reading_has_what_the_physics_has(stage, driver, virtually) -> None:
    reading = virtually(driver().read())
    miner = stage.persona.miner
    assert reading.hashrate_ths == pytest.approx(miner.hashrate_ths)
    assert reading.hashing is True
    assert reading.power_w == pytest.approx(miner.reported_power_w, abs=0.5)
    assert reading.power_limit_w == 3_068.0
    assert (reading.mode, reading.raw_mode) == (WorkMode.NORMAL, None)
    assert (reading.make, reading.model) == ("AntMiner", "Antminer S19j Pro")
    assert reading.firmware_version == "2025-06-25-0-45f356ea-25.05.1-plus"
    assert (reading.serial, reading.mac) == (stage.persona.serial, stage.persona.mac.upper())
    assert reading.chip_temperature_c == pytest.approx(miner.chip_temperature_c, abs=0.1)
    assert len(reading.board_temperatures_c) == 3
    assert len(reading.fans_rpm) == 4
    assert list(reading.pool_urls) == [pool.url for pool in stage.persona.pools]
    assert reading.faults == ()
    assert stage.asked == [f"{LIVE}+pools", "Login", "GetMinerDetails"]


def test_a_steady_miner_costs_one_connection_and_once_a_minute_two(stage, driver, virtually):
    async def watch() -> list[list[str]]:
        miner, costs = driver(), []
        for _ in range(14):
            await miner.read()
            costs.append(list(stage.asked))
            stage.asked.clear()
            await asyncio.sleep(10.0)
        return costs

    costs = virtually(watch())
    minute = [f"{LIVE}+pools", "GetMinerDetails"]
    assert [cost for cost in costs[1:] if cost != [LIVE]] == [minute] * 2
    slow = [at for at, cost in enumerate(costs) if cost != [LIVE]]
    assert all(4 < later - earlier <= 6 for earlier, later in pairwise(slow)), "once a minute"


def test_a_pause_by_somebody_else_is_seen_when_hashing_ends(stage, driver, virtually) -> None:
    async def play() -> tuple[MinerReading, list[str]]:
        miner = driver()
        await miner.read()
        stage.persona.control("pause", stage.now_s())
        await asyncio.sleep(10.0)
        stage.asked.clear()
        reading = await miner.read()
        await miner.read()
        return reading, stage.asked

    reading, asked = virtually(play())
    assert (reading.hashing, reading.mode) == (False, WorkMode.SLEEP)
    assert asked == [LIVE, "GetMinerDetails", LIVE]


def test_a_wrong_login_leaves_the_live_values(stage, driver, virtually) -> None:
    async def play() -> tuple[Outcome, MinerReading, MinerReading]:
        miner = driver(Login(username="root", password="wrong"))
        outcome = await miner.apply(Sleep())
        first = await miner.read()
        stage.asked.clear()
        return outcome, first, await miner.read()

    outcome, first, second = virtually(play())
    assert isinstance(outcome, Refused)
    assert outcome.reason == "unauthorized"
    assert first.hashing is True
    assert first.mode is None
    assert first.faults == ("Login unreadable: gRPC status 16: wrong user name or password",)
    assert second.mode is None
    assert stage.asked == [LIVE], "it is not asked again within the minute"


@pytest.mark.parametrize("how", UNCERTAIN)
def test_without_grpc_the_live_values_are_read(stage, driver, virtually, how) -> None:
    stage.says["GetMinerDetails"] = UNCERTAIN[how]
    reading = virtually(driver().read())
    assert reading.hashing is True
    assert reading.power_w > 2_900.0
    assert (reading.mode, reading.model) == (None, None)
    assert len(reading.faults) == 1
    assert reading.faults[0].startswith("GetMinerDetails unreadable: ")


def test_an_older_status_is_forgotten_and_the_identity_is_not(stage, driver, virtually) -> None:
    async def play() -> MinerReading:
        miner = driver()
        await miner.read()
        stage.says["GetMinerDetails"] = ConnectionResetError
        await asyncio.sleep(61.0)
        return await miner.read()

    reading = virtually(play())
    assert (reading.mode, reading.model) == (None, "Antminer S19j Pro")


def test_a_status_that_is_no_mode_is_told(stage, driver, virtually) -> None:
    stage.says["GetMinerDetails"] = GrpcAnswer(message=protobuf.encode({12: 5}))
    reading = virtually(driver().read())
    assert reading.mode is None
    assert reading.faults == ("the firmware says that it is restricted",)


def test_power_comes_by_grpc_where_4028_does_not_tell_it(stage, driver, virtually) -> None:
    stage.tcp_says = b'{"summary":[{"SUMMARY":[{"MHS 5s":104000000}]}],"temps":[],"fans":[]}'
    reading = virtually(driver().read())
    assert reading.power_w == pytest.approx(stage.persona.miner.reported_power_w, abs=0.5)
    assert reading.power_limit_w is None
    assert reading.pool_urls is None
    assert [fault.partition(" ")[0] for fault in reading.faults] == ["temps", "fans", "tunerstatus"]
    assert stage.asked == [f"{LIVE}+pools", "Login", "GetMinerDetails", "GetMinerStats"]


def test_without_power_from_anywhere_the_status_is_still_new(stage, driver, virtually) -> None:
    stage.tcp_says = b'{"summary":[{"SUMMARY":[{"MHS 5s":0}]}]}'
    stage.says["GetMinerStats"] = ConnectionResetError

    async def play() -> tuple[MinerReading, MinerReading]:
        miner = driver()
        first = await miner.read()
        stage.persona.control("pause", stage.now_s())
        await asyncio.sleep(61.0)
        return first, await miner.read()

    first, second = virtually(play())
    assert (first.power_w, first.mode) == (None, WorkMode.NORMAL)
    assert (second.power_w, second.mode) == (None, WorkMode.SLEEP)
    assert "GetMinerStats unreadable" in second.faults[-1]


@pytest.mark.parametrize("said", [b"", b"nonsense", b"{}", b"null", b"[" * 100_000, b"A" * 10**7])
def test_a_broken_reply_on_4028_is_malformed(stage, driver, virtually, said) -> None:
    stage.tcp_says = said
    with pytest.raises(Malformed):
        virtually(driver().read())
    assert "Login" not in stage.asked


def test_every_deadline_holds(stage, driver, virtually) -> None:
    async def timed(work) -> tuple[Any, float]:
        begun_s = asyncio.get_running_loop().time()
        found = await asyncio.gather(work, return_exceptions=True)
        return found[0], asyncio.get_running_loop().time() - begun_s

    async def play() -> None:
        stage.latency_s = 3.0
        reading, took_s = await timed(driver().read())
        assert reading.hashing is True
        assert reading.faults == ("Login unreadable: no whole reply within 2 s",)
        assert took_s == pytest.approx(5.0)
        outcome, took_s = await timed(driver().apply(Wake(power_limit_w=2_500.0)))
        assert isinstance(outcome, Unconfirmed), "login, stored target, bounds, target, no time"
        assert took_s == pytest.approx(15.0)
        stage.latency_s = 6.0
        error, took_s = await timed(driver().read())
        assert isinstance(error, Unreachable)
        assert took_s == pytest.approx(5.0)
        outcome, took_s = await timed(driver().apply(Sleep()))
        assert isinstance(outcome, Refused)
        assert took_s == pytest.approx(5.0)

    virtually(play())
