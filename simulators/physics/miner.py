"""One miner's truth: what it draws at the wall, hashes, and how warm it gets.

    command ──dead time──▶ ramp ──▶ settled        level 0 = asleep, level 1 = full nameplate

Pure: time, ambient temperature and randomness are given. What a firmware *says* is the business of
the personas in `simulators.devices`; here is only what a wattmeter and a thermometer would see.
"""

import random
from dataclasses import dataclass
from enum import StrEnum
from math import exp

from simulators.physics.miner_models import FirmwareTimings, MinerRating

HASHRATE_NOISE = 0.004
"""Standard deviation of the hashrate from one second to the next, as a share (assumption of the
simulator)."""
UNIT_SPREAD = 0.01
"""Largest deviation of one unit's power and hashrate from the nameplate (assumption of the
simulator)."""
EFFICIENCY_EXPONENT = 0.85
"""hashrate share = power share ** this: a throttled chip works better. Fitted to the watts and TH/s
of the profiles that one S19k Pro listed under LuxOS 2025.4 (784 W ↔ 39.2 TH/s … 2794 W ↔ 121.8
TH/s)."""
CHIP_RISE_C = 45.0
BOARD_RISE_C = 32.0
THERMAL_TIME_CONSTANT_S = 40.0
"""Rise of chip and board over the inlet at full power, and how fast it settles (assumptions of the
simulator)."""
FAN_IDLE_RPM = 1800
FAN_FULL_RPM = 6000
MINUTE_TIME_CONSTANT_S = 15.0
"""The firmware's «1 minute» average: an exponential one that holds 98 % of a step after a
minute."""
FORGOTTEN_SHARE = 0.01
MIN_RAMP_S = 0.001


class MinerState(StrEnum):
    """What the hashboards are doing."""

    HASHING = "hashing"
    GOING_DOWN = "going_down"
    ASLEEP = "asleep"
    STARTING = "starting"


@dataclass(frozen=True, slots=True)
class _Segment:
    """From `begin_s` on the level moves to `goal`; a way from 0 to 1 would take `ramp_s`."""

    begin_s: float
    goal: float
    ramp_s: float


