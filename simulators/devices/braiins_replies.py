"""Replies of Braiins OS+ as functions of what the firmware sees: 4028, GraphQL, and gRPC messages
by field number.

Field numbers: braiins/bos-plus-api `proto/bos/v1/*.proto`, API 1.11. GraphQL names: recorded from
an S21+ under 25.05.1. Keys of 4028: cgminer's, as BOSer keeps them.
"""

from typing import Any

from simulators.devices.persona import SHARE_DIFFICULTY, Pool, Telemetry
from simulators.physics.miner_models import MinerRating

Document = dict[str, Any]
Message = dict[int, Any]

BOS_VERSION = "2025-06-25-0-45f356ea-25.05.1-plus"
DESCRIPTION = "BOSer boser-buildroot 0.1.0-45f356ea"
HOSTNAME = "Antminer"
FREQUENCY_MHZ = 490.0
VOLTAGE_V = 13.46

PLATFORM_AML = 4
BOS_MODE_NAND = 4
BRAND_ANTMINER = 1
STATUS_NORMAL = 2
STATUS_PAUSED = 3
SENSOR_CHIP = 1
TUNER_STABLE = 2
TUNER_MODE_POWER_TARGET = 1


def version_row() -> Document:
    """VERSION of 4028."""
    return {"API": "3.7", "BOSer": DESCRIPTION.removeprefix("BOSer ")}


def summary_row(telemetry: Telemetry, unix_s: int) -> Document:
    """SUMMARY of 4028, rates in MH/s."""
    average_mhs = telemetry.hashrate_average_ths * 1e6
    return {
        "Accepted": telemetry.accepted,
        "Best Share": 0,
        "Device Hardware%": 0.0,
        "Device Rejected%": 0.0,
        "Difficulty Accepted": float(telemetry.accepted * SHARE_DIFFICULTY),
        "Difficulty Rejected": 0.0,
        "Difficulty Stale": 0.0,
        "Discarded": 0,
        "Elapsed": telemetry.elapsed_s,
        "Found Blocks": 0,
        "Get Failures": 0,
        "Getworks": telemetry.accepted,
        "Hardware Errors": 0,
        "Last getwork": unix_s,
        "Local Work": 0,
        "MHS 5s": telemetry.hashrate_ths * 1e6,
        "MHS 1m": telemetry.hashrate_1m_ths * 1e6,
        "MHS 5m": telemetry.hashrate_1m_ths * 1e6,
        "MHS 15m": average_mhs,
        "MHS 24h": average_mhs,
        "MHS av": average_mhs,
        "Network Blocks": 0,
        "Pool Rejected%": 0.0,
        "Pool Stale%": 0.0,
        "Rejected": 0,
        "Remote Failures": 0,
        "Stale": 0,
        "Total MH": average_mhs * telemetry.elapsed_s,
        "Utility": 0.0,
        "Work Utility": 0.0,
    }


def devs_rows(telemetry: Telemetry, rating: MinerRating) -> list[Document]:
    """DEVS of 4028; boards are counted from one."""
    share_mhs = 1e6 / rating.boards
    return [
        {
            "ASC": board,
            "Name": "",
            "ID": board + 1,
            "Enabled": "Y",
            "Status": "Alive" if telemetry.hashing else "Dead",
            "Temperature": round(telemetry.board_temperature_c, 1),
            "MHS 5s": telemetry.hashrate_ths * share_mhs,
            "MHS 1m": telemetry.hashrate_1m_ths * share_mhs,
            "MHS 5m": telemetry.hashrate_1m_ths * share_mhs,
            "MHS 15m": telemetry.hashrate_average_ths * share_mhs,
            "MHS av": telemetry.hashrate_average_ths * share_mhs,
            "Nominal MHS": rating.hashrate_ths * share_mhs,
            "Accepted": telemetry.accepted // rating.boards,
            "Rejected": 0,
            "Hardware Errors": 0,
            "Device Elapsed": telemetry.elapsed_s,
        }
        for board in range(rating.boards)
    ]


def devdetails_rows(rating: MinerRating) -> list[Document]:
    """DEVDETAILS of 4028."""
    return [
        {
            "DEVDETAILS": board,
            "Name": "",
            "ID": board + 1,
            "Driver": "",
            "Kernel": "",
            "Model": f"Bitmain {rating.model}",
            "Chips": rating.chips,
            "Frequency": int(FREQUENCY_MHZ * 1e6),
            "Voltage": VOLTAGE_V,
            "Device Path": "",
        }
        for board in range(rating.boards)
    ]


