"""Golden frames: raw words with the values they must decode to, the map's own proof. Pure."""

import math
from collections.abc import Iterator

from drivers.contract.quantities import Signal
from drivers.data_fields import Fields
from drivers.meters.decode import Unusable, decode
from drivers.meters.map import GoldenFrame, RegisterMap

_RELATIVE = 1e-6  # an IEEE 754 single keeps seven digits
Problem = tuple[str, str]


def golden_frames(top: Fields, base: int) -> tuple[GoldenFrame, ...]:
    """The `[[golden]]` tables of a file; mistakes are noted in the fields."""
    frames: list[GoldenFrame] = []
    for fields in top.tables("golden"):
        frames.append(
            GoldenFrame(
                name=fields.text("name"),
                synthetic=fields.flag("synthetic"),
                words=_words(fields, base),
                values=_values(fields),
            )
        )
        fields.refuse_unknown()
    if not frames:
        top.problem("golden", "missing; give at least one [[golden]] frame: words and values")
    return tuple(frames)


def _words(fields: Fields, base: int) -> dict[int, int]:
    """`"55" = "4248 0000"`: words in hexadecimal from a documented address on, by wire address."""
    table = fields.table("words")
    found: dict[int, int] = {}
    for key in () if table is None else table.keys():
        text = table.text(key) if table is not None else ""
        try:
            first = int(key, 0) - base
            words = [int(word, 16) for word in text.split()]
        except ValueError:
            words, first = [], -1
        if first < 0 or not words or max(words) > 0xFFFF or min(words) < 0:
            fields.problem(f"words.{key}", 'wrong; give e.g. "55" = "4248 0000"')
            continue
        found.update(enumerate(words, start=first))
    return found


def _values(fields: Fields) -> dict[Signal, float | None]:
    found: dict[Signal, float | None] = {}
    table = fields.table("values")
    for key in () if table is None else table.keys():
        if table is not None and key in list(Signal):
            found[Signal(key)] = table.number(key, -math.inf, math.inf)
        else:
            fields.problem(f"values.{key}", "unknown signal")
    for name in fields.array("not_available"):
        if isinstance(name, str) and name in list(Signal):
            found[Signal(name)] = None
        else:
            fields.problem("not_available", f"{name!r} is no signal")
    return found


def golden_problems(register_map: RegisterMap) -> Iterator[Problem]:
    """Frames that do not decode to their values, and signals that no frame proves."""
    proved: set[Signal] = set()
    for place, frame in enumerate(register_map.golden, start=1):
        for signal, value in frame.values.items():
            proved.add(signal)
            if (sentence := _difference(register_map, frame, signal, value)) is not None:
                yield f"golden[{place}].values.{signal.value}", sentence
    for mapped in register_map.signals:
        if mapped.signal not in proved:
            yield "golden", f"{mapped.signal.value} is in no frame; add its words and value"


def _difference(
    register_map: RegisterMap, frame: GoldenFrame, signal: Signal, value: float | None
) -> str | None:
    mapped = register_map.mapped(signal)
    if mapped is None:
        return "the signal is not mapped"
    words = [frame.words.get(address) for address in range(mapped.address, mapped.end)]
    if not all(word is not None for word in words):
        return f"the frame lacks words of wire addresses {mapped.address} to {mapped.end - 1}"
    found = decode(mapped, [word for word in words if word is not None])
    if isinstance(found, Unusable):
        return None if value is None else f"the words decode to no value: {found.why}"
    if value is None:
        return f"the words decode to {found:.9g}, not to nothing"
    if math.isclose(found, value, rel_tol=_RELATIVE, abs_tol=1e-9):
        return None
    return f"the words decode to {found:.9g} in place of {value:.9g}; correct one of them"
