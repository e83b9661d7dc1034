"""What a firmware can do and how fast, as data: read from firmware-configs/, used by decisions."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Dynamics:
    """Dead time and linear ramp of a firmware's answer to a command, in seconds from sending it.

    `down_*`: from mining to sleep draw; `up_*`: from sleep to full power. After the dead time the
    power moves linearly for the ramp time. Values are planning figures (upper side of what was
    seen), each with its source in the firmware's file.
    """

    down_dead_s: float
    down_ramp_s: float
    up_dead_s: float
    up_ramp_s: float

    @property
    def down_s(self) -> float:
        """Longest time from command to full effect when going down."""
        return self.down_dead_s + self.down_ramp_s

    @property
    def up_s(self) -> float:
        """Longest time from command to full effect when coming up."""
        return self.up_dead_s + self.up_ramp_s


@dataclass(frozen=True, slots=True, kw_only=True)
class FirmwareProfile:
    """One firmware, from `firmware-configs/miners/<firmware>/profile.toml`.

    `command_deadline_s`: how long one command may take on the wire (stock Antminer: its
    configuration write answers after about 21 s, so at least 35 s). `read_deadline_s`: one read.
    `sleep_is_persistent`: a sleep command is written to flash, so it is counted as wear and
    survives a power cycle.
    """

    firmware: str
    driver: str
    reports_power: bool
    sleep_is_persistent: bool
    command_deadline_s: float
    read_deadline_s: float
    dynamics: Dynamics


@dataclass(frozen=True, slots=True, kw_only=True)
class MinerModel:
    """Nameplate of one model, from `firmware-configs/models/<make>.toml`.

    `sleep_power_w` is what the wall meter sees while the hashboards are off (control board, fans,
    supply).
    """

    make: str
    model: str
    rated_power_w: float
    rated_hashrate_ths: float
    sleep_power_w: float

    @property
    def efficiency_jth(self) -> float:
        """J/TH = W ÷ TH/s; lower is better."""
        return self.rated_power_w / self.rated_hashrate_ths
