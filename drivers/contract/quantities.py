"""Qualities of a value, and the names under which meters and plants report them."""

from enum import StrEnum


class Quality(StrEnum):
    """How far a value may be trusted. Order of trust: GOOD, ESTIMATED, STALE, BAD."""

    GOOD = "good"
    ESTIMATED = "estimated"
    """Computed from other values, e.g. watts from hashrate where the firmware reports no power."""
    STALE = "stale"
    """Older than its source's period allows."""
    BAD = "bad"
    """Unreadable, implausible, frozen, NaN or never received: there is no value."""


class Signal(StrEnum):
    """One measured quantity of a meter or plant; the unit is the last word of the name.

    Positive power is consumption at a load or feeder and generation at a generator.
    """

    POWER_W = "power_w"
    POWER_L1_W = "power_l1_w"
    POWER_L2_W = "power_l2_w"
    POWER_L3_W = "power_l3_w"
    VOLTAGE_L1_V = "voltage_l1_v"
    VOLTAGE_L2_V = "voltage_l2_v"
    VOLTAGE_L3_V = "voltage_l3_v"
    CURRENT_L1_A = "current_l1_a"
    CURRENT_L2_A = "current_l2_a"
    CURRENT_L3_A = "current_l3_a"
    FREQUENCY_HZ = "frequency_hz"
    ENERGY_IMPORT_WH = "energy_import_wh"
    ENERGY_EXPORT_WH = "energy_export_wh"
    HEADWATER_LEVEL_M = "headwater_level_m"
    TAILWATER_LEVEL_M = "tailwater_level_m"
    NET_HEAD_M = "net_head_m"
    INFLOW_M3_S = "inflow_m3_s"
    OUTFLOW_M3_S = "outflow_m3_s"
    SPILL_M3_S = "spill_m3_s"
    RESERVOIR_VOLUME_M3 = "reservoir_volume_m3"
    UNIT1_POWER_W = "unit1_power_w"
    UNIT1_GATE_PERCENT = "unit1_gate_percent"
    UNIT1_BREAKER_CLOSED = "unit1_breaker_closed"
    UNIT2_POWER_W = "unit2_power_w"
    UNIT2_GATE_PERCENT = "unit2_gate_percent"
    UNIT2_BREAKER_CLOSED = "unit2_breaker_closed"
    AUXILIARY_POWER_W = "auxiliary_power_w"
