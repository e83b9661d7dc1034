"""The world plays its events, keeps its steps, and gives the same numbers for the same seed."""

import json
import struct
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType

import pytest

from simulators.devices.modbus import MeterFault
from simulators.scenario import Event
from simulators.scenario_file import load_scenario, scenario_path
from simulators.world import World

NOON = datetime(2026, 12, 1, 6, 0, tzinfo=UTC)
QUIET = load_scenario(scenario_path("quiet"))
MAIN_POWER = struct.pack(">BHH", 3, 65, 2)


def event(at_s, kind, **params):
    return Event(at_s=at_s, kind=kind, params=MappingProxyType(params))


def world_of(*events, seed=None, scenario=QUIET):
    return World(replace(scenario, events=events), seed=seed, start_utc=NOON)


def main_power_w(world):
    served = world.meters["main"].answer(1, MAIN_POWER, world.now_s)
    assert served.pdu is not None
    return struct.unpack(">f", served.pdu[2:])[0]


def fingerprint(world):
    registers = [main_power_w(world), world.meters["plc"].answer(1, b"\x03\0\0\0\x28", world.now_s)]
    return json.dumps(world.truth()) + repr(registers)


def test_same_seed_same_bytes_and_other_seed_others():
    day = [event(2.0, "frequency", delta_hz=-0.2, for_s=3.0), event(4.0, "inflow", m3_s=5.0)]
    prints = []
    for seed in (3, 3, 4):
        world = world_of(*day, seed=seed)
        world.step_to(12.0)
        prints.append(fingerprint(world))
    assert prints[0] == prints[1]
    assert prints[0] != prints[2]


@pytest.mark.parametrize("beats", [(12.0,), (0.05, 3.33, 3.33, 7.0, 12.0)], ids=["|__|", "|.|||"])
def test_the_pace_of_asking_changes_nothing(beats):
    world = world_of()
    for now_s in beats:
        world.step_to(now_s)
    reference = world_of()
    for index in range(121):
        reference.step_to(index * 0.1)
    assert world.now_s == pytest.approx(12.0)
    assert world.truth() == reference.truth()


def test_time_never_runs_back():
    world = world_of()
    world.step_to(5.0)
    world.step_to(1.0)
    assert world.now_s == pytest.approx(5.0)
    assert world.now_utc == datetime(2026, 12, 1, 6, 0, 5, tzinfo=UTC)


def test_feeder_carries_its_miners():
    world = world_of()
    world.step_to(3.0)
    truth = world.truth()
    miners_w = sum(persona.miner.wall_power_w for persona in world.miners.values())
    main = truth["feeders"]["main"]
    assert main["miners_w"] == pytest.approx(miners_w, abs=0.1)
    assert main["power_w"] == pytest.approx(miners_w + 2_000.0 + main["loss_w"], abs=0.2)
    assert truth["mining_w"] == main["power_w"]
    assert main_power_w(world) == pytest.approx(main["power_w"], rel=0.008)


def test_a_miner_that_sleeps_is_seen_by_the_meter():
    world = world_of()
    world.step_to(2.0)
    before_w = main_power_w(world)
    for persona in world.miners.values():
        if persona.firmware == "luxos":
            persona.miner.sleep(world.now_s)
    world.step_to(10.0)
    assert before_w - main_power_w(world) == pytest.approx(4 * 2_735.0, rel=0.05)


@pytest.mark.parametrize(("hour_utc", "town_w"), [(6, 400e3), (13, 600e3), (2, 500e3), (21, 250e3)])
def test_town_follows_the_local_time_of_the_start(hour_utc, town_w):
    world = World(QUIET, start_utc=NOON.replace(hour=hour_utc))
    assert world.plant.town.power_w == pytest.approx(town_w, rel=0.05)


def test_a_start_without_zone_is_refused():
    with pytest.raises(ValueError, match="time zone"):
        World(QUIET, start_utc=datetime(2026, 12, 1, 6, 0))  # noqa: DTZ001 - the mistake itself


def test_events_happen_at_their_time_and_end():
    world = world_of(
        event(1.0, "ambient", celsius=-20.0),
        event(1.0, "frequency", delta_hz=-0.5, for_s=4.0),
        event(2.0, "inflow", m3_s=3.0),
        event(2.0, "unit_trip", unit=1),
        event(9.0, "unit_start", unit=1),
    )
    world.step_to(0.9)
    assert world.ambient_c == 18.0
    assert world.plant.grid.frequency_hz > 49.8
    world.step_to(4.5)
    assert world.ambient_c == -20.0
    assert world.plant.grid.frequency_hz == pytest.approx(49.5, abs=0.1)
    assert world.plant.reservoir.inflow_m3_s == 3.0
    assert world.plant.generation_w == 0.0
    world.step_to(8.0)
    assert world.plant.grid.frequency_hz == pytest.approx(50.0, abs=0.1)
    world.step_to(30.0)
    assert world.plant.generation_w > 1e6


def test_frequency_events_that_touch_do_not_end_each_other():
    world = world_of(
        event(1.0, "frequency", delta_hz=-0.5, for_s=2.0),
        event(3.0, "frequency", delta_hz=0.5, for_s=4.0),
    )
    world.step_to(6.5)
    assert world.plant.grid.event_target_hz == 0.5
    world.step_to(7.1)
    assert world.plant.grid.event_target_hz == 0.0


def test_miner_fault_comes_and_goes():
    world = world_of(event(1.0, "miner_fault", host="127.11.0.3", fault="hang", for_s=2.0))
    faults = []
    for now_s in (0.9, 1.0, 2.9, 3.0):
        world.step_to(now_s)
        faults.append(world.miners["127.11.0.3"].fault)
    assert faults == [None, "hang", "hang", None]


@pytest.mark.parametrize("fault", list(MeterFault))
def test_meter_fault_comes_and_goes(fault):
    world = world_of(
        event(1.0, "meter_fault", meter="main", fault=fault.value, for_s=2.0, delay_s=3.0)
    )
    seen = []
    for now_s in (0.9, 1.5, 3.1):
        world.step_to(now_s)
        seen.append(world.meters["main"].fault(world.now_s))
    assert seen == [None, fault, None]


def test_the_dispatchers_events_are_left_alone():
    world = world_of(event(1.0, "order", cap_w=1.0))
    quiet = world_of()
    for other in (world, quiet):
        other.step_to(3.0)
    assert world.truth() == quiet.truth()
    with pytest.raises(ValueError, match="meter_fault"):
        world.play(event(1.0, "order"))


def test_one_more_meter_changes_no_other():
    plant = replace(QUIET, meters=(*QUIET.meters, replace(QUIET.meters[0], id="second", port=5021)))
    worlds = [World(scenario, start_utc=NOON) for scenario in (QUIET, plant)]
    for world in worlds:
        world.step_to(5.0)
    assert main_power_w(worlds[0]) == main_power_w(worlds[1])
    assert worlds[0].truth() == worlds[1].truth()
