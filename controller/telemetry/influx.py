"""Posts lines to `/api/v2/write` and says what the database made of them.

InfluxDB's own client sends; the reply, which anybody may have sent, is read only up to a bound.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from influxdb_client.client.exceptions import InfluxDBError
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.write_precision import WritePrecision
from urllib3.exceptions import HTTPError

from controller.telemetry.verdict import Address, Reply, Verdict, judge, one_line

_REPLY_BYTES_MAX = 16 * 1024


class InfluxWriter:
    """One connection to the database, used from one thread."""

    def __init__(self, address: Address) -> None:
        self._address = address
        # gzip stays off: at the client's fixed level 9 it costs five times the rest.
        self._client = InfluxDBClient(
            url=address.url,
            token=address.token or "",
            org=address.org,
            timeout=round(address.timeout_s * 1000),
            enable_gzip=False,
        )
        rest: Any = self._client.api_client.rest_client
        rest.pool_manager = _Bounded(rest.pool_manager, address.timeout_s)
        self._write = self._client.write_api(write_options=SYNCHRONOUS)

    def post(self, body: bytes) -> Reply:
        """Send whole lines. Never raises for what the database or the network does."""
        address = self._address
        try:
            self._write.write(address.bucket, address.org, body, WritePrecision.NS)  # type: ignore[arg-type]
        except InfluxDBError as error:
            response: Any = error.response
            if response is None:
                return Reply(Verdict.UNREACHED, one_line(str(error)))
            return judge(response.status, error.headers or {}, response.data)
        except (HTTPError, OSError) as error:
            return Reply(Verdict.UNREACHED, one_line(str(error)))
        return Reply(Verdict.DELIVERED)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()  # type: ignore[no-untyped-call]


class _Bounded:
    """The client's connections, with replies of bounded size and time; redirects are answers."""

    def __init__(self, pool: Any, timeout_s: float) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    def request(self, method: str, url: str, **arguments: Any) -> "_BoundedReply":
        """As urllib3's, with the body read already."""
        arguments |= {"preload_content": False, "redirect": False}
        until_s = time.monotonic() + self._timeout_s
        response = self._pool.request(method, url, **arguments)
        body = b""
        whole = False
        try:
            while len(body) <= _REPLY_BYTES_MAX and time.monotonic() < until_s:
                part = response.read1(_REPLY_BYTES_MAX)
                if not part:
                    whole = True
                    break
                body += part
        finally:
            if whole:
                response.release_conn()
            else:
                response.close()  # what was not read would be taken for the next reply
        text = body[:_REPLY_BYTES_MAX].decode("utf-8", "replace")
        return _BoundedReply(response.status, response.reason, text.encode(), response.headers)

    def clear(self) -> None:
        """As urllib3's."""
        self._pool.clear()


@dataclass(frozen=True, slots=True)
class _BoundedReply:
    """As much of urllib3's response as the client looks at."""

    status: int
    reason: str
    data: bytes
    headers: Mapping[str, str]
