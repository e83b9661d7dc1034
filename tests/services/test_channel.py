"""The channel between processes, over real Unix sockets: what it carries, and its ends."""

import asyncio

import msgspec
import pytest
import uvloop

from controller.channel.client import connect
from controller.channel.frames import (
    FRAME_BYTES_MAX,
    IMAGE_TOPIC,
    ChannelError,
    Failure,
    Request,
    RequestRefused,
    Subscribe,
    decode,
    encode,
    read_frame,
)
from controller.channel.server import ChannelServer
from tests.patience import until
from tests.services.channel_bench import PATIENCE_S, echo, first, pack, raw, short_folder, unpack


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


# What it carries


async def test_request_and_answer(server, path):
    async with connect(path) as client:
        assert unpack(await client.request(pack({"cap_w": 0.0}), PATIENCE_S)) == {"cap_w": 0.0}


async def test_answers_find_their_requests_among_many(server, path):
    async with connect(path) as client:
        asked = [client.request(pack(number), PATIENCE_S) for number in range(50)]
        assert [unpack(answer) for answer in await asyncio.gather(*asked)] == list(range(50))


async def test_a_refusal_carries_its_reason_and_ends_nothing(server, path):
    async with connect(path) as client:
        with pytest.raises(RequestRefused, match=r"^the plant says no$"):
            await client.request(pack("no"), PATIENCE_S)
        assert unpack(await client.request(pack("yes"), PATIENCE_S)) == "yes"


async def test_two_clients_see_the_same_images_and_only_subscribers_do(server, path):
    async with connect(path) as one, connect(path) as two, raw(path) as (reader, _):
        seen = asyncio.gather(first(one), first(two))
        await until(lambda: sum(c.subscribed for c in server._clients) == 2, "both have subscribed")
        server.publish(pack("image 1"))
        assert await seen == ["image 1", "image 1"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await reader.read(1)


async def test_a_late_subscriber_is_given_the_newest_image_at_once(server, path):
    server.publish(pack("old"))
    server.publish(pack("new"))
    async with connect(path) as client:
        assert await first(client) == "new"


async def test_largest_body_goes_through_both_ways(server, path):
    overhead = len(encode(Request(2**31, msgspec.Raw(pack(b"x" * 70_000))))) - 4 - 70_000
    body = pack(b"x" * (FRAME_BYTES_MAX - overhead - 8))
    async with connect(path) as client:
        assert await client.request(body, PATIENCE_S) == body


async def test_one_loop_or_the_other(path, folder):
    """uvloop drives our processes; asyncio's own loop drives these tests."""

    async def converse():
        async with ChannelServer(path, echo) as server, connect(path) as client:
            server.publish(pack("image"))
            assert await first(client) == "image"
            with pytest.raises(RequestRefused):
                await client.request(pack("no"), PATIENCE_S)
            async with raw(path) as (reader, writer):
                writer.write(b"GET / HTTP/1.1\r\n\r\n")
                payload = await asyncio.wait_for(read_frame(reader), PATIENCE_S)
                assert isinstance(decode(payload), Failure)
        assert not path.exists()

    await asyncio.to_thread(
        lambda: asyncio.Runner(loop_factory=uvloop.new_event_loop).run(converse())
    )


# Slow, greedy and many


async def test_a_slow_client_blocks_nobody_and_gets_the_newest_when_it_wakes(server, path):
    images = 400
    async with raw(path) as (reader, writer), connect(path) as fast:
        writer.write(encode(Subscribe(IMAGE_TOPIC)))
        watching = fast.images()
        server.publish(pack([0, b""]))
        assert unpack(await anext(watching))[0] == 0
        await until(lambda: sum(c.subscribed for c in server._clients) == 2, "both have subscribed")
        for number in range(1, images + 1):
            server.publish(pack([number, b"x" * 50_000]))
            assert unpack(await asyncio.wait_for(anext(watching), PATIENCE_S))[0] == number
        received = []
        while not received or received[-1] != images:
            payload = await asyncio.wait_for(read_frame(reader), PATIENCE_S)
            received.append(unpack(decode(payload).body)[0])
        assert received == sorted(received)
        assert len(received) < images / 2
        assert server.images_dropped == images + 1 - len(received)


async def test_a_client_that_takes_no_answers_piles_up_none(server, path):
    """Its requests are not read on while an answer waits, so its own writing comes to a stop."""
    answered = 0

    async def count(body):
        nonlocal answered
        answered += 1
        return pack(b"x" * 500_000)

    server._handler = count
    request = encode(Request(1, msgspec.Raw(pack(None))))
    async with raw(path) as (_, writer), connect(path) as other:
        writer.write(request * 5_000)
        for _ in range(20):
            await other.request(pack(None), PATIENCE_S)
        assert answered < 20 + 10
        assert server.clients == 2


async def test_one_client_too_many_is_told_and_there_is_room_again_later(path):
    async with ChannelServer(path, echo, clients_max=2) as server, connect(path) as first_one:
        await first_one.request(pack(1), PATIENCE_S)
        async with connect(path) as second:
            await second.request(pack(1), PATIENCE_S)
            async with connect(path) as third:
                with pytest.raises(ChannelError, match="2 clients are connected already"):
                    await third.request(pack(1), PATIENCE_S)
        await until(lambda: server.clients == 1, "one client is left")
        async with connect(path) as fourth:
            assert unpack(await fourth.request(pack(4), PATIENCE_S)) == 4


# Time, faults and restarts


async def test_no_answer_in_time_and_the_late_one_is_nobodys(server, path):
    go_on = asyncio.Event()

    async def dawdle(body):
        await go_on.wait()
        return body

    server._handler = dawdle
    async with connect(path) as client:
        with pytest.raises(ChannelError, match=r"site\.sock: no answer within 0\.02 s"):
            await client.request(pack("first"), 0.02)
        go_on.set()
        assert unpack(await client.request(pack("second"), PATIENCE_S)) == "second"


async def test_a_fault_of_the_handler_is_told_to_the_loop_and_ends_only_its_client(server, path):
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))

    async def broken(body):
        return pack(1 / unpack(body))

    server._handler = broken
    async with connect(path) as one, connect(path) as two:
        with pytest.raises(ChannelError, match="closed by the other side"):
            await one.request(pack(0), PATIENCE_S)
        assert unpack(await two.request(pack(2), PATIENCE_S)) == 0.5
    (context,) = told
    assert isinstance(context["exception"], ZeroDivisionError)
    assert context["message"] == f"{path}: a request's handler failed"


