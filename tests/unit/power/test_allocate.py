"""Which miners: nobody who was passed over is chosen, the need is covered or the rest is named."""

import random
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.power.allocate import Allocation, SkipReason, allocate
from controller.power.caps import Cap, CapClass, Limit
from controller.power.image import Image, MeterView
from controller.power.ledger import project
from controller.power.regulate import NodeLoad, Regulation
from controller.power.site import Miner, Node, NodeKind, Site
from controller.power.state import FeederState, Order, OrderClass, State, Target, TargetState
from controller.power.targets import settled_w
from drivers.contract.capabilities import Dynamics
from drivers.contract.quantities import Quality
from drivers.contract.readings import MinerReading
from tests.unit.power.toy import ANTMINER, LUXOS, START, policy, tree

NOW_S = 1000.0
BOTH = ("f1", "f2")
S = TargetState


def a_miner(name: str, node_id: str = "f1", **changes: object) -> Miner:
    miner = Miner(
        miner_id=name,
        node_id=node_id,
        tier=1,
        firmware="luxos",
        rated_power_w=3000.0,
        rated_hashrate_ths=100.0,
        sleep_power_w=0.0,
        dynamics=LUXOS,
    )
    return replace(miner, **changes)  # type: ignore[arg-type]


def a_site(*miners: Miner, nodes: list[Node] | None = None) -> Site:
    return Site(
        site_id="toy",
        timezone=START.tzinfo,  # type: ignore[arg-type]
        nodes={node.node_id: node for node in (nodes or tree())},
        miners={miner.miner_id: miner for miner in miners},
        policy=policy(),
    )


def a_target(state: TargetState, *, age_s: float = 500.0, retry_s: float = 0.0) -> Target:
    return Target(
        state=state,
        since_s=NOW_S - age_s,
        commanded_s=NOW_S - age_s,
        baseline_w=3000.0,
        from_w=3000.0,
        retry_s=retry_s,
        attempts=1,
    )


def an_image(*unreachable: str, meters: bool = True, idle: tuple[str, ...] = ()) -> Image:
    good = MeterView(quality=Quality.GOOD, power_w=1e5)
    return Image(
        now=START,
        now_s=NOW_S,
        meters={f"{name}-meter": good for name in BOTH} if meters else {},
        miners={
            name: MinerReading(miner_id=name, begun_s=1.0, taken_s=1.0, hashing=False)
            for name in idle
        },
        unreachable=dict.fromkeys(unreachable, 900.0),
    )


def plan(
    site: Site,
    state: State,
    image: Image,
    *,
    must_go: Mapping[str, float] | None = None,
    room: Mapping[str, float] | None = None,
    start_w: float = 0.0,
) -> Allocation:
    ledger = project(state, image, site)
    cap = Cap(cap_id="c", node_id="plant", value_w=0.0, cap_class=CapClass.OPERATOR, reason="test")
    nodes = {
        name: NodeLoad(
            node_id=name,
            limit=Limit(node_id=name, limit_w=1e6, cap=cap, planned=False),
            measured_w=None,
            expected_w=0.0,
            settle_w=0.0,
            floor_w=0.0,
            must_go_w=(must_go or {}).get(name, 0.0),
            room_w=(room or {}).get(name, 1e9),
        )
        for name in site.nodes
    }
    regulation = Regulation(
        nodes=nodes,
        start_w=start_w,
        feeders={name: FeederState() for name in site.feeders},
        guards={},
        headroom_since_s=None,
        start_credit_w=start_w,
    )
    ahead = {up_s: {n: nodes[n].limit for n in nodes} for up_s in site.up_times_s}
    return allocate(state, image, site, ledger, regulation, ahead)


fleets = st.lists(
    st.tuples(
        st.sampled_from(BOTH),
        st.integers(0, 3),
        st.sampled_from([1500.0, 3000.0, 5300.0]),
        st.sampled_from([None, S.RUNNING, S.CURTAILED, S.CURTAILING, S.DEAF, S.RESTORING]),
        st.booleans(),
    ),
    min_size=1,
    max_size=25,
)


