"""The form of `site.toml`. Every number carries its unit in its key; unknown keys are refused.

People write kW and MW/min; decisions count in W. Defaults and their evidence:
controller/power/site.py.
"""

from datetime import time
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from controller.power.site import NodeKind, OnMeterLoss

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
"""Strict: neither `true` nor "5" is a number of kilowatts."""
Whole = Annotated[int, Field(strict=True)]
Kilowatts = Annotated[Number, Field(ge=0, le=10_000_000)]
Seconds = Annotated[Number, Field(gt=0, le=86_400)]
SecondsOrZero = Annotated[Number, Field(ge=0, le=86_400)]
Percent = Annotated[Number, Field(ge=0, le=50)]
RampMwPerMin = Annotated[Number, Field(gt=0, le=10_000)]
Port = Annotated[Whole, Field(ge=1, le=65_535)]
Host = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9:._-]+$")]


def _local_time(value: object) -> time:
    """A TOML time, or one in quotes: TOML itself has no word for a time without seconds."""
    try:
        found = value if isinstance(value, time) else time.fromisoformat(str(value))
    except ValueError:
        found = None
    if found is None or not isinstance(value, str | time):
        raise ValueError('write a local time in quotes, such as "18:00"')
    if found.tzinfo is not None:
        raise ValueError("times are local to the site; write it without an offset")
    return found


LocalTime = Annotated[time, BeforeValidator(_local_time)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class SiteSection(Section):
    """`[site]`: who and where. `state_dir` is relative to the file's folder.

    `clock`: who keeps the wall clock in step. "kernel" believes adjtimex, and refuses dated orders
    that raise the load while it says *not synchronised*; "host" is for virtual machines and
    containers whose clock the host keeps.
    """

    id: Name
    name: str = Field(default="", max_length=200)
    timezone: str = "Asia/Bishkek"
    clock: Literal["kernel", "host"] = "kernel"
    state_dir: Path = Path("state")

    @field_validator("timezone")
    @classmethod
    def _known(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("no such time zone; write an IANA name such as Asia/Bishkek") from None
        return zone


class ControlSection(Section):
    """`[control]`: the control law. Ramps are of the whole site."""

    tick_s: Annotated[Number, Field(ge=0.1, le=10)] = 1.0
    margin_percent: Percent = 1.0
    deadband_percent: Percent = 1.0
    over_limit_percent: Percent = 1.0
    ramp_up_mw_per_min: RampMwPerMin
    ramp_down_mw_per_min: RampMwPerMin
    min_on_s: SecondsOrZero = 300.0
    min_off_s: SecondsOrZero = 60.0
    recover_s: SecondsOrZero = 10.0
    confirm_s: Seconds = 8.0
    verify_hold_s: Seconds = 5.0
    service_s: Seconds = 60.0
    retry_s: Seconds = 60.0


class _PaceSection(Section):
    period_s: Seconds
    order_period_s: Seconds

    @model_validator(mode="after")
    def _order_is_faster(self) -> Self:
        if self.order_period_s > self.period_s:
            raise ValueError("order_period_s must not be longer than period_s")
        return self


class FirmwarePaceSection(_PaceSection):
    """`[[poll.firmware]]`: another pace for the miners of one firmware, `name` in the inventory."""

    name: Name


class PollSection(_PaceSection):
    """`[poll]`: how often miners are read. `connections_max` bounds reads under way at once.

    Between the controller and the miners may stand a firewall that remembers every connection for
    two minutes after its end: `connections_per_s_max` keeps polling below what it can remember.
    """

    period_s: Seconds = 30.0
    order_period_s: Seconds = 5.0
    connections_max: Annotated[Whole, Field(ge=1, le=4096)] = 512
    connections_per_s_max: Annotated[Whole, Field(ge=1, le=100_000)] = 2_000
    firmware: tuple[FirmwarePaceSection, ...] = Field(default=(), max_length=100)

    @model_validator(mode="after")
    def _one_pace_a_firmware(self) -> Self:
        names = [pace.name for pace in self.firmware]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"firmware {twice[0]!r} has two paces; keep one")
        return self


class NodeSection(Section):
    """`[[node]]`: one place of the tree with a limit of its own."""

    id: Name
    kind: NodeKind
    parent: Name | None = None
    rating_kw: Annotated[Number, Field(gt=0, le=10_000_000)]
    meter: Name | None = None
    auxiliary_kw: Kilowatts = 0.0
    other_max_kw: Kilowatts = 0.0
    on_meter_loss: OnMeterLoss = OnMeterLoss.MODEL
    failsafe_kw: Kilowatts = 0.0


class MeterSection(Section):
    """`[[meter]]`: a meter or PLC; `map` names a file of firmware-configs/meters or /plant."""

    id: Name
    map: Name
    host: Host
    port: Port = 502
    unit_id: Annotated[Whole, Field(ge=0, le=255)] = 1
    period_s: Annotated[Number, Field(ge=0.1, le=60)] = 1.0
    timeout_s: Annotated[Number, Field(ge=0.05, le=10)] = 0.5


class WindowSection(Section):
    """`[[window]]`: a limit that comes back by the calendar; local times, past midnight allowed."""

    id: Name
    node: Name
    cap_kw: Kilowatts
    since: LocalTime = Field(alias="from")
    until: LocalTime
    months: tuple[Annotated[Whole, Field(ge=1, le=12)], ...] = ()
    weekdays: tuple[Annotated[Whole, Field(ge=0, le=6)], ...] = ()

    @model_validator(mode="after")
    def _local(self) -> Self:
        if self.since == self.until:
            raise ValueError("from and until are the same; for a whole day write two windows")
        return self


class KeySection(Section):
    """`[[dispatch.key]]`: whose signature counts here, and for what."""

    file: Path
    issuer: Name
    roles: tuple[Literal["dispatch", "emergency", "lockout"], ...] = Field(min_length=1)


class DispatchSection(Section):
    """`[dispatch]`: the dispatcher's broker and keys, and what to do when he falls silent."""

    broker_host: Host = "127.0.0.1"
    broker_port: Port = 8883
    tls_ca_file: Path | None = None
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    username: str | None = None
    password_file: Path | None = None
    site_key_file: Path
    node: Name
    heartbeat_timeout_s: Seconds = 30.0
    hold_s: SecondsOrZero = 30.0
    decay_s: SecondsOrZero = 60.0
    failsafe_kw: Kilowatts = 0.0
    restart_delay_s: SecondsOrZero = 60.0
    key: tuple[KeySection, ...] = Field(min_length=1)


class LoginSection(Section):
    """`[[login]]`: credentials of one firmware's miners; the password stands in a file of mode
    0600.
    """

    firmware: Name
    username: str = Field(max_length=200)
    password_file: Path


class TelemetrySection(Section):
    """`[telemetry]`: the time-series database; without this table, series stay in `history/`.

    `url` has no path: Naryn writes to `/api/v2/write` below it (InfluxDB 2, 3, 1.8 and later,
    and what speaks it) and reads back through `/query`. InfluxDB 1: `database/policy` as bucket.
    """

    url: Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9:._\[\]-]+/?$", max_length=300)]
    bucket: Annotated[str, Field(min_length=1, max_length=200)]
    org: str = Field(default="", max_length=200)
    token_file: Path | None = None
    timeout_s: Annotated[Number, Field(ge=0.5, le=120)] = 10.0
    spool_mb: Annotated[Whole, Field(ge=1, le=1_000_000)] = 1024


