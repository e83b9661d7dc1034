"""Builds the site's meters from their register maps."""

from collections.abc import Mapping
from dataclasses import dataclass

from controller.config.load import SiteConfig
from controller.config.problems import ConfigError, Problem, shown
from controller.config.schema import MeterSection
from controller.site.slots import MeterSlot
from drivers.contract.devices import MeterDriver
from drivers.contract.quantities import Signal
from drivers.meters.driver import ModbusMeter
from drivers.meters.load import MapError, load_map
from drivers.meters.map import RegisterMap
from drivers.meters.quality import FrozenRule
from drivers.transport.ports import Clock, Endpoint, Modbus

_CONTROL_SIGNALS = (Signal.POWER_W, Signal.FREQUENCY_HZ, Signal.ENERGY_IMPORT_WH)
"""What a power meter is asked for each second; the rest of its map is for other uses."""
_STALE_PERIODS = 3.0
_LOAD_SHARE = 0.01
"""Share of a node's rating above which identical registers are suspicious."""
_LOAD_W = 1_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """A driver, its slot, and how often it is read."""

    driver: MeterDriver
    slot: MeterSlot
    period_s: float


def build_meters(config: SiteConfig, modbus: Modbus, clock: Clock) -> dict[str, Meter]:
    """Every `[[meter]]`. Raises ConfigError when a map does not load or lacks a node's power."""
    ratings = {
        node.meter: node.rating_kw * 1000 for node in config.file.node if node.meter is not None
    }
    meters, problems = {}, []
    for index, section in enumerate(config.file.meter, 1):
        try:
            register_map = load_map(section.map)
        except MapError as error:
            problems += [
                _problem(config, index, "map", section.map, text) for text in error.problems
            ]
            continue
        if section.id in ratings and Signal.POWER_W not in _mapped(register_map):
            mend = "this map has no power_w, so no limit can be held by it"
            problems.append(_problem(config, index, "map", section.map, mend))
            continue
        meters[section.id] = _meter(section, register_map, modbus, clock, ratings)
    if problems:
        raise ConfigError(problems)
    return meters


def _meter(
    section: MeterSection,
    register_map: RegisterMap,
    modbus: Modbus,
    clock: Clock,
    ratings: Mapping[str, float],
) -> Meter:
    mapped = _mapped(register_map)
    power_meter = Signal.POWER_W in mapped
    signals = tuple(s for s in _CONTROL_SIGNALS if s in mapped) if power_meter else tuple(mapped)
    driver = ModbusMeter(
        meter_id=section.id,
        endpoint=Endpoint(device=section.id, host=section.host, port=section.port),
        unit_id=section.unit_id,
        register_map=register_map,
        modbus=modbus,
        clock=clock,
        timeout_s=section.timeout_s,
        signals=signals,
    )
    generators = tuple(s for s in (Signal.UNIT1_POWER_W, Signal.UNIT2_POWER_W) if s in mapped)
    rule = FrozenRule(
        stale_after_s=_STALE_PERIODS * section.period_s + section.timeout_s,
        frozen_after_s=register_map.frozen_after_s,
        load_w=max(_LOAD_W, _LOAD_SHARE * ratings.get(section.id, 0.0)),
        load_signals=(Signal.POWER_W,) if power_meter else generators,
    )
    primary = Signal.POWER_W if power_meter else signals[0]
    slot = MeterSlot(meter_id=section.id, rule=rule, primary=primary)
    return Meter(driver=driver, slot=slot, period_s=section.period_s)


def _mapped(register_map: RegisterMap) -> tuple[Signal, ...]:
    return tuple(mapped.signal for mapped in register_map.signals)


def _problem(config: SiteConfig, index: int, key: str, value: str, mend: str) -> Problem:
    return Problem(file=config.path, key=f"meter[{index}].{key}", value=shown(value), mend=mend)
