"""The shapes of a register map: what a meter's registers hold, frozen, in wire addresses.

Made by `drivers.meters.load` from `firmware-configs/{meters,plant}/*.toml`; the file format is
described in `drivers/meters/README.md`. Knows no file and no socket.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from drivers.contract.quantities import Signal


class ValueType(StrEnum):
    """How a value lies in its registers: unsigned, signed (two's complement) or IEEE 754."""

    U16 = "u16"
    I16 = "i16"
    U32 = "u32"
    I32 = "i32"
    U64 = "u64"
    I64 = "i64"
    F32 = "f32"
    F64 = "f64"

    @property
    def words(self) -> int:
        """Registers that one value occupies."""
        return int(self.value[1:]) // 16

    @property
    def is_float(self) -> bool:
        """True for IEEE 754 values, which have NaN and infinities."""
        return self.value.startswith("f")


class WordOrder(StrEnum):
    """Bytes of a 32-bit value in the order in which they are sent; a 64-bit value likewise."""

    ABCD = "ABCD"
    """High word first, the order of Modbus itself."""
    CDAB = "CDAB"
    """Low word first."""
    BADC = "BADC"
    """High word first, bytes swapped within each word."""
    DCBA = "DCBA"
    """Low word first, bytes swapped within each word."""


class RatioSource(StrEnum):
    """Who multiplies by the ratios of the current and voltage transformers."""

    METER = "meter"
    """The meter does: its registers hold primary values."""
    SITE = "site"
    """Nobody has: registers hold secondary values, the site's configuration gives the ratios."""


UNIT_FACTORS: Mapping[str, Mapping[str, float]] = {
    "m3_s": {"m3/s": 1.0, "l/s": 1e-3},
    "percent": {"%": 1.0, "permille": 0.1},
    "closed": {"bool": 1.0},
    "wh": {"Wh": 1.0, "kWh": 1e3, "MWh": 1e6},
    "hz": {"Hz": 1.0, "mHz": 1e-3},
    "m3": {"m3": 1.0, "hm3": 1e6},
    "w": {"W": 1.0, "kW": 1e3, "MW": 1e6},
    "v": {"V": 1.0, "mV": 1e-3, "kV": 1e3},
    "a": {"A": 1.0, "mA": 1e-3, "kA": 1e3},
    "m": {"m": 1.0, "cm": 1e-2, "mm": 1e-3},
}
"""Ending of a Signal's name → unit as a map writes it → factor to the Signal's own unit."""


def unit_ending(signal: Signal) -> str:
    """Which key of UNIT_FACTORS a signal's name ends with.

    >>> unit_ending(Signal.INFLOW_M3_S), unit_ending(Signal.ENERGY_IMPORT_WH)
    ('m3_s', 'wh')
    """
    for ending in UNIT_FACTORS:
        if signal.value.endswith(f"_{ending}"):
            return ending
    raise ValueError(f"{signal.value}: the name ends in no unit of {', '.join(UNIT_FACTORS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedSignal:
    """One signal in its registers. value = raw × gain + offset, in the Signal's own unit.

    `gain` and `offset` hold scale, linear pairs, unit and sign of the file. `address` is the wire
    address of the first word. `plausible` bounds the value after the site's transformer ratios.
    """

    signal: Signal
    address: int
    type: ValueType
    word_order: WordOrder
    gain: float
    offset: float
    plausible: tuple[float, float]
    not_available: frozenset[int] = frozenset()
    """Raw words, read as one unsigned number in ABCD order, that mean: there is no value."""
    bit: int | None = None
    """The value is this bit (0 is the lowest) of the raw number."""
    group: str | None = None
    """Signals of one group are read whole, in one request."""

    @property
    def end(self) -> int:
        """The wire address after the last word."""
        return self.address + self.type.words


@dataclass(frozen=True, slots=True, kw_only=True)
class FrequencyGrade:
    """How fine and how often frequency is measured; a map has it only where that is known."""

    resolution_mhz: float
    update_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MapStatus:
    """What a map rests on: a page of the vendor's, code that reads such meters, a meter we read."""

    vendor_page: str | None
    code: str | None
    verified_by: str | None
    verified_on: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Registers that tell the model: the map is used only where they hold `words`."""

    address: int
    words: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenFrame:
    """Raw words (by wire address) and what they must decode to; None: not available.

    `synthetic`: computed from the format; otherwise recorded from a meter.
    """

    name: str
    synthetic: bool
    words: Mapping[int, int]
    values: Mapping[Signal, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterMap:
    """One product. Signals are in order of address."""

    product: str
    vendor: str
    model: str
    manual: str
    function: int
    signals: tuple[MappedSignal, ...]
    words_per_request_max: int
    gap_words_max: int
    forbidden: tuple[tuple[int, int], ...]
    """Wire addresses (first, last) that must never be part of a request."""
    pause_s: float
    """What the device needs between two requests."""
    update_s: float | None
    """How often the device measures anew; None: not known."""
    frozen_after_s: float | None
    """Identical words for longer than this at load are an old value; None: they may be honest."""
    ratios: RatioSource
    status: MapStatus
    golden: tuple[GoldenFrame, ...]
    frequency_grade: FrequencyGrade | None = None
    identity: Identity | None = None

    def mapped(self, signal: Signal) -> MappedSignal | None:
        """The signal's registers, None when the product does not give it."""
        return next((one for one in self.signals if one.signal is signal), None)
