"""A three-phase meter: looks at the plant once a period, adds its own noise, publishes registers.

The register maps stand in `simulators.devices.meter_maps`.
"""

import random
from collections.abc import Mapping
from math import sqrt

from simulators.devices.meter_maps import LINES, METER_LAYOUTS, PHASES
from simulators.devices.modbus import MeterFault, ModbusDevice
from simulators.devices.register_image import ROUNDING_S, Image
from simulators.physics.electrical import Electrical
from simulators.physics.plant import Plant
from simulators.scenario import MeterSetup

FREQUENCY_NOISE_HZ = 0.001
VOLTAGE_NOISE_SHARE = 0.5
"""Voltage is measured this much better than current and power (assumption of the simulator)."""
TURNAROUND_S = 0.005


class Meter(ModbusDevice):
    """One meter of the scenario. The world calls `observe` with every step."""

    def __init__(self, setup: MeterSetup, plant: Plant, *, rng: random.Random) -> None:
        self.setup = setup
        self.image = Image(METER_LAYOUTS[setup.product], latency_s=setup.latency_s)
        super().__init__(setup.id, setup.unit_id, self.image, turnaround_s=TURNAROUND_S)
        self._plant = plant
        self._rng = rng
        self._next_s = 0.0

    def observe(self, now_s: float) -> None:
        """Take a sample when the meter's own period has passed; a frozen meter takes none."""
        if now_s < self._next_s - ROUNDING_S:
            return
        self._next_s = next_after(self._next_s, self.setup.update_s, now_s)
        if self.fault(now_s) is not MeterFault.FROZEN:
            seen = self._plant.look(self.setup.measures)
            self.image.publish(self._quantities(seen), now_s)

    def _quantities(self, seen: Electrical) -> Mapping[str, float]:
        """Return every quantity of the maps, with noise on each phase's P, Q, V and I."""
        sigma = self.setup.noise_percent / 100.0
        sign = -1.0 if self.setup.reversed else 1.0
        power = [sign * value * self._noisy(sigma) for value in seen.power_w]
        reactive = [sign * value * self._noisy(sigma) for value in seen.reactive_var]
        current = [value * self._noisy(sigma) for value in seen.current_a]
        voltage = [value * self._noisy(sigma * VOLTAGE_NOISE_SHARE) for value in seen.voltage_v]
        apparent = [sqrt(p * p + q * q) for p, q in zip(power, reactive, strict=True)]
        values: dict[str, float] = {}
        for name, phases in (
            ("power_w", power),
            ("reactive_var", reactive),
            ("apparent_va", apparent),
            ("current_a", current),
            ("voltage_v", voltage),
        ):
            values.update(zip([name + phase for phase in PHASES], phases, strict=True))
            mean = name in ("current_a", "voltage_v")
            values[name] = sum(phases) / 3.0 if mean else sum(phases)
        values["apparent_va"] = sqrt(values["power_w"] ** 2 + values["reactive_var"] ** 2)
        values["current_a_sum"] = sum(current)
        line_v = values["voltage_v"] * sqrt(3.0)
        values.update((f"voltage_v{line}", line_v) for line in LINES)
        values["voltage_v_lines"] = line_v
        for suffix in ("", *PHASES):
            apparent_va = values[f"apparent_va{suffix}"]
            share = values[f"power_w{suffix}"] / apparent_va if apparent_va > 0.0 else 1.0
            values[f"power_factor_signed{suffix}"] = share
            values[f"power_factor{suffix}"] = abs(share)
        values["frequency_hz"] = seen.frequency_hz + self._rng.gauss(0.0, FREQUENCY_NOISE_HZ)
        imported, exported = seen.import_wh, seen.export_wh
        values["import_wh"], values["export_wh"] = (
            (exported, imported) if self.setup.reversed else (imported, exported)
        )
        values["energy_wh"] = imported + exported
        return values

    def _noisy(self, sigma: float) -> float:
        return 1.0 + self._rng.gauss(0.0, sigma)


def next_after(due_s: float, period_s: float, now_s: float) -> float:
    """Return the first moment of a beat of `period_s` that lies after `now_s`.

    >>> next_after(10.0, 1.0, 10.3), next_after(10.0, 1.0, 15.0)
    (11.0, 16.0)
    """
    return due_s + period_s * (1 + int((now_s - due_s + ROUNDING_S) / period_s))
