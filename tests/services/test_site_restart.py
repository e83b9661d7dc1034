"""A restart resumes the same order at the same place, and sends again what may not have left."""

from dataclasses import replace

from controller.app.site import in_flight
from controller.channel.view import UncapNode
from controller.cli.scenario.virtual_time import run_virtual
from controller.power.state import OrderStage, TargetState
from drivers.contract.commands import Sleep, Wake
from tests.services.site_ground import Ground, armed, limit, lowering, states


def killed(ground):
    """As kill -9 leaves it: nothing said, nothing cancelled in order."""
    ground.journal.close()
    return ground.miners


def test_a_restart_resumes_the_order_and_the_targets(tmp_path):
    place = tmp_path / "journal.db"

    async def story():
        ground = await armed(place=place)
        ground.acts.put(lowering(ground, 30e3))
        await ground.tick(2)
        before = ground.ticker.state
        assert before.orders["o1"].stage is OrderStage.DELIVERING
        again = Ground(place=place, plant=killed(ground))
        state = again.ticker.state
        assert state.orders["o1"] == before.orders["o1"]
        assert state.targets == before.targets
        assert state.armed == ("f1",)
        await again.tick(15)
        order = again.ticker.state.orders["o1"]
        assert order.stage is OrderStage.VERIFIED
        assert order.cap_w == 30e3
        assert again.load_w <= 30e3
        again.journal.close()

    run_virtual(story())


def test_commands_in_flight_are_sent_again(tmp_path):
    place = tmp_path / "journal.db"

    async def story():
        ground = await armed(place=place)
        ground.acts.put(lowering(ground, 30e3))
        ground.actuator.give = _nothing  # killed between the journal and the first command
        await ground.tick(1)
        assert ground.what("command") == []
        again = Ground(place=place, plant=killed(ground))
        repeated = list(in_flight(again.ticker.state, again.site, again.clock.monotonic_s()))
        assert {c.miner_id for c in repeated} == set(again.ticker.state.targets)
        assert {type(c.command) for c in repeated} == {Sleep}
        await again.actuator.give(repeated)
        await again.tick(10)
        assert again.load_w <= 30e3
        again.journal.close()

    run_virtual(story())


async def _nothing(_commands):
    return None


def test_a_restart_wakes_only_what_is_still_on_its_way():
    async def story():
        ground = await armed()
        await ground.asked(limit(10e3))
        await ground.tick(15)
        await ground.asked(UncapNode(node_id="plant", by="operator"))
        while TargetState.RESTORING not in states(ground).values():
            await ground.tick(1)
        state, now_s = ground.ticker.state, ground.clock.monotonic_s()
        rising = {n for n, s in states(ground).items() if s is TargetState.RESTORING}
        young = list(in_flight(state, ground.site, now_s))
        assert {c.miner_id for c in young if isinstance(c.command, Wake)} == rising
        for later_s in (now_s + 60.0, None):
            again = in_flight(state, ground.site, later_s)
            assert [c for c in again if isinstance(c.command, Wake)] == []

    run_virtual(story())


def test_a_restart_commands_no_tagged_miner_and_no_disarmed_feeder():
    async def story():
        ground = await armed()
        ground.acts.put(lowering(ground, 10e3))
        await ground.tick(1)
        state, now_s = ground.ticker.state, ground.clock.monotonic_s()
        falling = {c.miner_id for c in in_flight(state, ground.site, now_s)}
        first = min(falling)
        tagged = replace(state, tags={first: "Azamat: fan"})
        assert {c.miner_id for c in in_flight(tagged, ground.site, now_s)} == falling - {first}
        observed = replace(state, armed=())
        assert list(in_flight(observed, ground.site, now_s)) == []

    run_virtual(story())


def test_a_miner_gone_from_the_inventory_is_forgotten(tmp_path):
    place = tmp_path / "journal.db"

    async def story():
        ground = await armed(place=place)
        ground.acts.put(lowering(ground, 1e3))
        await ground.tick(10)
        assert len(ground.ticker.state.targets) == 20
        killed(ground)
        smaller = Ground(place=place, miners=12)
        assert len(smaller.ticker.state.targets) == 12
        await smaller.tick(2)
        smaller.journal.close()
        grown = Ground(place=place, miners=20)
        assert len(grown.ticker.state.targets) == 12, "back again it begins as a new miner"
        grown.journal.close()

    run_virtual(story())
