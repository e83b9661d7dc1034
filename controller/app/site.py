"""Builds `naryn run`: the same parts over sockets or, for scenarios, their in-memory twins."""

import asyncio
import gc
import random
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from uuid import uuid4

import msgspec
import structlog

from controller.app.dispatch import DispatchKeys, build_desk, build_link
from controller.app.fleet import Fleet, build_fleet
from controller.app.meters import Meter, build_meters
from controller.app.pace import poll_pace, say_pace
from controller.app.telemetry import (
    build_history,
    build_recorder,
    database_address,
    with_history,
)
from controller.app.trusted import read_hold_keys
from controller.channel.frames import ChannelError
from controller.channel.server import ChannelServer
from controller.channel.view import AlarmView, SiteImage
from controller.clock import SiteClock, SystemClock
from controller.config.load import SiteConfig, build_site
from controller.config.problems import ConfigError, Problem
from controller.dispatch.ports import Link
from controller.health import serve_health
from controller.power.decide import MinerCommand
from controller.power.resume import after_reboot
from controller.power.site import Site
from controller.power.state import State
from controller.power.targets import command_for
from controller.site.acts import ActDesk
from controller.site.actuate import Actuator
from controller.site.guarded import GuardLink
from controller.site.journal import Journal, Restored
from controller.site.lock import SiteLock
from controller.site.picture import Pages
from controller.site.poll import MinerPoll, PollPace, poll_meter
from controller.site.slots import MinerSlots, Slots
from controller.site.tick import DESK_BLOB, Parts, Ticker
from controller.telemetry.recorder import Recorder
from drivers.contract.commands import Sleep
from drivers.miners.pyasic_any.parent import PyasicChild
from drivers.miners.pyasic_any.port import PyasicPort
from drivers.profiles import load_catalogue
from drivers.registry import Wires, build_miner, drives_by_pyasic
from drivers.transport.grpc import SocketGrpc
from drivers.transport.http import SocketHttp
from drivers.transport.modbus import SocketModbus
from drivers.transport.ports import Grpc, Http, Modbus, TcpJson
from drivers.transport.tcp_json import SocketTcpJson

_log = structlog.get_logger()

_GC_THRESHOLDS = (10_000, 20, 200)
"""Five times as many at once stop the loop for 190 ms: what h2 leaves behind are circles."""
BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What a site touches: real sockets and clocks, or their twins."""

    clock: SiteClock
    tcp: TcpJson
    http: Http
    grpc: Grpc
    modbus: Modbus
    pyasic: PyasicPort
    rng: random.Random
    boot_id: str
    opened: Callable[[], int] = int
    """How many connections to miners were begun so far; the twins begin none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSite:
    """A site put together and not yet started."""

    site: Site
    fleet: Fleet
    ticker: Ticker
    slots: Slots
    pace: PollPace
    poll: MinerPoll
    meters: dict[str, Meter]
    actuator: Actuator
    acts: ActDesk
    clock: SiteClock
    again: tuple[MinerCommand, ...]
    """Commands that were journaled and may not have left."""
    recorder: Recorder | None
    guard: GuardLink | None

    async def run(self) -> None:
        """Poll and tick for ever; the first part that fails ends all."""
        try:
            await self.actuator.give(self.again)
            async with asyncio.TaskGroup() as tasks:
                for meter in self.meters.values():
                    tasks.create_task(
                        poll_meter(meter.driver, meter.slot, self.clock, meter.period_s)
                    )
                tasks.create_task(self.poll.run())
                if self.guard is not None:
                    tasks.create_task(self.guard.run())
                await asyncio.sleep(self.site.policy.tick_s)  # so that the first image has meters
                tasks.create_task(self.ticker.run())
        finally:
            await self.actuator.close()


