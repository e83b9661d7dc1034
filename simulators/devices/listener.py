"""Real sockets for thousands of simulated miners: one wildcard listener a port, bound to the
loopback device.

The local address of an accepted connection tells which miner is meant. An address without a miner,
a service that the miner does not offer, and a miner that takes no connection get a reset.
"""

import asyncio
import errno
import socket
import struct
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from simulators.devices.cgminer import REQUEST_BYTES_MAX
from simulators.devices.grpc_wire import GrpcSession
from simulators.devices.http_wire import HttpWireError, take_request, wants_close, write_answer
from simulators.devices.persona import (
    Answer,
    Close,
    GrpcAnswer,
    GrpcRequest,
    HttpAnswer,
    HttpRequest,
    Persona,
)

DEFAULT_PORTS: Mapping[str, int] = {"rpc": 4028, "http": 80, "grpc": 50051}
BACKLOG = 4_096
IDLE_S = 10.0
"""A connection without a request is closed (WhatsMiner API: 10 s; taken for every service)."""
DRAIN_S = 30.0
"""A client that does not fetch its answer is cut off."""
HANG_S = 300.0
"""Longest time that a hanging miner keeps a connection."""
CONNECTIONS_PER_MINER_MAX = 48
_LINGER_RESET = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class _Service:
    """What the connections of one port share."""

    name: str
    personas: Mapping[str, Persona]
    now_s: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    live: set["_Connection"] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


