"""A scenario file is read whole or refused whole, with every mistake named and a way to mend it."""

import io
import random
from dataclasses import fields
from datetime import UTC, date, datetime

import pytest

from simulators.devices.fleet import build_fleet
from simulators.devices.modbus import MeterFault
from simulators.devices.persona import FAULTS
from simulators.inventory import write_inventory
from simulators.scenario import (
    DISPATCH_EVENTS,
    WORLD_EVENTS,
    Event,
    FeederSetup,
    FleetGroup,
    GridSetup,
    MeterSetup,
    PlantSetup,
    ReservoirSetup,
    Scenario,
    TownSetup,
    UnitSetup,
)
from simulators.scenario_file import SCENARIO_DIR, ScenarioError, load_scenario, scenario_path

QUIET = (SCENARIO_DIR / "quiet.toml").read_text()
EVENT = """
[[event]]
at_s = 5
kind = "{kind}"
{params}
"""


def refused(tmp_path, text):
    path = tmp_path / "broken.toml"
    path.write_text(text)
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    assert all(line.startswith(f"{path}: ") for line in str(caught.value).splitlines())
    return {problem.key: f"{problem.found}; {problem.mend}" for problem in caught.value.problems}


@pytest.mark.parametrize("name", ["evening", "quiet"])
def test_shipped_scenarios_are_whole(name):
    scenario = load_scenario(scenario_path(name))
    assert scenario.name == name
    assert load_scenario(SCENARIO_DIR / f"{name}.toml") == scenario


def test_evening_is_the_fleet_that_the_demo_promises():
    scenario = load_scenario(scenario_path("evening"))
    miners = build_fleet(scenario.fleets, rng=random.Random(1)).values()
    load_w = sum(persona.miner.wall_power_w for persona in miners)
    stock_w = sum(p.miner.wall_power_w for p in miners if p.firmware == "antminer-stock")
    assert len(miners) == 240
    assert 0.7e6 < load_w < 1.0e6
    assert stock_w / load_w >= 0.3
    assert sum(persona.miner.deaf for persona in miners) == 5
    assert all(0.0 <= persona.miner.under_report <= 0.05 for persona in miners)
    assert {persona.firmware for persona in miners} == {
        "antminer-stock",
        "whatsminer-v2",
        "luxos",
        "braiins",
    }
    products = {meter.product for meter in scenario.meters}
    assert len(products) == len(scenario.meters) == 5


def test_local_start_becomes_utc_without_daylight_saving():
    scenario = load_scenario(scenario_path("evening"))
    for month in (1, 7):
        start = scenario.start_utc(date(2026, month, 15))
        assert start == datetime(2026, month, 15, 11, 50, tzinfo=UTC)


