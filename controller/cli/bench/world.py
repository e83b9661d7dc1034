"""What the plant of the benchmark really does: miners that take their time, meters with noise.

Every miner draws its own power near its nameplate. A command moves it after a dead time along a
linear ramp, each half to the whole of its firmware's planning figure. Each is asked every 5 s, and
one poll in five stays without an answer, so at any moment a fifth of the readings is older than
its period; after two in a row a miner counts as unreachable, as it does in a running site. 2 % are
deaf: they accept every command and draw on. All report up to 5 % less than they draw.
"""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from controller.cli.bench.fleet import BenchPlant
from controller.power.decide import MinerCommand
from controller.power.image import Answered, Image, MeterView
from controller.power.instructions import Instruction
from controller.site.slots import MinerSlots
from drivers.contract.commands import AlreadySo, Applied, Outcome, Sleep
from drivers.contract.quantities import Quality
from drivers.contract.readings import MinerReading, WorkMode

POLL_S = 5
MISSED_SHARE = 0.20
DEAF_SHARE = 0.02
_UNDER_REPORT_MAX = 0.05
_SPREAD, _SPREAD_MAX = 0.02, 0.06
"""Two miners of one model differ by this share (one standard deviation; never more than the
second).
"""
_METER_NOISE = 0.002
"""One standard deviation of a meter of class 0.2."""
_ASLEEP_SHARE = 0.3
_READ_S = 0.05
_START = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
_START_S = 1_000.0


@dataclass(slots=True)
class _Unit:
    """One miner as it is, not as it says."""

    index: int
    feeder: str
    under_report: float
    true_w: float
    sleep_w: float
    deaf: bool
    now_w: float
    from_w: float
    to_w: float
    commanded_s: float = 0.0
    dead_s: float = 0.0
    ramp_s: float = 1.0
    moving: bool = False
    told_to_sleep: bool = False


