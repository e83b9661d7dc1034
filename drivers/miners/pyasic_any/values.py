"""pyasic's parts of a reading, taken apart into plain values. Pure: the objects come as arguments.

Whatever pyasic hands over counts as unknown unless it is of a sane kind and size.
"""

from collections.abc import Mapping
from typing import Any

from drivers.miners import cgminer
from drivers.miners.pyasic_any.messages import Values

_LIST_MAX = 16


def decode_values(miner: Any, parts: Mapping[str, Any]) -> Values:
    """Return the values of pyasic's parts (names of `pyasic.miners.data.DataOptions`)."""
    boards = list(parts.get("hashboards") or ())[:_LIST_MAX]
    is_mining = parts["is_mining"] if isinstance(parts.get("is_mining"), bool) else None
    chips = [cgminer.temperature_c(_of(board, "chip_temp")) for board in boards]
    fans = [cgminer.fan_rpm(_of(fan, "speed")) for fan in list(parts.get("fans") or ())[:_LIST_MAX]]
    pools = [cgminer.text(str(_of(pool, "url"))) for pool in list(parts.get("pools") or ())]
    urls = tuple(url for url in pools[:_LIST_MAX] if url is not None and url != "None")
    return Values(
        make=_text(_of(miner, "make")),
        model=_text(_of(miner, "raw_model")),
        firmware_version=_text(parts.get("fw_ver")),
        serial=_text(parts.get("serial_number")),
        mac=cgminer.mac(parts.get("mac")),
        is_mining=is_mining,
        hashrate_ths=_total_ths(parts.get("hashrate"), boards, is_mining=is_mining),
        power_w=cgminer.power_w(parts.get("wattage")),
        power_limit_w=cgminer.power_w(parts.get("wattage_limit")),
        chip_temperature_c=max((chip for chip in chips if chip is not None), default=None),
        board_temperatures_c=tuple(cgminer.temperature_c(_of(board, "temp")) for board in boards),
        inlet_temperature_c=cgminer.temperature_c(parts.get("env_temp")),
        fans_rpm=tuple(rpm for rpm in fans if rpm is not None),
        uptime_s=cgminer.seconds(parts.get("uptime")),
        pool_urls=urls or None,
    )


def _total_ths(total: Any, boards: list[Any], *, is_mining: bool | None) -> float | None:
    """Return the sum of the boards' rates; the miner's own total where no board says one.

    Braiins OS leaves out a board's rate when it is zero, and its total is an average that takes
    minutes
    to fall: of a miner that says that it does not mine, the total is a thing of the past and no
    rate.
    """
    rates = [_ths(_of(board, "hashrate")) for board in boards]
    known = [rate for rate in rates if rate is not None]
    if known:
        return sum(known)
    return None if is_mining is False else _ths(total)


def _ths(rate: Any) -> float | None:
    """Return TH/s of a pyasic hashrate, which carries its unit as a number of hashes a second."""
    unit = cgminer.number(_of(_of(rate, "unit"), "value"), 1.0, 1e21)
    figure = cgminer.number(_of(rate, "rate"), 0.0, 1e21)
    if unit is None or figure is None:
        return None
    return cgminer.number(figure * unit / 1e12, 0.0, cgminer.HASHRATE_THS_MAX)


def _of(thing: Any, attribute: str) -> Any:
    return getattr(thing, attribute, None)


def _text(value: Any) -> str | None:
    return None if value is None else cgminer.text(str(value))
