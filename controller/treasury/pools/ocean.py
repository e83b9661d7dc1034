"""Reads OCEAN's public interface: `GET /v1/earnpay/{address}/{start}/{end}`, satoshis as integers.

The user is the payout address. Times come as Unix seconds, as text of these, or as ISO text in UTC
without a zone; the answer may stand inside `{"result": …}`. A payout by Lightning has no
transaction: our addresses are on the chain, so it did not arrive.
"""

import re
from datetime import UTC, datetime
from typing import Any

import msgspec
from bitcoin_core_rpc import FetchError, http_request

from controller.money.amounts import SAT_MAX
from controller.money.pools import Earning, Payout
from controller.treasury.pools.statement import PoolUnusable, Statement

_BYTES_MAX = 8 * 1024 * 1024
_ROWS_MAX = 5_000
_OK = 200
_TXID = re.compile(r"[0-9a-f]{64}")
_AGENT = "naryn-treasury"


class _Earned(msgspec.Struct, frozen=True):
    ts: str | int
    satoshis_net_earned: int
    block_hash: str | None = None


class _Paid(msgspec.Struct, frozen=True):
    ts: str | int
    total_satoshis_net_paid: int
    on_chain_txid: str | None = None


class _EarnPay(msgspec.Struct, frozen=True):
    earnings: list[_Earned]
    payouts: list[_Paid]


class OceanReader:
    """One account page; `url` is the interface's root, such as `https://api.ocean.xyz`."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s

    def read(self, address: str, start: datetime, end: datetime) -> Statement:
        """What OCEAN says of one address. Raises PoolUnusable."""
        span = f"{int(start.timestamp())}/{int(end.timestamp())}"
        url = f"{self._url}/v1/earnpay/{address}/{span}"
        try:
            status, body = http_request(
                url,
                headers={"User-Agent": _AGENT, "Accept": "application/json"},
                timeout=self._timeout_s,
                max_body_size=_BYTES_MAX,
            )
        except FetchError as error:
            raise PoolUnusable(f"{url}: {str(error)[:200]}") from None
        if status != _OK:
            raise PoolUnusable(f"{url}: HTTP status {status}")
        try:
            return _statement(address, _unwrapped(body))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise PoolUnusable(f"{url}: not the known form: {str(error)[:200]}") from None


def _unwrapped(body: bytes) -> _EarnPay:
    found: Any = msgspec.json.decode(body)
    if isinstance(found, dict) and "result" in found:
        found = found["result"]
    return msgspec.convert(found, _EarnPay)


def _statement(address: str, found: _EarnPay) -> Statement:
    if len(found.earnings) + len(found.payouts) > _ROWS_MAX:
        raise ValueError(f"more than {_ROWS_MAX} rows; shorten `window_days`")
    return Statement(
        earnings=tuple(
            Earning(
                key=f"{address}/{row.ts}/{row.block_hash or ''}"[:300],
                at=_moment(row.ts),
                sat=_sat(row.satoshis_net_earned),
            )
            for row in found.earnings
        ),
        payouts=tuple(
            Payout(
                key=f"{address}/{row.ts}/{row.on_chain_txid or row.total_satoshis_net_paid}"[:300],
                at=_moment(row.ts),
                sat=_sat(row.total_satoshis_net_paid),
                txid=_txid(row.on_chain_txid),
            )
            for row in found.payouts
        ),
    )


def _sat(value: int) -> int:
    if not 0 <= value <= SAT_MAX:
        raise ValueError(f"{value} is no amount in satoshis")
    return value


def _txid(text: str | None) -> str | None:
    if text is not None and not _TXID.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is no transaction id")
    return text


def _moment(ts: str | int) -> datetime:
    try:
        if isinstance(ts, int) or ts.isdecimal():
            return datetime.fromtimestamp(int(ts), UTC)
        at = datetime.fromisoformat(ts)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{str(ts)[:40]!r} is no time") from None
