"""The tick on a virtual clock: journal before commands, nothing queued, nothing forgotten."""

import asyncio

import pytest

from controller.channel.frames import RequestRefused
from controller.channel.view import Done, Tag, UncapNode
from controller.cli.scenario.virtual_time import run_virtual
from controller.power.decide import decide
from controller.power.instructions import ArmFeeder
from controller.power.state import OrderStage, TargetState
from controller.site import tick as tick_module
from drivers.contract.commands import RefusalReason, Refused
from tests.services.site_ground import (
    AUXILIARY_W,
    FULL_W,
    Ground,
    arm,
    armed,
    asleep,
    limit,
    lowering,
    states,
)


def test_nothing_is_commanded_before_the_journal_has_it():
    async def story():
        ground = await armed()
        ground.log.clear()
        await ground.asked(limit(30e3))
        await ground.tick(10)
        assert asleep(ground)
        journaled = set()
        for entry in ground.log:
            if entry[0] == "journal":
                journaled |= {
                    (name, target.state)
                    for name, target in entry[1].changed_targets.items()
                    if target is not None
                }
            else:
                wanted = TargetState.CURTAILING if entry[2] == "Sleep" else TargetState.RESTORING
                assert (entry[1], wanted) in journaled, f"{entry} left before it was journaled"
        assert ground.load_w <= 30e3

    run_virtual(story())


def test_observing_commands_nobody_and_says_what_it_would_do():
    async def story():
        ground = Ground()
        await ground.tick(3)
        await ground.asked(limit(30e3))
        await ground.tick(10)
        assert ground.what("command") == []
        assert ground.images[-1].mode == "observe"
        assert ground.images[-1].proposed > 0

    run_virtual(story())


def test_a_journal_that_fails_lets_sleep_leave():
    async def story():
        ground = await armed()
        ground.journal.broken = True
        order = lowering(ground, 30e3)
        ground.acts.put(order)
        await ground.tick(12)
        assert {entry[2] for entry in ground.what("command")} == {"Sleep"}
        assert ground.load_w <= 30e3
        assert "journal_failed" in ground.ticker.state.alarms
        assert any(alarm.alarm_id == "journal_failed" for alarm in ground.images[-1].alarms)

    run_virtual(story())


def test_a_journal_that_fails_lets_nothing_wake_until_it_is_mended():
    async def story():
        ground = await armed()
        await ground.asked(limit(30e3))
        await ground.tick(15)
        sleeping = asleep(ground)
        assert sleeping
        await ground.asked(UncapNode(node_id="plant", by="operator"))
        ground.journal.broken = True
        ground.log.clear()
        await ground.tick(30)
        assert ground.what("command") == []
        assert asleep(ground) == sleeping
        assert set(states(ground).values()) == {TargetState.CURTAILED}
        ground.journal.broken = False
        await ground.tick(40)
        assert asleep(ground) == []
        assert "journal_failed" not in ground.ticker.state.alarms

    run_virtual(story())


@pytest.mark.parametrize(
    "act",
    [arm(), limit(1e3), Tag(miner_id="m00", reason="fan", by="operator")],
    ids=["arm", "cap", "tag"],
)
def test_an_act_that_is_not_journaled_is_refused_and_does_not_count(act):
    async def story():
        ground = Ground()
        await ground.tick(3)
        ground.journal.broken = True
        with pytest.raises(RequestRefused, match=r"not journaled, so not done: .*disk is full"):
            await ground.asked(act)
        state = ground.ticker.state
        assert (state.armed, dict(state.operator_caps), dict(state.tags)) == ((), {}, {})
        ground.journal.broken = False
        await ground.tick(3)
        state = ground.ticker.state
        assert (state.armed, dict(state.operator_caps), dict(state.tags)) == ((), {}, {})
        events = await ground.journal.recent_events(50)
        assert not [event for event in events if event.kind == "operator"]

    run_virtual(story())


