"""The whole plant: water, units, auxiliaries, town, mining feeders, grid, joined by power balance.

    river ▒▶ units ──▶ ═══ bus ═══ ──▶ station (to the grid; negative: from it)
                        │ │ └ auxiliaries
                        │ └ town
                        └ mining feeders

The load side (town, feeders, auxiliaries) hangs on one transformer: `bus` and `transformer` are the
same place. Every place is a `MeasuringPoint` in `points`.
"""

import random
from collections.abc import Mapping

from simulators.physics.electrical import Electrical, MeasuringPoint
from simulators.physics.feeder import Feeder
from simulators.physics.grid import Grid
from simulators.physics.noise import Wander
from simulators.physics.reservoir import Reservoir
from simulators.physics.town import Town
from simulators.physics.turbine import Unit
from simulators.scenario import FeederSetup, GridSetup, PlantSetup, TownSetup

VOLTAGE_DEVIATION = 0.004
VOLTAGE_MEMORY_S = 60.0
"""The bus voltage wanders so far and so slowly about its nominal (assumptions of the simulator)."""
LEVEL_CONTROL_S = 600.0
"""Run of river: a wrong headwater level is corrected within about this time."""
LOW_WATER_RELEASE_M = 0.2
"""After a stop for low water the units take water again when the level has risen by this."""


class Plant:
    """True state of the plant. Read the parts; `step` moves all of them together."""

    def __init__(
        self,
        setup: PlantSetup,
        *,
        town: TownSetup,
        grid: GridSetup,
        feeders: tuple[FeederSetup, ...],
        seed: int,
    ) -> None:
        self.setup = setup
        rated_flow_m3_s = sum(unit.rated_flow_m3_s for unit in setup.units)
        self.reservoir = Reservoir(setup.reservoir, rated_flow_m3_s)
        self.units = {unit.id: Unit(unit) for unit in setup.units}
        self.town = Town(town, _rng(seed, "town"))
        self.grid = Grid(grid, _rng(seed, "grid"))
        self.feeders = {feeder.id: Feeder(feeder) for feeder in feeders}
        self.voltage_pu = 1.0
        self.low_water = False
        self._voltage = Wander(VOLTAGE_DEVIATION, VOLTAGE_MEMORY_S, _rng(seed, "voltage"))
        load = MeasuringPoint(setup.load_voltage_v, town.power_factor, _rng(seed, "bus"))
        self.points = {
            "station": MeasuringPoint(
                setup.station_voltage_v, town.power_factor, _rng(seed, "station")
            ),
            "bus": load,
            "transformer": load,
            "town": MeasuringPoint(setup.load_voltage_v, town.power_factor, _rng(seed, "town.p")),
        }
        for feeder in feeders:
            rng = _rng(seed, f"feeder:{feeder.id}")
            point = MeasuringPoint(feeder.voltage_v, feeder.power_factor, rng)
            self.points[f"feeder:{feeder.id}"] = point
        for unit in setup.units:
            rng = _rng(seed, f"unit:{unit.id}")
            self.points[f"unit:{unit.id}"] = MeasuringPoint(
                setup.unit_voltage_v, unit.power_factor, rng
            )
        self._settle()

    @property
    def generation_w(self) -> float:
        """Power of all units."""
        return sum(unit.power_w for unit in self.units.values())

    @property
    def mining_w(self) -> float:
        """Power of all mining feeders, with their auxiliaries and losses."""
        return sum(feeder.power_w for feeder in self.feeders.values())

    @property
    def bus_w(self) -> float:
        """Town, mining and the plant's own auxiliaries."""
        return self.town.power_w + self.mining_w + self.setup.auxiliary_w

    @property
    def export_w(self) -> float:
        """What goes to the grid; negative: what comes from it."""
        return self.generation_w - self.bus_w

    @property
    def net_head_m(self) -> float:
        """Net head of the running units, weighted by flow; the gross head when none runs."""
        flow_m3_s = sum(unit.flow_m3_s for unit in self.units.values())
        if flow_m3_s <= 0.0:
            return self.reservoir.gross_head_m
        weighted = sum(unit.net_head_m * unit.flow_m3_s for unit in self.units.values())
        return weighted / flow_m3_s

    def look(self, place: str) -> Electrical:
        """Return what an ideal instrument sees at one of `points`."""
        return self.points[place].look(self.voltage_pu, self.grid.frequency_hz)

    def step(self, dt_s: float, time_of_day_s: float, miners_w: Mapping[str, float]) -> None:
        """Advance by `dt_s` to a local time of day; `miners_w` is miners' wall power by feeder."""
        self.voltage_pu = 1.0 + self._voltage.step(dt_s)
        self.town.step(dt_s, time_of_day_s)
        for feeder in self.feeders.values():
            feeder.step(miners_w.get(feeder.id, 0.0), self.voltage_pu)
        head_m = self.reservoir.gross_head_m
        references_w = self._references_w()
        for unit in self.units.values():
            unit.step(dt_s, head_m, self.grid.frequency_hz, references_w[unit.id])
        self.reservoir.step(dt_s, sum(unit.flow_m3_s for unit in self.units.values()))
        self.grid.step(dt_s, self.export_w)
        self._count(dt_s)

    def _count(self, dt_s: float) -> None:
        points = self.points
        points["station"].step(dt_s, self.export_w)
        points["bus"].step(dt_s, self.bus_w)
        points["town"].step(dt_s, self.town.power_w)
        for feeder in self.feeders.values():
            points[f"feeder:{feeder.id}"].step(dt_s, feeder.power_w)
        for unit in self.units.values():
            points[f"unit:{unit.id}"].step(dt_s, unit.power_w)

    def _references_w(self) -> dict[int, float]:
        """Power that each unit is to give at 50 Hz: by schedule, or by the water of the river."""
        water = self.reservoir
        level_min_m = water.setup.level_min_m
        margin_m = LOW_WATER_RELEASE_M if self.low_water else 0.0
        self.low_water = water.headwater_m <= level_min_m + margin_m
        if self.low_water:
            return dict.fromkeys(self.units, 0.0)
        if self.setup.operation == "storage":
            return {unit.id: unit.scheduled_w for unit in self.units.values()}
        running = [unit for unit in self.units.values() if unit.breaker_closed]
        off_m = water.headwater_m - water.setup.level_m
        flow_m3_s = water.inflow_m3_s + off_m * water.setup.area_m2 / LEVEL_CONTROL_S
        rated_m3_s = sum(unit.setup.rated_flow_m3_s for unit in running)
        share = min(1.0, max(0.0, flow_m3_s / rated_m3_s)) if running else 0.0
        return {
            unit.id: unit.power_at_w(share * unit.setup.rated_flow_m3_s, water.gross_head_m)
            for unit in self.units.values()
        }

    def _settle(self) -> None:
        """Begin in the steady state; a few rounds, because the outflow lifts the tailwater."""
        for _ in range(5):
            references_w = self._references_w()
            head_m = self.reservoir.gross_head_m
            for unit in self.units.values():
                unit.settle(head_m, references_w[unit.id])
            self.reservoir.step(0.0, sum(unit.flow_m3_s for unit in self.units.values()))


def _rng(seed: int, name: str) -> random.Random:
    """Return a random source of its own for each part, so that one more part changes no other."""
    return random.Random(f"{seed}/{name}")
