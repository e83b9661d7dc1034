"""Stock Antminer: bytes ↔ values. Pure.

Reads come from the cgminer service on 4028 (recorded replies of an S19 Pro, firmware 49.0.1.3), the
configuration from `/cgi-bin/get_miner_conf.cgi`. The configuration write replaces the whole
configuration, so one that was read incompletely would, written back, wipe the pools (asic-rs pull
request 260); `decode_config` therefore refuses what is not whole and plausible.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from drivers.contract.readings import WorkMode
from drivers.miners import cgminer
from drivers.miners.antminer_stock import replies
from drivers.miners.cgminer import ReplyError

MODE_KEYS = ("bitmain-work-mode", "miner-mode")
"""Both name the work mode.

Some firmware reports the first and obeys only the second (asic-rs pull request 249).
"""

RAW_NORMAL = "0"
RAW_SLEEP = "1"
"""The two digits on which all sources agree.

2 and 3 are read as high and low by some and as low by others.
"""

_MODES = {RAW_NORMAL: WorkMode.NORMAL, RAW_SLEEP: WorkMode.SLEEP}
_REQUIRED_KEYS = ("pools", "bitmain-fan-ctrl", "bitmain-fan-pwm")
_FREQUENCY_LEVEL_KEYS = ("freq-level", "bitmain-freq-level")
_POOLS_MAX = 16
_RAW_MODE = re.compile(r"\d{1,2}")

CONFIG_PATH = "/cgi-bin/get_miner_conf.cgi"
CONFIG_WRITE_PATH = "/cgi-bin/set_miner_conf.cgi"
SYSTEM_INFO_PATH = "/cgi-bin/get_system_info.cgi"


class Stats(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What `stats` said. All None or empty.

    The unit hashes nothing and reports nothing (asleep).
    """

    model: str | None
    firmware_version: str | None
    hashrate_ths: float | None
    uptime_s: int | None
    chip_temperature_c: float | None
    board_temperatures_c: tuple[float | None, ...]
    fans_rpm: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole stored configuration. `values` is exactly what was read."""

    values: Mapping[str, Any]
    raw_modes: frozenset[str]
    """The distinct values of the mode keys that are there."""
    pool_urls: tuple[str, ...]

    @property
    def raw_mode(self) -> str | None:
        """The work mode as the firmware spells it; None when the two keys disagree."""
        modes = self.raw_modes
        return next(iter(modes)) if len(modes) == 1 else None

    @property
    def mode(self) -> WorkMode | None:
        """Normal or sleep; None for every digit on which sources disagree."""
        return _MODES.get(self.raw_mode or "")

    @property
    def has_both_keys(self) -> bool:
        """Tell whether the firmware reports both mode keys."""
        return all(key in self.values for key in MODE_KEYS)

    def shows(self, raw_mode: str) -> bool:
        """Tell whether every mode key that the firmware reports says `raw_mode`."""
        return self.raw_mode == raw_mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What `get_system_info.cgi` said; a MAC address that is none is None."""

    model: str | None
    mac: str | None
    serial: str | None
    firmware_version: str | None


@lru_cache(maxsize=64)
def encode_query(command: str) -> bytes:
    """One command a connection: recent firmware refuses joined ones."""
    return msgspec.json.encode({"command": command})


def decode_stats(body: bytes) -> Stats:
    """Decode a reply to `stats`. Raises ReplyError."""
    reply = cgminer.decode_json(body, replies.StatsReply)
    cgminer.check_status(reply.status)
    entries = reply.stats
    head = entries[0] if entries else replies.NOTHING
    live = replies.NOTHING
    for entry in entries:
        if entry.rate_ghs is not None or entry.elapsed is not None:
            live = entry
            break
    fan_count = cgminer.number(live.fan_num, 0, len(live.fans))
    fans = live.fans if not fan_count else live.fans[: int(fan_count)]
    return Stats(
        model=cgminer.text(head.type),
        firmware_version=cgminer.text(head.miner if head.built is None else head.built),
        hashrate_ths=cgminer.hashrate_ths(live.rate_ghs, 1e3),
        uptime_s=cgminer.seconds(live.elapsed),
        chip_temperature_c=cgminer.highest(map(cgminer.hottest_c, live.chips)),
        board_temperatures_c=tuple(
            [c for c in map(cgminer.hottest_c, live.boards) if c is not None]
        ),
        fans_rpm=cgminer.fans_rpm(fans),
    )


