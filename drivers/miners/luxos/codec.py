"""LuxOS on TCP 4028: bytes ↔ values. Pure.

Sources: docs.luxor.tech, «LUXminer commands», «Sessions» and «Introduction» (joined commands have
no parameters); recorded replies of an S19k Pro under 2025.4.8.220305. Codes of refusals are not
published, so nothing here or in the driver decides by one.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from drivers.miners import cgminer
from drivers.miners.cgminer import ReplyError, StatusEntry

LIVE = ("config", "summary", "power", "temps", "fans", "stats", "atm")
SETTINGS = ("config", "atm", "profiles")
DETAILS = ("pools", "profiles", "events")
"""What is asked together, each on one connection."""

_SESSION_ID = re.compile(r"[0-9A-Za-z]{1,64}")
_PROFILE_NAME = re.compile(r"(?![0-3]\Z)\w[\w.\- ]{0,63}", re.ASCII)
"""A name that `profileset` takes as such.

A comma would begin another parameter, and 0 to 3 alone is read as a board.
"""
_EVENT_CODE = re.compile(r"[A-Z0-9_]{1,48}")
_STEP = re.compile(r"[+-]?[0-9]{1,3}")
_ASLEEP = {"Sleep": True, "None": False}
_CORNERS = ("TopLeft", "TopRight", "BottomLeft", "BottomRight")
_BOARDS_MAX = 8
_FANS_MAX = 16
_POOLS_MAX = 16
_PROFILES_MAX = 128
_EVENTS_MAX = 32

_Rows = list[dict[str, Any]]


class _Part(msgspec.Struct, kw_only=True, rename="upper"):
    """The reply to one command: its status and the rows under the command's name."""

    status: list[StatusEntry]
    atm: _Rows = []
    config: _Rows = []
    events: _Rows = []
    fans: _Rows = []
    pools: _Rows = []
    power: _Rows = []
    profiles: _Rows = []
    session: _Rows = []
    stats: _Rows = []
    summary: _Rows = []
    temps: _Rows = []
    version: _Rows = []


class _Joined(msgspec.Struct, kw_only=True):
    """The reply to `a+b`: by command a list with one part."""

    config: list[_Part] = []
    atm: list[_Part] = []
    events: list[_Part] = []
    fans: list[_Part] = []
    pools: list[_Part] = []
    power: list[_Part] = []
    profiles: list[_Part] = []
    stats: list[_Part] = []
    summary: list[_Part] = []
    temps: list[_Part] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One entry of `profiles`; `step` counts from the factory's setting (0), and `power_w` is what
    the firmware expects it to draw.
    """

    name: str
    step: int | None
    power_w: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `config` and `atm` say is set.

    ATM (advanced thermal management) moves between two profiles by temperature: `ceiling` and
    `floor` are a profile's name or its step, "" for none.
    """

    is_asleep: bool | None = None
    profile: str | None = None
    is_atm_on: bool | None = None
    ceiling: str | None = None
    floor: str | None = None
    power_target_w: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What the joined live request said."""

    settings: Settings
    hashrate_ths: float | None = None
    power_w: float | None = None
    chip_temperature_c: float | None = None
    board_temperatures_c: tuple[float | None, ...] = ()
    fans_rpm: tuple[int, ...] = ()
    uptime_s: int | None = None
    model: str | None = None
    serial: str | None = None
    mac: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """Pools, profiles and events: slow to change."""

    pool_urls: tuple[str, ...] | None
    profiles: tuple[Profile, ...]
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A single command's answer: yes or no, the vendor's code and text, and the session in it."""

    is_success: bool
    code: int | None
    text: str
    session_id: str | None


def encode_query(*commands: str) -> bytes:
    """Return the request of one read, or of several joined."""
    return msgspec.json.encode({"command": "+".join(commands)})


def encode_write(command: str, *parameters: str) -> bytes:
    """Return a request with parameters; the first of a write is the session's id."""
    return msgspec.json.encode({"command": command, "parameter": ",".join(parameters)})


def decode_live(body: bytes) -> Live:
    """Decode a reply to the commands of LIVE. Raises ReplyError.

    `config` has to be there, and `summary` unless the miner sleeps; every other part may fail.
    """
    reply = cgminer.decode_json(body, _Joined)
    config = _required(reply.config, "config")
    settings = _settings(config, _row(_part(reply.atm).atm))
    summary = _row(_part(reply.summary).summary)
    if not summary and not settings.is_asleep:
        summary = _required(reply.summary, "summary")
    rate = cgminer.first(summary, "GHS 5s", "GHS 1m", "GHS av")
    stats = _part(reply.stats).stats
    return Live(
        settings=settings,
        hashrate_ths=cgminer.hashrate_ths(rate, 1e3),
        power_w=cgminer.power_w(_row(_part(reply.power).power).get("Watts")),
        chip_temperature_c=_chip_temperature_c(stats[-1] if stats else {}),
        board_temperatures_c=tuple(
            _hottest(cgminer.temperature_c(row.get(corner)) for corner in _CORNERS)
            for row in _in_order(_part(reply.temps).temps[:_BOARDS_MAX])
        ),
        fans_rpm=_fans_rpm(_part(reply.fans).fans),
        uptime_s=cgminer.seconds(summary.get("Elapsed")),
        model=cgminer.text(config.get("Model")),
        serial=cgminer.text(config.get("SerialNumber")),
        mac=cgminer.mac(config.get("MACAddr")),
    )


