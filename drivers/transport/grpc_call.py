"""The client's half of one unary gRPC call over HTTP/2, without IO: bytes in, bytes out. Pure.

The peer is told the deadline (`grpc-timeout`): what nobody waits for any more should not be carried
out later.
"""

from collections.abc import Mapping
from struct import pack, unpack_from
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

_FRAME_HEAD_BYTES = 9
_CARRIERS = frozenset({0, 1})
_ENDS = frozenset({3, 7})
_END_STREAM = 1
"""DATA and HEADERS, of which one with the flag ends a call; RST_STREAM and GOAWAY (RFC 9113, 6)."""

_OVERHEAD_BYTES_MAX = 65_536
"""What a connection may bring besides the message: frame heads, headers, settings, pings."""

_TEXT_CHARACTERS_MAX = 200


class UnaryCall:
    """The client's half of one call, without IO: bytes in, bytes out, and a result at the end."""

    def __init__(
        self,
        endpoint: Endpoint,
        path: str,
        message: bytes,
        *,
        metadata: Mapping[str, str],
        deadline_s: float,
        bytes_max: int,
    ) -> None:
        if len(message) > REQUEST_BYTES_MAX:
            raise ValueError(f"{path}: {len(message)} bytes; a request has {REQUEST_BYTES_MAX}")
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
        self._h2.send_headers(_STREAM, _headers(endpoint, path, metadata, deadline_s))
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


def is_answered(received: bytes) -> bool:
    """Tell whether all the bytes of a connection hold the end of its one call, without decoding.

    Also true where the peer reset it, went away, or does not speak HTTP/2 at all.
    """
    at = 0
    while at + _FRAME_HEAD_BYTES <= len(received):
        kind, flags = received[at + _TYPE_AT], received[at + _TYPE_AT + 1]
        if at == 0 and kind != _SETTINGS:
            return True
        at += _FRAME_HEAD_BYTES + int.from_bytes(received[at : at + 3])
        if at > len(received):
            return False
        if kind in _ENDS or (kind in _CARRIERS and flags & _END_STREAM):
            return True
    return False


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