@given(
    fleet=fleets,
    f1_w=st.floats(0, 60e3),
    plant_w=st.floats(0, 120e3),
    armed=st.sampled_from([BOTH, ("f1",), ()]),
    seed=st.integers(),
)
def test_the_need_is_covered_or_what_is_short_is_named(
    fleet: list[tuple[str, int, float, TargetState | None, bool]],
    f1_w: float,
    plant_w: float,
    armed: tuple[str, ...],
    seed: int,
) -> None:
    miners = [
        a_miner(f"m{i:02}", node, tier=tier, rated_power_w=power_w)
        for i, (node, tier, power_w, _, _) in enumerate(fleet)
    ]
    states = {f"m{i:02}": state for i, (*_, state, _) in enumerate(fleet) if state is not None}
    tags = {f"m{i:02}": "aida: fan" for i, (*_, tagged) in enumerate(fleet) if tagged}
    state = State(
        armed=armed,
        tags=tags,
        targets={
            name: replace(a_target(was, age_s=2.0, retry_s=2000.0), baseline_w=site_w)
            for name, was in states.items()
            for site_w in [next(m.rated_power_w for m in miners if m.miner_id == name)]
        },
    )
    need = {"f1": f1_w, "plant": plant_w}
    site = a_site(*miners)
    found = plan(site, state, an_image(), must_go=need)

    passed = {S.CURTAILED, S.CURTAILING, S.DEAF}
    allowed = {
        m.miner_id
        for m in miners
        if m.node_id in armed and m.miner_id not in tags and states.get(m.miner_id) not in passed
    }
    assert set(found.sleep) <= allowed
    assert len(found.sleep) == len(set(found.sleep))
    saved = {
        name: settled_w(site.miners[name], state.targets.get(name), None) for name in found.sleep
    }
    for node, need_w in need.items():
        below = [w for name, w in saved.items() if node in site.paths[site.miners[name].node_id]]
        assert sum(below) + found.short_w.get(node, 0.0) >= need_w - 1e-6
        if found.short_w.get(node, 0.0) > 0:
            rest = {n for n in allowed if node in site.paths[site.miners[n].node_id]}
            assert rest <= set(found.sleep), "short only when nobody is left"
    on_f1 = [saved[n] for n in found.sleep if site.miners[n].node_id == "f1"]
    if found.sleep:
        over_w = sum(saved.values()) - max(plant_w, sum(on_f1))
        assert over_w <= max(saved.values()), "a limit is undershot by less than one miner"
    if max(need.values()) > 0:
        assert len(site.miners) == len(found.sleep) + sum(found.skipped.values())

    again = random.Random(seed).sample(miners, len(miners))
    assert plan(a_site(*again), state, an_image(), must_go=need) == found


def test_the_least_useful_watt_goes_first_and_protected_miners_last() -> None:
    site = a_site(
        a_miner("protected", tier=0, rated_hashrate_ths=10.0),
        a_miner("good", rated_hashrate_ths=200.0),
        a_miner("bad", rated_hashrate_ths=50.0),
        a_miner("spare", tier=3, rated_hashrate_ths=300.0),
        a_miner("same-b"),
        a_miner("same-a"),
    )
    state = State(armed=BOTH)
    order = ["spare", "bad", "same-a", "same-b", "good", "protected"]
    for count in range(1, 7):
        need = {"plant": 3000.0 * count - 1.0}
        assert list(plan(site, state, an_image(), must_go=need).sleep) == order[:count]


def test_come_back_in_the_order_of_use() -> None:
    site = a_site(
        a_miner("protected", tier=0, rated_hashrate_ths=10.0),
        a_miner("good", rated_hashrate_ths=200.0),
        a_miner("bad", rated_hashrate_ths=50.0),
    )
    state = State(armed=BOTH, targets={n: a_target(S.CURTAILED) for n in site.miners})
    assert plan(site, state, an_image(), start_w=1e6).wake == ("protected", "good", "bad")
    assert plan(site, state, an_image(), start_w=6500.0).wake == ("protected", "good")


