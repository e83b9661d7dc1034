"""LuxOS on TCP 4028: bytes ↔ values. Pure.

Sources: docs.luxor.tech, «LUXminer commands», «Sessions» and «Introduction» (joined commands have
no parameters); recorded replies of an S19k Pro under 2025.4.8.220305. Codes of refusals are not
published, so nothing here or in the driver decides by one.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from drivers.miners import cgminer
from drivers.miners.cgminer import ReplyError
from drivers.miners.luxos import replies

LIVE = ("config", "summary", "power", "temps", "fans", "stats", "atm")
STATE = ("config", "atm")
SETTINGS = (*STATE, "profiles")
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
_BOARDS_MAX = 8
_FANS_MAX = 16
_POOLS_MAX = 16
_PROFILES_MAX = 128
_COUNTED = list(range(_FANS_MAX))
_EVENTS_MAX = 32

_Row = TypeVar("_Row", replies.Temps, replies.Fan)


class Profile(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One entry of `profiles`; `step` counts from the factory's setting (0), and `power_w` is what
    the firmware expects it to draw.
    """

    name: str
    step: int | None
    power_w: float


class Settings(msgspec.Struct, frozen=True, kw_only=True, gc=False):
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


class Live(msgspec.Struct, frozen=True, kw_only=True, gc=False):
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


