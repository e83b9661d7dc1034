"""The same cases against the socket form and the in-memory form of each transport."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from drivers.contract.errors import DeviceRefused, Malformed, Unreachable
from drivers.transport.memory import (
    Answer,
    MemoryModbus,
    MemoryTcpJson,
    RegistersAnswer,
    RegistersQuestion,
)
from drivers.transport.ports import Endpoint, TcpJson
from drivers.transport.tcp_json import SocketTcpJson

MAX = 10_000
DEADLINE_S = 0.4


# ---- TCP -----------------------------------------------------------------------------------------
# ----------------


@dataclass
class Peer:
    """What the peer does with a request: what it sends, how late, and whether it then closes."""

    body: bytes | None = b""
    after_s: float = 0.0
    closes: bool = True
    refuses: bool = False
    resets: bool = False


@asynccontextmanager
async def tcp_over_socket(listening, peer: Peer) -> AsyncIterator[tuple[TcpJson, Endpoint]]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        if peer.resets:
            writer.transport.abort()
        elif peer.body is None:
            await reader.read()
        else:
            await asyncio.sleep(peer.after_s)
            writer.write(peer.body)
            if not peer.closes:
                await reader.read()

    async with listening(serve) as port:
        if not peer.refuses:
            yield SocketTcpJson(), Endpoint(device="m1", host="127.0.0.1", port=port)
    if peer.refuses:
        yield SocketTcpJson(), Endpoint(device="m1", host="127.0.0.1", port=port)


@asynccontextmanager
async def tcp_in_memory(listening, peer: Peer) -> AsyncIterator[tuple[TcpJson, Endpoint]]:
    def handler(host: str, port: int, request: bytes) -> Answer:
        assert (host, port, request) == ("10.0.0.1", 4028, b"ask")
        if peer.refuses:
            raise ConnectionRefusedError
        if peer.resets:
            raise ConnectionResetError
        return Answer(body=peer.body, after_s=peer.after_s)

    yield MemoryTcpJson(handler), Endpoint(device="m1", host="10.0.0.1", port=4028)


FORMS = pytest.mark.parametrize("form", [tcp_over_socket, tcp_in_memory])

ANSWERS = [
    # peer                                                  reply
    (Peer(b'{"a":1}'), b'{"a":1}'),
    (Peer(b'{"a":1}\0'), b'{"a":1}'),
    (Peer(b'{"a":1}\r\n\0\0'), b'{"a":1}'),
    (Peer(b'{"a":"}"}', closes=False), b'{"a":"}"}'),
    (Peer(b"{}\0 more that nobody asked for", closes=False), b"{}"),
    (Peer(b'{"a":'), b'{"a":'),
    (Peer(b"\xff\x00\xfe garbage"), b"\xff"),
    (Peer(b"not json"), b"not json"),
    (Peer(b'{"late":1}', after_s=0.05), b'{"late":1}'),
    (Peer(b"x" * MAX), b"x" * MAX),
]


@FORMS
@pytest.mark.parametrize(("peer", "reply"), ANSWERS)
async def test_tcp_passes_on_what_was_said(form, listening, peer, reply) -> None:
    async with form(listening, peer) as (tcp, endpoint):
        assert await tcp.exchange(endpoint, b"ask", deadline_s=5.0, bytes_max=MAX) == reply


@FORMS
@pytest.mark.parametrize(
    ("peer", "connected"),
    [
        (Peer(None), True),
        (Peer(b"{}", after_s=5.0), True),
        (Peer(refuses=True), False),
        (Peer(resets=True), True),
    ],
    ids=["silent", "past the deadline", "refused", "reset"],
)
async def test_tcp_without_a_reply_is_unreachable(form, listening, peer, connected) -> None:
    async with form(listening, peer) as (tcp, endpoint):
        with pytest.raises(Unreachable) as caught:
            await tcp.exchange(endpoint, b"ask", deadline_s=DEADLINE_S, bytes_max=MAX)
    assert caught.value.connected is connected
    assert caught.value.device == "m1"


@FORMS
async def test_tcp_reply_too_large_is_malformed(form, listening) -> None:
    async with form(listening, Peer(b"x" * 10_000_000)) as (tcp, endpoint):
        with pytest.raises(Malformed, match="larger than 10000 bytes"):
            await tcp.exchange(endpoint, b"ask", deadline_s=5.0, bytes_max=MAX)


async def test_tcp_peer_that_drips_costs_its_deadline_only(listening) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'{"a":[')
        while not writer.is_closing():
            writer.write(b"{},{}")
            await asyncio.sleep(0.001)

    async with listening(drip) as port:
        endpoint = Endpoint(device="m1", host="127.0.0.1", port=port)
        before = asyncio.all_tasks()
        with pytest.raises(Unreachable):
            await SocketTcpJson().exchange(endpoint, b"?", deadline_s=DEADLINE_S, bytes_max=10**7)
        await asyncio.sleep(0.05)
        assert asyncio.all_tasks() <= before, "nothing is left of it, the peer's side included"


# ---- Modbus


async def test_modbus_twin_answers_excepts_and_stays_silent() -> None:
    answers = {
        0: RegistersAnswer(words=(1, 2)),
        1: RegistersAnswer(words=None, exception_code=2),
        2: RegistersAnswer(words=None),
        3: RegistersAnswer(words=(1, 2, 3)),
    }

    def handler(host: str, port: int, question: RegistersQuestion) -> RegistersAnswer:
        return answers[question.address]

    modbus = MemoryModbus(handler)
    endpoint = Endpoint(device="meter", host="10.0.0.2", port=502)

    async def read(address: int) -> tuple[int, ...]:
        return await modbus.read_registers(
            endpoint, unit_id=1, function=3, address=address, count=2, timeout_s=0.05
        )

    assert await read(0) == (1, 2)
    with pytest.raises(DeviceRefused, match="exception 2"):
        await read(1)
    with pytest.raises(Unreachable):
        await read(2)
    with pytest.raises(Malformed):
        await read(3)
    await modbus.close()


# ---- TCP, the socket form alone


async def test_tcp_takes_a_reply_in_pieces_and_of_any_size(listening) -> None:
    body = b'{"a":"' + b"x" * 200_000 + b'"}'

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        for begin in range(0, len(body), 7_000):
            writer.write(body[begin : begin + 7_000])
            await writer.drain()
            await asyncio.sleep(0.001)
        await reader.read()

    async with listening(serve) as port:
        endpoint = Endpoint(device="m1", host="127.0.0.1", port=port)
        said = await SocketTcpJson().exchange(endpoint, b"ask", deadline_s=20.0, bytes_max=300_000)
    assert said == body


async def test_tcp_sends_a_request_larger_than_the_kernel_takes_at_once(listening) -> None:
    request, got = b"y" * 8_000_000, bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while len(got) < len(request):
            got.extend(await reader.read(100_000))
        writer.write(b"{}")

    async with listening(serve) as port:
        endpoint = Endpoint(device="m1", host="127.0.0.1", port=port)
        said = await SocketTcpJson().exchange(endpoint, request, deadline_s=20.0, bytes_max=MAX)
    assert said == b"{}"
    assert got == request


async def test_tcp_many_at_once_each_get_their_own_reply(listening) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'"%s"\0' % await reader.read(100))

    tcp = SocketTcpJson()
    async with listening(serve) as port:
        endpoint = Endpoint(device="m1", host="127.0.0.1", port=port)
        asked = [b"%d" % number for number in range(200)]
        said = await asyncio.gather(
            *(tcp.exchange(endpoint, ask, deadline_s=20.0, bytes_max=MAX) for ask in asked)
        )
    assert said == [b'"%s"' % ask for ask in asked]
    assert tcp.opened == 200


async def test_tcp_one_given_up_by_its_caller_leaves_the_others_alone(listening) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(100) == b"answer":
            writer.write(b"{}\0")
        await reader.read()

    tcp = SocketTcpJson()
    async with listening(serve) as port:
        endpoint = Endpoint(device="m1", host="127.0.0.1", port=port)
        hanging = asyncio.create_task(
            tcp.exchange(endpoint, b"hang", deadline_s=20.0, bytes_max=MAX)
        )
        await asyncio.sleep(0.05)
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        for _ in range(3):
            assert await tcp.exchange(endpoint, b"answer", deadline_s=20.0, bytes_max=MAX) == b"{}"


@pytest.mark.parametrize("host", ["localhost", "::1"])
async def test_tcp_finds_a_peer_by_name_and_by_ipv6(host) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"{}\0")
        writer.close()

    first = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0]
    server = await asyncio.start_server(serve, first, 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        endpoint = Endpoint(device="m1", host=host, port=port)
        said = await SocketTcpJson().exchange(endpoint, b"ask", deadline_s=20.0, bytes_max=MAX)
    assert said == b"{}"


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "\udc80"])
async def test_tcp_a_name_that_leads_nowhere_is_unreachable(host) -> None:
    endpoint = Endpoint(device="m1", host=host, port=4028)
    with pytest.raises(Unreachable) as caught:
        await SocketTcpJson().exchange(endpoint, b"ask", deadline_s=5.0, bytes_max=MAX)
    assert caught.value.connected is False
