"""What the channel's tests share: a handler, and peers of every manner."""

import asyncio
import contextlib
import os
import tempfile
from pathlib import Path

import msgspec

from controller.channel.frames import (
    FRAME_BYTES_MAX,
    RequestRefused,
)

PATIENCE_S = 10.0
NOBODY = 65_534
pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode


async def echo(body):
    """Give back what was asked; refuse the word no; answer too much when asked for much."""
    asked = unpack(body)
    if asked == "no":
        raise RequestRefused("the plant says no")
    return pack(b"x" * FRAME_BYTES_MAX) if asked == "much" else body


@contextlib.contextmanager
def short_folder():
    """Its path is short: pytest's own are longer than a socket's may be under some runners."""
    with tempfile.TemporaryDirectory(prefix="nr-") as made:
        yield Path(made)


@contextlib.asynccontextmanager
async def raw(path):
    """A peer that may break every rule."""
    reader, writer = await asyncio.open_unix_connection(os.fspath(path))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def first(client):
    async with asyncio.timeout(PATIENCE_S):
        async for body in client.images():
            return unpack(body)
    raise AssertionError


@contextlib.asynccontextmanager
async def rude_server(path, says):
    """Listens, says `says`, and hangs up when it has read 1 KiB or the end."""

    async def speak(reader, writer):
        writer.write(says)
        await reader.read(1024)
        writer.close()

    path.parent.mkdir(mode=0o700, exist_ok=True)
    async with await asyncio.start_unix_server(speak, os.fspath(path)):
        yield
