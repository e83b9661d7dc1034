"""Modbus TCP over real sockets: pymodbus behind our own rules; nothing else imports pymodbus.

pymodbus frames requests and decodes replies. Connecting, deadlines and the decision to trust a
connection are ours, because a reply that comes late answers the *next* request (its transaction id
is one behind from then on), and because pymodbus neither ends a request when the peer hangs up nor
says why a connection failed. So:

    one connection an endpoint, one request at a time,
    one deadline over waiting for the turn, connecting and the reply;
    any doubt (timeout, foreign transaction id, malformed frame, bytes nobody asked for,
    cancellation) closes the socket, and the next call connects anew. Nothing is retried here.
"""

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ModbusPDU

from drivers.contract.errors import DeviceRefused, Malformed, Unreachable
from drivers.transport.ports import Endpoint

WORDS_MAX = 125
"""Most registers in one request of function 3 or 4 (Modbus application protocol 1.1b3, §6.3)."""

_WRITE_COIL = 5
_HEADER = struct.Struct(">HHHB")
_REQUEST = struct.Struct(">HHHBBHH")
_LIBRARY_TIMEOUT_S = 60.0  # ours always strikes first; pymodbus must never be given None
_LIBRARY_BUFFER_BYTES = 1 << 20  # more than one chunk of a stream: nothing is dropped unseen
_EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledge",
    6: "device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target failed to respond",
}


def exception_text(code: int) -> str:
    """How a Modbus exception is written into DeviceRefused.detail: `exception 2 (illegal …)`."""
    return f"exception {code} ({_EXCEPTIONS.get(code, 'unknown code')})"


@dataclass(frozen=True, slots=True)
class Asked:
    """The request that is outstanding on a connection. `echo`: the reply that repeats a write."""

    transaction: int
    unit_id: int
    function: int
    count: int = 0
    echo: bytes | None = None


def frame_fault(data: bytes, asked: Asked) -> str | None:
    """What is wrong with the bytes received so far as an answer to `asked`; None while all is well.

    Judges as soon as a field is there, so a foreign reply is known before its end has arrived.
    """
    if len(data) < _HEADER.size:
        return None
    transaction, protocol, length, unit_id = _HEADER.unpack_from(data)
    if protocol:
        return f"protocol id {protocol} in place of 0"
    if transaction != asked.transaction:
        return f"reply to transaction {transaction} in place of {asked.transaction}"
    if unit_id != asked.unit_id:
        return f"reply of unit {unit_id} in place of {asked.unit_id}"
    if len(data) > 6 + length:
        return f"{len(data) - 6 - length} bytes beyond the end of the reply"
    return _body_fault(data[_HEADER.size :], length - 1, asked)


def _body_fault(body: bytes, length: int, asked: Asked) -> str | None:
    """The same for function code and what follows; `length` is what the header announced."""
    fault = None
    if length < 2:
        fault = f"a reply of {length} bytes"
    elif not body:
        fault = None
    elif body[0] == asked.function | 0x80:
        fault = f"an exception reply of {length} bytes in place of 2" if length != 2 else None
    elif body[0] != asked.function:
        fault = f"reply to function {body[0]} in place of {asked.function}"
    elif asked.echo is not None:
        said = f"{body.hex()} of {length} bytes in place of {asked.echo.hex()}"
        fault = None if length == len(asked.echo) and asked.echo.startswith(body) else said
    elif length != 2 + 2 * asked.count:
        fault = f"a reply of {length} bytes in place of {2 + 2 * asked.count}"
    elif len(body) > 1 and body[1] != 2 * asked.count:
        fault = f"byte count {body[1]} in place of {2 * asked.count}"
    return fault


_CLOSE_S = 0.5
"""Longest wait for connections to say that they are closed."""


