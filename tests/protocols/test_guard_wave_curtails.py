"""Actuator, guard and simulated miners in one loop, over a real channel and real sockets: who
sleeps, by whose command, and what it cost.
"""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace

import msgspec
import pytest

from controller.channel.curtail import Curtail
from controller.channel.guard import GuardAsk
from controller.channel.server import ChannelServer
from controller.clock import SystemClock
from controller.config.inventory import InventoryRow
from controller.guard.desk import Guard
from controller.guard.holding import Holding
from controller.guard.shedder import Shedder
from controller.guard.store import Store
from controller.power.decide import MinerCommand
from controller.site.actuate import Actuator
from controller.site.curtail import HAND_OVER_S
from controller.site.guarded import GuardLink
from controller.site.slots import MinerSlots, Slots
from drivers.contract.commands import AlreadySo, Applied, Sleep
from drivers.registry import JUDGES
from drivers.transport.wave import send_wave
from tests.patience import until
from tests.protocols.miner_plant import plant, until_reading
from tests.protocols.test_prepared_sleep import forget_login
from tests.services.guard_ground import CURVE
from tests.unit.power.toy import build

FIRMWARES = ("antminer-stock", "whatsminer-v2", "luxos")
MINERS = 6


class Counted:
    """A driver, and how often it was told something."""

    def __init__(self, driver):
        self.driver, self.commands = driver, 0

    async def read(self):
        return await self.driver.read()

    async def apply(self, command):
        self.commands += 1
        return await self.driver.apply(command)


class Yard:
    """Every simulated miner with a driver at the controller and one at the guard."""

    def __init__(self, there, folder):
        folder.chmod(0o700)
        self.there, self.folder, self.clock = there, folder, SystemClock()
        self.toy = build(miners=MINERS, firmwares=FIRMWARES)
        self.place = {}
        count = Counter()
        for name, miner in self.toy.miners.items():
            self.place[name] = miner.miner.firmware, count[miner.miner.firmware]
            count[miner.miner.firmware] += 1
        luxos = [] if "luxos" in JUDGES else self.named("luxos")
        self.unprepared = [*luxos, self.named("whatsminer-v2")[-1]]
        self.prepared = sorted(self.place.keys() - set(self.unprepared))
        self.drivers = {name: Counted(self.driver(name)) for name in self.place}
        rows = {
            name: InventoryRow(
                miner_id=name,
                host=self.persona(name).host,
                firmware=firmware,
                make="any",
                model="any",
                feeder=self.toy.miners[name].miner.node_id,
            )
            for name, (firmware, _) in self.place.items()
        }
        path = folder / "run" / "guard.sock"
        self.link = GuardLink(path, self.toy.site, rows, "one", self.clock)
        self.slots = Slots(miners=MinerSlots(), meters={})
        self.actuator = Actuator(self.drivers, self.slots, self.link)
        store = Store(folder / "guard", "toy")
        self.shedder = Shedder(self.send, self.clock)
        self.guard = Guard(
            "toy",
            CURVE,
            store,
            self.shedder,
            Holding("toy", {}, store, self.clock),
            self.build,
            self.clock,
        )
        self.server = ChannelServer(path, self.answer)
        self.deaf = False
        self.sent = []

    def driver(self, name):
        made = self.there.driver(*self.place[name])
        made._device = replace(made._device, miner_id=name)
        return made

    def build(self, entries):
        """The guard's drivers; what is wrapped cannot prepare."""
        made = {entry.miner_id: self.driver(entry.miner_id) for entry in entries}
        return {
            name: Counted(driver) if name in self.unprepared else driver
            for name, driver in made.items()
        }

    def persona(self, name):
        return self.there.persona(*self.place[name])

    def named(self, *firmwares):
        return [name for name, (firmware, _) in self.place.items() if firmware in firmwares]

    def send(self, frames, answered, stopped):
        frames = list(frames)
        self.sent += [frame.miner_id for frame in frames]
        send_wave(frames, JUDGES, answered, open_max=100, stopped=stopped)

    async def answer(self, body):
        if self.deaf and isinstance(msgspec.msgpack.decode(body, type=GuardAsk), Curtail):
            await asyncio.Event().wait()
        return await self.guard.answer(body)

    async def ready(self):
        decision = self.toy.tick()
        self.link.ticked(decision.state, self.toy.images[-1], decision.ledger)
        await until(self.link.takes_sleeps, "the guard is reached")
        await until(lambda: self.shedder.ready() == len(self.prepared), "commands lie prepared")

    async def curtail(self):
        """Tell everybody to sleep; the outcomes by miner."""
        now_s = self.clock.monotonic_s()
        commands = [
            MinerCommand(miner_id=name, command=Sleep(), commanded_s=now_s) for name in self.place
        ]
        await self.actuator.give(commands)
        found = {}
        await until(lambda: not self.actuator.under_way, "all are answered")
        for answered in self.slots.take_answered():
            assert answered.miner_id not in found
            assert answered.commanded_s == now_s
            found[answered.miner_id] = answered.outcome
        return found

    async def sleeps(self):
        """Everybody does, by the physics."""
        miners = [self.persona(name).miner for name in self.place]
        await until(lambda: all(miner.wall_power_w < 150.0 for miner in miners), "all sleep")
        for driver in self.drivers.values():
            await until_reading(driver, hashing=False)