def test_what_happened_while_the_journal_failed_is_stored_once_it_is_mended(tmp_path):
    place = tmp_path / "journal.db"

    async def story():
        ground = await armed(place=place)
        ground.journal.broken = True
        ground.acts.put(lowering(ground, 30e3))
        await ground.tick(20)
        held = states(ground)
        assert TargetState.CURTAILED in held.values()
        ground.journal.broken = False
        await ground.tick(1)
        ground.journal.close()
        again = Ground(place=place)
        assert states(again) == held, "a restart would take sleeping miners for running ones"
        assert [o.order_id for o in await again.journal.recent_orders(5)] == ["o1"]
        texts = [event.detail["text"] for event in await again.journal.recent_events(50)]
        assert any(text.startswith("order o1 of ndc") for text in texts)
        again.journal.close()

    run_virtual(story())


def test_a_disk_that_hangs_does_not_hold_the_load_up():
    async def story():
        ground = await armed()
        ground.journal.hangs = True
        ground.acts.put(lowering(ground, 30e3))
        begun_s = ground.clock.monotonic_s()
        await ground.tick(1)
        assert ground.clock.monotonic_s() - begun_s < 5.0
        assert {entry[2] for entry in ground.what("command")} == {"Sleep"}

    run_virtual(story())


def test_an_act_is_answered_only_after_it_is_journaled():
    async def story():
        ground = Ground()
        await ground.tick(2)
        answer = asyncio.create_task(ground.acts._do(limit(40e3)))
        await asyncio.sleep(5.0)
        assert not answer.done(), "no tick, no answer"
        await ground.tick(1)
        assert await answer == Done(detail="plant is limited to 40.0 kW")
        assert ground.what("journal")[-1][1].state.operator_caps["plant"].cap_w == 40e3

    run_virtual(story())


class Breaking:
    """Stands in for `decide`: raises for the next `times` calls, then is `decide` again."""

    def __init__(self, monkeypatch, times):
        self.times, self.calls = times, 0
        monkeypatch.setattr(tick_module, "decide", self)

    def __call__(self, state, image, site):
        self.calls += 1
        if self.times > 0:
            self.times -= 1
            raise ZeroDivisionError("a bug")
        return decide(state, image, site)


async def run_for(ground, seconds):
    """Let the ticker run by itself, with fresh readings all the time."""
    ticking = asyncio.create_task(ground.ticker.run())
    for _ in range(int(seconds * 2)):
        if ticking.done():
            break
        ground.read_all()
        await asyncio.sleep(0.5)
    return ticking


async def ended(ticking):
    ticking.cancel()
    return (await asyncio.gather(ticking, return_exceptions=True))[0]


def test_one_tick_that_fails_is_counted_and_loses_nothing(monkeypatch):
    async def story():
        ground = Ground()
        await ground.tick(2)
        Breaking(monkeypatch, 1)
        answer = asyncio.create_task(ground.acts._do(limit(40e3)))
        await asyncio.sleep(0)
        ticking = await run_for(ground, 5)
        assert isinstance(await ended(ticking), asyncio.CancelledError)
        assert ground.ticker.ticks_failed == 1
        assert ground.images[-1].tick.failed == 1
        assert await answer == Done(detail="plant is limited to 40.0 kW")
        assert ground.ticker.state.operator_caps["plant"].cap_w == 40e3

    run_virtual(story())


def test_an_instruction_that_ticks_fail_with_is_dropped_and_refused(monkeypatch):
    async def story():
        ground = Ground()
        await ground.tick(2)

        def poisoned(state, image, site):
            if image.instructions:
                raise ZeroDivisionError("this one cannot be carried out")
            return decide(state, image, site)

        monkeypatch.setattr(tick_module, "decide", poisoned)
        answer = asyncio.create_task(ground.acts._do(limit(40e3)))
        await asyncio.sleep(0)
        ticking = await run_for(ground, 10)
        assert isinstance(await ended(ticking), asyncio.CancelledError), "the site goes on"
        assert ground.ticker.ticks_failed == 3
        with pytest.raises(RequestRefused, match="could not carry it out"):
            await answer

    run_virtual(story())


