"""Runs a world in real time and serves every miner, meter and PLC of it over sockets."""

import asyncio
import json
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from simulators.devices.listener import DEFAULT_PORTS, serve_fleet
from simulators.devices.meters import next_after
from simulators.devices.modbus_server import serve_modbus
from simulators.scenario import Scenario
from simulators.world import World

CATCH_UP_S = 1.0
"""After a pause of the process the world catches up in portions of this; sockets live on."""
TRUTH_PERIOD_S = 1.0


async def serve(
    scenario: Scenario,
    *,
    ports: Mapping[str, int],
    seed: int | None,
    truth: Path | None,
    out: TextIO,
) -> None:
    """Serve the scenario until SIGTERM or SIGINT; print one JSON line to `out` when all listen.

    `ports` moves miners' services, by name. Raises OSError, with a sentence for people, when a port
    or the truth file cannot be had.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    world = World(scenario, seed=seed, start_utc=datetime.now(UTC))
    started_s = loop.time()

    def now_s() -> float:
        return loop.time() - started_s

    async with AsyncExitStack() as stack:
        record = TruthFile(truth) if truth else None
        if record:
            stack.callback(record.close)
        for meter in world.meters.values():
            setup = meter.setup
            await stack.enter_async_context(
                serve_modbus(meter, setup.host, setup.port, now_s=now_s)
            )
        listening = await stack.enter_async_context(
            serve_fleet(world.miners, now_s=now_s, ports={**DEFAULT_PORTS, **ports})
        )
        out.write(json.dumps(_ready(world, listening)) + "\n")
        out.flush()
        await _run(world, now_s, stop, record)


async def _run(
    world: World, now_s: Callable[[], float], stop: asyncio.Event, record: "TruthFile | None"
) -> None:
    step_s = world.scenario.step_s
    next_truth_s = 0.0
    while not stop.is_set():
        world.step_to(min(now_s(), world.now_s + CATCH_UP_S))
        if record and world.now_s >= next_truth_s:
            next_truth_s = next_after(next_truth_s, TRUTH_PERIOD_S, world.now_s)
            record.append(world.truth())
        rest_s = world.now_s + step_s - now_s()
        if rest_s <= 0.0:
            await asyncio.sleep(0.0)
            continue
        try:
            await asyncio.wait_for(stop.wait(), rest_s)
        except TimeoutError:
            continue


class TruthFile:
    """A file that grows by one whole JSON line at a time: a reader never sees a torn one."""

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        try:
            self._handle = os.open(path, flags, 0o644)
        except OSError as error:
            sentence = f"truth file {path}: {error.strerror}; give a path that can be written"
            raise OSError(error.errno, sentence) from error

    def append(self, state: Mapping[str, object]) -> None:
        """Add one line in one write."""
        os.write(self._handle, json.dumps(state, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)


def _ready(world: World, ports: Mapping[str, int]) -> dict[str, object]:
    return {
        "ready": True,
        "scenario": world.scenario.name,
        "title": world.scenario.title,
        "seed": world.seed,
        "pid": os.getpid(),
        "start_utc": world.start_utc.isoformat(timespec="milliseconds"),
        "miners": len(world.miners),
        "ports": dict(ports),
        "meters": {
            meter.id: {
                "product": meter.setup.product,
                "measures": meter.setup.measures,
                "host": meter.setup.host,
                "port": meter.setup.port,
                "unit_id": meter.unit_id,
            }
            for meter in world.meters.values()
        },
    }
