"""Our drivers against the simulated miners over real sockets; the simulator's physics judges, not
the answers.
"""

import asyncio
import random

import pytest

from drivers.contract.commands import (
    AlreadySo,
    Applied,
    LimitPower,
    Refused,
    Sleep,
    Wake,
)
from drivers.contract.devices import Login
from drivers.contract.errors import DeviceError, Malformed, Unauthorized, Unreachable
from drivers.contract.readings import WorkMode
from drivers.miners.pyasic_any.messages import Target
from drivers.miners.pyasic_any.parent import PyasicChild
from simulators.devices.fleet import build_fleet
from simulators.devices.listener import serve_fleet
from simulators.scenario import FleetGroup
from tests.patience import until
from tests.protocols.miner_plant import HOSTS, Plant, plant, until_reading

UNIT_SPREAD = 1.02
"""A unit's own power may lie this far above its nameplate."""

NATIVE = ["antminer-stock", "whatsminer-v2", "luxos", "braiins"]
WITH_LOGIN = ["antminer-stock", "whatsminer-v2", "braiins"]


async def check_sleep_and_wake(plant: Plant, firmware: str, index: int = 0) -> None:
    """Sleep and wake one miner; every claim is held against the physics."""
    persona = plant.persona(firmware, index)
    driver = plant.driver(firmware, index)
    before = await driver.read()
    assert before.hashing is True
    assert before.hashrate_ths == pytest.approx(persona.miner.hashrate_ths, rel=0.05)
    pools = [pool.url for pool in persona.pools]
    assert list(before.pool_urls or ()) == pools
    if firmware == "antminer-stock":
        assert before.power_w is None
    else:
        wall_w = persona.miner.wall_power_w
        assert 0.94 * wall_w <= before.power_w <= 1.01 * wall_w
    writes_before = persona.persistent_writes

    down = await driver.apply(Sleep())
    assert isinstance(down, Applied), down
    await until(lambda: persona.miner.wall_power_w < 100.0, "asleep at the wall")
    await until_reading(driver, hashing=False)
    asleep = await driver.read()
    if firmware in NATIVE:
        assert asleep.mode is WorkMode.SLEEP
        assert await driver.apply(Sleep()) == AlreadySo()

    up = await driver.apply(
        Wake(mode=before.mode, raw_mode=before.raw_mode, power_limit_w=before.power_limit_w)
    )
    assert isinstance(up, Applied), up
    full_w = persona.miner.full_power_w
    await until(lambda: persona.miner.wall_power_w > 0.97 * full_w, "at full power at the wall")
    await until_reading(driver, hashing=True)
    after = await driver.read()
    assert (after.mode, after.raw_mode) == (before.mode, before.raw_mode)
    assert [pool.url for pool in persona.pools] == pools, "the pools outlive both writes"
    if firmware in NATIVE:
        written = down.persistent_writes + up.persistent_writes
        assert persona.persistent_writes - writes_before == written


@pytest.mark.parametrize("index", [0, 1], ids=["obeys miner-mode only", "obeys either key"])
async def test_stock_antminer_sleeps_and_wakes(index) -> None:
    async with plant() as there:
        await check_sleep_and_wake(there, "antminer-stock", index)


async def test_whatsminer_sleeps_and_wakes() -> None:
    async with plant() as there:
        await check_sleep_and_wake(there, "whatsminer-v2")


async def test_luxos_sleeps_and_wakes() -> None:
    async with plant() as there:
        await asyncio.gather(*(check_sleep_and_wake(there, "luxos", n) for n in (0, 1)))


async def test_braiins_sleeps_and_wakes() -> None:
    async with plant() as there:
        await asyncio.gather(*(check_sleep_and_wake(there, "braiins", n) for n in (0, 1)))


async def test_a_power_limit_is_held_at_the_wall() -> None:
    async with plant() as there:
        for firmware in ("whatsminer-v2", "luxos", "braiins"):
            persona = there.persona(firmware)
            limit_w = 0.7 * persona.miner.full_power_w
            outcome = await there.driver(firmware).apply(LimitPower(power_w=limit_w))
            assert isinstance(outcome, Applied), (firmware, outcome)
            await until(
                lambda persona=persona, limit_w=limit_w: (
                    0.5 * limit_w < persona.miner.wall_power_w <= UNIT_SPREAD * limit_w
                ),
                f"{firmware} under its limit",
            )


