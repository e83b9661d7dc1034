"""Reads the database back and says what became of every number that the spool gave out.

Lost is what is neither in the database nor in the spool nor known to be dropped or rejected: it is
counted by what the database holds, never by what was sent.

    numbers  first … last       every page of every measurement ──► which of them are there
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from controller.telemetry.measurement import MEASUREMENTS, SEQ
from controller.telemetry.spool import Books, Range, read_books
from controller.telemetry.verdict import Address, one_line

NUMBERS_MAX = 200_000_000
"""Numbers that one audit looks for; each costs a byte of memory."""
_ROWS_MAX = 20_000
_REPLY_BYTES_MAX = 8 * 1024 * 1024
_LAST_NS = 2**63 - 2
_LOST, _FOUND, _WAITING, _DROPPED, _REJECTED = range(5)
_SETTLED = (_FOUND, _WAITING)


class AuditError(Exception):
    """The database cannot be read back. Says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What became of `written` committed lines: found in the database, or one of the others. What
    waits in the spool is not looked for.

    `unrecorded` are lines of the whole life of this spool that never got a number.
    """

    written: int
    found: int
    lost: int
    waiting: int
    dropped: int
    rejected: int
    unrecorded: int


class Tally:
    """Which numbers of a range are there. Pure."""

    def __init__(self, books: Books, newest: int | None) -> None:
        """Raises AuditError for more than NUMBERS_MAX. `newest`: only the highest so many."""
        self.last = books.account.last_seq
        self.first = books.account.first_seq
        if newest is not None:
            self.first = max(self.first, self.last - newest + 1)
        count = self.last - self.first + 1
        if count > NUMBERS_MAX:
            raise AuditError(
                f"{count} lines were written, an audit counts {NUMBERS_MAX} at most; "
                f"say --newest {NUMBERS_MAX}, or less"
            )
        self._what = bytearray(count)
        self._unrecorded = books.account.unrecorded
        for ranges, what in (
            (books.waiting, _WAITING),
            (books.dropped, _DROPPED),
            (books.rejected, _REJECTED),
        ):
            self._mark(ranges, what)
        self.unseen = len(self._what) - self._what.count(_WAITING)
        """Numbers that do not wait and were not seen yet."""

    def _mark(self, ranges: Sequence[Range], what: int) -> None:
        for first, last in ranges:
            begin = max(first, self.first) - self.first
            end = min(last, self.last) - self.first + 1
            if end > begin:
                self._what[begin:end] = bytes([what]) * (end - begin)

    def see(self, numbers: Iterable[int]) -> None:
        """These are in the database."""
        what, first, last = self._what, self.first, self.last
        for number in numbers:
            if first <= number <= last and what[number - first] not in _SETTLED:
                what[number - first] = _FOUND
                self.unseen -= 1

    def audit(self) -> Audit:
        """The result."""
        count = self._what.count
        return Audit(
            written=len(self._what),
            found=count(_FOUND),
            lost=count(_LOST),
            waiting=count(_WAITING),
            dropped=count(_DROPPED),
            rejected=count(_REJECTED),
            unrecorded=self._unrecorded,
        )


async def audit(spool: Path, address: Address, site_id: str, newest: int | None = None) -> Audit:
    """Count. Raises AuditError, and StoreError when the spool cannot be read."""
    tally = Tally(read_books(spool), newest)
    headers = {} if address.token is None else {"Authorization": f"Token {address.token}"}
    timeout = aiohttp.ClientTimeout(total=address.timeout_s)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        for measurement in MEASUREMENTS:
            await _look(session, address, measurement.name, site_id, tally)
    return tally.audit()


async def _look(
    session: aiohttp.ClientSession, address: Address, name: str, site_id: str, tally: Tally
) -> None:
    """Every line of one measurement, the newest first, until all are seen, none is left, or a page
    holds only numbers from before.
    """
    until_ns = _LAST_NS
    while tally.unseen:
        # A page ends in the middle of an instant: the next begins with that instant again.
        rows = await _page(session, address, name, site_id, until_ns)
        numbers = [number for _, number in rows if isinstance(number, int)]
        tally.see(numbers)
        if not rows or max(numbers, default=0) < tally.first:
            return
        oldest_ns = rows[-1][0]
        if oldest_ns == until_ns:
            if len(rows) >= _ROWS_MAX:
                raise AuditError(f"more than {_ROWS_MAX} lines of {name} stand at one instant")
            return
        until_ns = oldest_ns


async def _page(
    session: aiohttp.ClientSession, address: Address, name: str, site_id: str, until_ns: int
) -> list[tuple[int, Any]]:
    database, _, policy = address.bucket.partition("/")
    # The names are our own and the configuration's, which allows no quotes in them.
    text = (
        f'SELECT "{SEQ.name}" FROM "{name}" WHERE "site" = \'{site_id}\' AND time <= {until_ns} '  # noqa: S608
        f"ORDER BY time DESC LIMIT {_ROWS_MAX}"
    )
    asked = {"db": database, "epoch": "ns", "q": text} | ({"rp": policy} if policy else {})
    url = f"{address.url}/query"
    try:
        async with session.post(url, data=asked, allow_redirects=False) as reply:
            body = await _bounded(reply)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        said = one_line(str(error)) or f"no answer within {address.timeout_s:g} s"
        raise AuditError(f"{url}: {said}") from None
    return _rows(url, reply.status, body)


async def _bounded(reply: aiohttp.ClientResponse) -> bytes:
    body = b""
    async for part in reply.content.iter_chunked(65_536):
        body += part
        if len(body) > _REPLY_BYTES_MAX:
            raise AuditError(f"{reply.url}: an answer larger than {_REPLY_BYTES_MAX} bytes")
    return body


_NEEDS = "an audit needs a database that answers InfluxQL on /query, as InfluxDB does"


def _rows(url: str, status: int, body: bytes) -> list[tuple[int, Any]]:
    """Time in ns and number of each row. Raises AuditError for what is no InfluxQL answer."""
    wrong = f"{url}: HTTP {status}: {one_line(body.decode('utf-8', 'replace'))}"
    if status in {401, 403}:
        raise AuditError(f"{wrong}; the token may not read there: mend `telemetry.token_file`")
    if status != 200:
        raise AuditError(f"{wrong}; {_NEEDS}")
    try:
        (result,) = json.loads(body)["results"]
        if "error" in result:
            raise AuditError(f"{url}: {one_line(str(result['error']))}")
        series = result.get("series", [])
        return [(int(at), number) for one in series for at, number in one["values"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise AuditError(f"{wrong}; {_NEEDS}") from None
