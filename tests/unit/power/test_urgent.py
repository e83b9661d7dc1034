"""What must go at once goes from quick firmware, whoever asks for it."""

import pytest

from controller.power.instructions import SetOperatorCap
from tests.unit.power.toy import Toy, build, policy


def cut(toy: Toy) -> float:
    """The operator cuts the plant to 60 % now; returns the limit in W."""
    cap_w = 0.6 * toy.load_w
    toy.tick(SetOperatorCap(node_id="plant", cap_w=cap_w, by="test", reason="cut"))
    return cap_w


@pytest.mark.parametrize(("urgent_s", "under"), [(10.0, True), (1_000.0, False)])
def test_a_cut_without_an_order_takes_quick_miners_first(urgent_s: float, under: bool) -> None:
    """With `urgent_s` out of the way the worst J/TH goes first: stock Antminers, too late."""
    toy = build(miners=90, rules=policy(urgent_s=urgent_s))
    cap_w = cut(toy)
    toy.run(12)
    assert (toy.load_w <= 1.01 * cap_w) is under


def test_a_cut_is_held_and_not_overdone() -> None:
    toy = build(miners=90)
    cap_w = cut(toy)
    toy.run(90)
    largest_w = max(miner.miner.rated_power_w for miner in toy.miners.values())
    assert min(toy.loads_w[-30:]) >= 0.96 * cap_w - largest_w
    assert max(toy.loads_w[-30:]) <= 1.01 * cap_w
