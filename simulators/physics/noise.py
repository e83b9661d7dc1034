"""Noise with a memory: an Ornstein-Uhlenbeck process, the same whatever the length of the steps."""

import math
import random


class Wander:
    """A value that wanders about 0: standard deviation `deviation`, memory `memory_s` seconds."""

    def __init__(self, deviation: float, memory_s: float, rng: random.Random) -> None:
        self.value = 0.0
        self._deviation = deviation
        self._memory_s = memory_s
        self._rng = rng
        self._dt_s = 0.0
        self._keep = 1.0
        self._kick = 0.0

    def step(self, dt_s: float) -> float:
        """Advance by `dt_s` and return the new value."""
        if dt_s != self._dt_s:
            self._dt_s = dt_s
            self._keep = math.exp(-dt_s / self._memory_s)
            self._kick = self._deviation * math.sqrt(1.0 - self._keep**2)
        self.value = self.value * self._keep + self._kick * self._rng.gauss(0.0, 1.0)
        return self.value
