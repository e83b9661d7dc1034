"""A small site in memory for tests: true miners, a meter, a journal, and ticks made by hand.

    plant ── f1 (aux 2 kW, meter f1-meter) ── m00 … m19

Runs on the virtual loop: `run_virtual(story())`. A second is a tick.
"""

import asyncio
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from controller.channel.view import Arm, CapNode
from controller.cli.scenario.virtual_time import VirtualClock
from controller.config.inventory import InventoryRow
from controller.power.instructions import ArmFeeder, NewOrder
from controller.power.site import Miner, Node, NodeKind, Policy, Site
from controller.power.state import OrderClass, State
from controller.site.acts import ActDesk
from controller.site.actuate import Actuator
from controller.site.journal import Journal
from controller.site.journal_schema import JournalError
from controller.site.picture import Pages
from controller.site.poll import MinerPoll, PollPace
from controller.site.slots import MeterSlot, MinerSlots, Slots
from controller.site.tick import Parts, Ticker
from drivers.contract.capabilities import Dynamics
from drivers.contract.commands import Applied, Sleep
from drivers.contract.errors import Unreachable
from drivers.contract.quantities import Signal
from drivers.contract.readings import MeterReading, MinerReading
from drivers.meters.quality import FrozenRule

START = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
RATED_W, SLEEP_W, AUXILIARY_W = 3000.0, 30.0, 2000.0
MINERS = 20
FULL_W = MINERS * RATED_W + AUXILIARY_W
DYNAMICS = Dynamics(down_dead_s=2, down_ramp_s=4, up_dead_s=5, up_ramp_s=10)
RULE = FrozenRule(stale_after_s=3.5, frozen_after_s=10.0, load_w=1000.0)


def small_site(*, miners=MINERS, dispatch=None):
    """The site that decisions see."""
    nodes = [
        Node(node_id="plant", kind=NodeKind.PLANT, parent=None, rating_w=100e3),
        Node(
            node_id="f1",
            kind=NodeKind.FEEDER,
            parent="plant",
            rating_w=100e3,
            meter_id="f1-meter",
            auxiliary_w=AUXILIARY_W,
        ),
    ]
    fleet = [
        Miner(
            miner_id=f"m{i:02}",
            node_id="f1",
            tier=1,
            firmware="whatsminer-v2",
            rated_power_w=RATED_W,
            rated_hashrate_ths=100.0,
            sleep_power_w=SLEEP_W,
            dynamics=DYNAMICS,
        )
        for i in range(miners)
    ]
    return Site(
        site_id="toy",
        timezone=ZoneInfo("Asia/Bishkek"),
        nodes={node.node_id: node for node in nodes},
        miners={miner.miner_id: miner for miner in fleet},
        policy=Policy(
            ramp_up_w_per_s=20e3,
            ramp_down_w_per_s=50e3,
            min_on_s=5,
            min_off_s=5,
            recover_s=2,
            verify_hold_s=3,
            service_s=20,
            confirm_s=4,
        ),
        dispatch=dispatch,
    )


@dataclass
class TrueMiner:
    """One miner and its driver at once. `log` notes what reached it, `answers_s` how long it takes.

    `fails` is raised by every read and every command; `deaf` takes a command and does nothing.
    """

    miner_id: str
    clock: VirtualClock
    log: list
    from_w: float = RATED_W
    to_w: float = RATED_W
    moved_s: float = -1e9
    answers_s: float = 0.1
    deaf: bool = False
    silent: bool = False
    fails: Exception | None = None
    commands: list = field(default_factory=list)

    @property
    def power_w(self):
        gone_s = self.clock.monotonic_s() - self.moved_s
        return self.to_w if gone_s >= 3.0 else self.from_w

    def reading(self):
        now_s, power_w = self.clock.monotonic_s(), self.power_w
        hashing = power_w > RATED_W / 2
        return MinerReading(
            miner_id=self.miner_id,
            begun_s=now_s,
            taken_s=now_s,
            hashing=hashing,
            hashrate_ths=100.0 if hashing else 0.0,
            power_w=power_w,
        )

    async def read(self):
        if self.fails is not None:
            raise self.fails
        if self.silent:
            raise Unreachable(self.miner_id, "read", "no route", connected=False)
        return self.reading()

    async def apply(self, command):
        self.commands.append(command)
        self.log.append(("command", self.miner_id, type(command).__name__))
        if self.fails is not None:
            raise self.fails
        await asyncio.sleep(self.answers_s)
        if not self.deaf:
            self.from_w, self.moved_s = self.power_w, self.clock.monotonic_s()
            self.to_w = SLEEP_W if isinstance(command, Sleep) else RATED_W
        return Applied()


class WatchedJournal(Journal):
    """The real journal; `broken` makes commits fail as a full disk does, `hangs` never ends."""

    def __init__(self, place, log, **facts):
        super().__init__(place, threaded=False, **facts)
        self.log, self.broken, self.hangs = log, False, False

    async def commit(self, batch):
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        if self.broken:
            self.log.append(("journal failed",))
            raise JournalError("journal.db: database or disk is full")
        await super().commit(batch)
        self.log.append(("journal", batch))


