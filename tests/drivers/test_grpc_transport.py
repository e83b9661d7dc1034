"""Unary gRPC calls: the same cases over sockets and in memory, and a hostile peer on the wire."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from struct import pack

import h2.config
import h2.connection
import h2.events
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.contract.errors import (
    Busy,
    DeviceError,
    DeviceRefused,
    Malformed,
    Unauthorized,
    Unreachable,
    Unsupported,
)
from drivers.transport.grpc import SocketGrpc
from drivers.transport.grpc_call import REQUEST_BYTES_MAX, UnaryCall, is_answered
from drivers.transport.grpc_status import operation_of, status_error
from drivers.transport.memory import GrpcAnswer, GrpcQuestion, MemoryGrpc
from drivers.transport.ports import Endpoint, Grpc

PATH = "/braiins.bos.v1.ActionsService/PauseMining"
MAX = 10_000
DEADLINE_S = 0.4
HERE = Endpoint(device="m1", host="10.0.0.1", port=50051)


@dataclass
class Peer:
    """What the service says, and how late; `asked` collects the calls."""

    answer: GrpcAnswer = field(default_factory=lambda: GrpcAnswer(message=b"\x08\x01"))
    refuses: bool = False
    resets: bool = False
    asked: list[GrpcQuestion] = field(default_factory=list)


class Service:
    """The serving end of one HTTP/2 connection, by h2."""

    def __init__(self) -> None:
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.h2.initiate_connection()
        self.headers: dict[str, str] = {}
        self.body = b""

    def receive(self, data: bytes) -> bool:
        """Take bytes; True once the call is whole."""
        for event in self.h2.receive_data(data):
            match event:
                case h2.events.RequestReceived(headers=headers):
                    self.headers = {name.decode(): value.decode() for name, value in headers}
                case h2.events.DataReceived(data=piece):
                    self.body += piece
                case h2.events.StreamEnded():
                    return True
        return False

    def say(
        self,
        body: bytes | None,
        status: str | None = "0",
        text: str = "",
        http: str = "200",
    ) -> bytes:
        """Answer with a body and trailers, or with trailers only."""
        trailers = [] if status is None else [("grpc-status", status)]
        trailers += [("grpc-message", text)] if text else []
        if body is None:
            self.h2.send_headers(1, [(":status", http), *trailers], end_stream=True)
        else:
            self.h2.send_headers(1, [(":status", http), ("content-type", "application/grpc")])
            for at in range(0, len(body), 16_384):
                self.h2.send_data(1, body[at : at + 16_384])
            self.h2.send_headers(1, trailers or [("x", "y")], end_stream=True)
        return self.h2.data_to_send()


def framed(message: bytes) -> bytes:
    return pack(">BI", 0, len(message)) + message


async def called(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Service:
    """Serve until a whole call has come."""
    service = Service()
    writer.write(service.h2.data_to_send())
    while not service.receive(await reader.read(65_536)):
        writer.write(service.h2.data_to_send())
    return service


@asynccontextmanager
async def over_socket(listening, peer: Peer) -> AsyncIterator[tuple[Grpc, Endpoint]]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        service = await called(reader, writer)
        plain = {name: value for name, value in service.headers.items() if name[0] != ":"}
        path = service.headers[":path"]
        peer.asked.append(GrpcQuestion(path=path, metadata=plain, message=service.body[5:]))
        if peer.resets:
            writer.transport.abort()
            return
        answer = peer.answer
        if answer.message is None and answer.status == 0:
            await reader.read()
        await asyncio.sleep(answer.after_s)
        if answer.message is None:
            writer.write(service.say(None, str(answer.status), answer.text))
        else:
            writer.write(service.say(framed(answer.message)))
        await reader.read()

    async with listening(serve) as port:
        if not peer.refuses:
            yield SocketGrpc(), Endpoint(device="m1", host="127.0.0.1", port=port)
    if peer.refuses:
        yield SocketGrpc(), Endpoint(device="m1", host="127.0.0.1", port=port)


@asynccontextmanager
async def in_memory(listening, peer: Peer) -> AsyncIterator[tuple[Grpc, Endpoint]]:
    def handler(host: str, port: int, question: GrpcQuestion) -> GrpcAnswer:
        assert (host, port) == ("10.0.0.1", 50051)
        if peer.refuses:
            raise ConnectionRefusedError
        if peer.resets:
            raise ConnectionResetError
        peer.asked.append(question)
        return peer.answer

    yield MemoryGrpc(handler), HERE


FORMS = pytest.mark.parametrize("form", [over_socket, in_memory])


async def ask(grpc: Grpc, endpoint: Endpoint, message: bytes = b"ask", **other) -> bytes:
    arguments = {"metadata": {"authorization": "t0k"}, "deadline_s": 5.0, "bytes_max": MAX} | other
    return await grpc.unary(endpoint, PATH, message, **arguments)


@FORMS
@pytest.mark.parametrize("message", [b"", b"\x08\x01", b"\0" * MAX], ids=len)
async def test_the_message_and_metadata_go_there_and_the_reply_comes_back(
    form, listening, message
) -> None:
    peer = Peer(GrpcAnswer(message=message, after_s=0.01))
    async with form(listening, peer) as (grpc, endpoint):
        assert await ask(grpc, endpoint) == message
        if isinstance(grpc, SocketGrpc):
            assert grpc.opened == 1
    [asked] = peer.asked
    assert (asked.path, asked.message) == (PATH, b"ask")
    assert asked.metadata["authorization"] == "t0k"


@FORMS
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (3, DeviceRefused),
        (7, Unauthorized),
        (8, Busy),
        (9, DeviceRefused),
        (11, DeviceRefused),
        (12, Unsupported),
        (16, Unauthorized),
        (2, Unreachable),
        (13, Unreachable),
        (14, Unreachable),
        (99, Unreachable),
    ],
)
async def test_a_status_is_an_error_with_its_text(form, listening, status, kind) -> None:
    peer = Peer(GrpcAnswer(message=None, status=status, text="not now"))
    async with form(listening, peer) as (grpc, endpoint):
        with pytest.raises(DeviceError) as caught:
            await ask(grpc, endpoint)
    assert type(caught.value) is kind
    assert str(caught.value) == f"m1: PauseMining: gRPC status {status}: not now"
    if isinstance(caught.value, Unreachable):
        assert caught.value.connected, "it may have been carried out"


@FORMS
@pytest.mark.parametrize(
    ("peer", "connected"),
    [
        (Peer(GrpcAnswer(message=None)), True),
        (Peer(GrpcAnswer(message=b"", after_s=5.0)), True),
        (Peer(refuses=True), False),
        (Peer(resets=True), True),
    ],
    ids=["silent", "past the deadline", "refused", "reset"],
)
async def test_without_a_reply_it_is_unreachable(form, listening, peer, connected) -> None:
    async with form(listening, peer) as (grpc, endpoint):
        with pytest.raises(Unreachable) as caught:
            await ask(grpc, endpoint, deadline_s=DEADLINE_S)
    assert caught.value.connected is connected


@FORMS
async def test_a_reply_too_large_is_malformed(form, listening) -> None:
    async with form(listening, Peer(GrpcAnswer(message=b"x" * 50_000))) as (grpc, endpoint):
        with pytest.raises(Malformed, match="larger than 10000 bytes"):
            await ask(grpc, endpoint)


async def test_the_peer_is_told_the_deadline(listening) -> None:
    peer = Peer()
    async with over_socket(listening, peer) as (grpc, endpoint):
        await ask(grpc, endpoint, deadline_s=2.5)
    assert peer.asked[0].metadata["grpc-timeout"] == "2500m"


async def test_a_request_beyond_one_frame_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="a request has 16000"):
        await ask(SocketGrpc(), HERE, b"x" * (REQUEST_BYTES_MAX + 1))


async def test_a_reply_beyond_the_window_comes_whole(listening) -> None:
    """More than HTTP/2's first window of 65535 bytes: it comes only as it is taken."""
    message = b"A" * 200_000

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        service = await called(reader, writer)
        service.h2.send_headers(1, [(":status", "200")])
        left = framed(message)
        while left:
            room = min(service.h2.local_flow_control_window(1), service.h2.max_outbound_frame_size)
            service.h2.send_data(1, left[:room])
            left = left[room:]
            writer.write(service.h2.data_to_send())
            while left and not service.h2.local_flow_control_window(1):
                service.h2.receive_data(await reader.read(65_536))
        service.h2.send_headers(1, [("grpc-status", "0")], end_stream=True)
        writer.write(service.h2.data_to_send())
        await reader.read()

    async with listening(serve) as port:
        here = Endpoint(device="m1", host="127.0.0.1", port=port)
        assert await ask(SocketGrpc(), here, bytes_max=300_000) == message