@pytest.mark.parametrize(("left_s", "chosen"), [(10.0, "fast"), (100.0, "slow")])
def test_a_deadline_takes_those_who_can_meet_it(left_s: float, chosen: str) -> None:
    site = a_site(a_miner("fast", rated_hashrate_ths=200.0), a_miner("slow", dynamics=ANTMINER))
    order = Order(
        order_id="o",
        issuer="kegoc",
        node_id="plant",
        order_class=OrderClass.DISPATCH,
        cap_w=0.0,
        received_at=START,
        received_s=NOW_S,
        valid_from=START,
        valid_until=START,
        start_s=NOW_S,
        expires_s=NOW_S + 900.0,
        within_s=left_s,
    )
    state = State(armed=BOTH, orders={"o": order})
    assert plan(site, state, an_image(), must_go={"plant": 1.0}).sleep == (chosen,)


def test_those_who_may_not_answer_are_asked_last() -> None:
    site = a_site(
        a_miner("far", rated_hashrate_ths=10.0),
        a_miner("deaf", rated_hashrate_ths=10.0),
        a_miner("good", rated_hashrate_ths=200.0),
    )
    state = State(armed=BOTH, targets={"deaf": a_target(S.DEAF)})
    assert plan(site, state, an_image("far"), must_go={"plant": 1.0}).sleep == ("good",)
    assert len(plan(site, state, an_image("far"), must_go={"plant": 9e3}).sleep) == 3


def test_protected_miners_go_after_those_who_may_not_answer() -> None:
    site = a_site(
        a_miner("protected", tier=0),
        a_miner("far", rated_hashrate_ths=900.0),
        a_miner("slow", dynamics=ANTMINER, rated_hashrate_ths=900.0),
    )
    state = State(armed=BOTH)
    found = plan(site, state, an_image("far"), must_go={"plant": 5e3})
    assert set(found.sleep) == {"far", "slow"}


SLEEPS_NOT = {
    SkipReason.TAGGED: (State(armed=BOTH, tags={"m": "aida: fan"}), an_image()),
    SkipReason.NOT_ARMED: (State(armed=("f2",)), an_image()),
    SkipReason.IDLE: (State(armed=BOTH), an_image(idle=("m",))),
    SkipReason.ASLEEP: (State(armed=BOTH, targets={"m": a_target(S.CURTAILED)}), an_image()),
    SkipReason.IN_FLIGHT: (
        State(armed=BOTH, targets={"m": a_target(S.CURTAILING, age_s=1.0)}),
        an_image(),
    ),
    SkipReason.DEAF: (
        State(armed=BOTH, targets={"m": a_target(S.DEAF, retry_s=NOW_S + 1)}),
        an_image(),
    ),
}


@pytest.mark.parametrize("why", list(SLEEPS_NOT))
def test_whoever_is_passed_over_going_down_has_a_reason(why: SkipReason) -> None:
    state, image = SLEEPS_NOT[why]
    found = plan(a_site(a_miner("m")), state, image, must_go={"f1": 2e3, "plant": 1e3})
    assert found.sleep == ()
    assert found.skipped[why] == 1
    assert found.short_w == {"f1": 2e3, "plant": 1e3}
    assert found.proposed_sleep == (("m",) if why is SkipReason.NOT_ARMED else ())


ASLEEP = {"m": a_target(S.CURTAILED)}
WAKES_NOT = {
    SkipReason.TAGGED: State(armed=BOTH, targets=ASLEEP, tags={"m": "aida: fan"}),
    SkipReason.NOT_ARMED: State(armed=("f2",), targets=ASLEEP),
    SkipReason.IN_FLIGHT: State(armed=BOTH, targets={"m": a_target(S.RESTORING, age_s=1.0)}),
    SkipReason.MIN_OFF: State(armed=BOTH, targets={"m": a_target(S.CURTAILED, age_s=19.0)}),
    SkipReason.STUCK: State(armed=BOTH, targets={"m": a_target(S.STUCK, retry_s=NOW_S + 1)}),
    SkipReason.DEAF: State(armed=BOTH, targets={"m": a_target(S.DEAF)}),
}