async def test_the_end_of_the_server_ends_every_wait_and_a_new_one_is_found(path):
    asked, never = asyncio.Event(), asyncio.Event()

    async def hang(body):
        asked.set()
        await never.wait()
        return body

    server = ChannelServer(path, hang)
    async with server:
        client = await asyncio.wait_for((making := connect(path)).__aenter__(), PATIENCE_S)
        watching = asyncio.create_task(first(client))
        await until(lambda: any(c.subscribed for c in server._clients), "it has subscribed")
        waiting = asyncio.create_task(client.request(pack(1), PATIENCE_S))
        await asked.wait()
    for task in (waiting, watching):
        with pytest.raises(ChannelError, match="closed by the other side; has `naryn run` ended"):
            await task
    with pytest.raises(ChannelError, match=r"site\.sock: closed by the other side"):
        await client.request(pack(1), PATIENCE_S)
    await making.__aexit__(None, None, None)
    assert not path.exists()
    async with ChannelServer(path, echo), connect(path) as again:
        assert unpack(await again.request(pack(2), PATIENCE_S)) == 2


async def test_the_server_ends_although_a_client_reads_nothing(path):
    async with asyncio.timeout(PATIENCE_S):
        async with ChannelServer(path, echo) as server, raw(path) as (_, writer):
            writer.write(encode(Subscribe(IMAGE_TOPIC)))
            await until(lambda: any(c.subscribed for c in server._clients), "it has subscribed")
            for _ in range(5):
                server.publish(pack(b"x" * 1_000_000))
                await asyncio.sleep(0.01)
