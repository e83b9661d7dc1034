"""Puts a `ModbusDevice` on a TCP port: MBAP framing, one request at a time, everything bounded."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from errno import EACCES, EADDRINUSE

from simulators.devices.modbus import PDU_BYTES_MAX, ModbusDevice

HEADER = struct.Struct(">HHHB")
"""Transaction, protocol (0), length of what follows, unit (MODBUS Messaging on TCP/IP, 3.1.3)."""
CONNECTIONS_MAX = 16
IDLE_S = 60.0
WRONG_TRANSACTION_STEP = 1
"""A reply under a foreign id carries the one before: the field's «shifted by one»."""


class PortTaken(OSError):
    """A listener could not be opened; the text names address, port and the way out."""


@asynccontextmanager
async def serve_modbus(
    device: ModbusDevice, host: str, port: int, *, now_s: Callable[[], float]
) -> AsyncIterator[tuple[str, int]]:
    """Serve `device` at host and port (0: any) and yield where it listens. Raises PortTaken."""
    connections: set[asyncio.Task[None]] = set()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(connections) >= CONNECTIONS_MAX:
            writer.transport.abort()
            return
        connections.add(task)
        try:
            await _talk(device, reader, writer, now_s)
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            # Only the end of serving cancels, and this task ends here anyway. Python 3.11's streams
            # log a cancelled connection task as an unhandled exception.
            pass
        finally:
            connections.discard(task)
            writer.transport.abort()

    try:
        server = await asyncio.start_server(take, host, port, limit=1024)
    except OSError as error:
        raise PortTaken(error.errno, listen_failure(device.id, host, port, error)) from error
    try:
        address: tuple[str, int] = server.sockets[0].getsockname()[:2]
        yield address
    finally:
        server.close()
        for task in tuple(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


@asynccontextmanager
async def serve_all(
    devices: list[tuple[ModbusDevice, str, int]], *, now_s: Callable[[], float]
) -> AsyncIterator[dict[str, tuple[str, int]]]:
    """Serve many devices, given with host and port; yield where each listens, by id."""
    async with AsyncExitStack() as stack:
        yield {
            device.id: await stack.enter_async_context(
                serve_modbus(device, host, port, now_s=now_s)
            )
            for device, host, port in devices
        }


def listen_failure(who: str, host: str, port: int, error: OSError) -> str:
    """Return the sentence for people about a port that cannot be opened."""
    match error.errno:
        case code if code == EADDRINUSE:
            return f"{who}: {host}:{port} is taken; end what listens there or choose another port"
        case code if code == EACCES:
            return f"{who}: {host}:{port} needs privileges; choose a port above 1023"
        case _:
            return f"{who}: cannot listen at {host}:{port}: {error.strerror}"


async def _talk(
    device: ModbusDevice,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    now_s: Callable[[], float],
) -> None:
    """Answer requests until the peer goes away, is idle for too long or breaks the framing."""
    while True:
        header = await asyncio.wait_for(reader.readexactly(HEADER.size), IDLE_S)
        transaction, protocol, length, unit_id = HEADER.unpack(header)
        if protocol != 0 or not 2 <= length <= PDU_BYTES_MAX + 1:
            return
        pdu = await asyncio.wait_for(reader.readexactly(length - 1), IDLE_S)
        served = device.answer(unit_id, pdu, now_s())
        if served.drop:
            return
        if served.pdu is None:
            continue
        if served.delay_s > 0.0:
            await asyncio.sleep(served.delay_s)
        if served.wrong_transaction:
            transaction = (transaction - WRONG_TRANSACTION_STEP) % 0x10000
        writer.write(HEADER.pack(transaction, 0, len(served.pdu) + 1, unit_id) + served.pdu)
        await asyncio.wait_for(writer.drain(), IDLE_S)
