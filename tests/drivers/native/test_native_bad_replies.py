"""Every native driver against replies that are broken, late or missing: the same questions."""

import asyncio

import pytest

from drivers.contract.errors import Malformed, Unreachable
from tests.drivers.native.native_stage import BROKEN


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_reply_is_malformed(driver, device, virtually, broken) -> None:
    device.bend = BROKEN[broken]
    with pytest.raises(Malformed):
        virtually(driver.read())


def test_a_broken_slow_part_is_a_fault_and_not_the_end(firmware, driver, device, virtually) -> None:
    fast = {"stats", "status", "summary"}
    device.bend = BROKEN["half"]
    device.bends = lambda name: not fast & set(name.split("+"))
    reading = virtually(driver.read())
    assert reading.hashing is True
    assert len(reading.faults) == 1
    assert "unreadable" in reading.faults[0]
    unknown = reading.mode if firmware == "braiins" else reading.pool_urls
    assert unknown is None, "unknown, not empty and not old"


def test_a_silent_miner_costs_exactly_the_read_deadline(
    firmware, driver, device, virtually
) -> None:
    device.silent = True

    async def read() -> float:
        begun_s = asyncio.get_running_loop().time()
        with pytest.raises(Unreachable) as caught:
            await driver.read()
        assert caught.value.connected
        return asyncio.get_running_loop().time() - begun_s

    assert virtually(read()) == pytest.approx(5.0)


def test_a_miner_that_answers_slowly_costs_no_more_than_the_read_deadline(
    driver, device, virtually
) -> None:
    device.after_s = 2.0

    async def read() -> float:
        begun_s = asyncio.get_running_loop().time()
        reading = await driver.read()
        assert reading.hashing is True
        assert reading.faults, "what did not fit into the deadline is named"
        return asyncio.get_running_loop().time() - begun_s

    assert virtually(read()) <= 5.0


def test_a_refused_connection_is_unreachable(driver, device, virtually) -> None:
    device.error = ConnectionRefusedError
    with pytest.raises(Unreachable) as caught:
        virtually(driver.read())
    assert not caught.value.connected
