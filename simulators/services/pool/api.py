"""Answers what OCEAN's public read API answers, from the book and the plant's hashrate.

Where each path and field comes from:

- paths, the envelope `{"result": …}`, `/v1/ping` → PONG: tetherto/miningos-wrk-minerpool-ocean,
  workers/lib/ocean.minerpool.api.js and mock/routers/base.js;
- the user name is the payout address; times as YYYY-MM-DD, YYYY-MM-DDTHH:MM:SS or Unix seconds;
  a share is 2^32 hashes: Retropex/custom-ocean.xyz-dashboard, docs/ocean-api-integration.md;
- fields of `earnpay` and `user_hashrate`, their order and types (Unix times and hashrates are
  strings, `ts` is UTC without a zone, `fees_colected_satoshis` and `lastest_share_ts` are spelt so,
  newest first, 30 days when no start is given): naciremadream81/trillion,
  tests/fixtures/ocean/{earnpay,user_hashrate}.json, recorded answers.

Not known, and ours: the HTTP status beside `{"error": …}`, the bound of rows, and that one fleet is
one worker. `shares_in_window` is what was hashed since the last credit: this pool is no TIDES.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from aiohttp import web
from aiohttp.typedefs import Handler

from simulators.services.pool.book import Book
from simulators.services.pool.earning import HASHES_PER_SHARE
from simulators.services.pool.intake import WINDOWS_S, Hashrate

DEFAULT_SPAN = timedelta(days=30)
FAULTS = ("silent", "garbage", "hang")
_GARBAGE = b'{"result": {"earnings": [{"ts": \xff\xfe'
NO_SUCH_USER = "No such user or user has no active workers"


class Api:
    """The pages of one pool. `utc_now` returns an aware time."""

    def __init__(
        self,
        book: Book,
        hashrate: Hashrate,
        destinations: Iterable[str],
        utc_now: Callable[[], datetime],
        fault: str | None = None,
    ) -> None:
        self._book = book
        self._hashrate = hashrate
        self._destinations = frozenset(destinations)
        self._utc_now = utc_now
        self._fault = fault

    def application(self) -> web.Application:
        """Make the application that serves them."""
        application = web.Application(middlewares=[self._spoiled])
        application.add_routes(
            [
                web.get("/v1/ping", self._ping),
                web.get("/v1/user_hashrate/{user}", self._user_hashrate),
                web.get("/v1/earnpay/{user}", self._earnpay),
                web.get("/v1/earnpay/{user}/{start}", self._earnpay),
                web.get("/v1/earnpay/{user}/{start}/{end}", self._earnpay),
            ]
        )
        return application

    @web.middleware
    async def _spoiled(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._fault == "silent":
            return web.Response(status=503, text="Service Unavailable")
        if self._fault == "garbage":
            return web.Response(body=_GARBAGE, content_type="application/json")
        if self._fault == "hang":
            await asyncio.Event().wait()
        return await handler(request)

    async def _ping(self, _: web.Request) -> web.Response:
        return web.Response(text="PONG")

    async def _user_hashrate(self, request: web.Request) -> web.Response:
        if not self._knows(request.match_info["user"]):
            return _error(404, NO_SUCH_USER)
        now = self._utc_now()
        last = self._hashrate.last_share_at()
        rates = {f"hashrate_{s}s": str(self._hashrate.over(s, now)) for s in WINDOWS_S}
        return _result(
            {
                "snap_ts": _unix(now),
                "db_ts": _unix(now),
                **rates,
                "active_worker_count": int(rates["hashrate_60s"] != "0"),
                "lastest_share_ts": "0" if last is None else _unix(last),
            }
        )

    async def _earnpay(self, request: web.Request) -> web.Response:
        user = request.match_info["user"]
        if not self._knows(user):
            return _error(404, NO_SUCH_USER)
        try:
            end = _moment(request.match_info.get("end")) or self._utc_now()
            start = _moment(request.match_info.get("start")) or end - DEFAULT_SPAN
            earnings = self._book.earnings(user, start, end)
            payouts = self._book.said(user, start, end)
        except (ValueError, OverflowError, OSError) as error:
            return _error(400, str(error))
        return _result(
            {
                "start_ts": _unix(start),
                "end_ts": _unix(end),
                "earnings": [
                    {
                        "block_hash": earning.block_hash,
                        "ts": _iso(earning.at),
                        "shares_in_window": earning.hashes // HASHES_PER_SHARE,
                        "fees_colected_satoshis": earning.fee_sat,
                        "satoshis_net_earned": earning.net_sat,
                    }
                    for earning in earnings
                ],
                "payouts": [
                    {
                        "ts": _iso(payout.at),
                        "on_chain_txid": payout.txid,
                        "total_satoshis_net_paid": payout.sat,
                        "is_generation_txn": False,
                    }
                    for payout in payouts
                ],
            }
        )

    def _knows(self, user: str) -> bool:
        return user in self._destinations or user in self._book.addresses()


def _result(result: object) -> web.Response:
    return web.json_response({"result": result})


def _error(status: int, sentence: str) -> web.Response:
    return web.json_response({"error": sentence}, status=status)


def _moment(text: str | None) -> datetime | None:
    """Read one of the three forms of a time. Raises ValueError, OverflowError."""
    if text is None:
        return None
    if text.isdecimal() and len(text) > 4:
        return datetime.fromtimestamp(int(text[:20]), UTC)
    for form in ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"):
        with contextlib.suppress(ValueError):
            return datetime.strptime(text, form).replace(tzinfo=UTC)
    raise ValueError(f"{text[:40]!r} is no time; give YYYY-MM-DD or Unix seconds")


def _unix(at: datetime) -> str:
    return str(int(at.timestamp()))


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
