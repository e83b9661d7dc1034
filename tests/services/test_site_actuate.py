"""The actuator, on a virtual clock: nothing waits for anything but its own miner."""

import asyncio

import pytest

from controller.cli.scenario.virtual_time import VirtualClock, run_virtual
from controller.power.decide import MinerCommand
from controller.site.actuate import MASS, Actuator
from controller.site.slots import MinerSlots, Slots
from drivers.contract.commands import Applied, RefusalReason, Refused, Sleep, Unconfirmed, Wake
from tests.services.site_ground import START, TrueMiner


class Court:
    """Miners and an actuator; `log` holds when each command reached its miner."""

    def __init__(self, count=1, guard=None, **script):
        self.clock, self.log = VirtualClock(START), []
        self.miners = {
            f"m{i}": TrueMiner(f"m{i}", self.clock, self.log, **script) for i in range(count)
        }
        self.slots = Slots(miners=MinerSlots(), meters={})
        self.actuator = Actuator(self.miners, self.slots, guard)

    async def give(self, *commands):
        now_s = self.clock.monotonic_s()
        await self.actuator.give(
            MinerCommand(miner_id=name, command=command, commanded_s=now_s)
            for name, command in commands
        )


class Guard:
    """Takes Sleeps as it is told to, and answers when it is told."""

    def __init__(self, *, takes=lambda _: True, answers_s=0.0):
        self.takes, self.answers_s, self.is_there = takes, answers_s, True
        self.handed, self.fails, self._told = [], None, None

    def takes_sleeps(self):
        return self.is_there

    async def curtail(self, sleeps, miners, told):
        self.handed.append([command.miner_id for command in sleeps])
        self.commands, self._told = {c.miner_id: c for c in sleeps}, told
        await asyncio.sleep(self.answers_s)
        if self.fails is not None:
            raise self.fails
        return {name for name in self.commands if self.takes(name)}

    def says(self, name, outcome):
        self._told(self.commands[name], outcome)


def test_a_hundred_slow_commands_do_not_delay_the_next():
    court = Court(101, answers_s=21.0)
    court.miners["m100"].answers_s = 0.1

    async def story():
        await court.give(*((f"m{i}", Sleep()) for i in range(100)))
        assert court.actuator.under_way == 100
        await asyncio.sleep(1.0)
        await court.give(("m100", Sleep()))
        await asyncio.sleep(0.2)
        answered = court.slots.take_answered()
        assert [a.miner_id for a in answered] == ["m100"]
        assert court.clock.monotonic_s() == pytest.approx(1.2)
        await asyncio.sleep(21.0)
        assert len(court.slots.take_answered()) == 100

    run_virtual(story())


def test_one_command_under_way_and_the_newest_waits():
    court = Court(answers_s=10.0)

    async def story():
        for command in (Sleep(), Wake(), Sleep(), Wake(power_limit_w=2000.0)):
            await court.give(("m0", command))
            await asyncio.sleep(1.0)
        assert court.actuator.under_way == 1
        assert court.miners["m0"].commands == [Sleep()]
        await asyncio.sleep(20.0)
        assert court.miners["m0"].commands == [Sleep(), Wake(power_limit_w=2000.0)]
        answered = court.slots.take_answered()
        assert [a.commanded_s for a in answered] == pytest.approx([0.0, 3.0])
        assert court.slots.take_answered() == (), "each is handed out once"

    run_virtual(story())


def test_a_driver_with_a_bug_may_have_been_heard():
    court = Court(2)
    court.miners["m0"].fails = KeyError("STATUS")

    async def story():
        await court.give(("m0", Sleep()), ("m1", Sleep()))
        await asyncio.sleep(1.0)
        outcomes = {a.miner_id: a.outcome for a in court.slots.take_answered()}
        assert outcomes["m0"] == Unconfirmed(detail="driver: KeyError('STATUS')")
        assert outcomes["m1"] == Applied()
        court.miners["m0"].fails = None
        await court.give(("m0", Sleep()))
        await asyncio.sleep(1.0)
        assert court.slots.take_answered()[0].outcome == Applied()

    run_virtual(story())


def test_a_hung_driver_is_given_up_and_its_waiting_command_goes():
    court = Court(answers_s=1e9)

    async def story():
        await court.give(("m0", Sleep()))
        await court.give(("m0", Wake()))
        await asyncio.sleep(179.0)
        court.miners["m0"].answers_s = 0.1
        assert court.slots.take_answered() == ()
        await asyncio.sleep(2.0)
        first, second = court.slots.take_answered()
        assert isinstance(first.outcome, Unconfirmed)
        assert second.outcome == Applied()

    run_virtual(story())


