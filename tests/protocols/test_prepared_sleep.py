"""Prepared commands against the simulated miners over real sockets: the physics judges."""

import asyncio
import json
import time
from dataclasses import replace

import pytest

from drivers.contract.commands import AlreadySo, Applied, RefusalReason, Refused, Sleep
from drivers.contract.devices import Login
from drivers.contract.errors import Unauthorized, Unsupported
from drivers.miners.antminer_stock.frame import CONFIG_AGE_S_MAX
from drivers.registry import JUDGES
from drivers.transport.wave import send_wave
from tests.patience import until
from tests.protocols.miner_plant import plant, until_reading

FIRMWARES = sorted(JUDGES)
LOGINS = [firmware for firmware in FIRMWARES if firmware != "luxos"]
"""LuxOS knows no login, but a lock."""


async def sent(*frames):
    """Send frames as the guard does; the outcomes by miner."""
    outcomes = {}
    await asyncio.to_thread(
        send_wave,
        frames,
        JUDGES,
        lambda frame, outcome: outcomes.setdefault(frame.miner_id, outcome),
        open_max=100,
    )
    assert outcomes.keys() == {frame.miner_id for frame in frames}
    return outcomes


def forget_login(persona):
    """As after a restart of the device: what was handed out before opens nothing any more."""
    if persona.firmware == "antminer-stock":
        persona._gate = replace(persona._gate, secret=b"another")
    else:
        persona._tokens.clear()


@pytest.mark.parametrize("firmware", FIRMWARES)
async def test_a_prepared_miner_sleeps_by_what_was_prepared(firmware):
    async with plant() as there:
        persona, driver = there.persona(firmware), there.driver(firmware)
        pools = [(pool.url, pool.user) for pool in persona.pools]
        frame = await driver.prepare()
        outcome = (await sent(frame))[frame.miner_id]
        assert isinstance(outcome, Applied)
        await until(lambda: persona.miner.wall_power_w < 100.0, "asleep at the wall")
        await until_reading(driver, hashing=False)
        assert persona.persistent_writes == outcome.persistent_writes
        assert [(pool.url, pool.user) for pool in persona.pools] == pools


@pytest.mark.parametrize("firmware", LOGINS)
async def test_a_login_that_the_device_forgot_is_told_and_the_driver_still_gets_through(firmware):
    async with plant() as there:
        persona, driver = there.persona(firmware), there.driver(firmware)
        frame = await driver.prepare()
        forget_login(persona)
        outcome = (await sent(frame))[frame.miner_id]
        assert isinstance(outcome, Refused)
        assert outcome.reason is RefusalReason.UNAUTHORIZED
        assert persona.persistent_writes == 0
        assert isinstance(await driver.apply(Sleep()), Applied)


@pytest.mark.parametrize("firmware", FIRMWARES)
async def test_a_frame_shows_no_login_and_is_not_sent_when_its_time_is_over(firmware):
    async with plant() as there:
        persona = there.persona(firmware)
        frame = await there.driver(firmware).prepare()
        assert time.monotonic() < frame.valid_until_s < time.monotonic() + 3_601.0
        for secret in ("request", "reply_key", "Digest", "enc"):
            assert secret not in repr(frame)
        late = replace(frame, valid_until_s=time.monotonic() - 0.001)
        outcome = (await sent(late))[frame.miner_id]
        assert isinstance(outcome, Refused)
        assert outcome.reason is RefusalReason.UNAUTHORIZED
        assert persona.miner.wall_power_w > 1_000.0


async def test_an_antminers_frame_carries_the_pools_of_this_minute():
    async with plant() as there:
        persona, driver = there.persona("antminer-stock"), there.driver("antminer-stock")
        first = await driver.prepare()
        assert first.valid_until_s <= time.monotonic() + CONFIG_AGE_S_MAX
        changed = "stratum+tcp://reserve.example:3333"
        persona.pools[0] = replace(persona.pools[0], url=changed)
        second = await driver.prepare()
        assert changed.encode() in second.request
        assert changed.encode() not in first.request
        await sent(second)
        await until(lambda: persona.miner.wall_power_w < 100.0, "asleep at the wall")
        assert persona.pools[0].url == changed


@pytest.mark.parametrize("firmware", LOGINS)
async def test_a_wrong_password_is_told_while_it_is_prepared(firmware):
    async with plant() as there:
        wrong = Login(username="root", password="wrong")
        driver = there.driver(firmware, login=wrong)
        if firmware != "whatsminer-v2":
            with pytest.raises(Unauthorized):
                await driver.prepare()
        else:
            # The token is made from the password here; only a command shows that it is wrong.
            frame = await driver.prepare()
            outcome = (await sent(frame))[frame.miner_id]
            assert isinstance(outcome, Refused)
            assert outcome.reason is RefusalReason.UNAUTHORIZED


async def session_of(there, driver, command):
    """Ask as another tool would; the session's id in the answer, "" for none."""
    request = json.dumps({"command": command}).encode()
    tcp, rpc = there.wires.tcp, driver._rpc
    reply = json.loads(await tcp.exchange(rpc, request, deadline_s=5.0, bytes_max=10_000))
    return reply["SESSION"][0]["SessionID"]


async def test_a_luxos_miners_session_ends_with_the_wave():
    async with plant() as there:
        persona, driver = there.persona("luxos"), there.driver("luxos")
        await sent(await driver.prepare())
        assert persona.persistent_writes == 1
        assert await session_of(there, driver, "session") == "", "nobody is locked out"
        await until_reading(driver, hashing=False)
        assert await driver.prepare() == AlreadySo()


async def test_a_session_of_another_tool_is_left_alone():
    async with plant() as there:
        persona, driver = there.persona("luxos"), there.driver("luxos")
        frame = await driver.prepare()
        others = await session_of(there, driver, "logon")
        outcome = (await sent(frame))[frame.miner_id]
        assert isinstance(outcome, Refused)
        assert outcome.reason is RefusalReason.UNAUTHORIZED
        assert "no session" in outcome.detail
        assert persona.persistent_writes == 0
        assert await session_of(there, driver, "session") == others != ""


@pytest.mark.parametrize("firmware", FIRMWARES)
async def test_a_miner_known_by_name_only_cannot_be_prepared(firmware):
    async with plant() as there:
        driver = there.driver(firmware)
        driver._device = replace(driver._device, host="miner-7.site")
        with pytest.raises(Unsupported, match="write its IP address"):
            await driver.prepare()
