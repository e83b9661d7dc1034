"""The controller that `naryn bench watchdog` kills: it beats and gives the ladder, and no more.

python -m controller.cli.bench.watchdog_controller MINERS PORTS GUARD_SOCKET
"""

import asyncio
import json
import sys
from pathlib import Path

import uvloop

from controller import log
from controller.cli.bench.curtail_fleet import WELL, build_wave_fleet
from controller.cli.bench.curtail_site import Controller
from controller.cli.bench.fleet import MIX, build_plant
from drivers.profiles import load_catalogue


async def beat(miners: int, ports: dict[str, int], guard_path: Path) -> None:
    """Beat until standard input ends, which it does at the latest with the parent."""
    plant = build_plant(miners, load_catalogue())
    fleet = build_wave_fleet(plant, ports, [firmware for firmware, _, _ in MIX], WELL)
    try:
        async with Controller(plant, fleet.rows, fleet.drivers, guard_path).running():
            await asyncio.to_thread(sys.stdin.read)
    finally:
        await fleet.http.close()


def main() -> None:
    """See above."""
    log.configure(as_json=False)
    miners, ports, guard_path = sys.argv[1:]
    uvloop.run(beat(int(miners), json.loads(ports), Path(guard_path)))


if __name__ == "__main__":
    main()
