"""The simulated meters and the PLC on real sockets, read by a client that knows only the manuals.

Addresses in this file are typed from the vendors' register lists, not from the simulator's maps.
"""

import struct
from dataclasses import replace

import pytest

from simulators.scenario_file import load_scenario, scenario_path
from simulators.world import World
from tests.protocols.modbus_client import (
    EVENING,
    NOON,
    PAC,
    PLC,
    PM,
    SDM,
    UMG,
    Refused,
    connected,
    evening,
)

QUIET = load_scenario(scenario_path("quiet"))

# --- what the registers say ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("meter_id", "place", "function", "power", "phases", "volts", "amps", "hertz", "unit_w"),
    [
        (PAC, "feeder:north", 3, 65, 25, 1, 13, 55, 1.0),
        (PAC, "feeder:north", 4, 65, 25, 1, 13, 55, 1.0),
        (PM, "feeder:south", 3, 3059, 3053, 3027, 2999, 3109, 1000.0),
        (UMG, "transformer", 3, 1369, 1333, 1317, 1325, 1439, 1.0),
        (SDM, "station", 4, 0x34, 0x0C, 0x00, 0x06, 0x46, 1.0),
    ],
    ids=["pac4200-fc3", "pac4200-fc4", "pm5340-kW", "umg604", "sdm630-fc4"],
)
async def test_registers_follow_the_physics(
    meter_id, place, function, power, phases, volts, amps, hertz, unit_w
):
    world = evening()
    world.step_to(30.0)
    async with connected(world, meter_id) as client:
        for _ in range(3):
            world.step_to(world.now_s + 5.0)
            true = world.plant.look(place)
            (total,) = await client.f32(function, power)
            # 0.15 % noise a phase, and up to a second of the town's own wandering.
            assert total * unit_w == pytest.approx(true.total_w, rel=0.006)
            by_phase = await client.f32(function, phases, 3)
            assert sum(by_phase) == pytest.approx(total, rel=1e-5)
            assert await client.f32(function, volts, 3) == pytest.approx(true.voltage_v, rel=0.005)
            assert await client.f32(function, amps, 3) == pytest.approx(true.current_a, rel=0.02)
            (frequency_hz,) = await client.f32(function, hertz)
            assert frequency_hz == pytest.approx(true.frequency_hz, abs=0.03)


async def test_energies_count_in_each_products_unit():
    world = evening()
    world.step_to(120.0)
    north, bus, station = (
        world.plant.look(place) for place in ("feeder:north", "transformer", "station")
    )
    async with connected(world, PAC) as client:
        imported, exported = struct.unpack(
            ">d8xd", await client.read(3, 801, 12)
        )  # doubles, Wh; the tariff between them is not used
        assert imported == pytest.approx(north.import_wh, rel=0.01)
        assert exported == 0.0
    async with connected(world, UMG) as client:
        assert await client.f32(3, 9851) == pytest.approx((bus.import_wh,), rel=0.01)
        assert await client.f32(3, 9863) == (0.0,)
    async with connected(world, SDM) as client:
        imported, exported = await client.f32(4, 0x48, 2)  # kWh
        assert imported == pytest.approx(station.import_wh / 1000.0, rel=0.01)
        assert exported == 0.0
        assert await client.f32(4, 0x156) == pytest.approx((imported,))


async def test_a_reversed_instrument_swaps_sign_and_energies():
    meters = tuple(
        replace(meter, reversed=True, noise_percent=0.0) if meter.id == PAC else meter
        for meter in EVENING.meters
    )
    world = evening(meters=meters)
    world.step_to(30.0)
    async with connected(world, PAC) as client:
        (power_w,) = await client.f32(3, 65)
        assert power_w == pytest.approx(-world.plant.look("feeder:north").total_w, rel=0.005)
        imported, exported = struct.unpack(">d8xd", await client.read(3, 801, 12))
        assert imported == 0.0
        assert exported > 1000.0


async def test_a_value_is_held_for_its_period_and_shown_after_its_latency():
    meters = tuple(replace(meter, latency_s=0.5) for meter in EVENING.meters)
    world = evening(meters=meters)
    changes = {PAC: [], UMG: []}
    for meter_id, address in ((PAC, 65), (UMG, 1369)):
        previous = None
        pdu = struct.pack(">BHH", 3, address, 2)
        for step in range(1, 41):
            now_s = step * 0.1 if meter_id == PAC else 4.0 + step * 0.1
            world.step_to(now_s)
            reply = world.meters[meter_id].answer(1, pdu, now_s).pdu
            if reply != previous and previous is not None:
                changes[meter_id].append(round(now_s, 1))
            previous = reply
    assert changes[PAC] == [1.5, 2.5, 3.5]
    assert len(changes[UMG]) == 19
    assert {round(b - a, 1) for a, b in zip(changes[UMG], changes[UMG][1:], strict=False)} == {0.2}


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("meter_id", "function", "address", "count", "code"),
    [
        (PAC, 3, 66, 2, 2),  # begins in the second word of total power
        (PAC, 3, 26, 4, 2),
        (PAC, 3, 802, 4, 2),  # begins inside a double
        (PAC, 3, 0, 2, 2),
        (PAC, 3, 71, 2, 2),
        (PAC, 3, 65, 8, 2),  # runs over the end of the block
        (PAC, 3, 1, 0, 3),
        (PAC, 3, 1, 126, 3),
        (PAC, 1, 1, 1, 1),
        (PAC, 6, 65, 1, 1),
        (PM, 4, 3059, 2, 1),
        (PM, 3, 2998, 2, 2),
        (PM, 3, 3111, 2, 2),
        (UMG, 3, 1437, 2, 2),
        (UMG, 4, 1369, 2, 1),
        (SDM, 3, 0x34, 2, 2),  # settings, none here
        (SDM, 4, 0, 82, 3),  # at most 40 values
        (SDM, 4, 0x154, 2, 2),
        (SDM, 2, 0, 2, 1),
        (PLC, 3, 40, 1, 2),
        (PLC, 3, 139, 2, 2),
        (PLC, 4, 0, 1, 1),
        (PLC, 3, 65_535, 1, 2),
    ],
)
async def test_refusals_carry_the_products_exception(meter_id, function, address, count, code):
    world = evening()
    async with connected(world, meter_id) as client:
        with pytest.raises(Refused) as caught:
            await client.read(function, address, count)
        assert caught.value.args == (code,)
        # The connection lives on after a refusal.
        assert await client.read(
            4 if meter_id == SDM else 3, {PM: 3059, UMG: 1369}.get(meter_id, 1), 2
        )


