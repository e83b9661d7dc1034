"""Replies of stock Antminer firmware, on 4028 and from its CGI pages, as functions of what the
firmware sees.

Shapes: replies recorded from an S19 Pro (4028, firmware 49.0.1.3) and an S21 (CGI, firmware of July
2024). The misspelt keys («Tenperature», «Pool Stale%%») are the vendor's. No reply carries power:
the firmware reports none.
"""

from typing import Any

from simulators.devices.persona import SHARE_DIFFICULTY, Telemetry
from simulators.physics.miner_models import MinerRating

Document = dict[str, Any]

COMPILE_TIME = "Tue Dec  6 16:12:30 CST 2022"
MINER_VERSION = "49.0.1.3"
CHAIN_SLOTS = 4
FREQUENCY_MHZ = 525
_BOARD_SHARES = (0.34, 0.322, 0.338)
"""How the recorded machine's three boards share the hashrate."""


def board_rates_ghs(hashrate_ths: float, boards: int) -> list[float]:
    """Split the hashrate over the boards, GH/s."""
    shares = _BOARD_SHARES if boards == len(_BOARD_SHARES) else (1.0 / boards,) * boards
    return [hashrate_ths * 1000.0 * share for share in shares]


def version_row(model: str) -> Document:
    """VERSION of 4028, and the first entry of its STATS."""
    return {
        "BMMiner": "1.0.0",
        "API": "3.1",
        "Miner": MINER_VERSION,
        "CompileTime": COMPILE_TIME,
        "Type": model,
    }


def summary_row(telemetry: Telemetry, unix_s: int) -> Document:
    """SUMMARY of 4028; all rates are zero while the miner sleeps."""
    rate_ghs = telemetry.hashrate_ths * 1000.0
    average_ghs = telemetry.hashrate_average_ths * 1000.0
    difficulty = float(telemetry.accepted * SHARE_DIFFICULTY)
    minutes = max(telemetry.elapsed_s / 60.0, 1.0)
    return {
        "Elapsed": telemetry.elapsed_s,
        "GHS 5s": round(rate_ghs, 2),
        "GHS av": round(average_ghs, 2),
        "GHS 30m": round(average_ghs, 2),
        "Found Blocks": 0,
        "Getwork": telemetry.accepted,
        "Accepted": telemetry.accepted,
        "Rejected": 0,
        "Hardware Errors": 0,
        "Utility": round(telemetry.accepted / minutes, 2),
        "Discarded": 0,
        "Stale": 0,
        "Get Failures": 0,
        "Local Work": telemetry.accepted,
        "Remote Failures": 0,
        "Network Blocks": 0,
        "Total MH": round(average_ghs * 1000.0 * telemetry.elapsed_s, 0),
        "Work Utility": 0.0,
        "Difficulty Accepted": difficulty,
        "Difficulty Rejected": 0.0,
        "Difficulty Stale": 0.0,
        "Best Share": 0,
        "Device Hardware%": 0.0,
        "Device Rejected%": 0.0,
        "Pool Rejected%": 0.0,
        "Pool Stale%": 0.0,
        "Last getwork": unix_s,
    }


