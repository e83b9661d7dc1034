"""A day at the plant, as people write it: one TOML file becomes frozen values.

Shapes only; `simulators.scenario_file` reads and checks the file. Units stand last in every name.
`simulators/README.md` explains each key.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from ipaddress import IPv4Address
from pathlib import Path
from typing import Literal

BISHKEK = timezone(timedelta(hours=6), "Asia/Bishkek")
"""Kyrgyzstan keeps UTC+6 all year (no daylight saving time)."""

Firmware = Literal["antminer-stock", "whatsminer-v2", "luxos", "braiins"]
Product = Literal[
    "siemens-pac4200", "schneider-pm5340", "janitza-umg604", "eastron-sdm630", "plant-plc"
]
Operation = Literal["storage", "run-of-river"]

WORLD_EVENTS = (
    "ambient",
    "frequency",
    "inflow",
    "meter_fault",
    "miner_fault",
    "unit_start",
    "unit_trip",
)
"""Kinds of event that the world itself plays."""
DISPATCH_EVENTS = (
    "order",
    "release",
    "setpoint",
    "heartbeat_stop",
    "heartbeat_resume",
    "forgery",
    "clock",
)
"""Kinds of event that are carried for the dispatcher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetGroup:
    """Equal miners on consecutive addresses, one `[[fleet]]` table.

    `under_report_percent` is the most that a miner's own power figure may lie below its wall power;
    each miner draws its share uniformly between 0 and it. The number of deaf miners (they answer
    success and change nothing) is exact: `deaf_count`, or `deaf_percent` of `count` rounded up; the
    seed chooses which. `first_host` is the lowest loopback address of the group.
    """

    feeder: str
    firmware: Firmware
    model: str
    count: int
    first_host: str
    under_report_percent: float = 0.0
    deaf_count: int = 0
    deaf_percent: float = 0.0
    rack: str = ""
    tier: int = 1

    @property
    def deaf_total(self) -> int:
        """How many miners of the group are deaf.

        >>> FleetGroup(feeder="a", firmware="luxos", model="Antminer S19", count=90,
        ...            first_host="127.10.0.1", deaf_percent=2.0).deaf_total
        2
        """
        return self.deaf_count or math.ceil(self.count * self.deaf_percent / 100.0)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The addresses of the group's miners."""
        first = int(IPv4Address(self.first_host))
        return tuple(str(IPv4Address(first + index)) for index in range(self.count))


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitSetup:
    """One hydro unit (turbine, governor, generator, breaker), one `[[plant.unit]]` table.

    `rated_flow_m3_s` passes the open gate at `rated_head_m` (net). `scheduled_w` is what the
    governor is asked for when the plant runs from storage; in a run-of-river plant the water
    decides. `head_loss_m` is the loss of the waterway at rated flow.
    """

    id: int
    rated_w: float
    rated_flow_m3_s: float
    rated_head_m: float
    scheduled_w: float
    head_loss_m: float
    gate_rate_percent_s: float
    droop_percent: float
    deadband_hz: float
    power_factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservoirSetup:
    """Headwater and tailwater, `[plant.reservoir]`: levels in metres above sea.

    The water surface is `area_m2`; above `level_full_m` water runs over the spillway's crest of
    `crest_length_m`; at `level_min_m` the units stop. The tailwater stands at `tailwater_m` without
    flow and `tailwater_rise_m` higher at the units' rated flow.
    """

    area_m2: float
    level_m: float
    level_min_m: float
    level_full_m: float
    crest_length_m: float
    inflow_m3_s: float
    tailwater_m: float
    tailwater_rise_m: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantSetup:
    """The plant, `[plant]`. Voltages are between lines."""

    operation: Operation
    units: tuple[UnitSetup, ...]
    reservoir: ReservoirSetup
    auxiliary_w: float
    unit_voltage_v: float
    station_voltage_v: float
    load_voltage_v: float
    ambient_c: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TownSetup:
    """The town's load on the same bus, `[town]`: power at the corners of its daily curve."""

    night_w: float
    day_w: float
    morning_peak_w: float
    evening_peak_w: float
    noise_percent: float
    power_factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GridSetup:
    """The interconnection behind the plant, `[grid]`.

    `system_w` is the load that swings with us, `inertia_s` its stored energy in seconds of that
    load, `noise_hz` the standard deviation of its frequency in ordinary service.
    """

    system_w: float
    inertia_s: float
    droop_percent: float
    response_s: float
    noise_hz: float
    event_rate_hz_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FeederSetup:
    """One mining feeder, one `[[feeder]]` table.

    `auxiliary_w` is what fans and network draw beside the miners; `cable_ohm` is the resistance of
    one phase of its cable, whose loss the meter at the switchgear sees too.
    """

    id: str
    rating_w: float
    auxiliary_w: float
    cable_ohm: float
    power_factor: float
    voltage_v: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterSetup:
    """One Modbus TCP device, one `[[meter]]` table.

    `measures` is feeder:<id>, unit:<n>, town, bus, transformer or station; for a plant-plc, plant.
    Power is positive in the direction of consumption, for units in that of generation, for the
    station in that of export; `reversed` is an instrument whose current transformers stand the
    other way round. A value becomes readable `latency_s` after the moment that it describes.
    """

    id: str
    product: Product
    measures: str
    host: str
    port: int
    unit_id: int
    update_s: float
    latency_s: float
    noise_percent: float
    reversed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happens `at_s` seconds after the start, one `[[event]]` table.

    `params` holds every other key of the table. The world plays the kinds in `WORLD_EVENTS`; those
    in `DISPATCH_EVENTS` are carried for whoever plays the dispatcher.
    """

    at_s: float
    kind: str
    params: Mapping[str, str | int | float | bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A whole day: the plant, its surroundings, its instruments, its miners, and what happens."""

    name: str
    title: str
    seed: int
    step_s: float
    duration_s: float
    start_local: time
    plant: PlantSetup
    town: TownSetup
    grid: GridSetup
    feeders: tuple[FeederSetup, ...]
    meters: tuple[MeterSetup, ...]
    fleets: tuple[FleetGroup, ...]
    events: tuple[Event, ...]
    file: Path

    def start_utc(self, day: date) -> datetime:
        """Return when a virtual-clock run on `day` starts: its `start_local`, as UTC."""
        return datetime.combine(day, self.start_local, BISHKEK).astimezone(UTC)