def test_a_refusal_is_a_fact_for_the_tick():
    court = Court()
    refused = Refused(reason=RefusalReason.UNAUTHORIZED, detail="401")

    async def say(_command):
        return refused

    court.miners["m0"].apply = say

    async def story():
        await court.give(("m0", Sleep()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [a.outcome for a in court.slots.take_answered()] == [refused]

    run_virtual(story())


def test_a_miner_gone_from_the_inventory_is_not_commanded():
    court = Court()

    async def story():
        await court.give(("gone", Sleep()), ("m0", Sleep()))
        await asyncio.sleep(1.0)
        assert [entry[1] for entry in court.log] == ["m0"]

    run_virtual(story())


def test_the_end_stops_waiting_and_begins_nothing():
    court = Court(3, answers_s=50.0)

    async def story():
        await court.give(*((name, Sleep()) for name in court.miners))
        await court.give(*((name, Wake()) for name in court.miners))
        await asyncio.sleep(1.0)
        await court.actuator.close()
        assert court.actuator.under_way == 0
        await asyncio.sleep(100.0)
        assert {entry[2] for entry in court.log} == {"Sleep"}

    run_virtual(story())


def test_a_wave_lets_the_loop_breathe():
    court = Court(1000)

    async def story():
        turns = 0

        async def other():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(other())
        await court.give(*((name, Sleep()) for name in court.miners))
        assert turns >= 10
        beside.cancel()
        await asyncio.gather(beside, return_exceptions=True)
        await court.actuator.close()

    run_virtual(story())


def all_asleep(court):
    return [(name, Sleep()) for name in court.miners]


def test_many_sleeps_go_to_the_guard_and_its_outcomes_are_the_ticks_facts():
    guard = Guard()
    court = Court(MASS, guard)

    async def story():
        await court.give(*all_asleep(court))
        assert court.actuator.under_way == MASS
        assert guard.handed == [list(court.miners)]
        guard.says("m0", Applied(persistent_writes=1))
        guard.says("m1", Refused(reason=RefusalReason.BUSY, detail="busy"))
        guard.says("m2", Unconfirmed(detail="no answer"))
        outcomes = {a.miner_id: a.outcome for a in court.slots.take_answered()}
        assert outcomes == {
            "m0": Applied(persistent_writes=1),
            "m1": Refused(reason=RefusalReason.BUSY, detail="busy"),
            "m2": Unconfirmed(detail="no answer"),
        }
        await asyncio.sleep(1.0)
        assert court.log == [], "no driver has said a word"
        assert court.actuator.under_way == MASS - 3

    run_virtual(story())


def test_few_sleeps_and_every_wake_are_the_drivers():
    guard = Guard()
    court = Court(MASS, guard)

    async def story():
        await court.give(*all_asleep(court)[1:], ("m0", Wake()))
        await asyncio.sleep(1.0)
        assert guard.handed == []
        assert len(court.log) == MASS

    run_virtual(story())


def test_without_a_guard_that_takes_them_the_drivers_do_it():
    guard = Guard()
    guard.is_there = False
    court = Court(MASS, guard)

    async def story():
        await court.give(*all_asleep(court))
        await asyncio.sleep(1.0)
        assert guard.handed == []
        assert len(court.log) == MASS

    run_virtual(story())


def test_what_was_not_taken_goes_by_its_driver_at_once():
    guard = Guard(takes=lambda name: name != "m7")
    court = Court(MASS, guard)

    async def story():
        await court.give(*all_asleep(court))
        await asyncio.sleep(1.0)
        assert [entry[1] for entry in court.log] == ["m7"]

    run_virtual(story())


@pytest.mark.parametrize(
    "outcome", [None, Refused(reason=RefusalReason.UNAUTHORIZED, detail="stale")], ids=str
)
def test_an_expired_login_or_a_lost_guard_is_made_up_for_by_the_driver(outcome):
    guard = Guard()
    court = Court(MASS, guard)

    async def story():
        await court.give(*all_asleep(court))
        guard.says("m3", outcome)
        await asyncio.sleep(1.0)
        assert [entry[1] for entry in court.log] == ["m3"]
        (answered,) = court.slots.take_answered()
        assert (answered.miner_id, answered.outcome) == ("m3", Applied())
        guard.says("m3", Applied())
        assert court.slots.take_answered() == (), "each is answered once"

    run_virtual(story())


def test_a_hand_over_that_fails_leaves_nobody_behind():
    guard = Guard()
    guard.fails = KeyError("a fault of our own")
    court = Court(MASS, guard)

    async def story():
        await court.give(*all_asleep(court))
        await asyncio.sleep(1.0)
        assert len(court.log) == MASS

    run_virtual(story())


def test_a_slow_hand_over_delays_no_other_command():
    guard = Guard(answers_s=0.2)
    court = Court(MASS + 1, guard)

    async def story():
        giving = asyncio.create_task(court.give(*all_asleep(court)[:MASS], (f"m{MASS}", Wake())))
        await asyncio.sleep(0.1)
        assert [entry[1:] for entry in court.log] == [(f"m{MASS}", "Wake")]
        await giving

    run_virtual(story())


def test_a_wake_waits_behind_a_sleep_at_the_guard():
    guard = Guard()
    court = Court(MASS, guard)

    async def story():
        await court.give(*all_asleep(court))
        await court.give(("m0", Wake()))
        await asyncio.sleep(1.0)
        assert court.log == []
        guard.says("m0", Applied())
        await asyncio.sleep(1.0)
        assert [entry[1:] for entry in court.log] == [("m0", "Wake")]

    run_virtual(story())


def test_one_that_is_busy_is_not_handed_over():
    guard = Guard()
    court = Court(MASS + 1, guard, answers_s=10.0)

    async def story():
        await court.give(("m0", Wake()))
        await asyncio.sleep(1.0)
        await court.give(*all_asleep(court))
        assert guard.handed == [[f"m{n}" for n in range(1, MASS + 1)]]
        await asyncio.sleep(15.0)
        assert court.miners["m0"].commands == [Wake(), Sleep()]

    run_virtual(story())
