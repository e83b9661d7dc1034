"""Our meter driver against the simulated plant's meters, over real sockets; the physics judges.

The plant lives in virtual time (`At`); only the sockets are real, so nothing here waits for a
second to pass, and a slow machine changes no verdict.
"""

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest

from drivers.contract.errors import DeviceError, DeviceRefused, Malformed, Unreachable
from drivers.contract.quantities import Quality, Signal
from drivers.meters.driver import ModbusMeter
from drivers.meters.load import load_map
from drivers.meters.quality import FrozenRule, MeterTrack, judge
from drivers.transport.memory import MemoryModbus, RegistersAnswer, RegistersQuestion
from drivers.transport.modbus import SocketModbus
from drivers.transport.ports import Endpoint, Modbus
from simulators.devices.modbus import MeterFault
from simulators.devices.modbus_server import serve_modbus
from simulators.scenario import MeterSetup
from simulators.scenario_file import load_scenario, scenario_path
from simulators.world import World

PRODUCTS = ("siemens-pac4200", "schneider-pm5340", "janitza-umg604", "eastron-sdm630")
NOISE_PERCENT = 0.2
TOLERANCE = 6 * NOISE_PERCENT / 100
LONG_S = 20.0
SHORT_S = 0.15
START = datetime(2026, 11, 5, 12, 0, tzinfo=UTC)


@dataclass
class At:
    """The plant's time, and the clock that stamps readings."""

    world: World
    now_s: float = 0.0

    def monotonic_s(self) -> float:
        return self.now_s

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds
        self.world.step_to(self.now_s)


def a_plant(product: str, measures: str = "transformer", *, reversed_ct: bool = False) -> At:
    """The quiet plant with one instrument of our choice, a minute after its start."""
    scenario = load_scenario(scenario_path("quiet"))
    setup = MeterSetup(
        id="m-1",
        product=product,  # type: ignore[arg-type]  # the cases are written as plain texts
        measures=measures,
        host="127.0.0.1",
        port=0,
        unit_id=1,
        update_s=1.0,
        latency_s=0.0,
        noise_percent=NOISE_PERCENT,
        reversed=reversed_ct,
    )
    at = At(World(replace(scenario, meters=(setup,)), start_utc=START))
    at.pass_s(60.05)
    return at


@asynccontextmanager
async def read_by(at: At, product: str, **changed: object) -> AsyncIterator[ModbusMeter]:
    modbus = SocketModbus()
    device = at.world.meters["m-1"]
    async with serve_modbus(device, "127.0.0.1", 0, now_s=at.monotonic_s) as (host, port):
        try:
            yield a_meter(at, product, modbus, host, port, **changed)
        finally:
            await modbus.close()


def a_meter(
    at: At, product: str, modbus: Modbus, host: str, port: int, **changed: object
) -> ModbusMeter:
    shape = {
        "meter_id": "m-1",
        "endpoint": Endpoint(device="m-1", host=host, port=port),
        "unit_id": 1,
        "register_map": load_map(product),
        "modbus": modbus,
        "clock": at,
        "timeout_s": LONG_S,
    }
    return ModbusMeter(**(shape | changed))  # type: ignore[arg-type]


def close_to(true: float) -> object:
    return pytest.approx(true, rel=TOLERANCE)


@pytest.mark.parametrize("measures", ["transformer", "feeder:main", "unit:1"])
@pytest.mark.parametrize("product", PRODUCTS)
async def test_every_product_says_what_the_physics_does(product: str, measures: str) -> None:
    at = a_plant(product, measures)
    true = at.world.plant.look(measures)
    async with read_by(at, product) as meter:
        reading = await meter.read()
    values = reading.values
    assert reading.faults == ()
    assert values[Signal.POWER_W] == close_to(true.total_w)
    for phase in (1, 2, 3):
        assert values[Signal(f"power_l{phase}_w")] == close_to(true.power_w[phase - 1])
        assert values[Signal(f"voltage_l{phase}_v")] == close_to(true.voltage_v[phase - 1])
        assert values[Signal(f"current_l{phase}_a")] == close_to(true.current_a[phase - 1])
    assert values[Signal.FREQUENCY_HZ] == pytest.approx(true.frequency_hz, abs=0.01)
    if Signal.ENERGY_IMPORT_WH in values:
        last_second_wh = true.total_w / 3600
        assert values[Signal.ENERGY_IMPORT_WH] == pytest.approx(true.import_wh, abs=last_second_wh)
        assert values[Signal.ENERGY_EXPORT_WH] == 0
    else:
        assert product == "schneider-pm5340"


