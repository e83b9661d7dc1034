"""The fleet that is polled, and one measured run of it: the real poll, the real drivers, sockets.

MinerPoll ─► driver ─► SocketTcpJson ─► C peer        the HTTP pages of stock Antminers too
    └─► Recorder ─► spool on disk ─► InfluxWriter ─► C peer (answers 204)
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controller.app.site import keep_what_stays
from controller.cli.bench.fleet import BenchPlant
from controller.cli.bench.peer import HUNG, Peer, host
from controller.cli.bench.poll_telemetry import build_recorder
from controller.clock import SystemClock
from controller.site.poll import MinerPoll, Polled, PollPace
from controller.site.slots import MinerSlots
from controller.telemetry.outlet import Outlet, until
from drivers.contract.devices import MinerDevice, MinerDriver
from drivers.miners.pyasic_any.parent import PyasicChild
from drivers.registry import Wires, build_miner, drives_by_pyasic
from drivers.transport.grpc import SocketGrpc
from drivers.transport.http import SocketHttp
from drivers.transport.ports import Endpoint
from drivers.transport.tcp_json import SocketTcpJson

READS_MAX = 2_048
LAG_PROBE_S = 0.005
_WARM_UP_PERIODS_MAX = 6.0
_FIRST_READS_PER_S_MIN = 100.0
"""A large fleet's first round takes longer than those periods; slower than this it is cut short."""
_SETTLING_PERIODS = 4.0
"""A first round that filled the core leaves late reads behind."""


class CountedTcp:
    """The fleet's transport; counts the exchanges of each miner and keeps the last requests."""

    def __init__(self) -> None:
        self._inner = SocketTcpJson()
        self.exchanges: dict[str, int] = {}
        self.requests: dict[str, list[bytes]] | None = None

    def exchange(
        self, endpoint: Endpoint, request: bytes, *, deadline_s: float, bytes_max: int
    ) -> Coroutine[Any, Any, bytes]:
        """As the port says."""
        device = endpoint.device
        self.exchanges[device] = self.exchanges.get(device, 0) + 1
        if self.requests is not None:
            self.requests.setdefault(device, []).append(request)
        return self._inner.exchange(endpoint, request, deadline_s=deadline_s, bytes_max=bytes_max)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolledFleet:
    """Drivers on one transport. `left_out`: firmwares that have no driver of their own."""

    plant: BenchPlant
    wires: Wires
    tcp: CountedTcp
    http: SocketHttp
    clock: SystemClock
    drivers: dict[str, MinerDriver]
    firmware_of: dict[str, str]
    hung: frozenset[str]
    left_out: tuple[str, ...]

    def of(self, firmware: str) -> list[MinerDriver]:
        """Drivers of the miners of one firmware that answer."""
        return [
            driver
            for name, driver in self.drivers.items()
            if self.firmware_of[name] == firmware and name not in self.hung
        ]

    @property
    def firmwares(self) -> dict[str, int]:
        """Miners by firmware, those that hang included."""
        found: dict[str, int] = {}
        for firmware in self.firmware_of.values():
            found[firmware] = found.get(firmware, 0) + 1
        return found


def build_polled(plant: BenchPlant, peer: Peer, hung_percent: float) -> PolledFleet:
    """A driver for each miner of the plant; the same share of each firmware hangs."""
    tcp, http, clock = CountedTcp(), SocketHttp(), SystemClock()
    wires = Wires(tcp=tcp, http=http, grpc=SocketGrpc(), pyasic=PyasicChild(), clock=clock)
    drivers: dict[str, MinerDriver] = {}
    firmware_of: dict[str, str] = {}
    hung, left_out, counts = set(), set(), dict[str, int]()
    for name, profile in plant.profiles.items():
        firmware = profile.firmware
        if drives_by_pyasic(firmware):
            left_out.add(firmware)
            continue
        index = counts.get(firmware, 0)
        counts[firmware] = index + 1
        hangs = int((index + 1) * hung_percent / 100.0) > int(index * hung_percent / 100.0)
        if hangs:
            hung.add(name)
        device = device_at(plant, peer, name, host(firmware, index, HUNG if hangs else 0))
        drivers[name], firmware_of[name] = build_miner(device, wires), firmware
    return PolledFleet(
        plant=plant,
        wires=wires,
        tcp=tcp,
        http=http,
        clock=clock,
        drivers=drivers,
        firmware_of=firmware_of,
        hung=frozenset(hung),
        left_out=tuple(sorted(left_out)),
    )


def device_at(plant: BenchPlant, peer: Peer, name: str, address: str) -> MinerDevice:
    """A miner of the plant as the peer answers for it there."""
    return MinerDevice(
        miner_id=name,
        host=address,
        profile=plant.profiles[name],
        model=plant.models[name],
        ports=peer.ports,
    )