class _Connection(asyncio.Protocol):
    """Bounds that hold for every protocol: who is meant, how long, how many."""

    def __init__(self, service: _Service) -> None:
        self._service = service
        self._transport: asyncio.Transport
        self._persona: Persona
        self._host = ""
        self._timer: asyncio.TimerHandle | None = None
        self._open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        service = self._service
        host = str(self._transport.get_extra_info("sockname")[0])
        persona = service.personas.get(host)
        if (
            persona is None
            or service.counts.get(host, 0) >= CONNECTIONS_PER_MINER_MAX
            or not persona.accepts(service.name, service.now_s())
        ):
            self.reset()
            return
        self._persona, self._host, self._open = persona, host, True
        service.live.add(self)
        service.counts[host] = service.counts.get(host, 0) + 1
        self._cut_after(IDLE_S)
        self.begun()

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._open:
            self._open = False
            self._service.live.discard(self)
            self._service.counts[self._host] -= 1

    def data_received(self, data: bytes) -> None:
        if self._open:
            self.take(data)

    def begun(self) -> None:
        """The connection stands."""

    @abstractmethod
    def take(self, data: bytes) -> None:
        """Bytes have come."""

    def reset(self) -> None:
        """Close with RST, as a refused or crashed peer does."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self._transport.abort()

    def later(self, after_s: float, act: Callable[[], None]) -> None:
        """Do it now, or when the simulated time has gone by, unless the connection is lost by
        then."""
        if after_s <= 0.0:
            act()
            return
        self._cut_after(HANG_S)
        task = asyncio.get_running_loop().create_task(self._act_at(after_s, act))
        self._service.tasks.add(task)
        task.add_done_callback(self._service.tasks.discard)

    async def _act_at(self, after_s: float, act: Callable[[], None]) -> None:
        due_s = self._service.now_s() + after_s
        while self._open and (left_s := due_s - self._service.now_s()) > 0.0:
            await self._service.sleep(left_s)
        if self._open:
            act()

    def hang(self) -> None:
        """Keep the connection and say nothing."""
        self._cut_after(HANG_S)

    def finish(self, data: bytes) -> None:
        """Send the last bytes and close; the client has a bounded time to fetch them."""
        self._transport.write(data)
        self._cut_after(DRAIN_S)
        self._transport.close()

    def _cut_after(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._transport.abort)


class _TcpConnection(_Connection):
    """One request, one answer, closed."""

    def __init__(self, service: _Service) -> None:
        super().__init__(service)
        self._buffer = b""
        self._taken = False

    def take(self, data: bytes) -> None:
        if self._taken:
            return
        self._buffer += data
        if len(self._buffer) > REQUEST_BYTES_MAX:
            self.reset()
            return
        service = self._service
        answer = self._persona.tcp(service.name, self._buffer, service.now_s())
        if answer is not None:
            self._taken = True
            self._answer(answer)

    def _answer(self, answer: Answer) -> None:
        if answer.close is Close.RESET:
            self.reset()
        elif answer.body is None:
            self.hang()
        else:
            body = answer.body
            self.later(answer.after_s, lambda: self.finish(body))


class _HttpConnection(_Connection):
    """Requests one after the other; the next is read when the last is answered."""

    def __init__(self, service: _Service) -> None:
        super().__init__(service)
        self._buffer = bytearray()
        self._busy = False

    def take(self, data: bytes) -> None:
        self._buffer += data
        if not self._busy:
            self._next()
        elif len(self._buffer) > REQUEST_BYTES_MAX:
            self.reset()

    def _next(self) -> None:
        try:
            request = take_request(self._buffer)
        except HttpWireError as problem:
            text = str(problem).encode()
            answer = HttpAnswer(status=problem.status, body=text, close=Close.AFTER_BODY)
            self.finish(write_answer(answer))
            return
        if request is None:
            return
        self._busy = True
        service = self._service
        answer = self._persona.http(service.name, request, service.now_s())
        if answer.close is Close.RESET:
            self.reset()
        elif answer.body is None:
            self.hang()
        else:
            self.later(answer.after_s, lambda: self._answer(request, answer))

    def _answer(self, request: HttpRequest, answer: HttpAnswer) -> None:
        data = write_answer(answer, head_only=request.method == "HEAD")
        if answer.raw or answer.close is not Close.KEEP or wants_close(request):
            self.finish(data)
            return
        self._transport.write(data)
        self._busy = False
        self._cut_after(IDLE_S)
        if self._buffer:
            self._next()


class _GrpcConnection(_Connection):
    """HTTP/2 with many calls at once."""

    def __init__(self, service: _Service) -> None:
        super().__init__(service)
        self._session = GrpcSession()

    def begun(self) -> None:
        self._send()

    def take(self, data: bytes) -> None:
        self._cut_after(IDLE_S)
        service = self._service
        for stream_id, request in self._session.receive(data):
            self._call(stream_id, request, service.now_s())
        self._send()

    def _call(self, stream_id: int, request: GrpcRequest, now_s: float) -> None:
        answer = self._persona.grpc(request, now_s)
        if answer.message is None and answer.status == 0:
            self.hang()
        else:
            self.later(answer.after_s, lambda: self._answer(stream_id, answer))

    def _answer(self, stream_id: int, answer: GrpcAnswer) -> None:
        self._session.answer(stream_id, answer)
        self._send()

    def _send(self) -> None:
        data = self._session.bytes_to_send()
        if self._session.closed:
            self.finish(data)
        elif data:
            self._transport.write(data)


_PROTOCOLS: Mapping[str, Callable[[_Service], _Connection]] = {
    "rpc": _TcpConnection,
    "http": _HttpConnection,
    "grpc": _GrpcConnection,
}


@asynccontextmanager
async def serve_fleet(
    personas: Mapping[str, Persona],
    *,
    now_s: Callable[[], float],
    ports: Mapping[str, int] = DEFAULT_PORTS,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[dict[str, int]]:
    """Serve every persona under its own loopback address; yields the ports in use, by service.

    `ports` names the services to open and moves them (0: any free port). `sleep` waits on the same
    clock that `now_s` reads. Raises OSError, with the port and what to do, when a port cannot be
    opened, and ValueError for a service that does not exist.
    """
    unknown = sorted(set(ports) - set(_PROTOCOLS))
    if unknown:
        known = ", ".join(_PROTOCOLS)
        raise ValueError(f"service {unknown[0]!r} is not known; use: {known}")
    loop = asyncio.get_running_loop()
    services: list[_Service] = []
    servers: list[asyncio.Server] = []
    in_use: dict[str, int] = {}
    try:
        for name, port in ports.items():
            service = _Service(name, personas, now_s, sleep)
            sock = _wildcard_socket(name, port)
            in_use[name] = sock.getsockname()[1]
            servers.append(
                await loop.create_server(
                    partial(_PROTOCOLS[name], service),
                    sock=sock,
                    backlog=BACKLOG,
                )
            )
            services.append(service)
        yield in_use
    finally:
        for server in servers:
            server.close()
        for service in services:
            for connection in list(service.live):
                connection.reset()
            for task in list(service.tasks):
                task.cancel()
            await asyncio.gather(*service.tasks, return_exceptions=True)
        for server in servers:
            await server.wait_closed()


def _wildcard_socket(name: str, port: int) -> socket.socket:
    """A socket for every loopback address and no other. Raises OSError with a sentence."""
    where = f"simulated miners: port {port} ({name})"
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
        sock.bind(("", port))
        sock.setblocking(False)
    except OSError as problem:
        sock.close()
        raise OSError(problem.errno, f"{where} {_reason(problem)}") from problem
    return sock


def _reason(problem: OSError) -> str:
    match problem.errno:
        case errno.EADDRINUSE:
            return "is taken by another program; end it, or move the port"
        case errno.EACCES:
            return "may not be opened by this user; move it above 1023, or allow low ports"
        case errno.EPERM:
            return "cannot be bound to the loopback device; Linux 5.7 or newer is needed, or root"
    return f"cannot be opened: {problem.strerror}"
