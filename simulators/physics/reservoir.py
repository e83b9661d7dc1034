"""Water above and below the plant: inflow, spill, levels, gross head.

inflow ──▶ ▒▒▒ headwater ──┬─ units ──▶ tailwater
                           └─ spillway (above the crest) ──▶
"""

from math import sqrt

from simulators.scenario import ReservoirSetup

WEIR_COEFFICIENT = 1.8
"""Spill = coefficient · crest length · head over it ^ 1.5, metric (weirs: 1.7 … 2.2)."""


class Reservoir:
    """Volume counts from the lowest operating level up; the walls are vertical."""

    def __init__(self, setup: ReservoirSetup, rated_flow_m3_s: float) -> None:
        self.setup = setup
        self.inflow_m3_s = setup.inflow_m3_s
        self.volume_m3 = setup.area_m2 * (setup.level_m - setup.level_min_m)
        self.spill_m3_s = 0.0
        self.turbine_flow_m3_s = 0.0
        self._rated_flow_m3_s = rated_flow_m3_s
        self._spill()

    @property
    def headwater_m(self) -> float:
        """Level above the plant, metres above sea."""
        return self.setup.level_min_m + self.volume_m3 / self.setup.area_m2

    @property
    def outflow_m3_s(self) -> float:
        """All water that leaves: through the units and over the spillway."""
        return self.turbine_flow_m3_s + self.spill_m3_s

    @property
    def tailwater_m(self) -> float:
        """Level below the plant: rises with the root of the outflow."""
        share = max(0.0, self.outflow_m3_s) / self._rated_flow_m3_s
        return self.setup.tailwater_m + self.setup.tailwater_rise_m * sqrt(share)

    @property
    def gross_head_m(self) -> float:
        """Difference of the two levels."""
        return self.headwater_m - self.tailwater_m

    def step(self, dt_s: float, turbine_flow_m3_s: float) -> None:
        """Advance by `dt_s` while the units take `turbine_flow_m3_s`."""
        self.turbine_flow_m3_s = turbine_flow_m3_s
        change_m3 = (self.inflow_m3_s - self.outflow_m3_s) * dt_s
        self.volume_m3 = max(0.0, self.volume_m3 + change_m3)
        self._spill()

    def _spill(self) -> None:
        over_m = self.headwater_m - self.setup.level_full_m
        crest_m = self.setup.crest_length_m
        self.spill_m3_s = WEIR_COEFFICIENT * crest_m * over_m**1.5 if over_m > 0.0 else 0.0
