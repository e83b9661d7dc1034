"""Every native driver against recorded replies: what it reads, when, and how often."""

import asyncio
from typing import Any

import pytest

from drivers.contract.readings import WorkMode


def test_reading_has_the_golden_values(firmware, driver, virtually) -> None:
    reading = virtually(driver.read())
    assert reading.miner_id == "m1"
    assert reading.firmware == firmware
    assert reading.hashing is True
    if firmware == "antminer-stock":
        assert reading.hashrate_ths == pytest.approx(110.56689), "manifest: 110.56689 TH/s"
        assert reading.power_w is None, "this firmware reports no power"
        assert reading.power_limit_w is None
        assert reading.model == "Antminer S19 Pro"
        assert reading.serial == "THQING0BDJAB024NF"
        assert reading.mac is None, "manifest: 02:55:97:22:3M:72 is no MAC address"
        assert reading.fans_rpm == (6000, 5880, 5040, 5040)
        assert reading.uptime_s == 50474
        assert reading.chip_temperature_c == 78.0
        assert reading.board_temperatures_c == (73.0, 66.0, 64.0)
        assert (reading.mode, reading.raw_mode) == (WorkMode.NORMAL, "0")
        assert reading.pool_urls == ("stratum+tcp://pool.example:3333",)
    elif firmware == "luxos":
        assert reading.hashrate_ths == pytest.approx(59.75606)
        assert reading.power_w == 1051.0, "manifest: 1051 W"
        assert reading.power_limit_w == 2794.0, "up to there ATM may climb"
        assert reading.model == "Antminer S19k Pro"
        assert reading.firmware_version == "2025.4.8.220305"
        assert reading.serial == "JYZZB0UBDJABF06RB"
        assert reading.mac == "62:F7:5E:B7:10:46"
        assert reading.fans_rpm == (1920, 1920, 2340, 2340)
        assert reading.uptime_s == 3453
        assert reading.chip_temperature_c is None, "it repeats the board's sensors"
        assert reading.board_temperatures_c == (47.0, 47.0, 47.0)
        assert (reading.mode, reading.raw_mode) == (WorkMode.NORMAL, "atm:default")
        assert len(reading.pool_urls or ()) == 4
    elif firmware == "braiins":
        assert reading.hashrate_ths == pytest.approx(104.0)
        assert (reading.power_w, reading.power_limit_w) == (3_031.0, 3_068.0)
        assert reading.model == "Antminer S19j Pro"
        assert reading.firmware_version == "25.05.1-plus"
        assert (reading.mode, reading.raw_mode) == (WorkMode.NORMAL, None)
        assert reading.pool_urls == ("stratum+tcp://pool.example:3333",)
    else:
        assert reading.hashrate_ths == pytest.approx(124.5), "manifest: 124.5 TH/s"
        assert reading.power_w == 3200.0
        assert reading.power_limit_w == 3300.0
        assert reading.model == "M50S VH50"
        assert reading.firmware_version == "20230803.11.REL"
        assert reading.mac == "D4:01:02:03:04:05"
        assert reading.serial is None
        assert reading.fans_rpm == (5400, 5280)
        assert reading.uptime_s == 25500
        assert reading.chip_temperature_c == 81.0
        assert reading.inlet_temperature_c == 28.5
        assert (reading.mode, reading.raw_mode) == (WorkMode.NORMAL, "normal")
        assert len(reading.pool_urls or ()) == 3
    assert reading.faults == ()


def test_reading_is_stamped_before_and_after_the_requests(device, driver, virtually) -> None:
    device.after_s = 0.25

    async def read() -> tuple[float, Any]:
        await asyncio.sleep(7.0)
        return asyncio.get_running_loop().time(), await driver.read()

    begun_s, reading = virtually(read())
    assert reading.begun_s == begun_s
    assert reading.taken_s >= begun_s + 0.25


def test_slow_parts_are_not_asked_again_within_a_minute(
    firmware, device, driver, virtually
) -> None:
    asked: list[str] = []
    device.bends = lambda name: bool(asked.append(name))

    async def read_twice() -> None:
        await driver.read()
        first = list(asked)
        asked.clear()
        await driver.read()
        assert len(first) > len(asked)

    virtually(read_twice())
    assert (
        asked
        == {
            "antminer-stock": ["stats"],
            "whatsminer-v2": ["summary"],
            "luxos": ["config+summary+power+temps+fans+stats+atm"],
            "braiins": ["summary+temps+fans+tunerstatus"],
        }[firmware]
    )
