"""`naryn bench curtail`: from the decision until the last miner has its command, by the peer.

raw        the C client commands as many miners, all at once
single     those whose Sleep is one prepared request, alone: what a wave can do
idle       the whole mix
polling    the same while the controller polls the whole fleet with telemetry
hung       the same with miners that never answer, and slow answers of all others
babble     the same with one miner that answers garbage and one that answers 10 MB
antminer   stock Antminers alone: their processor time and requests
"""

import os
import tempfile
from collections.abc import Callable, Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop

from controller.cli.bench import report
from controller.cli.bench.curtail_fleet import WELL, Illness
from controller.cli.bench.curtail_report import assemble
from controller.cli.bench.curtail_rivals import run_rivals
from controller.cli.bench.curtail_site import allow_connections
from controller.cli.bench.curtail_waves import Ground, Wave, wave_alone, wave_while_polling
from controller.cli.bench.fleet import MIX, build_plant
from controller.cli.bench.peer import Peer, raw_fanout
from controller.cli.bench.polling import Ran
from drivers.profiles import load_catalogue

HUNG_PERCENT = 5.0
SLOW_MS = 50.0
POLL_LATENCY_MS = 20.0
ANTMINER = "antminer-stock"
SINGLE = (ANTMINER, "whatsminer-v2", "braiins")
"""LuxOS wants a session first, which is a lock and cannot be had beforehand."""


def measure(miners: int, repeats: int, period_s: float, *, others: bool) -> dict[str, Any]:
    """Run once and return the object of `--json`. `period_s` is of the poll, `others` runs pyasic
    and pyasic-rs too.

    Raises CurtailError when a miner that was commanded has no command; GuardError, PeerError,
    ProfileError or OSError when nothing could be measured.
    """
    allow_connections()
    plant = build_plant(miners, load_catalogue())
    peer_core = min(os.sched_getaffinity(0))
    with (
        report.pinned() as ours,
        tempfile.TemporaryDirectory(prefix="naryn-bench-") as folder,
        Peer(None if ours is None else peer_core) as peer,
    ):
        machine = report.machine(ours, Path(folder))
        ground = Ground(plant=plant, peer=peer, folder=Path(folder))
        firmwares = count_firmwares(ground)

        def alone(only: Collection[str], illness: Illness = WELL, latency_ms: float = 0.0) -> Wave:
            return _usual(
                lambda: uvloop.run(wave_alone(ground, only, illness, latency_ms)), repeats
            )

        raws = {
            name: _least_raw(peer, sum(firmwares[one] for one in only), ours, repeats)
            for name, only in (("all", tuple(firmwares)), ("single", SINGLE))
        }
        waves = {
            "single": alone(SINGLE),
            "idle": alone(firmwares),
            "hung": alone(firmwares, Illness(hung_percent=HUNG_PERCENT), SLOW_MS),
            "babble": alone(firmwares, Illness(two_babble=True)),
            "antminer": alone((ANTMINER,)),
        }
        waves["polling"], ran = _usual_polling(ground, firmwares, period_s, repeats)
        rivals, left_out = run_rivals(peer, firmwares) if others else ([], [])
    figures = {
        "miners": miners,
        "repeats": repeats,
        "firmwares": firmwares,
        "period_s": period_s,
        "hung_percent": HUNG_PERCENT,
        "slow_ms": SLOW_MS,
        "poll": polled(ran),
        **{name: asdict(wave) for name, wave in waves.items()},
        "others": rivals,
        "left_out": left_out,
    }
    return assemble(figures, raws, machine)


def count_firmwares(ground: Ground) -> dict[str, int]:
    """Miners by firmware, in the order of the mix."""
    counts = {firmware: 0 for firmware, _, _ in MIX}
    for profile in ground.plant.profiles.values():
        counts[profile.firmware] += 1
    return counts


def polled(ran: Ran) -> dict[str, Any]:
    """What the curtailment left of the poll that ran beside it."""
    late_ms = report.percentile(ran.late_ms, 0.99) if ran.late_ms else None
    return {
        "polls": ran.polls,
        "missed": ran.missed,
        "failed": ran.failed,
        "late_p99_ms": None if late_ms is None else round(late_ms, 2),
        "cpu_share": round(ran.cpu_s / ran.seconds, 4),
    }


def _usual(run: Callable[[], Wave], repeats: int) -> Wave:
    waves = [run() for _ in range(repeats)]
    return sorted(waves, key=lambda wave: wave.last_ms)[repeats // 2]


def _usual_polling(
    ground: Ground, firmwares: Collection[str], period_s: float, repeats: int
) -> tuple[Wave, Ran]:
    runs = [
        uvloop.run(wave_while_polling(ground, firmwares, period_s, POLL_LATENCY_MS))
        for _ in range(repeats)
    ]
    return sorted(runs, key=lambda run: run[0].last_ms)[repeats // 2]


def _least_raw(peer: Peer, miners: int, core: int | None, repeats: int) -> dict[str, Any]:
    raws: list[dict[str, Any]] = []
    for _ in range(repeats):
        peer.clear()
        said = raw_fanout(peer, miners, core)
        stamped = peer.report()
        said["median_ms"] = round((stamped["median_ns"] - said["go_ns"]) / 1e6, 1)
        said["last_ms"] = round((stamped["last_ns"] - said["go_ns"]) / 1e6, 1)
        raws.append(said)
    return min(raws, key=lambda raw: float(raw["last_ms"]))  # a limit is the least, not the usual
