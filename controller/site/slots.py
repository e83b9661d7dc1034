"""The newest value of every source. Pollers write, the tick reads; nothing acts on arrival."""

from dataclasses import dataclass, field

from controller.power.image import Answered, MeterView
from drivers.contract.quantities import Quality, Signal
from drivers.contract.readings import MeterReading, MinerReading
from drivers.meters.quality import NOTHING_YET, FrozenRule, MeterTrack, judge

_MISSED_MAX = 2
"""Failed polls in a row after which a miner counts as unreachable: one lost packet is no news."""


@dataclass(slots=True)
class MinerSlots:
    """Last reading of each miner, and since when it does not answer."""

    readings: dict[str, MinerReading] = field(default_factory=dict)
    unreachable: dict[str, float] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    _missed: dict[str, int] = field(default_factory=dict)

    def put(self, reading: MinerReading) -> None:
        """Keep the reading unless a newer one is there already."""
        held = self.readings.get(reading.miner_id)
        if held is None or reading.begun_s > held.begun_s:
            self.readings[reading.miner_id] = reading
        self.unreachable.pop(reading.miner_id, None)
        self.errors.pop(reading.miner_id, None)
        self._missed.pop(reading.miner_id, None)

    def miss(self, miner_id: str, now_s: float, detail: str) -> int:
        """Note a failed poll; returns how many in a row there have been."""
        missed = self._missed.get(miner_id, 0) + 1
        self._missed[miner_id] = missed
        self.errors[miner_id] = detail
        if missed >= _MISSED_MAX:
            self.unreachable.setdefault(miner_id, now_s)
        return missed


@dataclass(slots=True)
class MeterSlot:
    """One meter's track, judged at each tick.

    `primary` is the signal whose quality is the meter's; `fault` is why the last read failed.
    """

    meter_id: str
    rule: FrozenRule
    primary: Signal = Signal.POWER_W
    track: MeterTrack = NOTHING_YET
    fault: str | None = None
    _newest: MeterReading | None = None

    def put(self, reading: MeterReading) -> None:
        """Keep the newest reading for the next tick."""
        self._newest = reading
        self.fault = reading.faults[0] if reading.faults else None

    def miss(self, detail: str) -> None:
        """Note a failed read; the value ages until it is STALE."""
        self.fault = detail

    def view(self, now_s: float, expected_w: float | None) -> MeterView:
        """Judge the meter now. Power is given only while it is GOOD."""
        self.track = judge(self.track, self._newest, now_s, self.rule, expected_w=expected_w)
        quality = self.track.quality(self.primary)
        reading = self.track.reading
        fault = self.fault
        if self.track.frozen:
            fault = "frozen: the same registers again and again under load"
        return MeterView(
            quality=quality,
            power_w=self._power_w(quality),
            frequency_hz=self.track.value(Signal.FREQUENCY_HZ),
            taken_s=None if reading is None else reading.taken_s,
            fault=None if quality is Quality.GOOD else fault or "no reading yet",
        )

    def _power_w(self, quality: Quality) -> float | None:
        good = quality is Quality.GOOD and self.track.quality(Signal.POWER_W) is Quality.GOOD
        return self.track.value(Signal.POWER_W) if good else None


@dataclass(slots=True)
class Slots:
    """Every slot of the site."""

    miners: MinerSlots
    meters: dict[str, MeterSlot]
    answered: list[Answered] = field(default_factory=list)

    def take_answered(self) -> tuple[Answered, ...]:
        """What commands came to since the last tick; each is handed out once."""
        taken, self.answered = tuple(self.answered), []
        return taken
