"""A console as people run it, a process of its own; the site and the treasury are played here."""

import asyncio
import contextlib
import os
import signal
import sys
from datetime import UTC, datetime

import msgspec

from controller.channel.frames import RequestRefused
from controller.channel.server import ChannelServer
from tests.console.pictures import at
from tests.loopback import free_port

SITE = """
[site]
id = "kambarata"
name = "Камбар-Ата 2"
state_dir = "s"
[control]
ramp_up_mw_per_min = 1
ramp_down_mw_per_min = 1
[[node]]
id = "plant"
kind = "plant"
rating_kw = 3000
[console]
port = {port}
"""
NARYN = [sys.executable, "-m", "controller.cli.main", "console"]
TREASURY = 'treasury_state_dir = "t"\n'


async def refuse(_body):
    """What a site says to a request that it does not know."""
    raise RequestRefused("not a known request")


class Played:
    """A process that publishes one image a second while it is played."""

    def __init__(self, path):
        self.path = path
        self.image = None
        self.answer = refuse
        self._over = None

    async def begin(self, image):
        """Serve the channel, with this image from now on."""
        self.image = image
        self._over = contextlib.AsyncExitStack()
        server = await self._over.enter_async_context(ChannelServer(self.path, self._handle))
        task = asyncio.create_task(self._publish(server))
        self._over.callback(task.cancel)

    async def end(self):
        """Die."""
        if self._over is not None:
            await self._over.aclose()
            self._over = None

    async def _handle(self, body):
        return await self.answer(body)

    async def _publish(self, server):
        while True:
            server.publish(msgspec.msgpack.encode(at(self.image, datetime.now(UTC))))
            await asyncio.sleep(0.5)


class Stage:
    """A folder with a site file; `site` and `treasury` are played, the console is real."""

    def __init__(self, folder, *, with_treasury=True):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.file = folder / "site.toml"
        self.file.write_text(
            SITE.format(port=self.port) + TREASURY * with_treasury, encoding="utf-8"
        )
        self.site = Played(folder / "s" / "run" / "site.sock")
        self.treasury = Played(folder / "t" / "run" / "treasury.sock")
        self.console = None

    async def start(self):
        """Start the console; returns when it serves."""
        self.console = await asyncio.create_subprocess_exec(
            *NARYN,
            str(self.file),
            "--log-json",
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONWARNINGS": "error"},
        )
        async with asyncio.timeout(30):
            while b"console_serving" not in (line := await self.console.stderr.readline()):
                assert line, "the console ended before it served"

    async def stop(self):
        """End the console as a service manager does; returns what else it wrote."""
        if self.console is None:
            return ""
        if self.console.returncode is None:
            self.console.send_signal(signal.SIGTERM)
        told = await self.console.stderr.read()
        await self.console.wait()
        return told.decode()

    async def end(self):
        """End all."""
        await self.stop()
        await self.site.end()
        await self.treasury.end()
