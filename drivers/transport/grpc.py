"""One unary gRPC call over one short HTTP/2 connection.

    connect ─▶ preface, headers, message ─▶ collect ─▶ abort
                                             │ ends at: trailers with `grpc-status`
                                             └ fails at: deadline · size · reset · not HTTP/2

Nothing is kept between calls, so a peer that hangs, floods or drips costs its own deadline only.
The peer is told the deadline as well (`grpc-timeout`): what nobody waits for any more should not be
carried out later.
"""

import asyncio
from collections.abc import Iterable, Mapping
from struct import pack, unpack_from
from typing import cast
from urllib.parse import unquote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

from drivers.contract.errors import DeviceError, Malformed, Unreachable
from drivers.transport.grpc_status import OK, operation_of, status_error
from drivers.transport.ports import Endpoint

REQUEST_BYTES_MAX = 16_000
"""One HTTP/2 frame, which a peer has to take before it has said anything (RFC 9113, 6.5.2)."""

_STREAM = 1
_PREFIX_BYTES = 5
"""One flag byte and four of length before every message."""

_TYPE_AT, _SETTINGS = 3, 4
"""Where a frame names its type, and the type that a service begins with (RFC 9113, 3.4 and 4.1)."""

_OVERHEAD_BYTES_MAX = 65_536
"""What a connection may bring besides the message: frame heads, headers, settings, pings."""

_TEXT_CHARACTERS_MAX = 200


class SocketGrpc:
    """The socket form of the `Grpc` port. Stateless: one instance serves a whole fleet."""

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
        """Call `path` with one message and return the reply's message.

        Raises `Unreachable` (`connected` tells whether a connection stood), `Malformed` when the
        reply is not gRPC or larger than `bytes_max`, and what `status_error` makes of a status.
        The socket is closed before this returns or raises, in every case.
        """
        if len(message) > REQUEST_BYTES_MAX:
            raise ValueError(f"{path}: {len(message)} bytes; a request has {REQUEST_BYTES_MAX}")
        operation = operation_of(path)
        headers = _headers(endpoint, path, metadata, deadline_s)
        call = UnaryCall(endpoint, path, headers, message, bytes_max)
        loop = asyncio.get_running_loop()
        protocol = _Exchange(loop, call)
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


