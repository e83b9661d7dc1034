"""One device's values at one moment. Unknown is None, never 0."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from drivers.contract.quantities import Signal


class WorkMode(StrEnum):
    """What a miner's firmware has been told to do, in one vocabulary for all makes."""

    NORMAL = "normal"
    LOW = "low"
    HIGH = "high"
    SLEEP = "sleep"


class MinerReading(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one miner said of itself. No dataclass: thousands are made every second.

    `begun_s` is when the request began and `taken_s` when the reply was whole: a command is
    confirmed only by a reading begun after it. `power_w` is what the firmware reports, None where
    it reports none (stock Antminer): an estimate is made by the controller, not here. `raw_mode`
    is the mode as the firmware spells it, kept so that exactly that mode can be restored.
    """

    miner_id: str
    begun_s: float
    taken_s: float
    make: str | None = None
    model: str | None = None
    firmware: str | None = None
    firmware_version: str | None = None
    serial: str | None = None
    mac: str | None = None
    hashing: bool | None = None
    hashrate_ths: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    mode: WorkMode | None = None
    raw_mode: str | None = None
    chip_temperature_c: float | None = None
    board_temperatures_c: tuple[float | None, ...] = ()
    inlet_temperature_c: float | None = None
    fans_rpm: tuple[int, ...] = ()
    uptime_s: int | None = None
    pool_urls: tuple[str, ...] | None = None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterReading:
    """What one meter (or plant PLC) said. A signal that was asked for and has no good value is
    None.

    `raw` is the register words of the signals that were asked for, one after the other, for the
    frozen-value rule: identical words for longer than the map's limit at load mean that the meter
    republishes an old value. Words between the signals are left out: a clock ticking in a gap would
    hide a freeze.
    """

    meter_id: str
    begun_s: float
    taken_s: float
    values: Mapping[Signal, float | None]
    raw: tuple[int, ...]
    faults: tuple[str, ...] = ()
    """One sentence a signal that could not be used: not-available sentinel, NaN, outside its
    plausible range.
    """
