"""Whether the registers of a map lie beside each other as they should. Pure.

Problems are (key, sentence) pairs; an empty result means that every value and group can be read
whole and no register is claimed twice.
"""

from collections.abc import Iterator
from itertools import pairwise

from drivers.meters.map import MappedSignal, RegisterMap

Problem = tuple[str, str]


def span_problems(register_map: RegisterMap) -> list[Problem]:
    """Overlaps, values over forbidden gaps, groups that no request can hold."""
    return [
        *_overlaps(register_map.signals),
        *_forbidden(register_map),
        *_groups(register_map),
    ]


def _overlaps(signals: tuple[MappedSignal, ...]) -> Iterator[Problem]:
    """Signals are in order of address, so it is enough to compare neighbours."""
    for left, right in pairwise(signals):
        if right.address >= left.end:
            continue
        same_place = (left.address, left.end) == (right.address, right.end)
        bits = left.bit is not None and right.bit is not None and left.bit != right.bit
        if not (same_place and bits):
            yield (
                f"signals.{right.signal.value}.address",
                f"overlaps the registers of {left.signal.value}; correct one of the two",
            )


def _forbidden(register_map: RegisterMap) -> Iterator[Problem]:
    for mapped in register_map.signals:
        if mapped.type.words > register_map.words_per_request_max:
            yield (
                f"signals.{mapped.signal.value}.type",
                f"{mapped.type.words} words are more than words_per_request_max",
            )
        for first, last in register_map.forbidden:
            if mapped.address <= last and mapped.end > first:
                yield (
                    f"signals.{mapped.signal.value}.address",
                    "lies in a forbidden gap; correct forbidden_gaps or the address",
                )


def _groups(register_map: RegisterMap) -> Iterator[Problem]:
    names = sorted({one.group for one in register_map.signals if one.group is not None})
    for name in names:
        members = [one for one in register_map.signals if one.group == name]
        first, end = members[0].address, max(one.end for one in members)
        key = f"signals.{members[0].signal.value}.group"
        if len(members) < 2:
            yield key, f"{name!r} has one member; a group binds two or more signals"
        if end - first > register_map.words_per_request_max:
            yield key, f"{name!r} spans {end - first} words, more than words_per_request_max"
        if any(low < end and high >= first for low, high in register_map.forbidden):
            yield key, f"{name!r} spans a forbidden gap; a group is read whole"
