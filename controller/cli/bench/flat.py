"""Polls without a schedule: what our drivers send, and what it costs them flat out."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

from controller.cli.bench.polling import PolledFleet
from drivers.contract.devices import MinerDriver
from drivers.contract.errors import DeviceError

FLAT_IN_FLIGHT = 200


async def usual_requests(fleet: PolledFleet) -> dict[str, list[bytes]]:
    """By firmware: what its driver sends in a poll that reads the live values only.

    Raises DeviceError when the peer does not answer as that firmware.
    """
    found: dict[str, list[bytes]] = {}
    for firmware in fleet.firmwares:
        driver = fleet.of(firmware)[0]
        await driver.read()  # the first one asks for more: who it is, its pools
        fleet.tcp.requests = {}
        await driver.read()
        (found[firmware],) = fleet.tcp.requests.values()
        fleet.tcp.requests = None
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Flat:
    """Polls as fast as one core makes them, without a schedule."""

    polls: int
    failed: int
    cpu_us_per_poll: float


async def poll_flat(drivers: Sequence[MinerDriver], seconds: float) -> Flat:
    """Read these in turn, many at once, after each was read once already."""
    turn, polls, failed = cycle(drivers), 0, 0
    warm = iter(drivers)  # a first read asks for more; a second one in a later slice does no harm

    async def work(source: Iterator[MinerDriver], until_s: float) -> None:
        nonlocal polls, failed
        for driver in source:
            try:
                await driver.read()
                polls += 1
            except DeviceError:
                failed += 1
            if time.monotonic() >= until_s:
                return

    await asyncio.gather(*(work(warm, float("inf")) for _ in range(FLAT_IN_FLIGHT)))
    polls, failed = 0, 0
    cpu_ns, until_s = time.process_time_ns(), time.monotonic() + seconds
    await asyncio.gather(*(work(turn, until_s) for _ in range(FLAT_IN_FLIGHT)))
    spent_us = (time.process_time_ns() - cpu_ns) / 1e3
    return Flat(polls=polls, failed=failed, cpu_us_per_poll=spent_us / max(1, polls))
