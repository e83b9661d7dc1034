"""`naryn bench watchdog`: `kill -9` of the controller, and when the miners have their command.

controller ── beats ──▶ naryn guard run ── prepares every command
    ✗ killed              │ silence_s without a beat
                          ▼
                       the load falls within decay_s ──▶ peer stamps
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from controller.cli.bench import report
from controller.cli.bench.curtail_site import GuardError, GuardProcess, allow_connections
from controller.cli.bench.fleet import BenchPlant, build_plant
from controller.cli.bench.peer import Peer, raw_fanout
from controller.cli.bench.watchdog_report import Death, assemble, moments
from drivers.profiles import load_catalogue
from drivers.registry import JUDGES

PREPARE_S_MAX = 120.0
LATE_S_MAX = 60.0
"""A fleet that has not its command so long after the curve has ended counts as left behind."""
_LOOK_S = 0.2


def measure(miners: int, silence_s: float, decay_s: float) -> dict[str, Any]:
    """Run once and return the object of `--json`.

    Raises GuardError when a miner got no command or one before its time; PeerError, ProfileError
    or OSError when nothing could be measured.
    """
    allow_connections()
    plant = build_plant(miners, load_catalogue())
    peer_core = min(os.sched_getaffinity(0))
    with (
        report.pinned() as core,
        tempfile.TemporaryDirectory(prefix="naryn-bench-") as folder,
        Peer(None if core is None else peer_core) as peer,
    ):
        machine = report.machine(core, Path(folder))
        raw = raw_fanout(peer, miners, core)
        raw["last_ms"] = round((peer.report()["last_ns"] - raw["go_ns"]) / 1e6, 1)
        peer.clear()
        with GuardProcess(Path(folder) / "site", silence_s=silence_s, decay_s=decay_s) as guard:
            death = uvloop.run(_kill(guard, peer, plant))
            stamped = _until_commanded(guard, peer, miners, death.beat_s + silence_s + decay_s)
            tripped = uvloop.run(guard.look())
    if tripped.latch is None:
        raise GuardError("the guard is not latched, though it commanded the fleet")
    seen = moments(death, stamped, silence_s, decay_s)
    if seen["first_late_s"] < 0.0:
        raise GuardError(f"the first command came {-seen['first_late_s']:g} s before its time")
    figures = {"miners": miners, "silence_s": silence_s, "decay_s": decay_s, **seen}
    return assemble(figures, raw, machine)


async def _kill(guard: GuardProcess, peer: Peer, plant: BenchPlant) -> Death:
    preparable = sum(profile.firmware in JUDGES for profile in plant.profiles.values())
    await guard.look()
    words = [str(len(plant.profiles)), json.dumps(peer.ports), str(guard.path)]
    with subprocess.Popen(  # noqa: ASYNC220, S603 - our own; begun before anything is measured
        [sys.executable, "-m", "controller.cli.bench.watchdog_controller", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as controller:
        try:
            await guard.until_prepared(preparable, PREPARE_S_MAX)
            early = await asyncio.to_thread(peer.report)
        finally:
            controller.kill()
            killed_s = time.monotonic()
    image = await guard.look()
    if image.heard_ago_s is None or image.entries < len(plant.profiles):
        raise GuardError(f"the guard had no ladder of the fleet; it said: {guard.said()}")
    if early["miners_acted"]:
        raise GuardError(f"{early['miners_acted']} miners had a command while beats came")
    return Death(beat_s=image.now_s - image.heard_ago_s, killed_s=killed_s, prepared=image.ready)


def _until_commanded(
    guard: GuardProcess, peer: Peer, miners: int, ended_s: float
) -> dict[str, Any]:
    while True:
        stamped = peer.report()
        if stamped["miners_acted"] >= miners:
            return stamped
        if time.monotonic() > ended_s + LATE_S_MAX:
            raise GuardError(
                f"{stamped['miners_acted']} of {miners} miners had their command {LATE_S_MAX:g} s "
                f"after the end of the curve; the guard said: {guard.said()}"
            )
        time.sleep(_LOOK_S)
