"""What the channel refuses: too large, garbage, cut."""

import asyncio
import contextlib
import os
import socket

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.channel.client import connect
from controller.channel.frames import (
    DETAIL_CHARS_MAX,
    FRAME_BYTES_MAX,
    IMAGE_TOPIC,
    NO_REQUEST,
    ChannelError,
    Failure,
    Publish,
    Reply,
    RequestRefused,
    Subscribe,
    decode,
    encode,
    read_frame,
)
from controller.channel.server import ChannelServer
from tests.patience import until
from tests.services.channel_bench import (
    PATIENCE_S,
    echo,
    first,
    pack,
    raw,
    rude_server,
    short_folder,
    unpack,
)


@pytest.fixture
def folder():
    with short_folder() as made:
        yield made


@pytest.fixture
def path(folder):
    return folder / "run" / "site.sock"


@pytest.fixture
async def server(path):
    async with ChannelServer(path, echo) as serving:
        yield serving


# Too large


async def test_a_request_too_large_is_not_sent(server, path):
    async with connect(path) as client:
        with pytest.raises(ChannelError, match=r"a request of 10\d+ bytes does not fit"):
            await client.request(pack(b"x" * FRAME_BYTES_MAX), PATIENCE_S)
        assert unpack(await client.request(pack(1), PATIENCE_S)) == 1


async def test_an_answer_too_large_is_a_failure_of_that_request(server, path):
    async with connect(path) as client:
        with pytest.raises(RequestRefused, match=r"a reply of 10\d+ bytes does not fit"):
            await client.request(pack("much"), PATIENCE_S)
        assert unpack(await client.request(pack(1), PATIENCE_S)) == 1


async def test_an_image_too_large_is_the_publishers_error_and_the_older_one_stays(server, path):
    server.publish(pack("small"))
    with pytest.raises(ChannelError, match="a publish of"):
        server.publish(pack(b"x" * FRAME_BYTES_MAX))
    async with connect(path) as client:
        assert await first(client) == "small"


# Garbage


def framed(payload):
    return len(payload).to_bytes(4, "big") + payload


GARBAGE = {
    "another protocol": b"GET / HTTP/1.1\r\nHost: naryn\r\n\r\n",
    "announces one byte too many": (FRAME_BYTES_MAX + 1).to_bytes(4, "big"),
    "announces 4 GiB": b"\xff\xff\xff\xff",
    "empty frame": b"\0\0\0\0",
    "not msgpack": framed(b"\xc1\xc1\xc1"),
    "msgpack of another kind": framed(pack([1, 2, 3])),
    "an envelope without a body": framed(pack({"type": "request", "id": 1})),
    "id is a word": framed(pack({"type": "request", "id": "one", "body": 1})),
    "id beyond 64 bits": framed(pack({"type": "request", "body": 1})[:-1] + b"\xcf" + b"\xff" * 7),
    "nested 900 000 deep": framed(b"\x82\xa4type\xa7request\xa4body" + b"\x91" * 900_000 + b"\x01"),
    "what only a server says": encode(Reply(1, msgspec.Raw(pack(1)))),
    "an unknown topic": encode(Subscribe("treasury")),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_is_answered_with_a_failure_and_the_end(server, path, garbage):
    async with raw(path) as (reader, writer), connect(path) as other:
        writer.write(garbage)
        payload = await asyncio.wait_for(read_frame(reader), PATIENCE_S)
        failure = decode(payload)
        assert isinstance(failure, Failure)
        assert failure.id == NO_REQUEST
        assert failure.detail
        with contextlib.suppress(ConnectionError):  # bytes it had sent were not all read
            assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
        assert unpack(await other.request(pack("still here"), PATIENCE_S)) == "still here"


@pytest.mark.parametrize("sent", [b"\0\0", framed(pack("whole"))[:-2]], ids=["length", "payload"])
async def test_a_cut_frame_is_named(server, path, sent):
    async with raw(path) as (reader, writer):
        writer.write(sent)
        writer.write_eof()
        failure = decode(await asyncio.wait_for(read_frame(reader), PATIENCE_S))
        assert "the stream ended" in failure.detail


async def test_a_client_that_comes_and_goes_leaves_nothing(server, path):
    for _ in range(50):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(os.fspath(path))
    async with connect(path) as client:
        await client.request(pack(1), PATIENCE_S)
        await until(lambda: server.clients == 1, "one client is left")
        assert len(server._tasks) == 1


RUDE = {
    "not a frame": (b"HTTP/1.1 200 OK\r\n\r\n", "bytes was announced"),
    "too large": (b"\x7f\xff\xff\xff", "2147483647 bytes was announced"),
    "no envelope": (framed(b"\xc1"), "not an envelope"),
    "what only a client says": (encode(Subscribe(IMAGE_TOPIC)), "does not send a subscribe"),
    "sends away": (encode(Failure(NO_REQUEST, "come back later")), "come back later"),
    "cut": (b"\0\0\0\x09abc", "after 3 of a frame's 9 bytes"),
}


@pytest.mark.parametrize(("says", "named"), RUDE.values(), ids=RUDE)
async def test_a_server_that_sends_garbage_ends_every_wait(path, says, named):
    async with rude_server(path, says), connect(path) as client:
        with pytest.raises(ChannelError, match=named):
            await client.request(pack(1), PATIENCE_S)
        with pytest.raises(ChannelError, match=named):
            await first(client)


async def test_unknown_topics_and_answers_to_nobody_are_passed_over(path):
    says = encode(Publish("weather", msgspec.Raw(pack("rain")))) + encode(Failure(99, "whose?"))
    says += encode(Reply(98, msgspec.Raw(pack(1)))) + encode(Publish("image", msgspec.Raw(pack(7))))
    async with rude_server(path, says), connect(path) as client:
        assert await first(client) == 7


@given(st.binary(max_size=200))
def test_any_bytes_are_an_envelope_or_a_channel_error(data):
    with contextlib.suppress(ChannelError):
        decode(data)


@given(st.integers(0, 2**63 - 1), st.text(max_size=3 * DETAIL_CHARS_MAX))
def test_a_failure_survives_with_its_detail_shortened(number, detail):
    back = decode(encode(Failure(number, detail))[4:])
    assert back.id == number
    assert len(back.detail) <= DETAIL_CHARS_MAX
    if len(detail) <= DETAIL_CHARS_MAX:
        assert back.detail == detail


def test_a_detail_that_is_no_unicode_is_sent_all_the_same():
    assert decode(encode(Failure(1, "file \udcff"))[4:]).detail == "file ?"