async def test_reads_may_join_what_stands_together():
    world = evening()
    async with connected(world, PAC) as client:
        assert len(await client.read(3, 1, 70)) == 140
    async with connected(world, PM) as client:
        assert len(await client.read(3, 2999, 112)) == 224
    async with connected(world, UMG) as client:
        assert len(await client.read(3, 1317, 56)) == 112
    async with connected(world, SDM) as client:
        assert len(await client.read(4, 0, 76)) == 152


async def test_unit_ids_behind_the_address():
    world = evening()
    async with connected(world, PAC) as client:
        for unit_id in (1, 0, 255):
            assert await client.read(3, 65, 2, unit_id)
        with pytest.raises(Refused) as caught:
            await client.read(3, 65, 2, 9)
        assert caught.value.args == (11,)


# --- the PLC ------------------------------------------------------------------------------------


async def test_plc_tells_the_process_values():
    world = evening()
    world.step_to(20.0)
    plant, water = world.plant, world.plant.reservoir
    async with connected(world, PLC) as client:
        words = await client.read(3, 0, 40)
        version, beats, units, run_of_river, millihertz = struct.unpack(">5H", words[:10])
        assert (version, units, run_of_river) == (1, 2, 1)
        assert beats == pytest.approx(20, abs=1)
        assert millihertz / 1000 == pytest.approx(plant.grid.frequency_hz, abs=0.03)
        values = struct.unpack(">10i", words[12:52])
        assert values == pytest.approx(
            (
                1000 * water.headwater_m,
                1000 * water.tailwater_m,
                1000 * plant.net_head_m,
                1000 * water.inflow_m3_s,
                1000 * water.turbine_flow_m3_s,
                0,
                1000 * water.outflow_m3_s,
                water.volume_m3 / 1000,
                65_000,
                plant.generation_w,
            ),
            rel=0.005,
            abs=1.0,
        )
        state, breaker, gate, droop, power_w = struct.unpack(">4Hi", await client.read(3, 120, 6))
        assert (state, breaker, droop) == (1, 1, 500)
        assert gate / 10_000 == pytest.approx(plant.units[2].gate, abs=0.01)
        assert power_w == pytest.approx(plant.units[2].power_w, rel=0.01)


async def test_plc_trips_and_starts_a_unit_and_keeps_the_heartbeat():
    world = evening()
    async with connected(world, PLC) as client:
        off = struct.pack(">BHH", 5, 1, 0)
        assert await client.request(off) == off
        world.step_to(3.0)
        state, breaker = struct.unpack(">2H", await client.read(3, 120, 2))
        assert (state, breaker) == (2, 0)
        assert world.plant.units[2].power_w == 0.0
        world.step_to(40.0)
        assert struct.unpack(">2H", await client.read(3, 120, 2)) == (0, 0)
        await client.request(struct.pack(">BHH", 5, 1, 0xFF00))
        world.step_to(80.0)
        assert struct.unpack(">2H", await client.read(3, 120, 2)) == (1, 1)
        assert world.plant.units[2].power_w > 2e6
        for address, value, code in ((1, 1, 3), (2, 0xFF00, 2)):
            with pytest.raises(Refused) as caught:
                await client.request(struct.pack(">BHH", 5, address, value))
            assert caught.value.args == (code,)


async def test_plc_schedule_is_written_whole_and_within_the_rating():
    world = World(QUIET, start_utc=NOON)
    write = struct.Struct(">BHHBi")
    async with connected(world, PLC) as client:
        reply = await client.request(write.pack(16, 108, 2, 4, 4_000_000))
        assert reply == struct.pack(">BHH", 16, 108, 2)
        world.step_to(60.0)
        assert world.plant.generation_w == pytest.approx(4e6, rel=0.01)
        (scheduled_w,) = struct.unpack(">i", await client.read(3, 108, 2))
        assert scheduled_w == 4_000_000
        for pdu, code in (
            (write.pack(16, 108, 2, 4, 10_000_001), 3),
            (write.pack(16, 108, 2, 4, -1), 3),
            (write.pack(16, 104, 2, 4, 1), 2),
            (struct.pack(">BHH", 6, 108, 1), 2),
            (struct.pack(">BHHB", 16, 108, 2, 4), 3),
            (struct.pack(">BHHBH", 16, 108, 2, 2, 1), 3),
        ):
            with pytest.raises(Refused) as caught:
                await client.request(pdu)
            assert caught.value.args == (code,), pdu
    async with connected(evening(), PLC) as client:
        with pytest.raises(Refused) as caught:
            await client.request(write.pack(16, 108, 2, 4, 4_000_000))
        assert caught.value.args == (4,)
