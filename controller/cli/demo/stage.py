"""Puts the demonstration on stage: every process, in the order in which one needs the other."""

import asyncio
import json
import time
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from controller.channel.frames import ChannelError
from controller.channel.view import Arm
from controller.cli.demo.database import Database
from controller.cli.demo.ground import (
    ISSUER,
    Ground,
    Timetable,
    lay_inventory,
    lay_keys,
    lay_site,
    site_template,
)
from controller.cli.demo.interruptions import BROKER, DATABASE, Interruption, interrupt
from controller.cli.demo.money import Money
from controller.cli.demo.ports import Ports
from controller.cli.demo.processes import Child, Processes
from controller.cli.demo.story import Evening
from controller.cli.options import ask
from controller.config.load import SiteConfig

SCENARIO = "evening"
_SITE_ID = "demo-hpp"
_WARM_UP_S = 14.0
"""From writing the configuration to the script: start, arm, first readings."""
_FOR_EVER_S = 86_400
_ARM_S = 30.0
"""Longest wait until the controller answers and its guard watches."""

_TABLES = """
[health]
port = {health}

[console]
port = {console}
treasury_state_dir = "treasury"

[guard]
port = {guard}
silence_s = 60
decay_s = 30
failsafe_kw = 300
"""
_TELEMETRY = """
[telemetry]
url = "http://127.0.0.1:{database}"
bucket = "naryn/autogen"
timeout_s = 3
"""


