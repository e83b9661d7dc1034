"""One unary gRPC call over one short HTTP/2 connection.

    connect ─▶ preface, headers, message ─▶ collect ─▶ abort
                                             │ ends at: trailers with `grpc-status`
                                             └ fails at: deadline · size · reset · not HTTP/2

Nothing is kept between calls, so a peer that hangs, floods or drips costs its own deadline only.
"""

import asyncio
from collections.abc import Mapping
from typing import cast

from drivers.contract.errors import DeviceError, Unreachable
from drivers.transport.grpc_call import UnaryCall
from drivers.transport.grpc_status import operation_of
from drivers.transport.ports import Endpoint


class SocketGrpc:
    """The socket form of the `Grpc` port: one instance serves a whole fleet."""

    def __init__(self) -> None:
        self.opened = 0
        """Connections begun so far."""

    async def unary(
        self,
        endpoint: Endpoint,
        path: str,
        message: bytes,
        *,
        metadata: Mapping[str, str],
        deadline_s: float,
        bytes_max: int,
    ) -> bytes:
        """Call `path` with one message and return the reply's message.

        Raises `Unreachable` (`connected` tells whether a connection stood), `Malformed` when the
        reply is not gRPC or larger than `bytes_max`, and what `status_error` makes of a status.
        The socket is closed before this returns or raises, in every case.
        """
        operation = operation_of(path)
        call = UnaryCall(
            endpoint,
            path,
            message,
            metadata=metadata,
            deadline_s=deadline_s,
            bytes_max=bytes_max,
        )
        loop = asyncio.get_running_loop()
        protocol = _Exchange(loop, call)
        self.opened += 1
        try:
            async with asyncio.timeout(deadline_s):
                await loop.create_connection(lambda: protocol, endpoint.host, endpoint.port)
                reply = await protocol.reply
        except TimeoutError:
            detail = f"no whole reply within {deadline_s:g} s"
            raise Unreachable(
                endpoint.device, operation, detail, connected=protocol.is_connected
            ) from None
        except OSError as error:
            raise Unreachable(endpoint.device, operation, str(error), connected=False) from error
        finally:
            protocol.abort()
        if isinstance(reply, DeviceError):
            raise reply
        return reply


class _Exchange(asyncio.Protocol):
    """Carries one call over a socket; `reply` resolves to its result, which may be an error.

    The error is the future's result and not its exception, for a deadline may pass before anybody
    looks at it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, call: UnaryCall) -> None:
        self.reply: asyncio.Future[bytes | DeviceError] = loop.create_future()
        self._call = call
        self._transport: asyncio.Transport | None = None

    @property
    def is_connected(self) -> bool:
        """True once a connection stood."""
        return self._transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._call.bytes_to_send())

    def data_received(self, data: bytes) -> None:
        if self.reply.done():
            return
        self._call.receive(data)
        if not self._settle() and self._transport is not None:
            self._transport.write(self._call.bytes_to_send())

    def connection_lost(self, exc: Exception | None) -> None:
        self._call.close(f"connection lost: {exc}" if exc else "the peer closed without a reply")
        self._settle()

    def abort(self) -> None:
        """Close at once: what is still unsent is of no use to anybody."""
        if not self.reply.done():
            self.reply.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _settle(self) -> bool:
        result = self._call.result
        if result is not None and not self.reply.done():
            self.reply.set_result(result)
        return result is not None
