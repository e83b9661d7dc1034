"""The 50 Hz interconnection behind the plant, as the plant's bus sees it.

    frequency = 50 Hz + ordinary wandering + swing caused by our own imbalance + a scripted event

The swing follows the swing equation of one large machine with load damping and a lagging droop
response; megawatts against gigawatts, so it is a matter of a millihertz. What the plant usually
exports is balanced by others within minutes, so only changes count.
"""

import math
import random

from simulators.physics.noise import Wander
from simulators.scenario import GridSetup

NOMINAL_HZ = 50.0
LOAD_DAMPING = 1.0
"""Load falls by so many per cent when frequency falls by one (usual planning value)."""
NOISE_MEMORY_S = 12.0
BALANCE_S = 120.0
"""Within about this time others have replaced what changed here (assumption of the simulator)."""
SUBSTEP_S = 0.1
"""The swing is integrated in steps of at most this, to stay stable."""


class Grid:
    """Frequency of the interconnection. `frequency_hz` is readable after each step."""

    def __init__(self, setup: GridSetup, rng: random.Random) -> None:
        self.setup = setup
        self.frequency_hz = NOMINAL_HZ
        self.event_target_hz = 0.0
        """Deviation that a scripted event asks for; reached at `event_rate_hz_s`."""
        self._noise = Wander(setup.noise_hz, NOISE_MEMORY_S, rng)
        self._swing_hz = 0.0
        self._response_w = 0.0
        self._event_hz = 0.0
        self._usual_export_w: float | None = None

    @property
    def swing_hz(self) -> float:
        """The part of the deviation that our own imbalance causes."""
        return self._swing_hz

    def step(self, dt_s: float, export_w: float) -> None:
        """Advance by `dt_s` while the plant exports `export_w` (negative: imports)."""
        if self._usual_export_w is None:
            self._usual_export_w = export_w
        surplus_w = export_w - self._usual_export_w
        self._usual_export_w += surplus_w * (1.0 - math.exp(-dt_s / BALANCE_S))
        count = max(1, math.ceil(dt_s / SUBSTEP_S - 1e-9))
        for _ in range(count):
            self._swing(dt_s / count, surplus_w)
        way_hz = self.setup.event_rate_hz_s * dt_s
        gap_hz = self.event_target_hz - self._event_hz
        self._event_hz += min(way_hz, max(-way_hz, gap_hz))
        self.frequency_hz = NOMINAL_HZ + self._noise.step(dt_s) + self._swing_hz + self._event_hz

    def _swing(self, dt_s: float, surplus_w: float) -> None:
        setup = self.setup
        deviation = self._swing_hz / NOMINAL_HZ
        wanted_w = -setup.system_w * deviation * 100.0 / setup.droop_percent
        self._response_w += (wanted_w - self._response_w) * dt_s / setup.response_s
        damping_w = -LOAD_DAMPING * setup.system_w * deviation
        net_w = surplus_w + self._response_w + damping_w
        self._swing_hz += NOMINAL_HZ * net_w * dt_s / (2.0 * setup.inertia_s * setup.system_w)