@pytest.mark.parametrize("product", PRODUCTS)
async def test_a_change_of_load_is_seen(product: str) -> None:
    at = a_plant(product, "feeder:main")
    async with read_by(at, product, signals=[Signal.POWER_W, Signal.FREQUENCY_HZ]) as meter:
        before_w = (await meter.read()).values[Signal.POWER_W]
        for persona in at.world.miners.values():
            persona.miner.sleep(at.now_s)
        at.pass_s(120.0)
        after_w = (await meter.read()).values[Signal.POWER_W]
    assert before_w is not None
    assert after_w is not None
    assert after_w == close_to(at.world.plant.look("feeder:main").total_w)
    assert after_w < before_w / 3


async def test_reversed_transformers_are_turned_round() -> None:
    at = a_plant("siemens-pac4200", reversed_ct=True)
    true = at.world.plant.look("transformer")
    async with read_by(at, "siemens-pac4200", reversed_ct=True) as meter:
        values = (await meter.read()).values
    assert values[Signal.POWER_W] == close_to(true.total_w)
    assert values[Signal.ENERGY_IMPORT_WH] == pytest.approx(true.import_wh, abs=true.total_w / 3600)
    assert values[Signal.ENERGY_EXPORT_WH] == 0


async def test_the_plant_plc() -> None:
    at = a_plant("plant-plc", "plant")
    plant, water = at.world.plant, at.world.plant.reservoir
    unit = plant.units[1]
    async with read_by(at, "demo-plc") as plc:
        reading = await plc.read()
    expected = {
        Signal.HEADWATER_LEVEL_M: water.headwater_m,
        Signal.TAILWATER_LEVEL_M: water.tailwater_m,
        Signal.NET_HEAD_M: plant.net_head_m,
        Signal.INFLOW_M3_S: water.inflow_m3_s,
        Signal.OUTFLOW_M3_S: water.outflow_m3_s,
        Signal.SPILL_M3_S: water.spill_m3_s,
        Signal.RESERVOIR_VOLUME_M3: water.volume_m3,
        Signal.FREQUENCY_HZ: plant.grid.frequency_hz,
        Signal.AUXILIARY_POWER_W: plant.setup.auxiliary_w,
        Signal.UNIT1_POWER_W: unit.power_w,
        Signal.UNIT1_GATE_PERCENT: 100 * unit.gate,
        Signal.UNIT1_BREAKER_CLOSED: 1.0,
    }
    for signal, true in expected.items():
        assert reading.values[signal] == pytest.approx(true, rel=1e-3, abs=0.01), signal
    # This plant has one unit; its PLC refuses the other's registers.
    for signal in (Signal.UNIT2_POWER_W, Signal.UNIT2_GATE_PERCENT, Signal.UNIT2_BREAKER_CLOSED):
        assert reading.values[signal] is None
    assert len(reading.faults) == 3


async def test_a_tripped_unit_is_seen_at_the_plc() -> None:
    at = a_plant("plant-plc", "plant")
    wanted = [Signal.UNIT1_BREAKER_CLOSED, Signal.UNIT1_POWER_W]
    async with read_by(at, "demo-plc", signals=wanted) as plc:
        assert (await plc.read()).values[Signal.UNIT1_BREAKER_CLOSED] == 1
        at.world.plant.units[1].trip()
        at.pass_s(60.0)
        values = (await plc.read()).values
    assert values == {Signal.UNIT1_BREAKER_CLOSED: 0, Signal.UNIT1_POWER_W: 0}


FAILURES: dict[MeterFault, tuple[type[DeviceError], str]] = {
    MeterFault.SILENT: (Unreachable, "no reply within"),
    MeterFault.LATE: (Unreachable, "no reply within"),
    MeterFault.DROP: (Unreachable, "connection was closed"),
    MeterFault.WRONG_TRANSACTION: (Malformed, "reply to transaction"),
    MeterFault.EXCEPTION: (DeviceRefused, "exception 4"),
}


@pytest.mark.parametrize("fault", FAILURES)
@pytest.mark.parametrize("product", PRODUCTS)
async def test_a_fault_is_an_error_and_leaves_nothing_behind(
    product: str, fault: MeterFault
) -> None:
    at = a_plant(product)
    error, sentence = FAILURES[fault]
    waits = fault in {MeterFault.SILENT, MeterFault.LATE}
    async with read_by(at, product) as meter:
        first = await meter.read()
        meter.timeout_s = SHORT_S if waits else LONG_S
        at.world.meters["m-1"].set_fault(fault, delay_s=2 * SHORT_S)
        for _ in range(2):
            with pytest.raises(error, match=sentence) as caught:
                await meter.read()
            assert str(caught.value).startswith("m-1: ")
        at.world.meters["m-1"].set_fault(None)
        meter.timeout_s = LONG_S
        at.pass_s(5.0)
        after = await meter.read()
    assert after.values[Signal.POWER_W] == close_to(at.world.plant.look("transformer").total_w)
    assert after.raw != first.raw


