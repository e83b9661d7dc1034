"""The driver on a transport of dictionaries: what it asks, and what it makes of each answer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from drivers.contract.devices import MeterDriver
from drivers.contract.errors import (
    DeviceError,
    DeviceRefused,
    Malformed,
    Unreachable,
    Unsupported,
)
from drivers.contract.quantities import Signal
from drivers.meters.driver import ModbusMeter
from drivers.meters.load import load_map, parse_map
from drivers.meters.map import RegisterMap
from drivers.transport.ports import Endpoint

MAP = """
product = "acme-1"
vendor = "Acme"
model = "One"
manual = "by hand"
function = 4
address_base = 0
ratios = "site"
gap_words_max = 4

[status]
code = "none"

[signals.power_w]
address = 10
type = "i16"
unit = "W"
plausible = [-1e9, 1e9]

[signals.current_l1_a]
address = 12
type = "u16"
unit = "A"
not_available = [0xFFFF]
plausible = [0, 1e5]

[signals.voltage_l1_v]
address = 14
type = "u16"
unit = "V"
plausible = [0, 1e6]

[signals.frequency_hz]
address = 100
type = "u16"
unit = "Hz"
scale = 0.01
plausible = [45, 55]

[signals.energy_import_wh]
address = 200
type = "u16"
unit = "kWh"
plausible = [0, 1e12]

[signals.energy_export_wh]
address = 201
type = "u16"
unit = "kWh"
plausible = [0, 1e12]

