"""`naryn bench poll`: what it costs to read the fleet, beside the raw limit of the same run.

raw      the C client polls flat out, decoding nothing
flat     our drivers poll flat out: the cost of transport and decoding
fleet    the real poll at its pace, with latency, miners that hang, and telemetry
babble   the same in turn with it, while one miner answers garbage and one 10 MB
"""

import contextlib
import os
import resource
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvloop

from controller.cli.bench import report
from controller.cli.bench.babble import poll_with_babblers
from controller.cli.bench.flat import Flat, poll_flat, usual_requests
from controller.cli.bench.fleet import MIX, build_plant
from controller.cli.bench.peer import BUSY_PERCENT_MIN, Peer, Share, raw_poll
from controller.cli.bench.polling import READS_MAX, PolledFleet, Ran, build_polled, rss_mib
from controller.site.allowance import CONNTRACK_S
from controller.site.poll import PollPace
from drivers.profiles import load_catalogue

GOAL_MINERS = 10_000
GOAL_PERIOD_S = 5.0
GOAL_SECONDS = 20.0
_FLAT_S_MAX = 3.0
_SLICES = 3
"""Raw and flat take turns so often, and the median of each counts: other programs come and go."""
_FLAT_MINERS_MAX = 1_000
_SOURCES = {
    "T1": "own reader on uvloop: connection set-up is two thirds of a poll, the rest may cost 60 %",
    "T2": "schedule, telemetry and its spool beside it must not double what the poll costs",
    "T3": "10 000 miners every 5 s with 20 ms of latency and 2 % hung, on a quarter of one core",
    "T7": "what two of ten thousand miners say makes the poll of the others no dearer",
    "T15": "memory of a fleet: a small computer holds 10 000 miners",
}
GOALS: dict[str, dict[str, Any]] = {
    "flat_to_raw": {"at_most": 1.6, "source": _SOURCES["T1"]},
    "fleet_to_raw": {"at_most": 2.5, "source": _SOURCES["T2"]},
    "cpu_share": {"at_most": 0.25, "source": _SOURCES["T3"]},
    "missed": {"at_most": 0, "source": _SOURCES["T3"]},
    "late_p99_ms": {"at_most": 15.0, "source": _SOURCES["T3"]},
    "loop_lag_p99_ms": {"at_most": 5.0, "source": _SOURCES["T3"]},
    "babble_to_well": {"at_most": 1.05, "source": _SOURCES["T7"]},
    "rss_per_miner_kib": {"at_most": 15.0, "source": _SOURCES["T15"]},
    "rss_mib": {"at_most": 200.0, "source": _SOURCES["T15"]},
}


def measure(
    miners: int, period_s: float, latency_ms: float, hung_percent: float, seconds: float
) -> dict[str, Any]:
    """Run once and return the object of `--json`.

    `seconds`: while all are well; as long again while two babble. Raises PeerError, BabbleError,
    ProfileError, DeviceError or OSError when nothing could be measured.
    """
    _allow_connections()
    plant = build_plant(miners, load_catalogue())
    peer_core = min(os.sched_getaffinity(0))
    with (
        report.pinned() as core,
        tempfile.TemporaryDirectory(prefix="naryn-bench-") as folder,
        Peer(None if core is None else peer_core) as peer,
    ):
        machine = report.machine(core, Path(folder))
        before_mib = rss_mib()
        fleet = build_polled(plant, peer, hung_percent)
        pace = PollPace(period_s=period_s, order_period_s=period_s, reads_max=READS_MAX)
        flat_s = min(_FLAT_S_MAX, seconds)
        work = _measured(fleet, peer, Path(folder), pace, flat_s, seconds, latency_ms, core)
        raws, flats, ran, babble = uvloop.run(work)
    figures = {
        "miners": len(fleet.drivers),
        "hung": len(fleet.hung),
        "period_s": period_s,
        "latency_ms": latency_ms,
        "seconds": round(ran.seconds, 3),
        "firmwares": fleet.firmwares,
        "left_out": list(fleet.left_out),
        "telemetry": True,
        "lines_lost": max(ran.lines_lost, babble.lines_lost),
        **_polled(ran),
        **_babbled(babble),
        **_memory(ran, before_mib, len(fleet.drivers)),
        "flat_us_per_poll": {name: round(flat.cpu_us_per_poll, 1) for name, flat in flats.items()},
    }
    return assemble(figures, raws, machine)


