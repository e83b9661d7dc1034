"""A tripped watchdog: its limit holds, its sleepers become ours, and a release gives them back."""

from controller.power.caps import CapClass
from controller.power.image import GuardShed
from controller.power.state import State, TargetState
from drivers.contract.commands import Wake
from drivers.contract.readings import WorkMode
from tests.unit.power.toy import Toy, build


def tripped() -> Toy:
    """A fleet that the guard put to sleep while its controller was dead; then a new one."""
    toy = build(miners=30, firmwares=("luxos",))
    for miner in toy.miners.values():
        miner.command(toy.now_s, sleep=True)
    toy.state = State(armed=toy.state.armed)
    toy.guard_limit_w = 0.0
    toy.now_s += 20.0
    toy.readings = {}
    toy.run(10)
    return toy


def handed(toy: Toy) -> dict[str, GuardShed]:
    return {
        name: GuardShed(
            baseline_w=miner.true_w,
            mode=WorkMode.LOW,
            raw_mode="profile 7",
            power_limit_w=None,
        )
        for name, miner in toy.miners.items()
    }


def test_while_it_is_latched_nobody_is_woken() -> None:
    toy = tripped()
    toy.guard_shed = handed(toy)
    toy.run(120)
    assert max(toy.loads_w[-120:]) < 0.1 * toy.full_w
    assert [d.commands for d in toy.history[-120:]] == [()] * 120
    limit = toy.history[-1].nodes["plant"].limit
    assert (limit.limit_w, limit.cap.cap_class) == (0.0, CapClass.PROTECTION)
    assert "guard has tripped" in limit.cap.reason


def test_after_a_release_they_come_back_as_they_were() -> None:
    toy = tripped()
    toy.guard_shed = handed(toy)
    decision = toy.tick()
    assert {t.state for t in decision.state.targets.values()} == {TargetState.CURTAILED}
    assert decision.changed_targets.keys() == toy.miners.keys(), "journaled with this tick"
    toy.run(30)
    toy.guard_limit_w, toy.guard_shed = None, {}
    toy.run(180)
    assert toy.load_w > 0.9 * toy.full_w
    woken = [c.command for d in toy.history for c in d.commands if isinstance(c.command, Wake)]
    assert len(woken) >= len(toy.miners)
    assert {(w.mode, w.raw_mode) for w in woken} == {(WorkMode.LOW, "profile 7")}


def test_those_that_nobody_handed_over_are_not_ours_to_wake() -> None:
    toy = tripped()
    toy.guard_limit_w = None
    toy.run(120)
    assert max(toy.loads_w[-120:]) < 0.1 * toy.full_w


def test_a_miner_that_we_curtailed_ourselves_keeps_what_we_noted() -> None:
    toy = build(miners=10, firmwares=("luxos",))
    toy.guard_limit_w = 0.0
    toy.run(20)
    before = dict(toy.state.targets)
    assert {t.state for t in before.values()} == {TargetState.CURTAILED}
    toy.guard_shed = handed(toy)
    toy.tick()
    assert toy.state.targets == before