[[golden]]
name = "all"
synthetic = true
[golden.words]
"10" = "0190 0000 0005 0000 00E7"
"100" = "1388"
"200" = "0007 0003"
[golden.values]
power_w = 400
current_l1_a = 5
voltage_l1_v = 231
frequency_hz = 50
energy_import_wh = 7000
energy_export_wh = 3000
"""
IDENTITY = "[identity]\naddress = 900\nwords = [7, 8]\n\n[status]"
WORDS = {10: 400, 12: 5, 14: 231, 100: 5000, 200: 7, 201: 3}
ENDPOINT = Endpoint(device="m-1", host="10.0.0.1", port=502)


@dataclass
class Clock:
    now_s: float = 100.0

    def monotonic_s(self) -> float:
        return self.now_s


@dataclass
class FakeModbus:
    """Registers by address; `fail` may raise for a request; each request takes `takes_s`."""

    clock: Clock
    words: dict[int, int] = field(default_factory=lambda: dict(WORDS))
    takes_s: float = 0.01
    fail: Callable[[int, int], DeviceError | None] = lambda _address, _count: None
    asked: list[tuple[int, int]] = field(default_factory=list)
    heads: set[tuple[str, int, int]] = field(default_factory=set)
    timeouts: list[float] = field(default_factory=list)

    async def read_registers(
        self,
        endpoint: Endpoint,
        *,
        unit_id: int,
        function: int,
        address: int,
        count: int,
        timeout_s: float,
    ) -> tuple[int, ...]:
        self.asked.append((address, count))
        self.heads.add((endpoint.device, unit_id, function))
        self.timeouts.append(timeout_s)
        self.clock.now_s += self.takes_s
        if (error := self.fail(address, count)) is not None:
            raise error
        return tuple(self.words.get(address + i, 0) for i in range(count))

    async def close(self) -> None:
        self.asked.clear()


def meter(
    clock: Clock, modbus: FakeModbus, register_map: RegisterMap | None = None, **changed: Any
) -> ModbusMeter:
    shape: dict[str, Any] = {
        "meter_id": "m-1",
        "endpoint": ENDPOINT,
        "unit_id": 3,
        "register_map": register_map or parse_map(MAP, "acme-1.toml"),
        "modbus": modbus,
        "clock": clock,
        "timeout_s": 0.5,
    }
    return ModbusMeter(**(shape | changed))


def refused(code: int) -> DeviceRefused:
    return DeviceRefused("m-1", "read", f"exception {code} (whatever)")


async def test_a_whole_reading() -> None:
    clock = Clock()
    modbus = FakeModbus(clock)
    driver: MeterDriver = meter(clock, modbus)
    reading = await driver.read()
    assert modbus.asked == [(10, 5), (100, 1), (200, 2)]
    assert modbus.heads == {("m-1", 3, 4)}
    assert reading.values == {
        Signal.POWER_W: 400,
        Signal.CURRENT_L1_A: 5,
        Signal.VOLTAGE_L1_V: 231,
        Signal.FREQUENCY_HZ: 50,
        Signal.ENERGY_IMPORT_WH: 7000,
        Signal.ENERGY_EXPORT_WH: 3000,
    }
    assert reading.begun_s == 100.0
    assert reading.taken_s == pytest.approx(100.03)
    assert reading.faults == ()


async def test_a_control_meter_reads_only_what_it_needs() -> None:
    clock = Clock()
    modbus = FakeModbus(clock)
    reading = await meter(clock, modbus, signals={Signal.POWER_W, Signal.FREQUENCY_HZ}).read()
    assert modbus.asked == [(10, 1), (100, 1)]
    assert set(reading.values) == {Signal.POWER_W, Signal.FREQUENCY_HZ}
    assert reading.raw == (400, 5000)


async def test_words_of_a_gap_are_no_part_of_raw() -> None:
    clock = Clock()
    modbus = FakeModbus(clock)
    driver = meter(clock, modbus)
    first = await driver.read()
    modbus.words[11] = 999  # a clock of the device's own, between two values
    assert (await driver.read()).raw == first.raw == (400, 5, 231, 5000, 7, 3)


async def test_what_has_no_value_is_none_with_a_sentence() -> None:
    clock = Clock()
    modbus = FakeModbus(clock)
    modbus.words |= {12: 0xFFFF, 100: 6600}
    reading = await meter(clock, modbus).read()
    assert reading.values[Signal.CURRENT_L1_A] is None
    assert reading.values[Signal.FREQUENCY_HZ] is None
    assert reading.values[Signal.POWER_W] == 400
    assert reading.faults == (
        "current_l1_a: not available (the device sent 0xFFFF)",
        "frequency_hz: 66 is outside the plausible range 45 to 55",
    )


async def test_ratios_of_the_site() -> None:
    clock = Clock()
    values = (await meter(clock, FakeModbus(clock), ct_ratio=200, vt_ratio=100).read()).values
    assert values[Signal.POWER_W] == 400 * 200 * 100
    assert values[Signal.CURRENT_L1_A] == 5 * 200
    assert values[Signal.VOLTAGE_L1_V] == 231 * 100
    assert values[Signal.FREQUENCY_HZ] == 50
    assert values[Signal.ENERGY_IMPORT_WH] == 7000 * 200 * 100


async def test_reversed_transformers_turn_power_and_energy_round() -> None:
    clock = Clock()
    modbus = FakeModbus(clock)
    values = (await meter(clock, modbus, reversed_ct=True).read()).values
    assert values[Signal.POWER_W] == -400
    assert values[Signal.CURRENT_L1_A] == 5
    assert values[Signal.ENERGY_IMPORT_WH] == 3000
    assert values[Signal.ENERGY_EXPORT_WH] == 7000
    modbus.asked.clear()
    only = meter(clock, modbus, reversed_ct=True, signals=[Signal.ENERGY_IMPORT_WH])
    assert (await only.read()).values == {Signal.ENERGY_IMPORT_WH: 3000}
    assert modbus.asked == [(201, 1)]


async def test_the_deadline_is_shared_by_all_requests() -> None:
    clock = Clock()
    modbus = FakeModbus(clock, takes_s=0.2)
    await meter(clock, modbus, timeout_s=0.7).read()
    assert modbus.timeouts == [pytest.approx(0.7), pytest.approx(0.5), pytest.approx(0.3)]
    with pytest.raises(Unreachable, match=r"not all registers came within 0\.3 s") as caught:
        await meter(clock, modbus, timeout_s=0.3).read()
    assert caught.value.connected


async def test_a_device_that_refuses_a_gap_is_read_value_by_value_from_then_on() -> None:
    clock = Clock()
    modbus = FakeModbus(clock)
    modbus.fail = lambda address, count: refused(2) if address <= 11 < address + count else None
    driver = meter(clock, modbus)
    reading = await driver.read()
    assert modbus.asked == [(10, 5), (10, 1), (12, 1), (14, 1), (100, 1), (200, 2)]
    assert reading.values[Signal.VOLTAGE_L1_V] == 231
    assert reading.faults == ()
    modbus.asked.clear()
    assert (await driver.read()).values == reading.values
    assert modbus.asked == [(10, 1), (12, 1), (14, 1), (100, 1), (200, 2)]


async def test_one_refused_value_does_not_cost_the_others() -> None:
    clock = Clock()
    modbus = FakeModbus(clock)
    modbus.fail = lambda address, count: refused(2) if address <= 201 < address + count else None
    reading = await meter(clock, modbus).read()
    assert reading.values[Signal.ENERGY_EXPORT_WH] is None
    assert reading.values[Signal.ENERGY_IMPORT_WH] == 7000
    (fault,) = reading.faults
    assert fault.startswith("energy_export_wh: refused by the device: m-1: read: exception 2")


async def test_a_device_that_refuses_everything_is_an_error_and_is_asked_apart_only_once() -> None:
    clock = Clock()
    modbus = FakeModbus(clock, fail=lambda *_: refused(2))
    driver = meter(clock, modbus)
    with pytest.raises(DeviceRefused, match="exception 2"):
        await driver.read()
    assert len(modbus.asked) == 3 + 3 + 2
    modbus.asked.clear()
    with pytest.raises(DeviceRefused):
        await driver.read()
    assert modbus.asked == [(10, 5), (100, 1), (200, 2)]
    modbus.fail = lambda *_: None
    assert (await driver.read()).values[Signal.POWER_W] == 400


async def test_another_refusal_is_not_taken_for_missing_registers() -> None:
    clock = Clock()
    modbus = FakeModbus(clock, fail=lambda address, _: refused(4) if address == 10 else None)
    reading = await meter(clock, modbus).read()
    assert modbus.asked == [(10, 5), (100, 1), (200, 2)]
    assert reading.values[Signal.POWER_W] is None
    assert reading.values[Signal.FREQUENCY_HZ] == 50


@pytest.mark.parametrize(
    "error",
    [
        Unreachable("m-1", "read", "no reply", connected=True),
        Malformed("m-1", "read", "reply to transaction 3"),
    ],
)
async def test_half_a_reading_is_no_reading(error: DeviceError) -> None:
    clock = Clock()
    modbus = FakeModbus(clock, fail=lambda address, _: error if address == 200 else None)
    with pytest.raises(type(error)):
        await meter(clock, modbus).read()


async def test_identity_is_checked_once_and_again_after_an_absence() -> None:
    clock = Clock()
    modbus = FakeModbus(clock)
    modbus.words |= {900: 7, 901: 8}
    one = parse_map(MAP.replace("[status]", IDENTITY), "acme-1.toml")
    driver = meter(clock, modbus, one, signals=[Signal.POWER_W])
    await driver.read()
    await driver.read()
    assert modbus.asked == [(900, 2), (10, 1), (10, 1)]
    modbus.fail = lambda *_: Unreachable("m-1", "read", "no reply", connected=True)
    with pytest.raises(Unreachable):
        await driver.read()
    modbus.fail, modbus.words[901] = lambda *_: None, 9
    for _ in range(2):
        with pytest.raises(Unsupported, match=r"hold 0007 0009; acme-1 holds 0007 0008: choose"):
            await driver.read()
    modbus.words[901] = 8
    assert (await driver.read()).values == {Signal.POWER_W: 400}


async def test_a_device_gets_its_pause_between_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    modbus = FakeModbus(clock)
    slept: list[float] = []

    async def sleep(delay_s: float) -> None:
        slept.append(delay_s)
        clock.now_s += delay_s

    monkeypatch.setattr("drivers.meters.driver.asyncio.sleep", sleep)
    one = parse_map(
        MAP.replace("gap_words_max = 4", "gap_words_max = 4\npause_ms = 25"), "acme-1.toml"
    )
    driver = meter(clock, modbus, one)
    await driver.read()
    assert slept == [pytest.approx(0.025)] * 2
    clock.now_s += 1.0
    await driver.read()
    assert len(slept) == 4


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"signals": [Signal.NET_HEAD_M]}, "acme-1 does not measure net_head_m; it measures curr"),
        ({"signals": []}, "no signal is wanted"),
        ({"endpoint": Endpoint(device="m-2", host="h", port=1)}, "its endpoint is named m-2"),
        ({"timeout_s": 0}, "timeout_s 0"),
        ({"timeout_s": float("inf")}, "timeout_s inf"),
        ({"unit_id": 256}, "unit_id 256; give 0 to 255"),
        ({"ct_ratio": 0}, "ct_ratio 0; give 1 to 100000"),
        ({"vt_ratio": float("nan")}, "vt_ratio nan"),
    ],
)
def test_what_cannot_be_read_is_said_at_once(changed: dict[str, Any], sentence: str) -> None:
    clock = Clock()
    with pytest.raises(ValueError, match=f"^m-1: .*{sentence}"):
        meter(clock, FakeModbus(clock), **changed)


def test_a_ratio_for_a_meter_that_has_its_own_is_refused() -> None:
    clock = Clock()
    with pytest.raises(ValueError, match="ct_ratio 40, but siemens-pac4200 gives primary values"):
        meter(clock, FakeModbus(clock), load_map("siemens-pac4200"), ct_ratio=40)