async def _measured(
    fleet: PolledFleet,
    peer: Peer,
    folder: Path,
    pace: PollPace,
    flat_s: float,
    seconds: float,
    latency_ms: float,
    core: int | None,
) -> tuple[dict[str, Any], dict[str, Flat], Ran, Ran]:
    """Raw and flat by firmware and of all together, then the fleet: well, and with babblers."""
    requests = await usual_requests(fleet)
    weights = {firmware: of_ten for firmware, of_ten, _ in MIX if firmware in requests}
    shares = {
        name: Share(firmware=name, count=count, weight=weights[name], requests=requests[name])
        for name, count in fleet.firmwares.items()
    }
    mixed = [
        driver
        for name, driver in list(fleet.drivers.items())[:_FLAT_MINERS_MAX]
        if name not in fleet.hung
    ]
    work = {name: ([share], fleet.of(name)[:_FLAT_MINERS_MAX]) for name, share in shares.items()}
    work["all"] = (list(shares.values()), mixed)
    raws: dict[str, Any] = {}
    flats: dict[str, Flat] = {}
    for name, (plan, drivers) in work.items():
        slices = [
            (
                raw_poll(peer, plan, flat_s / _SLICES, core),
                await poll_flat(drivers, flat_s / _SLICES),
            )
            for _ in range(_SLICES)
        ]
        raws[name] = sorted((raw for raw, _ in slices), key=lambda raw: raw["cpu_us_per_poll"])[
            _SLICES // 2
        ]
        flats[name] = sorted((flat for _, flat in slices), key=lambda flat: flat.cpu_us_per_poll)[
            _SLICES // 2
        ]
    peer.latency(latency_ms)
    try:
        ran, babble = await poll_with_babblers(
            fleet, peer, folder, pace, seconds=seconds, latency_ms=latency_ms
        )
    finally:
        await fleet.http.close()
    return raws, flats, ran, babble


def _polled(ran: Ran) -> dict[str, Any]:
    connections_per_s = ran.connections / ran.seconds
    return {
        "polls": ran.polls,
        "missed": ran.missed,
        "timeouts": ran.timeouts,
        "failed": ran.failed,
        "cpu_share": round(ran.cpu_s / ran.seconds, 4),
        "cpu_us_per_poll": _cpu_us(ran),
        "late_p50_ms": _shown(ran.late_ms, 0.5),
        "late_p99_ms": _shown(ran.late_ms, 0.99),
        "begun_late_p99_ms": _shown(ran.begun_late_ms, 0.99),
        "loop_lag_p50_ms": _shown(ran.lag_ms, 0.5),
        "loop_lag_p99_ms": _shown(ran.lag_ms, 0.99),
        "connections_per_s": round(connections_per_s, 1),
        "conntrack_entries": round(connections_per_s * CONNTRACK_S),
    }


def _babbled(ran: Ran) -> dict[str, Any]:
    return {
        "babble_seconds": round(ran.seconds, 3),
        "babble_reads": ran.babbled.total(),
        "babble_polls": ran.polls,
        "babble_missed": ran.missed,
        "babble_failed": ran.failed,
        "babble_cpu_us_per_poll": _cpu_us(ran),
        "babble_late_p99_ms": _shown(ran.late_ms, 0.99),
        "babble_loop_lag_p99_ms": _shown(ran.lag_ms, 0.99),
    }


def _cpu_us(ran: Ran) -> float:
    return round(1e6 * ran.cpu_s / max(1, ran.polls), 1)


def _shown(values: list[float], share: float) -> float | None:
    return round(report.percentile(values, share), 2) if values else None


def _memory(ran: Ran, before_mib: float, miners: int) -> dict[str, Any]:
    return {
        "rss_mib": round(ran.rss_mib, 1),
        "rss_per_miner_kib": round(1024 * (ran.rss_mib - before_mib) / miners, 2),
    }


def assemble(
    figures: dict[str, Any], raws: Mapping[str, Any], machine: dict[str, Any]
) -> dict[str, Any]:
    """The object: no ratio where the raw client waited for its peer, or nobody was polled."""
    peer_bound = sorted(
        name for name, raw in raws.items() if raw["busy_percent"] < BUSY_PERCENT_MIN
    )
    ratios: dict[str, Any] = {}
    if "all" not in peer_bound:
        raw_us = raws["all"]["cpu_us_per_poll"]
        ratios["flat_to_raw"] = round(figures["flat_us_per_poll"]["all"] / raw_us, 2)
        ratios["fleet_to_raw"] = round(figures["cpu_us_per_poll"] / raw_us, 2)
    if figures["polls"] and figures["babble_polls"]:
        babble_us, well_us = figures["babble_cpu_us_per_poll"], figures["cpu_us_per_poll"]
        ratios["babble_to_well"] = round(babble_us / well_us, 3)
    ratios["flat_to_raw_by_firmware"] = {
        name: round(figures["flat_us_per_poll"][name] / raw["cpu_us_per_poll"], 2)
        for name, raw in raws.items()
        if name != "all" and name not in peer_bound
    }
    judged = (
        figures["miners"] == GOAL_MINERS
        and figures["period_s"] == GOAL_PERIOD_S
        and figures["seconds"] >= GOAL_SECONDS
    )
    found = {**figures, **ratios}
    return {
        "bench": "poll",
        "machine": machine,
        "figures": figures,
        "raw_limit": {
            "what": "the same requests from one epoll loop in C, connections opened and closed, "
            "replies not decoded",
            "peer_bound": peer_bound,
            "by_firmware": dict(raws),
        },
        "ratios": ratios,
        "goals": GOALS,
        "met": {
            name: found[name] <= goal["at_most"] if judged and found.get(name) is not None else None
            for name, goal in GOALS.items()
        },
    }


def _allow_connections() -> None:
    """As `naryn run` does: a wave holds a connection to each miner."""
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