@dataclass(slots=True, eq=False)
class _Line:
    """One connection and what has become of it."""

    ended: asyncio.Future[Malformed | None]
    """Done once the connection is of no more use: an error to raise, or None for a hang-up."""
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    transport: asyncio.BaseTransport | None = None
    asked: Asked | None = None
    answered: bool = False
    """True once the whole reply to `asked` has arrived."""
    device: str = ""
    operation: str = ""

    def on_packet(self, sending: bool, data: bytes) -> bytes:
        """Note what goes out; let nothing in that is not the awaited reply."""
        if sending:
            transaction, _, _, unit_id, function, _, count = _REQUEST.unpack(data)
            echo = data[_HEADER.size :] if function == _WRITE_COIL else None
            self.asked, self.answered = Asked(transaction, unit_id, function, count, echo), False
            return data
        fault: str | None = "bytes that no request asked for"
        if self.asked is not None:
            fault = frame_fault(data, self.asked)
        if fault is None:
            self.answered = len(data) > 5 and len(data) == 6 + int.from_bytes(data[4:6])
            return data
        if not self.ended.done():
            self.ended.set_result(Malformed(self.device, self.operation, fault))
        self.abort()
        return b""

    def on_connection(self, connected: bool) -> None:
        """Learn that the peer has hung up."""
        if not connected:
            self.closed.set()
            if not self.ended.done():
                self.ended.set_result(None)

    def abort(self) -> None:
        """Close the socket now, whatever is still to be sent."""
        if not self.ended.done():
            self.ended.set_result(None)
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()


class SocketModbus:
    """`drivers.transport.ports.Modbus` over TCP. Belongs to one event loop; end it with `close`."""

    def __init__(self) -> None:
        # Its warnings repeat, without the device's name, what our errors say.
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
        self._lines: dict[tuple[str, int], tuple[_Line, AsyncModbusTcpClient]] = {}
        self._turns: dict[tuple[str, int], asyncio.Lock] = {}

    async def read_registers(
        self,
        endpoint: Endpoint,
        *,
        unit_id: int,
        function: int,
        address: int,
        count: int,
        timeout_s: float,
    ) -> tuple[int, ...]:
        """See the port. `timeout_s` covers waiting for the endpoint's turn, connecting and reply.

        Raises ValueError for a request that Modbus cannot carry.
        """
        if function not in {3, 4}:
            raise ValueError(f"function {function}: registers are read with function 3 or 4")
        _check(unit_id, address, count, timeout_s)
        operation = f"read {count} registers at {address} (function {function}, unit {unit_id})"

        def ask(client: AsyncModbusTcpClient) -> Awaitable[ModbusPDU]:
            read = client.read_holding_registers if function == 3 else client.read_input_registers
            return read(address, count=count, device_id=unit_id)

        return tuple((await self._exchange(endpoint, operation, ask, timeout_s)).registers)

    async def write_coil(
        self, endpoint: Endpoint, *, unit_id: int, address: int, on: bool, timeout_s: float
    ) -> None:
        """See the port. Raises ValueError for a request that Modbus cannot carry."""
        _check(unit_id, address, 1, timeout_s)
        operation = f"write coil {address} (unit {unit_id})"

        def ask(client: AsyncModbusTcpClient) -> Awaitable[ModbusPDU]:
            return client.write_coil(address, on, device_id=unit_id)

        await self._exchange(endpoint, operation, ask, timeout_s)

    async def _exchange(
        self,
        endpoint: Endpoint,
        operation: str,
        ask: Callable[[AsyncModbusTcpClient], Awaitable[ModbusPDU]],
        timeout_s: float,
    ) -> ModbusPDU:
        """One request on the endpoint's connection and its reply, within one deadline."""
        key = (endpoint.host, endpoint.port)
        where = f"{endpoint.host}:{endpoint.port}"
        turn = self._turns.setdefault(key, asyncio.Lock())
        stage, connected = "another request to it did not end", False
        try:
            async with asyncio.timeout(timeout_s), turn:
                stage = "no connection"
                line, client = await self._line(key)
                stage, connected = "no reply", True
                line.device, line.operation = endpoint.device, operation
                reply = await _answer(line, ask(client))
        except TimeoutError:
            detail = f"{where}: {stage} within {timeout_s:g} s"
            raise Unreachable(endpoint.device, operation, detail, connected=connected) from None
        except (OSError, ModbusException) as error:
            detail = f"{where}: {stage}: {error}"
            raise Unreachable(endpoint.device, operation, detail, connected=connected) from error
        if reply.isError():
            raise DeviceRefused(endpoint.device, operation, exception_text(reply.exception_code))
        return reply

    async def _line(self, key: tuple[str, int]) -> tuple[_Line, AsyncModbusTcpClient]:
        """The endpoint's connection, made anew if there is none that can be trusted."""
        kept = self._lines.get(key)
        if kept is not None:
            if not kept[0].ended.done():
                return kept
            kept[0].abort()
        loop = asyncio.get_running_loop()
        line = _Line(loop.create_future())
        host, port = key
        client = AsyncModbusTcpClient(
            host,
            port=port,
            timeout=_LIBRARY_TIMEOUT_S,
            retries=0,
            reconnect_delay=0,
            trace_packet=line.on_packet,
            trace_connect=line.on_connection,
        )
        client.ctx.max_buffer_size = _LIBRARY_BUFFER_BYTES
        client.ctx.call_create = _never_by_itself
        # The client's own connect() would swallow the reason of a failure.
        line.transport, _ = await loop.create_connection(lambda: client.ctx, host, port)
        self._lines[key] = line, client
        return line, client

    async def close(self) -> None:
        """Close every connection; a request under way ends as Unreachable."""
        lines = [line for line, _ in self._lines.values()]
        self._lines.clear()
        for line in lines:
            line.abort()
        if lines:
            # The library does not report the end of every connection that was cancelled in mid
            # request; the sockets are closed all the same.
            ends = [asyncio.ensure_future(line.closed.wait()) for line in lines]
            _, unheard = await asyncio.wait(ends, timeout=_CLOSE_S)
            for end in unheard:
                end.cancel()


