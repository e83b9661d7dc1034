"""Unary gRPC over HTTP/2, server side, without IO: bytes in, calls out, answers in, bytes out."""

from dataclasses import dataclass, field
from struct import pack, unpack_from
from urllib.parse import quote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError

from simulators.devices.persona import GrpcAnswer, GrpcRequest

MESSAGE_BYTES_MAX = 65_536
STREAMS_MAX = 64
PREFIX_BYTES = 5
"""One flag byte and four of length before every message."""


@dataclass(slots=True)
class _Call:
    path: str
    metadata: dict[str, str]
    data: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class _Outgoing:
    data: bytes
    at: int = 0


class GrpcSession:
    """One HTTP/2 connection. `closed` once the peer or a protocol error ended it."""

    def __init__(self) -> None:
        config = H2Configuration(client_side=False, header_encoding="utf-8")
        self._h2 = H2Connection(config=config)
        self._calls: dict[int, _Call] = {}
        self._outgoing: dict[int, _Outgoing] = {}
        self.closed = False
        self._h2.initiate_connection()

    def receive(self, data: bytes) -> list[tuple[int, GrpcRequest]]:
        """Take bytes from the peer; return the calls that became whole."""
        try:
            events = self._h2.receive_data(data)
        except (ProtocolError, UnicodeDecodeError):
            self.closed = True
            return []
        whole: list[tuple[int, GrpcRequest]] = []
        for event in events:
            match event:
                case RequestReceived(stream_id=int(stream_id), headers=headers):
                    self._begin(stream_id, [(str(n), str(v)) for n, v in headers or ()])
                case DataReceived(stream_id=int(stream_id), data=bytes(piece)):
                    self._h2.acknowledge_received_data(event.flow_controlled_length or 0, stream_id)
                    self._collect(stream_id, piece)
                case StreamEnded(stream_id=int(stream_id)):
                    whole += self._whole(stream_id)
                case StreamReset(stream_id=int(stream_id)):
                    self._calls.pop(stream_id, None)
                    self._outgoing.pop(stream_id, None)
                case WindowUpdated():
                    self._flush()
                case ConnectionTerminated():
                    self.closed = True
        return whole

    def answer(self, stream_id: int, answer: GrpcAnswer) -> None:
        """Answer one call; a call that its caller gave up is ignored."""
        if self.closed or stream_id in self._outgoing:
            return
        headers = [(":status", "200"), ("content-type", "application/grpc")]
        headers += list(answer.metadata.items())
        try:
            if answer.message is None:
                headers.append(("grpc-status", str(answer.status)))
                headers.append(("grpc-message", quote(answer.detail, safe=" ")))
                self._h2.send_headers(stream_id, headers, end_stream=True)
                return
            self._h2.send_headers(stream_id, headers)
        except ProtocolError:
            return
        framed = pack(">BI", 0, len(answer.message)) + answer.message
        self._outgoing[stream_id] = _Outgoing(framed)
        self._flush()

    def bytes_to_send(self) -> bytes:
        """What has to go to the peer now."""
        return self._h2.data_to_send()

    def _begin(self, stream_id: int, headers: list[tuple[str, str]]) -> None:
        fields = dict(headers)
        if len(self._calls) >= STREAMS_MAX:
            self._h2.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
        elif fields.get(":method") != "POST":
            self._h2.send_headers(stream_id, [(":status", "405")], end_stream=True)
        else:
            plain = {name: value for name, value in fields.items() if not name.startswith(":")}
            self._calls[stream_id] = _Call(fields.get(":path", ""), plain)

    def _collect(self, stream_id: int, piece: bytes) -> None:
        call = self._calls.get(stream_id)
        if call is None:
            return
        call.data += piece
        if len(call.data) > MESSAGE_BYTES_MAX:
            del self._calls[stream_id]
            self._h2.reset_stream(stream_id, ErrorCodes.ENHANCE_YOUR_CALM)

    def _whole(self, stream_id: int) -> list[tuple[int, GrpcRequest]]:
        call = self._calls.pop(stream_id, None)
        if call is None:
            return []
        if len(call.data) < PREFIX_BYTES:
            self._h2.reset_stream(stream_id, ErrorCodes.PROTOCOL_ERROR)
            return []
        compressed, size = unpack_from(">BI", call.data)
        if compressed or size != len(call.data) - PREFIX_BYTES:
            self._h2.reset_stream(stream_id, ErrorCodes.PROTOCOL_ERROR)
            return []
        message = bytes(call.data[PREFIX_BYTES:])
        return [(stream_id, GrpcRequest(path=call.path, metadata=call.metadata, message=message))]

    def _flush(self) -> None:
        """Send as much as the peer's windows allow; trailers follow the last byte."""
        for stream_id in list(self._outgoing):
            outgoing = self._outgoing[stream_id]
            try:
                while outgoing.at < len(outgoing.data):
                    room = min(
                        self._h2.local_flow_control_window(stream_id),
                        self._h2.max_outbound_frame_size,
                    )
                    if room <= 0:
                        break
                    self._h2.send_data(stream_id, outgoing.data[outgoing.at : outgoing.at + room])
                    outgoing.at += room
                else:
                    self._h2.send_headers(stream_id, [("grpc-status", "0")], end_stream=True)
                    del self._outgoing[stream_id]
            except ProtocolError:
                self._outgoing.pop(stream_id, None)