def temps_rows(telemetry: Telemetry, boards: int) -> list[Document]:
    """TEMPS of 4028."""
    return [
        {
            "TEMP": board,
            "ID": board + 1,
            "Board": round(telemetry.board_temperature_c, 1),
            "Chip": round(telemetry.chip_temperature_c, 1),
        }
        for board in range(boards)
    ]


def fans_rows(telemetry: Telemetry, fans: int) -> list[Document]:
    """FANS of 4028; `Speed` in per cent."""
    percent = round(telemetry.fan_rpm / 60.0)
    return [
        {"FAN": fan, "ID": fan + 1, "RPM": telemetry.fan_rpm, "Speed": percent}
        for fan in range(fans)
    ]


def tunerstatus_row(telemetry: Telemetry, boards: int, target_w: int) -> Document:
    """TUNERSTATUS of 4028."""
    return {
        "TunerRunning": True,
        "PowerLimit": target_w,
        "ApproximateMinerPowerConsumption": round(telemetry.power_w),
        "ApproximateChainPowerConsumption": round(telemetry.power_w * 0.97),
        "DynamicPowerScaling": "Inactive",
        "TunerChainStatus": [
            {"HashchainIndex": board + 1, "Status": "Stable"} for board in range(boards)
        ],
    }


def graphql_document(
    telemetry: Telemetry, rating: MinerRating, pools: list[Pool], target_w: int
) -> Document:
    """All that a GraphQL query can select from."""
    power = {"approxConsumptionW": round(telemetry.power_w), "limitW": target_w}
    percent = round(telemetry.fan_rpm / 60.0)
    return {
        "bos": {
            "hostname": HOSTNAME,
            "faultLight": False,
            "info": {"version": {"full": BOS_VERSION}},
            "uptime": {"durationS": telemetry.elapsed_s},
        },
        "bosminer": {
            "config": {
                "groups": [{"id": "0", "strategy": {"quota": 1}}],
                "autotuning": {
                    "mode": "POWER_TARGET",
                    "powerTarget": target_w,
                    "hashrateTarget": None,
                },
            },
            "info": {
                "modelName": rating.model,
                "fans": [
                    {"name": str(fan), "rpm": telemetry.fan_rpm, "speed": percent}
                    for fan in range(rating.fans)
                ],
                "summary": {"power": power},
                "workSolver": {
                    "realHashrate": {"mhs5S": telemetry.hashrate_ths * 1e6},
                    "nominalMhs": rating.hashrate_ths * 1e6,
                    "childSolvers": _graphql_boards(telemetry, rating),
                },
                "poolGroups": [{"name": "default", "pools": _graphql_pools(pools, telemetry)}],
            },
        },
    }


def _graphql_boards(telemetry: Telemetry, rating: MinerRating) -> list[Document]:
    return [
        {
            "name": str(board + 1),
            "realHashrate": {"mhs5S": telemetry.hashrate_ths * 1e6 / rating.boards},
            "nominalMhs": rating.hashrate_ths * 1e6 / rating.boards,
            "hwDetails": {
                "chips": rating.chips,
                "frequencyMhz": FREQUENCY_MHZ,
                "voltageV": VOLTAGE_V,
            },
            "temperatures": [
                {"name": "MAX_BOARD", "degreesC": round(telemetry.board_temperature_c, 1)},
                {"name": "MAX_CHIP", "degreesC": round(telemetry.chip_temperature_c, 1)},
                {"name": "INLET", "degreesC": round(telemetry.inlet_temperature_c, 1)},
            ],
        }
        for board in range(rating.boards)
    ]


def _graphql_pools(pools: list[Pool], telemetry: Telemetry) -> list[Document]:
    return [
        {
            "url": pool.url,
            "user": pool.user,
            "status": "ALIVE",
            "active": index == 0 and telemetry.hashing,
            "shares": {
                "acceptedSolutions": telemetry.accepted if index == 0 else 0,
                "rejectedSolutions": 0,
            },
        }
        for index, pool in enumerate(pools)
    ]


