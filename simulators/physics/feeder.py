"""One mining feeder: its miners, its auxiliaries, and the loss of its cable."""

from math import sqrt

from simulators.scenario import FeederSetup


class Feeder:
    """`power_w` is what the switchgear feeds in: miners + auxiliaries + loss."""

    def __init__(self, setup: FeederSetup) -> None:
        self.setup = setup
        self.id = setup.id
        self.miners_w = 0.0
        self.loss_w = 0.0
        self.power_w = 0.0

    def step(self, miners_w: float, voltage_pu: float) -> None:
        """Carry the wall power of the feeder's miners at this bus voltage."""
        setup = self.setup
        load_w = miners_w + setup.auxiliary_w
        current_a = load_w / (sqrt(3.0) * setup.voltage_v * voltage_pu * setup.power_factor)
        self.miners_w = miners_w
        self.loss_w = 3.0 * current_a**2 * setup.cable_ohm
        self.power_w = load_w + self.loss_w
