"""Replies of WhatsMiner API 2 as functions of what the firmware sees.

Keys: WhatsMiner API V2.0.5 and the replies recorded from an M50S under firmware 20230803.11.REL.
Switched off, the rates are zero and the power is the supply's own draw (assumption of the
simulator).
"""

from typing import Any

from simulators.devices.persona import Telemetry
from simulators.physics.miner_models import MinerRating

Document = dict[str, Any]

FIRMWARE_VERSION = "20230803.11.REL"
API_VERSION = "2.0.5"
PLATFORM = "H616"
CHIP_SPREAD_C = 9.0
"""Coldest and hottest chip around the mean (recorded: 62 … 81 around 72.5)."""
PSU_FAN_RPM = 6000
TARGET_FREQUENCY_MHZ = 600


def version() -> Document:
    """Msg of get_version."""
    return {"api_ver": API_VERSION, "fw_ver": FIRMWARE_VERSION, "platform": PLATFORM, "chip": ""}


def psu(telemetry: Telemetry) -> Document:
    """Msg of get_psu; all values are text."""
    return {
        "name": "P222B",
        "hw_version": "",
        "sw_version": "230208.220429",
        "model": "P222B",
        "iin": str(round(telemetry.power_w / 230.0 * 1000.0)),
        "vin": "23000",
        "fan_speed": str(PSU_FAN_RPM),
        "vendor": "1",
    }


def miner_info(host: str, mac: str, serial: str, *, led_auto: bool) -> Document:
    """Msg of get_miner_info."""
    return {
        "ip": host,
        "proto": "dhcp",
        "netmask": "255.0.0.0",
        "gateway": "",
        "dns": "",
        "hostname": "WhatsMiner",
        "mac": mac,
        "ledstat": "auto" if led_auto else "red",
        "minersn": serial,
        "powersn": f"P{serial}",
    }


def summary_row(telemetry: Telemetry, rating: MinerRating, mac: str, unix_s: int) -> Document:
    """SUMMARY without mode and limit, which the persona knows."""
    rate_mhs = telemetry.hashrate_ths * 1e6
    minute_mhs = telemetry.hashrate_1m_ths * 1e6
    average_mhs = telemetry.hashrate_average_ths * 1e6
    joules_per_th = telemetry.power_w / telemetry.hashrate_ths if telemetry.hashing else 0.0
    return {
        "Elapsed": telemetry.elapsed_s,
        "MHS av": round(average_mhs, 2),
        "MHS 5s": round(rate_mhs, 2),
        "MHS 1m": round(minute_mhs, 2),
        "MHS 5m": round(minute_mhs, 2),
        "MHS 15m": round(average_mhs, 2),
        "HS RT": round(rate_mhs, 2),
        "Accepted": telemetry.accepted,
        "Rejected": 0,
        "Total MH": round(average_mhs * telemetry.elapsed_s),
        "Temperature": round(telemetry.board_temperature_c, 1),
        "freq_avg": TARGET_FREQUENCY_MHZ if telemetry.hashing else 0,
        "Fan Speed In": telemetry.fan_rpm,
        "Fan Speed Out": telemetry.fan_rpm,
        "Power": round(telemetry.power_w),
        "Power Rate": round(joules_per_th, 2),
        "Pool Rejected%": 0.0,
        "Pool Stale%": 0.0,
        "Last getwork": unix_s if telemetry.hashing else 0,
        "Uptime": telemetry.elapsed_s + 120,
        "Security Mode": 0,
        "Hash Stable": telemetry.hashing,
        "Hash Stable Cost Seconds": 900,
        "Hash Deviation%": 0.0,
        "Target Freq": TARGET_FREQUENCY_MHZ,
        "Target MHS": round(rating.hashrate_ths * 1e6),
        "Env Temp": round(telemetry.inlet_temperature_c, 1),
        "Factory GHS": round(rating.hashrate_ths * 1000.0),
        "Chip Temp Min": round(telemetry.chip_temperature_c - CHIP_SPREAD_C, 1),
        "Chip Temp Max": round(telemetry.chip_temperature_c + CHIP_SPREAD_C, 1),
        "Chip Temp Avg": round(telemetry.chip_temperature_c, 1),
        "Power Fanspeed": PSU_FAN_RPM,
        "Error Code Count": 0,
        "MAC": mac,
        "Firmware Version": f"'{FIRMWARE_VERSION}'",
        "CB Platform": PLATFORM,
        "CB Version": "V10",
        "Debug": "",
    }


def devs_rows(telemetry: Telemetry, rating: MinerRating, serial: str) -> list[Document]:
    """DEVS, one row a board."""
    share = 1.0 / rating.boards
    return [
        {
            "ASC": board,
            "Name": "SM",
            "ID": board,
            "Slot": board,
            "Enabled": "Y",
            "Status": "Alive",
            "Temperature": round(telemetry.board_temperature_c, 1),
            "Chip Frequency": TARGET_FREQUENCY_MHZ if telemetry.hashing else 0,
            "Frequency": float(TARGET_FREQUENCY_MHZ if telemetry.hashing else 0),
            "Fan Speed In": telemetry.fan_rpm,
            "Fan Speed Out": telemetry.fan_rpm,
            "MHS av": round(telemetry.hashrate_average_ths * 1e6 * share, 2),
            "MHS 5s": round(telemetry.hashrate_ths * 1e6 * share, 2),
            "MHS 1m": round(telemetry.hashrate_1m_ths * 1e6 * share, 2),
            "MHS 5m": round(telemetry.hashrate_1m_ths * 1e6 * share, 2),
            "MHS 15m": round(telemetry.hashrate_average_ths * 1e6 * share, 2),
            "Factory GHS": round(rating.hashrate_ths * 1000.0 * share),
            "Accepted": telemetry.accepted // rating.boards,
            "Rejected": 0,
            "Device Elapsed": telemetry.elapsed_s,
            "Upfreq Complete": 1 if telemetry.hashing else 0,
            "Effective Chips": rating.chips,
            "PCB SN": f"{serial}B{board}",
            "Chip Temp Min": round(telemetry.chip_temperature_c - CHIP_SPREAD_C, 1),
            "Chip Temp Max": round(telemetry.chip_temperature_c + CHIP_SPREAD_C, 1),
            "Chip Temp Avg": round(telemetry.chip_temperature_c, 1),
        }
        for board in range(rating.boards)
    ]


def devdetails_rows(rating: MinerRating) -> list[Document]:
    """DEVDETAILS; the model is spelt M50S_VH50."""
    model = rating.model.replace(" ", "_")
    return [
        {
            "DEVDETAILS": board,
            "Name": "SM",
            "ID": board,
            "Driver": "bitmicro",
            "Kernel": "",
            "Model": model,
        }
        for board in range(rating.boards)
    ]