@dataclass(slots=True, kw_only=True)
class Ran:
    """What the measured slices of a run showed together."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    polls: int = 0
    missed: int = 0
    timeouts: int = 0
    failed: int = 0
    babbled: Counter[str] = field(default_factory=Counter)
    """Failed reads of the babblers, by miner: these count nowhere else."""
    late_ms: list[float] = field(default_factory=list)
    """By poll: from its due time to its end, less the latency of each of its exchanges."""
    begun_late_ms: list[float] = field(default_factory=list)
    lag_ms: list[float] = field(default_factory=list)
    connections: int = 0
    asked_garbage: int = 0
    asked_huge: int = 0
    """Requests that the peer answered with garbage, and with 10 MB."""
    lines_lost: int = 0
    rss_mib: float = 0.0


class Watch:
    """Hears of every read that ends, and notes those of the measured slices."""

    def __init__(
        self,
        fleet: PolledFleet,
        latency_ms: float,
        period_s: float,
        babblers: Collection[str] = frozenset(),
    ) -> None:
        self.ran: Ran | None = None
        """What is being measured; None: nothing is."""
        self._fleet = fleet
        self._latency_s = latency_ms / 1e3
        self._period_s = period_s
        self._babblers = babblers
        self._last_begun_s: dict[str, float] = {}
        self._before: dict[str, int] = {}

    def ended(self, polled: Polled) -> None:
        """Note one."""
        name, ran = polled.miner_id, self.ran
        exchanges = self._fleet.tcp.exchanges.get(name, 0)
        made = exchanges - self._before.get(name, 0)
        self._before[name] = exchanges
        self._last_begun_s[name] = polled.begun_s
        if ran is None:
            return
        if name in self._babblers:
            if polled.missed:
                ran.babbled[name] += 1
            return
        late_s = polled.begun_s - polled.due_s
        if name in self._fleet.hung:
            ran.timeouts += polled.missed > 0
            return
        ran.missed += int(late_s / self._period_s)
        if polled.missed:
            ran.failed += 1
            return
        ran.polls += 1
        ran.begun_late_ms.append(1e3 * late_s)
        ended_s = time.monotonic() - polled.due_s
        ran.late_ms.append(1e3 * (ended_s - made * self._latency_s))

    def overdue(self, now_s: float) -> int:
        """Miners that answer, and whose last read began more than one and a half periods ago."""
        since_s = now_s - 1.5 * self._period_s
        return sum(
            self._last_begun_s.get(name, 0.0) < since_s
            for name in self._fleet.drivers
            if name not in self._fleet.hung and name not in self._babblers
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Polling:
    """The poll of a fleet, under way: slices of its time can be measured."""

    poll: MinerPoll
    watch: Watch
    peer: Peer
    outlet: Outlet

    @asynccontextmanager
    async def measured(self, ran: Ran) -> AsyncIterator[None]:
        """What happens meanwhile is added to `ran`."""
        before = await asyncio.to_thread(self.peer.report)
        self.watch.ran = ran
        begun_s, cpu_s = time.monotonic(), time.process_time()
        yield
        self.watch.ran = None
        ended_s = time.monotonic()
        ran.cpu_s += time.process_time() - cpu_s
        ran.seconds += ended_s - begun_s
        ran.rss_mib = rss_mib()
        ran.missed += self.watch.overdue(ended_s)
        ran.lines_lost = self.outlet.facts().lost
        after = await asyncio.to_thread(self.peer.report)
        ran.connections += after["accepted"] - before["accepted"]
        ran.asked_garbage += after["asked_garbage"] - before["asked_garbage"]
        ran.asked_huge += after["asked_huge"] - before["asked_huge"]


@asynccontextmanager
async def polling(
    fleet: PolledFleet,
    peer: Peer,
    folder: Path,
    pace: PollPace,
    latency_ms: float,
    babblers: Collection[str] = frozenset(),
) -> AsyncIterator[Polling]:
    """Poll the fleet with telemetry; it is there once every miner that answers was read.

    What the babblers answer does not count.
    """
    watch = Watch(fleet, latency_ms, pace.period_s, babblers)
    slots, clock = MinerSlots(), fleet.clock
    async with AsyncExitStack() as stack:
        recorder, outlet = build_recorder(fleet.plant.site, fleet.drivers, clock, peer, folder)
        await stack.enter_async_context(recorder)
        rng = random.Random(1)  # noqa: S311 - the same spread of the first round in each run
        poll = MinerPoll(fleet.drivers, slots, clock, pace, rng, recorder.heard, ended=watch.ended)
        keep_what_stays()  # as `naryn run` does once it is put together
        tasks = [asyncio.create_task(poll.run()), asyncio.create_task(_probe(watch))]
        stack.push_async_callback(_end, tasks)
        answering = len(fleet.drivers) - len(fleet.hung)
        longest_s = warm_up_s_max(len(fleet.drivers), pace.period_s)
        await until(lambda: len(slots.readings) >= answering, longest_s)
        await asyncio.sleep(_SETTLING_PERIODS * pace.period_s)
        yield Polling(poll=poll, watch=watch, peer=peer, outlet=outlet)


async def poll_fleet(
    fleet: PolledFleet,
    peer: Peer,
    folder: Path,
    pace: PollPace,
    *,
    seconds: float,
    latency_ms: float,
) -> Ran:
    """Poll the fleet with telemetry and measure one slice of so long."""
    ran = Ran()
    whole = polling(fleet, peer, folder, pace, latency_ms)
    async with whole as under_way, under_way.measured(ran):
        await asyncio.sleep(seconds)
    return ran


def warm_up_s_max(miners: int, period_s: float) -> float:
    """How long to wait for a first round of so many."""
    return _WARM_UP_PERIODS_MAX * period_s + miners / _FIRST_READS_PER_S_MIN


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result


async def _probe(watch: Watch) -> None:
    """How late the loop wakes one who slept."""
    while True:
        due_s = time.monotonic() + LAG_PROBE_S
        await asyncio.sleep(LAG_PROBE_S)
        if watch.ran is not None:
            watch.ran.lag_ms.append(1e3 * max(0.0, time.monotonic() - due_s))


def rss_mib() -> float:
    """Memory of this process that is in use now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