Wrong = Callable[[Service], bytes]


def _goaway(service: Service) -> bytes:
    service.h2.close_connection(11)
    return service.h2.data_to_send()


def _reset(service: Service) -> bytes:
    service.h2.reset_stream(1, 7)
    return service.h2.data_to_send()


def _pings(service: Service) -> bytes:
    for _ in range(20_000):
        service.h2.ping(b"12345678")
    return service.h2.data_to_send()


WRONG: dict[str, tuple[Wrong, type[DeviceError], str]] = {
    "garbage": (lambda _: b"\0\0\1\x01garbage" * 50, Malformed, "not HTTP/2"),
    "a page": (lambda s: s.say(None, None, http="404"), Malformed, "HTTP status '404'"),
    "no status": (lambda s: s.say(framed(b"x"), None), Malformed, "without a gRPC status"),
    "no number": (lambda s: s.say(framed(b"x"), "OK"), Malformed, "without a gRPC status"),
    "no message": (lambda s: s.say(b""), Malformed, "without a message"),
    "half a message": (lambda s: s.say(framed(b"xyz")[:-1]), Malformed, "not one uncompressed"),
    "two messages": (lambda s: s.say(framed(b"x") * 2), Malformed, "not one uncompressed"),
    "compressed": (lambda s: s.say(b"\1\0\0\0\1x"), Malformed, "not one uncompressed"),
    "pings": (_pings, Malformed, "larger than 10000 bytes"),
    "call reset": (_reset, Unreachable, "reset the call"),
    "going away": (_goaway, Unreachable, "ended the connection"),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_reply_is_told_and_nothing_is_left(listening, wrong) -> None:
    say, kind, text = WRONG[wrong]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(say(await called(reader, writer)))
        await reader.read()

    async with listening(serve) as port:
        before = asyncio.all_tasks()
        with pytest.raises(kind, match=text):
            await ask(SocketGrpc(), Endpoint(device="m1", host="127.0.0.1", port=port))
    assert asyncio.all_tasks() <= before


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 600, b"{}\0\0"])
async def test_a_service_that_speaks_something_else_is_told_at_once(listening, said) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(said)
        await reader.read()

    async with listening(serve) as port:
        with pytest.raises(Malformed, match="not HTTP/2"):
            await ask(SocketGrpc(), Endpoint(device="m1", host="127.0.0.1", port=port))


