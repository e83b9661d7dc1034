"""WhatsMiner API version 2: bytes ↔ values. Pure.

Sources: MicroBT API manual V2.2 (2025-05-09) for commands, codes and cipher; recorded shapes of an
M50S VH50 with firmware 20230803.11.REL. Newer builds (after 2024.11) speak version 3 and refuse
these writes.
"""

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from drivers.contract.readings import WorkMode
from drivers.miners import cgminer
from drivers.miners.cgminer import ReplyError, StatusEntry
from drivers.miners.whatsminer_v2.cipher import Token, unseal

CODE_OK = 131
CODE_INVALID_JSON = 23
CODE_PERMISSION_DENIED = 45
CODE_TOKEN_ERROR = 135
CODE_TOKENS_EXHAUSTED = 136
"""Message codes of the API manual.

23 in answer to an encrypted command means that it could not be decrypted.
"""

CODES_OF_A_BAD_TOKEN = frozenset({CODE_INVALID_JSON, CODE_TOKEN_ERROR})

NAMEPLATE_TOLERANCE = 1.1
"""How far full power may lie above the nameplate.

Naryn's own planning assumption (makers state ±5 to ±10 %).
"""

MODE_COMMANDS = {
    "low": "set_low_power",
    "normal": "set_normal_power",
    "high": "set_high_power",
}
_MODES = {"low": WorkMode.LOW, "normal": WorkMode.NORMAL, "high": WorkMode.HIGH}
_ERROR_CODE = re.compile(r"[0-9]{1,8}")
_ERRORS_MAX = 32
_POOLS_MAX = 16


class _Reply(msgspec.Struct, kw_only=True):
    """The single-status form: STATUS is a letter and Msg carries the content."""

    status: str = msgspec.field(name="STATUS")
    code: int | None = msgspec.field(default=None, name="Code")
    message: Any = msgspec.field(default=None, name="Msg")


class _Head(msgspec.Struct, kw_only=True):
    """Of a reply that is read for its content elsewhere: whether it says no."""

    status: Any = msgspec.field(default=None, name="STATUS")
    code: Any = msgspec.field(default=None, name="Code")
    message: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="Msg")


class _SummaryRow(msgspec.Struct, kw_only=True, gc=False):
    """Of any kind: a value that is senseless is unknown, and the reply stands."""

    rate_mhs: Any = msgspec.field(default=None, name="HS RT")
    rate_5s_mhs: Any = msgspec.field(default=None, name="MHS 5s")
    rate_1m_mhs: Any = msgspec.field(default=None, name="MHS 1m")
    rate_mean_mhs: Any = msgspec.field(default=None, name="MHS av")
    power_now_w: Any = msgspec.field(default=None, name="Power_RT")
    power_w: Any = msgspec.field(default=None, name="Power")
    power_limit_w: Any = msgspec.field(default=None, name="Power Limit")
    power_mode: Any = msgspec.field(default=None, name="Power Mode")
    chip_c_max: Any = msgspec.field(default=None, name="Chip Temp Max")
    inlet_c: Any = msgspec.field(default=None, name="Env Temp")
    fan_in_rpm: Any = msgspec.field(default=None, name="Fan Speed In")
    fan_out_rpm: Any = msgspec.field(default=None, name="Fan Speed Out")
    uptime_s: Any = msgspec.field(default=None, name="Uptime")
    elapsed_s: Any = msgspec.field(default=None, name="Elapsed")
    mac: Any = msgspec.field(default=None, name="MAC")
    version: Any = msgspec.field(default=None, name="Firmware Version")


class _SummaryReply(msgspec.Struct, kw_only=True):
    status: tuple[StatusEntry, ...] = msgspec.field(default=(), name="STATUS")
    summary: list[_SummaryRow] = msgspec.field(name="SUMMARY")


class _PoolsReply(msgspec.Struct, kw_only=True):
    status: list[StatusEntry] = msgspec.field(default_factory=list, name="STATUS")
    pools: list[dict[str, Any]] = msgspec.field(name="POOLS")


class _DetailsReply(msgspec.Struct, kw_only=True):
    status: list[StatusEntry] = msgspec.field(default_factory=list, name="STATUS")
    details: list[dict[str, Any]] = msgspec.field(name="DEVDETAILS")


