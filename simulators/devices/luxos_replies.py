"""Replies of LuxOS as functions of what the firmware sees.

Keys as recorded from an Antminer S19k Pro under LuxOS 2025.4.8.220305. One defect of that recording
is kept: `total_acn` is not the sum of the chips.
"""

from dataclasses import dataclass
from typing import Any

from simulators.devices.persona import SHARE_DIFFICULTY, Telemetry
from simulators.physics.miner import EFFICIENCY_EXPONENT
from simulators.physics.miner_models import MinerRating

Document = dict[str, Any]

VERSION = "2025.4.8.220305"
DESCRIPTION = f"LUXminer {VERSION}-57b389c7"
COMPILE_TIME = "Tue Apr  8 22:05:35 UTC 2025"
ATM_KEYS = {
    "startup_minutes": "StartupMinutes",
    "post_ramp_minutes": "PostRampMinutes",
    "temp_window": "TempWindow",
    "min_profile": "MinProfile",
    "max_profile": "MaxProfile",
}
"""Parameters of `atmset` and the keys under which `atm` shows them."""
LIMITS: Document = {
    "FrequencyMin": 50,
    "FrequencyMax": 900,
    "FrequencyStepMin": 5,
    "FrequencyStepMax": 200,
    "VoltageMin": 11.88,
    "VoltageMax": 15.0,
    "VoltageStepMin": 0.05,
    "VoltageStepMax": 1.0,
}
"""Plausible bounds (assumption of the simulator)."""
_STEP_POWER_SHARES = (
    (-16, 784),
    (-14, 978),
    (-12, 1188),
    (-10, 1414),
    (-8, 1657),
    (-6, 1916),
    (-5, 2052),
    (-4, 2192),
    (-3, 2336),
    (-2, 2485),
    (-1, 2637),
    (0, 2794),
)
"""Watts of the recorded profiles; `default` is step 0. Steps above it overclock and are not offered
here."""
_DEFAULT_W = 2794
_DEFAULT_MHZ = 590
_STEP_MHZ = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One step of frequency and voltage, with the power and hashrate that the firmware expects."""

    name: str
    step: int
    power_w: int
    hashrate_ths: float
    frequency_mhz: int


def profiles_of(rating: MinerRating) -> list[Profile]:
    """The recorded profiles, scaled to another model."""
    profiles = []
    for step, watts in _STEP_POWER_SHARES:
        share = watts / _DEFAULT_W
        frequency_mhz = _DEFAULT_MHZ + step * _STEP_MHZ
        profiles.append(
            Profile(
                name=f"{frequency_mhz}MHz" if step else "default",
                step=step,
                power_w=round(rating.power_w * share),
                hashrate_ths=round(rating.hashrate_ths * share**EFFICIENCY_EXPONENT, 1),
                frequency_mhz=frequency_mhz,
            )
        )
    return profiles


def profile_row(profile: Profile) -> Document:
    """One entry of PROFILES; `Step` is text with a sign."""
    return {
        "CanRestore": True,
        "Frequency": profile.frequency_mhz,
        "HasOverrides": False,
        "Hashrate": profile.hashrate_ths,
        "IsDynamic": True,
        "IsTuned": False,
        "Profile Name": profile.name,
        "Step": f"{profile.step:+d}" if profile.step else "0",
        "Voltage": 13.5,
        "Watts": profile.power_w,
    }


def version_row(model: str) -> Document:
    """VERSION."""
    return {
        "API": "3.7",
        "CompileTime": COMPILE_TIME,
        "LUXminer": DESCRIPTION.removeprefix("LUXminer "),
        "Miner": VERSION,
        "Type": model,
    }


def summary_row(telemetry: Telemetry, unix_s: int) -> Document:
    """SUMMARY."""
    rate_ghs = round(telemetry.hashrate_ths * 1000.0, 2)
    minute_ghs = round(telemetry.hashrate_1m_ths * 1000.0, 2)
    average_ghs = round(telemetry.hashrate_average_ths * 1000.0, 2)
    return {
        "Accepted": telemetry.accepted,
        "Best Share": SHARE_DIFFICULTY,
        "Device Hardware%": 0.0,
        "Device Rejected%": 0.0,
        "Difficulty Accepted": telemetry.accepted * SHARE_DIFFICULTY,
        "Difficulty Rejected": 0,
        "Difficulty Stale": 0,
        "Discarded": 0,
        "Elapsed": telemetry.elapsed_s,
        "Found Blocks": 0,
        "GHS 5s": rate_ghs,
        "GHS 1m": minute_ghs,
        "GHS 5m": minute_ghs,
        "GHS 15m": average_ghs,
        "GHS 30m": average_ghs,
        "GHS 24h": average_ghs,
        "GHS av": average_ghs,
        "Get Failures": 0,
        "Getworks": telemetry.accepted,
        "Hardware Errors": 0,
        "Last getwork": unix_s,
        "Local Work": 0,
        "Network Blocks": 0,
        "Pool Rejected%": 0.0,
        "Pool Stale%": 0.0,
        "Rejected": 0,
        "Remote Failures": 0,
        "Stale": 0,
        "Total MH": average_ghs * 1000.0 * telemetry.elapsed_s,
        "Utility": 0.0,
        "Work Utility": 0.0,
    }


def stats_rows(telemetry: Telemetry, rating: MinerRating, mac: str) -> list[Document]:
    """STATS: the head, and one row with numbered fans and chains."""
    average_ghs = round(telemetry.hashrate_average_ths * 1000.0, 2)
    chip_c, board_c = round(telemetry.chip_temperature_c), round(telemetry.board_temperature_c)
    row: Document = {
        "Calls": 0,
        "Elapsed": telemetry.elapsed_s,
        "GHS 5s": round(telemetry.hashrate_ths * 1000.0, 2),
        "GHS av": average_ghs,
        "ID": "BTM_SOC0",
        "Max": 0,
        "Min": 99999999,
        "Mode": 2,
        "STATS": 0,
        "Wait": 0,
        "fan_num": rating.fans,
        "frequency": _DEFAULT_MHZ if telemetry.hashing else 0,
        "miner_count": rating.boards,
        "miner_id": mac.replace(":", "").lower(),
        "miner_version": VERSION,
        "no_matching_work": 0,
        "rate_30m": average_ghs,
        "rate_unit": "GH",
        "temp_max": board_c,
        "temp_num": rating.boards,
        "total rate": round(telemetry.hashrate_ths * 1000.0 / rating.boards, 2),
        "total_acn": 4,
        "total_freqavg": float(_DEFAULT_MHZ if telemetry.hashing else 0),
        "total_rateideal": rating.hashrate_ths * 1000.0,
    }
    for fan in range(1, rating.fans + 1):
        row[f"fan{fan}"] = telemetry.fan_rpm
    board_ghs = telemetry.hashrate_ths * 1000.0 / rating.boards
    for slot in range(1, 5):
        fitted = slot <= rating.boards
        row[f"chain_acn{slot}"] = rating.chips if fitted else 0
        row[f"chain_acs{slot}"] = " " + "oooo " * (rating.chips // 4) if fitted else ""
        row[f"chain_hw{slot}"] = 0
        row[f"chain_rate{slot}"] = f"{board_ghs:.2f}" if fitted else "0"
        row[f"freq{slot}"] = float(_DEFAULT_MHZ if fitted and telemetry.hashing else 0)
        for name, degrees_c in (("chip", chip_c), ("pcb", board_c), ("pic", board_c)):
            row[f"temp_{name}{slot}"] = "-".join([str(degrees_c if fitted else 0)] * 4)
        if fitted:
            row[f"temp{slot}"] = float(board_c)
            row[f"temp2_{slot}"] = float(chip_c)
    head = {"CompileTime": COMPILE_TIME, "Miner": VERSION, "Type": rating.model}
    return [head, row]


def devs_rows(
    telemetry: Telemetry, rating: MinerRating, profile: str, unix_s: int
) -> list[Document]:
    """DEVS, one row a board, not in board order (as recorded)."""
    share_mhs = 1e6 / rating.boards
    rows = [
        {
            "ASC": board,
            "Accepted": telemetry.accepted // rating.boards,
            "Board": "BHB56903",
            "Connector": f"J{6 + board}",
            "Device Elapsed": telemetry.elapsed_s,
            "Device Hardware%": 0,
            "Device Rejected%": 0,
            "Enabled": "Y",
            "Hardware Errors": 0,
            "ID": board,
            "IsRamping": False,
            "IsUserShutdown": False,
            "Last Share Difficulty": SHARE_DIFFICULTY,
            "Last Share Pool": 0,
            "Last Share Time": unix_s,
            "Last Valid Work": unix_s,
            "MHS 5s": telemetry.hashrate_ths * share_mhs,
            "MHS 1m": telemetry.hashrate_1m_ths * share_mhs,
            "MHS 5m": telemetry.hashrate_1m_ths * share_mhs,
            "MHS 15m": telemetry.hashrate_average_ths * share_mhs,
            "MHS av": telemetry.hashrate_average_ths * share_mhs,
            "Name": "",
            "Nominal MHS": rating.hashrate_ths * share_mhs,
            "Profile": profile,
            "Rejected": 0,
            "Status": "Alive" if telemetry.hashing else "Dead",
            "Temperature": round(telemetry.board_temperature_c, 1),
            "Total MH": telemetry.hashrate_average_ths * share_mhs * telemetry.elapsed_s,
            "Utility": 0,
        }
        for board in range(rating.boards)
    ]
    return rows[-1:] + rows[:-1]


def devdetails_rows(rating: MinerRating) -> list[Document]:
    """DEVDETAILS."""
    return [
        {
            "DEVDETAILS": board,
            "Name": "",
            "ID": board,
            "Driver": "luxminer",
            "Kernel": "",
            "Model": rating.model,
        }
        for board in range(rating.boards)
    ]


def config_row(model: str, host: str, mac: str, serial: str) -> Document:
    """CONFIG without what changes (curtailment, profile, ATM, lamp)."""
    return {
        "ASC Count": 3,
        "ControlBoardType": "cvitek",
        "Cooling": "Air",
        "DHCP": True,
        "FeeStatus": "Ok",
        "Gateway": "",
        "GreenLed": "auto",
        "Hostname": "LuxOS",
        "IPAddr": host,
        "ImmersionMode": False,
        "IsSingleVoltage": True,
        "IsTuning": False,
        "Log Interval": 0,
        "MACAddr": mac.lower(),
        "Model": model,
        "Netmask": "255.0.0.0",
        "OS": "LuxOS",
        "PGA Count": 0,
        "PSULabel": "APW121215e",
        "SerialNumber": serial,
        "Strategy": "Failover",
        "SystemStatus": "Normal",
    }


def temps_rows(telemetry: Telemetry, boards: int) -> list[Document]:
    """TEMPS: exhaust on the left, intake on the right."""
    exhaust_c = round(telemetry.board_temperature_c, 1)
    intake_c = round((telemetry.board_temperature_c + telemetry.inlet_temperature_c) / 2.0, 1)
    return [
        {
            "TEMP": board,
            "ID": board,
            "TopLeft": exhaust_c,
            "BottomLeft": exhaust_c,
            "TopRight": intake_c,
            "BottomRight": intake_c,
        }
        for board in range(boards)
    ]


def fans_rows(telemetry: Telemetry, fans: int) -> list[Document]:
    """FANS; `Speed` in per cent."""
    percent = round(telemetry.fan_rpm / 60.0)
    return [
        {"FAN": f"FAN{fan + 1}", "ID": fan, "RPM": telemetry.fan_rpm, "Speed": percent}
        for fan in range(fans)
    ]


def atm_row() -> Document:
    """ATM as delivered: off."""
    return {
        "Enabled": False,
        "MaxProfile": "default",
        "MinProfile": "",
        "PostRampMinutes": 15,
        "StartupMinutes": 15,
        "TempWindow": 5,
    }