def stats_row(telemetry: Telemetry, rating: MinerRating, mac: str) -> Document:
    """The second entry of STATS of 4028: fans, and four chain slots of which the last is empty."""
    rate_ghs = telemetry.hashrate_ths * 1000.0
    average_ghs = telemetry.hashrate_average_ths * 1000.0
    chip_c, board_c = round(telemetry.chip_temperature_c), round(telemetry.board_temperature_c)
    frequency = FREQUENCY_MHZ if telemetry.hashing else 0
    row: Document = {
        "STATS": 0,
        "ID": "BTM_SOC0",
        "Elapsed": telemetry.elapsed_s,
        "Calls": 0,
        "Wait": 0,
        "Max": 0,
        "Min": 99999999,
        "GHS 5s": round(rate_ghs, 2),
        "GHS av": round(average_ghs, 2),
        "rate_30m": round(average_ghs, 2),
        "Mode": 2,
        "miner_count": rating.boards,
        "frequency": frequency,
        "fan_num": rating.fans,
        "temp_num": rating.boards,
        "temp_max": 0,
        "total_rateideal": rating.hashrate_ths * 1000.0,
        "rate_unit": "GH",
        "total_freqavg": frequency,
        "total_acn": rating.boards * rating.chips,
        "total rate": round(average_ghs, 2),
        "no_matching_work": 0,
        "miner_version": MINER_VERSION,
        "miner_id": mac.replace(":", "") + "4814",
    }
    for fan in range(1, rating.fans + 1):
        row[f"fan{fan}"] = telemetry.fan_rpm
    rates = board_rates_ghs(telemetry.hashrate_ths, rating.boards)
    for slot in range(1, CHAIN_SLOTS + 1):
        fitted = slot <= rating.boards
        row[f"chain_acn{slot}"] = rating.chips if fitted else 0
        row[f"chain_acs{slot}"] = " " + "ooo " * (rating.chips // 3) if fitted else ""
        row[f"chain_hw{slot}"] = 0
        row[f"chain_rate{slot}"] = f"{rates[slot - 1]:.2f}" if fitted else ""
        row[f"freq{slot}"] = frequency if fitted else 0
        for name, degrees_c in (("chip", chip_c), ("pcb", board_c), ("pic", board_c)):
            row[f"temp_{name}{slot}"] = "-".join([str(degrees_c if fitted else 0)] * 4)
        if fitted:
            row[f"temp{slot}"] = board_c
            row[f"temp2_{slot}"] = chip_c
    return row


def devs_row(telemetry: Telemetry, unix_s: int) -> Document:
    """DEVS of 4028: as recorded, its MHS fields stay zero, so it is no source of hashrate."""
    return {
        "ASC": 0,
        "Name": "BTM_SOC",
        "ID": 0,
        "Enabled": "Y",
        "Status": "Alive",
        "Tenperature": 0.0,
        "MHS av": 0.0,
        "MHS 5s": 0.0,
        "Accepted": telemetry.accepted,
        "Rejected": 0,
        "Hardware Errors": 0,
        "Utility": 0.0,
        "Last Share Pool": 0,
        "Last Share Time": unix_s,
        "Total MH": 0.0,
        "Diff1 Work": 0,
        "Difficulty Accepted": telemetry.accepted * SHARE_DIFFICULTY,
        "Difficulty Rejected": 0,
        "Last Share Difficulty": unix_s,
        "Last Valid Work": unix_s,
        "Device Hardware%": 0.0,
        "Device Rejected%": 0.0,
        "Device Elapsed": telemetry.elapsed_s,
    }


def web_head(name: str, model: str, unix_s: int) -> Document:
    """STATUS and INFO of the CGI pages, which differ from those of 4028."""
    return {
        "STATUS": {"STATUS": "S", "when": unix_s, "Msg": name, "api_version": "1.0.0"},
        "INFO": {"miner_version": MINER_VERSION, "CompileTime": COMPILE_TIME, "type": model},
    }


def web_summary_row(telemetry: Telemetry, rating: MinerRating) -> Document:
    """SUMMARY of summary.cgi, with the four status lamps of the vendor's page."""
    lamps = ("rate", "network", "fans", "temp")
    return {
        "elapsed": telemetry.elapsed_s,
        "rate_5s": round(telemetry.hashrate_ths * 1000.0, 2),
        "rate_30m": round(telemetry.hashrate_average_ths * 1000.0, 2),
        "rate_avg": round(telemetry.hashrate_average_ths * 1000.0, 2),
        "rate_ideal": rating.hashrate_ths * 1000.0,
        "rate_unit": "GH/s",
        "hw_all": 0,
        "bestshare": 0,
        "status": [{"type": lamp, "status": "s", "code": 0, "msg": ""} for lamp in lamps],
    }


def web_stats_row(telemetry: Telemetry, rating: MinerRating, mode: int, serial: str) -> Document:
    """STATS of stats.cgi: one entry a chain, temperatures inlet first and outlet last."""
    chip_c, board_c = round(telemetry.chip_temperature_c), round(telemetry.board_temperature_c)
    chains = [
        {
            "index": index,
            "freq_avg": FREQUENCY_MHZ if telemetry.hashing else 0,
            "rate_ideal": rating.hashrate_ths * 1000.0 / rating.boards,
            "rate_real": round(rate_ghs, 2),
            "asic_num": rating.chips,
            "asic": "ooo " * (rating.chips // 3),
            "temp_pic": [board_c] * 4,
            "temp_pcb": [board_c] * 4,
            "temp_chip": [chip_c] * 4,
            "hw": 0,
            "eeprom_loaded": True,
            "sn": f"{serial}{index}",
            "hwp": 0.0,
        }
        for index, rate_ghs in enumerate(board_rates_ghs(telemetry.hashrate_ths, rating.boards))
    ]
    return {
        "elapsed": telemetry.elapsed_s,
        "rate_5s": round(telemetry.hashrate_ths * 1000.0, 2),
        "rate_30m": round(telemetry.hashrate_average_ths * 1000.0, 2),
        "rate_avg": round(telemetry.hashrate_average_ths * 1000.0, 2),
        "rate_ideal": rating.hashrate_ths * 1000.0,
        "rate_unit": "GH/s",
        "chain_num": rating.boards,
        "fan_num": rating.fans,
        "fan": [telemetry.fan_rpm] * rating.fans,
        "hwp_total": 0.0,
        "miner-mode": mode,
        "freq-level": 100,
        "chain": chains,
    }
