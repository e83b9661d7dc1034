"""Registers of an instrument: a layout says what stands where, an image holds one set of values.

sample at t ──▶ waits for the instrument's latency ──▶ image that every read sees until the next
"""

import struct
from bisect import bisect_right
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from simulators.devices.modbus import (
    ILLEGAL_ADDRESS,
    ILLEGAL_FUNCTION,
    ILLEGAL_VALUE,
    MeterFault,
    RegisterError,
)

FORMATS = {"f32": ">f", "f64": ">d", "u16": ">H", "i32": ">i"}
WORDS = {"f32": 2, "f64": 4, "u16": 1, "i32": 2}
RANGES = {"u16": (0, 0xFFFE), "i32": (-(2**31) + 1, 2**31 - 1)}
"""Whole numbers are held within these: the value beside them says «not available»."""
PENDING_MAX = 1_000
ROUNDING_S = 1e-6
"""Times are sums of floats: what is due this little later is due now."""


@dataclass(frozen=True, slots=True)
class Register:
    """One value: 0-based wire address, format, and the quantity (units in its name) times `scale`.

    Quantity "" is a reserved value that reads as zero.
    """

    address: int
    format: str
    quantity: str
    scale: float = 1.0


@dataclass(frozen=True)
class Layout:
    """The register map of a product.

    `functions` may read it; `empty_functions` are known to the product but have no register here.
    `aligned`: a read may not begin inside a value. `not_available` is the bit pattern per format.
    """

    registers: tuple[Register, ...]
    functions: frozenset[int]
    not_available: Mapping[str, bytes]
    empty_functions: frozenset[int] = frozenset()
    words_max: int = 125
    aligned: bool = False

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Return the address of each register, ascending. Raises ValueError when two overlap."""
        starts = tuple(register.address for register in self.registers)
        ends = [register.address + WORDS[register.format] for register in self.registers]
        for end, following in zip(ends, starts[1:], strict=False):
            if end > following:
                raise ValueError(f"register {following} overlaps the one before it")
        return starts

    def check(self, function: int, address: int, count: int) -> None:
        """Refuse a read as the product would. Raises RegisterError."""
        if function not in self.functions | self.empty_functions:
            raise RegisterError(ILLEGAL_FUNCTION)
        if not 1 <= count <= self.words_max:
            raise RegisterError(ILLEGAL_VALUE)
        if function in self.empty_functions:
            raise RegisterError(ILLEGAL_ADDRESS)
        index = bisect_right(self.starts, address) - 1
        at = address
        if index < 0 or (self.aligned and self.starts[index] != address):
            raise RegisterError(ILLEGAL_ADDRESS)
        while at < address + count:
            if index >= len(self.starts):
                raise RegisterError(ILLEGAL_ADDRESS)
            end = self.starts[index] + WORDS[self.registers[index].format]
            if not self.starts[index] <= at < end:
                raise RegisterError(ILLEGAL_ADDRESS)
            at, index = end, index + 1

    def encode(self, values: Mapping[str, float] | None) -> dict[int, int]:
        """Return the word at each address; None: no value is available."""
        words: dict[int, int] = {}
        for register in self.registers:
            raw = self._bytes(register, values)
            for offset in range(WORDS[register.format]):
                words[register.address + offset] = int.from_bytes(raw[2 * offset : 2 * offset + 2])
        return words

    def _bytes(self, register: Register, values: Mapping[str, float] | None) -> bytes:
        if values is None:
            return self.not_available[register.format]
        value = values[register.quantity] * register.scale if register.quantity else 0.0
        if register.format in RANGES:
            low, high = RANGES[register.format]
            return struct.pack(FORMATS[register.format], min(high, max(low, round(value))))
        return struct.pack(FORMATS[register.format], value)


class Image:
    """The registers of one read-only instrument over time (a `RegisterSource`)."""

    def __init__(self, layout: Layout, *, latency_s: float) -> None:
        self.layout = layout
        self.latency_s = latency_s
        self._pending: deque[tuple[float, Mapping[str, float]]] = deque(maxlen=PENDING_MAX)
        self._values: Mapping[str, float] | None = None
        self._words = layout.encode(None)
        self._blank = self._words

    def publish(self, values: Mapping[str, float], now_s: float) -> None:
        """Take a new set of values, readable `latency_s` later; the first at once."""
        if self._values is None:
            self._show(values)
        else:
            self._pending.append((now_s + self.latency_s, values))

    def read(
        self, function: int, address: int, count: int, now_s: float, fault: MeterFault | None
    ) -> tuple[int, ...]:
        """Return `count` words as they stand at `now_s`. Raises RegisterError."""
        self.layout.check(function, address, count)
        if fault is not MeterFault.FROZEN:
            newest: Mapping[str, float] | None = None
            while self._pending and self._pending[0][0] <= now_s + ROUNDING_S:
                newest = self._pending.popleft()[1]
            if newest is not None:
                self._show(newest)
        words = self._blank if fault is MeterFault.NAN else self._words
        return tuple(words[at] for at in range(address, address + count))

    def write(self, address: int, words: tuple[int, ...]) -> None:  # noqa: ARG002 - refuses all
        """Refuse: the values of an instrument cannot be written."""
        raise RegisterError(ILLEGAL_FUNCTION)

    def write_coil(self, address: int, *, on: bool) -> None:  # noqa: ARG002 - refuses all
        """Refuse: the instrument has no coils."""
        raise RegisterError(ILLEGAL_FUNCTION)

    def _show(self, values: Mapping[str, float]) -> None:
        self._values = values
        self._words = self.layout.encode(values)