async def test_a_peer_that_drips_costs_its_deadline_only(listening) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        service = await called(reader, writer)
        while not writer.is_closing():
            service.h2.ping(b"12345678")
            writer.write(service.h2.data_to_send())
            await asyncio.sleep(0.005)

    async with listening(serve) as port:
        with pytest.raises(Unreachable, match=r"within 0\.4 s"):
            await ask(
                SocketGrpc(),
                Endpoint(device="m1", host="127.0.0.1", port=port),
                deadline_s=DEADLINE_S,
            )


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_bytes_raise_anything(data) -> None:
    call = UnaryCall(HERE, PATH, b"", metadata={}, deadline_s=1.0, bytes_max=MAX)
    service = Service()
    service.receive(call.bytes_to_send())
    text = "%00%ff" + "x" * 20
    body = data.draw(st.sampled_from([framed(b"x" * 40), None]))
    said = service.say(body, "0" if body else "3", text)
    begin = data.draw(st.integers(0, len(said)))
    end = data.draw(st.integers(begin, min(len(said), begin + 20)))
    bent = said[:begin] + data.draw(st.binary(max_size=20)) + said[end:]
    is_answered(bent)
    call.receive(bent)
    call.bytes_to_send()
    call.close("gone")
    assert isinstance(call.result, bytes | DeviceError)
    if isinstance(call.result, DeviceError):
        assert len(call.result.detail) < 400


@pytest.mark.parametrize("body", [framed(b"\x08\x01"), None], ids=["a message", "a status"])
def test_a_call_is_answered_with_its_last_byte_and_not_before(body) -> None:
    call = UnaryCall(HERE, PATH, b"", metadata={}, deadline_s=1.0, bytes_max=MAX)
    service = Service()
    service.receive(call.bytes_to_send())
    said = service.say(body, "0" if body else "16")
    assert [at for at in range(len(said) + 1) if is_answered(said[:at])] == [len(said)]
    call.receive(said[:-1])
    assert call.result is None
    call.receive(said[-1:])
    assert call.result is not None


def test_no_more_is_waited_for_where_none_will_come() -> None:
    for say in (_goaway, _reset, lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n"):
        service = Service()
        call = UnaryCall(HERE, PATH, b"", metadata={}, deadline_s=1.0, bytes_max=MAX)
        service.receive(call.bytes_to_send())
        assert is_answered(say(service))


def test_a_services_text_is_short_and_printable() -> None:
    error = status_error(HERE, PATH, 9, "a\0b\x1b[31m" + "x" * 5_000)
    assert error.detail.isprintable()
    assert len(error.detail) < 240
    assert operation_of("no path") == "no path"
