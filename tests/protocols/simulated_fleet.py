"""A simulated fleet on a virtual clock, and clients written from the vendors' documents.

No driver of this project takes part: what these clients misread, a driver may still read rightly.
"""

import asyncio
import errno
import json
import random
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from hashlib import md5
from typing import Any

from simulators.devices.antminer import Antminer
from simulators.devices.braiins import Braiins
from simulators.devices.fleet import build_fleet
from simulators.devices.listener import serve_fleet
from simulators.devices.luxos import Luxos
from simulators.devices.persona import HttpAnswer, HttpRequest, Persona
from simulators.devices.whatsminer import Whatsminer
from simulators.devices.whatsminer_cipher import decrypt, encrypt, md5crypt, sign_of


@dataclass(frozen=True)
class Group:
    firmware: str
    model: str
    first_host: str
    count: int = 1
    feeder: str = "F1"
    under_report_percent: float = 5.0
    deaf_count: int = 0
    deaf_percent: float = 0.0


ONE_OF_EACH = (
    Group("antminer-stock", "S19 Pro", "127.77.1.1"),
    Group("whatsminer-v2", "M50S", "127.77.2.1"),
    Group("luxos", "S21", "127.77.3.1"),
    Group("braiins", "S19j Pro", "127.77.4.1"),
)


@dataclass
class World:
    """A fleet and its clock; `sleep` waits on that clock."""

    fleet: dict[str, Persona]
    now_s: float = 0.0
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    def advance(self, seconds: float, dt_s: float = 1.0) -> None:
        end_s = self.now_s + seconds
        while self.now_s < end_s - 1e-9:
            step_s = min(dt_s, end_s - self.now_s)
            self.now_s += step_s
            for persona in self.fleet.values():
                persona.miner.step(self.now_s, step_s, 25.0)
        moved, self.moved = self.moved, asyncio.Event()
        moved.set()

    async def sleep(self, seconds: float) -> None:
        due_s = self.now_s + seconds
        while self.now_s < due_s:
            await self.moved.wait()


def world_of(*groups: Group, seed: int = 7) -> World:
    world = World(build_fleet(groups or ONE_OF_EACH, rng=random.Random(seed)))
    world.advance(120.0)
    return world


def antminer_of(**changes: Any) -> tuple[World, Antminer]:
    world = world_of(Group("antminer-stock", "S19 Pro", "127.77.1.1", **changes))
    persona = world.fleet["127.77.1.1"]
    assert isinstance(persona, Antminer)
    return world, persona


def whatsminer_of(**changes: Any) -> tuple[World, Whatsminer]:
    world = world_of(Group("whatsminer-v2", "M50S", "127.77.2.1", **changes))
    persona = world.fleet["127.77.2.1"]
    assert isinstance(persona, Whatsminer)
    return world, persona


def luxos_of(**changes: Any) -> tuple[World, Luxos]:
    world = world_of(Group("luxos", "S21", "127.77.3.1", **changes))
    persona = world.fleet["127.77.3.1"]
    assert isinstance(persona, Luxos)
    return world, persona


def braiins_of(**changes: Any) -> tuple[World, Braiins]:
    world = world_of(Group("braiins", "S19j Pro", "127.77.4.1", **changes))
    persona = world.fleet["127.77.4.1"]
    assert isinstance(persona, Braiins)
    return world, persona


def rpc(persona: Persona, now_s: float, command: str, parameter: str = "") -> dict[str, Any]:
    question = {"command": command} | ({"parameter": parameter} if parameter else {})
    answer = persona.tcp("rpc", json.dumps(question).encode(), now_s)
    assert answer is not None
    assert answer.body is not None
    return dict(json.loads(answer.body.rstrip(b"\0")))


def digest_header(challenge: str, method: str, target: str, password: str, nc: int = 1) -> str:
    """A client's answer to a digest challenge, written from RFC 7616."""
    said = dict(re.findall(r'(\w+)="([^"]*)"', challenge))

    def h(text: str) -> str:
        return md5(text.encode()).hexdigest()

    ha1, ha2 = h(f"root:{said['realm']}:{password}"), h(f"{method}:{target}")
    response = h(f"{ha1}:{said['nonce']}:{nc:08x}:c0ffee:auth:{ha2}")
    return (
        f'Digest username="root", realm="{said["realm"]}", nonce="{said["nonce"]}", '
        f'uri="{target}", qop=auth, nc={nc:08x}, cnonce="c0ffee", response="{response}"'
    )