@pytest.mark.parametrize(
    ("old", "new", "key", "says"),
    [
        ("seed = 1", "seed = -1", "scenario.seed", "whole number from 0"),
        ("seed = 1", "sead = 1", "scenario.sead", "did you mean seed?"),
        ("step_s = 0.1", "step_s = nan", "scenario.step_s", "0.01 to 1"),
        ("step_s = 0.1", 'step_s = "fast"', "scenario.step_s", "0.01 to 1"),
        ("step_s = 0.1", "step_s = true", "scenario.step_s", "0.01 to 1"),
        ("duration_s = 3_600", "", "scenario.duration_s", "missing"),
        ('start_local = "12:00"', 'start_local = "25:00"', "scenario.start_local", "HH:MM"),
        ('start_local = "12:00"', 'start_local = "12:00Z"', "scenario.start_local", "time zone"),
        ('operation = "storage"', 'operation = "pumped"', "plant.operation", "storage"),
        ("level_m = 895.0", "level_m = 10.0", "plant.reservoir.level_m", "880"),
        ("rated_w = 10_000_000", "rated_w = -1", "plant.unit[0].rated_w", "1000"),
        ('id = "main"\nrating_w', 'id = ""\nrating_w', "feeder[0].id", "1 to 40 characters"),
        ("feeder:main", "feeder:mine", "meter[0].measures", "did you mean feeder:main?"),
        ('measures = "feeder:main"', "", "meter[0].measures", "write one of: station"),
        ("siemens-pac4200", "siemens-pac4000", "meter[0].product", "did you mean siemens"),
        ("127.20.1.1", "10.0.0.1", "meter[0].host", "loopback"),
        ("127.20.1.2", "127.20.1.1", "meter[1].port", "another meter listens"),
        ("port = 5020", "port = 70000", "meter[0].port", "1 to 65535"),
        (
            'product = "plant-plc"',
            'product = "plant-plc"\nnoise_percent = 1',
            "meter[2].noise_percent",
            "no such key",
        ),
        ('feeder = "main"', 'feeder = "man"', "fleet[0].feeder", "did you mean main?"),
        ("antminer-stock", "antminer-custom", "fleet[0].firmware", "antminer-stock"),
        ("Antminer S19 Pro", "Antminer S99", "fleet[0].model", "Antminer S19 Pro"),
        ("WhatsMiner M50S", "Antminer S21", "fleet[1].model", "runs on WhatsMiner only"),
        ("count = 8", "count = 0", "fleet[0].count", "1 to 20000"),
        ("127.11.0.1", "127.11.1.1", "fleet[1].first_host", "another fleet"),
        ("127.11.3.1", "127.255.255.254", "fleet[3].count", "run out"),
        ("count = 8", "count = 8\ndeaf_count = 9", "fleet[0].deaf_count", "at most 8"),
        (
            "count = 8",
            "count = 8\ndeaf_count = 1\ndeaf_percent = 2",
            "fleet[0].deaf_count",
            "not both",
        ),
        ("[grid]", "[grid]\nnoise_hz = 1", "grid.noise_hz", "0 to 0.05"),
        ("[town]", "[towm]", "towm", "did you mean town?"),
    ],
)
def test_every_mistake_names_its_key_and_its_mend(tmp_path, old, new, key, says):
    text = QUIET + "\n[grid]\n"
    assert old in text
    problems = refused(tmp_path, text.replace(old, new, 1))
    assert key in problems
    assert says in problems[key]


@pytest.mark.parametrize(
    ("kind", "params", "key", "says"),
    [
        ("meter_fault", 'meter = "none"\nfault = "nan"\nfor_s = 1', "meter", "main, transformer"),
        ("meter_fault", 'meter = "main"\nfault = "sulks"\nfor_s = 1', "fault", "wrong_transaction"),
        ("meter_fault", 'meter = "main"\nfault = "nan"', "for_s", "missing"),
        ("miner_fault", 'host = "127.9.9.9"\nfault = "hang"\nfor_s = 1', "host", "fleets"),
        ("frequency", "delta_hz = -9\nfor_s = 1", "delta_hz", "-3 to 3"),
        ("unit_trip", "unit = 7", "unit", "unit of the plant: 1"),
        ("ambient", "celsius = 20\nkelvin = 1", "kelvin", "no such key"),
        ("earthquake", "", "kind", "unit_trip"),
        ("order", "cap_w = [1]", "cap_w", "a text, a finite number"),
        ("order", "cap_w = inf", "cap_w", "a text, a finite number"),
    ],
)
def test_every_mistake_of_an_event_is_told(tmp_path, kind, params, key, says):
    problems = refused(tmp_path, QUIET + EVENT.format(kind=kind, params=params))
    assert says in problems[f"event[0].{key}"]