def _check(unit_id: int, address: int, count: int, timeout_s: float) -> None:
    if not 0 <= unit_id <= 255:
        raise ValueError(f"unit_id {unit_id}: a Modbus unit is 0 to 255")
    if not 1 <= count <= WORDS_MAX:
        raise ValueError(f"count {count}: one request reads 1 to {WORDS_MAX} registers")
    if not 0 <= address <= 65536 - count:
        raise ValueError(f"address {address}, count {count}: addresses are 0 to 65535")
    if not timeout_s > 0:
        raise ValueError(f"timeout_s {timeout_s}: a deadline is more than 0 s")


async def _never_by_itself() -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
    """In place of pymodbus's connecting when a request meets a closed connection."""
    raise ConnectionResetError("the connection was closed")


async def _answer(line: _Line, call: Awaitable[ModbusPDU]) -> ModbusPDU:
    """The reply to one request; the line is ended unless the reply is whole and ours.

    Raises Malformed, ConnectionResetError when the peer hung up, and what pymodbus raises.
    """
    request = asyncio.ensure_future(call)
    request.add_done_callback(_forget)
    trusted = False
    try:
        waited: set[asyncio.Future[ModbusPDU] | asyncio.Future[Malformed | None]]
        waited = {request, line.ended}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if line.ended.done():
            if (malformed := line.ended.result()) is not None:
                raise malformed
            if not line.answered:
                raise ConnectionResetError("the connection was closed")
        reply = await request
        trusted = True
        return reply
    finally:
        line.asked = None
        if not trusted:
            request.cancel()
            line.abort()


def _forget(request: asyncio.Future[ModbusPDU]) -> None:
    """Take note of a late error, or asyncio would print that nobody did."""
    if not request.cancelled():
        request.exception()
