"""In-memory twins of the transports: the same calls, errors and deadlines without sockets.

A twin asks a plain function what the device says and sleeps on the running loop until it says it,
so a loop with a virtual clock runs them as well. A handler that raises `ConnectionRefusedError`
stands for a closed port, one that raises `ConnectionResetError` for a peer that hangs up without a
word.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from drivers.contract.devices import Login
from drivers.contract.errors import DeviceRefused, Malformed, Unreachable
from drivers.transport.digest import authorization, parse_challenge
from drivers.transport.grpc_status import OK, operation_of, status_error
from drivers.transport.ports import Endpoint, HttpReply

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a TCP service sends, and when; `body` None is a peer that never answers."""

    body: bytes | None
    after_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpQuestion:
    """One HTTP request as it stands on the wire.

    Header names are lower case, `path` has its query.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """`reply` None is a peer that never answers."""

    reply: HttpReply | None
    after_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcQuestion:
    """One unary gRPC call: `/package.Service/Method`, metadata in lower case, and the message."""

    path: str
    metadata: Mapping[str, str]
    message: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcAnswer:
    """A message, or a gRPC `status` with its text; neither is a peer that never answers."""

    message: bytes | None
    status: int = OK
    text: str = ""
    after_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistersQuestion:
    """One Modbus read: function 3 or 4, 0-based address, count of 16-bit words."""

    unit_id: int
    function: int
    address: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistersAnswer:
    """`words` None is a device that never answers, unless `exception_code` names a Modbus
    exception.
    """

    words: tuple[int, ...] | None
    exception_code: int | None = None
    after_s: float = 0.0


TcpHandler = Callable[[str, int, bytes], Answer]
HttpHandler = Callable[[str, int, HttpQuestion], HttpAnswer]
GrpcHandler = Callable[[str, int, GrpcQuestion], GrpcAnswer]
RegistersHandler = Callable[[str, int, RegistersQuestion], RegistersAnswer]


class MemoryTcpJson:
    """In-memory `TcpJson`: `handler(host, port, request) -> Answer`."""

    def __init__(self, handler: TcpHandler) -> None:
        self._handler = handler

    async def exchange(
        self, endpoint: Endpoint, request: bytes, *, deadline_s: float, bytes_max: int
    ) -> bytes:
        """See `drivers.transport.ports.TcpJson.exchange`."""
        operation = f"tcp {endpoint.host}:{endpoint.port}"

        async def ask() -> bytes:
            answer = self._handler(endpoint.host, endpoint.port, request)
            return await _said(answer.body, answer.after_s)

        body = await _bounded(ask(), endpoint, operation, deadline_s)
        body = body.partition(b"\0")[0]
        if len(body) > bytes_max:
            raise Malformed(endpoint.device, operation, f"reply larger than {bytes_max} bytes")
        return body.rstrip()


class MemoryHttp:
    """In-memory `Http`: `handler(host, port, HttpQuestion) -> HttpAnswer`.

    Answers digest challenges itself.
    """

    def __init__(self, handler: HttpHandler) -> None:
        self._handler = handler
        self._challenges: dict[tuple[str, int], tuple[dict[str, str], int]] = {}

    async def request(
        self,
        endpoint: Endpoint,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        content_type: str | None = None,
        login: Login | None = None,
        deadline_s: float,
        bytes_max: int,
    ) -> HttpReply:
        """See `drivers.transport.ports.Http.request`."""
        operation = f"{method} {path}"
        headers = {} if content_type is None else {"content-type": content_type}

        async def ask() -> HttpReply:
            reply = await self._ask(endpoint, method, path, headers, body, login)
            challenge = parse_challenge(reply.headers.get("www-authenticate", ""))
            if reply.status != 401 or login is None or challenge is None:
                return reply
            self._challenges[endpoint.host, endpoint.port] = (challenge, 0)
            return await self._ask(endpoint, method, path, headers, body, login)

        reply = await _bounded(ask(), endpoint, operation, deadline_s)
        if len(reply.body) > bytes_max:
            raise Malformed(endpoint.device, operation, f"reply larger than {bytes_max} bytes")
        return reply

    async def _ask(
        self,
        endpoint: Endpoint,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        login: Login | None,
    ) -> HttpReply:
        sent = dict(headers)
        key = (endpoint.host, endpoint.port)
        if login is not None and key in self._challenges:
            challenge, used = self._challenges[key]
            self._challenges[key] = (challenge, used + 1)
            # Nobody listens in memory, so the client's nonce only has to differ from request to
            # request.
            sent["authorization"] = authorization(
                challenge, login, method, path, count=used + 1, cnonce=f"{used:016x}"
            )
        question = HttpQuestion(method=method, path=path, headers=sent, body=body or b"")
        answer = self._handler(endpoint.host, endpoint.port, question)
        return await _said(answer.reply, answer.after_s)


class MemoryGrpc:
    """In-memory `Grpc`: `handler(host, port, GrpcQuestion) -> GrpcAnswer`."""

    def __init__(self, handler: GrpcHandler) -> None:
        self._handler = handler

    async def unary(
        self,
        endpoint: Endpoint,
        path: str,
        message: bytes,
        *,
        metadata: Mapping[str, str],
        deadline_s: float,
        bytes_max: int,
    ) -> bytes:
        """See `drivers.transport.ports.Grpc.unary`."""
        operation = operation_of(path)
        question = GrpcQuestion(path=path, metadata=dict(metadata), message=message)

        async def ask() -> GrpcAnswer:
            answer = self._handler(endpoint.host, endpoint.port, question)
            silent = answer.message is None and answer.status == OK
            return await _said(None if silent else answer, answer.after_s)

        answer = await _bounded(ask(), endpoint, operation, deadline_s)
        if answer.message is None:
            raise status_error(endpoint, path, answer.status, answer.text)
        if len(answer.message) > bytes_max:
            raise Malformed(endpoint.device, operation, f"reply larger than {bytes_max} bytes")
        return answer.message


class MemoryModbus:
    """In-memory `Modbus`: `handler(host, port, RegistersQuestion) -> RegistersAnswer`."""

    def __init__(self, handler: RegistersHandler) -> None:
        self._handler = handler

    async def read_registers(
        self,
        endpoint: Endpoint,
        *,
        unit_id: int,
        function: int,
        address: int,
        count: int,
        timeout_s: float,
    ) -> tuple[int, ...]:
        """See `drivers.transport.ports.Modbus.read_registers`."""
        operation = f"read function {function} at {address}+{count}"
        question = RegistersQuestion(
            unit_id=unit_id, function=function, address=address, count=count
        )

        async def ask() -> RegistersAnswer:
            answer = self._handler(endpoint.host, endpoint.port, question)
            silent = answer.words is None and answer.exception_code is None
            return await _said(None if silent else answer, answer.after_s)

        answer = await _bounded(ask(), endpoint, operation, timeout_s)
        if answer.exception_code is not None:
            detail = f"Modbus exception {answer.exception_code}"
            raise DeviceRefused(endpoint.device, operation, detail)
        words = answer.words or ()
        if len(words) != count:
            raise Malformed(endpoint.device, operation, f"{len(words)} words instead of {count}")
        return words

    async def close(self) -> None:
        """Nothing is held open."""


async def _said(what: T | None, after_s: float) -> T:
    """Wait until it is said; for ever when nothing is (the caller's deadline ends the wait)."""
    if what is None:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]
    await asyncio.sleep(after_s)
    return what


async def _bounded(
    asking: Awaitable[T], endpoint: Endpoint, operation: str, deadline_s: float
) -> T:
    try:
        async with asyncio.timeout(deadline_s):
            return await asking
    except TimeoutError:
        detail = f"no whole reply within {deadline_s:g} s"
        raise Unreachable(endpoint.device, operation, detail, connected=True) from None
    except ConnectionRefusedError as error:
        detail = str(error) or "connection refused"
        raise Unreachable(endpoint.device, operation, detail, connected=False) from error
    except ConnectionError as error:
        detail = f"the peer closed without a reply: {error}"
        raise Unreachable(endpoint.device, operation, detail, connected=True) from error
