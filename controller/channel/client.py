"""The asking end of a channel: requests with an answer each, and the stream of images."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import assert_never

import msgspec

from controller.channel.frames import (
    IMAGE_TOPIC,
    NO_REQUEST,
    ChannelError,
    Envelope,
    Failure,
    Publish,
    Reply,
    Request,
    RequestRefused,
    Subscribe,
    check_path,
    decode,
    encode,
    read_frame,
)

CONNECT_S = 5.0
"""A server that lives takes a connection at once; longer means that its process hangs."""


@contextlib.asynccontextmanager
async def connect(path: Path, server: str = "naryn run") -> AsyncIterator["ChannelClient"]:
    """A client on the channel at `path`. Raises ChannelError when nobody can be reached there.

    `server`: the command that should listen there, for error texts.
    """
    check_path(path)
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_unix_connection(os.fspath(path))
    except (FileNotFoundError, ConnectionRefusedError):
        raise ChannelError(f"{path}: nobody listens here; does `{server}` run?") from None
    except PermissionError:
        raise ChannelError(
            f"{path}: permission denied; run this as the user of `{server}`, or in the group "
            "of a socket that is shared"
        ) from None
    except TimeoutError:
        raise ChannelError(
            f"{path}: no connection within {CONNECT_S:g} s; does the process there hang?"
        ) from None
    except OSError as error:
        raise ChannelError(f"{path}: cannot be reached: {error.strerror or error}") from None
    client = ChannelClient(path, reader, writer, server)
    listening = asyncio.create_task(client.listen())
    try:
        yield client
    finally:
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
        writer.transport.abort()


class ChannelClient:
    """One connection to a server; made by `connect`. Safe to use from several tasks of a loop."""

    def __init__(
        self,
        path: Path,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server: str = "naryn run",
    ) -> None:
        self.path = path
        self.server = server
        self._reader = reader
        self._writer = writer
        self._asked: dict[int, asyncio.Future[bytes]] = {}
        self._count = NO_REQUEST
        self._image: bytes | None = None
        self._news = asyncio.Event()
        self._ended: str | None = None

    async def request(self, body: bytes, timeout_s: float) -> bytes:
        """Send one msgpack value and return the answer's.

        Raises RequestRefused when the server says no, ChannelError when there is no answer in time
        (whether it was carried out is then unknown), the connection ended, or `body` is too large.
        """
        self._count += 1
        number = self._count
        frame = encode(Request(number, msgspec.Raw(body)))
        self._check_open()
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            async with asyncio.timeout(timeout_s):
                await self._send(frame)
                return await answer
        except TimeoutError:
            raise ChannelError(f"{self.path}: no answer within {timeout_s:g} s") from None
        finally:
            del self._asked[number]
            if answer.done() and not answer.cancelled():
                answer.exception()  # seen: asyncio must not complain of it
            answer.cancel()

    async def images(self) -> AsyncIterator[bytes]:
        """Every newest image, from now on; older ones are dropped while the reader is busy.

        Never ends of itself: raises ChannelError when the connection does. One reader a client.
        """
        self._check_open()
        await self._send(encode(Subscribe(IMAGE_TOPIC)))
        while True:
            await self._news.wait()
            self._news.clear()
            image, self._image = self._image, None
            if image is not None:
                yield image
            else:
                self._check_open()
            if self._ended is not None:
                self._news.set()

    async def listen(self) -> None:
        """Take in what the server sends, until it ends. Run by `connect`."""
        ended = f"closed by the other side; has `{self.server}` ended?"
        try:
            while (payload := await read_frame(self._reader)) is not None:
                self._take(decode(payload))
        except ChannelError as error:
            ended = str(error)
        except OSError as error:
            ended = f"connection lost: {error.strerror or error}"
        finally:
            self._end(ended)

    def _take(self, envelope: Envelope) -> None:
        match envelope:
            case Reply():
                self._settle(envelope.id, bytes(envelope.body))
            case Failure() if envelope.id == NO_REQUEST:
                raise ChannelError(f"sent away: {envelope.detail}")
            case Failure():
                self._settle(envelope.id, RequestRefused(envelope.detail))
            case Publish(topic=topic):
                if topic == IMAGE_TOPIC:
                    self._image = bytes(envelope.body)
                    self._news.set()
            case Request() | Subscribe():
                raise ChannelError(f"a server does not send a {type(envelope).__name__.lower()}")
            case _:
                assert_never(envelope)

    def _settle(self, number: int, outcome: bytes | ChannelError) -> None:
        answer = self._asked.get(number)
        # Nobody waits any more for an answer that came after its time.
        if answer is None or answer.done():
            return
        if isinstance(outcome, bytes):
            answer.set_result(outcome)
        else:
            answer.set_exception(outcome)

    def _end(self, why: str) -> None:
        self._ended = why
        self._news.set()
        for number in tuple(self._asked):
            self._settle(number, self._closed(why))

    def _closed(self, why: str) -> ChannelError:
        return ChannelError(f"{self.path}: {why}")

    def _check_open(self) -> None:
        if self._ended is not None:
            raise self._closed(self._ended)

    async def _send(self, frame: bytes) -> None:
        try:
            self._writer.write(frame)
            await self._writer.drain()
        except OSError as error:
            raise self._closed(f"connection lost: {error.strerror or error}") from None
