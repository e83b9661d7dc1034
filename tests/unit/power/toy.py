"""A toy plant for the core's tests: true physics of miners and meters, a step a second, no sockets.

plant ── t1 ─┬─ f1 (aux 4 kW) ── every other miner
  town ──┘   └─ f2 (aux 4 kW) ── the rest
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from controller.power.decide import Decision, decide
from controller.power.image import Answered, GuardShed, Image, MeterView
from controller.power.instructions import ArmFeeder, HeartbeatHeard, Instruction, NewOrder
from controller.power.site import (
    DispatchPolicy,
    Miner,
    Node,
    NodeKind,
    OnMeterLoss,
    Policy,
    Site,
    Window,
)
from controller.power.state import OrderClass, State
from drivers.contract.capabilities import Dynamics
from drivers.contract.commands import Applied, Outcome, RefusalReason, Refused, Sleep
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
LARGEST_W = 3306.0 * 1.06
"""No toy miner draws more."""
SLEEP_W = 30.0
AUXILIARY_W = 4_000.0


@dataclass
class ToyMiner:
    """What one miner really does. `slow` stretches its way up beyond its firmware's figures."""

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
    slow: float = 1.0

    def __post_init__(self) -> None:
        self.now_w = self.from_w = self.to_w = self.true_w

    def command(self, now_s: float, *, sleep: bool) -> Outcome:
        if not self.answers:
            return Refused(reason=RefusalReason.UNREACHABLE, detail="no route")
        if self.deaf:
            return Applied()
        dyn, share = self.miner.dynamics, self.rng.uniform(0.5, 1.0)
        self.from_w, self.moved_s = self.now_w, now_s
        self.to_w = SLEEP_W if sleep else self.true_w
        self.dead_s = share * (dyn.down_dead_s if sleep else self.slow * dyn.up_dead_s)
        self.ramp_s = share * (dyn.down_ramp_s if sleep else self.slow * dyn.up_ramp_s)
        return Applied()

    def step(self, now_s: float) -> None:
        gone = (now_s - self.moved_s - self.dead_s) / self.ramp_s
        self.now_w = self.from_w + (self.to_w - self.from_w) * min(1.0, max(0.0, gone))

    def read(self, now_s: float) -> MinerReading:
        asleep = self.now_w < 0.3 * self.true_w or self.lies
        rate = 0.0 if asleep else self.miner.rated_hashrate_ths * self.now_w / self.true_w
        shown_w = SLEEP_W if self.lies else self.now_w
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
    """Drives `decide` once a second against the toy plant and keeps what the meters showed.

    `meter_lag_s`: how old a meter's value is, per node. `clock_step`: how far the wall clock is
    wrong; monotonic time never is.
    """

    site: Site
    miners: dict[str, ToyMiner]
    rng: random.Random
    state: State = field(default_factory=State)
    now_s: float = 1000.0
    now: datetime = START
    clock_step: timedelta = timedelta()
    loads_w: list[float] = field(default_factory=list)
    history: list[Decision] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)
    bad_meter: Callable[[str, float], Quality] = lambda _name, _now: Quality.GOOD
    beats: bool = True
    reaffirms: bool = True
    poll_s: int = 5
    readings: dict[str, MinerReading] = field(default_factory=dict)
    answered: list[Answered] = field(default_factory=list)
    town_w: Callable[[float], float] = lambda _now: 0.0
    meter_lag_s: dict[str, int] = field(default_factory=dict)
    passed_w: dict[str, list[float]] = field(default_factory=dict)
    guard_limit_w: float | None = None
    guard_shed: dict[str, GuardShed] = field(default_factory=dict)

    @property
    def load_w(self) -> float:
        """What the mines draw now."""
        return self.loads_w[-1]

    @property
    def full_w(self) -> float:
        """What they draw when all run."""
        return 2 * AUXILIARY_W + sum(toy.true_w for toy in self.miners.values())

    def true_w(self, node_id: str) -> float:
        paths, known = self.site.paths, self.site.miners
        miners_w = sum(
            toy.now_w
            for name, toy in self.miners.items()
            if node_id in paths[known.get(name, toy.miner).node_id]
        )
        below = self.site.feeders_below[node_id]
        return miners_w + sum(self.site.nodes[name].auxiliary_w for name in below)

    def _meters(self) -> dict[str, MeterView]:
        meters = {}
        for node in self.site.nodes.values():
            if node.meter_id is None:
                continue
            true_w = self.true_w(node.node_id)
            true_w += 0.0 if node.kind is NodeKind.FEEDER else self.town_w(self.now_s)
            lag_s = self.meter_lag_s.get(node.node_id, 0)
            passed_w = self.passed_w.setdefault(node.node_id, [])
            passed_w.append(true_w)
            quality = self.bad_meter(node.node_id, self.now_s)
            shown_w = passed_w[max(0, len(passed_w) - 1 - lag_s)] * self.rng.gauss(1, 0.002)
            meters[node.meter_id] = MeterView(
                quality=quality,
                power_w=shown_w if quality is Quality.GOOD else None,
                taken_s=self.now_s,
            )
        return meters

    def _poll(self) -> dict[str, float]:
        unreachable = {}
        for index, (name, toy) in enumerate(self.miners.items()):
            if not toy.answers:
                unreachable[name] = self.now_s
            elif int(self.now_s) % self.poll_s == index % self.poll_s or name not in self.readings:
                self.readings[name] = toy.read(self.now_s)
        return unreachable

    def image(self, instructions: Sequence[Instruction]) -> Image:
        unreachable = self._poll()
        beat = HeartbeatHeard(heard_s=self.now_s, reaffirms=self.reaffirms)
        beats = (beat,) if self.beats and self.site.dispatch is not None else ()
        answered, self.answered = tuple(self.answered), []
        return Image(
            now=self.now + self.clock_step,
            now_s=self.now_s,
            meters=self._meters(),
            miners=dict(self.readings),
            unreachable=unreachable,
            answered=answered,
            instructions=(*beats, *instructions),
            guard_limit_w=self.guard_limit_w,
            guard_shed=dict(self.guard_shed),
        )

    def tick(self, *instructions: Instruction) -> Decision:
        for toy in self.miners.values():
            toy.step(self.now_s)
        image = self.image(instructions)
        decision = decide(self.state, image, self.site)
        self.state = decision.state
        for issued in decision.commands:
            sleep = isinstance(issued.command, Sleep)
            outcome = self.miners[issued.miner_id].command(self.now_s, sleep=sleep)
            self.answered.append(
                Answered(miner_id=issued.miner_id, commanded_s=issued.commanded_s, outcome=outcome)
            )
        self.loads_w.append(self.true_w(self.site.root_id))
        self.images.append(image)
        self.history.append(decision)
        self.now_s += 1.0
        self.now += timedelta(seconds=1)
        return decision

    def run(self, seconds: int, *instructions: Instruction) -> Decision:
        """Tick on; the instructions come with the first tick."""
        decision = self.tick(*instructions)
        for _ in range(seconds - 1):
            decision = self.tick()
        return decision

    def order(
        self,
        order_id: str = "o1",
        *,
        cap_w: float | None = None,
        percent: float | None = None,
        by_w: float | None = None,
        node_id: str = "plant",
        issuer: str = "kegoc",
        order_class: OrderClass = OrderClass.DISPATCH,
        in_s: float = 0.0,
        for_s: float = 3600.0,
        within_s: float | None = None,
    ) -> NewOrder:
        """An order stamped now by the toy's wall clock."""
        begin = self.now + self.clock_step + timedelta(seconds=in_s)
        return NewOrder(
            order_id=order_id,
            issuer=issuer,
            node_id=node_id,
            order_class=order_class,
            valid_from=begin,
            valid_until=begin + timedelta(seconds=for_s),
            cap_w=cap_w,
            curtail_by_w=by_w,
            curtail_percent=percent,
            within_s=within_s,
        )


