"""The in-flight ledger: sums by state, what the meter may teach, and what an unread miner is."""

from dataclasses import replace

import pytest
from msgspec import structs

from controller.power.image import Image
from controller.power.ledger import FeederLoad, floor_w, learn, now_w, project, settle_w
from controller.power.site import Node, NodeKind
from controller.power.state import FeederState, State, Target, TargetState
from drivers.contract.readings import MinerReading
from tests.unit.power.toy import START, Toy, build, policy

LOAD = FeederLoad(model_now_w=100e3, model_end_w=100e3, rated_w=110e3, sleep_w=1e3, miners=33)
AUX_W = 4e3


@pytest.fixture
def toy() -> Toy:
    """Three miners on two feeders: m0 Antminer and m2 LuxOS on f1, m1 Whatsminer on f2."""
    return build(miners=3)


def image(toy: Toy, *readings: MinerReading, now_s: float = 100.0) -> Image:
    return Image(now=START, now_s=now_s, meters={}, miners={r.miner_id: r for r in readings})


def reading(name: str, power_w: float | None, *, hashing: bool | None = True) -> MinerReading:
    return MinerReading(miner_id=name, begun_s=50.0, taken_s=50.1, power_w=power_w, hashing=hashing)


def in_flight(state: TargetState, commanded_s: float) -> Target:
    return Target(
        state=state,
        since_s=commanded_s,
        commanded_s=commanded_s,
        baseline_w=3000.0,
        from_w=3000.0,
    )


def test_an_unread_miner_counts_at_its_nameplate(toy: Toy) -> None:
    ledger = project(State(), image(toy), toy.site)
    assert ledger.feeders["f1"].model_now_w == 3250.0 + 2760.0
    assert ledger.feeders["f1"].unread == 2
    assert ledger.feeders["f2"].model_end_w == 3306.0


def test_an_unreachable_miner_counts_at_its_last_known_power(toy: Toy) -> None:
    lost = replace(image(toy, reading("m00001", 3100.0)), unreachable={"m00001": 60.0})
    assert project(State(), lost, toy.site).feeders["f2"].model_end_w == 3100.0


def test_without_reported_power_it_is_estimated_from_hashrate(toy: Toy) -> None:
    antminer = structs.replace(reading("m00000", None), hashrate_ths=55.0)
    ledger = project(State(), image(toy, antminer, reading("m00002", 0.0)), toy.site)
    assert ledger.feeders["f1"].model_now_w == pytest.approx(3250.0 / 2)


def test_who_sleeps_though_nobody_asked_is_idle(toy: Toy) -> None:
    sleeper = reading("m00000", None, hashing=False)
    silent = reading("m00001", None, hashing=None)
    assert project(State(), image(toy, sleeper, silent), toy.site).idle == {"m00000"}


@pytest.mark.parametrize(
    ("state", "age_s", "descending"),
    [
        # LuxOS: 1 + 4 s down, 8 s to be judged
        (TargetState.CURTAILING, 0, True),
        (TargetState.CURTAILING, 5, True),
        (TargetState.CURTAILING, 13, True),
        # confirmed early: the model is still on its way
        (TargetState.CURTAILED, 3, True),
        (TargetState.CURTAILED, 6, False),
        (TargetState.RESTORING, 3, False),
    ],
)
def test_a_descent_lasts_until_model_and_judgement_are_done(
    toy: Toy, state: TargetState, age_s: float, descending: bool
) -> None:
    target = in_flight(state, 100.0)
    ledger = project(State(targets={"m00002": target}), image(toy, now_s=100.0 + age_s), toy.site)
    assert (ledger.feeders["f1"].down_until_s is not None) is descending
    assert ledger.feeders["f2"].down_until_s is None


def test_now_and_end_differ_by_what_is_in_flight(toy: Toy) -> None:
    state = State(targets={"m00002": in_flight(TargetState.CURTAILING, 100.0)})
    loads = project(state, image(toy, now_s=103.0), toy.site).feeders["f1"]
    assert loads.model_now_w == pytest.approx(3250.0 + 30.0 + 0.5 * 2970.0)
    assert loads.model_end_w == pytest.approx(3250.0 + 30.0)


