"""JSON over one short TCP connection, as the cgminer family of miner services speaks it.

    connect ─▶ send ─▶ collect ─▶ abort
                        │ ends at: NUL byte · peer's close · complete JSON text
                        └ fails at: deadline · more than `bytes_max` · reset

Nothing is kept between calls, so a peer that hangs, babbles or drips costs its own deadline only.
"""

import asyncio
from typing import cast

import msgspec

from drivers.contract.errors import DeviceError, Malformed, Unreachable
from drivers.transport.ports import Endpoint

_PARSE_ATTEMPTS_MAX = 64
"""Tries to recognise a complete text in one reply.

Real replies arrive in a few segments, while a peer that drips brackets would make every byte cost a
parse of all the bytes before it.
"""


class SocketTcpJson:
    """The socket form of the `TcpJson` port. Stateless: one instance serves a whole fleet."""

    async def exchange(
        self, endpoint: Endpoint, request: bytes, *, deadline_s: float, bytes_max: int
    ) -> bytes:
        """Send `request`; return the reply without trailing NUL bytes and white space.

        Raises `Unreachable` (`connected` tells whether a connection stood) and `Malformed` when the
        reply grows past `bytes_max`. The socket is closed before this returns or raises, in every
        case.
        """
        operation = f"tcp {endpoint.host}:{endpoint.port}"
        loop = asyncio.get_running_loop()
        protocol = _Exchange(loop, endpoint, operation, request, bytes_max)
        try:
            async with asyncio.timeout(deadline_s):
                await loop.create_connection(lambda: protocol, endpoint.host, endpoint.port)
                reply = await protocol.reply
        except TimeoutError:
            detail = f"no whole reply within {deadline_s:g} s"
            raise Unreachable(
                endpoint.device, operation, detail, connected=protocol.is_connected
            ) from None
        except OSError as error:
            raise Unreachable(endpoint.device, operation, str(error), connected=False) from error
        finally:
            protocol.abort()
        if isinstance(reply, DeviceError):
            raise reply
        return reply


class _Exchange(asyncio.Protocol):
    """Collects one reply; `reply` resolves to it or to the DeviceError that ended it.

    The error is the future's result and not its exception, for a deadline may pass before anybody
    looks at it.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        endpoint: Endpoint,
        operation: str,
        request: bytes,
        bytes_max: int,
    ) -> None:
        self.reply: asyncio.Future[bytes | DeviceError] = loop.create_future()
        self._endpoint = endpoint
        self._operation = operation
        self._request = request
        self._bytes_max = bytes_max
        self._received = bytearray()
        self._attempts = 0
        self._transport: asyncio.Transport | None = None

    @property
    def is_connected(self) -> bool:
        """True once a connection stood."""
        return self._transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self.reply.done():
            return
        end = data.find(b"\0")
        self._received += data if end < 0 else data[:end]
        if len(self._received) > self._bytes_max:
            detail = f"reply larger than {self._bytes_max} bytes"
            self.reply.set_result(Malformed(self._endpoint.device, self._operation, detail))
            self.abort()
        elif end >= 0 or self._is_complete():
            self._finish()

    def eof_received(self) -> bool:
        self._close("the peer closed without a reply")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._close(f"connection lost: {exc}" if exc else "connection lost")

    def abort(self) -> None:
        """Close at once: what is still unsent is of no use to anybody."""
        if not self.reply.done():
            self.reply.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _close(self, detail: str) -> None:
        if self.reply.done():
            return
        if self._received:
            self._finish()
        else:
            self.reply.set_result(
                Unreachable(self._endpoint.device, self._operation, detail, connected=True)
            )

    def _finish(self) -> None:
        self.reply.set_result(bytes(self._received).rstrip())

    def _is_complete(self) -> bool:
        text = self._received.rstrip()
        if not text.endswith((b"}", b"]")) or self._attempts >= _PARSE_ATTEMPTS_MAX:
            return False
        self._attempts += 1
        try:
            msgspec.json.decode(text)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return False
        return True