@pytest.mark.parametrize("why", list(WAKES_NOT))
def test_whoever_is_passed_over_going_up_has_a_reason(why: SkipReason) -> None:
    found = plan(a_site(a_miner("m")), WAKES_NOT[why], an_image(), start_w=1e6)
    assert found.wake == ()
    assert found.skipped == {why: 1}


@pytest.mark.parametrize(
    ("room", "start_w", "meters", "why"),
    [
        ({"f1": 2999.0}, 1e6, True, SkipReason.NO_ROOM),
        ({"plant": 2999.0}, 1e6, True, SkipReason.NO_ROOM),
        ({}, 2999.0, True, SkipReason.NO_CREDIT),
        ({}, 0.0, True, SkipReason.NO_ROOM),
        ({}, 1e6, False, SkipReason.NO_METER),
        ({"f1": 3000.0, "f2": -1e6}, 3000.0, True, None),
    ],
)
def test_a_start_needs_room_on_its_whole_path_credit_and_a_meter(
    room: Mapping[str, float], start_w: float, meters: bool, why: SkipReason | None
) -> None:
    state = State(armed=BOTH, targets=ASLEEP)
    found = plan(a_site(a_miner("m")), state, an_image(meters=meters), room=room, start_w=start_w)
    assert found.wake == (() if why else ("m",))
    assert found.started_w == (0.0 if why else 3000.0)
    if why is not None:
        assert found.skipped == {why: 1}


def test_starts_never_pass_the_credit_or_the_room() -> None:
    site = a_site(*(a_miner(f"m{i:02}", BOTH[i % 2]) for i in range(20)))
    state = State(armed=BOTH, targets={n: a_target(S.CURTAILED) for n in site.miners})
    found = plan(site, state, an_image(), room={"f1": 7e3, "plant": 16e3}, start_w=31e3)
    on_f1 = [n for n in found.wake if site.miners[n].node_id == "f1"]
    assert (len(found.wake), len(on_f1)) == (5, 2)


def test_what_cannot_be_shed_on_one_feeder_does_not_keep_another_asleep() -> None:
    site = a_site(a_miner("over", "f1"), a_miner("waits", "f2"))
    state = State(armed=("f2",), targets={"waits": a_target(S.CURTAILED)})
    found = plan(site, state, an_image(), must_go={"f1": 5e3}, room={"f1": -5e3}, start_w=9e3)
    assert (found.wake, found.short_w) == (("waits",), {"f1": 5e3})


def test_a_miner_chosen_in_a_rack_counts_for_all_above_it() -> None:
    rack = Node(node_id="r1", kind=NodeKind.RACK, parent="f1", rating_w=1e4)
    site = a_site(
        a_miner("inside", "r1", rated_hashrate_ths=300.0),
        a_miner("outside", "f1"),
        nodes=[*tree(), rack],
    )
    need = {"r1": 100.0, "f1": 2000.0, "plant": 2500.0}
    assert plan(site, State(armed=BOTH), an_image(), must_go=need).sleep == ("inside",)


def test_dynamics_without_ramp_are_taken_as_steps() -> None:
    step = Dynamics(down_dead_s=0, down_ramp_s=0, up_dead_s=0, up_ramp_s=0)
    site = a_site(a_miner("m", dynamics=step))
    assert plan(site, State(armed=BOTH), an_image(), must_go={"f1": 1.0}).sleep == ("m",)


def test_reasons_are_stable_words() -> None:
    assert {str(reason) for reason in SkipReason} == {
        "not_armed",
        "tagged",
        "idle",
        "asleep",
        "in_flight",
        "deaf",
        "stuck",
        "min_off",
        "no_meter",
        "no_room",
        "no_credit",
        "not_needed",
    }
