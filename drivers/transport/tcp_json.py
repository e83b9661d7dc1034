"""JSON over one short TCP connection, as the cgminer family of miner services speaks it.

    connect ─▶ send ─▶ collect ─▶ close
                        │ ends at: NUL byte · peer's close · complete JSON text
                        └ fails at: deadline · more than `bytes_max` · reset

Nothing is kept between calls, so a peer that hangs, babbles or drips costs its own deadline only.

The sockets are our own, and the event loop watches all of them as one: an epoll inside its own. A
transport and a protocol of asyncio for each connection cost more than the connection itself
(docs/benchmarks.md).
"""

import asyncio
import errno
import os
import select
import socket
from functools import lru_cache
from typing import Any

import msgspec

from drivers.contract.errors import DeviceError, Malformed, Unreachable
from drivers.transport.ports import Endpoint

_PARSE_ATTEMPTS_MAX = 64
"""Tries to recognise a complete text in one reply.

Real replies arrive in a few segments, while a peer that drips brackets would make every byte cost a
parse of all the bytes before it.
"""
_READ_BYTES = 65_536
_TURN_EVENTS_MAX = 16
"""Sockets served before the event loop has its turn again: what is made of their replies is made in
that same turn, and who else waits for the loop waits so long.
"""
_SWEEP_S = 0.05
"""How often passed deadlines are looked for: by so much an exchange may cost more than its own."""
_ADDRESSES_MAX = 65_536
_STREAM = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
_WATCHED = select.EPOLLIN | select.EPOLLOUT | select.EPOLLET
_BROKEN = select.EPOLLERR | select.EPOLLHUP