def decode_settings(body: bytes) -> tuple[Settings, tuple[Profile, ...]]:
    """Decode a reply to the commands of SETTINGS; no profiles where they failed.

    Raises ReplyError.
    """
    reply = cgminer.decode_json(body, _Joined)
    config = _required(reply.config, "config")
    atm = _row(_part(reply.atm).atm)
    return _settings(config, atm), _profiles(_part(reply.profiles).profiles)


def decode_details(body: bytes) -> Details:
    """Decode a reply to the commands of DETAILS. Raises ReplyError."""
    reply = cgminer.decode_json(body, _Joined)
    if not (reply.pools or reply.profiles or reply.events):
        raise ReplyError("neither pools nor profiles nor events")
    pools = _part(reply.pools)
    urls = (cgminer.text(row.get("URL")) for row in pools.pools[:_POOLS_MAX])
    codes = (str(row.get("Code"))[:49] for row in _part(reply.events).events[:_EVENTS_MAX])
    return Details(
        pool_urls=tuple(url for url in urls if url is not None) if pools.status else None,
        profiles=_profiles(_part(reply.profiles).profiles),
        # That it sleeps is no fault.
        faults=tuple(f"event {c}" for c in codes if _EVENT_CODE.fullmatch(c) and c != "SLEEP"),
    )


def decode_firmware_version(body: bytes) -> str | None:
    """Decode a reply to `version`, e.g. "2025.4.8.220305-57b389c7" → "2025.4.8.220305".

    Raises ReplyError. The key `Miner` is not used: older builds spoof another firmware there.
    """
    reply = cgminer.decode_json(body, _Part)
    cgminer.check_status(reply.status)
    version = cgminer.text(_row(reply.version).get("LUXminer"))
    return None if version is None else version.partition("-")[0] or None


def decode_answer(body: bytes) -> Said:
    """Decode the answer to one command. Raises ReplyError."""
    reply = cgminer.decode_json(body, _Part)
    if not reply.status:
        raise ReplyError("STATUS is empty")
    status = reply.status[0]
    session_id = _row(reply.session).get("SessionID")
    known = isinstance(session_id, str) and _SESSION_ID.fullmatch(session_id) is not None
    return Said(
        is_success=status.status in {"S", "I"},
        code=status.code,
        text=cgminer.text(status.message) or "no text",
        session_id=session_id if known else None,
    )


def _settings(config: dict[str, Any], atm: dict[str, Any]) -> Settings:
    curtailed, is_atm_on = config.get("CurtailMode"), config.get("IsAtmEnabled")
    return Settings(
        is_asleep=_ASLEEP.get(curtailed) if isinstance(curtailed, str) else None,
        profile=_name(config.get("Profile")),
        is_atm_on=is_atm_on if isinstance(is_atm_on, bool) else None,
        ceiling=_bound(atm.get("MaxProfile")),
        floor=_bound(atm.get("MinProfile")),
        power_target_w=cgminer.power_w(atm.get("PowerTarget")) or None,
    )


def _profiles(rows: _Rows) -> tuple[Profile, ...]:
    """Return the profiles that can be set: named as `profileset` takes it, and with their watts."""
    found = []
    for row in rows[:_PROFILES_MAX]:
        name, power_w = _name(row.get("Profile Name")), cgminer.power_w(row.get("Watts"))
        if name is not None and power_w:
            step = str(row.get("Step"))[:5]
            at = int(step) if _STEP.fullmatch(step) else None
            found.append(Profile(name=name, step=at, power_w=power_w))
    return tuple(found)


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) and _PROFILE_NAME.fullmatch(value) else None


def _bound(value: Any) -> str | None:
    """Return a bound of ATM: a profile's name, its step as text, or "" for none."""
    if isinstance(value, str) and (not value or _STEP.fullmatch(value)):
        return value
    return _name(value)


def _chip_temperature_c(stats: dict[str, Any]) -> float | None:
    """Return the hottest chip.

    Where the chips have no sensors, the firmware repeats the board's readings in their place.
    """
    slots = range(1, _BOARDS_MAX + 1)
    chips = (stats.get(f"temp_chip{n}") for n in slots if _has_chips_of_its_own(stats, n))
    return _hottest(celsius for said in chips for celsius in cgminer.dashed_temperatures_c(said))


def _has_chips_of_its_own(stats: dict[str, Any], slot: int) -> bool:
    return bool(stats.get(f"temp_chip{slot}") != stats.get(f"temp_pcb{slot}"))


def _hottest(readings: Iterable[float | None]) -> float | None:
    return max((celsius for celsius in readings if celsius is not None), default=None)


def _fans_rpm(rows: _Rows) -> tuple[int, ...]:
    found = (cgminer.fan_rpm(row.get("RPM")) for row in _in_order(rows[:_FANS_MAX]))
    return tuple(rpm for rpm in found if rpm is not None)


def _in_order(rows: _Rows) -> _Rows:
    """Rows by their ID; some firmwares mix them."""
    return sorted(rows, key=lambda row: cgminer.number(row.get("ID"), 0.0, 99.0) or 0.0)


def _part(parts: Sequence[_Part]) -> _Part:
    """Return the part of one command, an empty one where it failed or is not there."""
    part = parts[0] if parts else None
    if part is None or (part.status and part.status[0].status not in {"S", "I"}):
        return _Part(status=[])
    return part


def _required(parts: Sequence[_Part], name: str) -> dict[str, Any]:
    if not parts:
        raise ReplyError(f"no {name}")
    cgminer.check_status(parts[0].status)
    row = _row(getattr(parts[0], name))
    if not row:
        raise ReplyError(f"{name} is empty")
    return row


def _row(rows: _Rows) -> dict[str, Any]:
    return rows[0] if rows else {}
