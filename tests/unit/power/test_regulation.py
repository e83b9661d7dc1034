"""The control law on a toy plant: under every limit at the true meter, nothing shed twice."""

from dataclasses import dataclass, replace
from datetime import time, timedelta
from itertools import pairwise

import pytest
from msgspec import structs

from controller.power.alarms import AlarmKind
from controller.power.decide import MinerCommand, Phase, decide
from controller.power.instructions import (
    DisarmFeeder,
    ReleaseOrder,
    SetOperatorCap,
)
from controller.power.site import NodeKind, Site, Window
from controller.power.state import OrderStage, TargetState
from drivers.contract.quantities import Quality
from drivers.contract.readings import MinerReading
from tests.unit.power.toy import LARGEST_W, START, Toy, ToyMiner, build, over_s, policy, tree

MIXED = ("antminer-stock", "whatsminer-v2", "luxos")
RELEASE = ReleaseOrder(order_id="o1", issuer="kegoc")


def alarms_seen(toy: Toy) -> set[str]:
    return {alarm.partition(":")[0] for tick in toy.history for alarm in tick.state.alarms}


def rungs_seen(toy: Toy) -> int:
    rungs = (guard.rung for tick in toy.history for guard in tick.state.guards.values())
    return max(rungs, default=0)


def under_bound_w(cap_w: float) -> float:
    """As low as the load may go: 1 % margin, 1 % trim, half a percent of noise, and one miner."""
    return 0.975 * cap_w - LARGEST_W


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("firmwares", [MIXED, ("antminer-stock",), ("luxos",)])
def test_an_order_is_kept_at_the_meter_and_only_just(firmwares: tuple[str, ...], seed: int) -> None:
    toy = build(seed=seed, firmwares=firmwares, deaf=2)
    cap_w, begun = 0.6 * toy.load_w, len(toy.loads_w)
    slowest_s = toy.site.slowest_down_s
    toy.run(150, toy.order(percent=40))
    order = toy.state.orders["o1"]
    assert order.stage is OrderStage.VERIFIED
    assert order.cap_w == pytest.approx(cap_w, rel=0.005)
    assert order.t90_s is not None
    assert order.t90_s <= slowest_s + 3.0
    # 2 % are deaf: found once their firmware's time and 8 s are over, replaced by as slow a one
    settled = begun + int(2 * slowest_s + toy.site.policy.confirm_s) + 3
    assert over_s(toy, order.cap_w, settled) == 0
    assert min(toy.loads_w[begun:]) >= under_bound_w(order.cap_w)
    assert sum(target.state is TargetState.DEAF for target in toy.state.targets.values()) >= 1


@pytest.mark.parametrize("deaf", [5, 10])
def test_the_same_excess_is_never_shed_twice(deaf: int) -> None:
    """Neither guard nor trim may shed what deaf miners draw before it is known whose it is."""
    toy = build(firmwares=("antminer-stock",), deaf=deaf)
    begun = len(toy.loads_w)
    toy.run(200, toy.order(percent=40))
    cap_w = toy.state.orders["o1"].cap_w
    assert min(toy.loads_w[begun:]) >= under_bound_w(cap_w)
    assert toy.load_w <= 1.01 * cap_w


@pytest.mark.parametrize("seed", [1, 2])
def test_an_all_stock_antminer_fleet_is_not_called_disobedient(seed: int) -> None:
    toy = build(seed=seed, firmwares=("antminer-stock",))
    toy.run(120, toy.order(percent=40))
    assert toy.state.orders["o1"].stage is OrderStage.VERIFIED
    assert rungs_seen(toy) == 0
    assert alarms_seen(toy) == {AlarmKind.NO_WATCHDOG}


@pytest.mark.parametrize("recover_s", [1.0, 3.0])
def test_firmware_quicker_than_its_figures_does_not_look_like_room(recover_s: float) -> None:
    """Confirmed asleep before the model has them down: the difference is not headroom."""
    toy = build(firmwares=("antminer-stock",), rules=policy(recover_s=recover_s))
    for name, miner in toy.miners.items():
        toy.miners[name] = Quick(**vars(miner))
    cap_w, begun = 0.6 * toy.load_w, len(toy.loads_w)
    toy.run(150, toy.order(cap_w=cap_w))
    assert over_s(toy, cap_w, begun + 33) == 0
    assert not any(tick.allocation.wake for tick in toy.history)


@dataclass
class Quick(ToyMiner):
    """Obeys in a third of its firmware's time."""

    def step(self, now_s: float) -> None:
        super().step(self.moved_s + 3.0 * (now_s - self.moved_s))