class SocketTcpJson:
    """The socket form of the `TcpJson` port: one instance serves a whole fleet, on one loop."""

    def __init__(self) -> None:
        self.opened = 0
        """Connections begun so far."""
        self._poller = select.epoll()
        self._open: dict[int, _Exchange] = {}
        self._late: dict[int, set[_Exchange]] = {}
        """Those under way, by the sweep that finds their deadline passed."""
        self._swept = 0
        self._sweep: asyncio.TimerHandle | None = None

    async def exchange(
        self, endpoint: Endpoint, request: bytes, *, deadline_s: float, bytes_max: int
    ) -> bytes:
        """Send `request`; return the reply without trailing NUL bytes and white space.

        Raises `Unreachable` (`connected` tells whether a connection stood) and `Malformed` when the
        reply grows past `bytes_max`. The socket is closed before this returns or raises, in every
        case.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + deadline_s
        exchange = _Exchange(loop.create_future(), endpoint, request, deadline_s, bytes_max)
        try:
            place = _literal(endpoint.host, endpoint.port)
            if place is None:
                place = await _resolved(loop, endpoint, deadline_s)
            self._begin(loop, exchange, until_s, *place)
            reply = await exchange.reply
        except TimeoutError:
            exchange.give_up()
            reply = exchange.reply.result()
        except OSError as error:
            raise exchange.unreachable(_why(error), connected=False) from error
        finally:
            self._close(loop, exchange)
        if isinstance(reply, DeviceError):
            raise reply
        return reply

    def _begin(
        self,
        loop: asyncio.AbstractEventLoop,
        exchange: "_Exchange",
        until_s: float,
        family: int,
        address: tuple[Any, ...],
    ) -> None:
        # The C type: the class around it costs as much again, and offers what is not used here.
        link = exchange.link = socket.SocketType(family, _STREAM)
        self.opened += 1
        code = link.connect_ex(address)
        if code not in {0, errno.EINPROGRESS}:
            raise OSError(code, os.strerror(code))
        if not self._open:
            self._swept = int(loop.time() / _SWEEP_S)
            loop.add_reader(self._poller.fileno(), self._turn)
            self._sweep = loop.call_later(_SWEEP_S, self._give_up_late, loop)
        number = link.fileno()
        self._open[number] = exchange
        exchange.sweep = max(int(until_s / _SWEEP_S), self._swept) + 1
        self._late.setdefault(exchange.sweep, set()).add(exchange)
        self._poller.register(number, _WATCHED)

    def _turn(self) -> None:
        for number, events in self._poller.poll(0, _TURN_EVENTS_MAX):
            exchange = self._open.get(number)
            if exchange is not None:
                exchange.advance(events)

    def _give_up_late(self, loop: asyncio.AbstractEventLoop) -> None:
        """One timer for all: one for each exchange costs more than the rest of it."""
        for sweep in range(self._swept + 1, int(loop.time() / _SWEEP_S) + 1):
            self._swept = sweep
            for exchange in self._late.pop(sweep, ()):
                exchange.give_up()
        self._sweep = loop.call_later(_SWEEP_S, self._give_up_late, loop)

    def _close(self, loop: asyncio.AbstractEventLoop, exchange: "_Exchange") -> None:
        if exchange.link is None:
            return
        if self._open.pop(exchange.link.fileno(), None) is not None:
            if (late := self._late.get(exchange.sweep)) is not None:
                late.discard(exchange)
            if not self._open:
                self._late.clear()
                loop.remove_reader(self._poller.fileno())
                if self._sweep is not None:
                    self._sweep.cancel()
        exchange.link.close()  # which takes it out of the epoll as well


class _Exchange:
    """Collects one reply; `reply` resolves to it or to the DeviceError that ended it.

    The error is the future's result and not its exception, for a deadline may pass before anybody
    looks at it.
    """

    __slots__ = (
        "_attempts",
        "_bytes_max",
        "_connected",
        "_deadline_s",
        "_endpoint",
        "_received",
        "_unsent",
        "link",
        "reply",
        "sweep",
    )

    def __init__(
        self,
        reply: "asyncio.Future[bytes | DeviceError]",
        endpoint: Endpoint,
        request: bytes,
        deadline_s: float,
        bytes_max: int,
    ) -> None:
        self.reply = reply
        self.link: socket.SocketType | None = None
        self.sweep = 0
        self._endpoint = endpoint
        self._deadline_s = deadline_s
        self._unsent = request
        self._bytes_max = bytes_max
        self._received = bytearray()
        self._attempts = 0
        self._connected = False

    def unreachable(self, detail: str, *, connected: bool) -> Unreachable:
        """The error of this exchange."""
        return Unreachable(self._endpoint.device, self._operation, detail, connected=connected)

    def give_up(self) -> None:
        """The deadline has passed."""
        detail = f"no whole reply within {self._deadline_s:g} s"
        self._end(self.unreachable(detail, connected=self._connected))

    def advance(self, events: int) -> None:
        """Send what is unsent and take what has come."""
        link = self.link
        if link is None or self.reply.done():
            return
        try:
            if events & _BROKEN and not self._connected:
                self._fail(link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
                return
            if events & select.EPOLLOUT and self._unsent:
                self._connected = True
                self._unsent = self._unsent[link.send(self._unsent) :]
            if events & (select.EPOLLIN | _BROKEN):
                self._receive(link)
        except BlockingIOError:
            return  # there is no more for now
        except OSError as error:
            self._over(f"connection lost: {_why(error)}")

    @property
    def _operation(self) -> str:
        return f"tcp {self._endpoint.host}:{self._endpoint.port}"

    def _fail(self, code: int) -> None:
        # Only a connection that stood is reset; what nobody listens for is refused.
        connected = code in {0, errno.ECONNRESET, errno.EPIPE}
        self._end(self.unreachable(os.strerror(code) if code else "closed", connected=connected))

    def _receive(self, link: socket.SocketType) -> None:
        while not self.reply.done():
            data = link.recv(_READ_BYTES)
            if not data:
                self._over("the peer closed without a reply")
                return
            end = data.find(b"\0")
            if end >= 0 and not self._received and end <= self._bytes_max:
                self._end(data[:end].rstrip())  # the usual case: all of it at once
                return
            self._received += data if end < 0 else data[:end]
            if len(self._received) > self._bytes_max:
                detail = f"reply larger than {self._bytes_max} bytes"
                self._end(Malformed(self._endpoint.device, self._operation, detail))
            elif end >= 0 or self._is_complete():
                self._end(bytes(self._received).rstrip())

    def _over(self, detail: str) -> None:
        """The connection is; what came before it is the reply."""
        if self._received:
            self._end(bytes(self._received).rstrip())
        else:
            self._end(self.unreachable(detail, connected=True))

    def _end(self, result: bytes | DeviceError) -> None:
        if not self.reply.done():
            self.reply.set_result(result)

    def _is_complete(self) -> bool:
        text = self._received.rstrip()
        if not text.endswith((b"}", b"]")) or self._attempts >= _PARSE_ATTEMPTS_MAX:
            return False
        self._attempts += 1
        try:
            msgspec.json.decode(text, type=msgspec.Raw)  # walked through, nothing is made of it
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return False
        return True


@lru_cache(maxsize=_ADDRESSES_MAX)
def _literal(host: str, port: int) -> tuple[int, tuple[Any, ...]] | None:
    """Where a host is that was given as an address; None for a name."""
    try:
        if ":" in host:
            socket.inet_pton(socket.AF_INET6, host)
            return socket.AF_INET6, (host, port, 0, 0)
        socket.inet_pton(socket.AF_INET, host)
    except (OSError, ValueError):
        return None
    return socket.AF_INET, (host, port)


async def _resolved(
    loop: asyncio.AbstractEventLoop, endpoint: Endpoint, deadline_s: float
) -> tuple[int, tuple[Any, ...]]:
    """Where a name leads. Raises OSError, TimeoutError."""
    try:
        async with asyncio.timeout(deadline_s):
            found = await loop.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(errno.EINVAL, f"no host name: {error}") from error
    family, _, _, _, address = found[0]
    return family, address


def _why(error: OSError) -> str:
    return error.strerror or str(error)