class HealthSection(Section):
    """`[health]`: where `naryn run` answers `/healthz` and `/readyz`; `port = 0` for nowhere."""

    host: Host = "127.0.0.1"
    port: Annotated[Whole, Field(ge=0, le=65_535)] = 8441


class ConsoleSection(Section):
    """`[console]`: where `naryn console` serves its page, and whose treasury it shows."""

    host: Host = "127.0.0.1"
    port: Port = 8440
    treasury_state_dir: Path | None = None


class HoldKeySection(Section):
    """`[[guard.hold_key]]`: who may keep the guard from tripping for a while."""

    file: Path
    issuer: Name


class HeartbeatSection(Section):
    """`[guard.heartbeat]`: a relay or PLC that drops the miners' contactor when its beats stop.

    The guard alternates `coil` (counted from 0, function code 5) every `period_s`. After a trip it
    stops when, at the curve's end, miners that should sleep have drawn too much for `grace_s`.
    """

    host: Host
    port: Port = 502
    unit_id: Annotated[Whole, Field(ge=0, le=255)] = 1
    coil: Annotated[Whole, Field(ge=0, le=65_535)]
    period_s: Annotated[Number, Field(ge=0.1, le=10)] = 1.0
    grace_s: Annotated[Number, Field(ge=5, le=3_600)] = 60.0


class GuardSection(Section):
    """`[guard]`: the second process, and the load that may stand when `naryn run` is silent.

    After `silence_s` the guard takes the load down from where it stands to `failsafe_kw`, linearly
    in `decay_s`, and keeps it there until a person releases it. `port = 0`: no health page.

    `socket` and `state_dir` are for a guard that runs as another user or on another host: there it
    listens, in a folder whose group may speak with it, and here it keeps its files.
    """

    silence_s: Annotated[Number, Field(ge=5, le=60)] = 20.0
    decay_s: SecondsOrZero = 60.0
    failsafe_kw: Kilowatts = 0.0
    host: Host = "127.0.0.1"
    port: Annotated[Whole, Field(ge=0, le=65_535)] = 8443
    socket: Path | None = None
    state_dir: Path | None = None
    heartbeat: HeartbeatSection | None = None
    hold_key: tuple[HoldKeySection, ...] = Field(default=(), max_length=64)


class SiteFile(Section):
    """The whole of `site.toml`."""

    site: SiteSection
    control: ControlSection
    poll: PollSection = PollSection()
    node: tuple[NodeSection, ...] = Field(min_length=1, max_length=2000)
    meter: tuple[MeterSection, ...] = Field(default=(), max_length=1000)
    window: tuple[WindowSection, ...] = Field(default=(), max_length=1000)
    dispatch: DispatchSection | None = None
    login: tuple[LoginSection, ...] = ()
    telemetry: TelemetrySection | None = None
    health: HealthSection = HealthSection()
    console: ConsoleSection = ConsoleSection()
    guard: GuardSection | None = None