def test_coming_back_never_outruns_the_ramp() -> None:
    toy = build()
    full_w = toy.load_w
    toy.run(90, toy.order(percent=40))
    begun = len(toy.loads_w)
    toy.run(260, RELEASE)
    assert toy.load_w == pytest.approx(full_w, rel=0.01)
    started_w = [tick.allocation.started_w for tick in toy.history[begun:]]
    ramp_w, credit_w = 5_000.0, max(5 * 5_000.0, 2 * 3306.0)
    for window in (1, 5, 10, 20):
        for first in range(len(started_w) - window):
            assert sum(started_w[first : first + window]) <= window * ramp_w + credit_w
    assert all(
        later - earlier <= 30 * ramp_w + credit_w
        for earlier, later in zip(toy.loads_w[begun:], toy.loads_w[begun + 30 :], strict=False)
    )
    assert toy.history[-1].phase is Phase.NORMAL


def test_nobody_is_started_before_every_descent_is_judged() -> None:
    toy = build()
    toy.run(4, toy.order(cap_w=0.0))
    begun = len(toy.history)
    toy.run(60, RELEASE)
    waking = [tick for tick in toy.history[begun:] if tick.allocation.wake]
    assert waking
    for tick in waking:
        assert all(load.down_until_s is None for load in tick.ledger.feeders.values())


@pytest.mark.parametrize("recover_s", [1.0, 25.0])
def test_headroom_must_last_before_the_first_start(recover_s: float) -> None:
    toy = build(firmwares=("luxos",), rules=policy(recover_s=recover_s))
    toy.run(60, toy.order(cap_w=0.0))
    begun = len(toy.history)
    toy.run(40, RELEASE)
    first = next(i for i, tick in enumerate(toy.history[begun:]) if tick.allocation.wake)
    assert first == recover_s


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("firmwares", [MIXED, ("antminer-stock",), ("whatsminer-v2",)])
def test_a_raised_cap_is_reached_without_passing_it(firmwares: tuple[str, ...], seed: int) -> None:
    toy = build(seed=seed, firmwares=firmwares)
    full_w = toy.load_w
    toy.run(60, toy.order(cap_w=0.0))
    begun, cap_w = len(toy.loads_w), 0.6 * full_w
    toy.run(360, toy.order("o2", cap_w=cap_w))
    assert over_s(toy, cap_w, begun) == 0
    assert toy.load_w >= 0.98 * cap_w - 2 * LARGEST_W - 0.01 * toy.site.nodes["plant"].rating_w
    assert not any(tick.allocation.sleep for tick in toy.history[begun + 1 :]), "no flapping"


@pytest.mark.parametrize("slow", [3.0, 10.0])
def test_miners_slow_to_wake_keep_their_room(slow: float) -> None:
    toy = build()
    full_w = toy.load_w
    toy.run(60, toy.order(cap_w=0.0))
    for miner in toy.miners.values():
        miner.slow = slow
    begun = len(toy.loads_w)
    toy.run(900, toy.order("o2", cap_w=0.6 * full_w))
    assert over_s(toy, 0.6 * full_w, begun) == 0
    assert toy.load_w >= 0.55 * full_w


def test_miners_curtailed_while_they_boot_come_back_by_ramp() -> None:
    """After an outage all draw a little; each will come back to its nameplate, not to that."""
    toy = build(firmwares=("whatsminer-v2", "luxos"))
    for name, miner in toy.miners.items():
        toy.miners[name] = booting = Booting(**vars(miner))
        booting.from_w = booting.to_w = 400.0
    toy.run(20)
    toy.run(60, toy.order(cap_w=0.0))
    assert toy.load_w < 20e3
    begun = len(toy.loads_w)
    toy.run(200, RELEASE)
    assert max(tick.allocation.started_w for tick in toy.history[begun:]) <= 25_000.0
    for window in (10, 30):
        assert all(
            later - earlier <= window * 5_000.0 + 25_000.0
            for earlier, later in zip(
                toy.loads_w[begun:], toy.loads_w[begun + window :], strict=False
            )
        )
    assert toy.load_w == pytest.approx(toy.full_w, rel=0.01)


@dataclass
class Booting(ToyMiner):
    """Says that it hashes as soon as its board is up."""

    def read(self, now_s: float) -> MinerReading:
        return structs.replace(super().read(now_s), hashing=self.now_w > 100.0)


def test_liars_are_found_by_the_meter_and_others_go_in_their_place() -> None:
    toy = build(liars=10)
    cap_w, begun = 0.5 * toy.load_w, len(toy.loads_w)
    toy.run(150, toy.order(cap_w=cap_w))
    assert over_s(toy, cap_w, begun + 100) == 0
    assert toy.state.orders["o1"].stage is OrderStage.VERIFIED
    assert toy.state.feeders["f1"].bias_w is not None
    drawn_w = sum(miner.now_w for miner in toy.miners.values() if miner.lies)
    learnt_w = sum(feeder.bias_w or 0.0 for feeder in toy.state.feeders.values())
    assert drawn_w > 0.0
    assert learnt_w == pytest.approx(drawn_w, rel=0.2)