def test_five_ticks_that_fail_end_the_run(monkeypatch):
    async def story():
        ground = Ground()
        Breaking(monkeypatch, 100)
        ticking = await run_for(ground, 10)
        assert isinstance(await ended(ticking), ZeroDivisionError)
        assert ground.ticker.ticks_failed == 5

    run_virtual(story())


def test_four_and_a_good_one_do_not(monkeypatch):
    async def story():
        ground = Ground()
        breaking = Breaking(monkeypatch, 4)
        ticking = await run_for(ground, 6)
        breaking.times = 4
        await run_for_more(ground, 6)
        assert not ticking.done()
        assert ground.ticker.ticks_failed == 8
        await ended(ticking)

    run_virtual(story())


async def run_for_more(ground, seconds):
    for _ in range(int(seconds * 2)):
        ground.read_all()
        await asyncio.sleep(0.5)


def test_a_tick_that_overruns_is_skipped_and_counted_never_queued():
    async def story():
        ground = Ground()
        await ground.tick(2)
        step, starts, slow = ground.ticker.step, [], {3: 2.5}

        async def watched():
            starts.append(ground.clock.monotonic_s())
            decision = await step()
            await asyncio.sleep(slow.get(len(starts), 0.0))
            return decision

        ground.ticker.step = watched
        ticking = await run_for(ground, 9.9)
        await ended(ticking)
        begun = [round(start - starts[0], 2) for start in starts]
        assert begun == [0, 1, 2, 5, 6, 7, 8, 9], "the grid is kept, what was missed is left out"
        assert ground.ticker.ticks_skipped == 2
        assert ground.images[-1].tick.skipped == 2
        assert "ticks_skipped" in ground.ticker.state.alarms

    run_virtual(story())


def test_the_miners_of_an_order_are_read_at_its_pace():
    async def story():
        ground = await armed()
        await ground.asked(limit(30e3))
        await ground.tick(2)
        assert ground.poll._hastened == frozenset(ground.ticker.state.targets)
        assert ground.poll._hastened

    run_virtual(story())


def test_a_site_without_readings_ticks_and_claims_nothing():
    async def story():
        ground = Ground()
        for miner in ground.miners.values():
            miner.silent = True
        ground.meter_lost = True
        await ground.tick(3)
        image = ground.images[-1]
        root = next(node for node in image.nodes if node.node_id == "plant")
        assert root.measured_w is None
        assert root.expected_w == pytest.approx(FULL_W * 1.08, rel=0.1)
        assert root.expected_w > AUXILIARY_W, "never read is not asleep"

    run_virtual(story())


def test_a_deaf_miner_costs_only_itself():
    async def story():
        ground = Ground()
        ground.miners["m00"].deaf = True
        ground.acts.put(ArmFeeder(node_id="f1", by="test"))
        ground.acts.put(lowering(ground, 20e3))
        await ground.tick(40)
        assert ground.load_w <= 20e3 * 1.01
        assert ground.ticker.state.orders["o1"].stage is OrderStage.VERIFIED

    run_virtual(story())


def test_what_a_driver_answered_reaches_the_decision_even_when_a_tick_fails(monkeypatch):
    async def story():
        ground = await armed()

        async def refuse(_command):
            return Refused(reason=RefusalReason.UNAUTHORIZED, detail="401")

        for miner in ground.miners.values():
            miner.apply = refuse
        ground.acts.put(lowering(ground, 10e3))
        await ground.tick(1)
        with monkeypatch.context() as patch:
            Breaking(patch, 1)
            with pytest.raises(ZeroDivisionError):
                await ground.tick(1)
        await ground.tick(1)
        refused = [t for t in ground.ticker.state.targets.values() if "401" in t.why]
        assert refused
        assert {target.state for target in refused} == {TargetState.DEAF}

    run_virtual(story())
