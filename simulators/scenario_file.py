"""Reads a scenario file and checks it whole: every mistake in one error, with key and mend."""

import tomllib
from collections.abc import Sequence
from datetime import time
from ipaddress import IPv4Address
from pathlib import Path
from typing import cast, get_args

from simulators.devices.fleet import MAKES
from simulators.physics.miner_models import rating_of
from simulators.scenario import (
    FeederSetup,
    Firmware,
    FleetGroup,
    MeterSetup,
    Product,
    Scenario,
)
from simulators.scenario_events import read_events
from simulators.scenario_plant import POWER_W_MAX, read_grid, read_plant, read_town
from simulators.toml_table import Problem, Problems, Table

SCENARIO_DIR = Path(__file__).parent / "scenarios"
FILE_BYTES_MAX = 1 << 20
FEEDERS_MAX = 64
METERS_MAX = 128
FLEETS_MAX = 256
MINERS_MAX = 20_000
LOOPBACK_FIRST = int(IPv4Address("127.0.0.1"))
LOOPBACK_LAST = int(IPv4Address("127.255.255.254"))
UPDATE_S = {"janitza-umg604": 0.2}
"""Janitza UMG604 measures in windows of 200 ms (its Modbus address list); for the other products
1 s is taken, the usual period of their numeric values."""


class ScenarioError(ValueError):
    """The file cannot be used; `problems` holds every mistake found in it."""

    def __init__(self, file: Path, problems: Sequence[Problem]) -> None:
        self.file = file
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{file}: {problem}" for problem in self.problems))


def scenario_path(name: str) -> Path:
    """Return the path of a scenario given by file name or by the name of one that is shipped.

    Raises ScenarioError when there is neither.
    """
    path = Path(name)
    if path.suffix == ".toml" or path.exists():
        return path
    shipped = SCENARIO_DIR / f"{name}.toml"
    if shipped.exists():
        return shipped
    known = ", ".join(sorted(file.stem for file in SCENARIO_DIR.glob("*.toml")))
    problem = Problem("scenario", f"{name!r} not found", f"name a .toml file or one of: {known}")
    raise ScenarioError(path, [problem])


