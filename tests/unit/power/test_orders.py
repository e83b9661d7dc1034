"""Orders: resolved once, proved at the meters alone, ended by monotonic time."""

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.power.alarms import AlarmKind
from controller.power.decide import Phase
from controller.power.instructions import NewOrder, NewSetpoint, ReleaseOrder
from controller.power.site import Node, NodeKind, OnMeterLoss
from controller.power.state import OnExpiry, OrderClass, OrderStage
from drivers.contract.quantities import Quality
from tests.unit.power.toy import AUXILIARY_W, SLEEP_W, Toy, build, over_s, tree

RELEASE = ReleaseOrder(order_id="o1", issuer="kegoc")


@pytest.fixture
def toy() -> Toy:
    return build(firmwares=("luxos",))


@pytest.mark.parametrize(
    ("percent", "by_w", "cap_w", "resolved"),
    [
        (40.0, None, None, 0.6),
        (None, 50e3, None, None),
        (None, None, 0.0, 0.0),
        (100.0, None, None, 0.0),
        (None, 1e9, None, 0.0),
        (0.0, None, None, 1.0),
    ],
)
def test_an_order_is_resolved_once(
    toy: Toy,
    percent: float | None,
    by_w: float | None,
    cap_w: float | None,
    resolved: float | None,
) -> None:
    full_w = toy.load_w
    toy.tick(toy.order(percent=percent, by_w=by_w, cap_w=cap_w))
    expected_w = full_w - 50e3 if resolved is None else resolved * full_w
    first = toy.state.orders["o1"]
    assert first.cap_w == pytest.approx(expected_w, rel=0.005)
    assert first.baseline_w == pytest.approx(full_w, rel=0.005)
    toy.run(30)
    assert toy.state.orders["o1"].cap_w == first.cap_w


def test_an_order_told_twice_is_not_resolved_again(toy: Toy) -> None:
    order = toy.order(percent=40)
    toy.run(30, order)
    held = toy.state.orders["o1"]
    decision = toy.tick(order)
    assert toy.state.orders["o1"].cap_w == held.cap_w
    assert toy.state.orders["o1"].stage is OrderStage.VERIFIED
    assert [(p.accepted, p.order.order_id) for p in decision.progress] == [(True, "o1")]


def test_the_dispatcher_hears_every_stage_once(toy: Toy) -> None:
    toy.run(30, toy.order(percent=40))
    toy.run(30, RELEASE, RELEASE)
    told = [
        (progress.accepted, progress.order.stage)
        for tick in toy.history
        for progress in tick.progress
    ]
    assert told == [
        (True, OrderStage.WAITING),
        (False, OrderStage.VERIFIED),
        (False, OrderStage.RELEASED),
    ]


def test_a_new_order_replaces_the_one_before_it(toy: Toy) -> None:
    full_w = toy.load_w
    toy.run(30, toy.order(cap_w=0.3 * full_w))
    decision = toy.tick(toy.order("o2", cap_w=0.6 * full_w))
    assert toy.state.orders["o1"].stage is OrderStage.SUPERSEDED
    assert decision.nodes["plant"].limit.cap.cap_id == "order:o2"


@pytest.mark.parametrize("order_class", [OrderClass.LOCKOUT, OrderClass.EMERGENCY])
def test_a_lockout_is_released_never_replaced(toy: Toy, order_class: OrderClass) -> None:
    toy.run(30, toy.order(cap_w=0.0, order_class=order_class))
    decision = toy.tick(toy.order("o2", cap_w=1e6, order_class=order_class))
    assert toy.state.orders["o1"].stage.in_force
    assert decision.nodes["plant"].limit.limit_w == 0.0
    toy.tick(RELEASE)
    assert toy.state.orders["o1"].stage is OrderStage.RELEASED


def test_another_issuer_and_another_node_replace_nothing(toy: Toy) -> None:
    toy.tick(
        toy.order("a", cap_w=100e3),
        toy.order("b", cap_w=120e3, issuer="nesk"),
        toy.order("c", cap_w=60e3, node_id="f1"),
    )
    decision = toy.tick()
    assert all(order.stage.in_force for order in toy.state.orders.values())
    assert decision.nodes["plant"].limit.cap.cap_id == "order:a"
    assert decision.nodes["f1"].limit.cap.cap_id == "order:c"


def test_two_orders_on_different_nodes_are_both_kept_and_verified() -> None:
    toy = build()
    full_w = toy.load_w
    begun = len(toy.loads_w)
    toy.run(
        120,
        toy.order("a", cap_w=0.6 * full_w),
        toy.order("c", cap_w=0.1 * full_w, node_id="f1"),
    )
    assert {order.stage for order in toy.state.orders.values()} == {OrderStage.VERIFIED}
    assert over_s(toy, 0.6 * full_w, begun + 60) == 0
    assert toy.true_w("f1") <= 0.101 * full_w
    assert toy.load_w >= 0.5 * full_w


