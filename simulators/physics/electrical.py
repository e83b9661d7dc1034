"""What an ideal instrument would see at one place of the network: three phases and energies."""

import random
from dataclasses import dataclass
from math import acos, sqrt, tan

Phases = tuple[float, float, float]

PHASE_SPREAD = 0.02
"""Largest deviation of one phase from a third of the load, as a share (own assumption)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Electrical:
    """One moment at one place, phases L1 to L3, voltages to neutral; energies since the start."""

    power_w: Phases
    reactive_var: Phases
    voltage_v: Phases
    current_a: Phases
    frequency_hz: float
    import_wh: float
    export_wh: float

    @property
    def total_w(self) -> float:
        """Active power of the three phases."""
        return sum(self.power_w)


class MeasuringPoint:
    """A place in the network. The phases derive from total power, power factor and voltage."""

    def __init__(self, voltage_v: float, power_factor: float, rng: random.Random) -> None:
        self.power_w = 0.0
        self.import_wh = 0.0
        self.export_wh = 0.0
        self._phase_voltage_v = voltage_v / sqrt(3.0)
        self._reactive_share = tan(acos(power_factor))
        first, second = (rng.uniform(-PHASE_SPREAD, PHASE_SPREAD) / 2.0 for _ in range(2))
        self._shares = ((1 + first) / 3, (1 + second) / 3, (1 - first - second) / 3)

    def step(self, dt_s: float, power_w: float) -> None:
        """Carry `power_w` for `dt_s`."""
        self.power_w = power_w
        energy_wh = power_w * dt_s / 3_600.0
        if energy_wh > 0.0:
            self.import_wh += energy_wh
        else:
            self.export_wh -= energy_wh

    def look(self, voltage_pu: float, frequency_hz: float) -> Electrical:
        """Return what is to be seen now; `voltage_pu` is the voltage as a share of its nominal."""
        voltage_v = self._phase_voltage_v * voltage_pu
        power = [self.power_w * share for share in self._shares]
        reactive = [abs(phase_w) * self._reactive_share for phase_w in power]
        current = [sqrt(p * p + q * q) / voltage_v for p, q in zip(power, reactive, strict=True)]
        return Electrical(
            power_w=(power[0], power[1], power[2]),
            reactive_var=(reactive[0], reactive[1], reactive[2]),
            voltage_v=(voltage_v, voltage_v, voltage_v),
            current_a=(current[0], current[1], current[2]),
            frequency_hz=frequency_hz,
            import_wh=self.import_wh,
            export_wh=self.export_wh,
        )
