"""The actuator, on a virtual clock: nothing waits for anything but its own miner."""

import asyncio

import pytest

from controller.cli.scenario.virtual_time import VirtualClock, run_virtual
from controller.power.decide import MinerCommand
from controller.site.actuate import Actuator
from controller.site.slots import MinerSlots, Slots
from drivers.contract.commands import Applied, RefusalReason, Refused, Sleep, Unconfirmed, Wake
from tests.services.site_ground import START, TrueMiner


class Court:
    """Miners and an actuator; `log` holds when each command reached its miner."""

    def __init__(self, count=1, **script):
        self.clock, self.log = VirtualClock(START), []
        self.miners = {
            f"m{i}": TrueMiner(f"m{i}", self.clock, self.log, **script) for i in range(count)
        }
        self.slots = Slots(miners=MinerSlots(), meters={})
        self.actuator = Actuator(self.miners, self.slots)

    async def give(self, *commands):
        now_s = self.clock.monotonic_s()
        await self.actuator.give(
            MinerCommand(miner_id=name, command=command, commanded_s=now_s)
            for name, command in commands
        )


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
