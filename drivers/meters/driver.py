"""The one driver of every meter and plant PLC: plan, read, decode.

    read()  ─▶ [identity, once] ─▶ block, block, … (one request each) ─▶ MeterReading

A reading is whole or an error, with one exception: where the device refuses the registers of some
signals and gives others, the refused ones are None with a sentence. Nothing is retried here.
"""

import asyncio
import math
import re
from collections.abc import Collection
from dataclasses import dataclass, field

from drivers.contract.errors import DeviceRefused, Malformed, Unreachable, Unsupported
from drivers.contract.quantities import Signal
from drivers.contract.readings import MeterReading
from drivers.meters.decode import TransformerRatios, Unusable, decode
from drivers.meters.map import RatioSource, RegisterMap, unit_ending
from drivers.meters.plan import ReadBlock, plan_pieces, plan_reads
from drivers.transport.ports import Clock, Endpoint, Modbus

RATIO_MAX = 100_000.0
_EXCEPTION = re.compile(r"\bexception (\d{1,3})\b")
_NO_SUCH_REGISTERS = frozenset({2, 3})  # illegal data address, illegal data value
_OPPOSITE = {
    Signal.ENERGY_IMPORT_WH: Signal.ENERGY_EXPORT_WH,
    Signal.ENERGY_EXPORT_WH: Signal.ENERGY_IMPORT_WH,
}
Answer = tuple[int, ...] | DeviceRefused