class Details(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Pools, profiles and events: slow to change."""

    pool_urls: tuple[str, ...] | None
    profiles: tuple[Profile, ...]
    faults: tuple[str, ...]


class Said(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A single command's answer: yes or no, the vendor's code and text, and the session in it."""

    is_success: bool
    code: int | None
    text: str
    session_id: str | None


@lru_cache(maxsize=64)
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
    reply = cgminer.decode_json(body, replies.Joined)
    config = _config(reply)
    settings = _settings(config, _part(reply.atm).atm)
    if not settings.is_asleep and not _answered(reply.summary, "summary").summary:
        raise ReplyError("summary is empty")
    rows = _part(reply.summary).summary
    summary = rows[0] if rows else replies.Summary()
    power = _part(reply.power).power
    return Live(
        settings=settings,
        hashrate_ths=cgminer.hashrate_ths(
            cgminer.given(summary.rate_5s, summary.rate_1m, summary.rate), 1e3
        ),
        power_w=cgminer.power_w(power[0].watts) if power else None,
        chip_temperature_c=_chip_temperature_c(_part(reply.stats).stats[-1:]),
        board_temperatures_c=_board_temperatures_c(_part(reply.temps).temps[:_BOARDS_MAX]),
        fans_rpm=cgminer.fans_rpm(
            [row.rpm for row in _in_order(_part(reply.fans).fans[:_FANS_MAX])]
        ),
        uptime_s=cgminer.seconds(summary.elapsed),
        model=cgminer.text(config.model),
        serial=cgminer.text(config.serial_number),
        mac=cgminer.mac(config.mac),
    )


def decode_settings(body: bytes) -> tuple[Settings, tuple[Profile, ...]]:
    """Decode a reply to the commands of STATE or SETTINGS; no profiles where there are none.

    Raises ReplyError.
    """
    reply = cgminer.decode_json(body, replies.Joined)
    settings = _settings(_config(reply), _part(reply.atm).atm)
    return settings, _profiles(_part(reply.profiles).profiles)


def decode_details(body: bytes) -> Details:
    """Decode a reply to the commands of DETAILS. Raises ReplyError."""
    reply = cgminer.decode_json(body, replies.Joined)
    if not (reply.pools or reply.profiles or reply.events):
        raise ReplyError("neither pools nor profiles nor events")
    pools = _part(reply.pools)
    urls = (cgminer.text(pool.url) for pool in pools.pools[:_POOLS_MAX])
    codes = (str(event.code)[:49] for event in _part(reply.events).events[:_EVENTS_MAX])
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
    reply = cgminer.decode_json(body, replies.Part)
    cgminer.check_status(reply.status)
    version = cgminer.text(reply.version[0].luxminer) if reply.version else None
    return None if version is None else version.partition("-")[0] or None


def decode_answer(body: bytes) -> Said:
    """Decode the answer to one command. Raises ReplyError."""
    reply = cgminer.decode_json(body, replies.Part)
    if not reply.status:
        raise ReplyError("STATUS is empty")
    status = reply.status[0]
    session_id = reply.session[0].id if reply.session else None
    known = isinstance(session_id, str) and _SESSION_ID.fullmatch(session_id) is not None
    return Said(
        is_success=status.status in {"S", "I"},
        code=status.code,
        text=cgminer.text(status.message) or "no text",
        session_id=session_id if known else None,
    )


def _settings(config: replies.Config, rows: tuple[replies.Atm, ...]) -> Settings:
    atm = rows[0] if rows else replies.Atm()
    curtailed, is_atm_on = config.curtail_mode, config.is_atm_enabled
    return Settings(
        is_asleep=_ASLEEP.get(curtailed) if isinstance(curtailed, str) else None,
        profile=_name(config.profile),
        is_atm_on=is_atm_on if isinstance(is_atm_on, bool) else None,
        ceiling=_bound(atm.max_profile),
        floor=_bound(atm.min_profile),
        power_target_w=cgminer.power_w(atm.power_target) or None,
    )


def _profiles(rows: tuple[replies.ProfileRow, ...]) -> tuple[Profile, ...]:
    """Return the profiles that can be set: named as `profileset` takes it, and with their watts."""
    found = []
    for row in rows[:_PROFILES_MAX]:
        name, power_w, step = _name(row.name), cgminer.power_w(row.watts), str(row.step)[:5]
        if name is not None and power_w:
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


def _chip_temperature_c(rows: tuple[replies.Stats, ...]) -> float | None:
    """Return the hottest chip.

    Where the chips have no sensors, the firmware repeats the board's readings in their place.
    """
    return cgminer.highest(
        [
            cgminer.hottest_c(chip)
            for row in rows
            for chip, board in (
                (row.temp_chip1, row.temp_pcb1),
                (row.temp_chip2, row.temp_pcb2),
                (row.temp_chip3, row.temp_pcb3),
                (row.temp_chip4, row.temp_pcb4),
            )
            if chip != board
        ]
    )


def _board_temperatures_c(rows: tuple[replies.Temps, ...]) -> tuple[float | None, ...]:
    """Return the hottest corner of each board."""
    corners = [
        (row.top_left, row.top_right, row.bottom_left, row.bottom_right) for row in _in_order(rows)
    ]
    return tuple([cgminer.highest(map(cgminer.temperature_c, four)) for four in corners])


def _in_order(rows: tuple[_Row, ...]) -> Sequence[_Row]:
    """Rows by their ID; some firmwares mix them."""
    if [row.id for row in rows] == _COUNTED[: len(rows)]:
        return rows
    return sorted(rows, key=_place)


def _place(row: replies.Temps | replies.Fan) -> float:
    return cgminer.number(row.id, 0.0, 99.0) or 0.0


def _config(reply: replies.Joined) -> replies.Config:
    rows = _answered(reply.config, "config").config
    if not rows:
        raise ReplyError("config is empty")
    return rows[0]


def _answered(parts: tuple[replies.Part, ...], name: str) -> replies.Part:
    """Return the part of a command that has to be there. Raises ReplyError."""
    if not parts:
        raise ReplyError(f"no {name}")
    cgminer.check_status(parts[0].status)
    return parts[0]


def _part(parts: tuple[replies.Part, ...]) -> replies.Part:
    """Return the part of one command, an empty one where it failed or is not there."""
    part = parts[0] if parts else replies.NOTHING
    failed = part.status and part.status[0].status not in {"S", "I"}
    return replies.NOTHING if failed else part