def miner_details(
    rating: MinerRating, *, mac: str, serial: str, uid: str, uptime_s: int, paused: bool
) -> Message:
    """GetMinerDetailsResponse."""
    return {
        1: uid,
        2: {1: BRAND_ANTMINER, 3: rating.model, 4: rating.model},
        3: PLATFORM_AML,
        4: BOS_MODE_NAND,
        5: {1: BOS_VERSION, 2: "25.05.1", 3: True},
        6: HOSTNAME,
        7: mac.lower(),
        9: {1: rating.hashrate_ths * 1000.0},
        10: uptime_s,
        11: uptime_s,
        12: STATUS_PAUSED if paused else STATUS_NORMAL,
        16: serial,
    }


def solver_stats(telemetry: Telemetry, nominal_ths: float, share: float) -> Message:
    """WorkSolverStats of the whole miner (share 1) or one board."""
    now_ghs = telemetry.hashrate_ths * 1000.0 * share
    minute_ghs = telemetry.hashrate_1m_ths * 1000.0 * share
    average_ghs = telemetry.hashrate_average_ths * 1000.0 * share
    real: Message = {window: {1: now_ghs} for window in (1, 2, 3)}
    real |= {window: {1: minute_ghs} for window in (4, 5)}
    real |= {window: {1: average_ghs} for window in (6, 7, 8, 9, 10)}
    return {1: real, 2: {1: nominal_ths * 1000.0 * share}, 3: {}}


def miner_stats(telemetry: Telemetry, nominal_ths: float) -> Message:
    """GetMinerStatsResponse."""
    efficiency = telemetry.power_w / telemetry.hashrate_ths if telemetry.hashing else 0.0
    return {
        1: pool_stats(telemetry.accepted),
        2: solver_stats(telemetry, nominal_ths, 1.0),
        3: {1: {1: round(telemetry.power_w)}, 2: {1: efficiency}},
    }


def hashboards(telemetry: Telemetry, rating: MinerRating, serial: str) -> Message:
    """GetHashboardsResponse."""
    share = 1.0 / rating.boards
    return {
        1: [
            {
                1: str(board + 1),
                2: True,
                3: {1: rating.chips},
                4: {1: VOLTAGE_V},
                5: {1: FREQUENCY_MHZ * 1e6 if telemetry.hashing else 0.0},
                6: {1: board, 2: SENSOR_CHIP, 3: {1: telemetry.chip_temperature_c}},
                7: {1: telemetry.board_temperature_c},
                8: solver_stats(telemetry, rating.hashrate_ths, share),
                10: {1: telemetry.inlet_temperature_c},
                12: f"{serial}B{board}",
            }
            for board in range(rating.boards)
        ]
    }


def cooling_state(telemetry: Telemetry, fans: int) -> Message:
    """GetCoolingStateResponse."""
    ratio = min(1.0, telemetry.fan_rpm / 6000.0)
    return {
        1: [{1: fan, 2: telemetry.fan_rpm, 3: ratio} for fan in range(fans)],
        2: {2: SENSOR_CHIP, 3: {1: telemetry.chip_temperature_c}},
    }


def pool_stats(accepted: int) -> Message:
    """PoolStats."""
    return {1: accepted, 4: SHARE_DIFFICULTY, 6: accepted}


def pool_groups(pools: list[Pool], telemetry: Telemetry) -> Message:
    """GetPoolGroupsResponse: one group by quota."""
    entries = [
        {
            1: f"pool-{index}",
            2: pool.url,
            3: pool.user,
            4: True,
            5: True,
            6: index == 0 and telemetry.hashing,
            7: pool_stats(telemetry.accepted if index == 0 else 0),
        }
        for index, pool in enumerate(pools)
    ]
    return {1: [{1: "default", 2: {1: 1}, 4: entries, 5: "group-0"}]}


def configuration(pools: list[Pool], target_w: int) -> Message:
    """GetMinerConfigurationResponse: pools, automatic cooling, tuning to a power target."""
    entries = [
        {1: f"pool-{index}", 2: pool.url, 3: pool.user, 4: pool.password, 5: True}
        for index, pool in enumerate(pools)
    ]
    cooling = {1: {1: 65.0}, 2: {1: 80.0}, 3: {1: 90.0}}
    return {
        1: [{1: "group-0", 2: "default", 3: {1: 1}, 5: entries}],
        2: {2: cooling},
        3: {1: True, 2: TUNER_MODE_POWER_TARGET, 3: {1: target_w}},
    }