def test_an_order_for_later_leaves_the_one_in_force_until_it_begins(toy: Toy) -> None:
    full_w = toy.load_w
    toy.run(30, toy.order("now", cap_w=0.3 * full_w))
    begun = len(toy.loads_w)
    toy.run(60, toy.order("then", cap_w=0.6 * full_w, in_s=60))
    assert over_s(toy, 0.3 * full_w, begun) == 0
    assert toy.state.orders["now"].stage.in_force
    decision = toy.run(2)
    assert toy.state.orders["now"].stage is OrderStage.SUPERSEDED
    assert decision.nodes["plant"].limit.cap.cap_id == "order:then"


def test_an_order_for_now_leaves_an_earlier_one_for_later(toy: Toy) -> None:
    full_w = toy.load_w
    toy.run(10, toy.order("then", cap_w=0.2 * full_w, in_s=100))
    toy.run(120, toy.order("now", cap_w=0.6 * full_w))
    assert toy.state.orders["then"].stage is OrderStage.VERIFIED
    assert toy.load_w <= 0.202 * full_w


def test_of_two_orders_for_the_same_moment_the_newer_holds(toy: Toy) -> None:
    toy.tick(toy.order("a", cap_w=100e3, in_s=20), toy.order("b", cap_w=150e3, in_s=20))
    toy.run(30)
    stages = {name: order.stage.in_force for name, order in toy.state.orders.items()}
    assert stages == {"a": False, "b": True}


@pytest.mark.parametrize("jump_h", [-1, 1])
def test_expiry_and_begin_keep_their_time_when_the_wall_clock_jumps(toy: Toy, jump_h: int) -> None:
    full_w = toy.load_w
    toy.run(
        5,
        toy.order("now", cap_w=0.5 * full_w, for_s=60),
        toy.order("then", cap_w=0.4 * full_w, node_id="t1", in_s=100, for_s=60),
    )
    toy.clock_step = timedelta(hours=jump_h)
    seen = {}
    for second in range(5, 200):
        decision = toy.tick()
        seen[second] = {
            name: node.limit.cap.cap_id.removeprefix("order:")
            for name, node in decision.nodes.items()
            if not node.limit.planned
        }
        if decision.nodes["t1"].limit.planned:
            assert second < 100
    assert {seen[s]["plant"] for s in range(5, 60)} == {"now"}
    assert {seen[s]["plant"] for s in range(60, 200)} == {"rating:plant"}
    assert {seen[s].get("t1") for s in range(100, 160)} == {"then"}
    assert {seen[s]["t1"] for s in range(160, 200)} == {"rating:t1"}
    assert [o.stage for o in toy.state.orders.values()] == [OrderStage.EXPIRED] * 2


def test_a_planned_order_arrives_at_its_time() -> None:
    toy = build()
    cap_w, begun = 0.4 * toy.load_w, len(toy.loads_w)
    toy.run(180, toy.order(cap_w=cap_w, in_s=120))
    assert over_s(toy, cap_w, begun + 120) == 0
    assert toy.state.orders["o1"].t90_s == 0.0
    assert toy.loads_w[begun + 60] > 2.0 * cap_w


def test_energy_delivered_is_the_integral_under_the_baseline() -> None:
    toy = build()
    begun = len(toy.loads_w)
    toy.run(300, toy.order(percent=40))
    order = toy.state.orders["o1"]
    assert order.baseline_w is not None
    under_w = [max(0.0, order.baseline_w - load_w) for load_w in toy.loads_w[begun:]]
    assert order.delivered_wh == pytest.approx(sum(under_w) / 3600.0, rel=0.01)


def test_an_order_too_large_fails_short_by_what_the_deaf_draw() -> None:
    toy = build(deaf=10)
    toy.run(150, toy.order(cap_w=0.0))
    order = toy.state.orders["o1"]
    deaf_w = sum(miner.true_w for miner in toy.miners.values() if miner.deaf)
    assert order.stage is OrderStage.FAILED
    assert order.shortfall_w == pytest.approx(deaf_w, rel=0.01)
    assert f"{AlarmKind.ORDER_FAILED}:o1" in toy.state.alarms
    assert toy.load_w == pytest.approx(2 * AUXILIARY_W + 90 * SLEEP_W + deaf_w, rel=0.01)