def test_a_limit_that_nobody_can_hold_is_alarmed() -> None:
    toy = build(liars=100)
    toy.run(150, toy.order(cap_w=0.5 * toy.load_w))
    assert f"{AlarmKind.OVER_LIMIT}:plant" in toy.state.alarms
    assert toy.state.orders["o1"].stage is OrderStage.FAILED


def test_a_miner_that_talks_nonsense_costs_nobody_else() -> None:
    toy = build()
    full_w = toy.load_w
    mad = next(iter(toy.miners))
    toy.miners[mad] = Mad(**vars(toy.miners[mad]))
    toy.run(60)
    assert toy.load_w == pytest.approx(full_w)


@dataclass
class Mad(ToyMiner):
    """Says that it draws a gigawatt."""

    def read(self, now_s: float) -> MinerReading:
        return structs.replace(super().read(now_s), power_w=1e9)


def test_unreachable_miners_do_not_delay_the_others() -> None:
    toy = build(firmwares=("luxos",))
    for miner in list(toy.miners.values())[:50]:
        miner.answers = False
    toy.tick()
    cap_w, begun = 0.7 * toy.load_w, len(toy.loads_w)
    toy.run(30, toy.order(cap_w=cap_w))
    assert over_s(toy, cap_w, begun + 7) == 0
    assert all(toy.miners[command.miner_id].answers for command in issued(toy, begun))


def issued(toy: Toy, since: int) -> list[MinerCommand]:
    return [command for tick in toy.history[since:] for command in tick.commands]


def test_only_armed_feeders_are_commanded_and_the_rest_is_proposed() -> None:
    toy = build(armed=("f1",))
    toy.run(60, toy.order(cap_w=0.2 * toy.load_w))
    commanded = {c.miner_id for tick in toy.history for c in tick.commands}
    assert {toy.site.miners[name].node_id for name in commanded} == {"f1"}
    proposed = {name for tick in toy.history for name in tick.allocation.proposed_sleep}
    assert {toy.site.miners[name].node_id for name in proposed} == {"f2"}


def test_a_site_that_only_observes_sends_nothing() -> None:
    toy = build(armed=())
    toy.run(60, toy.order(cap_w=0.0))
    assert issued(toy, 0) == []
    assert toy.history[-1].phase is Phase.OBSERVE


def test_an_unarmed_feeder_over_its_limit_does_not_keep_the_other_asleep() -> None:
    toy = build()
    full_w = toy.load_w
    toy.run(60, toy.order(cap_w=0.0, node_id="f2"))
    limit = SetOperatorCap(node_id="f1", cap_w=1e3, by="aida", reason="work")
    toy.run(20, DisarmFeeder(node_id="f1", by="aida"), limit)
    toy.run(200, RELEASE)
    assert toy.load_w == pytest.approx(full_w, rel=0.01)


def peak(site: Site, minutes: int, cap_w: float) -> Window:
    local = (START + timedelta(minutes=minutes)).astimezone(site.timezone)
    until = (local + timedelta(hours=1)).time()
    return Window(window_id="peak", node_id="plant", cap_w=cap_w, since=local.time(), until=until)


@pytest.mark.parametrize("share", [0.0, 0.4, 0.8])
@pytest.mark.parametrize("firmwares", [MIXED, ("antminer-stock",)])
def test_a_planned_peak_arrives_on_time_and_not_much_earlier(
    firmwares: tuple[str, ...], share: float
) -> None:
    toy = build(firmwares=firmwares, rules=policy(ramp_down_w_per_s=4_000.0))
    full_w = toy.load_w
    cap_w = share * full_w
    toy.site = replace(toy.site, windows=(peak(toy.site, 5, cap_w),))
    opens = 300 - int((toy.now - START).total_seconds()) + len(toy.loads_w)
    toy.run(340)
    floor_w = max(cap_w, toy.history[-1].nodes["plant"].floor_w)
    assert over_s(toy, floor_w, opens) == 0
    lead = int((full_w - cap_w) / 4_000.0) + int(toy.site.slowest_down_s) + 4
    assert min(toy.loads_w[: opens - lead]) >= full_w - 1.0
    falls = [earlier - later for earlier, later in pairwise(toy.loads_w)]
    assert sum(fall > 0 for fall in falls) > 0
    assert not any(tick.allocation.wake for tick in toy.history)


