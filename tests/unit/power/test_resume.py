"""After a reboot: the clock began anew, every limit still stands, nothing rises for want of age."""

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import msgspec
import pytest

from controller.power.instructions import NewSetpoint, ReleaseOrder
from controller.power.resume import after_reboot
from controller.power.site import DispatchPolicy, FailsafeCurve
from controller.power.state import GuardState, OnExpiry, OrderStage, State, TargetState
from drivers.contract.quantities import Quality
from tests.unit.power.toy import START, Toy, build

POLICY = DispatchPolicy(
    node_id="plant",
    heartbeat_timeout_s=15.0,
    curve=FailsafeCurve(hold_s=30.0, decay_s=60.0, value_w=20e3),
)


def setpoint(
    toy: Toy, sequence: int, cap_w: float, *, in_s: float = 0.0, for_s: float = 600.0
) -> NewSetpoint:
    begin = toy.now + timedelta(seconds=in_s)
    return NewSetpoint(
        issuer="kegoc",
        node_id="plant",
        sequence=sequence,
        cap_w=cap_w,
        valid_from=begin,
        valid_until=begin + timedelta(seconds=for_s),
        on_expiry=OnExpiry.RELEASE,
    )


def reboot(toy: Toy, *, off_s: int, clock: bool = True) -> None:
    """The machine goes off; the miners go on; monotonic time begins at 7 s."""
    for second in range(off_s):
        for miner in toy.miners.values():
            miner.step(toy.now_s + second)
    for miner in toy.miners.values():
        miner.moved_s -= toy.now_s + off_s - 7.0
    toy.now += timedelta(seconds=off_s)
    toy.now_s = 7.0
    toy.readings.clear()
    toy.answered.clear()
    toy.passed_w.clear()
    journal = msgspec.json.encode(toy.state)
    state = msgspec.json.decode(journal, type=State)
    toy.state = after_reboot(state, toy.now_s, toy.now if clock else None)


def limit_w(toy: Toy) -> float:
    return toy.tick().nodes["plant"].limit.limit_w


@pytest.fixture
def toy() -> Toy:
    return build(miners=40, firmwares=("luxos", "antminer-stock"))


@pytest.mark.parametrize("clock", [True, False])
def test_an_order_goes_on_where_it_was(toy: Toy, clock: bool) -> None:
    cap_w = 0.5 * toy.load_w
    toy.run(60, toy.order(cap_w=cap_w, for_s=400))
    asleep = {name for name, target in toy.state.targets.items()}
    reboot(toy, off_s=90, clock=clock)
    begun = len(toy.loads_w)
    toy.run(100)
    assert max(toy.loads_w[begun:]) <= 1.01 * cap_w
    assert toy.state.orders["o1"].stage is OrderStage.VERIFIED
    woken = {name for tick in toy.history[begun:] for name in tick.allocation.wake}
    assert not woken & asleep, "what slept before the reboot sleeps on"
    assert limit_w(toy) == cap_w


def test_it_ends_at_its_utc_time(toy: Toy) -> None:
    toy.run(60, toy.order(cap_w=50e3, for_s=200))
    reboot(toy, off_s=100)
    left = [limit_w(toy) for _ in range(60)]
    assert left == [50e3] * 40 + [toy.site.nodes["plant"].rating_w] * 20
    assert toy.state.orders["o1"].stage is OrderStage.EXPIRED


def test_without_a_clock_it_lasts_its_whole_span_again(toy: Toy) -> None:
    toy.run(60, toy.order(cap_w=50e3, for_s=200))
    reboot(toy, off_s=100, clock=False)
    toy.now = START - timedelta(days=9000)  # a dead battery
    assert {limit_w(toy) for _ in range(199)} == {50e3}


@pytest.mark.parametrize("clock", [True, False])
def test_an_order_for_later_is_never_forgotten(toy: Toy, clock: bool) -> None:
    toy.run(60, toy.order("now", cap_w=60e3), toy.order("then", cap_w=90e3, in_s=100))
    reboot(toy, off_s=20, clock=clock)
    assert limit_w(toy) == 60e3
    toy.run(40)
    assert limit_w(toy) == (90e3 if clock else 60e3)


