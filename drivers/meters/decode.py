"""Words → values. Pure. What has no good value is a sentence, never a number."""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from drivers.contract.quantities import Signal
from drivers.meters.map import MappedSignal, ValueType, WordOrder, unit_ending

_FLOAT_FORMATS = {ValueType.F32: ">f", ValueType.F64: ">d"}


@dataclass(frozen=True, slots=True)
class Unusable:
    """There is no value, and why: a sentence that begins with the signal's name."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerRatios:
    """Primary ÷ secondary of the site's transformers, for meters that give secondary values."""

    current: float = 1.0
    voltage: float = 1.0

    def factor(self, signal: Signal) -> float:
        """What a secondary value of this signal is multiplied by.

        >>> TransformerRatios(current=40.0, voltage=100.0).factor(Signal.POWER_W)
        4000.0
        """
        match unit_ending(signal):
            case "w" | "wh":
                return self.current * self.voltage
            case "a":
                return self.current
            case "v":
                return self.voltage
            case _:
                return 1.0


PRIMARY = TransformerRatios()


def raw_bytes(words: Sequence[int], order: WordOrder) -> bytes:
    """The value's bytes, highest first.

    >>> raw_bytes([0x0000, 0x4248], WordOrder.CDAB).hex()
    '42480000'
    """
    if order in {WordOrder.CDAB, WordOrder.DCBA}:
        words = words[::-1]
    byte_order = "<" if order in {WordOrder.BADC, WordOrder.DCBA} else ">"
    return struct.pack(f"{byte_order}{len(words)}H", *words)


def decode(
    mapped: MappedSignal, words: Sequence[int], ratios: TransformerRatios = PRIMARY
) -> float | Unusable:
    """The value of one signal in its own unit.

    `words` are exactly the value's registers, each 0 to 65535.
    """
    raw = raw_bytes(words, mapped.word_order)
    unsigned = int.from_bytes(raw)
    name = mapped.signal.value
    if unsigned in mapped.not_available:
        return Unusable(f"{name}: not available (the device sent 0x{unsigned:0{2 * len(raw)}X})")
    number: float
    if mapped.bit is not None:
        number = unsigned >> mapped.bit & 1
    elif mapped.type.is_float:
        (number,) = struct.unpack(_FLOAT_FORMATS[mapped.type], raw)
        if not math.isfinite(number):
            return Unusable(f"{name}: not available (the device sent {number})")
    else:
        number = int.from_bytes(raw, signed=mapped.type.value.startswith("i"))
    value = (number * mapped.gain + mapped.offset) * ratios.factor(mapped.signal)
    low, high = mapped.plausible
    if not low <= value <= high:
        return Unusable(f"{name}: {value:.6g} is outside the plausible range {low:g} to {high:g}")
    return value
