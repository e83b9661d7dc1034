"""Water, turbines, grid, town and feeders obey their own laws, and the plant balances."""

import random
from dataclasses import replace
from math import sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.physics.feeder import Feeder
from simulators.physics.grid import Grid
from simulators.physics.plant import Plant
from simulators.physics.reservoir import Reservoir
from simulators.physics.town import Town
from simulators.physics.turbine import Unit, efficiency
from simulators.scenario import FeederSetup, GridSetup, ReservoirSetup, TownSetup, UnitSetup
from simulators.scenario_file import load_scenario, scenario_path

UNIT = UnitSetup(
    id=1,
    rated_w=5e6,
    rated_flow_m3_s=23.5,
    rated_head_m=25.0,
    scheduled_w=3e6,
    head_loss_m=1.2,
    gate_rate_percent_s=5.0,
    droop_percent=5.0,
    deadband_hz=0.02,
    power_factor=0.95,
)
WATER = ReservoirSetup(
    area_m2=100_000.0,
    level_m=249.0,
    level_min_m=246.0,
    level_full_m=250.0,
    crest_length_m=40.0,
    inflow_m3_s=30.0,
    tailwater_m=222.0,
    tailwater_rise_m=1.0,
)
TOWN = TownSetup(
    night_w=400e3,
    day_w=600e3,
    morning_peak_w=900e3,
    evening_peak_w=1e6,
    noise_percent=0.0,
    power_factor=0.95,
)
GRID = GridSetup(
    system_w=5e9,
    inertia_s=5.0,
    droop_percent=5.0,
    response_s=4.0,
    noise_hz=0.0,
    event_rate_hz_s=0.5,
)
EVENING = load_scenario(scenario_path("evening"))


def a_plant(**changes: object) -> Plant:
    setup = replace(EVENING.plant, **changes)  # type: ignore[arg-type]
    return Plant(setup, town=TOWN, grid=GRID, feeders=EVENING.feeders, seed=1)


def run(plant: Plant, seconds: float, step_s: float = 0.1, miners_w: float = 0.0) -> None:
    for _ in range(round(seconds / step_s)):
        plant.step(step_s, 43_200.0, {"north": miners_w})


# --- turbine ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flow_share", "expected"),
    [(0.0, 0.85), (0.2, 0.85), (0.5, 0.91), (0.8, 0.93), (1.0, 0.9211)],
    ids=["/_______", "_/______", "___/____", "_____/^__", "_______^\\"],
)
def test_efficiency_is_a_hill(flow_share, expected):
    assert efficiency(flow_share) == pytest.approx(expected, abs=1e-4)


@given(gate=st.floats(0.01, 1.0), head_m=st.floats(1.0, 60.0))
def test_power_is_efficiency_times_water(gate, head_m):
    unit = Unit(UNIT)
    unit.gate = gate
    unit.step(0.0, head_m, 50.0, 0.0)
    hydraulic_w = 9_810.0 * unit.flow_m3_s * unit.net_head_m
    assert 0.85 - 1e-9 <= unit.power_w / hydraulic_w <= 0.93 + 1e-9
    loss_m = UNIT.head_loss_m * (unit.flow_m3_s / UNIT.rated_flow_m3_s) ** 2
    assert unit.net_head_m + loss_m == pytest.approx(head_m)


@given(
    frequencies=st.lists(st.floats(45.0, 55.0), max_size=30),
    reference_w=st.floats(0.0, 5e6),
)
def test_gate_never_moves_faster_than_its_rate(frequencies, reference_w):
    unit = Unit(UNIT)
    unit.settle(27.0, 2e6)
    for frequency_hz in frequencies:
        before = unit.gate
        unit.step(0.5, 27.0, frequency_hz, reference_w)
        assert abs(unit.gate - before) <= 0.05 * 0.5 + 1e-12
        assert 0.0 <= unit.gate <= 1.0


@pytest.mark.parametrize(
    ("frequency_hz", "change_w"),
    [(50.0, 0.0), (49.985, 0.0), (50.015, 0.0), (49.92, 120e3), (50.12, -200e3), (47.0, 2e6)],
    ids=["--", "deadband-", "deadband+", "low", "high", "at-rated"],
)
def test_governor_answers_frequency_by_its_droop(frequency_hz, change_w):
    # 5 % droop of 5 MW: 2.5 Hz beyond the deadband would move all of it; 0.06 Hz moves 120 kW.
    unit = Unit(UNIT)
    unit.settle(27.0, 3e6)
    for _ in range(600):
        unit.step(0.1, 27.0, frequency_hz, 3e6)
    assert unit.power_w == pytest.approx(3e6 + change_w, abs=2_000.0)


def test_trip_ends_power_at_once_and_water_by_the_gate_rate():
    unit = Unit(UNIT)
    unit.settle(27.0, 3e6)
    gate = unit.gate
    unit.trip()
    unit.step(1.0, 27.0, 50.0, 3e6)
    assert unit.power_w == 0.0
    assert unit.gate == pytest.approx(gate - 0.05)
    assert unit.flow_m3_s > 5.0
    for _ in range(30):
        unit.step(1.0, 27.0, 50.0, 3e6)
    assert unit.flow_m3_s == 0.0
    unit.start()
    for _ in range(120):
        unit.step(0.5, 27.0, 50.0, 3e6)
    assert unit.power_w == pytest.approx(3e6, rel=0.01)