def test_what_cannot_be_delivered_is_said_at_once(toy: Toy) -> None:
    for miner in list(toy.miners.values())[:20]:
        miner.answers = False
    toy.tick()
    decision = toy.tick(toy.order(cap_w=0.0))
    unreachable_w = sum(m.true_w for m in toy.miners.values() if not m.answers)
    receipt = next(progress for progress in decision.progress if progress.accepted)
    assert receipt.order.deliverable_w == pytest.approx(
        unreachable_w + 2 * AUXILIARY_W + 80 * SLEEP_W, rel=0.05
    )


def test_a_cap_of_zero_is_verified_at_the_floor() -> None:
    toy = build()
    toy.run(120, toy.order(cap_w=0.0))
    order = toy.state.orders["o1"]
    assert order.stage is OrderStage.VERIFIED
    assert order.measured_w == pytest.approx(2 * AUXILIARY_W + 100 * SLEEP_W, rel=0.01)
    learnt_w = [feeder.floor_w for feeder in toy.state.feeders.values()]
    assert learnt_w == [pytest.approx(AUXILIARY_W + 50 * SLEEP_W, rel=0.01)] * 2
    assert f"{AlarmKind.OVER_LIMIT}:plant" not in toy.state.alarms


def test_a_cap_above_the_load_is_verified_and_curtails_nobody(toy: Toy) -> None:
    toy.run(20, toy.order(cap_w=1.2 * toy.load_w))
    assert toy.state.orders["o1"].stage is OrderStage.VERIFIED
    assert toy.state.orders["o1"].t90_s is not None
    assert toy.state.targets == {}


def stage(toy: Toy) -> OrderStage:
    return toy.state.orders["o1"].stage


def test_not_failed_while_a_command_that_can_help_is_in_flight() -> None:
    toy = build(firmwares=("antminer-stock",))
    begun_s = toy.now_s
    toy.run(20, toy.order(percent=40, within_s=5))
    assert toy.state.orders["o1"].stage is OrderStage.DELIVERING
    toy.run(30)
    order = toy.state.orders["o1"]
    assert order.stage is OrderStage.VERIFIED
    assert toy.now_s - begun_s == 50


def test_failed_at_last_when_only_time_passes() -> None:
    toy = build(firmwares=("antminer-stock",), deaf=100)
    toy.run(5 + 30 + 8 + 2, toy.order(percent=40, within_s=5))
    assert toy.state.orders["o1"].stage is OrderStage.FAILED


@pytest.mark.parametrize("lost", [("f1",), ("f1", "f2")])
def test_without_meters_no_order_is_verified_by_what_miners_say(lost: tuple[str, ...]) -> None:
    toy = build(firmwares=("luxos",))
    toy.bad_meter = lambda name, _now_s: Quality.BAD if name in lost else Quality.GOOD
    toy.run(120, toy.order(percent=40))
    order = toy.state.orders["o1"]
    assert order.stage is OrderStage.FAILED
    assert order.shortfall_w is None
    assert order.delivered_wh == 0.0
    assert toy.load_w <= 0.61 * toy.full_w, "the load was lowered all the same"


def test_meters_lost_on_the_way_do_not_count_what_was_seen_before(toy: Toy) -> None:
    toy.run(3, toy.order(cap_w=1.2 * toy.load_w))
    toy.bad_meter = lambda _name, _now_s: Quality.BAD
    toy.run(20)
    assert stage(toy) is OrderStage.DELIVERING
    toy.bad_meter = lambda _name, _now_s: Quality.GOOD
    toy.run(4)
    assert stage(toy) is OrderStage.DELIVERING
    toy.run(4)
    assert stage(toy) is OrderStage.VERIFIED


def test_a_lost_meter_that_curtails_falls_along_the_curve() -> None:
    toy = build(firmwares=("luxos",), nodes=tree(on_meter_loss=OnMeterLoss.CURTAIL))
    toy.bad_meter = lambda name, _now_s: Quality.BAD if name == "f1" else Quality.GOOD
    full_w, begun = toy.load_w, len(toy.loads_w)
    toy.run(25)
    assert toy.load_w == pytest.approx(full_w)
    toy.run(90)
    f1 = [miner for miner in toy.miners.values() if miner.miner.node_id == "f1"]
    assert max(miner.now_w for miner in f1) < 100.0
    assert toy.load_w == pytest.approx(full_w / 2, rel=0.05)
    assert toy.loads_w[begun + 60] > toy.load_w


