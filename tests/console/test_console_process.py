"""`naryn console` as a process: its stream, its end, and what it refuses to start with."""

import asyncio
import contextlib
import json
import socket

import pytest

from controller.app.console import _STUCK_S, _listen
from controller.console.pages import BEAT, PIECES
from tests.console.pictures import GOOD_TREASURY, PEACE, PROVED
from tests.console.stage import NARYN, Stage
from tests.loopback import free_port


@pytest.fixture
async def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    await made.end()


class Stream:
    """A client of /events with nothing between it and the socket."""

    def __init__(self, port):
        self._port = port

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        ask = f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n\r\n"
        self.writer.write(ask.encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert b"200 OK" in head
        assert b"text/event-stream" in head
        return self

    async def __aexit__(self, *_):
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    async def message(self):
        """The pieces of the next message by name; None when the stream ended well."""
        size = int(await self.reader.readline(), 16)
        body = (await self.reader.readexactly(size + 2)).decode()
        if not size:
            return None
        found = {}
        for event in body.split("\n\n"):
            if event.startswith("event: "):
                name, data = event.removeprefix("event: ").split("\ndata: ")
                assert "\n" not in data
                found[name] = data
        return found or await self.message()

    async def until(self, condition):
        """Read on until a beat fulfils the condition."""
        async with asyncio.timeout(30):
            while not condition(beat := json.loads((await self.message())["beat"])):
                pass
        return beat


async def test_the_stream_begins_whole_goes_on_with_changes_and_tells_of_silence(stage):
    await stage.site.begin(PROVED)
    await stage.start()
    async with Stream(stage.port) as stream:
        await stream.until(lambda beat: beat["fault"] is None)
    async with Stream(stage.port) as stream:
        first = await stream.message()
        assert {*PIECES, BEAT} == set(first)
        second = await stream.message()
        assert "beat" in second
        assert not {"alarms", "facts", "treasury"} & set(second)
        await stage.site.end()
        gone = await stream.until(lambda beat: beat["fault"] is not None)
        assert "naryn run" in gone["fault"]
        assert gone["points"] == {}
        await stage.site.begin(PEACE)
        back = await stream.until(lambda beat: beat["fault"] is None)
        assert back["points"]["plant/measured_w"] == 2.4e6


async def test_a_client_that_never_reads_holds_no_other_and_not_the_end(stage):
    await stage.site.begin(PROVED)
    await stage.treasury.begin(GOOD_TREASURY)
    await stage.start()
    with socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        stuck.connect(("127.0.0.1", stage.port))
        stuck.sendall(f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{stage.port}\r\n\r\n".encode())
        async with Stream(stage.port) as stream:
            for _ in range(5):
                assert "beat" in await stream.message()
            told = asyncio.create_task(stage.stop())
            async with asyncio.timeout(10):
                while await stream.message() is not None:
                    pass
            async with asyncio.timeout(10):
                text = await told
    assert stage.console.returncode == 0
    assert "console_ended" in text
    assert "Traceback" not in text


async def test_garbage_is_answered_and_leaves_no_line_in_the_log(stage):
    await stage.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(b"\x16\x03\x01 no HTTP at all\r\n\r\n")
    assert b"400" in await reader.read()
    writer.close()
    text = await stage.stop()
    assert stage.console.returncode == 0
    events = [json.loads(line)["event"] for line in text.splitlines()]
    assert set(events) <= {"not_reached", "console_ended"}


async def test_a_taken_port_is_named_with_what_to_do(stage):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", stage.port))
        taken.listen()
        ended = await asyncio.create_subprocess_exec(
            *NARYN, str(stage.file), stderr=asyncio.subprocess.PIPE
        )
        _, told = await ended.communicate()
    assert ended.returncode == 1
    (sentence,) = told.decode().splitlines()
    assert sentence.startswith(f"127.0.0.1:{stage.port}: cannot be listened on")
    assert "[console]" in sentence


def test_the_kernel_cuts_a_client_that_takes_nothing():
    port = free_port()
    with _listen("127.0.0.1", port) as listener, socket.socket() as client:
        client.connect(("127.0.0.1", port))
        accepted, _ = listener.accept()
        with accepted:
            kept_ms = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert kept_ms == 1000 * _STUCK_S
