"""Plays a whole site and its world: in-memory transports, one virtual clock, one seed."""

import asyncio
import hashlib
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controller.app.dispatch import DispatchKeys, last_will
from controller.app.site import Outside, RunningSite, assemble
from controller.cli.demo.ground import (
    ISSUER,
    Ground,
    Timetable,
    lay_keys,
    lay_site,
    site_template,
)
from controller.cli.scenario.judge import Judge, Row
from controller.cli.scenario.site_text import plain_site
from controller.cli.scenario.twins import Twins
from controller.cli.scenario.virtual_time import VirtualClock
from controller.config.inventory import InventoryRow, read_csv
from controller.dispatch.memory import MemoryBroker, MemoryLink
from controller.dispatch.topics import site_subscriptions
from controller.power.instructions import ArmFeeder
from controller.site.journal import Journal
from drivers.registry import MINERS
from simulators.inventory import write_inventory
from simulators.scenario import WORLD_EVENTS, Scenario
from simulators.services.dispatcher.play import Dispatcher
from simulators.world import World

_DAY = date(2026, 11, 22)
"""Scenarios play on this day; their hour is their own."""
WARM_UP_S = 14.0
"""The site polls and ticks so long before the script begins."""
_STEP_S = 0.1
_BROKER_PORT = 1883
"""Stands in the site's configuration; in memory nobody listens there."""
_SITE_ID = "scenario"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What to play: a scenario, the `site.toml` it is played on (`string.Template`), its seed, and
    for how many seconds after the warm-up.
    """

    scenario: Scenario
    site: str
    seed: int
    seconds: float


def site_of(path: Path, scenario: Scenario) -> str:
    """The scenario's own `NAME.site.toml` beside it, the shipped one, or a plain site.

    Raises OSError for a file that cannot be read, ValueError for a scenario that needs one.
    """
    own = path.with_name(f"{path.stem}.site.toml")
    if own.is_file():
        return own.read_text("utf-8")
    try:
        return site_template(scenario.name)
    except FileNotFoundError:
        return plain_site(scenario, _SITE_ID, _BROKER_PORT)


async def play(script: Script, trace: Callable[[Row], None] | None = None) -> dict[str, Any]:
    """Play it on the running loop, which must be a virtual one; returns the run in numbers.

    `trace` is called with one row for each image of the site. Raises ConfigError for a site that
    does not fit, ValueError for an event that the dispatcher cannot play.
    """
    scenario, seed = script.scenario, script.seed
    start = scenario.start_utc(_DAY)
    clock = VirtualClock(start)
    world = World(_delayed(scenario), seed=seed, start_utc=start)
    timetable = Timetable.after(start + timedelta(seconds=WARM_UP_S))
    broker = MemoryBroker()
    judge = Judge(world, timetable, begin_s=WARM_UP_S, trace=trace)
    with tempfile.TemporaryDirectory(prefix="naryn-scenario-") as folder:
        ground = Ground(folder=Path(folder))
        secret = _secrets(seed)
        lay_keys(ground, secret)
        config = lay_site(ground, script.site, timetable, _BROKER_PORT)
        keys = DispatchKeys(config)
        journal = Journal(
            ":memory:", site_id=config.file.site.id, boot_id="virtual", now=start, threaded=False
        )
        twins = Twins(world, clock)
        outside = Outside(
            clock=clock,
            tcp=twins.tcp,
            http=twins.http,
            grpc=twins.grpc,
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
        with journal:
            await journal.replace_inventory(_rows(scenario))
            running = assemble(config, outside, journal, journal.load(), link, keys, judge.see)
            async with link:
                await _run(running, world, broker, secret, judge, script.seconds)
    return judge.result(seed)


def _delayed(scenario: Scenario) -> Scenario:
    """Events of the world count from the script's begin, as the dispatcher's do."""
    events = tuple(
        replace(event, at_s=event.at_s + WARM_UP_S) if event.kind in WORLD_EVENTS else event
        for event in scenario.events
    )
    return replace(scenario, events=events)


async def _run(
    running: RunningSite,
    world: World,
    broker: MemoryBroker,
    secret: dict[str, Ed25519PrivateKey],
    judge: Judge,
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
    judge.miners = running.slots.miners
    site_id = running.site.site_id
    broker.subscribe(
        f"naryn/v1/{site_id}/dispatch/receipt",
        lambda topic, payload, _retained: (dispatcher.hear(topic, payload), None)[1],
    )
    step = 0
    while loop.time() < WARM_UP_S + seconds and not site.done():
        step += 1
        await asyncio.sleep(max(0.0, step * _STEP_S - loop.time()))
        world.step_to(loop.time())
        played_s = loop.time() - WARM_UP_S
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
