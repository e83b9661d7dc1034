"""What Braiins OS+ says of itself on 4028: bytes ↔ values. Pure.

    {"summary": [{"STATUS": […], "SUMMARY": [{…}]}], "temps": [{…}], …, "id": 1}

Source of commands, keys and the joined form: "BOSminer API", docs.braiins.com. No whole recording
exists: of 4028 only `version` was recorded (S21+ under 25.05.1).
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from drivers.miners import cgminer
from drivers.miners.cgminer import ReplyError, StatusEntry

LIVE_PARTS = ("summary", "temps", "fans", "tunerstatus")
"""What one joined request to 4028 asks for; pools are joined where they are wanted too."""

_ROWS_MAX = 16
_FAULT_CHARACTERS_MAX = 200


class _SummaryRow(msgspec.Struct, kw_only=True, gc=False):
    rate_mhs: Any = msgspec.field(default=None, name="MHS 5s")
    elapsed_s: Any = msgspec.field(default=None, name="Elapsed")


class _TempRow(msgspec.Struct, kw_only=True, gc=False):
    board_c: Any = msgspec.field(default=None, name="Board")
    chip_c: Any = msgspec.field(default=None, name="Chip")


class _FanRow(msgspec.Struct, kw_only=True, gc=False):
    rpm: Any = msgspec.field(default=None, name="RPM")


class _TunerRow(msgspec.Struct, kw_only=True, gc=False):
    power_w: Any = msgspec.field(default=None, name="ApproximateMinerPowerConsumption")
    limit_w: Any = msgspec.field(default=None, name="PowerLimit")


class _PoolRow(msgspec.Struct, kw_only=True, gc=False):
    url: Any = msgspec.field(default=None, name="URL")


class _Part(msgspec.Struct, kw_only=True, rename="upper", gc=False):
    """The reply to one command: its status, and rows under the command's name."""

    status: tuple[StatusEntry, ...] = ()
    summary: tuple[_SummaryRow, ...] = ()
    temps: tuple[_TempRow, ...] = ()
    fans: tuple[_FanRow, ...] = ()
    tunerstatus: tuple[_TunerRow, ...] = ()
    pools: tuple[_PoolRow, ...] = ()


class Live(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What 4028 said. `pool_urls` None: not asked for, or not told.

    `faults` names the parts that could not be read.
    """

    hashrate_ths: float | None = None
    uptime_s: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    chip_temperature_c: float | None = None
    board_temperatures_c: tuple[float | None, ...] = ()
    fans_rpm: tuple[int, ...] = ()
    pool_urls: tuple[str, ...] | None = None
    faults: tuple[str, ...] = ()


def encode_query(parts: Iterable[str]) -> bytes:
    """Return a joined request to 4028."""
    return msgspec.json.encode({"command": "+".join(parts)})


def decode_live(body: bytes) -> Live:
    """Decode the reply to a joined request. Raises ReplyError when it has no summary.

    All parts at once; where that fails one by one, so that an ill one does not take the others
    with it.
    """
    try:
        joined: dict[str, Any] = cgminer.decode_json(body, dict[str, tuple[_Part, ...] | int])
    except ReplyError:
        joined = cgminer.decode_json(body, dict[str, msgspec.Raw])
    if "summary" not in joined:
        cgminer.check_status(cgminer.decode_json(body, _Part).status)
        raise ReplyError("no summary in the reply")
    summary = _part(joined["summary"], "summary").summary[0]
    faults: list[str] = []

    def part(name: str) -> _Part:
        """A part that cannot be read is a fault of the reading, not its end."""
        try:
            return _part(joined.get(name, ()), name)
        except ReplyError as error:
            faults.append(f"{name} unreadable: {error}"[:_FAULT_CHARACTERS_MAX])
            return _Part()

    temps = part("temps").temps[:_ROWS_MAX]
    fans = part("fans").fans[:_ROWS_MAX]
    tuner = part("tunerstatus").tunerstatus
    pools = part("pools").pools[:_ROWS_MAX] if "pools" in joined else ()
    urls = [cgminer.text(row.url) for row in pools]
    return Live(
        hashrate_ths=cgminer.hashrate_ths(summary.rate_mhs, 1e6),
        uptime_s=cgminer.seconds(summary.elapsed_s),
        power_w=cgminer.power_w(tuner[0].power_w) if tuner else None,
        power_limit_w=cgminer.power_w(tuner[0].limit_w) if tuner else None,
        chip_temperature_c=cgminer.highest([cgminer.temperature_c(row.chip_c) for row in temps]),
        board_temperatures_c=tuple([cgminer.temperature_c(row.board_c) for row in temps]),
        fans_rpm=cgminer.fans_rpm([row.rpm for row in fans]),
        pool_urls=tuple([url for url in urls if url is not None]) if pools else None,
        faults=tuple(faults),
    )


def _part(said: Any, name: str) -> _Part:
    """Return what one command said, decoded or raw. Raises ReplyError where it has no rows."""
    if isinstance(said, msgspec.Raw):
        said = cgminer.decode_json(bytes(said), tuple[_Part, ...])
    parts: tuple[_Part, ...] = said if isinstance(said, tuple) else ()
    if not parts:
        raise ReplyError("it is not in the reply")
    cgminer.check_status(parts[0].status)
    if not getattr(parts[0], name):
        raise ReplyError(f"{name.upper()} is empty")
    return parts[0]