def tree(
    *,
    town_rating_w: float | None = None,
    feeder_rating_w: float = 200e3,
    on_meter_loss: OnMeterLoss = OnMeterLoss.MODEL,
) -> list[Node]:
    """The toy's nodes; `town_rating_w` puts a meter and other load on the transformer."""
    both_w = 2 * feeder_rating_w
    feeders = [
        Node(
            node_id=name,
            kind=NodeKind.FEEDER,
            parent="t1",
            rating_w=feeder_rating_w,
            meter_id=f"{name}-meter",
            auxiliary_w=AUXILIARY_W,
            on_meter_loss=on_meter_loss,
            failsafe_w=0.0,
        )
        for name in ("f1", "f2")
    ]
    transformer = Node(
        node_id="t1",
        kind=NodeKind.TRANSFORMER,
        parent="plant",
        rating_w=both_w if town_rating_w is None else town_rating_w,
        meter_id=None if town_rating_w is None else "t1-meter",
        other_max_w=0.0 if town_rating_w is None else 2e5,
    )
    plant = Node(node_id="plant", kind=NodeKind.PLANT, parent=None, rating_w=both_w)
    return [plant, transformer, *feeders]


def policy(**changes: float) -> Policy:
    """The toy's policy: quick ramps and short minimum times."""
    settings: dict[str, float] = {
        "ramp_up_w_per_s": 5_000.0,
        "ramp_down_w_per_s": 20_000.0,
        "min_off_s": 20.0,
        "min_on_s": 20.0,
        "recover_s": 3.0,
    }
    return Policy(**{**settings, **changes})


