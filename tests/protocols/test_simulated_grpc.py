"""The simulated gRPC service on the wire: one HTTP/2 connection, h2 as the client."""

from struct import pack

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.devices.grpc_wire import MESSAGE_BYTES_MAX, GrpcSession
from simulators.devices.persona import GrpcAnswer, GrpcRequest

HEAD = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/braiins.bos.v1.MinerService/GetMinerStats"),
    (":authority", "127.0.0.1"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
    ("authorization", "t0ken"),
]


class Client:
    """The calling end of one connection; `heard` collects what came back."""

    def __init__(self) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.server = GrpcSession()
        self.heard: dict[str, str] = {}
        self.body = b""
        self.ended = False
        self.was_reset = False

    def call(self, framed: bytes) -> list[tuple[int, GrpcRequest]]:
        """Send one call on stream 1, as the windows allow; return the calls that the server saw."""
        self.h2.send_headers(1, HEAD)
        calls: list[tuple[int, GrpcRequest]] = []
        while True:
            room = min(self.h2.local_flow_control_window(1), self.h2.max_outbound_frame_size)
            piece, framed = framed[:room], framed[room:]
            self.h2.send_data(1, piece, end_stream=not framed)
            calls += self.turn()
            if not framed or self.was_reset:
                return calls

    def turn(self) -> list[tuple[int, GrpcRequest]]:
        """Carry bytes both ways until neither side has any."""
        calls: list[tuple[int, GrpcRequest]] = []
        while True:
            there, back = self.h2.data_to_send(), self.server.bytes_to_send()
            if not there and not back:
                return calls
            calls += self.server.receive(there)
            for event in self.h2.receive_data(back):
                match event:
                    case ResponseReceived(headers=headers) | TrailersReceived(headers=headers):
                        self.heard |= {str(name): str(value) for name, value in headers or ()}
                    case DataReceived(data=bytes(data), flow_controlled_length=int(size)):
                        self.body += data
                        self.h2.acknowledge_received_data(size, 1)
                    case StreamEnded():
                        self.ended = True
                    case StreamReset():
                        self.was_reset = True


def framed(message: bytes) -> bytes:
    return pack(">BI", 0, len(message)) + message


def test_a_call_arrives_whole_and_its_answer_ends_with_status_0() -> None:
    client = Client()
    [(stream_id, request)] = client.call(framed(b"\x08\x01"))
    assert request.path == "/braiins.bos.v1.MinerService/GetMinerStats"
    assert request.metadata["authorization"] == "t0ken"
    assert request.message == b"\x08\x01"
    client.server.answer(stream_id, GrpcAnswer(message=b"\x10\x02", metadata={"x": "y"}))
    client.turn()
    assert client.body == framed(b"\x10\x02")
    assert (client.heard["grpc-status"], client.heard["x"], client.ended) == ("0", "y", True)


def test_a_refusal_is_trailers_only_with_its_reason() -> None:
    client = Client()
    [(stream_id, _)] = client.call(framed(b""))
    client.server.answer(stream_id, GrpcAnswer(message=None, status=16, detail="not logged in: é"))
    client.turn()
    assert client.heard["grpc-status"] == "16"
    assert client.heard["grpc-message"] == "not logged in%3A %C3%A9"
    assert client.body == b""


def test_ten_megabytes_go_through_the_callers_windows() -> None:
    client = Client()
    [(stream_id, _)] = client.call(framed(b""))
    message = b"A" * 10_000_000
    client.server.answer(stream_id, GrpcAnswer(message=message))
    client.turn()
    assert client.body == framed(message)
    assert client.ended


def test_a_message_beyond_the_bound_is_reset() -> None:
    client = Client()
    assert client.call(framed(b"A" * (MESSAGE_BYTES_MAX + 1))) == []
    assert client.was_reset


@pytest.mark.parametrize("data", [b"", b"\0\0", b"\1\0\0\0\0", framed(b"abc") + b"d"])
def test_a_frame_that_is_no_single_plain_message_is_reset(data: bytes) -> None:
    client = Client()
    assert client.call(data) == []
    assert client.was_reset


def test_an_answer_to_a_call_that_was_given_up_is_dropped() -> None:
    client = Client()
    [(stream_id, _)] = client.call(framed(b""))
    client.h2.reset_stream(1)
    client.turn()
    client.server.answer(stream_id, GrpcAnswer(message=b"late"))
    client.turn()
    assert client.body == b""
    assert not client.server.closed


@given(st.binary(min_size=32, max_size=300))
@settings(max_examples=100)
def test_bytes_that_are_no_http2_end_the_connection(data: bytes) -> None:
    session = GrpcSession()
    assert session.receive(data) == []
    assert session.closed
