"""Reads the tables of a scenario that describe the plant and what surrounds it."""

from typing import cast, get_args

from simulators.scenario import (
    GridSetup,
    Operation,
    PlantSetup,
    ReservoirSetup,
    TownSetup,
    UnitSetup,
)
from simulators.toml_table import Table

UNITS_MAX = 8
"""A plant of the size that these scenarios tell of has no more."""
POWER_W_MAX = 10e9
UNIT_POWER_W_MAX = 2e9
"""The PLC carries unit powers as i32 watts."""


def read_plant(table: Table) -> PlantSetup:
    """Return the plant of `[plant]`, its units and its reservoir."""
    operation = table.choice("operation", get_args(Operation), "storage")
    units = tuple(
        _unit(unit, number)
        for number, unit in enumerate(table.tables("unit", count_max=UNITS_MAX), start=1)
    )
    if not units:
        table.problems.add(table.key("unit"), "no hydro unit", "write at least one [[plant.unit]]")
    plant = PlantSetup(
        operation=cast("Operation", operation),
        units=units,
        reservoir=_reservoir(table.table("reservoir")),
        auxiliary_w=table.number("auxiliary_w", high=POWER_W_MAX),
        unit_voltage_v=table.number("unit_voltage_v", 6_300.0, low=100.0, high=1e6),
        station_voltage_v=table.number("station_voltage_v", 35_000.0, low=100.0, high=1e6),
        load_voltage_v=table.number("load_voltage_v", 400.0, low=100.0, high=1e6),
        ambient_c=table.number("ambient_c", 20.0, low=-50.0, high=60.0),
    )
    table.finish()
    return plant


def _unit(table: Table, number: int) -> UnitSetup:
    rated_w = table.number("rated_w", low=1_000.0, high=UNIT_POWER_W_MAX)
    unit = UnitSetup(
        id=number,
        rated_w=rated_w,
        rated_flow_m3_s=table.number("rated_flow_m3_s", low=0.01, high=5_000.0),
        rated_head_m=table.number("rated_head_m", low=1.0, high=2_000.0),
        scheduled_w=table.number("scheduled_w", 0.8 * rated_w, high=rated_w),
        head_loss_m=table.number("head_loss_m", 1.0, high=100.0),
        gate_rate_percent_s=table.number("gate_rate_percent_s", 5.0, low=0.1, high=100.0),
        droop_percent=table.number("droop_percent", 5.0, low=0.5, high=20.0),
        deadband_hz=table.number("deadband_hz", 0.02, high=1.0),
        power_factor=table.number("power_factor", 0.95, low=0.5, high=1.0),
    )
    table.finish()
    return unit


def _reservoir(table: Table) -> ReservoirSetup:
    level_min_m = table.number("level_min_m", low=-500.0, high=9_000.0)
    level_full_m = table.number("level_full_m", low=level_min_m + 0.1, high=9_000.0)
    reservoir = ReservoirSetup(
        area_m2=table.number("area_m2", low=1.0, high=1e10),
        level_m=table.number("level_m", level_full_m, low=level_min_m, high=level_full_m + 5.0),
        level_min_m=level_min_m,
        level_full_m=level_full_m,
        crest_length_m=table.number("crest_length_m", 20.0, low=0.1, high=5_000.0),
        inflow_m3_s=table.number("inflow_m3_s", high=50_000.0),
        tailwater_m=table.number("tailwater_m", low=-500.0, high=level_min_m),
        tailwater_rise_m=table.number("tailwater_rise_m", 1.0, high=50.0),
    )
    table.finish()
    return reservoir


def read_town(table: Table) -> TownSetup:
    """Return the town of `[town]`."""
    town = TownSetup(
        night_w=table.number("night_w", high=POWER_W_MAX),
        day_w=table.number("day_w", high=POWER_W_MAX),
        morning_peak_w=table.number("morning_peak_w", high=POWER_W_MAX),
        evening_peak_w=table.number("evening_peak_w", high=POWER_W_MAX),
        noise_percent=table.number("noise_percent", 1.5, high=20.0),
        power_factor=table.number("power_factor", 0.95, low=0.5, high=1.0),
    )
    table.finish()
    return town


def read_grid(table: Table) -> GridSetup:
    """Return the interconnection of `[grid]`."""
    grid = GridSetup(
        system_w=table.number("system_w", 5e9, low=1e6, high=1e12),
        inertia_s=table.number("inertia_s", 5.0, low=2.0, high=20.0),
        droop_percent=table.number("droop_percent", 5.0, low=2.0, high=20.0),
        response_s=table.number("response_s", 4.0, low=1.0, high=60.0),
        noise_hz=table.number("noise_hz", 0.015, high=0.05),
        event_rate_hz_s=table.number("event_rate_hz_s", 0.5, low=0.01, high=4.0),
    )
    table.finish()
    return grid
