"""Two simulated miners of every firmware on real ports, and our drivers for them.

The simulated clock runs 30 times as fast as ours, so an Antminer's 21 s write takes 0.7 s here.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from drivers.contract.devices import Login, MinerDevice, MinerDriver
from drivers.contract.errors import Unreachable
from drivers.miners.pyasic_any.port import Heard, MemoryPyasic
from drivers.profiles import load_catalogue
from drivers.registry import Wires, build_miner
from drivers.transport.grpc import SocketGrpc
from drivers.transport.http import SocketHttp
from drivers.transport.tcp_json import SocketTcpJson
from simulators.devices.fleet import build_fleet
from simulators.devices.listener import serve_fleet
from simulators.devices.persona import Persona
from simulators.scenario import FleetGroup

SPEED = 30.0
STEP_S = 0.02

HOSTS = {
    "antminer-stock": ("127.77.1.1", "Antminer S19 Pro"),
    "whatsminer-v2": ("127.77.2.1", "WhatsMiner M50S"),
    "luxos": ("127.77.3.1", "Antminer S21"),
    "braiins": ("127.77.4.1", "Antminer S19j Pro"),
}


class RealClock:
    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


@dataclass
class Plant:
    """Two simulated miners a firmware on real ports, and drivers for them."""

    personas: Mapping[str, Persona]
    ports: Mapping[str, int]
    wires: Wires

    def persona(self, firmware: str, index: int = 0) -> Persona:
        return [p for p in self.personas.values() if p.firmware == firmware][index]

    def driver(
        self,
        firmware: str,
        index: int = 0,
        login: Login | None = None,
        *,
        impatient: bool = False,
    ) -> MinerDriver:
        """Build a driver; an impatient one waits as short as its firmware allows."""
        persona = self.persona(firmware, index)
        catalogue = load_catalogue()
        profile = catalogue.profile(firmware)
        if impatient:
            command_s = 36.0 if firmware == "antminer-stock" else 2.0
            profile = replace(profile, read_deadline_s=1.0, command_deadline_s=command_s)
        device = MinerDevice(
            miner_id=f"{firmware}-{index}",
            host=persona.host,
            profile=profile,
            model=catalogue.model(HOSTS[firmware][1]),
            login=login,
            ports=dict(self.ports),
        )
        return build_miner(device, self.wires)


@asynccontextmanager
async def plant(*, deaf: int = 0) -> AsyncIterator[Plant]:
    groups = [
        FleetGroup(
            feeder="f1",
            firmware=firmware,
            model=model,
            count=2,
            first_host=host,
            under_report_percent=5.0,
            deaf_count=deaf,
        )
        for firmware, (host, model) in HOSTS.items()
    ]
    loop = asyncio.get_running_loop()
    begun_s = loop.time()

    def now_s() -> float:
        return (loop.time() - begun_s) * SPEED

    personas = build_fleet(groups, rng=random.Random(7))

    async def step() -> None:
        last_s = 0.0
        while True:
            await asyncio.sleep(STEP_S)
            at_s = now_s()
            for persona in personas.values():
                persona.miner.step(at_s, at_s - last_s, 22.0)
            last_s = at_s

    nobody = MemoryPyasic(lambda _: Heard(said=None), lambda *_: Heard(said=None))
    http = SocketHttp()
    stepping = asyncio.create_task(step())
    try:
        async with serve_fleet(
            personas,
            now_s=now_s,
            ports={"rpc": 0, "http": 0, "grpc": 0},
            sleep=lambda seconds: asyncio.sleep(seconds / SPEED),
        ) as ports:
            wires = Wires(
                tcp=SocketTcpJson(),
                http=http,
                grpc=SocketGrpc(),
                pyasic=nobody,
                clock=RealClock(),
            )
            yield Plant(personas, ports, wires)
    finally:
        stepping.cancel()
        await asyncio.gather(stepping, return_exceptions=True)
        await http.close()


async def until_reading(driver: MinerDriver, *, hashing: bool) -> None:
    """A miner that restarts its service may be unreachable for a while."""
    for _ in range(200):
        try:
            if (await driver.read()).hashing is hashing:
                return
        except Unreachable:
            pass
        await asyncio.sleep(0.05)
    pytest.fail(f"no reading with hashing={hashing}")
