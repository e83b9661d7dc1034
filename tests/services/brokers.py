"""Brokers to test against, all with one face: mosquitto, amqtt, and the in-memory twin.

Every broker listens on loopback, on a port that the system chose. Each link of a socket broker goes
through a wire of its own, which can be cut without a word, as a pulled cable does.
"""

import asyncio
import contextlib
import random
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Protocol

from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig, ListenerConfig

from controller.clock import SystemClock
from controller.dispatch.link import Backoff, BrokerAddress, DispatchLink
from controller.dispatch.memory import MemoryBroker, MemoryLink
from controller.dispatch.ports import LastWill, Link
from tests.loopback import free_port, listens
from tests.patience import until

QUICK = Backoff(first_s=0.05, longest_s=0.2)
PATIENCE_S = 20.0


class Bench(Protocol):
    """One broker under test."""

    name: str

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def link(
        self,
        subscriptions: tuple[str, ...],
        *,
        client_id: str | None = None,
        will: LastWill | None = None,
        **limits: int,
    ) -> Link: ...

    async def cut(self, link: Link) -> None: ...

    async def mend(self, link: Link) -> None: ...


class Wire:
    """Forwards TCP to a port of loopback until it is cut."""

    def __init__(self, target_port):
        self.target_port = target_port
        self.port = free_port()
        self._server = None
        self._writers = set()

    async def mend(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def cut(self):
        if self._server is None:
            return
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        self._server = None
        await asyncio.sleep(0)

    async def _serve(self, reader, writer):
        self._writers.add(writer)
        try:
            inner, outer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(outer)
        await asyncio.gather(_pump(reader, outer), _pump(inner, writer))
        self._writers -= {writer, outer}


async def _pump(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


class SocketBench:
    """What mosquitto and amqtt have in common."""

    def __init__(self):
        self.port = free_port()
        self._wires = {}

    def link(self, subscriptions, *, client_id=None, will=None, **limits):
        wire = Wire(self.port)
        link = _WiredLink(
            address=BrokerAddress(
                host="127.0.0.1",
                port=wire.port,
                client_id=client_id,
                username=client_id or "visitor",
                reply_s=1.0,
            ),
            subscriptions=subscriptions,
            clock=SystemClock(),
            rng=random.Random(7),
            will=will,
            backoff=QUICK,
            **limits,
        )
        link.wire = wire
        return link

    async def cut(self, link):
        await link.wire.cut()
        await until(lambda: not link.connected, "the link notices that it is cut")

    async def mend(self, link):
        await link.wire.mend()


class _WiredLink(DispatchLink):
    wire: Wire

    async def __aenter__(self):
        await self.wire.mend()
        return await super().__aenter__()

    async def __aexit__(self, *problem):
        await super().__aexit__(*problem)
        await self.wire.cut()


class Mosquitto(SocketBench):
    """Debian's mosquitto, without persistence: a restart forgets everything."""

    name = "mosquitto"
    binary = shutil.which("mosquitto") or "/usr/sbin/mosquitto"

    def __init__(self, extra_lines=(), listener_lines=()):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="naryn-mosquitto-"))
        self._extra = tuple(extra_lines)
        self._listener = tuple(listener_lines)
        self._process = None
        assert Path(self.binary).exists(), "mosquitto is missing: run `make services`"

    async def start(self):
        lines = ["persistence false", "user root", *self._extra, f"listener {self.port} 127.0.0.1"]
        config = self.folder / "mosquitto.conf"
        config.write_text("\n".join([*lines, *(self._listener or ["allow_anonymous true"])]) + "\n")
        self._process = self._spawn(config)
        await until(
            lambda: listens("127.0.0.1", self.port), f"mosquitto listens; see {self.folder}/log"
        )

    def _spawn(self, config):
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen([self.binary, "-c", str(config)], stdout=log, stderr=log)

    async def stop(self):
        if self._process is None:
            return
        self._process.terminate()
        await asyncio.to_thread(self._process.wait, 10)
        self._process = None

    async def close(self):
        await self.stop()
        shutil.rmtree(self.folder)


class Amqtt(SocketBench):
    """The embedded broker of the demo."""

    name = "amqtt"

    def __init__(self):
        super().__init__()
        self._broker = None

    async def start(self):
        listener = ListenerConfig(bind=f"127.0.0.1:{self.port}", max_connections=50)
        plugins = {
            "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": False},
        }
        self._broker = Broker(BrokerConfig(listeners={"default": listener}, plugins=plugins))
        await self._broker.start()

    async def stop(self):
        if self._broker is not None:
            await self._broker.shutdown()
            self._broker = None

    close = stop


class Memory:
    """The twin for virtual clocks."""

    name = "memory"

    def __init__(self):
        self.broker = MemoryBroker()
        self.broker.stop()

    async def start(self):
        self.broker.start()

    async def stop(self):
        self.broker.stop()

    def link(self, subscriptions, *, client_id=None, will=None, **limits):
        return MemoryLink(
            broker=self.broker,
            subscriptions=subscriptions,
            clock=SystemClock(),
            will=will,
            keeps_session=client_id is not None,
            **limits,
        )

    async def cut(self, link):
        self.broker.cut(link)

    async def mend(self, link):
        self.broker.mend(link)

    close = stop