def load_scenario(path: Path) -> Scenario:
    """Read and check the scenario in the file at `path`. Raises ScenarioError."""
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
        if len(text) > FILE_BYTES_MAX:
            problem = Problem("file", f"over {FILE_BYTES_MAX} bytes", "split the scenario")
            raise ScenarioError(path, [problem])
        raw = tomllib.loads(text.decode())
    except OSError as error:
        mend = "give the path of a readable .toml file"
        raise ScenarioError(path, [Problem("file", str(error.strerror), mend)]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScenarioError(path, [Problem("file", str(error), "write valid TOML")]) from error
    problems = Problems()
    scenario = _read(Table(raw, "", problems), path, problems)
    if problems.items:
        raise ScenarioError(path, problems.items)
    return scenario


def _read(top: Table, path: Path, problems: Problems) -> Scenario:
    head = top.table("scenario")
    plant = read_plant(top.table("plant"))
    feeders = _feeders(top)
    meters = _meters(top, [feeder.id for feeder in feeders], [unit.id for unit in plant.units])
    fleets = _fleets(top, [feeder.id for feeder in feeders])
    duration_s = head.number("duration_s", low=1.0, high=366 * 86_400.0)
    scenario = Scenario(
        name=head.text("name", length_max=40),
        title=head.text("title"),
        seed=head.integer("seed", 1, high=2**63 - 1),
        step_s=head.number("step_s", 0.1, low=0.01, high=1.0),
        duration_s=duration_s,
        start_local=_start_local(head),
        plant=plant,
        town=read_town(top.table("town")),
        grid=read_grid(top.table("grid")),
        feeders=feeders,
        meters=meters,
        fleets=fleets,
        events=read_events(
            top,
            until_s=duration_s,
            meters=[meter.id for meter in meters],
            units=[unit.id for unit in plant.units],
            hosts=frozenset().union(*(fleet.hosts for fleet in fleets)),
        ),
        file=path,
    )
    head.finish()
    top.finish()
    if not feeders:
        problems.add("feeder", "no mining feeder", "write at least one [[feeder]]")
    return scenario


def _start_local(head: Table) -> time:
    text = head.text("start_local", "12:00", length_max=8)
    try:
        found = time.fromisoformat(text)
    except ValueError:
        head.mistake("start_local", 'write the local time of day as "HH:MM"')
        return time(12)
    if found.tzinfo is not None:
        head.mistake("start_local", "leave the time zone out: it is Asia/Bishkek")
    return found.replace(tzinfo=None)


def _feeders(top: Table) -> tuple[FeederSetup, ...]:
    feeders: list[FeederSetup] = []
    for table in top.tables("feeder", count_max=FEEDERS_MAX):
        feeder = FeederSetup(
            id=table.text("id", length_max=40),
            rating_w=table.number("rating_w", low=1_000.0, high=POWER_W_MAX),
            auxiliary_w=table.number("auxiliary_w", 0.0, high=POWER_W_MAX),
            cable_ohm=table.number("cable_ohm", 0.001, high=10.0),
            power_factor=table.number("power_factor", 0.98, low=0.5, high=1.0),
            voltage_v=table.number("voltage_v", 400.0, low=100.0, high=1e6),
        )
        table.finish()
        if feeder.id in {other.id for other in feeders}:
            table.mistake("id", "give each feeder an id of its own")
        feeders.append(feeder)
    return tuple(feeders)


def _meters(top: Table, feeders: Sequence[str], units: Sequence[int]) -> tuple[MeterSetup, ...]:
    measurable = ["station", "bus", "transformer", "town"]
    measurable += [f"feeder:{feeder}" for feeder in feeders] + [f"unit:{unit}" for unit in units]
    meters: list[MeterSetup] = []
    for table in top.tables("meter", count_max=METERS_MAX):
        product = table.choice("product", get_args(Product))
        is_plc = product == "plant-plc"
        choices = ["plant"] if is_plc else measurable
        meter = MeterSetup(
            id=table.text("id", length_max=40),
            product=cast("Product", product),
            measures=table.choice("measures", choices, "plant" if is_plc else choices[0]),
            host=_host(table, "host"),
            port=table.integer("port", 502, low=1, high=65_535),
            unit_id=table.integer("unit_id", 1, low=1, high=247),
            update_s=table.number("update_s", UPDATE_S.get(product, 1.0), low=0.01, high=60.0),
            latency_s=table.number("latency_s", 0.1, high=60.0),
            noise_percent=0.0 if is_plc else table.number("noise_percent", 0.15, high=10.0),
            reversed=not is_plc and table.boolean("reversed", False),
        )
        if not is_plc and "measures" not in table.raw:
            table.mistake("measures", f"write one of: {', '.join(choices)}")
        if meter.id in {other.id for other in meters}:
            table.mistake("id", "give each meter an id of its own")
        if (meter.host, meter.port) in {(other.host, other.port) for other in meters}:
            table.mistake("port", "another meter listens at this host and port: choose another")
        table.finish()
        meters.append(meter)
    return tuple(meters)


def _fleets(top: Table, feeders: Sequence[str]) -> tuple[FleetGroup, ...]:
    fleets: list[FleetGroup] = []
    taken: set[str] = set()
    for table in top.tables("fleet", count_max=FLEETS_MAX):
        fleet = FleetGroup(
            feeder=table.choice("feeder", feeders or [""]),
            firmware=cast("Firmware", table.choice("firmware", get_args(Firmware))),
            model=_model(table),
            count=table.integer("count", low=1, high=MINERS_MAX),
            first_host=_host(table, "first_host"),
            under_report_percent=table.number("under_report_percent", 0.0, high=50.0),
            deaf_count=table.integer("deaf_count", 0, high=MINERS_MAX),
            deaf_percent=table.number("deaf_percent", 0.0, high=100.0),
            rack=table.text("rack", "", length_max=40),
            tier=table.integer("tier", 1, high=9),
        )
        table.finish()
        if "deaf_count" in table.raw and "deaf_percent" in table.raw:
            table.mistake("deaf_count", "write deaf_count or deaf_percent, not both")
        if fleet.deaf_total > fleet.count:
            table.mistake("deaf_count", f"at most {fleet.count} miners can be deaf")
        if int(IPv4Address(fleet.first_host)) + fleet.count - 1 > LOOPBACK_LAST:
            table.mistake("count", "the addresses run out of 127.0.0.0/8: begin lower")
            continue
        addresses = frozenset(fleet.hosts)
        if taken & addresses:
            table.mistake("first_host", "another fleet has some of these addresses: move one")
        taken |= addresses
        fleets.append(fleet)
    return tuple(fleets)


def _model(table: Table) -> str:
    """Return a model that is simulated and runs the table's firmware."""
    model = table.text("model", length_max=60)
    try:
        make = rating_of(model).make
    except ValueError as error:
        if model:
            table.mistake("model", str(error))
        return model
    wanted = MAKES.get(str(table.raw.get("firmware")), make)
    if make != wanted:
        table.mistake("model", f"{table.raw.get('firmware')} runs on {wanted} only")
    return model


def _host(table: Table, name: str) -> str:
    text = table.text(name, length_max=15)
    try:
        if LOOPBACK_FIRST <= int(IPv4Address(text)) <= LOOPBACK_LAST:
            return text
    except ValueError:
        pass
    if text:
        table.mistake(name, "write a loopback address, 127.0.0.1 to 127.255.255.254")
    return "127.0.0.1"