@pytest.mark.parametrize("product", [*PRODUCTS, "demo-plc"])
async def test_not_available_is_none_never_zero(product: str) -> None:
    at = a_plant("plant-plc", "plant") if product == "demo-plc" else a_plant(product)
    signals = [one.signal for one in load_map(product).signals if "unit2" not in one.signal]
    async with read_by(at, product, signals=signals) as meter:
        await meter.read()  # the PLC's map version is known before its values go
        at.world.meters["m-1"].set_fault(MeterFault.NAN)
        reading = await meter.read()
    assert set(reading.values) == set(signals)
    assert set(reading.values.values()) == {None}
    assert len(reading.faults) == len(signals)
    assert all("not available" in fault for fault in reading.faults)
    track = judge(None, reading, at.now_s, RULE)
    assert {track.quality(signal) for signal in signals} == {Quality.BAD}


RULE = FrozenRule(stale_after_s=3.0, frozen_after_s=10.0, load_w=1000.0)


@pytest.mark.parametrize("product", PRODUCTS)
async def test_a_frozen_meter_turns_bad_and_good_again(product: str) -> None:
    at = a_plant(product)
    track: MeterTrack | None = None
    picture = ""
    async with read_by(at, product, signals=[Signal.POWER_W, Signal.FREQUENCY_HZ]) as meter:
        for second in range(24):
            if second in {4, 20}:
                frozen = MeterFault.FROZEN if second == 4 else None
                at.world.meters["m-1"].set_fault(frozen)
            at.pass_s(1.0)
            track = judge(track, await meter.read(), at.now_s, RULE)
            picture += track.quality(Signal.POWER_W).name[0]
    # The last words before the freeze were read in second 3: more than 10 s later is second 14.
    assert picture == "G" * 14 + "B" * 6 + "G" * 4


@pytest.mark.parametrize("product", PRODUCTS)
async def test_a_meter_that_stops_turns_stale(product: str) -> None:
    at = a_plant(product)
    async with read_by(at, product) as meter:
        track = judge(None, await meter.read(), at.now_s, RULE)
        meter.timeout_s = SHORT_S
        at.world.meters["m-1"].set_fault(MeterFault.SILENT)
        for _ in range(2):
            at.pass_s(2.0)
            with pytest.raises(Unreachable):
                await meter.read()
            track = judge(track, None, at.now_s, RULE)
    assert track.quality(Signal.POWER_W) is Quality.STALE
    assert track.age_s == pytest.approx(4.0)


async def test_the_wrong_map_is_noticed() -> None:
    at = a_plant("siemens-pac4200")
    async with read_by(at, "eastron-sdm630") as meter:
        with pytest.raises(DeviceRefused):
            await meter.read()


async def test_the_wrong_unit_is_refused_by_name() -> None:
    at = a_plant("siemens-pac4200")
    async with read_by(at, "siemens-pac4200", unit_id=9) as meter:
        with pytest.raises(DeviceRefused, match=r"exception 11 \(gateway target failed"):
            await meter.read()


@pytest.mark.parametrize("product", [*PRODUCTS, "demo-plc"])
async def test_in_memory_the_same_device_gives_the_same_reading(product: str) -> None:
    at = a_plant("plant-plc", "plant") if product == "demo-plc" else a_plant(product)
    device = at.world.meters["m-1"]

    def handler(_host: str, _port: int, asked: RegistersQuestion) -> RegistersAnswer:
        pdu = struct.pack(">BHH", asked.function, asked.address, asked.count)
        served = device.answer(asked.unit_id, pdu, at.now_s)
        if served.pdu is None:
            return RegistersAnswer(words=None)
        if served.pdu[0] & 0x80:
            return RegistersAnswer(words=None, exception_code=served.pdu[1])
        return RegistersAnswer(words=struct.unpack(f">{asked.count}H", served.pdu[2:]))

    memory = a_meter(at, product, MemoryModbus(handler), "10.0.0.1", 502)
    async with read_by(at, product) as over_sockets:
        one, two = await memory.read(), await over_sockets.read()
    assert one.values == two.values
    assert one.raw == two.raw