class MinerPhysics:
    """True state of one miner. Call `step` with every tick; read the attributes.

    `deaf`: commands change nothing (the firmware answers success all the same). `under_report` is
    the share by which the firmware's own power figure lies below the wall. `full_power_w` and
    `full_hashrate_ths` may be set at any time: a hashboard that fails, a chip that ages.
    """

    def __init__(
        self,
        rating: MinerRating,
        timings: FirmwareTimings,
        *,
        rng: random.Random,
        under_report: float = 0.0,
        deaf: bool = False,
        ambient_c: float = 20.0,
        now_s: float = 0.0,
    ) -> None:
        self.rating = rating
        self.timings = timings
        self.under_report = under_report
        self.deaf = deaf
        self.full_power_w = rating.power_w * (1.0 + rng.uniform(-UNIT_SPREAD, UNIT_SPREAD))
        self.full_hashrate_ths = rating.hashrate_ths * (
            1.0 + rng.uniform(-UNIT_SPREAD, UNIT_SPREAD)
        )
        self.ambient_c = ambient_c
        self.started_s = now_s
        self.power_limit_w: float | None = None
        self.level = 1.0
        self._rng = rng
        self._goal = 1.0
        self._rate_per_s = 1.0 / MIN_RAMP_S
        self._segments: list[_Segment] = []
        self._sleep_wanted = False
        self._temporary_share = 1.0
        self._noise = 1.0
        self._noise_due_s = now_s
        self._work_th = 0.0
        self._decay_dt_s = -1.0
        self._thermal_decay = 0.0
        self._minute_decay = 0.0
        self.wall_power_w = self.full_power_w
        self.hashrate_ths = self.full_hashrate_ths
        self.hashrate_1m_ths = self.full_hashrate_ths
        self._heat_share = 1.0

    @property
    def state(self) -> MinerState:
        """What the hashboards do now; within a command's dead time they still do what they did."""
        if self._goal <= 0.0:
            if self.level > 0.0:
                return MinerState.GOING_DOWN
            return MinerState.ASLEEP if not self._segments else MinerState.STARTING
        return MinerState.HASHING if self.level >= self._goal * 0.99 else MinerState.STARTING

    @property
    def sleep_wanted(self) -> bool:
        """The last command that the firmware obeyed was to sleep."""
        return self._sleep_wanted

    @property
    def reported_power_w(self) -> float:
        """What the firmware would say of its power, where it says anything."""
        return self.wall_power_w * (1.0 - self.under_report)

    @property
    def chip_temperature_c(self) -> float:
        """Mean chip temperature."""
        return self.ambient_c + CHIP_RISE_C * self._heat_share

    @property
    def board_temperature_c(self) -> float:
        """Mean temperature of the printed circuit boards."""
        return self.ambient_c + BOARD_RISE_C * self._heat_share

    @property
    def fan_rpm(self) -> int:
        """Speed that the fan control sets by the chip temperature: idle at 30 °C, full at 80 °C."""
        share = min(1.0, max(0.0, (self.chip_temperature_c - 30.0) / 50.0))
        return round((FAN_IDLE_RPM + (FAN_FULL_RPM - FAN_IDLE_RPM) * share) / 60.0) * 60

    @property
    def work_th(self) -> float:
        """Terahashes computed since the mining process started."""
        return self._work_th

    def elapsed_s(self, now_s: float) -> float:
        """How long the mining process has been running."""
        return max(0.0, now_s - self.started_s)

    def hashrate_average_ths(self, now_s: float) -> float:
        """Mean since the mining process started; the present rate within its first second."""
        elapsed_s = self.elapsed_s(now_s)
        return self._work_th / elapsed_s if elapsed_s >= 1.0 else self.hashrate_ths

    def sleep(self, now_s: float) -> None:
        """Go to sleep, as fast as the firmware can."""
        if self.deaf:
            return
        self._sleep_wanted = True
        if self._goal > 0.0 or self._segments:
            timings = self.timings
            self._segments = [_Segment(now_s + timings.down_dead_s, 0.0, timings.down_ramp_s)]

    def wake(self, now_s: float) -> None:
        """Hash again, at the power limit that is set."""
        if self.deaf:
            return
        was_wanted, self._sleep_wanted = self._sleep_wanted, False
        if was_wanted:
            timings = self.timings
            begin_s = now_s + timings.up_dead_s
            self._segments = [_Segment(begin_s, self._work_level(), timings.up_ramp_s)]
            self.started_s, self._work_th = begin_s, 0.0

    def limit(self, now_s: float, power_w: float | None) -> None:
        """Hold wall power at `power_w` (None: nameplate), with a restart where the firmware needs
        one."""
        if self.deaf:
            return
        self.power_limit_w = power_w
        self._temporary_share = 1.0
        if self._sleep_wanted:
            return
        if self.timings.limit_restarts:
            self.restart(now_s)
        else:
            begin_s = now_s + self.timings.limit_dead_s
            self._segments = [_Segment(begin_s, self._work_level(), self.timings.limit_ramp_s)]

    def scale(self, now_s: float, share: float) -> None:
        """Temporary percentage of the limit (0 … 1) without a restart; lost by a restart."""
        if self.deaf:
            return
        self._temporary_share = min(1.0, max(0.0, share))
        if not self._sleep_wanted:
            begin_s = now_s + self.timings.scale_dead_s
            self._segments = [_Segment(begin_s, self._work_level(), self.timings.scale_ramp_s)]

    def restart(
        self,
        now_s: float,
        *,
        dead_s: float = 0.0,
        pause_s: float | None = None,
        wakes: bool = False,
    ) -> None:
        """Stop the mining process `dead_s` from now, start it `pause_s` after that.

        `pause_s` None: the firmware's own time. With `wakes` a sleeping miner comes up; otherwise
        it sleeps on.
        """
        if self.deaf:
            return
        self._temporary_share = 1.0
        if wakes:
            self._sleep_wanted = False
        timings = self.timings
        down_s = now_s + dead_s
        pause_s = timings.restart_dead_s if pause_s is None else pause_s
        up_s = down_s + timings.down_ramp_s + pause_s
        self._segments = [_Segment(down_s, 0.0, timings.down_ramp_s)]
        if not self._sleep_wanted:
            self._segments.append(_Segment(up_s, self._work_level(), timings.up_ramp_s))
        self.started_s, self._work_th = up_s, 0.0

    def step(self, now_s: float, dt_s: float, ambient_c: float) -> None:
        """Advance to `now_s`; `dt_s` is the time since the last step, of any length."""
        if dt_s <= 0.0:
            return
        if self._segments or self.level != self._goal:
            self._move(now_s, dt_s)
        if now_s >= self._noise_due_s:
            self._noise = 1.0 + self._rng.gauss(0.0, HASHRATE_NOISE)
            self._noise_due_s = now_s + 1.0
        if dt_s != self._decay_dt_s:
            self._decay_dt_s = dt_s
            self._thermal_decay = exp(-dt_s / THERMAL_TIME_CONSTANT_S)
            self._minute_decay = exp(-dt_s / MINUTE_TIME_CONSTANT_S)
        level = self.level
        sleep_power_w = self.rating.sleep_power_w
        self.ambient_c = ambient_c
        self.wall_power_w = sleep_power_w + (self.full_power_w - sleep_power_w) * level
        hashrate_ths = (
            self.full_hashrate_ths * level**EFFICIENCY_EXPONENT * self._noise if level else 0.0
        )
        self.hashrate_ths = hashrate_ths
        minute_ths = self.hashrate_1m_ths
        minute_ths += (hashrate_ths - minute_ths) * (1.0 - self._minute_decay)
        # A firmware's window forgets for good, an exponential average never does.
        gone = hashrate_ths == 0.0 and minute_ths < FORGOTTEN_SHARE * self.full_hashrate_ths
        self.hashrate_1m_ths = 0.0 if gone else minute_ths
        self._heat_share += (level - self._heat_share) * (1.0 - self._thermal_decay)
        if now_s > self.started_s:
            self._work_th += hashrate_ths * min(dt_s, now_s - self.started_s)

    def _work_level(self) -> float:
        """Level at which the miner works when it is awake."""
        limit_w = self.full_power_w if self.power_limit_w is None else self.power_limit_w
        limit_w *= self._temporary_share
        sleep_power_w = self.rating.sleep_power_w
        level = (limit_w - sleep_power_w) / (self.full_power_w - sleep_power_w)
        return min(1.0, max(self.rating.level_min, level))

    def _move(self, now_s: float, dt_s: float) -> None:
        """Follow the ramps through [now − dt, now], whatever begins within it."""
        at_s = now_s - dt_s
        while True:
            due = bool(self._segments) and self._segments[0].begin_s <= now_s
            until_s = max(at_s, self._segments[0].begin_s) if due else now_s
            way = self._rate_per_s * (until_s - at_s)
            if self.level < self._goal:
                self.level = min(self._goal, self.level + way)
            else:
                self.level = max(self._goal, self.level - way)
            at_s = until_s
            if not due:
                return
            segment = self._segments.pop(0)
            self._goal = segment.goal
            self._rate_per_s = 1.0 / max(segment.ramp_s, MIN_RAMP_S)