def test_nobody_is_started_into_a_planned_peak() -> None:
    toy = build()
    toy.run(60, toy.order(cap_w=0.3 * toy.load_w))
    toy.site = replace(toy.site, windows=(peak(toy.site, 2, 0.0),))
    begun = len(toy.history)
    toy.run(40, RELEASE)
    assert not any(tick.allocation.wake for tick in toy.history[begun:])


def test_mining_makes_room_for_the_town_and_comes_back() -> None:
    rating_w = 350e3
    toy = build(nodes=tree(town_rating_w=rating_w))
    begun_s, full_w = toy.now_s, toy.load_w

    def town_w(now_s: float) -> float:
        """20 kW; rises to 170 kW at 500 W a second from 100 s on; falls at 500 s."""
        gone_s = now_s - begun_s
        return 20e3 + (min(150e3, max(0.0, gone_s - 100.0) * 500.0) if gone_s < 500 else 0.0)

    toy.town_w = town_w
    begun = len(toy.loads_w)
    totals_w = []
    for _ in range(900):
        toy.tick()
        totals_w.append(toy.load_w + town_w(toy.now_s - 1.0))
    assert max(totals_w) <= 1.05 * rating_w  # 500 W/s for the 30 s that a stock Antminer takes
    assert max(totals_w[440:]) <= rating_w
    assert toy.loads_w[begun + 480] <= 0.65 * full_w
    assert toy.load_w >= 0.97 * full_w
    assert toy.history[begun + 480].nodes["t1"].limit.cap.cap_id == "rating:t1"


def test_a_town_step_never_leaves_the_transformer_over_its_rating() -> None:
    toy = build(firmwares=("luxos",), nodes=tree(town_rating_w=350e3))
    toy.run(20)
    toy.town_w = lambda _now_s: 180e3
    begun = len(toy.loads_w)
    toy.run(120)
    assert max(toy.loads_w[begun + 8 :]) + 180e3 <= 1.01 * 350e3
    assert min(toy.loads_w[begun:]) >= under_bound_w(350e3 - 180e3)


def test_without_a_meter_no_starts_and_the_estimate_is_raised() -> None:
    toy = build()
    toy.run(90, toy.order(percent=40))
    toy.bad_meter = lambda name, _now_s: Quality.BAD if name == "f1" else Quality.GOOD
    begun = len(toy.history)
    decision = toy.run(30, RELEASE)
    assert not any(
        toy.site.miners[name].node_id == "f1"
        for tick in toy.history[begun:]
        for name in tick.allocation.wake
    )
    load = decision.ledger.feeders["f1"]
    assert decision.nodes["f1"].settle_w >= 4_000.0 + 1.08 * load.model_end_w
    assert decision.nodes["f1"].measured_w is None
    assert decision.nodes["plant"].measured_w is None
    assert f"{AlarmKind.METER_BAD}:f1-meter" in decision.state.alarms
    toy.bad_meter = lambda _name, _now_s: Quality.GOOD
    toy.run(200)
    assert toy.load_w == pytest.approx(toy.full_w, rel=0.01)


def test_a_meter_never_read_is_alarmed() -> None:
    toy = build(miners=6)
    decision = decide(toy.state, replace(toy.image(()), meters={}), toy.site)
    assert f"{AlarmKind.METER_BAD}:f1-meter" in decision.state.alarms
    assert set(decision.state.meter_lost_s) == {"f1", "f2"}


def test_racks_and_feeders_without_miners_do_no_harm() -> None:
    rack = replace(
        tree()[0], node_id="r1", kind=NodeKind.RACK, parent="f1", rating_w=10e3, meter_id=None
    )
    toy = build(miners=0, nodes=[*tree(), rack])
    decision = toy.run(30, toy.order(cap_w=0.0))
    assert decision.commands == ()
    assert toy.state.orders["o1"].stage is OrderStage.VERIFIED


def test_miners_removed_while_curtailed_come_back_when_they_return() -> None:
    toy = build()
    toy.run(60, toy.order(cap_w=0.0))
    gone = "m00002"
    whole = toy.site
    toy.site = replace(whole, miners={n: m for n, m in whole.miners.items() if n != gone})
    toy.run(200, RELEASE)
    assert toy.miners[gone].now_w < 100.0
    toy.site = whole
    toy.run(60)
    assert toy.miners[gone].now_w == pytest.approx(toy.miners[gone].true_w)


def test_the_window_of_a_cap_is_local_time() -> None:
    toy = build(miners=6)
    window = Window(
        window_id="w", node_id="plant", cap_w=0.0, since=time(15, 0), until=time(15, 30)
    )
    toy.site = replace(toy.site, windows=(window,))  # START is 15:00 in Bishkek
    assert toy.tick().nodes["plant"].limit.cap.cap_id == "window:w"