def test_an_order_for_a_rack_starts_from_what_its_miners_draw() -> None:
    rack = Node(node_id="r1", kind=NodeKind.RACK, parent="f1", rating_w=50e3)
    toy = build(firmwares=("luxos",), nodes=[*tree(), rack])
    inside = [f"m{i:05}" for i in range(0, 20, 2)]
    miners = {
        name: replace(miner, node_id="r1") if name in inside else miner
        for name, miner in toy.site.miners.items()
    }
    toy.site = replace(toy.site, miners=miners)
    toy.run(30, toy.order(percent=40, node_id="r1"))
    order = toy.state.orders["o1"]
    assert order.cap_w == pytest.approx(0.6 * 27.6e3, rel=0.05)
    asleep = {name for name, miner in toy.miners.items() if miner.now_w < 100.0}
    assert asleep < set(inside)
    assert 4 <= len(asleep) <= 5
    assert order.stage is not OrderStage.VERIFIED, "no meter of ours sees a rack"


def test_an_order_for_a_node_that_has_gone_holds_the_whole_site(toy: Toy) -> None:
    toy.run(5, toy.order(cap_w=20e3, node_id="f1"))
    nodes = {("f3" if name == "f1" else name): node for name, node in toy.site.nodes.items()}
    nodes["f3"] = replace(nodes["f3"], node_id="f3")
    miners = {
        name: replace(miner, node_id="f3") if miner.node_id == "f1" else miner
        for name, miner in toy.site.miners.items()
    }
    toy.site = replace(toy.site, nodes=nodes, miners=miners)
    decision = toy.tick()
    assert decision.nodes["plant"].limit.limit_w == 20e3
    decision = toy.tick(toy.order("o2", cap_w=10e3, node_id="nowhere"))
    assert decision.nodes["plant"].limit.cap.cap_id == "order:o2"


def test_a_lockout_is_the_phase(toy: Toy) -> None:
    decision = toy.run(3, toy.order(cap_w=0.0, order_class=OrderClass.LOCKOUT))
    assert decision.phase is Phase.LOCKOUT
    assert decision.nodes["plant"].limit.cap.cap_class.name == "LOCKOUT"


def test_ended_orders_are_kept_for_a_while_and_not_for_ever(toy: Toy) -> None:
    for number in range(60):
        toy.tick(toy.order(f"o{number}", cap_w=1e6))
    assert len(toy.state.orders) <= 52
    assert toy.state.orders["o59"].stage.in_force


def setpoint(
    toy: Toy,
    cap_w: float,
    sequence: int,
    *,
    in_s: float = 0.0,
    for_s: float = 600.0,
    on_expiry: OnExpiry = OnExpiry.HOLD,
) -> NewSetpoint:
    begin = toy.now + toy.clock_step + timedelta(seconds=in_s)
    return NewSetpoint(
        issuer="kegoc",
        node_id="plant",
        sequence=sequence,
        cap_w=cap_w,
        valid_from=begin,
        valid_until=begin + timedelta(seconds=for_s),
        on_expiry=on_expiry,
    )


def limit_of(toy: Toy, *told: NewSetpoint | NewOrder) -> tuple[float, str]:
    limit = toy.tick(*told).nodes["plant"].limit
    return limit.limit_w, limit.cap.reason


def test_a_setpoint_for_later_leaves_the_one_in_force_until_it_begins(toy: Toy) -> None:
    assert limit_of(toy, setpoint(toy, 100e3, 1))[0] == 100e3
    assert limit_of(toy, setpoint(toy, 180e3, 2, in_s=30))[0] == 100e3
    # a third one replaces the second, which never began
    assert limit_of(toy, setpoint(toy, 150e3, 3, in_s=30))[0] == 100e3
    toy.run(28)
    assert limit_of(toy)[0] == 100e3
    assert limit_of(toy) == (150e3, "setpoint 3 of kegoc")
    assert limit_of(toy, setpoint(toy, 90e3, 4))[0] == 90e3
    assert toy.state.setpoints_before == {}


@pytest.mark.parametrize("jump_h", [-1, 1])
def test_a_setpoint_stands_when_the_wall_clock_jumps(toy: Toy, jump_h: int) -> None:
    toy.run(5, setpoint(toy, 100e3, 1, on_expiry=OnExpiry.RELEASE, for_s=60))
    toy.clock_step = timedelta(hours=jump_h)
    for _ in range(55):
        assert limit_of(toy)[0] == 100e3
    assert limit_of(toy)[0] == toy.site.nodes["plant"].rating_w


@pytest.mark.parametrize(
    ("on_expiry", "limit_w"), [(OnExpiry.HOLD, 100e3), (OnExpiry.RELEASE, 400e3)]
)
def test_what_becomes_of_a_setpoint_that_nobody_renewed(
    toy: Toy, on_expiry: OnExpiry, limit_w: float
) -> None:
    toy.run(11, setpoint(toy, 100e3, 1, for_s=10, on_expiry=on_expiry))
    assert limit_of(toy)[0] == limit_w