# --- water --------------------------------------------------------------------------------------


@given(
    flows=st.lists(st.floats(0.0, 60.0), min_size=1, max_size=50),
    level_m=st.floats(248.0, 252.0),
)
def test_water_is_neither_made_nor_lost(flows, level_m):
    water = Reservoir(replace(WATER, level_m=level_m), 47.0)
    before_m3, moved_m3 = water.volume_m3, 0.0
    for flow_m3_s in flows:
        spill_m3_s = water.spill_m3_s
        water.step(10.0, flow_m3_s)
        moved_m3 += (30.0 - flow_m3_s - spill_m3_s) * 10.0
    assert water.volume_m3 == pytest.approx(before_m3 + moved_m3, abs=1e-3)


def test_spill_begins_at_the_crest_and_holds_the_level():
    water = Reservoir(WATER, 47.0)
    assert water.spill_m3_s == 0.0
    for _ in range(20_000):
        water.step(10.0, 0.0)
    assert water.spill_m3_s == pytest.approx(30.0, rel=1e-3)
    assert 250.0 < water.headwater_m < 251.0


def test_tailwater_rises_with_the_outflow():
    water = Reservoir(WATER, 47.0)
    levels = []
    for flow_m3_s in (0.0, 11.75, 47.0):
        water.step(0.0, flow_m3_s)
        levels.append(water.tailwater_m)
    assert levels == pytest.approx([222.0, 222.5, 223.0])


def test_low_water_stops_the_units_and_they_come_back():
    water = replace(EVENING.plant.reservoir, level_m=1_246.05, inflow_m3_s=2.0, area_m2=2_000.0)
    plant = a_plant(operation="storage", reservoir=water)
    assert plant.generation_w > 1e6
    run(plant, 60.0)
    assert plant.low_water
    assert plant.generation_w == pytest.approx(0.0, abs=1.0)
    plant.reservoir.inflow_m3_s = 60.0
    run(plant, 120.0)
    assert plant.generation_w > 1e6


def test_run_of_river_follows_the_river_and_keeps_the_level():
    plant = a_plant()
    before_w = plant.generation_w
    plant.reservoir.inflow_m3_s = 24.0
    run(plant, 3_600.0, step_s=1.0)
    assert plant.generation_w == pytest.approx(before_w * 24.0 / 36.0, rel=0.06)
    assert plant.reservoir.turbine_flow_m3_s == pytest.approx(24.0, rel=0.02)
    assert plant.reservoir.headwater_m == pytest.approx(1_249.6, abs=0.1)


def test_storage_plant_gives_what_is_scheduled_whatever_the_river():
    plant = a_plant(operation="storage")
    for unit in plant.units.values():
        unit.scheduled_w = 2.5e6
    plant.reservoir.inflow_m3_s = 60.0
    run(plant, 120.0)
    assert plant.generation_w == pytest.approx(5e6, rel=1e-3)


# --- grid ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_frequency_stays_plausible_for_an_hour(seed):
    grid = Grid(EVENING.grid, random.Random(seed))
    seen = []
    for _ in range(36_000):
        grid.step(0.1, 6.5e6)
        seen.append(grid.frequency_hz)
    assert 49.9 < min(seen) < 49.98
    assert 50.02 < max(seen) < 50.1


def test_our_own_imbalance_moves_frequency_a_little_and_not_for_long():
    grid = Grid(GRID, random.Random(1))
    grid.step(0.1, 6e6)
    assert grid.frequency_hz == 50.0
    lowest_hz = 50.0
    for _ in range(300):
        grid.step(0.1, 1e6)
        lowest_hz = min(lowest_hz, grid.frequency_hz)
    # 5 MW of 5 GW at 5 % droop and 1 %/% damping settle at 50 Hz · 0.001 / 21 = 2.4 mHz, and dip
    # deeper on the way, because the droop response lags.
    assert 0.0024 < 50.0 - lowest_hz < 0.008
    for _ in range(6_000):
        grid.step(0.1, 1e6)
    assert grid.frequency_hz == pytest.approx(50.0, abs=1e-4)


def test_a_scripted_event_reaches_its_depth_at_its_rate_and_ends():
    grid = Grid(GRID, random.Random(1))
    grid.event_target_hz = -0.4
    grid.step(0.5, 0.0)
    assert grid.frequency_hz == pytest.approx(49.75)
    grid.step(0.5, 0.0)
    assert grid.frequency_hz == pytest.approx(49.6)
    grid.event_target_hz = 0.0
    grid.step(1.0, 0.0)
    assert grid.frequency_hz == pytest.approx(50.0)


