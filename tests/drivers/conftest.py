"""Shared by the drivers' tests.

Recorded replies, a virtual clock, and devices to build drivers for.
"""

import asyncio
import selectors
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from drivers.contract.devices import Login, MinerDevice
from drivers.profiles import Catalogue, load_catalogue

T = TypeVar("T")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]

RECORDED = Path(__file__).parents[1] / "fixtures" / "miners"


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time passes only while nothing is ready: waiting costs nothing."""

    def __init__(self) -> None:
        self._now_s = 1_000.0
        super().__init__(selectors.DefaultSelector())
        select = self._selector.select

        def advance(timeout: float | None = None) -> Any:
            found = select(0)
            if not found and timeout:
                self._now_s += timeout
            return found

        self._selector.select = advance

    def time(self) -> float:
        return self._now_s


class LoopClock:
    """The drivers' clock on the running loop's time."""

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


@pytest.fixture
def listening() -> Callable[[Serve], AbstractAsyncContextManager[int]]:
    """Serve on a free port, which the context yields; at its end nothing of it is left."""
    return _listening


@asynccontextmanager
async def _listening(serve: Serve) -> AsyncIterator[int]:
    running: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running[asyncio.current_task()] = writer
        with suppress(ConnectionError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(tracked, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task, writer in running.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*running, return_exceptions=True)
        await server.wait_closed()


@pytest.fixture
def virtually() -> Callable[[Coroutine[Any, Any, T]], T]:
    """Run a coroutine on a loop with virtual time."""

    def run(coroutine: Coroutine[Any, Any, T]) -> T:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(asyncio.wait_for(coroutine, 10_000.0))

    return run


@pytest.fixture
def clock() -> LoopClock:
    return LoopClock()


@pytest.fixture(scope="session")
def recorded() -> Callable[[str], bytes]:
    """Return the bytes of a recorded reply: folder/file."""
    return lambda name: (RECORDED / name).read_bytes()


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    return load_catalogue()


@pytest.fixture(scope="session")
def device_of(catalogue: Catalogue) -> Callable[..., MinerDevice]:
    """Build a device of the inventory by firmware and model."""

    def build(
        firmware: str,
        model: str,
        *,
        host: str = "127.9.0.1",
        login: Login | None = None,
        **ports: int,
    ) -> MinerDevice:
        return MinerDevice(
            miner_id="m1",
            host=host,
            profile=catalogue.profile(firmware),
            model=catalogue.model(model),
            login=login,
            ports=ports,
        )

    return build