def build(
    *,
    miners: int = 100,
    deaf: int = 0,
    liars: int = 0,
    firmwares: Sequence[str] = ("antminer-stock", "whatsminer-v2", "luxos"),
    seed: int = 1,
    nodes: Sequence[Node] | None = None,
    rules: Policy | None = None,
    windows: Sequence[Window] = (),
    dispatch: DispatchPolicy | None = None,
    armed: Sequence[str] = ("f1", "f2"),
    settle_s: int = 10,
) -> Toy:
    """Miners spread evenly over two feeders, the first `deaf` deaf and the last `liars` lying when
    told to sleep; settled and armed.
    """
    rng = random.Random(seed)
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
            sleep_power_w=SLEEP_W,
            dynamics=dynamics,
        )
        toys[miner.miner_id] = ToyMiner(
            miner=miner,
            true_w=power_w * min(1.06, max(0.94, rng.gauss(1, 0.02))),
            under_report=rng.uniform(0, 0.05),
            deaf=i < deaf,
            rng=random.Random(rng.random()),
            reports_power=firmware != "antminer-stock",
        )
    site = Site(
        site_id="toy",
        timezone=ZoneInfo("Asia/Bishkek"),
        nodes={node.node_id: node for node in (tree() if nodes is None else nodes)},
        miners={name: toy.miner for name, toy in toys.items()},
        policy=policy() if rules is None else rules,
        windows=windows,
        dispatch=dispatch,
    )
    toy = Toy(site=site, miners=toys, rng=rng)
    toy.tick(*(ArmFeeder(node_id=name, by="test") for name in armed))
    toy.run(settle_s)
    for liar in list(toys.values())[miners - liars :]:
        toy.miners[liar.miner.miner_id] = Liar(**vars(liar))
    return toy


@dataclass
class Liar(ToyMiner):
    """Told to sleep it says that it sleeps, and draws on."""

    def command(self, now_s: float, *, sleep: bool) -> Outcome:
        self.lies = sleep
        return Applied()


def over_s(toy: Toy, cap_w: float, since: int) -> int:
    """Seconds with more than 1 % over a cap, from a tick of the toy's history on."""
    return sum(load_w > 1.01 * cap_w for load_w in toy.loads_w[since:])