class Ground:
    """The site put together. Give `place` a file to restart from it."""

    def __init__(self, *, place=":memory:", desk=None, miners=MINERS, site=None, plant=None):
        self.clock, self.log, self.images = VirtualClock(START), [], []
        self.site = site or small_site(miners=miners)
        self.miners = plant or {
            name: TrueMiner(name, self.clock, self.log) for name in self.site.miners
        }
        for miner in self.miners.values():
            miner.log = self.log
        self.journal = WatchedJournal(place, self.log, site_id="toy", boot_id="boot-1", now=START)
        restored = self.journal.load()
        self.restored = restored
        meter = MeterSlot(meter_id="f1-meter", rule=RULE)
        self.slots = Slots(miners=MinerSlots(), meters={"f1-meter": meter})
        self.pages = Pages(self.site, "Toy", {n: row(n) for n in self.site.miners}, self.slots)
        self.acts = ActDesk(self.site, self.pages, lambda: False)
        drivers = {name: self.miners[name] for name in self.site.miners}
        pace = PollPace(period_s=10, order_period_s=2, reads_max=8)
        self.poll = MinerPoll(drivers, self.slots.miners, self.clock, pace, random.Random(1))
        self.actuator = Actuator(drivers, self.slots)
        self.desk = desk(self.site, restored) if desk is not None else None
        targets = {n: t for n, t in restored.state.targets.items() if n in self.site.miners}
        gone = [n for n in restored.state.targets if n not in targets]
        parts = Parts(
            site=self.site,
            clock=self.clock,
            slots=self.slots,
            poll=self.poll,
            actuator=self.actuator,
            journal=self.journal,
            acts=self.acts,
            pages=self.pages,
            desk=self.desk,
            publish=self.images.append,
        )
        state = State(**{**_fields(restored.state), "targets": targets})
        self.ticker = Ticker(parts, state, forgotten=gone)
        self.meter_lost = False

    @property
    def load_w(self):
        """What the meter sees in truth."""
        return AUXILIARY_W + sum(miner.power_w for miner in self.miners.values())

    def read_all(self):
        """A fresh reading of every miner that answers, and of the meter."""
        for name, miner in self.miners.items():
            if miner.fails is None and not miner.silent and name in self.site.miners:
                self.slots.miners.put(miner.reading())
        if not self.meter_lost:
            self.slots.meters["f1-meter"].put(meter_reading(self.clock.monotonic_s(), self.load_w))

    async def tick(self, times=1):
        """Readings, a tick, and the rest of the second; `times` over. Returns the last decision."""
        for _ in range(times):
            self.read_all()
            decision = await self.ticker.step()
            await asyncio.sleep(1.0)
        return decision

    async def asked(self, act):
        """Do an act as the channel does, with a tick; returns its answer or its refusal."""
        task = asyncio.create_task(self.acts._do(act))
        await asyncio.sleep(0)
        await self.tick()
        return await task

    def what(self, *kinds):
        """The log's entries of these kinds, in order."""
        return [entry for entry in self.log if entry[0] in kinds]


def _fields(state):
    return {name: getattr(state, name) for name in state.__dataclass_fields__}


def row(miner_id):
    """An inventory row."""
    return InventoryRow(
        miner_id=miner_id,
        host="127.0.0.1",
        firmware="whatsminer-v2",
        make="WhatsMiner",
        model="M50S",
        feeder="f1",
        rack="",
        tier=1,
        ports={},
    )


def meter_reading(now_s, power_w, *, raw=None, frequency_hz=50.0):
    """A meter's reading; the registers follow the power unless given."""
    words = (round((power_w or 0.0) * 10) % 65536, round(now_s * 10) % 65536)
    return MeterReading(
        meter_id="f1-meter",
        begun_s=now_s,
        taken_s=now_s,
        values={Signal.POWER_W: power_w, Signal.FREQUENCY_HZ: frequency_hz},
        raw=words if raw is None else raw,
    )


def arm(by="operator"):
    return Arm(node_id="f1", without_watchdog=True, by=by)


def limit(cap_w, reason="test"):
    return CapNode(node_id="plant", cap_w=cap_w, reason=reason, by="operator")


async def armed(**options):
    """A ground that mines, armed and settled."""
    ground = Ground(**options)
    ground.acts.put(ArmFeeder(node_id="f1", by="test"))
    await ground.tick(5)
    return ground


def asleep(ground):
    return sorted(name for name, miner in ground.miners.items() if miner.power_w < 100)


def states(ground):
    return {name: target.state for name, target in ground.ticker.state.targets.items()}


def lowering(ground, cap_w, order_id="o1"):
    now = ground.clock.utc()
    return NewOrder(
        order_id=order_id,
        issuer="ndc",
        node_id="plant",
        order_class=OrderClass.DISPATCH,
        valid_from=now,
        valid_until=now + timedelta(hours=1),
        cap_w=cap_w,
    )