class World:
    """The plant second by second. The same seed and the same commands give the same world."""

    def __init__(self, plant: BenchPlant, seed: int) -> None:
        self._plant = plant
        self._polls, self._meters, self._moves = (random.Random(f"{seed}/{n}") for n in range(3))  # noqa: S311 - a world, not a secret
        rng = random.Random(f"{seed}/fleet")  # noqa: S311 - a world, not a secret
        miners = plant.site.miners
        deaf = set(rng.sample(sorted(miners), max(1, round(DEAF_SHARE * len(miners)))))
        self._units: dict[str, _Unit] = {}
        for index, (name, miner) in enumerate(miners.items()):
            spread = max(-_SPREAD_MAX, min(_SPREAD_MAX, rng.gauss(0.0, _SPREAD)))
            true_w = miner.rated_power_w * (1.0 + spread)
            self._units[name] = _Unit(
                index=index,
                feeder=plant.site.feeder_of[miner.node_id],
                under_report=rng.uniform(0.0, _UNDER_REPORT_MAX),
                true_w=true_w,
                sleep_w=miner.sleep_power_w,
                deaf=name in deaf,
                now_w=true_w,
                from_w=true_w,
                to_w=true_w,
            )
        self._slots = MinerSlots()
        self._due: dict[int, list[Answered]] = {}
        self._feeders_w: dict[str, float] = {}
        self.deaf = len(deaf)
        self.second = -1

    @property
    def now_s(self) -> float:
        """Monotonic seconds."""
        return _START_S + self.second

    @property
    def now(self) -> datetime:
        """The wall clock."""
        return _START + timedelta(seconds=self.second)

    def step(self) -> None:
        """One second passes: miners move on."""
        self.second += 1
        now_s, nodes = self.now_s, self._plant.site.nodes
        feeders_w = {name: nodes[name].auxiliary_w for name in self._plant.site.feeders}
        for unit in self._units.values():
            if unit.moving:
                gone = (now_s - unit.commanded_s - unit.dead_s) / unit.ramp_s
                unit.now_w = unit.from_w + (unit.to_w - unit.from_w) * min(1.0, max(0.0, gone))
                unit.moving = gone < 1.0
            feeders_w[unit.feeder] += unit.now_w
        self._feeders_w = feeders_w

    def load_w(self, node_id: str) -> float:
        """What really flows through a node, in W."""
        return sum(self._feeders_w[name] for name in self._plant.site.feeders_below[node_id])

    def image(self, instructions: tuple[Instruction, ...]) -> Image:
        """Poll whoever is due, read every meter, and freeze what is known."""
        self._poll()
        return Image(
            now=self.now,
            now_s=self.now_s,
            meters=self._read_meters(),
            miners=dict(self._slots.readings),
            unreachable=dict(self._slots.unreachable),
            answered=tuple(self._due.pop(self.second, ())),
            instructions=instructions,
            clock_synced=True,
        )

    def stale_share(self, readings: Mapping[str, MinerReading]) -> float:
        """Share of the readings that are as old as their period or older."""
        stale = sum(self.now_s - reading.taken_s >= POLL_S for reading in readings.values())
        return stale / len(readings)

    def carry_out(self, commands: Iterable[MinerCommand]) -> None:
        """Miners receive commands; those that listen begin to move."""
        for issued in commands:
            unit, sleep = self._units[issued.miner_id], isinstance(issued.command, Sleep)
            profile = self._plant.profiles[issued.miner_id]
            dynamics, share = profile.dynamics, self._moves.uniform(0.5, 1.0)
            if not unit.deaf and unit.told_to_sleep is not sleep:
                unit.from_w, unit.commanded_s, unit.moving = unit.now_w, self.now_s, True
                unit.to_w = unit.sleep_w if sleep else unit.true_w
                unit.dead_s = share * (dynamics.down_dead_s if sleep else dynamics.up_dead_s)
                unit.ramp_s = share * (dynamics.down_ramp_s if sleep else dynamics.up_ramp_s)
                unit.told_to_sleep = sleep
                outcome: Outcome = Applied(persistent_writes=int(profile.sleep_is_persistent))
            else:
                outcome = Applied() if unit.deaf else AlreadySo()
            # A driver answers when the configuration is written: the dead time of a descent.
            answered = Answered(
                miner_id=issued.miner_id, commanded_s=issued.commanded_s, outcome=outcome
            )
            due = self.second + max(1, round(share * dynamics.down_dead_s))
            self._due.setdefault(due, []).append(answered)

    def _poll(self) -> None:
        turn, slots, now_s = self.second % POLL_S, self._slots, self.now_s
        for name, unit in self._units.items():
            if name not in slots.readings:
                slots.put(self._reading(name, unit))
            elif unit.index % POLL_S == turn:
                if self._polls.random() < MISSED_SHARE:
                    slots.miss(name, now_s, "no answer in time")
                else:
                    slots.put(self._reading(name, unit))

    def _reading(self, name: str, unit: _Unit) -> MinerReading:
        model, profile = self._plant.models[name], self._plant.profiles[name]
        hashing = unit.now_w > _ASLEEP_SHARE * unit.true_w
        said = 1.0 - unit.under_report
        rate_ths = model.rated_hashrate_ths * unit.now_w / unit.true_w if hashing else 0.0
        mode = WorkMode.SLEEP if unit.told_to_sleep else WorkMode.NORMAL
        return MinerReading(
            miner_id=name,
            begun_s=self.now_s - _READ_S,
            taken_s=self.now_s,
            make=model.make,
            model=model.model,
            firmware=profile.firmware,
            hashing=hashing,
            hashrate_ths=said * rate_ths,
            power_w=said * unit.now_w if profile.reports_power else None,
            mode=mode,
            raw_mode=mode.value,
            chip_temperature_c=70.0 if hashing else 30.0,
            uptime_s=int(self.now_s),
        )

    def _read_meters(self) -> dict[str, MeterView]:
        meters = {}
        for name, power_w in self._feeders_w.items():
            meter_id = self._plant.site.nodes[name].meter_id
            if meter_id is not None:
                shown_w = power_w * self._meters.gauss(1.0, _METER_NOISE)
                meters[meter_id] = MeterView(
                    quality=Quality.GOOD, power_w=shown_w, taken_s=self.now_s
                )
        return meters
