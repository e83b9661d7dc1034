"""One curtailment of the whole fleet, from the decision to the last miner's command.

decided ─▶ Actuator ─▶ Curtail ─▶ `naryn guard run` ─▶ its wave ─▶ peer stamps
               └─▶ what the guard did not take: the own drivers ─▶ peer stamps
"""

import asyncio
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.cli.bench.curtail_fleet import WELL, Illness, WaveFleet, build_wave_fleet
from controller.cli.bench.curtail_site import Controller, GuardProcess
from controller.cli.bench.fleet import BenchPlant
from controller.cli.bench.peer import KINDS, Peer
from controller.cli.bench.polling import (
    READS_MAX,
    PolledFleet,
    Ran,
    build_polled,
    poll_fleet,
    warm_up_s_max,
)
from controller.site.poll import PollPace
from controller.telemetry.outlet import until

PREPARE_S_MAX = 120.0
"""A fleet that is not prepared then is commanded as it is; `prepared` says so."""
COMMANDED_S_MAX = 120.0
ANSWERED_S_MAX = 60.0
_LOOK_S = 0.2
_POLL_PERIODS = 4.0


class CurtailError(Exception):
    """Not every miner that was commanded has its command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """One curtailment. Moments are from the decision, as the peer read the commands.

    `guard_nice`: its priority, see GUARD_NICE. `by_guard`: commands that left as prepared frames.
    `again`: commands given once more, for their miner was not reached. `cpu_us_per_miner`: guard
    and controller together, answers included; None where something else ran beside or not
    everybody answers.
    """

    miners: int
    guard_nice: int
    prepared: int
    by_guard: int
    again: int
    first_ms: float
    median_ms: float
    last_ms: float
    last_ms_by_firmware: Mapping[str, float]
    requests: int
    cpu_us_per_miner: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What every curtailment of a run stands on."""

    plant: BenchPlant
    peer: Peer
    folder: Path


async def wave_alone(
    ground: Ground, firmwares: Collection[str], illness: Illness = WELL, latency_ms: float = 0.0
) -> Wave:
    """Nothing else to do. Raises CurtailError, GuardError, PeerError."""
    peer, fleet = ground.peer, build_wave_fleet(ground.plant, ground.peer.ports, firmwares, illness)
    try:
        with GuardProcess(_folder(ground)) as guard:
            await guard.look()
            controller = Controller(ground.plant, fleet.rows, fleet.drivers, guard.path)
            async with controller.running():
                await guard.until_prepared(fleet.preparable, PREPARE_S_MAX)
                peer.latency(latency_ms)
                try:
                    return await _curtailed(ground, fleet, controller, guard, counts_cpu=True)
                finally:
                    peer.latency(0.0)
    finally:
        await fleet.http.close()


async def wave_while_polling(
    ground: Ground, firmwares: Collection[str], period_s: float, latency_ms: float
) -> tuple[Wave, Ran]:
    """The controller polls the whole fleet with telemetry, in the loop that decides.

    Raises CurtailError, GuardError, PeerError.
    """
    peer, fleet = ground.peer, build_wave_fleet(ground.plant, ground.peer.ports, firmwares, WELL)
    polled, folder = build_polled(ground.plant, peer, 0.0), _folder(ground)
    try:
        with GuardProcess(folder) as guard:
            await guard.look()
            controller = Controller(ground.plant, fleet.rows, polled.drivers, guard.path)
            async with controller.running():
                await guard.until_prepared(fleet.preparable, PREPARE_S_MAX)
                peer.latency(latency_ms)
                polling = asyncio.create_task(_poll(polled, peer, folder, period_s, latency_ms))
                try:
                    longest_s = warm_up_s_max(len(fleet.rows), period_s)
                    await until(lambda: len(polled.tcp.exchanges) >= len(fleet.rows), longest_s)
                    await asyncio.sleep(2.0 * period_s)  # the first of them warms up unmeasured
                    wave = await _curtailed(ground, fleet, controller, guard, counts_cpu=False)
                    return wave, await polling
                finally:
                    polling.cancel()
                    await asyncio.gather(polling, return_exceptions=True)
    finally:
        peer.latency(0.0)
        await polled.http.close()
        await fleet.http.close()


async def _poll(
    polled: PolledFleet, peer: Peer, folder: Path, period_s: float, latency_ms: float
) -> Ran:
    pace = PollPace(period_s=period_s, order_period_s=period_s, reads_max=READS_MAX)
    seconds = _POLL_PERIODS * period_s
    return await poll_fleet(polled, peer, folder, pace, seconds=seconds, latency_ms=latency_ms)


async def _curtailed(
    ground: Ground,
    fleet: WaveFleet,
    controller: Controller,
    guard: GuardProcess,
    *,
    counts_cpu: bool,
) -> Wave:
    peer, miners = ground.peer, len(fleet.rows)
    image = await guard.look()
    peer.clear()
    asked = peer.report()["asked"]
    guard_s, own_s = guard.cpu_s(), time.process_time()
    sleeps = controller.sleeps(fleet.rows)
    decided_ns = time.monotonic_ns()
    await controller.actuator.give(sleeps)
    report, again = await _commanded(peer, controller, miners)
    cpu_us = None
    if counts_cpu and not fleet.hung:
        await until(lambda: controller.actuator.under_way == 0, ANSWERED_S_MAX)
        report = await asyncio.to_thread(peer.report)
        cpu_us = 1e6 * (guard.cpu_s() - guard_s + time.process_time() - own_s) / miners
    after = await guard.look()

    def ms(moment_ns: int) -> float:
        return round((moment_ns - decided_ns) / 1e6, 1)

    return Wave(
        miners=miners,
        guard_nice=guard.nice,
        prepared=image.ready,
        by_guard=after.curtailed - image.curtailed,
        again=again,
        first_ms=ms(report["first_ns"]),
        median_ms=ms(report["median_ns"]),
        last_ms=ms(report["last_ns"]),
        last_ms_by_firmware={
            name: ms(said["last_ns"])
            for name, kind in KINDS.items()
            if (said := report["by_firmware"][str(kind)])["last_ns"] is not None
        },
        requests=report["asked"] - asked,
        cpu_us_per_miner=None if cpu_us is None else round(cpu_us, 1),
    )


async def _commanded(peer: Peer, controller: Controller, miners: int) -> tuple[dict[str, Any], int]:
    again, until_s = 0, time.monotonic() + COMMANDED_S_MAX
    while (report := await asyncio.to_thread(peer.report))["miners_acted"] < miners:
        if time.monotonic() > until_s:
            raise CurtailError(
                f"{report['miners_acted']} of {miners} miners had their command "
                f"{COMMANDED_S_MAX:g} s after the decision"
            )
        unreached = controller.unreached()
        again += len(unreached)
        await controller.actuator.give(controller.sleeps(unreached))
        await asyncio.sleep(_LOOK_S)
    if report["miners_acted"] > miners:
        raise CurtailError(
            f"{report['miners_acted']} miners had a command, and {miners} were to have one"
        )
    return report, again


def _folder(ground: Ground) -> Path:
    """Each guard has a folder of its own: it knows nothing of the one before."""
    count = sum(1 for _ in ground.folder.iterdir())
    return ground.folder / f"{count}"
