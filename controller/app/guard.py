"""Builds `naryn guard run`: its own drivers, frames and waves; nothing of `naryn run` is in it."""

import asyncio
import resource
from collections.abc import Callable, Iterable, Mapping

import msgspec
import structlog

from controller.app.fleet import read_logins
from controller.app.site import keep_what_stays
from controller.app.trusted import read_hold_keys
from controller.channel.guard import Entry
from controller.channel.server import ChannelServer
from controller.clock import SystemClock
from controller.config.load import SiteConfig
from controller.config.problems import ConfigError, Problem
from controller.config.schema import GuardSection
from controller.guard.desk import Guard
from controller.guard.heartbeat import Heartbeat
from controller.guard.holding import Holding
from controller.guard.shedder import Shedder
from controller.guard.store import Store
from controller.guard.waves import SendWave
from controller.health import serve_health
from controller.power.site import FailsafeCurve
from drivers.contract.commands import Outcome
from drivers.contract.devices import Login, MinerDevice, MinerDriver
from drivers.contract.frames import SleepFrame
from drivers.miners.pyasic_any.port import Heard, MemoryPyasic
from drivers.profiles import Catalogue, ProfileError, load_catalogue
from drivers.registry import JUDGES, MINERS, Wires, build_miner, drives_by_pyasic
from drivers.transport.grpc import SocketGrpc
from drivers.transport.http import SocketHttp
from drivers.transport.modbus import SocketModbus
from drivers.transport.ports import Endpoint
from drivers.transport.tcp_json import SocketTcpJson
from drivers.transport.wave import send_wave

_log = structlog.get_logger()

_OTHER_HANDLES = 256
"""Open files that are not a wave's: reads, preparations, channel, log."""


def guard_section(config: SiteConfig) -> GuardSection:
    """The `[guard]` table. Raises ConfigError when the site has none."""
    if config.file.guard is None:
        mend = "has no [guard] table: write one; docs/operations.md says what belongs there"
        raise ConfigError([Problem(file=config.path, key="guard", value="", mend=mend)])
    return config.file.guard


async def run(config: SiteConfig) -> None:
    """`naryn guard run`, until cancelled.

    Raises ConfigError, StoreError, ChannelError with a sentence for people.
    """
    section, clock = guard_section(config), SystemClock()
    http, modbus = SocketHttp(), SocketModbus()
    heartbeat = _heartbeat(section, modbus, clock)
    shedder = Shedder(_sender(), clock)
    site_id = config.file.site.id
    store = Store(config.guard_dir, site_id)
    guard = Guard(
        site_id,
        FailsafeCurve(
            hold_s=section.silence_s, decay_s=section.decay_s, value_w=section.failsafe_kw * 1000
        ),
        store,
        shedder,
        Holding(site_id, read_hold_keys(config), store, clock),
        _Builder(read_logins(config), load_catalogue(), http, clock).build,
        clock,
        heartbeat,
    )
    try:
        async with (
            ChannelServer(config.guard_path, guard.answer, shared=section.socket is not None),
            serve_health("guard", section.host, section.port, guard.not_ready),
        ):
            guard.load()
            keep_what_stays()
            _log.info("guard_running", site=site_id, silence_s=section.silence_s)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(guard.run())
                tasks.create_task(shedder.run())
                if heartbeat is not None:
                    tasks.create_task(heartbeat.run())
    finally:
        await shedder.close()
        await modbus.close()
        await http.close()


def _heartbeat(section: GuardSection, modbus: SocketModbus, clock: SystemClock) -> Heartbeat | None:
    relay = section.heartbeat
    if relay is None:
        return None
    return Heartbeat(
        modbus,
        Endpoint(device="relay", host=relay.host, port=relay.port),
        unit_id=relay.unit_id,
        coil=relay.coil,
        period_s=relay.period_s,
        grace_s=relay.grace_s,
        clock=clock,
    )


class _Builder:
    """Makes drivers for a ladder's entries, and keeps those whose entry has not changed: a driver
    holds its logins.
    """

    def __init__(
        self,
        logins: Mapping[str, Login],
        catalogue: Catalogue,
        http: SocketHttp,
        clock: SystemClock,
    ) -> None:
        self._logins = logins
        self._catalogue = catalogue
        # A guard has no pyasic: miners that need it are left out before a driver is made.
        nobody = MemoryPyasic(lambda _: Heard(said=None), lambda *_: Heard(said=None))
        self._wires = Wires(
            tcp=SocketTcpJson(), http=http, grpc=SocketGrpc(), pyasic=nobody, clock=clock
        )
        self._made: dict[str, tuple[Entry, MinerDriver]] = {}

    def build(self, entries: tuple[Entry, ...]) -> dict[str, MinerDriver]:
        """Drivers by miner; left out are those that only the controller can command."""
        made: dict[str, tuple[Entry, MinerDriver]] = {}
        for entry in entries:
            who = msgspec.structs.replace(entry, power_w=0.0)
            kept = self._made.get(entry.miner_id)
            if kept is not None and kept[0] == who:
                made[entry.miner_id] = kept
            elif (driver := self._driver(entry)) is not None:
                made[entry.miner_id] = (who, driver)
        self._made = made
        return {name: driver for name, (_, driver) in made.items()}

    def _driver(self, entry: Entry) -> MinerDriver | None:
        if entry.firmware not in MINERS or drives_by_pyasic(entry.firmware):
            return None
        try:
            device = MinerDevice(
                miner_id=entry.miner_id,
                host=entry.host,
                profile=self._catalogue.profile(entry.firmware),
                model=self._catalogue.model(entry.model),
                login=self._logins.get(entry.firmware),
                ports=entry.ports,
            )
            return build_miner(device, self._wires)
        except (ProfileError, ValueError) as error:
            _log.error("miner_not_covered", miner=entry.miner_id, error=str(error))
            return None


def _sender() -> SendWave:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_max = max(_OTHER_HANDLES, soft - _OTHER_HANDLES)

    def send(
        frames: Iterable[SleepFrame],
        answered: Callable[[SleepFrame, Outcome], None],
        stopped: Callable[[], bool],
    ) -> None:
        send_wave(frames, JUDGES, answered, open_max=open_max, stopped=stopped)

    return send
