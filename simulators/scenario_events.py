"""Checks the `[[event]]` tables of a scenario: known kinds, right parameters, things that exist."""

from collections.abc import Collection
from types import MappingProxyType

from simulators.devices.modbus import MeterFault
from simulators.devices.persona import FAULTS
from simulators.scenario import DISPATCH_EVENTS, WORLD_EVENTS, Event
from simulators.toml_table import Table

EVENTS_MAX = 1_000
FOR_S_MAX = 366 * 86_400.0
LATE_S = 2.0
"""Delay of a late reply when the event names none."""

Params = dict[str, str | int | float | bool]


def read_events(
    top: Table,
    *,
    until_s: float,
    meters: Collection[str],
    units: Collection[int],
    hosts: Collection[str],
) -> tuple[Event, ...]:
    """Return the events by time (equal times keep the order of the file).

    `meters`, `units` and `hosts` are what the events may speak of; `until_s` ends the scenario.
    """
    events: list[Event] = []
    for table in top.tables("event", count_max=EVENTS_MAX):
        at_s = table.number("at_s", high=until_s)
        kind = table.choice("kind", (*WORLD_EVENTS, *DISPATCH_EVENTS))
        if kind in DISPATCH_EVENTS:
            params = table.scalars()
        else:
            params = _world_params(table, kind, meters=meters, units=units, hosts=hosts)
        table.finish()
        events.append(Event(at_s=at_s, kind=kind, params=MappingProxyType(params)))
    return tuple(sorted(events, key=lambda event: event.at_s))


def _world_params(
    table: Table,
    kind: str,
    *,
    meters: Collection[str],
    units: Collection[int],
    hosts: Collection[str],
) -> Params:
    params: Params = {}
    match kind:
        case "ambient":
            params["celsius"] = table.number("celsius", low=-50.0, high=60.0)
        case "frequency":
            params["delta_hz"] = table.number("delta_hz", low=-3.0, high=3.0)
            params["for_s"] = table.number("for_s", low=0.1, high=FOR_S_MAX)
        case "inflow":
            params["m3_s"] = table.number("m3_s", high=50_000.0)
        case "meter_fault":
            params["meter"] = table.choice("meter", meters or [""])
            params["fault"] = table.choice("fault", [str(fault) for fault in MeterFault])
            params["for_s"] = table.number("for_s", low=0.1, high=FOR_S_MAX)
            params["delay_s"] = table.number("delay_s", LATE_S, low=0.0, high=60.0)
        case "miner_fault":
            params["host"] = table.text("host", length_max=15)
            if params["host"] and params["host"] not in hosts:
                table.mistake("host", "name the address of a miner of one of the fleets")
            params["fault"] = table.choice("fault", FAULTS)
            params["for_s"] = table.number("for_s", low=0.1, high=FOR_S_MAX)
        case _:
            params["unit"] = table.integer("unit", low=1, high=99)
            if params["unit"] not in units:
                table.mistake("unit", f"name a unit of the plant: {', '.join(map(str, units))}")
    return params