def test_all_mistakes_are_told_at_once(tmp_path):
    text = QUIET.replace("seed = 1", "seed = x", 1)
    assert set(refused(tmp_path, text)) == {"file"}
    text = (
        QUIET.replace("seed = 1", "seed = 1.5", 1)
        .replace("count = 8", "count = -8", 1)
        .replace("port = 5020", 'port = "a"', 1)
        .replace("cable_ohm", "cable_ohms", 1)
    )
    problems = refused(tmp_path, text)
    assert set(problems) == {
        "scenario.seed",
        "fleet[0].count",
        "meter[0].port",
        "feeder[0].cable_ohms",
    }


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("", "scenario.name"),
        ("scenario = 3", "scenario"),
        ("feeder = 3", "feeder"),
        ("[[fleet]]\n[[fleet]]\n", "fleet[1].firmware"),
    ],
    ids=["empty", "no-table", "no-array", "bare-fleets"],
)
def test_a_skeleton_is_refused_and_does_not_crash(tmp_path, text, key):
    problems = refused(tmp_path, text)
    assert key in problems
    assert "plant.unit" in problems


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ScenarioError, match="evening, quiet"):
        scenario_path("nowhere")
    with pytest.raises(ScenarioError, match="No such file"):
        load_scenario(tmp_path / "absent.toml")
    big = tmp_path / "big.toml"
    big.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(ScenarioError, match="over 1048576 bytes"):
        load_scenario(big)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(ScenarioError, match="valid TOML"):
        load_scenario(binary)


def test_events_come_in_order_and_carry_the_dispatchers_parameters(tmp_path):
    path = tmp_path / "day.toml"
    path.write_text(
        QUIET
        + EVENT.format(kind="order", params='id = "o-1"\ncap_w = 5_000')
        + EVENT.format(kind="ambient", params="celsius = -5").replace("at_s = 5", "at_s = 1")
    )
    ambient, order = load_scenario(path).events
    assert (ambient.at_s, ambient.kind, dict(ambient.params)) == (1.0, "ambient", {"celsius": -5.0})
    assert (order.kind, dict(order.params)) == ("order", {"id": "o-1", "cap_w": 5_000})
    with pytest.raises(TypeError):
        order.params["cap_w"] = 1  # type: ignore[index]


def test_inventory_lists_every_miner_once():
    scenario = load_scenario(scenario_path("quiet"))
    out = io.StringIO()
    write_inventory(scenario, {"http": 8081, "rpc": 14028}, out)
    header, *rows = out.getvalue().splitlines()
    assert header == "miner_id,host,firmware,make,model,feeder,rack,tier,ports"
    assert len(rows) == 20
    assert rows[0] == (
        "main-0001,127.11.0.1,antminer-stock,AntMiner,Antminer S19 Pro,main,main-01,1,"
        "http=8081 rpc=14028"
    )
    assert rows[8].split(",")[:5] == [
        "main-0009",
        "127.11.1.1",
        "whatsminer-v2",
        "WhatsMiner",
        "WhatsMiner M50S",
    ]
    hosts = {row.split(",")[1] for row in rows}
    assert hosts == set(build_fleet(scenario.fleets, rng=random.Random(1)))


@pytest.mark.parametrize(
    "setup",
    [
        Scenario,
        PlantSetup,
        ReservoirSetup,
        UnitSetup,
        TownSetup,
        GridSetup,
        FeederSetup,
        MeterSetup,
        FleetGroup,
        Event,
    ],
)
def test_readme_names_every_key(setup):
    not_keys = {"units", "reservoir", "plant", "town", "grid", "feeders", "meters", "fleets"}
    not_keys |= {"events", "file", "params"}
    keys = {field.name for field in fields(setup)} - not_keys
    readme = (SCENARIO_DIR.parent / "README.md").read_text()
    assert {key for key in keys if f"`{key}`" not in readme} <= {"id"}


@pytest.mark.parametrize("kind", [*WORLD_EVENTS, *DISPATCH_EVENTS, *MeterFault, *FAULTS])
def test_readme_names_every_event_and_fault(kind):
    assert kind in (SCENARIO_DIR.parent / "README.md").read_text()
