"""One simulated miner a test, and drivers for it."""

from collections.abc import Callable

import pytest

from drivers.contract.devices import Login
from drivers.miners.braiins.driver import Braiins
from drivers.transport.memory import MemoryGrpc, MemoryTcpJson
from tests.drivers.braiins.braiins_stage import Stage


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def driver(stage, device_of, clock) -> Callable[..., Braiins]:
    def build(login: Login | None = None) -> Braiins:
        device = device_of("braiins", "Antminer S19j Pro", login=login)
        tcp, grpc = MemoryTcpJson(stage.tcp), MemoryGrpc(stage.grpc)
        return Braiins(device, tcp=tcp, grpc=grpc, clock=clock)

    return build