@dataclass(slots=True, kw_only=True)
class ModbusMeter:
    """`MeterDriver` for one meter at one unit id of one endpoint.

    `signals` None reads all that the map has; a control meter names the few it needs each tick.
    `timeout_s` bounds the whole read (0.3 to 1 s for a control meter), which may take several
    requests. `ct_ratio` and `vt_ratio` are primary ÷ secondary of the current and voltage
    transformers, for maps with ratios = "site". `reversed_ct`: the current transformers stand the
    other way round; powers change sign, imported and exported energy change places. Raises
    ValueError for what cannot be read.
    """

    meter_id: str
    endpoint: Endpoint
    unit_id: int
    register_map: RegisterMap
    modbus: Modbus
    clock: Clock
    timeout_s: float
    signals: Collection[Signal] | None = None
    ct_ratio: float = 1.0
    vt_ratio: float = 1.0
    reversed_ct: bool = False
    _wanted: frozenset[Signal] = field(init=False)
    _ratios: TransformerRatios = field(init=False)
    _blocks: tuple[ReadBlock, ...] = field(init=False)
    _tried_apart: set[int] = field(init=False, default_factory=set)
    _identified: bool = field(init=False)
    _answered_s: float = field(init=False, default=-math.inf)

    def __post_init__(self) -> None:
        mapped = {one.signal for one in self.register_map.signals}
        asked = mapped if self.signals is None else self.signals
        self._wanted = frozenset(self._registers_of(signal) for signal in asked)
        if missing := sorted(self._wanted - mapped):
            raise ValueError(
                f"{self.meter_id}: {self.register_map.product} does not measure "
                f"{', '.join(missing)}; it measures {', '.join(sorted(mapped))}"
            )
        if not self._wanted:
            raise ValueError(f"{self.meter_id}: no signal is wanted; name at least one")
        if self.endpoint.device != self.meter_id:
            raise ValueError(f"{self.meter_id}: its endpoint is named {self.endpoint.device}")
        if not 0 <= self.unit_id <= 255:
            raise ValueError(f"{self.meter_id}: unit_id {self.unit_id}; give 0 to 255")
        if not 0 < self.timeout_s < math.inf:
            raise ValueError(f"{self.meter_id}: timeout_s {self.timeout_s}; give more than 0 s")
        self._ratios = self._checked_ratios()
        self._blocks = plan_reads(self.register_map, self._wanted)
        self._identified = self.register_map.identity is None

    def _checked_ratios(self) -> TransformerRatios:
        for name, ratio in (("ct_ratio", self.ct_ratio), ("vt_ratio", self.vt_ratio)):
            if not 0 < ratio <= RATIO_MAX:
                raise ValueError(f"{self.meter_id}: {name} {ratio}; give 1 to {RATIO_MAX:g}")
            if ratio != 1 and self.register_map.ratios is RatioSource.METER:
                raise ValueError(
                    f"{self.meter_id}: {name} {ratio}, but {self.register_map.product} gives "
                    f"primary values; set the ratio in the meter and leave {name} out"
                )
        return TransformerRatios(current=self.ct_ratio, voltage=self.vt_ratio)

    async def read(self) -> MeterReading:
        """Every wanted signal once.

        Raises Unreachable, Malformed, DeviceRefused when the device refuses everything, and
        Unsupported when its identity registers name another model.
        """
        begun_s = self.clock.monotonic_s()
        deadline_s = begun_s + self.timeout_s
        try:
            if not self._identified:
                await self._identify(deadline_s)
            answers = [
                answer
                for block in self._blocks
                for answer in await self._read_block(block, deadline_s)
            ]
        except (Unreachable, Malformed):
            # Another meter may stand there when it comes back.
            self._identified = self.register_map.identity is None
            raise
        refusals = [answer for _, answer in answers if isinstance(answer, DeviceRefused)]
        if len(refusals) == len(answers):
            raise refusals[0]
        return self._reading(begun_s, answers)

    def _reading(self, begun_s: float, answers: list[tuple[ReadBlock, Answer]]) -> MeterReading:
        """Only words of wanted signals count as raw: a clock in a gap would hide a frozen value."""
        values: dict[Signal, float | None] = {}
        raw: list[int] = []
        faults: list[str] = []
        for block, answer in answers:
            for mapped in block.signals:
                found: float | Unusable
                if isinstance(answer, DeviceRefused):
                    found = Unusable(f"{mapped.signal.value}: refused by the device: {answer}")
                else:
                    words = block.words_of(mapped, answer)
                    raw.extend(words)
                    found = decode(mapped, words, self._ratios)
                if isinstance(found, Unusable):
                    faults.append(found.why)
                signal = self._registers_of(mapped.signal)
                values[signal] = (
                    None if isinstance(found, Unusable) else self._turned(signal, found)
                )
        return MeterReading(
            meter_id=self.meter_id,
            begun_s=begun_s,
            taken_s=self.clock.monotonic_s(),
            values=values,
            raw=tuple(raw),
            faults=tuple(faults),
        )

    def _registers_of(self, signal: Signal) -> Signal:
        """The mapped signal that is this one at the site; its own inverse."""
        return _OPPOSITE.get(signal, signal) if self.reversed_ct else signal

    def _turned(self, signal: Signal, value: float) -> float:
        return 0.0 - value if self.reversed_ct and unit_ending(signal) == "w" else value

    async def _read_block(
        self, block: ReadBlock, deadline_s: float
    ) -> list[tuple[ReadBlock, Answer]]:
        """One request; where the device has no registers in a gap, value by value from then on.

        Tried once a block: a device that refuses the single values too has another trouble.
        """
        answer = await self._ask(block, deadline_s)
        pieces = self._pieces(block)
        if (
            not isinstance(answer, DeviceRefused)
            or _exception_code(answer) not in _NO_SUCH_REGISTERS
            or len(pieces) == 1
            or block.address in self._tried_apart
        ):
            return [(block, answer)]
        self._tried_apart.add(block.address)
        answers = [(piece, await self._ask(piece, deadline_s)) for piece in pieces]
        if all(isinstance(one, DeviceRefused) for _, one in answers):
            return [(block, answer)]
        place = self._blocks.index(block)
        self._blocks = self._blocks[:place] + pieces + self._blocks[place + 1 :]
        return answers

    def _pieces(self, block: ReadBlock) -> tuple[ReadBlock, ...]:
        return plan_pieces(self.register_map, {mapped.signal for mapped in block.signals})

    async def _ask(self, block: ReadBlock, deadline_s: float) -> Answer:
        try:
            return await self._registers(block.address, block.count, deadline_s)
        except DeviceRefused as refusal:
            return refusal

    async def _registers(self, address: int, count: int, deadline_s: float) -> tuple[int, ...]:
        rest_s = self._answered_s + self.register_map.pause_s - self.clock.monotonic_s()
        if rest_s > 0:
            await asyncio.sleep(rest_s)
        left_s = deadline_s - self.clock.monotonic_s()
        if left_s <= 0:
            detail = f"not all registers came within {self.timeout_s:g} s"
            raise Unreachable(self.meter_id, "read", detail, connected=True)
        try:
            return await self.modbus.read_registers(
                self.endpoint,
                unit_id=self.unit_id,
                function=self.register_map.function,
                address=address,
                count=count,
                timeout_s=left_s,
            )
        finally:
            self._answered_s = self.clock.monotonic_s()

    async def _identify(self, deadline_s: float) -> None:
        identity = self.register_map.identity
        if identity is None:
            return
        found = await self._registers(identity.address, len(identity.words), deadline_s)
        if found != identity.words:
            raise Unsupported(
                self.meter_id,
                "identify",
                f"registers at {identity.address} hold {_hex(found)}; {self.register_map.product} "
                f"holds {_hex(identity.words)}: choose the map of the meter that is there",
            )
        self._identified = True


def _exception_code(refusal: DeviceRefused) -> int | None:
    found = _EXCEPTION.search(refusal.detail)
    return None if found is None else int(found[1])


def _hex(words: tuple[int, ...]) -> str:
    return " ".join(f"{word:04X}" for word in words)