class Stage:
    """Every process of one demonstration. `database` is None where InfluxDB is not installed."""

    def __init__(self, ground: Ground, ports: Ports, processes: Processes) -> None:
        self.money = Money(ground, ports)
        self.database = Database.found(
            ground.folder / "database", ports.database, ports.influxd, ports.influxd_rpc
        )
        self.receipts: dict[str, list[str]] = {}
        self.interrupted: list[str] = []
        self._ground = ground
        self._ports = ports
        self._processes = processes
        self._controller: Child | None = None

    @property
    def plan(self) -> tuple[Interruption, ...]:
        """What will be taken away and given back."""
        return (BROKER,) if self.database is None else (BROKER, DATABASE)

    async def begin(self) -> tuple[SiteConfig, Timetable, int]:
        """Start everything but the dispatcher, and arm the feeders. Returns the miners' count."""
        ground, processes, ports = self._ground, self._processes, self._ports
        lay_keys(ground)
        broker = await processes.start(
            "broker", "controller.cli.demo.broker", "--port", str(ports.broker)
        )
        plant = await processes.start(
            "plant",
            "simulators",
            "serve",
            SCENARIO,
            *("--port", f"http={ports.http}", "--truth", str(ground.truth_file)),
        )
        await self._ready(broker)
        await processes.first_line(plant, 30.0)
        if self.database is not None:
            await self.database.start(processes)
        await self.money.start(processes)
        timetable = Timetable.after(datetime.now(UTC) + timedelta(seconds=_WARM_UP_S))
        template = site_template(SCENARIO) + self._tables()
        config = lay_site(ground, template, timetable, ports.broker)
        miners = await lay_inventory(config, SCENARIO, ports.http)
        site_file = str(ground.site_file)
        await processes.start("guard", "controller.cli.main", "guard", "run", site_file)
        self._controller = await processes.start(
            "controller", "controller.cli.main", "run", site_file
        )
        await self._arm(config)
        await processes.start("console", "controller.cli.main", "console", site_file)
        return config, timetable, miners

    def _tables(self) -> str:
        ports = self._ports
        text = _TABLES.format(health=ports.health, console=ports.console, guard=ports.guard_health)
        if self.database is None:
            return text
        return text + _TELEMETRY.format(database=self._ports.database)

    async def _ready(self, child: Child) -> None:
        if child.name == DATABASE.name and self.database is not None:
            await self.database.answers()
        else:
            await self._processes.first_line(child, 15.0)

    async def _arm(self, config: SiteConfig) -> None:
        deadline_s = time.monotonic() + _ARM_S
        for feeder in ("north", "south"):
            while True:
                try:
                    await ask(config, Arm(node_id=feeder, by="demo"))
                    break
                except ChannelError:
                    await self.check()
                    if time.monotonic() > deadline_s:
                        raise
                    await asyncio.sleep(0.2)

    async def check(self) -> None:
        """Raise ProcessFailed when a process has ended by itself."""
        child = self._processes.ended()
        if child is not None:
            await self._processes.failed(child, "has ended")

    def run_script(self, wait_s: float) -> list[Awaitable[None]]:
        """What goes on beside the site once the script begins, `wait_s` from now."""
        return [
            self._dispatch(wait_s),
            interrupt(self._processes, self.plan, wait_s, self._ready, self.interrupted),
            self.money.follow(),
        ]

    async def _dispatch(self, wait_s: float) -> None:
        """Start the grid dispatcher and keep the stages of what the site told him."""
        ground = self._ground
        await asyncio.sleep(wait_s)
        child: Child = await self._processes.start(
            "dispatcher",
            "simulators.services.dispatcher",
            SCENARIO,
            *("--broker", f"127.0.0.1:{self._ports.broker}"),
            *("--site", _SITE_ID),
            *("--issuer", ISSUER),
            *("--key", str(ground.key(f"{ISSUER}.pem"))),
            *("--site-key", str(ground.key("site.pub"))),
            *("--for-s", str(_FOR_EVER_S)),
        )
        stream = child.process.stdout
        assert stream is not None, "started with a pipe"  # noqa: S101
        while line := await stream.readline():
            self._hear(json.loads(line))

    def _hear(self, said: dict[str, Any]) -> None:
        order = (said.get("of") or {}).get("order")
        if said.get("verified") and order is not None and "stage" in said:
            self.receipts.setdefault(order, []).append(said["stage"])

    async def summary(self, config: SiteConfig, story: Evening) -> dict[str, Any]:
        """The whole run in numbers, with what did not happen as `missed`.

        Ends the controller, as its supervisor would, so that all it holds is on the disk when the
        database is read back.
        """
        following = asyncio.create_task(self.money.follow())
        money, missed_money = await self.money.summary()
        following.cancel()
        if self._controller is not None:
            await self._processes.end(self._controller)
        points, missed_points = await self._points(config)
        away = [f"the {i.name} was not killed" for i in self.plan if i.name not in self.interrupted]
        numbers = story.summary(self.receipts)
        missed = [*numbers.pop("missed"), *away, *missed_points, *missed_money]
        return {**numbers, "points": points, **money, "missed": missed}

    async def _points(self, config: SiteConfig) -> tuple[dict[str, int] | None, list[str]]:
        """What the database holds, by reading it back; None where there is none."""
        if self.database is None:
            return None, []
        audit = await self._audit(config)
        points = {"written": audit["written"], "lost": audit["lost"]}
        missed = []
        if not points["written"]:
            missed.append("the database holds no point")
        if points["lost"]:
            missed.append(f"{points['lost']} points are neither in the database nor in the spool")
        return points, missed

    async def _audit(self, config: SiteConfig) -> dict[str, int]:
        child = await self._processes.start(
            "audit", "controller.cli.main", "telemetry", "audit", str(config.path), "--json"
        )
        said = await self._processes.first_line(child, 60.0)
        await self._processes.end(child)
        found: dict[str, int] = json.loads(said)
        return found

    def truth_w(self) -> float | None:
        """The true mining load now, from the simulator's own record."""
        last = _last_line(self._ground.truth_file)
        if last is None:
            return None
        power_w = json.loads(last).get("mining_w")
        return float(power_w) if power_w is not None else None


def _last_line(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 65_536))
            lines = file.read().splitlines()
    except OSError:
        return None
    return lines[-1].decode() if lines else None