def page(
    persona: Antminer, now_s: float, name: str, body: object = None, password: str = "root"
) -> HttpAnswer:
    """Ask for a CGI page: once without, once with the login."""
    method, path = "GET" if body is None else "POST", f"/cgi-bin/{name}.cgi"
    data = b"" if body is None else json.dumps(body).encode()
    bare = persona.http("http", HttpRequest(method=method, path=path, body=data), now_s)
    assert bare.status == 401
    header = digest_header(bare.headers["WWW-Authenticate"], method, path, password)
    request = HttpRequest(method=method, path=path, body=data, headers={"authorization": header})
    return persona.http("http", request, now_s)


def document(answer: HttpAnswer) -> dict[str, Any]:
    assert answer.status == 200
    assert answer.body is not None
    return dict(json.loads(answer.body))


def whole_configuration(persona: Antminer, now_s: float) -> dict[str, Any]:
    return document(page(persona, now_s, "get_miner_conf"))


class WhatsminerClient:
    """A caller of the write API, written from the manual."""

    def __init__(self, world: World, persona: Whatsminer, password: str = "admin") -> None:
        self.world, self.persona = world, persona
        message = rpc(persona, world.now_s, "get_token")["Msg"]
        self.key = md5crypt(password, message["salt"])
        self.sign = sign_of(self.key, message["time"], message["newsalt"])

    def write(self, command: str, **fields: str) -> dict[str, Any]:
        body = {"cmd": command, "token": self.sign, **fields}
        data = encrypt(self.key, json.dumps(body).encode())
        return self.send({"enc": 1, "data": data})

    def send(self, envelope: dict[str, Any]) -> dict[str, Any]:
        answer = self.persona.tcp("rpc", json.dumps(envelope).encode(), self.world.now_s)
        assert answer is not None
        assert answer.body is not None
        reply = json.loads(answer.body)
        if "enc" in reply:
            reply = json.loads(decrypt(self.key, reply["enc"]))
        return dict(reply) | {"after_s": answer.after_s}


def sleep_command(world: World, persona: Persona) -> bool:
    """Tell any persona to sleep in its own tongue; True when it answered success."""
    match persona:
        case Antminer():
            body = whole_configuration(persona, world.now_s)
            body |= {"miner-mode": 1, "bitmain-work-mode": "1"}
            answer = page(persona, world.now_s, "set_miner_conf", body)
            return bool(document(answer)["code"] == "M000") and answer.after_s == 21.0
        case Whatsminer():
            client = WhatsminerClient(world, persona)
            return bool(client.write("power_off", respbefore="true")["Code"] == 131)
        case Luxos():
            session = rpc(persona, world.now_s, "logon")["SESSION"][0]["SessionID"]
            reply = rpc(persona, world.now_s, "curtail", f"{session},sleep")
            return bool(reply["STATUS"][0]["STATUS"] == "S")
        case Braiins():
            persona.control("pause", world.now_s)
            return True
    raise AssertionError(persona)


@asynccontextmanager
async def served(world: World) -> AsyncIterator[dict[str, int]]:
    ports = {"rpc": 0, "http": 0, "grpc": 0}
    async with serve_fleet(
        world.fleet, now_s=lambda: world.now_s, ports=ports, sleep=world.sleep
    ) as in_use:
        yield in_use


async def exchange(host: str, port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(request)
        await writer.drain()
        return await asyncio.wait_for(reader.read(), 30.0)
    finally:
        writer.close()


@asynccontextmanager
async def served_at_vendor_ports(world: World, wait_s: float = 90.0) -> AsyncIterator[None]:
    """Serve at 4028, 80 and 50051; while another test process has them, wait for its end.

    Raises OSError as `serve_fleet` does, when the ports may not be opened or do not become free.
    """
    deadline_s = time.monotonic() + wait_s
    async with AsyncExitStack() as stack:
        while True:
            try:
                await stack.enter_async_context(
                    serve_fleet(world.fleet, now_s=lambda: world.now_s, sleep=world.sleep)
                )
                break
            except OSError as problem:
                if problem.errno != errno.EADDRINUSE or time.monotonic() > deadline_s:
                    raise
            await asyncio.sleep(0.2)
        yield
