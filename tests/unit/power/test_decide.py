"""One tick is a function: same arguments, same decision; the state survives a journal."""

import copy
from dataclasses import replace

import msgspec
import pytest

from controller.power.alarms import TABLE, AlarmKind, kind_of
from controller.power.decide import decide
from controller.power.image import Answered, Image
from controller.power.instructions import (
    ClearOperatorCap,
    Instruction,
    ReleaseOrder,
    SetOperatorCap,
    TagMiner,
    UntagMiner,
)
from controller.power.site import DispatchPolicy
from controller.power.state import State
from controller.power.targets import command_for
from drivers.contract.commands import RefusalReason, Refused
from tests.unit.power.toy import Toy, build

RELEASE = ReleaseOrder(order_id="o1", issuer="kegoc")


@pytest.fixture(scope="module")
def lived() -> Toy:
    """A site in the middle of things: deaf and lying miners, an order, a town, a tag."""
    toy = build(deaf=3, liars=2, dispatch=DispatchPolicy(node_id="plant"))
    toy.run(60, toy.order(percent=40))
    toy.run(20, TagMiner(miner_id="m00007", by="aida", reason="fan"))
    toy.run(15, RELEASE)
    toy.run(8, toy.order("o2", percent=70), toy.order("o3", cap_w=0.0, node_id="f1", in_s=600))
    return toy


def frozen(value: object) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


def test_the_same_arguments_give_the_same_decision(lived: Toy) -> None:
    image = lived.image(())
    before = frozen(lived.state)
    first = decide(lived.state, image, lived.site)
    second = decide(copy.deepcopy(lived.state), copy.deepcopy(image), lived.site)
    assert first == second
    assert frozen(first.state) == frozen(second.state)
    assert frozen(lived.state) == before, "the state that went in is not touched"


@pytest.mark.parametrize("journal", ["json", "msgpack"])
def test_a_journaled_state_is_the_same_state(lived: Toy, journal: str) -> None:
    if journal == "json":
        restored = msgspec.json.decode(msgspec.json.encode(lived.state), type=State)
    else:
        restored = msgspec.msgpack.decode(msgspec.msgpack.encode(lived.state), type=State)
    assert restored == lived.state
    image = lived.image(())
    assert decide(restored, image, lived.site) == decide(lived.state, image, lived.site)


def test_a_whole_day_is_the_same_from_its_journal() -> None:
    """Journaled and read back after every tick, the toy's day is the same, to the watt."""
    days = []
    for journaled in (False, True):
        toy = build(miners=30, deaf=1, seed=5)
        cap_w = 0.5 * toy.load_w
        for second in range(200):
            told: list[Instruction] = [toy.order(cap_w=cap_w)] if second == 5 else []
            toy.tick(*told, *([RELEASE] if second == 100 else []))
            if journaled:
                toy.state = msgspec.json.decode(msgspec.json.encode(toy.state), type=State)
        days.append((toy.loads_w, toy.state))
    assert days[0] == days[1]


def test_changed_targets_are_exactly_what_changed(lived: Toy) -> None:
    image = lived.image(())
    decision = decide(lived.state, image, lived.site)
    differing = {
        name
        for name, target in decision.state.targets.items()
        if lived.state.targets.get(name) != target
    }
    assert differing <= set(decision.changed_targets)
    quiet = decide(decision.state, replace(image, now_s=image.now_s), lived.site)
    assert len(quiet.changed_targets) < len(decision.state.targets)


def test_every_command_is_journaled_in_the_state_it_comes_with(lived: Toy) -> None:
    seen = 0
    for decision in lived.history:
        for issued in decision.commands:
            target = decision.state.targets[issued.miner_id]
            assert target.commanded_s == issued.commanded_s
            assert command_for(target) == issued.command
            assert decision.changed_targets[issued.miner_id] is target
            seen += 1
    assert seen > 100


@pytest.mark.parametrize(("late_s", "state"), [(0.0, "deaf"), (1.0, "curtailing")])
def test_an_answer_counts_for_its_own_command_alone(late_s: float, state: str) -> None:
    toy = build(miners=1)
    toy.tick(toy.order(cap_w=0.0))
    commanded_s = toy.state.targets["m00000"].commanded_s
    refused = Refused(reason=RefusalReason.UNAUTHORIZED, detail="password")
    toy.answered = [
        Answered(miner_id="m00000", commanded_s=commanded_s - late_s, outcome=refused),
        Answered(miner_id="nobody", commanded_s=commanded_s, outcome=refused),
    ]
    toy.tick()
    assert str(toy.state.targets["m00000"].state) == state


def test_a_tagged_miner_is_never_commanded() -> None:
    toy = build(miners=10)
    toy.tick(TagMiner(miner_id="m00003", by="aida", reason="fan"))
    toy.run(60, toy.order(cap_w=0.0))
    assert "m00003" not in toy.state.targets
    assert toy.miners["m00003"].now_w > 1000.0
    toy.run(60, UntagMiner(miner_id="m00003", by="aida"))
    assert toy.miners["m00003"].now_w < 100.0


def test_an_operator_cap_holds_until_he_lifts_it() -> None:
    toy = build(miners=30)
    full_w = toy.load_w
    toy.run(60, SetOperatorCap(node_id="plant", cap_w=0.0, by="aida", reason="storm"))
    assert toy.load_w < 10e3
    toy.run(150, ClearOperatorCap(node_id="plant", by="aida"))
    assert toy.load_w == pytest.approx(full_w, rel=0.01)


def test_nothing_is_started_while_the_journal_fails() -> None:
    toy = build(miners=30)
    toy.run(60, toy.order(cap_w=0.0))
    whole = toy.image
    toy.run(5, RELEASE)
    for _ in range(60):
        image = replace(whole(()), journal_failed=True)
        decision = decide(toy.state, image, toy.site)
        assert decision.commands == ()
        toy.state, toy.now_s = decision.state, toy.now_s + 1.0
    assert AlarmKind.JOURNAL_FAILED in toy.state.alarms


def test_an_empty_image_is_survived() -> None:
    """The first tick of a site whose network is down: nothing is known, nobody is asleep."""
    toy = build(miners=10)
    image = Image(now=toy.now, now_s=toy.now_s, meters={}, miners={})
    decision = decide(State(armed=("f1", "f2")), image, toy.site)
    assert decision.commands == ()
    rated_w = sum(miner.rated_power_w for miner in toy.site.miners.values())
    assert decision.nodes["plant"].settle_w == pytest.approx(1.08 * rated_w + 8e3)
    assert decision.nodes["plant"].measured_w is None


def test_monotonic_time_may_begin_at_zero() -> None:
    toy = build(miners=10)
    toy.now_s, toy.state = 0.0, State(armed=("f1", "f2"))
    toy.readings.clear()
    toy.run(40, toy.order(cap_w=0.0))
    toy.run(100, RELEASE)
    assert toy.load_w == pytest.approx(toy.full_w, rel=0.01)


def test_every_alarm_has_its_row_and_its_id_tells_its_kind() -> None:
    assert set(TABLE) == set(AlarmKind)
    assert kind_of("meter_bad:f1-meter") is AlarmKind.METER_BAD


def test_an_alarm_keeps_the_moment_it_was_raised(lived: Toy) -> None:
    decision = decide(lived.state, lived.image(()), lived.site)
    kept = decision.state.alarms.keys() & lived.state.alarms.keys()
    assert AlarmKind.NO_WATCHDOG in kept
    assert all(
        decision.state.alarms[name].since_at == lived.state.alarms[name].since_at for name in kept
    )
