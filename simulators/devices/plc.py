"""The plant's PLC: process values of water, units and bus in holding registers.

Plant PLCs are programmed per site; this map is the simulator's own. Function 3 reads; u16 is one
register, i32 two (high word first, two's complement); a value that is not available is 0xFFFF (u16)
or 0x80000000 (i32). Registers 0-39 and the units' blocks of 20 can be read, those without a name
as 0; any other is refused with exception 2. Addresses are 0-based.

    plant     0  u16  version of this map: 1          10  i32  net head, mm
              1  u16  heartbeat, +1 an update (¹)     12  i32  inflow, l/s
              2  u16  number of units                 14  i32  flow through the units, l/s
              3  u16  0 storage, 1 run of river       16  i32  spill, l/s
              4  u16  frequency, mHz                  18  i32  outflow (units + spill), l/s
              6  i32  headwater level, mm above sea   20  i32  volume above lowest level, 1000 m³
              8  i32  tailwater level, mm above sea   22  i32  auxiliaries, W
                                                      24  i32  generation of all units, W

    unit n at 100 + 20·(n − 1):
             +0  u16  0 stopped, 1 running,           +4  i32  power, W
                      2 closing after a trip          +6  i32  flow, l/s
             +1  u16  breaker: 0 open, 1 closed       +8  i32  scheduled power, W   (writable)
             +2  u16  gate opening, 0.01 %
             +3  u16  governor droop, 0.01 %

(¹) After 32767 comes 0. Scheduled power is written by function 16, both words at once, 0 … rated
power (else exception 3); a run-of-river plant refuses with exception 4: the water decides. Coil
n − 1 (function 5) is the breaker of unit n: ON closes it and the governor takes the unit up, OFF
trips it.
"""

import struct
from collections.abc import Mapping

from simulators.devices.meters import TURNAROUND_S, next_after
from simulators.devices.modbus import (
    DEVICE_FAILURE,
    ILLEGAL_ADDRESS,
    ILLEGAL_VALUE,
    READ_HOLDING,
    MeterFault,
    ModbusDevice,
    RegisterError,
)
from simulators.devices.register_image import ROUNDING_S, WORDS, Image, Layout, Register
from simulators.physics.plant import Plant
from simulators.scenario import MeterSetup

MAP_VERSION = 1
UNIT_BASE = 100
UNIT_SPAN = 20
PLANT_LAST = 39
SCHEDULED = 8
GATE_SHUT = 0.001
NOT_AVAILABLE = {"u16": b"\xff\xff", "i32": b"\x80\x00\x00\x00"}

PLANT_REGISTERS = (
    Register(0, "u16", "map_version"),
    Register(1, "u16", "heartbeat"),
    Register(2, "u16", "units"),
    Register(3, "u16", "run_of_river"),
    Register(4, "u16", "frequency_hz", 1_000.0),
    Register(6, "i32", "headwater_m", 1_000.0),
    Register(8, "i32", "tailwater_m", 1_000.0),
    Register(10, "i32", "net_head_m", 1_000.0),
    Register(12, "i32", "inflow_m3_s", 1_000.0),
    Register(14, "i32", "turbine_flow_m3_s", 1_000.0),
    Register(16, "i32", "spill_m3_s", 1_000.0),
    Register(18, "i32", "outflow_m3_s", 1_000.0),
    Register(20, "i32", "volume_m3", 0.001),
    Register(22, "i32", "auxiliary_w"),
    Register(24, "i32", "generation_w"),
)
UNIT_REGISTERS = (
    Register(0, "u16", "state"),
    Register(1, "u16", "breaker"),
    Register(2, "u16", "gate", 10_000.0),
    Register(3, "u16", "droop_percent", 100.0),
    Register(4, "i32", "power_w"),
    Register(6, "i32", "flow_m3_s", 1_000.0),
    Register(SCHEDULED, "i32", "scheduled_w"),
)


def plc_layout(unit_ids: tuple[int, ...]) -> Layout:
    """Return the map above for the units 1 … n of a plant."""
    registers = _filled(PLANT_REGISTERS, 0, PLANT_LAST)
    for unit_id in unit_ids:
        base = _base(unit_id)
        moved = tuple(
            Register(base + item.address, item.format, f"unit{unit_id}_{item.quantity}", item.scale)
            for item in UNIT_REGISTERS
        )
        registers += _filled(moved, base, base + UNIT_SPAN - 1)
    return Layout(
        registers=registers, functions=frozenset({READ_HOLDING}), not_available=NOT_AVAILABLE
    )


