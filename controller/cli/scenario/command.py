"""`naryn scenario run NAME`: one process, in-memory transports, a virtual clock, one seed."""

import asyncio
import hashlib
import json as jsonlib
import logging
import random
import sys
import tempfile
from dataclasses import replace
from datetime import date, timedelta
from io import StringIO
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console

from controller.app.dispatch import DispatchKeys, last_will
from controller.app.site import Outside, RunningSite, assemble
from controller.channel.view import SiteImage
from controller.cli.demo.ground import (
    ISSUER,
    Ground,
    Timetable,
    lay_keys,
    lay_site,
    site_template,
)
from controller.cli.demo.story import Evening, Record
from controller.cli.options import fail
from controller.cli.scenario.site_text import plain_site
from controller.cli.scenario.twins import Twins
from controller.cli.scenario.virtual_time import VirtualClock, run_virtual
from controller.config.inventory import InventoryRow, read_csv
from controller.config.problems import ConfigError
from controller.dispatch.memory import MemoryBroker, MemoryLink
from controller.dispatch.topics import site_subscriptions
from controller.power.instructions import ArmFeeder
from controller.site.journal import Journal
from drivers.registry import MINERS
from simulators.inventory import write_inventory
from simulators.scenario import WORLD_EVENTS, Scenario
from simulators.scenario_file import ScenarioError, load_scenario, scenario_path
from simulators.services.dispatcher.play import Dispatcher
from simulators.world import World

app = typer.Typer(no_args_is_help=True, help="A whole site and its world on a virtual clock.")

_DAY = date(2026, 11, 22)
"""Scenarios play on this day; their hour is their own."""
_WARM_UP_S = 14.0
_STEP_S = 0.1
_BROKER_PORT = 1883
"""Stands in the site's configuration; in memory nobody listens there."""
_SITE_ID = "scenario"


