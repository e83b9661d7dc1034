"""A toy plant for the core's tests: true physics of miners and meters, a step a second, no sockets."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from controller.power.decide import Decision, decide
from controller.power.image import Answered, Image, MeterView
from controller.power.instructions import ArmFeeder, HeartbeatHeard, Instruction
from controller.power.site import (
    DispatchPolicy,
    Miner,
    Node,
    NodeKind,
    Policy,
    Site,
    Window,
)
from controller.power.state import State
from drivers.contract.capabilities import Dynamics
from drivers.contract.commands import Applied, Sleep
from drivers.contract.quantities import Quality
from drivers.contract.readings import MinerReading

START = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
ANTMINER = Dynamics(down_dead_s=22, down_ramp_s=8, up_dead_s=25, up_ramp_s=40)
WHATSMINER = Dynamics(down_dead_s=2, down_ramp_s=4, up_dead_s=10, up_ramp_s=50)
LUXOS = Dynamics(down_dead_s=1, down_ramp_s=4, up_dead_s=3, up_ramp_s=10)
FIRMWARES = {
    "antminer-stock": (ANTMINER, 3250.0, 110.0),
    "whatsminer-v2": (WHATSMINER, 3306.0, 114.0),
    "luxos": (LUXOS, 2760.0, 120.0),
}


@dataclass
class ToyMiner:
    """What one miner really does."""

    miner: Miner
    true_w: float
    under_report: float
    deaf: bool
    rng: random.Random
    reports_power: bool
    now_w: float = 0.0
    from_w: float = 0.0
    to_w: float = 0.0
    moved_s: float = -1e9
    dead_s: float = 0.0
    ramp_s: float = 1.0
    answers: bool = True
    lies: bool = False

    def __post_init__(self) -> None:
        self.now_w = self.from_w = self.to_w = self.true_w

    def command(self, sleep: bool, now_s: float) -> None:
        if self.deaf or not self.answers:
            return
        dyn, share = self.miner.dynamics, self.rng.uniform(0.5, 1.0)
        self.from_w, self.moved_s = self.now_w, now_s
        self.to_w = self.miner.sleep_power_w if sleep else self.true_w
        self.dead_s = share * (dyn.down_dead_s if sleep else dyn.up_dead_s)
        self.ramp_s = share * (dyn.down_ramp_s if sleep else dyn.up_ramp_s)

    def step(self, now_s: float) -> None:
        gone = (now_s - self.moved_s - self.dead_s) / self.ramp_s
        self.now_w = self.from_w + (self.to_w - self.from_w) * min(1.0, max(0.0, gone))

    def read(self, now_s: float) -> MinerReading:
        asleep = self.now_w < 0.3 * self.true_w or self.lies
        rate = 0.0 if asleep else self.miner.rated_hashrate_ths * self.now_w / self.true_w
        shown_w = 30.0 if self.lies else self.now_w
        return MinerReading(
            miner_id=self.miner.miner_id,
            begun_s=now_s - 0.05,
            taken_s=now_s,
            hashing=not asleep,
            hashrate_ths=rate * (1 - self.under_report),
            power_w=shown_w * (1 - self.under_report) if self.reports_power else None,
        )


@dataclass
class Toy:
    """Drives `decide` once a second against the toy plant and keeps what the meters showed."""

    site: Site
    miners: dict[str, ToyMiner]
    rng: random.Random
    state: State = field(default_factory=State)
    now_s: float = 1000.0
    now: datetime = START
    meters_w: list[float] = field(default_factory=list)
    history: list[Decision] = field(default_factory=list)
    commands: int = 0
    bad_meter: Callable[[str, float], Quality] = lambda _name, _now: Quality.GOOD
    beats: bool = True
    poll_s: int = 5
    readings: dict[str, MinerReading] = field(default_factory=dict)
    answered: list[Answered] = field(default_factory=list)
    town_w: Callable[[float], float] = lambda _now: 0.0

    def true_w(self, node: str) -> float:
        return sum(
            toy.now_w for toy in self.miners.values() if node in self.site.paths[toy.miner.node_id]
        ) + sum(self.site.nodes[f].auxiliary_w for f in self.site.feeders_below[node])

    def image(self, instructions: Sequence[Instruction]) -> Image:
        meters = {}
        for node in self.site.nodes.values():
            if node.meter_id is None:
                continue
            quality = self.bad_meter(node.node_id, self.now_s)
            true_w = self.true_w(node.node_id)
            true_w += 0.0 if node.kind is NodeKind.FEEDER else self.town_w(self.now_s)
            meters[node.meter_id] = MeterView(
                quality=quality,
                power_w=true_w * self.rng.gauss(1, 0.002) if quality is Quality.GOOD else None,
                taken_s=self.now_s,
            )
        unreachable = {}
        for index, (name, toy) in enumerate(self.miners.items()):
            if not toy.answers:
                unreachable[name] = self.now_s
            elif int(self.now_s) % self.poll_s == index % self.poll_s or name not in self.readings:
                self.readings[name] = toy.read(self.now_s)
        beats = (HeartbeatHeard(heard_s=self.now_s, reaffirms=True),) if self.beats else ()
        answered, self.answered = tuple(self.answered), []
        return Image(
            now=self.now,
            now_s=self.now_s,
            meters=meters,
            miners=dict(self.readings),
            unreachable=unreachable,
            answered=answered,
            instructions=(*beats, *instructions) if self.site.dispatch else tuple(instructions),
        )

    def tick(self, *instructions: Instruction) -> Decision:
        for toy in self.miners.values():
            toy.step(self.now_s)
        decision = decide(self.state, self.image(instructions), self.site)
        self.state = decision.state
        for command in decision.commands:
            self.miners[command.miner_id].command(
                isinstance(command.command, Sleep), self.now_s
            )
            self.answered.append(
                Answered(
                    miner_id=command.miner_id, commanded_s=command.commanded_s, outcome=Applied()
                )
            )
            self.commands += 1
        self.meters_w.append(self.true_w(self.site.root_id))
        self.history.append(decision)
        self.now_s += 1.0
        self.now += timedelta(seconds=1)
        return decision

    def run(self, seconds: int) -> Decision:
        for _ in range(seconds):
            decision = self.tick()
        return decision


def build(
    *,
    miners: int = 200,
    deaf: float = 0.02,
    firmwares: Sequence[str] = ("antminer-stock", "whatsminer-v2", "luxos"),
    seed: int = 1,
    policy: dict[str, float] | None = None,
    windows: Sequence[Window] = (),
    dispatch: DispatchPolicy | None = None,
    armed: bool = True,
    town_rating_w: float | None = None,
) -> Toy:
    """Two feeders under one transformer under the plant, miners spread evenly, settled and armed."""
    rng = random.Random(seed)
    nodes = [
        Node(node_id="plant", kind=NodeKind.PLANT, parent=None, rating_w=5e6),
        Node(
            node_id="t1",
            kind=NodeKind.TRANSFORMER,
            parent="plant",
            rating_w=town_rating_w or 5e6,
            meter_id="t1-meter" if town_rating_w else None,
            other_max_w=2e5,
        ),
        *(
            Node(
                node_id=name,
                kind=NodeKind.FEEDER,
                parent="t1",
                rating_w=2.5e6,
                meter_id=f"{name}-meter",
                auxiliary_w=4_000.0,
            )
            for name in ("f1", "f2")
        ),
    ]
    toys: dict[str, ToyMiner] = {}
    for i in range(miners):
        firmware = firmwares[i % len(firmwares)]
        dynamics, power_w, ths = FIRMWARES[firmware]
        miner = Miner(
            miner_id=f"m{i:05}",
            node_id=("f1", "f2")[i % 2],
            tier=1,
            firmware=firmware,
            rated_power_w=power_w,
            rated_hashrate_ths=ths,
            sleep_power_w=30.0,
            dynamics=dynamics,
        )
        toys[miner.miner_id] = ToyMiner(
            miner=miner,
            true_w=power_w * rng.gauss(1, 0.02),
            under_report=rng.uniform(0, 0.05),
            deaf=rng.random() < deaf,
            rng=random.Random(rng.random()),
            reports_power=firmware != "antminer-stock",
        )
    settings = {
        "ramp_up_w_per_s": 5_000.0,
        "ramp_down_w_per_s": 20_000.0,
        "min_off_s": 20.0,
        "min_on_s": 20.0,
        "recover_s": 3.0,
    } | (policy or {})
    site = Site(
        site_id="toy",
        timezone=ZoneInfo("Asia/Bishkek"),
        nodes={node.node_id: node for node in nodes},
        miners={name: toy.miner for name, toy in toys.items()},
        policy=Policy(**settings),
        windows=windows,
        dispatch=dispatch,
    )
    toy = Toy(site=site, miners=toys, rng=rng)
    if armed:
        toy.tick(ArmFeeder(node_id="f1", by="test"), ArmFeeder(node_id="f2", by="test"))
    toy.run(10)
    return toy


def with_deaf(toy: Toy, count: int) -> Toy:
    """Make exactly `count` miners deaf."""
    for index, miner in enumerate(toy.miners.values()):
        toy.miners[miner.miner.miner_id] = replace(miner, deaf=index < count)
    return toy
