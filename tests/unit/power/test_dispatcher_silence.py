"""A silent dispatcher: the limit falls along the curve, never rises, and comes back only when he
says again what is in force.
"""

from datetime import timedelta
from itertools import pairwise

import pytest

from controller.power.alarms import AlarmKind
from controller.power.decide import Phase
from controller.power.instructions import NewSetpoint
from controller.power.site import DispatchPolicy, FailsafeCurve
from controller.power.state import OnExpiry
from tests.unit.power.toy import Toy, build

POLICY = DispatchPolicy(
    node_id="plant",
    heartbeat_timeout_s=15.0,
    curve=FailsafeCurve(hold_s=30.0, decay_s=60.0, value_w=50e3),
    restart_delay_s=60.0,
)


def setpoint(toy: Toy, cap_w: float, *, in_s: float = 0.0, for_s: float = 3600.0) -> NewSetpoint:
    begin = toy.now + timedelta(seconds=in_s)
    return NewSetpoint(
        issuer="kegoc",
        node_id="plant",
        sequence=1,
        cap_w=cap_w,
        valid_from=begin,
        valid_until=begin + timedelta(seconds=for_s),
        on_expiry=OnExpiry.RELEASE,
    )


def limits_w(toy: Toy, seconds: int) -> list[float]:
    return [toy.tick().nodes["plant"].limit.limit_w for _ in range(seconds)]


@pytest.fixture
def toy() -> Toy:
    return build(firmwares=("luxos",), dispatch=POLICY)


def test_silence_lowers_along_the_curve_and_the_load_follows(toy: Toy) -> None:
    toy.run(20, setpoint(toy, 200e3))
    toy.beats = False
    held = limits_w(toy, 29)
    assert set(held) == {200e3}
    falling = limits_w(toy, 80)
    assert all(later <= earlier for earlier, later in pairwise(falling))
    assert falling[-1] == 50e3
    assert falling[30] == pytest.approx(125e3, rel=0.03)
    assert toy.history[-1].phase is Phase.FAILSAFE
    assert AlarmKind.DISPATCHER_SILENT in toy.state.alarms
    assert toy.load_w <= 1.01 * 50e3


def test_an_order_or_setpoint_that_ends_in_silence_raises_nothing(toy: Toy) -> None:
    toy.run(10, setpoint(toy, 200e3, for_s=60), toy.order(cap_w=150e3, for_s=60))
    toy.beats = False
    fallen = limits_w(toy, 200)
    assert all(later <= earlier for earlier, later in pairwise(fallen))
    assert fallen[0] == 150e3


def test_he_comes_back_only_with_what_is_in_force_and_after_the_delay(toy: Toy) -> None:
    toy.run(10, setpoint(toy, 200e3))
    toy.beats = False
    toy.run(120)
    toy.beats, toy.reaffirms = True, False
    assert set(limits_w(toy, 120)) == {50e3}, "a heartbeat alone lifts nothing"
    toy.reaffirms = True
    assert set(limits_w(toy, 60)) == {50e3}
    assert set(limits_w(toy, 5)) == {200e3}
    toy.run(120)
    assert toy.load_w >= 0.95 * 200e3
    assert AlarmKind.DISPATCHER_SILENT not in toy.state.alarms


def test_silent_again_in_the_restart_delay_lets_it_fall_on(toy: Toy) -> None:
    toy.run(10, setpoint(toy, 200e3))
    toy.beats = False
    first = limits_w(toy, 60)
    toy.beats = True
    back = limits_w(toy, 20)
    toy.beats = False
    again = limits_w(toy, 60)
    whole = first + back + again
    assert all(later <= earlier for earlier, later in pairwise(whole))
    assert len(set(back[1:])) == 1
    assert again[-1] == 50e3


def test_a_silence_within_the_hold_costs_no_delay(toy: Toy) -> None:
    toy.run(10, setpoint(toy, 200e3))
    toy.beats = False
    toy.run(25)
    assert toy.state.source is not None
    assert toy.state.source.lost_s is not None
    toy.beats = True
    toy.run(2)
    assert toy.state.source is not None
    assert toy.state.source.lost_s is None


def test_a_limit_for_later_does_not_trip_the_site_when_he_falls_silent(toy: Toy) -> None:
    toy.run(10, setpoint(toy, 0.0, in_s=3000))
    toy.beats = False
    assert min(limits_w(toy, 29)) == toy.site.nodes["plant"].rating_w


def test_a_dispatcher_never_heard_is_lost() -> None:
    toy = build(firmwares=("luxos",), dispatch=POLICY, settle_s=1)
    toy.beats = False
    toy.state = type(toy.state)(armed=toy.state.armed)
    fallen = limits_w(toy, 120)
    assert fallen[-1] == 50e3
    assert all(later <= earlier for earlier, later in pairwise(fallen))
    assert toy.state.source is not None
    assert not toy.state.source.ever_heard


def test_a_first_heartbeat_that_does_not_know_what_is_in_force_is_not_enough() -> None:
    toy = build(firmwares=("luxos",), dispatch=POLICY, settle_s=1)
    toy.state = type(toy.state)(armed=toy.state.armed)
    toy.reaffirms = False
    assert limits_w(toy, 120)[-1] == 50e3


def test_a_step_of_the_wall_clock_is_not_a_silence(toy: Toy) -> None:
    toy.run(10, setpoint(toy, 200e3))
    toy.clock_step = timedelta(hours=1)
    assert set(limits_w(toy, 60)) == {200e3}
    assert toy.state.source is not None
    assert toy.state.source.lost_s is None


def test_a_site_without_dispatcher_has_no_silence() -> None:
    toy = build(miners=6)
    toy.run(120)
    assert toy.state.source is None
    assert toy.history[-1].phase is Phase.NORMAL
