"""Limits on the tree: the smallest bound wins and names itself; what falls never rises."""

import doctest
import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.power import caps as caps_module
from controller.power import orders as orders_module
from controller.power.caps import (
    Cap,
    CapClass,
    Scope,
    collect,
    failsafe_w,
    limits,
    meter_w,
    other_load_w,
)
from controller.power.image import Image, MeterView
from controller.power.site import FailsafeCurve, NodeKind, OnMeterLoss, Site
from controller.power.state import OperatorCap, State
from drivers.contract.quantities import Quality
from tests.unit.power.toy import START, build, tree

watts = st.floats(min_value=0.0, max_value=1e9)
NO_OTHER = {"plant": 0.0, "t1": 0.0, "f1": 0.0, "f2": 0.0}


def a_cap(cap_id: str, value_w: float, **changes: object) -> Cap:
    cap = Cap(
        cap_id=cap_id, node_id="f1", value_w=value_w, cap_class=CapClass.OPERATOR, reason=cap_id
    )
    return replace(cap, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def site() -> Site:
    return build(miners=6).site


def meters(**values: float | None) -> Mapping[str, MeterView]:
    return {
        name.replace("_", "-"): MeterView(
            quality=Quality.BAD if power_w is None else Quality.GOOD, power_w=power_w
        )
        for name, power_w in values.items()
    }


def image(views: Mapping[str, MeterView]) -> Image:
    return Image(now=START, now_s=0.0, meters=views, miners={})


@pytest.mark.parametrize("module", [caps_module, orders_module])
def test_examples_in_docstrings_hold(module: ModuleType) -> None:
    outcome = doctest.testmod(module)
    assert outcome.attempted > 0
    assert outcome.failed == 0


@given(
    last_w=watts,
    ages_s=st.lists(st.floats(0, 1e6), min_size=2),
    hold_s=st.floats(0, 600),
    decay_s=st.floats(0, 600),
    value_w=watts,
)
def test_the_failsafe_curve_never_rises(
    last_w: float, ages_s: list[float], hold_s: float, decay_s: float, value_w: float
) -> None:
    curve = FailsafeCurve(hold_s=hold_s, decay_s=decay_s, value_w=value_w)
    fallen = [failsafe_w(last_w, age_s, curve) for age_s in sorted(ages_s)]
    assert all(later <= earlier for earlier, later in pairwise(fallen))
    assert all(min(last_w, value_w) <= power_w <= last_w for power_w in fallen)
    assert failsafe_w(last_w, hold_s + decay_s + 1.0, curve) == min(last_w, value_w)


@pytest.mark.parametrize(
    ("curve____________________________", "age_s", "expected_w"),
    [
        (FailsafeCurve(hold_s=30, decay_s=60, value_w=40), 0, 100.0),
        (FailsafeCurve(hold_s=30, decay_s=60, value_w=40), 30, 100.0),
        (FailsafeCurve(hold_s=30, decay_s=60, value_w=40), 60, 70.0),
        (FailsafeCurve(hold_s=30, decay_s=60, value_w=40), 90, 40.0),
        (FailsafeCurve(hold_s=30, decay_s=60, value_w=400), 900, 100.0),
        (FailsafeCurve(hold_s=120, decay_s=0, value_w=0), 120, 100.0),
        (FailsafeCurve(hold_s=120, decay_s=0, value_w=0), 121, 0.0),
    ],
)
def test_failsafe_points(
    curve____________________________: FailsafeCurve, age_s: float, expected_w: float
) -> None:
    assert failsafe_w(100.0, age_s, curve____________________________) == expected_w


def test_zero_watts_held_through_a_loss_stays_zero() -> None:
    assert failsafe_w(0.0, 1e9, FailsafeCurve(value_w=50.0)) == 0.0


@given(values=st.lists(watts, min_size=1, max_size=8), seed=st.integers())
def test_the_smallest_bound_wins_in_any_order_and_names_itself(
    site: Site, values: list[float], seed: int
) -> None:
    several = [a_cap(f"c{i}", value_w) for i, value_w in enumerate(values)]
    shuffled = random.Random(seed).sample(several, len(several))
    limit = limits(several, NO_OTHER, START, site)["f1"]
    assert limit == limits(shuffled, NO_OTHER, START, site)["f1"]
    assert limit.limit_w == min(values)
    assert limit.cap.value_w == min(values)


def test_equal_bounds_are_decided_by_class_then_by_id(site: Site) -> None:
    several = [
        a_cap("a", 5.0),
        a_cap("z", 5.0, cap_class=CapClass.LOCKOUT),
        a_cap("y", 5.0, cap_class=CapClass.LOCKOUT),
    ]
    assert limits(several, NO_OTHER, START, site)["f1"].cap.cap_id == "y"


@pytest.mark.parametrize("value_w", [0.0, -5.0, float("nan")])
def test_no_sentinel_zero_and_nonsense_bind_at_zero(site: Site, value_w: float) -> None:
    limit = limits([a_cap("r", 1e6), a_cap("c", value_w)], NO_OTHER, START, site)["f1"]
    assert (limit.limit_w, limit.cap.cap_id) == (0.0, "c")


def test_the_rating_is_always_there(site: Site) -> None:
    found = limits(collect(State(), image({}), site), NO_OTHER, START, site)
    assert {name: limit.limit_w for name, limit in found.items()} == {
        name: node.rating_w for name, node in site.nodes.items()
    }


def test_an_operator_cap_of_zero_binds(site: Site) -> None:
    cap = OperatorCap(node_id="f1", cap_w=0.0, set_at=START, by="aida", reason="work")
    found = collect(State(operator_caps={"f1": cap}), image({}), site)
    limit = limits(found, NO_OTHER, START, site)["f1"]
    assert limit.limit_w == 0.0
    assert limit.cap.reason == "operator aida: work"


def test_a_limit_of_a_node_that_left_the_tree_holds_at_the_root(site: Site) -> None:
    cap = OperatorCap(node_id="gone", cap_w=7.0, set_at=START, by="aida", reason="work")
    found = collect(State(operator_caps={"gone": cap}), image({}), site)
    limit = limits(found, NO_OTHER, START, site)["plant"]
    assert limit.limit_w == 7.0
    assert "gone is not in the tree any more" in limit.cap.reason


@pytest.mark.parametrize(
    ("t1_meter", "f1_meter", "f2_meter", "other_w"),
    [
        (300e3, 100e3, 120e3, 80e3),
        (200e3, 100e3, 120e3, 0.0),  # meters' errors never make a negative town
        (None, 100e3, 120e3, 200e3),  # unmeasured counts at its worst case
        (300e3, None, 120e3, 200e3),
        (300e3, 100e3, float("nan"), 200e3),
    ],
)
def test_total_scope_leaves_room_for_other_load(
    t1_meter: float | None, f1_meter: float | None, f2_meter: float | None, other_w: float
) -> None:
    site = build(miners=6, nodes=tree(town_rating_w=400e3)).site
    seen = image(meters(t1_meter=t1_meter, f1_meter=f1_meter, f2_meter=f2_meter))
    other = other_load_w(seen, site)
    assert other["t1"] == pytest.approx(other_w)
    assert other["f1"] == 0.0
    found = limits(collect(State(), seen, site), other, START, site)
    assert found["t1"].limit_w == pytest.approx(400e3 - other_w)
    mining = a_cap("m", 390e3, node_id="t1", scope=Scope.MINING)
    assert limits([mining], other, START, site)["t1"].limit_w == 390e3


@pytest.mark.parametrize(
    ("view", "power_w"),
    [
        (MeterView(quality=Quality.GOOD, power_w=0.0), 0.0),
        (MeterView(quality=Quality.GOOD, power_w=5.0), 5.0),
        (MeterView(quality=Quality.GOOD, power_w=None), None),
        (MeterView(quality=Quality.GOOD, power_w=float("nan")), None),
        (MeterView(quality=Quality.GOOD, power_w=float("inf")), None),
        (MeterView(quality=Quality.STALE, power_w=5.0), None),
        (MeterView(quality=Quality.ESTIMATED, power_w=5.0), None),
        (MeterView(quality=Quality.BAD, power_w=5.0), None),
    ],
)
def test_only_a_good_number_is_a_measurement(view: MeterView, power_w: float | None) -> None:
    assert meter_w(image({"m": view}), "m") == power_w
    assert meter_w(image({}), "m") is None
    assert meter_w(image({"m": view}), None) is None


@pytest.mark.parametrize(
    ("seconds_before", "bound_w", "planned"),
    [
        # ramp 20 kW/s, lead 30 s (slowest firmware) + 2 s
        (3600, 100e3 + 20e3 * (3600 - 32), True),
        (42, 300e3, True),
        (33, 120e3, True),
        (32, 100e3, True),
        (1, 100e3, True),
        (0, 100e3, False),
        (-5, 100e3, False),
    ],
)
def test_a_planned_cap_is_a_line_that_arrives(
    site: Site, seconds_before: float, bound_w: float, planned: bool
) -> None:
    begin = START + timedelta(seconds=seconds_before)
    limit = limits([a_cap("p", 100e3, valid_from=begin)], NO_OTHER, START, site)["f1"]
    assert limit.limit_w == pytest.approx(bound_w)
    assert limit.planned is planned


def test_looking_ahead_keeps_what_is_in_force_now(site: Site) -> None:
    begin = START + timedelta(seconds=100)
    both = [a_cap("now", 50e3), a_cap("then", 10e3, valid_from=begin)]
    assert limits(both, NO_OTHER, START, site)["f1"].cap.cap_id == "now"
    ahead = limits(both, NO_OTHER, START, site, ahead_s=120.0)["f1"]
    assert (ahead.cap.cap_id, ahead.limit_w) == ("then", 10e3)
    higher = [a_cap("now", 50e3), a_cap("then", 90e3, valid_from=begin)]
    assert limits(higher, NO_OTHER, START, site, ahead_s=500.0)["f1"].limit_w == 50e3


@given(
    value_w=watts,
    ahead_s=st.floats(0, 7200),
    steps=st.lists(st.floats(0, 7200), min_size=2, max_size=10),
)
def test_a_planned_line_never_rises_and_never_passes_under_its_cap(
    site: Site, value_w: float, ahead_s: float, steps: list[float]
) -> None:
    cap = a_cap("p", value_w, valid_from=START + timedelta(seconds=ahead_s))
    times: list[datetime] = [START + timedelta(seconds=s) for s in sorted(steps)]
    line = [limits([cap], NO_OTHER, at, site)["f1"].limit_w for at in times]
    assert all(later <= earlier for earlier, later in pairwise(line))
    assert min(line) >= value_w


def test_a_lost_feeder_meter_curtails_along_the_curve() -> None:
    site = build(miners=6, nodes=tree(on_meter_loss=OnMeterLoss.CURTAIL)).site
    lost = State(meter_lost_s={"f1": 100.0})
    bounds = []
    for age_s in (0, 30, 60, 90, 500):
        seen = replace(image({}), now_s=100.0 + age_s)
        bounds.append(limits(collect(lost, seen, site), NO_OTHER, START, site)["f1"].limit_w)
    assert bounds == [200e3, 200e3, 100e3, 0.0, 0.0]


def test_a_tree_that_does_not_hold_together_is_refused(site: Site) -> None:
    below = replace(site.nodes["f1"], node_id="f3", parent="f1", kind=NodeKind.FEEDER)
    with pytest.raises(ValueError, match="one feeder cannot hang below another"):
        replace(site, nodes={**site.nodes, "f3": below})
    with pytest.raises(ValueError, match="exactly one node without a parent"):
        replace(site, nodes={**site.nodes, "p2": replace(site.nodes["plant"], node_id="p2")})
    ring = {"plant": site.nodes["plant"], "a": replace(below, node_id="a", parent="b")}
    ring["b"] = replace(below, node_id="b", parent="a")
    with pytest.raises(ValueError, match="makes a ring"):
        replace(site, miners={}, nodes=ring)
