"""The serving end of a channel: answers requests, and publishes to whoever subscribed.

Nobody waits for a slow client: each has one slot for what is published, and the newest wins. The
requests of one client are answered in turn, and its next one is not read before the answer to the
last has gone out, so a client can pile up nothing here.
"""

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from controller.channel.folder import PrivateFolderError, check_shared, ensure_private
from controller.channel.frames import (
    IMAGE_TOPIC,
    NO_REQUEST,
    ChannelError,
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

CLIENTS_MAX = 64
FAREWELL_S = 1.0
"""How long a client that is sent away has for reading why."""

Handler = Callable[[bytes], Awaitable[bytes]]
"""Takes a request's body and returns the reply's: one msgpack value each. Raises RequestRefused."""


class ChannelServer:
    """Serves one Unix socket while its context is entered.

    The socket has mode 0600 and stands in a folder of mode 0700, which is made when it is missing.
    `shared`: the socket has mode 0660, in a folder of at most mode 0750 that is there.
    """

    def __init__(
        self,
        path: Path,
        handler: Handler,
        *,
        clients_max: int = CLIENTS_MAX,
        shared: bool = False,
    ) -> None:
        self.path = path
        self._shared = shared
        self.images_dropped = 0
        """Published images that some subscriber was too slow for."""
        self._handler = handler
        self._clients_max = clients_max
        self._clients: set[_Client] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._newest: bytes | None = None
        self._server: asyncio.Server | None = None
        self._inode: int | None = None
        self._closing = False

    @property
    def clients(self) -> int:
        """How many are connected."""
        return len(self._clients)

    async def __aenter__(self) -> Self:
        """Listen. Raises ChannelError when the path cannot be used or somebody listens there."""
        listener = _bind(self.path, shared=self._shared)
        try:
            self._inode = self.path.stat().st_ino
            self._server = await asyncio.start_unix_server(self._arrived, sock=listener)
        except BaseException:
            listener.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop listening, cut every client and remove the socket, if it is still ours."""
        self._closing = True
        if self._server is not None:
            self._server.close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(OSError):
            if self.path.lstat().st_ino == self._inode:
                self.path.unlink()

    def publish(self, body: bytes) -> None:
        """Hand an image to every subscriber; returns at once. Raises ChannelError if too large.

        Who subscribes later is given the newest one first.
        """
        frame = encode(Publish(IMAGE_TOPIC, msgspec.Raw(body)))
        self._newest = frame
        for client in self._clients:
            if client.subscribed:
                self.images_dropped += client.show(frame)

    def _arrived(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._closing:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._welcome(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._left)

    def _left(self, task: asyncio.Task[None]) -> None:
        """A handler's own fault ends its client's connection, and is told to the loop."""
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            task.get_loop().call_exception_handler(
                {"message": f"{self.path}: a request's handler failed", "exception": fault}
            )

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _Client(reader, writer)
        try:
            if len(self._clients) >= self._clients_max:
                await client.dismiss(
                    f"{self._clients_max} clients are connected already; try later"
                )
                return
            self._clients.add(client)
            await self._converse(client)
        finally:
            self._clients.discard(client)
            # What a client has not read by now is not waited for.
            writer.transport.abort()

    async def _converse(self, client: "_Client") -> None:
        showing = asyncio.create_task(client.keep_showing())
        try:
            while (payload := await read_frame(client.reader)) is not None:
                await self._take(client, payload)
        except ChannelError as error:
            await client.dismiss(str(error))
        except ConnectionError:
            return
        finally:
            showing.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await showing

    async def _take(self, client: "_Client", payload: bytes) -> None:
        envelope = decode(payload)
        match envelope:
            case Request():
                await client.send(await self._answer(envelope))
            case Subscribe(topic=topic) if topic == IMAGE_TOPIC:
                client.subscribed = True
                if self._newest is not None:
                    client.show(self._newest)
            case Subscribe():
                raise ChannelError(f"nothing is published on {envelope.topic[:60]!r} here")
            case _:
                raise ChannelError(f"a client does not send a {type(envelope).__name__.lower()}")

    async def _answer(self, request: Request) -> bytes:
        try:
            body = await self._handler(bytes(request.body))
        except RequestRefused as refused:
            return encode(Failure(request.id, refused.detail))
        try:
            return encode(Reply(request.id, msgspec.Raw(body)))
        except ChannelError as error:
            return encode(Failure(request.id, str(error)))


class _Client:
    """One connection. At most two frames wait for it: an answer and an image."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.subscribed = False
        self._writer = writer
        self._turn = asyncio.Lock()
        self._slot: bytes | None = None
        self._filled = asyncio.Event()

    def show(self, frame: bytes) -> int:
        """Put an image into the slot. Returns how many older ones it threw out: 0 or 1."""
        dropped = int(self._slot is not None)
        self._slot = frame
        self._filled.set()
        return dropped

    async def keep_showing(self) -> None:
        """Send whatever comes into the slot, as fast as the client reads."""
        while True:
            await self._filled.wait()
            # The slot is emptied only when it is this frame's turn: until then a newer one wins.
            async with self._turn:
                self._filled.clear()
                frame, self._slot = self._slot, None
                if frame is not None:
                    self._writer.write(frame)
                    await self._writer.drain()

    async def send(self, frame: bytes) -> None:
        """Send a frame and wait until nearly all of it is with the kernel."""
        async with self._turn:
            self._writer.write(frame)
            await self._writer.drain()

    async def dismiss(self, detail: str) -> None:
        """Say why, and let what was said go out."""
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(FAREWELL_S), self._turn:
                self._writer.write(encode(Failure(NO_REQUEST, detail)))
                self._writer.close()
                await self._writer.wait_closed()


def _bind(path: Path, *, shared: bool) -> socket.socket:
    check_path(path)
    try:
        if shared:
            check_shared(path.parent)
        else:
            ensure_private(path.parent)
    except PrivateFolderError as error:
        raise ChannelError(str(error)) from None
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear_stale(path)
        listener.bind(os.fspath(path))
        # Before listen() nobody can connect, so there is no moment with wider rights.
        path.chmod(0o660 if shared else 0o600)
    except OSError as error:
        listener.close()
        raise ChannelError(f"{path}: cannot be made: {error.strerror}") from None
    except ChannelError:
        listener.close()
        raise
    return listener


def _clear_stale(path: Path) -> None:
    """Remove the socket of a dead process. Raises ChannelError when it lives or is no socket."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ChannelError(f"{path}: is not a socket; move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # its backlog is full: somebody lives there
    raise ChannelError(
        f"{path}: another process listens here; end it first, or give this site a "
        "`site.state_dir` of its own"
    )
