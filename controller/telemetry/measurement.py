"""The measurement table: every series that Naryn writes, with tags, fields, units and meaning.

Writer, dashboards and docs/telemetry.md take their names from here. A line holds its measurement's
numbers first and its texts last, in this order; what is unknown is left out, and `seq` ends it.
"""

from dataclasses import dataclass
from enum import StrEnum

from drivers.contract.quantities import Signal


class FieldKind(StrEnum):
    """How the database stores a field; a field never changes its kind."""

    FLOAT = "float"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    TEXT = "string"


_UNITS = {
    "w": "W",
    "wh": "Wh",
    "hz": "Hz",
    "v": "V",
    "a": "A",
    "s": "s",
    "ms": "ms",
    "ths": "TH/s",
    "c": "°C",
    "rpm": "1/min",
    "percent": "%",
    "m": "m",
    "m3": "m³",
    "m3_s": "m³/s",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a line."""

    name: str
    kind: FieldKind
    meaning: str

    @property
    def unit(self) -> str:
        """The unit, which ends the name, before `_min` or `_max`; empty for a bare number."""
        words = self.name.removesuffix("_min").removesuffix("_max").split("_")
        if len(words) == 1:
            return ""
        return _UNITS.get("_".join(words[-2:]), _UNITS.get(words[-1], ""))


@dataclass(frozen=True, slots=True)
class Measurement:
    """One table of the database: `tags` name a series, `fields` are its values."""

    name: str
    when: str
    tags: tuple[str, ...]
    fields: tuple[Field, ...]

    @property
    def numbers(self) -> tuple[Field, ...]:
        """The fields that are no texts; they come first."""
        return tuple(field for field in self.fields if field.kind is not FieldKind.TEXT)

    @property
    def texts(self) -> tuple[Field, ...]:
        """The fields that are texts; they come last."""
        return tuple(field for field in self.fields if field.kind is FieldKind.TEXT)


def _float(name: str, meaning: str) -> Field:
    return Field(name, FieldKind.FLOAT, meaning)


def _integer(name: str, meaning: str) -> Field:
    return Field(name, FieldKind.INTEGER, meaning)


def _boolean(name: str, meaning: str) -> Field:
    return Field(name, FieldKind.BOOLEAN, meaning)


def _text(name: str, meaning: str) -> Field:
    return Field(name, FieldKind.TEXT, meaning)


SEQ = _integer(
    "seq", "the line's own number, one higher than the last; none is ever used for two lines"
)
"""Ends every line of every measurement."""

SITE = Measurement(
    "site",
    "every tick",
    ("site",),
    (
        _float("frequency_hz", "grid frequency by the first meter that measures it"),
        _float("hashrate_ths", "what all miners that hash and answer report"),
        _float("tick_ms", "decision and journal of this tick"),
        _integer("ticks_run", "ticks since the start of the process"),
        _integer("ticks_skipped", "ticks that were left out because one overran"),
        _integer("ticks_failed", "ticks that ended with an error"),
        _integer("passed_over", "miners that were not chosen, each for a reason"),
        _integer("proposed", "miners that would be curtailed on feeders that only observe"),
        _integer("alarms_critical", "standing alarms: act now"),
        _integer("alarms_warning", "standing alarms: act today"),
        _integer("alarms_info", "standing alarms: know it"),
        _boolean("dispatcher_connected", "the dispatcher's broker is reached"),
        _float("heartbeat_age_s", "time since his last heartbeat"),
        _text("phase", "what the site as a whole is doing"),
        _text("mode", "`observe`, `part_armed` or `armed`"),
        _text("dispatcher", "`none`, `never_heard`, `heard`, `silent` or `returning`"),
    ),
)

NODE = Measurement(
    "node",
    "every tick, each node of the tree",
    ("site", "node", "kind"),
    (
        _float("limit_w", "the lowest of all limits in force"),
        _float("rating_w", "what its hardware carries"),
        _float("measured_w", "load by the meters"),
        _float("expected_w", "where the load should be now, by the commands given"),
        _float("settle_w", "where the load will end, by the commands given"),
        _float("floor_w", "the least it can draw"),
        _float("through_w", "all that flows through its own meter, other load included"),
        _boolean("planned", "the limit is planned: it is reached by a ramp"),
        _boolean("armed", "its miners are commanded; feeders only"),
        _text("cap_class", "the kind of limit that wins"),
        _text("reason", "why that limit is there"),
    ),
)

METER = Measurement(
    "meter",
    "every tick, each meter or PLC",
    ("site", "meter"),
    (
        _float("age_s", "age of its reading"),
        *(_float(str(signal), "signal of the same name") for signal in Signal),
        _text("quality", "`good`, `estimated`, `stale` or `bad`"),
        _text("fault", "why it is not good"),
    ),
)

FLEET = Measurement(
    "fleet",
    "every tick, each feeder",
    ("site", "feeder"),
    (
        _integer("miners", "miners in the inventory"),
        _integer("running", "miners that mine"),
        _integer("curtailing", "miners told to sleep, not yet asleep"),
        _integer("curtailed", "miners asleep by command"),
        _integer("restoring", "miners told to wake, not yet awake"),
        _integer("deaf", "miners told to sleep that draw on"),
        _integer("stuck", "miners told to wake that did not"),
        _integer("unreachable", "miners that do not answer, whatever their state"),
        _float("hashrate_ths", "what those that hash and answer report"),
    ),
)

MINER = Measurement(
    "miner",
    "every reading of a miner",
    ("site", "miner", "feeder", "firmware", "model"),
    (
        _float("power_w", "what it draws, by its own word or as estimated"),
        _boolean("power_estimated", "its firmware reports no power"),
        _float("power_limit_w", "the limit that its firmware holds"),
        _float("hashrate_ths", "what it reports"),
        _boolean("hashing", "it works on a job"),
        _float("chip_temperature_c", "its hottest chip"),
        _float("board_temperature_c_max", "its hottest board"),
        _float("inlet_temperature_c", "the air that goes in"),
        _integer("fan_rpm_min", "its slowest fan"),
        _integer("fan_rpm_max", "its fastest fan"),
        _integer("uptime_s", "since its last start"),
        _integer("faults", "how many faults it reports"),
        _float("read_s", "how long the reading took"),
        _text("mode", "`normal`, `low`, `high` or `sleep`"),
        _text("fault", "the first of its faults"),
    ),
)

ORDER = Measurement(
    "order",
    "every tick while in force, and once when it ends",
    ("site", "order", "node", "issuer", "class"),
    (
        _boolean("in_force", "it limits the load"),
        _float("cap_w", "the limit that was ordered"),
        _float("within_s", "time to deliver"),
        _float("baseline_w", "load when it came"),
        _float("deliverable_w", "the least load that was promised"),
        _float("measured_w", "load by the meters"),
        _float("t90_s", "from its begin until nine tenths were delivered"),
        _float("shortfall_w", "what is missing"),
        _float("delivered_wh", "energy not drawn, against the baseline"),
        _text("stage", "where it stands"),
        _text("reason", "why it stands there"),
    ),
)

ALARM = Measurement(
    "alarm",
    "when it begins or ends, and every minute while it stands",
    ("site", "alarm", "about", "severity"),
    (
        _boolean("standing", "whether it stands"),
        _text("detail", "what is the matter"),
    ),
)

EVENT = Measurement(
    "event",
    "when it happens",
    ("site", "kind"),
    (_text("text", "what happened, as a sentence"),),
)

MEASUREMENTS = (SITE, NODE, METER, FLEET, MINER, ORDER, ALARM, EVENT)