def decode_summary_hashrate_ths(body: bytes) -> float | None:
    """Decode the 5-second hashrate of a reply to `summary`. Raises ReplyError."""
    reply = cgminer.decode_json(body, replies.SummaryReply)
    cgminer.check_status(reply.status)
    return cgminer.hashrate_ths(reply.summary[0].rate_ghs if reply.summary else None, 1e3)


def decode_identity(body: bytes) -> Identity:
    """Decode a reply of `get_system_info.cgi`. Raises ReplyError."""
    said = cgminer.decode_json(body, dict[str, Any])
    return Identity(
        model=cgminer.text(said.get("minertype")),
        mac=cgminer.mac(said.get("macaddr")),
        serial=cgminer.text(said.get("serinum")),
        firmware_version=cgminer.text(said.get("system_filesystem_version")),
    )


def decode_config(body: bytes) -> Config:
    """Decode the stored configuration.

    Raises ReplyError unless it is whole and its pools are plausible.
    """
    values = cgminer.decode_json(body, dict[str, Any])
    missing = [key for key in _REQUIRED_KEYS if key not in values]
    if missing:
        raise ReplyError(f"configuration without {', '.join(missing)}")
    if not any(key in values for key in MODE_KEYS):
        raise ReplyError(f"configuration without {' or '.join(MODE_KEYS)}")
    return Config(
        values=values,
        raw_modes=frozenset(_raw_mode(values[key]) for key in MODE_KEYS if key in values),
        pool_urls=_pool_urls(values["pools"]),
    )


def encode_config(config: Config, raw_mode: str) -> bytes:
    """Return the body that stores `config` with another work mode: all else stays value for value.

    Both mode keys are written, each in the type in which the firmware itself has it. The write form
    calls the frequency level `freq-level` where the read form calls it `bitmain-freq-level`, so the
    same value is given under both names (asic-rs pull request 249: the body that the firmware's own
    web page sends).
    """
    values = dict(config.values)
    example = next(config.values[key] for key in MODE_KEYS if key in config.values)
    for key in MODE_KEYS:
        like = config.values.get(key, example)
        values[key] = raw_mode if isinstance(like, str) else int(raw_mode)
    level = cgminer.given(*(values.get(key) for key in _FREQUENCY_LEVEL_KEYS))
    if level is not None:
        values.setdefault("freq-level", level)
    return msgspec.json.encode(values)


def is_raw_mode(raw_mode: str) -> bool:
    """Tell whether a text can be a work mode of this firmware."""
    return _RAW_MODE.fullmatch(raw_mode) is not None


def decode_write_reply(body: bytes) -> str | None:
    """Return None when the write was taken, else the firmware's code and text.

    Raises ReplyError.
    """
    reply = cgminer.decode_json(body, replies.WriteReply)
    if reply.code == "M000" or (not reply.code and reply.stats == "success"):
        return None
    if reply.code or reply.stats:
        return cgminer.text(f"{reply.code or reply.stats} {reply.msg}") or "no text"
    raise ReplyError("reply without code and stats")


def _raw_mode(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 99:
        return str(value)
    if isinstance(value, str) and is_raw_mode(value):
        return value
    raise ReplyError("work mode is not a small number")


def _pool_urls(values: Any) -> tuple[str, ...]:
    """Return the addresses in use.

    Raises ReplyError when the pools cannot be what a person entered.
    """
    try:
        pools = msgspec.convert(values, list[replies.Pool])
    except msgspec.ValidationError as error:
        raise ReplyError(f"pools: {error}") from error
    if not 0 < len(pools) <= _POOLS_MAX:
        raise ReplyError(f"{len(pools)} pools")
    used = [pool for pool in pools if pool.url.strip()]
    if not used:
        raise ReplyError("every pool is empty")
    for pool in used:
        if not cgminer.is_pool_url(pool.url) or not pool.user.strip():
            raise ReplyError("a pool has no plausible url or no user")
    return tuple(pool.url for pool in used)