async def test_a_deaf_miner_says_yes_and_the_reading_says_no() -> None:
    async with plant(deaf=2) as there:
        for firmware in NATIVE:
            persona, driver = there.persona(firmware), there.driver(firmware)
            outcome = await driver.apply(Sleep())
            if firmware == "antminer-stock":
                assert isinstance(outcome, Refused), "its configuration did not change"
            else:
                assert isinstance(outcome, Applied), "all that it says is yes"
            await asyncio.sleep(0.3)
            assert (await driver.read()).hashing is True
            assert persona.miner.wall_power_w > 3_000.0


@pytest.mark.parametrize("fault", ["hang", "garbage", "huge", "closed"])
async def test_a_faulty_miner_costs_its_own_deadline_and_nothing_else(fault) -> None:
    async with plant() as there:
        for firmware in HOSTS:
            there.persona(firmware, 0).set_fault(fault)
        well = asyncio.gather(*(there.driver(firmware, 1).read() for firmware in HOSTS))
        ill = asyncio.gather(
            *(there.driver(firmware, impatient=True).read() for firmware in HOSTS),
            *(there.driver(firmware, impatient=True).apply(Sleep()) for firmware in HOSTS),
            return_exceptions=True,
        )
        for reading in await well:
            assert reading.hashing is True
        found = await ill
        readings, outcomes = found[: len(HOSTS)], found[len(HOSTS) :]
        for reading in readings:
            assert isinstance(reading, DeviceError)
        for outcome in outcomes:
            assert isinstance(outcome, Refused), "nothing was sent, for nothing was understood"


async def test_a_slow_miner_is_read_as_far_as_the_deadline_goes() -> None:
    async with plant() as there:
        there.persona("whatsminer-v2").set_fault("slow")
        reading = await there.driver("whatsminer-v2").read()
        assert reading.hashing is True


async def test_a_wrong_login_is_unauthorized() -> None:
    wrong = Login(username="root", password="wrong")
    async with plant() as there:
        for firmware in WITH_LOGIN:
            outcome = await there.driver(firmware, login=wrong).apply(Sleep())
            assert isinstance(outcome, Refused)
            assert outcome.reason == "unauthorized"
            assert there.persona(firmware).persistent_writes == 0
        reading = await there.driver("antminer-stock", login=wrong).read()
        assert reading.hashing is True, "the rate is free to read"
        assert reading.mode is None
        assert "login was refused" in reading.faults[0]


async def test_a_luxos_session_of_somebody_else_is_busy() -> None:
    async with plant() as there:
        persona = there.persona("luxos")
        persona.tcp("rpc", b'{"command":"logon"}', 0.0)
        persona._session_ends_s = 1e9
        outcome = await there.driver("luxos").apply(Sleep())
        assert isinstance(outcome, Refused)
        assert outcome.reason == "busy"
        persona._session_ends_s = 0.0
        assert isinstance(await there.driver("luxos").apply(Sleep()), Applied)
        assert persona._session_ends_s < 1e9, "our own session is closed again"
        assert await there.driver("luxos").apply(Wake()) == Applied(persistent_writes=1)


@pytest.mark.fixed_ports
async def test_pyasic_identifies_by_itself_where_the_inventory_names_no_firmware() -> None:
    """pyasic's own scan knows only the ports 80 and 4028, so the simulator has to stand there."""
    rng = random.Random(7)
    group = FleetGroup(
        feeder="f1", firmware="luxos", model="Antminer S21", count=1, first_host="127.77.9.1"
    )
    personas = build_fleet([group], rng=rng)
    target = Target(device="m1", host="127.77.9.1", firmware="pyasic", model="Antminer S21")
    async with (
        serve_fleet(personas, now_s=lambda: 10.0, ports={"rpc": 4028, "http": 80}),
        PyasicChild() as child,
    ):
        identity = await child.identify(target, deadline_s=15.0)
        assert (identity.model, identity.firmware) == ("S21", "LuxOS")
        values = await child.read(target, deadline_s=15.0)
        assert values.hashrate_ths == pytest.approx(200.0, rel=0.05)
    with pytest.raises((Unreachable, Malformed, Unauthorized)):
        async with PyasicChild() as child:
            await child.read(target, deadline_s=15.0)
