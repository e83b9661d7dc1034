"""One hydro unit: gate, water, power, governor, breaker.

    reference ± droop ──▶ governor ──rate limit──▶ gate ──▶ flow ──▶ P = η ρ g Q H

Left out: water hammer and the rotor's own swing; the interconnection holds the speed.
"""

from math import copysign, sqrt

from simulators.physics.grid import NOMINAL_HZ
from simulators.scenario import UnitSetup

WATER_N_M3 = 1_000.0 * 9.81
"""Weight of a cubic metre of water: ρ g."""
EFFICIENCY_BEST = 0.93
EFFICIENCY_LEAST = 0.85
"""The hill of water-to-wire efficiency that hydro plants are planned with: 0.85 … 0.93."""
BEST_FLOW_SHARE = 0.8
HILL_WIDTH = 0.6
"""At a flow this far from the best the efficiency is down to its least (own assumption)."""
GOVERNOR_GAIN_PER_S = 0.5
SETTLE_ROUNDS = 40


def efficiency(flow_share: float) -> float:
    """Return the efficiency at a share of rated flow.

    >>> efficiency(0.8), efficiency(0.2)
    (0.93, 0.85)
    """
    off = (flow_share - BEST_FLOW_SHARE) / HILL_WIDTH
    lost = (EFFICIENCY_BEST - EFFICIENCY_LEAST) * min(1.0, off * off)
    return round(EFFICIENCY_BEST - lost, 12)


class Unit:
    """One unit. `power_w` is positive generation; `gate` is 0 … 1."""

    def __init__(self, setup: UnitSetup) -> None:
        self.setup = setup
        self.id = setup.id
        self.scheduled_w = setup.scheduled_w
        self.breaker_closed = True
        self.gate = 0.0
        self.flow_m3_s = 0.0
        self.net_head_m = 0.0
        self.power_w = 0.0

    def settle(self, gross_head_m: float, reference_w: float) -> None:
        """Stand at once where the governor would bring the unit at 50 Hz."""
        low, high = 0.0, 1.0
        for _ in range(SETTLE_ROUNDS):
            self.gate = (low + high) / 2.0
            self._flow(gross_head_m)
            if self.power_w < reference_w:
                low = self.gate
            else:
                high = self.gate

    def trip(self) -> None:
        """Open the breaker; the gate closes as fast as it can."""
        self.breaker_closed = False

    def start(self) -> None:
        """Close the breaker; the governor takes the unit up."""
        self.breaker_closed = True

    def power_at_w(self, flow_m3_s: float, gross_head_m: float) -> float:
        """Return the power that a flow would give."""
        share = min(1.0, flow_m3_s / self.setup.rated_flow_m3_s)
        net_m = max(0.0, gross_head_m - self.setup.head_loss_m * share**2)
        return efficiency(share) * WATER_N_M3 * share * self.setup.rated_flow_m3_s * net_m

    def step(
        self, dt_s: float, gross_head_m: float, frequency_hz: float, reference_w: float
    ) -> None:
        """Advance by `dt_s`; `reference_w` is what the unit would give at 50 Hz."""
        rate_s = self.setup.gate_rate_percent_s / 100.0
        if self.breaker_closed:
            wanted_w = reference_w + self._droop_w(frequency_hz)
            wanted_w = min(self.setup.rated_w, max(0.0, wanted_w))
            gap = (wanted_w - self.power_w) / self.setup.rated_w
            move = min(rate_s, max(-rate_s, GOVERNOR_GAIN_PER_S * gap))
        else:
            move = -rate_s
        self.gate = min(1.0, max(0.0, self.gate + move * dt_s))
        self._flow(gross_head_m)

    def _droop_w(self, frequency_hz: float) -> float:
        setup = self.setup
        deviation_hz = frequency_hz - NOMINAL_HZ
        beyond_hz = max(0.0, abs(deviation_hz) - setup.deadband_hz)
        share = beyond_hz / NOMINAL_HZ * 100.0 / setup.droop_percent
        return -copysign(share, deviation_hz) * setup.rated_w

    def _flow(self, gross_head_m: float) -> None:
        setup = self.setup
        loss = setup.head_loss_m * self.gate**2 / setup.rated_head_m
        self.net_head_m = max(0.0, gross_head_m) / (1.0 + loss)
        head_share = sqrt(self.net_head_m / setup.rated_head_m)
        self.flow_m3_s = self.gate * setup.rated_flow_m3_s * head_share
        share = self.flow_m3_s / setup.rated_flow_m3_s
        hydraulic_w = WATER_N_M3 * self.flow_m3_s * self.net_head_m
        self.power_w = efficiency(share) * hydraulic_w if self.breaker_closed else 0.0
