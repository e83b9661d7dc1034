"""The whole world of a scenario, advanced in fixed steps: same scenario, same seed, same numbers.

    events ─▶ miners ─▶ feeders, town, water, grid ─▶ meters look

Nothing here reads a clock or a socket: `step_to` is told the time, in seconds since the start. Over
sockets `simulators.serve` tells it the real time; a virtual-clock run tells it its own.
"""

import random
from datetime import datetime, timedelta

from simulators.devices.fleet import build_fleet
from simulators.devices.meters import Meter
from simulators.devices.modbus import MeterFault
from simulators.devices.persona import Persona
from simulators.devices.plc import Plc
from simulators.devices.register_image import ROUNDING_S
from simulators.physics.plant import Plant
from simulators.scenario import BISHKEK, WORLD_EVENTS, Event, Scenario


class World:
    """Plant, miners and meters of one scenario.

    `miners` are keyed by address, `meters` (plant PLCs among them) by id. `seed` None: the
    scenario's own. `start_utc` sets the time of day that the town lives by.
    """

    def __init__(self, scenario: Scenario, *, seed: int | None = None, start_utc: datetime) -> None:
        if start_utc.tzinfo is None:
            raise ValueError("start_utc has no time zone; give an aware UTC datetime")
        self.scenario = scenario
        self.seed = scenario.seed if seed is None else seed
        self.start_utc = start_utc
        self.ambient_c = scenario.plant.ambient_c
        self.plant = Plant(
            scenario.plant,
            town=scenario.town,
            grid=scenario.grid,
            feeders=scenario.feeders,
            seed=self.seed,
        )
        self.miners: dict[str, Persona] = build_fleet(
            scenario.fleets,
            rng=self._rng("fleet"),
            ambient_c=self.ambient_c,
            epoch_s=int(start_utc.timestamp()),
        )
        self.meters: dict[str, Meter | Plc] = {
            setup.id: Plc(setup, self.plant)
            if setup.product == "plant-plc"
            else Meter(setup, self.plant, rng=self._rng(f"meter:{setup.id}"))
            for setup in scenario.meters
        }
        self._steps = 0
        self._events = [event for event in scenario.events if event.kind in WORLD_EVENTS]
        self._next_event = 0
        self._miner_faults_until_s: dict[str, float] = {}
        self._frequency_until_s = 0.0
        self._by_feeder = [(persona.feeder, persona.miner) for persona in self.miners.values()]
        local = start_utc.astimezone(BISHKEK)
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        self._start_of_day_s = (local - midnight).total_seconds()
        self._step(scenario.step_s)

    @property
    def now_s(self) -> float:
        """Time of the last step, in seconds since the start."""
        return self._steps * self.scenario.step_s

    @property
    def now_utc(self) -> datetime:
        """Wall time of the last step."""
        return self.start_utc + timedelta(seconds=self.now_s)

    def step_to(self, now_s: float) -> None:
        """Advance in whole steps to the last one that is due at `now_s`; never back."""
        step_s = self.scenario.step_s
        while (self._steps + 1) * step_s <= now_s + ROUNDING_S:
            self._steps += 1
            self._step(step_s)

    def play(self, event: Event) -> None:
        """Let one of `WORLD_EVENTS` happen now. Raises ValueError for another kind."""
        params, now_s = event.params, self.now_s
        match event.kind:
            case "ambient":
                self.ambient_c = float(params["celsius"])
            case "inflow":
                self.plant.reservoir.inflow_m3_s = float(params["m3_s"])
            case "frequency":
                self.plant.grid.event_target_hz = float(params["delta_hz"])
                self._frequency_until_s = now_s + float(params["for_s"])
            case "unit_trip":
                self.plant.units[int(params["unit"])].trip()
            case "unit_start":
                self.plant.units[int(params["unit"])].start()
            case "meter_fault":
                self.meters[str(params["meter"])].set_fault(
                    MeterFault(str(params["fault"])),
                    until_s=now_s + float(params["for_s"]),
                    delay_s=float(params["delay_s"]),
                )
            case "miner_fault":
                host = str(params["host"])
                self.miners[host].set_fault(str(params["fault"]))
                self._miner_faults_until_s[host] = now_s + float(params["for_s"])
            case _:
                kinds = ", ".join(WORLD_EVENTS)
                raise ValueError(f"event kind {event.kind!r} is not played here; one of: {kinds}")

    def truth(self) -> dict[str, object]:
        """Return the true state for judges, as JSON values: what the meters should say."""
        plant, water = self.plant, self.plant.reservoir
        return {
            "t_s": round(self.now_s, 3),
            "at": self.now_utc.isoformat(timespec="milliseconds"),
            "mining_w": round(plant.mining_w, 1),
            "miners_w": round(sum(miner.wall_power_w for _, miner in self._by_feeder), 1),
            "hashrate_ths": round(sum(miner.hashrate_ths for _, miner in self._by_feeder), 1),
            "town_w": round(plant.town.power_w, 1),
            "auxiliary_w": plant.setup.auxiliary_w,
            "bus_w": round(plant.bus_w, 1),
            "generation_w": round(plant.generation_w, 1),
            "export_w": round(plant.export_w, 1),
            "frequency_hz": round(plant.grid.frequency_hz, 4),
            "ambient_c": self.ambient_c,
            "headwater_m": round(water.headwater_m, 4),
            "tailwater_m": round(water.tailwater_m, 4),
            "inflow_m3_s": water.inflow_m3_s,
            "spill_m3_s": round(water.spill_m3_s, 3),
            "feeders": {
                feeder.id: {
                    "power_w": round(feeder.power_w, 1),
                    "rating_w": feeder.setup.rating_w,
                    "miners_w": round(feeder.miners_w, 1),
                    "loss_w": round(feeder.loss_w, 1),
                    "import_wh": round(plant.points[f"feeder:{feeder.id}"].import_wh, 3),
                }
                for feeder in plant.feeders.values()
            },
        }

    def _step(self, step_s: float) -> None:
        now_s = self.now_s
        self._play_due(now_s)
        ambient_c = self.ambient_c
        miners_w = dict.fromkeys(self.plant.feeders, 0.0)
        for feeder, miner in self._by_feeder:
            miner.step(now_s, step_s, ambient_c)
            miners_w[feeder] += miner.wall_power_w
        self.plant.step(step_s, self._start_of_day_s + now_s, miners_w)
        for meter in self.meters.values():
            meter.observe(now_s)

    def _play_due(self, now_s: float) -> None:
        """End what has lasted long enough, then begin what is due: a new fault outlives an old."""
        for host, until_s in tuple(self._miner_faults_until_s.items()):
            if now_s + ROUNDING_S >= until_s:
                self.miners[host].set_fault(None)
                del self._miner_faults_until_s[host]
        if now_s + ROUNDING_S >= self._frequency_until_s:
            self.plant.grid.event_target_hz = 0.0
        while self._next_event < len(self._events):
            event = self._events[self._next_event]
            if event.at_s > now_s + ROUNDING_S:
                return
            self._next_event += 1
            self.play(event)

    def _rng(self, name: str) -> random.Random:
        return random.Random(f"{self.seed}/{name}")