def assemble(
    config: SiteConfig,
    outside: Outside,
    journal: Journal,
    restored: Restored,
    link: Link | None,
    keys: DispatchKeys | None,
    publish: Callable[[SiteImage], None],
    recorder_of: Callable[[Site, Fleet], Recorder] | None = None,
    guard_of: Callable[[Site, Fleet], GuardLink] | None = None,
) -> RunningSite:
    """Put a site together. Raises ConfigError with what does not fit.

    Without `recorder_of` nothing is recorded; without `guard_of` nobody watches over it.
    """
    fleet = build_fleet(restored.inventory, config, load_catalogue())
    site = build_site(config, dict(fleet.miners))
    wires = Wires(
        tcp=outside.tcp,
        http=outside.http,
        grpc=outside.grpc,
        pyasic=outside.pyasic,
        clock=outside.clock,
    )
    drivers = {name: build_miner(device, wires) for name, device in fleet.devices.items()}
    meters = build_meters(config, outside.modbus, outside.clock)
    slots = Slots(miners=MinerSlots(), meters={name: meter.slot for name, meter in meters.items()})
    pages = Pages(site, config.file.site.name, fleet.rows, slots)
    guard = None if guard_of is None else guard_of(site, fleet)
    acts = ActDesk(site, pages, lambda: guard is not None and guard.watches())
    desk = None
    if link is not None and keys is not None:
        desk = build_desk(site, config, link, keys, restored.blobs.get(DESK_BLOB))
    pace = poll_pace(config, fleet.devices)
    recorder = None if recorder_of is None else recorder_of(site, fleet)
    heard = None if recorder is None else recorder.heard

    def side_alarms() -> list[AlarmView]:
        return [
            *(() if recorder is None else recorder.alarms()),
            *(() if guard is None else guard.alarms()),
        ]

    def shown(image: SiteImage) -> None:
        if recorder is not None:
            recorder.saw(image)
        publish(image)

    poll = MinerPoll(
        drivers, slots.miners, outside.clock, pace, outside.rng, heard, opened=outside.opened
    )
    actuator = Actuator(drivers, slots, guard)
    parts = Parts(
        site=site,
        clock=outside.clock,
        slots=slots,
        poll=poll,
        actuator=actuator,
        journal=journal,
        acts=acts,
        pages=pages,
        desk=desk,
        publish=shown,
        guard=guard,
        side_alarms=side_alarms,
    )
    rebooted = restored.boot_id is not None and restored.boot_id != outside.boot_id
    state, gone = _resumed(restored, site, outside.clock, rebooted=rebooted)
    now_s = None if rebooted else outside.clock.monotonic_s()
    return RunningSite(
        site=site,
        fleet=fleet,
        ticker=Ticker(parts, state, forgotten=gone),
        slots=slots,
        pace=pace,
        poll=poll,
        meters=meters,
        actuator=actuator,
        acts=acts,
        clock=outside.clock,
        again=tuple(in_flight(state, site, now_s)),
        recorder=recorder,
        guard=guard,
    )


def _resumed(
    restored: Restored, site: Site, clock: SiteClock, *, rebooted: bool
) -> tuple[State, list[str]]:
    """The journal's state for this boot, and the miners gone from the inventory: forgotten."""
    state = restored.state
    if rebooted:
        state = after_reboot(
            state, clock.monotonic_s(), None if clock.synced() is False else clock.utc()
        )
    targets = {name: t for name, t in state.targets.items() if name in site.miners}
    gone = [name for name in state.targets if name not in targets]
    return replace(state, targets=targets), gone


def in_flight(state: State, site: Site, now_s: float | None) -> Iterator[MinerCommand]:
    """Commands that were journaled and may not have left: a restart sends them again.

    Never to a miner that a person has tagged, or on a feeder that is no longer armed. What raises
    the load is sent again only while its time is not over, and so counted: an older one may meet a
    lower limit by now, and the tick decides anew. `now_s` None: all ages are unknown.
    """
    for name, target in state.targets.items():
        command, miner = command_for(target), site.miners[name]
        if command is None or name in state.tags:
            continue
        if site.feeder_of[miner.node_id] not in state.armed:
            continue
        young = now_s is not None and now_s - target.commanded_s < miner.dynamics.up_s
        if isinstance(command, Sleep) or young:
            yield MinerCommand(miner_id=name, command=command, commanded_s=target.commanded_s)


