"""Where the database is, and what its answers mean for our lines. Pure."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

_DETAIL_CHARS = 300
RETRY_AFTER_MAX_S = 300.0


class Verdict(StrEnum):
    """What became of a request."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    """By rights or address: sending again changes nothing until somebody mends it."""
    BAD_LINE = "bad_line"
    """At least one of the lines is not taken."""
    TOO_LARGE = "too_large"
    BUSY = "busy"
    UNREACHED = "unreached"
    """No connection, or no answer in time."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The verdict, why, and how long the database asks to be left alone."""

    verdict: Verdict
    detail: str = ""
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """The database, and how much may wait for it. `bucket` may be `database/policy`."""

    url: str
    bucket: str
    org: str
    token: str | None
    timeout_s: float
    spool_bytes_max: int

    def __repr__(self) -> str:
        """Without the token."""
        return f"Address({self.url}, bucket={self.bucket})"


_HINTS = {
    401: "it wants a token; mend `telemetry.token_file`",
    403: "the token may not write there; mend its rights, or `telemetry.token_file`",
    404: "no such bucket, database or path; create it, or mend `telemetry.bucket` or `.url`",
}


def judge(status: int, headers: Mapping[str, str], body: str) -> Reply:
    """What a reply that is not 2xx means."""
    said = f"HTTP {status}: {_said(body)}".removesuffix(": ")
    match status:
        case 400 | 422:
            return Reply(Verdict.BAD_LINE, said)
        case 413:
            return Reply(Verdict.TOO_LARGE, said)
        case 408 | 429:
            return Reply(Verdict.BUSY, said, _retry_after_s(headers))
        case _ if status >= 500:
            return Reply(Verdict.BUSY, said, _retry_after_s(headers))
        case _:
            hint = _HINTS.get(status, "that is no database's answer; mend `telemetry.url`")
            return Reply(Verdict.REFUSED, f"{said}; {hint}")


def _said(body: str) -> str:
    """The database's own words: InfluxDB 1 says `error`, 2 and 3 `message`."""
    text = body
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        text = str(found.get("message") or found.get("error") or text)
    return one_line(text)


def one_line(text: str) -> str:
    """Somebody's words, short and without line breaks."""
    return " ".join(text.split())[:_DETAIL_CHARS]


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds only: databases send no dates there. Bounded; None when it says nothing usable."""
    try:
        wished_s = float(headers.get("Retry-After") or "")
    except ValueError:
        return None
    if not math.isfinite(wished_s) or wished_s < 0:
        return None
    return min(wished_s, RETRY_AFTER_MAX_S)