class PlcImage(Image):
    """The PLC's registers, of which some can be written, and its breaker coils."""

    def __init__(self, plant: Plant, *, latency_s: float) -> None:
        super().__init__(plc_layout(tuple(plant.units)), latency_s=latency_s)
        self._plant = plant

    def write(self, address: int, words: tuple[int, ...]) -> None:
        """Take a unit's scheduled power, both words at once. Raises RegisterError."""
        for unit in self._plant.units.values():
            if address == _base(unit.id) + SCHEDULED and len(words) == 2:
                (power_w,) = struct.unpack(">i", struct.pack(">2H", *words))
                if not 0 <= power_w <= unit.setup.rated_w:
                    raise RegisterError(ILLEGAL_VALUE)
                if self._plant.setup.operation != "storage":
                    raise RegisterError(DEVICE_FAILURE)
                unit.scheduled_w = float(power_w)
                return
        raise RegisterError(ILLEGAL_ADDRESS)

    def write_coil(self, address: int, *, on: bool) -> None:
        """Close or trip the breaker of unit `address` + 1. Raises RegisterError."""
        unit = self._plant.units.get(address + 1)
        if unit is None:
            raise RegisterError(ILLEGAL_ADDRESS)
        if on:
            unit.start()
        else:
            unit.trip()


class Plc(ModbusDevice):
    """The PLC of the scenario. The world calls `observe` with every step."""

    def __init__(self, setup: MeterSetup, plant: Plant) -> None:
        self.setup = setup
        self.image = PlcImage(plant, latency_s=setup.latency_s)
        super().__init__(setup.id, setup.unit_id, self.image, turnaround_s=TURNAROUND_S)
        self._plant = plant
        self._beats = 0
        self._next_s = 0.0

    def observe(self, now_s: float) -> None:
        """Copy the process values when the PLC's own period has passed; frozen: nothing moves."""
        if now_s < self._next_s - ROUNDING_S:
            return
        self._next_s = next_after(self._next_s, self.setup.update_s, now_s)
        if self.fault(now_s) is not MeterFault.FROZEN:
            self._beats = (self._beats + 1) % 0x8000
            self.image.publish(self._quantities(), now_s)

    def _quantities(self) -> Mapping[str, float]:
        plant, water = self._plant, self._plant.reservoir
        values: dict[str, float] = {
            "map_version": MAP_VERSION,
            "heartbeat": self._beats,
            "units": len(plant.units),
            "run_of_river": plant.setup.operation == "run-of-river",
            "frequency_hz": plant.grid.frequency_hz,
            "headwater_m": water.headwater_m,
            "tailwater_m": water.tailwater_m,
            "net_head_m": plant.net_head_m,
            "inflow_m3_s": water.inflow_m3_s,
            "turbine_flow_m3_s": water.turbine_flow_m3_s,
            "spill_m3_s": water.spill_m3_s,
            "outflow_m3_s": water.outflow_m3_s,
            "volume_m3": water.volume_m3,
            "auxiliary_w": plant.setup.auxiliary_w,
            "generation_w": plant.generation_w,
        }
        for unit in plant.units.values():
            stopped = unit.gate <= GATE_SHUT
            own: dict[str, float] = {
                "state": 1 if unit.breaker_closed else 0 if stopped else 2,
                "breaker": unit.breaker_closed,
                "gate": unit.gate,
                "droop_percent": unit.setup.droop_percent,
                "power_w": unit.power_w,
                "flow_m3_s": unit.flow_m3_s,
                "scheduled_w": unit.scheduled_w,
            }
            values.update((f"unit{unit.id}_{name}", value) for name, value in own.items())
        return values


def _base(unit_id: int) -> int:
    return UNIT_BASE + UNIT_SPAN * (unit_id - 1)


def _filled(registers: tuple[Register, ...], first: int, last: int) -> tuple[Register, ...]:
    """Return the registers with the gaps of their block filled by reserved ones."""
    filled: list[Register] = []
    at = first
    for register in registers:
        filled += [Register(gap, "u16", "") for gap in range(at, register.address)]
        filled.append(register)
        at = register.address + WORDS[register.format]
    return (*filled, *(Register(gap, "u16", "") for gap in range(at, last + 1)))