@settings(max_examples=30)
@given(
    inertia_s=st.floats(2.0, 20.0),
    droop_percent=st.floats(2.0, 20.0),
    response_s=st.floats(1.0, 60.0),
    step_s=st.floats(0.01, 1.0),
)
def test_swing_is_stable_within_the_allowed_settings(inertia_s, droop_percent, response_s, step_s):
    setup = replace(GRID, inertia_s=inertia_s, droop_percent=droop_percent, response_s=response_s)
    grid = Grid(setup, random.Random(1))
    grid.step(step_s, 0.0)
    for _ in range(2_000):
        grid.step(step_s, 50e6)
        assert abs(grid.swing_hz) < 0.5


# --- load ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hour", "power_w"),
    [
        (0.0, 400e3),
        (5.5, 400e3),
        (6.25, 650e3),
        (8.0, 900e3),
        (12.0, 600e3),
        (17.25, 800e3),
        (19.5, 1e6),
        (22.0, 700e3),
        (24.0, 400e3),
    ],
    ids=lambda value: f"{value:g}",
)
def test_town_lives_by_the_hour(hour, power_w):
    assert Town(TOWN, random.Random(1)).curve_w(hour * 3_600.0) == pytest.approx(power_w)


def test_town_noise_has_the_size_asked_for():
    town = Town(replace(TOWN, noise_percent=2.0), random.Random(4))
    seen = []
    for _ in range(20_000):
        town.step(1.0, 43_200.0)
        seen.append(town.power_w)
    mean_w = sum(seen) / len(seen)
    deviation_w = sqrt(sum((value - mean_w) ** 2 for value in seen) / len(seen))
    assert mean_w == pytest.approx(600e3, rel=0.005)
    assert deviation_w == pytest.approx(12e3, rel=0.15)


def test_feeder_adds_auxiliaries_and_cable_loss():
    setup = FeederSetup(
        id="a",
        rating_w=500e3,
        auxiliary_w=12e3,
        cable_ohm=0.004,
        power_factor=1.0,
        voltage_v=400.0,
    )
    feeder = Feeder(setup)
    feeder.step(388e3, 1.0)
    current_a = 400e3 / (sqrt(3.0) * 400.0)
    assert feeder.loss_w == pytest.approx(3.0 * current_a**2 * 0.004)
    assert feeder.power_w == pytest.approx(400e3 + feeder.loss_w)
    feeder.step(0.0, 1.0)
    assert feeder.power_w == pytest.approx(12e3, rel=0.001)


# --- the whole plant ----------------------------------------------------------------------------


def test_power_balances_and_energy_is_its_integral():
    plant = a_plant()
    summed_wh = dict.fromkeys(plant.points, 0.0)
    for index in range(200):
        plant.step(0.1, 43_200.0, {"north": 100e3 + 1e3 * index, "south": 50e3})
        assert plant.export_w == pytest.approx(plant.generation_w - plant.bus_w)
        for place in summed_wh:
            summed_wh[place] += plant.look(place).total_w * 0.1 / 3_600.0
    parts_w = plant.town.power_w + 65e3 + plant.look("feeder:north").total_w
    assert plant.look("bus").total_w == pytest.approx(parts_w + plant.look("feeder:south").total_w)
    for place, energy_wh in summed_wh.items():
        seen = plant.look(place)
        assert seen.import_wh - seen.export_wh == pytest.approx(energy_wh, rel=1e-6), place


def test_a_plant_that_imports_counts_it_apart():
    plant = a_plant()
    for unit in plant.units.values():
        unit.trip()
    run(plant, 30.0)
    seen = plant.look("station")
    assert plant.export_w < 0.0
    assert seen.total_w == pytest.approx(plant.export_w)
    assert seen.export_wh > 0.0


@given(power_kw=st.floats(0.0, 900.0))
@settings(max_examples=20)
def test_phases_fit_power_voltage_and_current(power_kw):
    plant = a_plant()
    run(plant, 0.2, miners_w=1_000.0 * power_kw)
    seen = plant.look("feeder:north")
    for power_w, reactive_var, voltage_v, current_a in zip(
        seen.power_w, seen.reactive_var, seen.voltage_v, seen.current_a, strict=True
    ):
        assert voltage_v * current_a == pytest.approx(sqrt(power_w**2 + reactive_var**2))
        assert power_w == pytest.approx(voltage_v * current_a * 0.98, rel=1e-6)
        assert 220.0 < voltage_v < 240.0


def test_same_seed_same_plant_and_other_seed_another():
    truths = []
    for seed in (5, 5, 6):
        plant = Plant(
            EVENING.plant, town=EVENING.town, grid=EVENING.grid, feeders=EVENING.feeders, seed=seed
        )
        run(plant, 20.0)
        truths.append((plant.town.power_w, plant.grid.frequency_hz, plant.voltage_pu))
    assert truths[0] == truths[1]
    assert all(first != other for first, other in zip(truths[0], truths[2], strict=True))


def test_the_start_is_a_steady_state():
    plant = a_plant()
    before_w = plant.generation_w
    level_m = plant.reservoir.headwater_m
    run(plant, 60.0)
    assert plant.generation_w == pytest.approx(before_w, rel=0.01)
    assert plant.reservoir.headwater_m == pytest.approx(level_m, abs=0.01)