@pytest.mark.parametrize(("later_w", "unknown_w"), [(90e3, 60e3), (30e3, 30e3)])
def test_a_setpoint_for_later_begins_on_time_or_if_it_lowers_at_once(
    toy: Toy, later_w: float, unknown_w: float
) -> None:
    toy.tick(setpoint(toy, 1, 60e3))
    toy.run(10, setpoint(toy, 2, later_w, in_s=100))
    dead = toy
    twin = replace(toy, state=toy.state, readings=dict(toy.readings))
    reboot(dead, off_s=50, clock=False)
    assert limit_w(dead) == unknown_w
    twin.now_s = 7.0
    twin.state = after_reboot(twin.state, 7.0, twin.now + timedelta(seconds=95))
    assert set(twin.state.setpoints_before) == {"plant"}
    assert twin.state.setpoints["plant"].starts_s == pytest.approx(7.0 - 5.0)
    assert twin.state.setpoints["plant"].expires_s == pytest.approx(7.0 + 595.0)


def test_a_dispatcher_who_was_heard_is_lost_until_he_speaks() -> None:
    toy = build(miners=20, firmwares=("luxos",), dispatch=POLICY)
    toy.run(10, setpoint(toy, 1, 40e3))
    toy.beats = False
    reboot(toy, off_s=5)
    fallen = [limit_w(toy) for _ in range(120)]
    assert fallen[0] == 40e3
    assert fallen[-1] == 20e3
    assert all(later <= earlier for earlier, later in pairwise(fallen))


def test_a_fallen_limit_does_not_rise_by_a_reboot() -> None:
    toy = build(miners=20, firmwares=("luxos",), dispatch=POLICY)
    toy.run(10, setpoint(toy, 1, 40e3))
    toy.beats = False
    toy.run(70)
    before_w = limit_w(toy)
    assert 20e3 < before_w < 30e3
    reboot(toy, off_s=30)
    fallen = [limit_w(toy) for _ in range(60)]
    assert max(fallen) <= before_w
    assert fallen[-1] == 20e3
    toy.beats = True
    toy.run(62)
    assert limit_w(toy) == 40e3


def test_miners_that_woke_meanwhile_are_put_back(toy: Toy) -> None:
    cap_w = 0.5 * toy.load_w
    toy.run(60, toy.order(cap_w=cap_w))
    for miner in toy.miners.values():  # the power went off and came back
        miner.now_w = miner.from_w = miner.to_w = miner.true_w
    reboot(toy, off_s=60)
    toy.run(60)
    assert toy.load_w <= 1.01 * cap_w


def test_commands_in_flight_count_as_just_given(toy: Toy) -> None:
    toy.run(3, toy.order(cap_w=0.0))
    reboot(toy, off_s=2)
    states = {target.state for target in toy.state.targets.values()}
    assert TargetState.CURTAILING in states
    assert {target.commanded_s for target in toy.state.targets.values()} == {7.0}
    toy.run(50)
    assert {target.state for target in toy.state.targets.values()} == {TargetState.CURTAILED}
    toy.run(150, ReleaseOrder(order_id="o1", issuer="kegoc"))
    assert toy.load_w == pytest.approx(toy.full_w, rel=0.01)


def test_a_lost_meter_stays_as_long_lost_as_it_was(toy: Toy) -> None:
    toy.bad_meter = lambda name, _now_s: Quality.BAD if name == "f1" else Quality.GOOD
    toy.run(40)
    reboot(toy, off_s=30)
    assert toy.state.meter_lost_s == {"f1": pytest.approx(7.0 - 39.0)}


def test_what_belongs_to_the_moment_is_forgotten_and_the_rest_is_kept(toy: Toy) -> None:
    toy.run(30, toy.order(cap_w=0.0))
    toy.state = replace(toy.state, guards={"plant": GuardState(over_since_s=900.0, rung=2)})
    before = toy.state
    reboot(toy, off_s=10)
    after = toy.state
    assert (after.guards, after.headroom_since_s, after.decided_s) == ({}, None, None)
    assert after.start_credit_w == 0.0
    assert (after.feeders, after.armed, after.tags) == (before.feeders, before.armed, before.tags)
    for name, target in after.targets.items():
        old = before.targets[name]
        kept = replace(
            target, since_s=old.since_s, commanded_s=old.commanded_s, retry_s=old.retry_s
        )
        assert kept == old