@app.command()
def run(
    name: Annotated[str, typer.Argument(help="A shipped scenario, or a .toml file.")],
    *,
    seed: Annotated[int | None, typer.Option(help="Instead of the scenario's own.")] = None,
    for_s: Annotated[
        float | None, typer.Option("--for-s", min=1, help="Seconds to play, after the warm-up.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Play a scenario. The same seed gives the same numbers, byte for byte."""
    try:
        path = scenario_path(name)
        scenario = load_scenario(path)
        template = _template(path, scenario)
    except (ScenarioError, OSError, ValueError) as error:
        fail(str(error), 2)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    seconds = for_s if for_s is not None else scenario.duration_s
    played = _play(scenario, template, seed if seed is not None else scenario.seed, seconds)
    try:
        result = run_virtual(played)
    except ConfigError as error:
        fail(str(error), 2)
    if json:
        print(jsonlib.dumps(result, ensure_ascii=False, sort_keys=True))
    else:
        Console().print_json(data=result)
    raise typer.Exit(1 if result["missed"] else 0)


def _template(path: Path, scenario: Scenario) -> str:
    """The scenario's own `NAME.site.toml` beside it, the shipped one, or a plain site."""
    own = path.with_name(f"{path.stem}.site.toml")
    if own.is_file():
        return own.read_text("utf-8")
    try:
        return site_template(scenario.name)
    except FileNotFoundError:
        return plain_site(scenario, _SITE_ID, _BROKER_PORT)


def _delayed(scenario: Scenario) -> Scenario:
    """Events of the world count from the script's begin, as the dispatcher's do."""
    events = tuple(
        replace(event, at_s=event.at_s + _WARM_UP_S) if event.kind in WORLD_EVENTS else event
        for event in scenario.events
    )
    return replace(scenario, events=events)


async def _play(scenario: Scenario, template: str, seed: int, seconds: float) -> dict[str, Any]:
    start = scenario.start_utc(_DAY)
    clock = VirtualClock(start)
    world = World(_delayed(scenario), seed=seed, start_utc=start)
    timetable = Timetable.after(start + timedelta(seconds=_WARM_UP_S))
    broker = MemoryBroker()
    with tempfile.TemporaryDirectory(prefix="naryn-scenario-") as folder:
        ground = Ground(folder=Path(folder))
        secret = _secrets(seed)
        lay_keys(ground, secret)
        config = lay_site(ground, template, timetable, _BROKER_PORT)
        keys = DispatchKeys(config)
        journal = Journal(
            ":memory:", site_id=config.file.site.id, boot_id="virtual", now=start, threaded=False
        )
        await journal.replace_inventory(_rows(scenario))
        twins = Twins(world, clock)
        outside = Outside(
            clock=clock,
            tcp=twins.tcp,
            http=twins.http,
            modbus=twins.modbus,
            pyasic=twins.pyasic,
            rng=random.Random(seed),  # noqa: S311 - one seed repeats the whole run
            boot_id="virtual",
        )
        assert keys.site_key is not None, "DispatchKeys raised otherwise"  # noqa: S101
        link = MemoryLink(
            broker=broker,
            subscriptions=site_subscriptions(config.file.site.id),
            clock=clock,
            will=last_will(config.file.site.id, keys.site_key, clock),
        )
        judge = _Judge(world, timetable)
        with journal:
            running = assemble(config, outside, journal, journal.load(), link, keys, judge.see)
            async with link:
                await _run(running, world, broker, secret, judge, seconds)
    return judge.result(scenario, seed)


class _Judge:
    """Watches the site's images and the world's truth side by side."""

    def __init__(self, world: World, timetable: Timetable) -> None:
        self._world = world
        self._record = Record(root="plant")
        self._evening = None
        if world.scenario.name == "evening":
            self._evening = Evening(
                record=self._record,
                peak_from=timetable.peak_from,
                peak_until=timetable.peak_until,
            )
        self.dispatcher: Dispatcher | None = None
        self._truth_w: list[float] = []
        self._measured_w: list[float | None] = []

    def see(self, image: SiteImage) -> None:
        """Take in one image."""
        if self._evening is not None:
            self._evening.see(image)
        else:
            self._record.see(image)
        root = next(node for node in image.nodes if node.node_id == "plant")
        self._truth_w.append(round(self._world.plant.mining_w, 1))
        self._measured_w.append(root.measured_w)

    def result(self, scenario: Scenario, seed: int) -> dict[str, Any]:
        """What the run came to: numbers only, none of them of the clock on the wall."""
        truth_w = self._truth_w
        receipts = {}
        if self.dispatcher is not None:
            receipts = {name: self.dispatcher.stages(name) for name in self._record.orders}
        if self._evening is not None:
            summary = self._evening.summary(receipts, truth_w[-1])
        else:
            summary = {**self._record.summary(receipts), "missed": self._record.missed()}
        digest = hashlib.sha256(jsonlib.dumps([truth_w, self._measured_w]).encode()).hexdigest()
        return {
            "scenario": scenario.name,
            "seed": seed,
            **summary,
            "phases": self._record.phases,
            "mining_w": {
                "first": truth_w[0],
                "last": truth_w[-1],
                "least": min(truth_w),
                "most": max(truth_w),
                "mean": round(sum(truth_w) / len(truth_w), 1),
            },
            "sha256": digest,
        }


async def _run(
    running: RunningSite,
    world: World,
    broker: MemoryBroker,
    secret: dict[str, Ed25519PrivateKey],
    judge: _Judge,
    seconds: float,
) -> None:
    """World, site and dispatcher side by side until the time is over."""
    loop = asyncio.get_running_loop()
    for feeder in running.site.feeders:
        running.acts.put(ArmFeeder(node_id=feeder, by="scenario"))
    site = asyncio.create_task(running.run())
    dispatcher = Dispatcher(
        site=running.site.site_id,
        issuer=ISSUER,
        keys=[secret[ISSUER]],
        events=world.scenario.events,
        publish=lambda topic, payload, retain: broker.publish(topic, payload, retain=retain),
        site_key=secret["site"].public_key(),
    )
    judge.dispatcher = dispatcher
    site_id = running.site.site_id
    broker.subscribe(
        f"naryn/v1/{site_id}/dispatch/receipt",
        lambda topic, payload, _retained: (dispatcher.hear(topic, payload), None)[1],
    )
    step = 0
    while loop.time() < _WARM_UP_S + seconds and not site.done():
        step += 1
        await asyncio.sleep(max(0.0, step * _STEP_S - loop.time()))
        world.step_to(loop.time())
        played_s = loop.time() - _WARM_UP_S
        if played_s >= 0:
            dispatcher.play(played_s, running.clock.utc())
    if site.done():
        site.result()
    site.cancel()
    await asyncio.gather(site, return_exceptions=True)


def _rows(scenario: Scenario) -> list[InventoryRow]:
    listing = StringIO()
    write_inventory(scenario, {}, listing)
    return read_csv(listing.getvalue(), Path("the simulated fleet"), MINERS)


def _secrets(seed: int) -> dict[str, Ed25519PrivateKey]:
    """Keys from the seed: signatures are part of what must repeat. For simulations alone."""
    return {
        name: Ed25519PrivateKey.from_private_bytes(
            hashlib.sha256(f"{seed}:{name}".encode()).digest()
        )
        for name in ("site", ISSUER)
    }