@pytest.fixture
async def yard(tmp_path_factory, monkeypatch):
    monkeypatch.setattr("controller.site.actuate.MASS", MINERS)
    monkeypatch.setattr("controller.site.curtail.HAND_OVER_S", 10.0)  # on a slow machine, too
    async with plant() as there, AsyncExitStack() as stack:
        made = Yard(there, tmp_path_factory.mktemp("g"))
        await stack.enter_async_context(made.server)
        tasks = [asyncio.create_task(made.link.run()), asyncio.create_task(made.shedder.run())]
        try:
            await made.ready()
            yield made
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await made.actuator.close()
            await made.shedder.close()


async def test_the_wave_does_it_and_the_drivers_do_what_it_cannot(yard):
    pools = {name: [pool.url for pool in yard.persona(name).pools] for name in yard.place}
    outcomes = await yard.curtail()
    assert outcomes.keys() == yard.place.keys()
    assert {type(outcome) for outcome in outcomes.values()} == {Applied}
    assert sorted(yard.sent) == yard.prepared
    commanded = [name for name, driver in yard.drivers.items() if driver.commands]
    assert sorted(commanded) == sorted(yard.unprepared)
    await yard.sleeps()
    for name, outcome in outcomes.items():
        assert yard.persona(name).persistent_writes == outcome.persistent_writes
        assert [pool.url for pool in yard.persona(name).pools] == pools[name]
    assert yard.shedder.asleep == 0


@pytest.mark.parametrize("firmware", ["antminer-stock", "whatsminer-v2"])
async def test_a_login_that_expired_at_the_moment_is_made_up_for(yard, firmware):
    one, _ = yard.named(firmware)
    forget_login(yard.persona(one))
    outcomes = await yard.curtail()
    assert isinstance(outcomes[one], Applied)
    assert one in yard.sent, "its command left, and was refused"
    assert yard.drivers[one].commands == 1
    await yard.sleeps()
    assert yard.persona(one).persistent_writes == outcomes[one].persistent_writes


async def test_pools_that_were_changed_since_its_command_was_prepared_are_kept(yard):
    one, other = yard.named("antminer-stock")
    persona = yard.persona(one)
    new = "stratum+tcp://reserve.example:3333"
    persona.pools[0] = replace(persona.pools[0], url=new)
    reading = await yard.drivers[one].read()
    # The page that changes pools starts the miner anew; its clock is not ours here.
    yard.slots.miners.put(msgspec.structs.replace(reading, uptime_s=0))
    outcomes = await yard.curtail()
    assert one not in yard.sent
    assert other in yard.sent
    assert isinstance(outcomes[one], Applied)
    await yard.sleeps()
    assert persona.pools[0].url == new


async def test_a_guard_that_is_lost_in_the_middle_is_made_up_for(yard):
    slow = yard.named("antminer-stock")
    giving = asyncio.create_task(yard.curtail())
    await until(lambda: set(slow) <= set(yard.sent), "their write has left")
    await yard.server.__aexit__(None, None, None)
    outcomes = await giving
    await yard.sleeps()
    assert outcomes.keys() == yard.place.keys()
    assert [yard.drivers[name].commands for name in slow] == [1, 1]
    for name in slow:
        assert isinstance(outcomes[name], Applied | AlreadySo)
        assert yard.persona(name).persistent_writes <= 2, "at worst once more than needed"


async def test_a_guard_that_does_not_answer_delays_nobody(yard, monkeypatch):
    monkeypatch.setattr("controller.site.curtail.HAND_OVER_S", HAND_OVER_S)
    yard.deaf = True
    outcomes = await yard.curtail()
    assert {type(outcome) for outcome in outcomes.values()} == {Applied}
    assert [driver.commands for driver in yard.drivers.values()] == [1] * MINERS
    assert yard.sent == []
    await yard.sleeps()
