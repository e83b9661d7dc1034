"""A Modbus server that answers as a script says, and the transport that asks it."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from drivers.transport.modbus import SocketModbus
from drivers.transport.ports import Endpoint

SHORT_S = 0.15
LONG_S = 20.0  # never waited for: what ends earlier ends for another reason


class Asker:
    """One request as the server saw it, and the means to answer it."""

    def __init__(self, raw: bytes, number: int, connection: int, writer: asyncio.StreamWriter):
        self.transaction, _, _, self.unit, self.function, self.address, self.count = struct.unpack(
            ">HHHBBHH", raw
        )
        self.number, self.connection, self.writer = number, connection, writer

    def body(self) -> bytes:
        words = [(self.address + i) & 0xFFFF for i in range(self.count)]
        return struct.pack(f">BB{self.count}H", self.function, 2 * self.count, *words)

    def frame(self, body: bytes | None = None, **changed: int) -> bytes:
        body = self.body() if body is None else body
        head = {"transaction": self.transaction, "protocol": 0, "unit": self.unit}
        head |= {"length": len(body) + 1} | changed
        order = (head["transaction"], head["protocol"], head["length"], head["unit"])
        return struct.pack(">HHHB", *order) + body

    def send(self, data: bytes) -> None:
        self.writer.write(data)


Script = Callable[[Asker], Awaitable[None] | None]


class Served:
    """What the test sees of its server."""

    def __init__(self, port: int) -> None:
        self.endpoint = Endpoint(device="meter-1", host="127.0.0.1", port=port)
        self.connections = 0
        self.requests = 0
        self.open = 0


@asynccontextmanager
async def serve(script: Script) -> AsyncIterator[tuple[Served, SocketModbus]]:
    seen = Served(0)

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        seen.open += 1
        connection = seen.connections
        try:
            while True:
                raw = await reader.readexactly(12)
                seen.requests += 1
                waiting = script(Asker(raw, seen.requests, connection, writer))
                if waiting is not None:
                    await waiting
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            seen.open -= 1
            writer.close()

    server = await asyncio.start_server(peer, "127.0.0.1", 0)
    seen.endpoint = Endpoint(
        device="meter-1", host="127.0.0.1", port=server.sockets[0].getsockname()[1]
    )
    modbus = SocketModbus()
    try:
        yield seen, modbus
    finally:
        await modbus.close()
        server.close()
        await server.wait_closed()


async def read(
    served: Served, modbus: SocketModbus, *, address: int = 10, count: int = 2, within_s: float
) -> tuple[int, ...]:
    return await modbus.read_registers(
        served.endpoint,
        unit_id=7,
        function=3,
        address=address,
        count=count,
        timeout_s=within_s,
    )


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - a socket's end at the other side has no event here
        await asyncio.sleep(0.001)


def good(asker: Asker) -> None:
    asker.send(asker.frame())