class Summary(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What `summary` said. Both spellings of the power are known.

    The one of this moment comes first.
    """

    hashrate_ths: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    raw_mode: str | None = None
    chip_temperature_c: float | None = None
    inlet_temperature_c: float | None = None
    fans_rpm: tuple[int, ...] = ()
    uptime_s: int | None = None
    mac: str | None = None
    firmware_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What `status` said: whether the hashboards are off, and the stored power mode and limit."""

    is_off: bool
    raw_mode: str | None
    power_limit_w: float | None
    firmware_version: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A command's answer: the vendor's code and text."""

    is_success: bool
    code: int | None
    text: str


@lru_cache(maxsize=64)
def encode_query(command: str) -> bytes:
    """Return the request of a plain read."""
    return msgspec.json.encode({"cmd": command})


def decode_summary(body: bytes) -> Summary:
    """Decode a reply to `summary`. Raises ReplyError."""
    reply = cgminer.decode_json(body, _SummaryReply)
    cgminer.check_status(reply.status)
    if not reply.summary:
        raise ReplyError("SUMMARY is empty")
    row = reply.summary[0]
    rates = (row.rate_mhs, row.rate_5s_mhs, row.rate_1m_mhs, row.rate_mean_mhs)
    return Summary(
        hashrate_ths=cgminer.hashrate_ths(cgminer.given(*rates), 1e6),
        power_w=cgminer.power_w(cgminer.given(row.power_now_w, row.power_w)),
        power_limit_w=cgminer.power_w(row.power_limit_w),
        raw_mode=_raw_mode(row.power_mode),
        chip_temperature_c=cgminer.temperature_c(row.chip_c_max),
        inlet_temperature_c=cgminer.temperature_c(row.inlet_c),
        fans_rpm=cgminer.fans_rpm((row.fan_in_rpm, row.fan_out_rpm)),
        uptime_s=cgminer.seconds(cgminer.given(row.uptime_s, row.elapsed_s)),
        mac=cgminer.mac(row.mac),
        firmware_version=cgminer.text(row.version),
    )


def decode_status(body: bytes) -> Status:
    """Decode a reply to `status`. Raises ReplyError.

    The switch is called `mineroff` by some builds and `btmineroff` by others, as a text or a truth
    value.
    """
    said = content(body)
    off = str(cgminer.given(said.get("mineroff"), said.get("btmineroff"))).lower()
    if off not in {"true", "false"}:
        raise ReplyError("neither mineroff nor btmineroff is true or false")
    versions = (said.get("FirmwareVersion"), said.get("Firmware Version"))
    return Status(
        is_off=off == "true",
        raw_mode=_raw_mode(said.get("power_mode")),
        power_limit_w=cgminer.power_w(said.get("power_limit_set")),
        firmware_version=cgminer.text(cgminer.given(*versions)),
    )


def decode_firmware_version(body: bytes) -> str | None:
    """Decode the build of a reply to `get_version`. Raises ReplyError."""
    return cgminer.text(content(body).get("fw_ver"))


def decode_model(body: bytes) -> str | None:
    """Decode the model of a reply to `devdetails`, e.g. "M50S_VH50" → "M50S VH50".

    Raises ReplyError.
    """
    reply = cgminer.decode_json(body, _DetailsReply)
    cgminer.check_status(reply.status)
    model = cgminer.text(reply.details[0].get("Model")) if reply.details else None
    return None if model is None else re.sub(r"[_\s]+|(?<=[0-9S+])(?=V[A-Z]\d)", " ", model)


def decode_pool_urls(body: bytes) -> tuple[str, ...]:
    """Decode a reply to `pools`. Raises ReplyError."""
    reply = cgminer.decode_json(body, _PoolsReply)
    cgminer.check_status(reply.status)
    urls = (cgminer.text(pool.get("URL")) for pool in reply.pools[:_POOLS_MAX])
    return tuple(url for url in urls if url is not None)


def decode_errors(body: bytes) -> tuple[str, ...]:
    """Decode the vendor's error codes of a reply to `get_error_code`. Raises ReplyError.

    Each is an object {code: time}; older builds send bare codes.
    """
    listed = content(body).get("error_code")
    if not isinstance(listed, list):
        raise ReplyError("error_code is not a list")
    codes: list[str] = []
    for entry in listed[:_ERRORS_MAX]:
        names = list(entry)[:1] if isinstance(entry, dict) else [str(entry)[:9]]
        codes += [f"error {name}" for name in names if _ERROR_CODE.fullmatch(name)]
    return tuple(codes)


def decode_answer(token: Token, body: bytes) -> Said:
    """Decode the answer to an encrypted command, itself encrypted or, for some errors, plain.

    Raises ReplyError.
    """
    outer = cgminer.decode_json(body, dict[str, Any])
    if isinstance(outer.get("enc"), str):
        reply = cgminer.decode_json(unseal(token, outer["enc"]), _Reply)
    else:
        reply = cgminer.decode_json(body, _Reply)
    return Said(
        is_success=reply.status == "S",
        code=reply.code,
        text=cgminer.text(reply.message) or "no text",
    )


def decode_refusal(body: bytes) -> Said | None:
    """Return the error that stands in a plain reply instead of its content, or None.

    Raises ReplyError.
    """
    said = cgminer.decode_json(body, _Head)
    if not isinstance(said.status, str) or said.status in {"S", "I"}:
        return None
    text = cgminer.decode_json(bytes(said.message), Any) if said.message else None
    return Said(
        is_success=False,
        code=said.code if isinstance(said.code, int) else None,
        text=cgminer.text(text) or "no text",
    )


def percent_for(power_w: float, *, power_limit_w: float | None, rated_power_w: float) -> int:
    """Return the percentage for `set_power_pct` that keeps the miner at or under `power_w`.

    0 if none does.

    The percentage is of full power, which is at most the power limit and about the nameplate; the
    smaller of the two upper bounds is taken, so the result errs towards less.

    >>> percent_for(1650.0, power_limit_w=3300.0, rated_power_w=3276.0)
    50
    """
    full_w = rated_power_w * NAMEPLATE_TOLERANCE
    if power_limit_w is not None and power_limit_w > 0.0:
        full_w = min(full_w, power_limit_w)
    if not power_w > 0.0:
        return 0
    share = min(1.0, power_w / full_w)
    return math.floor(
        100.0 * share + 1e-9
    )  # half of a power is 50 %, whatever binary fractions say


def mode_of(raw_mode: str | None) -> WorkMode | None:
    """Return the work mode of a power mode's name."""
    return _MODES.get(raw_mode or "")


def content(body: bytes) -> dict[str, Any]:
    """Return the Msg object of a reply in the single-status form. Raises ReplyError."""
    reply = cgminer.decode_json(body, _Reply)
    cgminer.check_status([StatusEntry(status=reply.status, code=reply.code, message=reply.message)])
    if not isinstance(reply.message, dict):
        raise ReplyError("Msg is not an object")
    return reply.message


def _raw_mode(value: Any) -> str | None:
    mode = value.lower() if isinstance(value, str) else None
    return mode if mode in _MODES else None
