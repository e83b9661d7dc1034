"""The plant in figures: grid, units, water, hashrate, miners, meters. Pure.

A figure that was seen once stays on the page, as a dash while it is unknown: what vanishes
silently is not missed at three in the morning.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from controller.channel.view import MeterView, SiteImage
from controller.console.past import hashrate_ths
from controller.console.tree import Count, counts
from controller.console.words import UNKNOWN, age, hashrate, power

_UNIT = re.compile(r"unit(\d{1,2})_power_w")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One figure: its name, its value as text, and a remark or nothing."""

    name: str
    value: str
    remark: str = ""


class _Group(NamedTuple):
    """Figures that belong together: the first that is known stands large, the rest beside it."""

    name: str
    unit: str
    places: int
    scale: float
    members: tuple[tuple[str, str], ...]


_GROUPS = (
    _Group(
        "Head",
        "m",
        2,
        1.0,
        (("net_head_m", "net"), ("headwater_level_m", "above"), ("tailwater_level_m", "below")),
    ),
    _Group(
        "Water",
        "m³/s",
        1,
        1.0,
        (("outflow_m3_s", "out"), ("inflow_m3_s", "in"), ("spill_m3_s", "spill")),
    ),
    _Group("Reservoir", "mln m³", 2, 1e-6, (("reservoir_volume_m3", ""),)),
    _Group("Station use", "kW", 1, 1e-3, (("auxiliary_power_w", ""),)),
)
_NAMED = frozenset(name for group in _GROUPS for name, _ in group.members)


def named(meters: Iterable[MeterView]) -> frozenset[str]:
    """The signals of all meters that this module has a name for."""
    return frozenset(
        name
        for meter in meters
        for name in meter.signals
        if name in _NAMED or _UNIT.fullmatch(name)
    )


def facts(image: SiteImage, known: frozenset[str]) -> list[Fact]:
    """Every figure. `known`: the signals seen so far, as `named` gives them."""
    signals: dict[str, float] = {}
    for meter in image.meters:
        for name, value in meter.signals.items():
            signals.setdefault(name, value)
    hz = signals.get("frequency_hz")
    found = [Fact(name="Grid", value=UNKNOWN if hz is None else f"{hz:.3f} Hz")]
    found += _units(signals, known)
    found += [fact for group in _GROUPS if (fact := _grouped(group, signals, known)) is not None]
    found.append(_hashrate(image))
    return found


def _grouped(group: _Group, signals: Mapping[str, float], known: frozenset[str]) -> Fact | None:
    def text(name: str) -> str:
        return f"{signals[name] * group.scale:.{group.places}f}" if name in signals else UNKNOWN

    members = [(name, word) for name, word in group.members if name in known]
    if not members:
        return None
    (first, word), *rest = members
    remark = ", ".join(f"{other} {text(name)}" for name, other in rest)
    value = f"{text(first)} {group.unit}" if first in signals else UNKNOWN
    return Fact(name=f"{group.name} {word}".strip(), value=value, remark=remark)


def _units(signals: Mapping[str, float], known: frozenset[str]) -> Iterable[Fact]:
    for name in sorted(known):
        if (unit := _UNIT.fullmatch(name)) is None:
            continue
        number = unit[1]
        gate = signals.get(f"unit{number}_gate_percent")
        closed = signals.get(f"unit{number}_breaker_closed")
        remarks = [] if gate is None else [f"gate {gate:.0f} %"]
        if closed is not None:
            remarks.append("breaker closed" if closed else "breaker open")
        value = power(signals.get(name))
        yield Fact(name=f"Unit {number}", value=value, remark=", ".join(remarks))


def _hashrate(image: SiteImage) -> Fact:
    without = [fleet.feeder for fleet in image.fleet if fleet.hashrate_ths is None and fleet.miners]
    total = hashrate_ths(image)
    remark = "" if total is None or not without else f"{', '.join(without)} unknown"
    return Fact(name="Hashrate", value=hashrate(total), remark=remark)


def miners(image: SiteImage) -> tuple[int, tuple[Count, ...]]:
    """How many miners there are, and what they do."""
    return sum(fleet.miners for fleet in image.fleet), counts(image.fleet)


def bad_meters(image: SiteImage) -> list[str]:
    """Every meter that cannot be trusted now, with what is known of why."""
    found = []
    for meter in image.meters:
        if meter.quality != "good" or meter.fault is not None:
            since = "never read" if meter.age_s is None else f"read {age(meter.age_s)} ago"
            why = f": {meter.fault}" if meter.fault else ""
            found.append(f"{meter.meter_id} {meter.quality}, {since}{why}")
    return found