class UnaryCall:
    """The client's half of one call, without IO: bytes in, bytes out, and a result at the end."""

    def __init__(
        self,
        endpoint: Endpoint,
        path: str,
        headers: Iterable[tuple[str, str]],
        message: bytes,
        bytes_max: int,
    ) -> None:
        self.result: bytes | DeviceError | None = None
        """The reply's message, or what went wrong; None while the call is under way."""
        self._endpoint = endpoint
        self._path = path
        self._bytes_max = bytes_max
        self._received_bytes = 0
        self._begin = b""
        self._body = bytearray()
        self._fields: dict[str, str] = {}
        self._h2 = H2Connection(H2Configuration(client_side=True))
        self._h2.initiate_connection()
        self._h2.send_headers(_STREAM, list(headers))
        framed = pack(">BI", 0, len(message)) + message
        self._h2.send_data(_STREAM, framed, end_stream=True)

    def bytes_to_send(self) -> bytes:
        """Return what has to go to the peer now."""
        return self._h2.data_to_send()

    def receive(self, data: bytes) -> None:
        """Take bytes from the peer; without meaning once there is a result."""
        if self.result is not None:
            return
        self._received_bytes += len(data)
        self._begin += data[: _TYPE_AT + 1 - len(self._begin)]
        if len(self._begin) > _TYPE_AT and self._begin[_TYPE_AT] != _SETTINGS:
            # Otherwise h2 takes the text of an HTTP/1 service for a long frame and waits for it.
            self._fail("reply is not HTTP/2")
            return
        if self._received_bytes > self._bytes_max + _OVERHEAD_BYTES_MAX:
            self._fail(f"reply larger than {self._bytes_max} bytes")
            return
        try:
            for event in self._h2.receive_data(data):
                if self.result is None:
                    self._take(event)
        except ProtocolError as error:
            said = f"{type(error).__name__} {error}"[:_TEXT_CHARACTERS_MAX]
            self._fail(f"reply is not HTTP/2: {said}")

    def close(self, detail: str) -> None:
        """The peer has gone; without a result this is one."""
        self._broken_off(detail)

    def _take(self, event: Event) -> None:
        match event:
            case ResponseReceived(headers=headers) | TrailersReceived(headers=headers):
                for name, value in headers or ():
                    self._fields[name.decode("latin-1")] = value.decode("latin-1")
            case DataReceived(data=bytes(piece), flow_controlled_length=int(size)):
                self._body += piece
                if len(self._body) > self._bytes_max + _PREFIX_BYTES:
                    self._fail(f"reply larger than {self._bytes_max} bytes")
                else:
                    self._h2.acknowledge_received_data(size, _STREAM)
            case StreamEnded():
                self._finish()
            case StreamReset(error_code=code):
                self._broken_off(f"the peer reset the call (HTTP/2 error {code})")
            case ConnectionTerminated(error_code=code):
                self._broken_off(f"the peer ended the connection (HTTP/2 error {code})")

    def _finish(self) -> None:
        if self._fields.get(":status") != "200":
            self._fail(f"HTTP status {self._fields.get(':status', '')[:3]!r}; this is no gRPC")
            return
        said = self._fields.get("grpc-status", "")
        if not (said.isascii() and said.isdigit() and len(said) <= 3):
            self._fail("reply without a gRPC status")
        elif int(said) != OK:
            text = unquote(self._fields.get("grpc-message", "")[: 3 * _TEXT_CHARACTERS_MAX])
            self.result = status_error(self._endpoint, self._path, int(said), text)
        elif len(self._body) < _PREFIX_BYTES:
            self._fail("reply without a message")
        else:
            is_compressed, size = unpack_from(">BI", self._body)
            if is_compressed or size != len(self._body) - _PREFIX_BYTES:
                self._fail("reply is not one uncompressed message")
            else:
                self.result = bytes(self._body[_PREFIX_BYTES:])

    def _fail(self, detail: str) -> None:
        self.result = Malformed(self._endpoint.device, operation_of(self._path), detail)

    def _broken_off(self, detail: str) -> None:
        if self.result is None:
            self.result = Unreachable(
                self._endpoint.device, operation_of(self._path), detail, connected=True
            )


class _Exchange(asyncio.Protocol):
    """Carries one call over a socket; `reply` resolves to its result, which may be an error.

    The error is the future's result and not its exception, for a deadline may pass before anybody
    looks at it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, call: UnaryCall) -> None:
        self.reply: asyncio.Future[bytes | DeviceError] = loop.create_future()
        self._call = call
        self._transport: asyncio.Transport | None = None

    @property
    def is_connected(self) -> bool:
        """True once a connection stood."""
        return self._transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._call.bytes_to_send())

    def data_received(self, data: bytes) -> None:
        if self.reply.done():
            return
        self._call.receive(data)
        if not self._settle() and self._transport is not None:
            self._transport.write(self._call.bytes_to_send())

    def connection_lost(self, exc: Exception | None) -> None:
        self._call.close(f"connection lost: {exc}" if exc else "the peer closed without a reply")
        self._settle()

    def abort(self) -> None:
        """Close at once: what is still unsent is of no use to anybody."""
        if not self.reply.done():
            self.reply.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _settle(self) -> bool:
        result = self._call.result
        if result is not None and not self.reply.done():
            self.reply.set_result(result)
        return result is not None


def _headers(
    endpoint: Endpoint, path: str, metadata: Mapping[str, str], deadline_s: float
) -> list[tuple[str, str]]:
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", f"{host}:{endpoint.port}"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("grpc-timeout", f"{max(1, round(deadline_s * 1_000))}m"),
        *metadata.items(),
    ]
