"""The benchmark's plant is honest: its mix, its slow miners, its stale readings, its moving cap."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from controller.cli.bench.fleet import FEEDERS, ROOT, build_plant
from controller.cli.bench.script import LEARN_TICKS, Script
from controller.cli.bench.world import POLL_S, World
from controller.power.decide import MinerCommand, decide
from controller.power.instructions import ArmFeeder
from controller.power.site import NodeKind
from drivers.contract.commands import Sleep, Wake
from drivers.profiles import ProfileError, load_catalogue
from tests.unit.bench.bench_parts import TICKS, run


@pytest.fixture(scope="module")
def plant():
    return build_plant(200, load_catalogue())


def test_fleet_mix_and_tree(plant):
    site = plant.site
    firmwares = Counter(miner.firmware for miner in site.miners.values())
    assert firmwares == {"antminer-stock": 80, "whatsminer-v2": 60, "luxos": 40, "braiins": 20}
    kinds = Counter(node.kind for node in site.nodes.values())
    assert kinds == {NodeKind.PLANT: 1, NodeKind.TRANSFORMER: 4, NodeKind.FEEDER: 20}
    assert {
        node.meter_id is not None for node in site.nodes.values() if node.node_id[0] == "f"
    } == {True}
    assert set(Counter(m.node_id for m in site.miners.values()).values()) == {200 // FEEDERS}
    assert plant.full_w[ROOT] == pytest.approx(sum(plant.full_w[f] for f in site.feeders))


def test_a_catalogue_without_the_mix_is_an_error():
    catalogue = load_catalogue()
    poor = replace(catalogue, profiles={"luxos": catalogue.profiles["luxos"]})
    with pytest.raises(ProfileError, match="antminer-stock"):
        build_plant(200, poor)


def command(name, kind, world):
    return MinerCommand(miner_id=name, command=kind, commanded_s=world.now_s)


def powers(plant, firmware, seconds):
    """True power by second, in shares, of a miner told to sleep in second 0."""
    world = World(plant, seed=1)
    world.step()
    name = next(
        n for n, p in plant.profiles.items() if p.firmware == firmware and not world._units[n].deaf
    )
    world.carry_out([command(name, Sleep(), world)])
    unit, shares = world._units[name], []
    for _ in range(seconds):
        world.step()
        shares.append(unit.now_w / unit.true_w)
    return unit, shares


@pytest.mark.parametrize(
    ("firmware", "still_s", "down_s"),
    # half the planning dead time, and the whole of dead time and ramp
    [("antminer-stock", 10, 31), ("whatsminer-v2", 1, 5), ("luxos", 0, 5), ("braiins", 1, 7)],
)
def test_miners_take_their_firmwares_time(plant, firmware, still_s, down_s):
    unit, shares = powers(plant, firmware, 40)
    assert shares[:still_s] == [1.0] * still_s
    assert all(later <= now for now, later in pairwise(shares))
    assert unit.now_w == unit.sleep_w
    assert shares[down_s - 1] == pytest.approx(unit.sleep_w / unit.true_w)


def test_two_in_a_hundred_are_deaf_and_say_that_they_obey(plant):
    world = World(plant, seed=3)
    world.step()
    told = [command(name, Sleep(), world) for name in plant.site.miners]
    world.carry_out(told)
    answers = []
    for _ in range(40):
        world.step()
        answers += world.image(()).answered
    assert len(answers) == len(told)
    awake = [unit for unit in world._units.values() if unit.now_w > 0.5 * unit.true_w]
    assert len(awake) == world.deaf == 4
    assert all(unit.deaf for unit in awake)


def test_a_miner_wakes_to_what_it_drew(plant):
    world = World(plant, seed=1)
    world.step()
    names = [name for name, unit in world._units.items() if not unit.deaf]
    before_w = world.load_w(ROOT)
    for kind in (Sleep(), Wake()):
        world.carry_out([command(name, kind, world) for name in names])
        for _ in range(181):
            world.step()
    assert world.load_w(ROOT) == pytest.approx(before_w)


def test_a_fifth_of_the_readings_is_stale_in_each_tick():
    world = World(build_plant(2000, load_catalogue()), seed=1)
    shares = []
    for second in range(40):
        world.step()
        readings = world.image(()).miners
        if second >= 2 * POLL_S:
            shares.append(world.stale_share(readings))
    assert 0.15 < min(shares) <= max(shares) < 0.25


def test_readings_under_report_and_stock_antminers_give_no_power(plant):
    world = World(plant, seed=1)
    world.step()
    image = world.image(())
    for name, reading in image.miners.items():
        unit, stock = world._units[name], plant.profiles[name].firmware == "antminer-stock"
        assert (reading.power_w is None) is stock
        if reading.power_w is not None:
            assert 0.95 * unit.now_w <= reading.power_w <= unit.now_w
    metered_w = sum(meter.power_w for meter in image.meters.values())
    assert metered_w == pytest.approx(world.load_w(ROOT), rel=0.005)
    assert len(image.meters) == FEEDERS


def test_the_cap_that_is_judged_is_the_cap_that_was_said(plant):
    """The judge reads the script, the decisions the instructions: both must tell the same cap."""
    script = Script(plant=plant, warm_up=LEARN_TICKS + 78, ticks=TICKS)
    seen = []

    def watching(state, image, site):
        decision = decide(state, image, site)
        seen.append({n: load.limit.limit_w for n, load in decision.nodes.items()})
        return decision

    run(watching, plant=plant)
    for tick in range(TICKS):
        for name, cap_w in script.caps_w(tick).items():
            assert seen[tick + script.warm_up][name] == pytest.approx(cap_w), (tick, name)
        assert ("t2" in script.caps_w(tick)) is (4 <= tick < 8)


@pytest.mark.parametrize("ticks", [10, 11, 60, 3600])
def test_the_cap_moves_both_ways(plant, ticks):
    script = Script(plant=plant, warm_up=100, ticks=ticks)
    caps_w = [script.caps_w(tick)[ROOT] for tick in range(-1, ticks)]
    moves = [later - now for now, later in pairwise(caps_w)]
    assert any(move > 0 for move in moves)
    assert any(move < 0 for move in moves)
    assert 0 < min(caps_w) < max(caps_w) < 0.99 * plant.full_w[ROOT]
    assert script.caps_w(ticks + 500) == {ROOT: pytest.approx(0.58 * plant.full_w[ROOT])}


def test_every_feeder_is_armed_at_the_beginning(plant):
    script = Script(plant=plant, warm_up=100, ticks=60)
    now = World(plant, seed=1).now
    first, second = script.instructions(-100, now), script.instructions(-99, now)
    assert {act.node_id for act in first if isinstance(act, ArmFeeder)} == set(plant.site.feeders)
    assert second == ()
