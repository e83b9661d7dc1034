"""The simulated fleet as the inventory CSV that a site would import."""

import csv
from collections.abc import Mapping
from typing import TextIO

from simulators.physics.miner_models import rating_of
from simulators.scenario import Scenario

COLUMNS = ("miner_id", "host", "firmware", "make", "model", "feeder", "rack", "tier", "ports")
RACK_MINERS = 24
"""A group that names no rack is spread over racks of so many."""


def write_inventory(scenario: Scenario, ports: Mapping[str, int], out: TextIO) -> None:
    """Write one row a miner; `ports` are those that differ from the firmwares' own, by name."""
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(COLUMNS)
    moved = " ".join(f"{name}={port}" for name, port in sorted(ports.items()))
    numbers = dict.fromkeys((feeder.id for feeder in scenario.feeders), 0)
    for fleet in scenario.fleets:
        rating = rating_of(fleet.model)
        for host in fleet.hosts:
            numbers[fleet.feeder] += 1
            number = numbers[fleet.feeder]
            rack = fleet.rack or f"{fleet.feeder}-{(number - 1) // RACK_MINERS + 1:02d}"
            rows.writerow(
                (
                    f"{fleet.feeder}-{number:04d}",
                    host,
                    fleet.firmware,
                    rating.make,
                    fleet.model,
                    fleet.feeder,
                    rack,
                    fleet.tier,
                    moved,
                )
            )