def test_miners_of_racks_in_racks_count_at_every_rack(toy: Toy) -> None:
    racks = {
        name: Node(node_id=name, kind=NodeKind.RACK, parent=parent, rating_w=1e4)
        for name, parent in (("r1", "f1"), ("r2", "r1"))
    }
    miner = replace(toy.site.miners["m00000"], node_id="r2")
    site = replace(
        toy.site,
        nodes={**toy.site.nodes, **racks},
        miners={**toy.site.miners, "m00000": miner},
    )
    ledger = project(State(), image(toy), site)
    assert ledger.racks == {"r1": 3250.0, "r2": 3250.0}
    assert ledger.feeders["f1"].rated_w == 3250.0 + 2760.0


def test_miners_taken_out_of_the_inventory_are_kept_and_not_counted(toy: Toy) -> None:
    target = in_flight(TargetState.CURTAILED, 10.0)
    ledger = project(State(targets={"sold": target}), image(toy), toy.site)
    assert ledger.targets["sold"] is target
    assert ledger.feeders["f1"].asleep == 0


def trimmed(
    load: FeederLoad, meter_w: float | None, feeder: FeederState, ticks: int
) -> FeederState:
    for _ in range(ticks):
        feeder = learn(feeder, load, AUX_W, meter_w, policy().trim_gain)
    return feeder


def test_the_meter_becomes_the_truth() -> None:
    feeder = trimmed(LOAD, 111e3, FeederState(), 200)
    assert settle_w(feeder, LOAD, AUX_W, metered=True) == pytest.approx(111e3, rel=1e-3)
    assert now_w(feeder, LOAD, AUX_W) == pytest.approx(111e3, rel=1e-3)
    assert feeder.gain == pytest.approx(1.07, abs=0.001)  # miners under-report in proportion


def test_a_scale_outside_what_firmwares_do_is_another_load() -> None:
    feeder = trimmed(LOAD, 164e3, FeederState(), 400)
    assert feeder.gain == pytest.approx(1.2)
    assert feeder.bias_w == pytest.approx(40e3, rel=0.01)


@pytest.mark.parametrize(
    ("load", "meter_w"),
    [
        (replace(LOAD, down_until_s=5.0), 150e3),
        (LOAD, None),
    ],
)
def test_learning_is_frozen_on_the_way_down_and_without_a_meter(
    load: FeederLoad, meter_w: float | None
) -> None:
    feeder = FeederState(gain=1.0, bias_w=2e3)
    assert trimmed(load, meter_w, feeder, 50) == feeder


def test_on_the_way_up_the_bias_may_rise_and_not_fall() -> None:
    rising = replace(LOAD, up_until_s=5.0, moving=3)
    feeder = FeederState(gain=1.0, bias_w=2e3)
    assert trimmed(rising, 90e3, feeder, 50).bias_w == 2e3
    assert trimmed(rising, 150e3, feeder, 50).bias_w == pytest.approx(46e3, rel=0.01)
    assert trimmed(rising, 150e3, feeder, 50).gain == 1.0


def test_losing_the_meter_never_makes_a_feeder_look_smaller() -> None:
    liars_known = FeederState(gain=1.0, bias_w=30e3)
    assert settle_w(liars_known, LOAD, AUX_W, metered=False) == AUX_W + 130e3
    assert settle_w(FeederState(), LOAD, AUX_W, metered=False) == pytest.approx(AUX_W + 108e3)


@pytest.mark.parametrize(
    ("asleep", "meter_w", "learnt"),
    [
        (33, 5.5e3, True),
        (32, 5.5e3, False),  # somebody runs
        (33, 40e3, False),  # somebody lies
        (33, 0.0, False),  # a dead meter
        (33, None, False),
    ],
)
def test_the_floor_is_learnt_from_plausible_meters_alone(
    asleep: int, meter_w: float | None, learnt: bool
) -> None:
    load = replace(LOAD, model_now_w=1e3, model_end_w=1e3, asleep=asleep)
    feeder = trimmed(load, meter_w, FeederState(), 100)
    expected_w = 5.5e3 if learnt else AUX_W + 1e3
    assert floor_w(feeder, load, AUX_W) == pytest.approx(expected_w)
    assert (feeder.floor_w is not None) is learnt


def test_a_feeder_without_miners_learns_no_scale_and_no_floor() -> None:
    feeder = trimmed(FeederLoad(), 4.2e3, FeederState(), 20)
    assert (feeder.gain, feeder.floor_w) == (None, None)
    assert settle_w(feeder, FeederLoad(), AUX_W, metered=True) == pytest.approx(4.2e3)
