"""A guarded site as far as the benchmarks need one: a real `naryn guard run`, and who beats.

GuardProcess     `naryn guard run` on a site.toml in a temporary folder
Controller       the real GuardLink and Actuator of `naryn run`; its ticks decide nothing
"""

import asyncio
import contextlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Self

import msgspec

from controller.app.site import keep_what_stays
from controller.channel.client import connect
from controller.channel.frames import ChannelError
from controller.channel.guard import GuardImage, Look
from controller.cli.bench.fleet import BenchPlant
from controller.clock import SystemClock
from controller.config.inventory import InventoryRow
from controller.power.decide import MinerCommand
from controller.power.image import Image
from controller.power.ledger import project
from controller.power.state import State
from controller.site.actuate import Actuator
from controller.site.guarded import GuardLink
from controller.site.slots import MinerSlots, Slots
from drivers.contract.commands import RefusalReason, Refused, Sleep
from drivers.contract.devices import MinerDriver

READY_S = 60.0
GUARD_NICE = -10
"""As the guard's unit has it; where this user may not, the guard waits its turn like everybody."""
_END_S = 10.0
_TICK_S = 1.0
_LOOK_S = 0.25
_LOG_CHARACTERS_MAX = 2_000

_SITE = """
[site]
id = "bench"

[control]
ramp_up_mw_per_min = 60.0
ramp_down_mw_per_min = 60.0

[[node]]
id = "plant"
kind = "plant"
rating_kw = 1000000

[health]
port = 0

[guard]
silence_s = {silence_s}
decay_s = {decay_s}
failsafe_kw = 0
port = 0
"""


def allow_connections() -> None:
    """As `naryn guard run` does: a wave holds a connection to each miner."""
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class GuardError(Exception):
    """The guard does not do what is to be measured; says what it did instead."""


class GuardProcess:
    """A running `naryn guard run`: a context manager that ends it, by its pid."""

    def __init__(self, folder: Path, *, silence_s: float = 60.0, decay_s: float = 0.0) -> None:
        """`folder` is the site's own: the same folder is the same guard, started again."""
        folder.mkdir(mode=0o700, exist_ok=True)
        config = folder / "site.toml"
        config.write_text(_SITE.format(silence_s=silence_s, decay_s=decay_s))
        self.path = folder / "state" / "run" / "guard.sock"
        self._log = folder / "guard.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own
                [sys.executable, "-m", "controller.cli.main", "guard", "run", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self._process.pid, GUARD_NICE)
        self.nice = os.getpriority(os.PRIO_PROCESS, self._process.pid)

    def cpu_s(self) -> float:
        """Processor time of the whole process so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def look(self) -> GuardImage:
        """What it knows now. Raises GuardError when it does not answer within READY_S."""
        until_s = time.monotonic() + READY_S
        ask = msgspec.msgpack.encode(Look(site_id="bench"))
        while True:
            try:
                async with connect(self.path, "naryn guard run") as client:
                    body = await client.request(ask, READY_S)
                return msgspec.msgpack.decode(body, type=GuardImage)
            except ChannelError as error:
                if self._process.poll() is not None or time.monotonic() > until_s:
                    raise GuardError(f"{error}; the guard said: {self.said()}") from None
            await asyncio.sleep(_LOOK_S)

    async def until_prepared(self, miners: int, within_s: float) -> int:
        """Wait until that many commands lie prepared, or the time is over; returns how many do."""
        until_s = time.monotonic() + within_s
        while True:
            image = await self.look()
            if image.ready >= miners or time.monotonic() > until_s:
                return image.ready
            await asyncio.sleep(_LOOK_S)

    def said(self) -> str:
        """The end of its log."""
        return self._log.read_text(errors="replace")[-_LOG_CHARACTERS_MAX:].strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Controller:
    """The controller's half: beats, gives the ladder of every miner in `rows`, and commands."""

    def __init__(
        self,
        plant: BenchPlant,
        rows: Mapping[str, InventoryRow],
        drivers: Mapping[str, MinerDriver],
        guard_path: Path,
    ) -> None:
        site, self._clock = plant.site, SystemClock()
        epoch = f"bench {os.getpid()}"
        self.link = GuardLink(guard_path, site, rows, epoch, self._clock)
        self._slots = Slots(miners=MinerSlots(), meters={})
        self.actuator = Actuator(drivers, self._slots, self.link)
        # Whoever is not in `rows` is locked out, and so is no part of the ladder.
        tags = {name: "not part of this run" for name in site.miners if name not in rows}
        self._state = State(armed=site.feeders, tags=tags)
        self._site = site

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Beat as long as this is entered."""
        keep_what_stays()  # as `naryn run` does once it is put together
        tasks = [asyncio.create_task(self.link.run()), asyncio.create_task(self._tick())]
        try:
            yield self
        finally:
            await self.actuator.close()
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception):
                    raise result

    def sleeps(self, names: Iterable[str]) -> list[MinerCommand]:
        """Commands as a tick decides them."""
        now_s = self._clock.monotonic_s()
        return [MinerCommand(miner_id=name, command=Sleep(), commanded_s=now_s) for name in names]

    def unreached(self) -> list[str]:
        """Miners whose last command did not leave; a tick would decide it once more."""
        return [
            answered.miner_id
            for answered in self._slots.take_answered()
            if isinstance(answered.outcome, Refused)
            and answered.outcome.reason is RefusalReason.UNREACHABLE
        ]

    async def _tick(self) -> None:
        while True:
            image = Image(
                now=self._clock.utc(), now_s=self._clock.monotonic_s(), meters={}, miners={}
            )
            self.link.ticked(self._state, image, project(self._state, image, self._site))
            await asyncio.sleep(_TICK_S)
