"""Values out of replies in the form of cgminer's API, whatever a peer may put there. Pure.

    {"STATUS": [{"STATUS": "S", "Code": 11, "Msg": "Summary"}], "SUMMARY": [{…}], "id": 1}

A reply is hostile until it is parsed here: `ReplyError` is the only exception, sizes and ranges are
bounded, and what is missing or senseless becomes None and never 0.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from drivers.contract.devices import MinerDevice
from drivers.contract.errors import Unsupported

T = TypeVar("T")

_TEXT_CHARACTERS_MAX = 200
_DASHED_TEXTS_MAX = 4_096
_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")
_POOL_URL = re.compile(r"[a-z][a-z0-9+.\-]{0,24}://\S{1,200}|[\w.\-]{1,180}:\d{1,5}")
_TRAILING_COMMA = re.compile(rb",\s*([}\]])")

HASHRATE_THS_MAX = 10_000.0
POWER_W_MAX = 100_000.0
TEMPERATURE_C_RANGE = (-60.0, 200.0)
FAN_RPM_MAX = 50_000.0
SECONDS_MAX = 10 * 365 * 86_400.0
"""Beyond these a figure is a fault of the device and counts as unknown.

Far above what any miner reaches.
"""


class ReplyError(ValueError):
    """The reply is not of the documented form; the text says how."""


class StatusEntry(msgspec.Struct, kw_only=True):
    """The STATUS block; `status` is S (success), I (information), W (warning), E or F (error)."""

    status: str = msgspec.field(default="", name="STATUS")
    code: int | None = msgspec.field(default=None, name="Code")
    message: Any = msgspec.field(default=None, name="Msg")


def decode_json(body: bytes, shape: type[T]) -> T:
    """Decode `body` as `shape`. Raises ReplyError.

    A second try mends two known faults of firmwares: line breaks inside strings and a comma before
    a closing bracket (Whatsminer builds of 2020 to 2023).
    """
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise ReplyError(str(error)) from error
    except (msgspec.MsgspecError, ValueError, RecursionError) as first:
        mended = _TRAILING_COMMA.sub(rb"\1", body.replace(b"\r", b" ").replace(b"\n", b" "))
        try:
            return msgspec.json.decode(mended, type=shape)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise ReplyError(f"not JSON: {first}") from first


def whole(received: bytes, *, is_closed: bool) -> bytes | None:
    """Return the text that a reply has come to, or None while it may go on.

    It ends at a NUL byte, at a complete JSON text or when the peer closes.
    """
    text, ended, _ = received.partition(b"\0")
    text = text.rstrip()
    if ended or is_closed:
        return text
    if not text.endswith((b"}", b"]")):
        return None
    try:
        msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return text


def address(device: MinerDevice) -> str:
    """Return the IP address of a device. Raises Unsupported when the inventory has a name.

    A name would have to be looked up at the very moment at which nothing may be waited for.
    """
    try:
        return str(ipaddress.ip_address(device.host))
    except ValueError:
        detail = f"{device.host!r} is a name; write its IP address into the inventory"
        raise Unsupported(device.miner_id, "prepare", detail) from None


def check_status(entries: Sequence[StatusEntry]) -> None:
    """Raise ReplyError unless the first status says success or information."""
    if entries and entries[0].status not in {"S", "I"}:
        said = text(entries[0].message) or "no text"
        raise ReplyError(f"status {entries[0].status!r}, code {entries[0].code}: {said}")


def number(value: Any, low: float, high: float) -> float | None:
    """Return a finite number within the range, from a number or its text; anything else is None.

    >>> number("110566.89", 0, 1e6), number("", 0, 1e6), number(-1, 0, 1e6), number(True, 0, 1)
    (110566.89, None, None, None)
    """
    kind = type(value)  # of decoded JSON: exact, and a truth value is none of these
    if kind is not float and kind is not int:
        if kind is not str or len(value) > 40:
            return None
        try:
            value = float(value)
        except ValueError:
            return None
    return float(value) if low <= value <= high else None  # no NaN and no infinity passes


def hashrate_ths(value: Any, per_ths: float) -> float | None:
    """Return TH/s from a figure in a smaller unit: `per_ths` 1e3 for GH/s, 1e6 for MH/s."""
    rate = number(value, 0.0, HASHRATE_THS_MAX * per_ths)
    return None if rate is None else rate / per_ths


def power_w(value: Any) -> float | None:
    """Return watts, 0 included (0 W means 0 W)."""
    return number(value, 0.0, POWER_W_MAX)


def temperature_c(value: Any) -> float | None:
    """Return °C.

    Exactly 0 is what firmwares send for a sensor that is not there, so it is unknown.
    """
    celsius = number(value, *TEMPERATURE_C_RANGE)
    return None if celsius == 0.0 else celsius


def fan_rpm(value: Any) -> int | None:
    """Return revolutions a minute; 0 is a fan that stands."""
    rpm = number(value, 0.0, FAN_RPM_MAX)
    return None if rpm is None else int(rpm)


def fans_rpm(values: Iterable[Any]) -> tuple[int, ...]:
    """Return the speeds of the fans that report one."""
    found = [fan_rpm(value) for value in values if value is not None]
    return tuple([rpm for rpm in found if rpm is not None])


def seconds(value: Any) -> int | None:
    """Return whole seconds, at most ten years."""
    found = number(value, 0.0, SECONDS_MAX)
    return None if found is None else int(found)


def text(value: Any) -> str | None:
    """Return a short printable text, or None."""
    if not isinstance(value, str):
        return None
    clean = value[:_TEXT_CHARACTERS_MAX]
    if not clean.isprintable():
        clean = "".join(letter for letter in clean if letter.isprintable())
    return clean.strip() or None


def mac(value: Any) -> str | None:
    """Return a MAC address in upper case; None for what is none (some units report broken ones)."""
    return value.upper() if isinstance(value, str) and _MAC.fullmatch(value) else None


def is_pool_url(value: Any) -> bool:
    """Tell whether a text can be a pool's address: scheme://host… or host:port."""
    return isinstance(value, str) and _POOL_URL.fullmatch(value) is not None


def hottest_c(dashed: Any) -> float | None:
    """Return the highest reading of "78-50-69-70"; sensors that are not there (0) do not count."""
    if not isinstance(dashed, str) or len(dashed) > _TEXT_CHARACTERS_MAX:
        return None
    return _hottest_c(dashed)


@lru_cache(maxsize=_DASHED_TEXTS_MAX)
def _hottest_c(dashed: str) -> float | None:
    """Whole degrees: the same texts come back in every poll, from every miner of a hall."""
    return highest(map(temperature_c, dashed.split("-")))


def highest(readings: Iterable[float | None]) -> float | None:
    """Return the highest of those that are known."""
    known = [reading for reading in readings if reading is not None]
    return max(known) if known else None


def given(*values: Any) -> Any:
    """Return the first that is not None."""
    for value in values:
        if value is not None:
            return value
    return None
