"""The town on the same bus: a daily curve with the Kyrgyz winter peaks, and noise.

        morning 07-09        evening 18-21
            ____                 _____
     ______/    \\______________/      \\____   W over the local hour
    night           day                night

The peak hours are those of Kyrgyz practice (07-09 and 18-21, Asia/Bishkek).
"""

import random
from bisect import bisect_right

from simulators.physics.noise import Wander
from simulators.scenario import TownSetup

NOISE_MEMORY_S = 20.0
"""How long the town's load stays above or below its curve (assumption of the simulator)."""
DAY_S = 86_400.0


class Town:
    """The town's load; `power_w` is positive consumption."""

    def __init__(self, setup: TownSetup, rng: random.Random) -> None:
        self.setup = setup
        self._noise = Wander(setup.noise_percent / 100.0, NOISE_MEMORY_S, rng)
        corners = (
            (0.0, setup.night_w),
            (5.5, setup.night_w),
            (7.0, setup.morning_peak_w),
            (9.0, setup.morning_peak_w),
            (10.5, setup.day_w),
            (16.5, setup.day_w),
            (18.0, setup.evening_peak_w),
            (21.0, setup.evening_peak_w),
            (23.0, setup.night_w),
            (24.0, setup.night_w),
        )
        self._hours_s = [hour * 3_600.0 for hour, _ in corners]
        self._powers_w = [power_w for _, power_w in corners]
        self.power_w = 0.0

    def curve_w(self, time_of_day_s: float) -> float:
        """Return the load without noise at a local time of day (seconds after midnight)."""
        now_s = time_of_day_s % DAY_S
        right = bisect_right(self._hours_s, now_s)
        from_s, to_s = self._hours_s[right - 1], self._hours_s[right]
        from_w, to_w = self._powers_w[right - 1], self._powers_w[right]
        return from_w + (to_w - from_w) * (now_s - from_s) / (to_s - from_s)

    def step(self, dt_s: float, time_of_day_s: float) -> None:
        """Advance by `dt_s` to the local time of day `time_of_day_s`."""
        share = max(0.0, 1.0 + self._noise.step(dt_s))
        self.power_w = self.curve_w(time_of_day_s) * share
