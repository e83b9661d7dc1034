"""The cgminer JSON service that most firmwares keep on TCP 4028.

A request is one JSON object, `{"command":"summary"}` or `{"command":"a+b"}`; the reply is one JSON
object, often with a NUL byte behind it, and the connection is closed. Codes are those of cgminer's
API-README.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from simulators.devices.persona import SHARE_DIFFICULTY, Answer, Pool, Telemetry

REQUEST_BYTES_MAX = 65_536

CODE_POOLS = 7
CODE_DEVS = 9
CODE_SUMMARY = 11
CODE_INVALID_COMMAND = 14
CODE_VERSION = 22
CODE_INVALID_JSON = 23
CODE_MISSING_COMMAND = 24
CODE_CONFIG = 33
CODE_DEVDETAILS = 69
CODE_STATS = 70

Document = dict[str, Any]
Handler = Callable[[str, float], Document]
"""(parameter, now_s) → the reply without its id."""


@dataclass(frozen=True, slots=True)
class Request:
    """A parsed request; `document` is all of it, for firmwares with keys of their own."""

    command: str
    parameter: str
    document: Mapping[str, Any]


class InvalidRequestError(ValueError):
    """Not a request; `code` and the message go into the reply."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def parse_request(raw: bytes) -> Request | None:
    """Parse one request; None while it is not whole. `cmd` is MicroBT's word for `command`.

    Raises InvalidRequestError.
    """
    text = raw.strip(b"\0\r\n\t ")
    if not text:
        return None
    if not text.startswith(b"{"):
        raise InvalidRequestError(CODE_INVALID_JSON, "Invalid JSON")
    try:
        document = json.loads(text)
    except ValueError as problem:
        if text.endswith(b"}") and text.count(b"{") == text.count(b"}"):
            raise InvalidRequestError(CODE_INVALID_JSON, "Invalid JSON") from problem
        return None
    except RecursionError as problem:
        raise InvalidRequestError(CODE_INVALID_JSON, "Invalid JSON") from problem
    command = document.get("command", document.get("cmd"))
    if not isinstance(command, str) or not command:
        raise InvalidRequestError(CODE_MISSING_COMMAND, "Missing JSON 'command'")
    parameter = document.get("parameter", "")
    return Request(command, parameter if isinstance(parameter, str) else str(parameter), document)


@dataclass(frozen=True, slots=True)
class CgminerService:
    """Answers requests from a table of handlers; `description` is the firmware's own name and
    version.

    `joined`: whether `a+b` is understood. `nul`: whether a NUL byte ends the reply.
    """

    description: str
    handlers: Mapping[str, Handler]
    unix_s: Callable[[float], int]
    joined: bool
    nul: bool

    def answer(self, raw: bytes, now_s: float) -> Answer | None:
        """Answer one request; None while it is not whole."""
        try:
            request = parse_request(raw)
        except InvalidRequestError as problem:
            return self.encode(self.error(problem.code, str(problem), now_s))
        if request is None:
            return None
        names = request.command.split("+")
        if len(names) == 1:
            return self.encode(self.reply(request.command, request.parameter, now_s))
        if not self.joined or len(names) > len(self.handlers):
            return self.encode(self.error(CODE_INVALID_COMMAND, "Invalid command", now_s))
        replies = {name: [self.reply(name, "", now_s)] for name in names}
        return self.encode(replies)

    def reply(self, name: str, parameter: str, now_s: float) -> Document:
        """Reply to one command."""
        handler = self.handlers.get(name)
        if handler is None:
            return self.error(CODE_INVALID_COMMAND, "Invalid command", now_s)
        return handler(parameter, now_s)

    def error(self, code: int, message: str, now_s: float) -> Document:
        """Say no."""
        return self.envelope("E", code, message, now_s)

    def envelope(
        self, status: str, code: int, message: str, now_s: float, **sections: Any
    ) -> Document:
        """STATUS and the sections, e.g. SUMMARY=[…]."""
        head = {
            "STATUS": status,
            "When": self.unix_s(now_s),
            "Code": code,
            "Msg": message,
            "Description": self.description,
        }
        return {"STATUS": [head], **sections}

    def encode(self, document: Mapping[str, Any]) -> Answer:
        """Send the document, with its id, and close."""
        body = json.dumps({**document, "id": 1}, separators=(",", ":")).encode()
        return Answer(body + b"\0" if self.nul else body)


def pool_rows(pools: list[Pool], telemetry: Telemetry) -> list[Document]:
    """POOLS as cgminer lists them: the first one with an address is the one that works."""
    rows = []
    for index, pool in enumerate(pools):
        active = index == 0 and bool(pool.url)
        accepted = telemetry.accepted if active else 0
        rows.append(
            {
                "POOL": index,
                "URL": pool.url,
                "Status": "Alive" if pool.url else "Dead",
                "Priority": index,
                "Quota": 1,
                "Long Poll": "N",
                "Getworks": accepted,
                "Accepted": accepted,
                "Rejected": 0,
                "Discarded": 0,
                "Stale": 0,
                "Get Failures": 0,
                "Remote Failures": 0,
                "User": pool.user,
                "Last Share Time": "0:00:03" if accepted else "0",
                "Diff": "524K" if active else "",
                "Diff1 Shares": 0,
                "Proxy Type": "",
                "Proxy": "",
                "Difficulty Accepted": float(accepted * SHARE_DIFFICULTY),
                "Difficulty Rejected": 0.0,
                "Difficulty Stale": 0.0,
                "Last Share Difficulty": float(SHARE_DIFFICULTY) if accepted else 0.0,
                "Has Stratum": True,
                "Stratum Active": active and telemetry.hashing,
                "Stratum URL": pool.url.rpartition("/")[2] if active else "",
                "Has GBT": False,
                "Best Share": 0.0,
                "Pool Rejected%": 0.0,
                "Pool Stale%": 0.0,
            }
        )
    return rows