async def run(config: SiteConfig) -> None:
    """`naryn run`: over real sockets, until cancelled.

    Raises ConfigError, SiteLockError, JournalError, ChannelError with a sentence for people.
    """
    clock, rng = SystemClock(trusted=config.file.site.clock == "host"), random.Random()  # noqa: S311
    boot_id = BOOT_ID_FILE.read_text().strip()  # noqa: ASYNC240 - procfs answers at once
    with SiteLock(config.state_dir):
        journal = Journal(
            config.state_dir / "journal.db",
            site_id=config.file.site.id,
            boot_id=boot_id,
            now=clock.utc(),
        )
        with journal:
            await _run(config, journal, clock, rng, boot_id)


def check_site(config: SiteConfig) -> None:
    """Read all that `run` would read beside the journal. Raises ConfigError with every problem."""
    problems: list[Problem] = []
    checks: list[Callable[[], object]] = [
        lambda: build_meters(config, SocketModbus(), SystemClock()),
        lambda: build_fleet([], config, load_catalogue()),
        lambda: database_address(config),
        lambda: read_hold_keys(config),
    ]
    if config.file.dispatch is not None:
        checks.append(lambda: DispatchKeys(config))
    for check in checks:
        try:
            check()
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)


def keep_what_stays() -> None:
    """Take the site's own objects out of the garbage collector's way.

    A full collection over ten thousand miners' records stops a tick for tens of milliseconds, and
    finds nothing: they live as long as the process (docs/benchmarks.md). What comes and goes is
    freed without the collector; it looks for the rest seldom.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def _guard_link(config: SiteConfig, clock: SystemClock, site: Site, fleet: Fleet) -> GuardLink:
    return GuardLink(config.guard_path, site, fleet.rows, uuid4().hex, clock)


async def _run(
    config: SiteConfig, journal: Journal, clock: SystemClock, rng: random.Random, boot_id: str
) -> None:
    restored = journal.load()
    keys = DispatchKeys(config) if config.file.dispatch is not None else None
    link = None if keys is None else build_link(config, keys, clock, clock, rng)
    history, address = build_history(config, clock), database_address(config)
    published: list[ChannelServer] = []

    def publish(image: SiteImage) -> None:
        for server in published:
            try:
                server.publish(msgspec.msgpack.encode(image))
            except ChannelError as error:  # what nobody can be shown must not stop the site
                _log.error("image_not_shown", error=str(error))

    async with AsyncExitStack() as stack:
        tcp, http, grpc, modbus = SocketTcpJson(), SocketHttp(), SocketGrpc(), SocketModbus()
        stack.push_async_callback(http.close)
        stack.push_async_callback(modbus.close)
        needs_pyasic = any(drives_by_pyasic(row.firmware) for row in restored.inventory)
        pyasic = PyasicChild()
        outside = Outside(
            clock=clock,
            tcp=tcp,
            http=http,
            grpc=grpc,
            modbus=modbus,
            pyasic=pyasic,
            rng=rng,
            boot_id=boot_id,
            opened=lambda: tcp.opened + http.opened + grpc.opened,
        )
        recorder_of = partial(build_recorder, config, clock, history, address)
        guard_of = None if config.file.guard is None else partial(_guard_link, config, clock)
        running = assemble(
            config, outside, journal, restored, link, keys, publish, recorder_of, guard_of
        )
        if running.recorder is not None:
            await stack.enter_async_context(running.recorder)
        if needs_pyasic:
            await stack.enter_async_context(pyasic)
        keep_what_stays()
        say_pace(running.pace, len(running.fleet.miners))
        _log.info(
            "site_running",
            site=config.file.site.id,
            miners=len(running.fleet.miners),
            meters=len(running.meters),
            armed=running.ticker.state.armed,
            dispatcher=link is not None,
        )
        answer = with_history(history, running.acts.answer)
        server = ChannelServer(config.channel_path, answer)
        published.append(await stack.enter_async_context(server))
        health = config.file.health
        reasons = running.ticker.not_ready
        await stack.enter_async_context(serve_health("run", health.host, health.port, reasons))
        if link is not None:
            await stack.enter_async_context(link)
        await running.run()
