"""The pyasic child: `python -m drivers.miners.pyasic_any.child`, started by `PyasicChild` only.

Frames come in by file descriptor 0 and go out by 1. The first thing it does is to keep both for
itself and to point descriptor 1 at standard error, so that nothing a library prints can fall
between two frames. It ends when its input does.
"""

import asyncio
import logging
import os
import signal
import sys
from typing import Any

from drivers.contract.errors import Busy, DeviceError, Malformed, Unreachable
from drivers.miners.pyasic_any import messages
from drivers.miners.pyasic_any.fence import Fence
from drivers.miners.pyasic_any.messages import Reply, Request
from drivers.transport.tcp_json import SocketTcpJson

REQUESTS_MAX = 4_096
"""Requests that may wait here; beyond, the miner counts as busy."""

CONCURRENCY_MAX = 48
"""Miners spoken to at one time.

High concurrency loses replies on large networks (asic-rs issue 319).
"""


def main() -> None:
    """Serve until the input ends."""
    source, sink = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a descriptor is wanted, not a path
        os.dup2(nothing.fileno(), 0)
    # Ctrl-C reaches the whole group; the parent decides when the child ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    asyncio.run(_serve(source, sink))


async def _serve(source: int, sink: int) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(source, "rb", buffering=0)
    )
    transport, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(sink, "wb", buffering=0)
    )
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    service = _Service(writer)
    await service.say(Reply(id=0))
    try:
        while True:
            length = messages.decode_length(await reader.readexactly(messages.LENGTH_BYTES))
            service.accept(messages.decode_request(await reader.readexactly(length)))
    except asyncio.IncompleteReadError:
        pass  # the parent closed its end, or is gone
    finally:
        await service.close()


class _Service:
    """Answers requests side by side, at most CONCURRENCY_MAX at a time."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        # Imported here: pyasic takes a second to load, and what it prints then must not meet the
        # frames.
        from drivers.miners.pyasic_any.backend import Backend  # noqa: PLC0415

        self._backend = Backend(SocketTcpJson())
        self._fence = Fence()
        self._fence.put_up()
        self._writer = writer
        self._slots = asyncio.Semaphore(CONCURRENCY_MAX)
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, request: Request) -> None:
        """Begin to answer a request."""
        task = asyncio.ensure_future(self._answer(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def say(self, reply: Reply) -> None:
        """Write one reply."""
        self._writer.write(messages.encode_frame(reply))
        await self._writer.drain()

    async def close(self) -> None:
        """End every request that is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._writer.close()

    async def _answer(self, request: Request) -> None:
        device = request.target.device
        begun = False
        try:
            self._check_room(request)
            async with asyncio.timeout(request.deadline_s), self._slots:
                begun = True
                fields = await self._done(request)
        except TimeoutError:
            detail = f"pyasic did not finish within {request.deadline_s:g} s"
            failure = Unreachable(device, request.kind, detail, connected=begun)
            fields = {"failure": messages.failure_of(failure)}
        except DeviceError as error:
            fields = {"failure": messages.failure_of(error)}
        except Exception as error:  # noqa: BLE001 - this is the supervisor of a library that may raise anything
            detail = f"pyasic failed: {type(error).__name__}: {error}"[:500]
            fields = {"failure": messages.failure_of(Malformed(device, request.kind, detail))}
        await self.say(Reply(id=request.id, **fields))

    def _check_room(self, request: Request) -> None:
        if len(self._tasks) > REQUESTS_MAX:
            device = request.target.device
            raise Busy(device, request.kind, "the pyasic child has too much to do")

    async def _done(self, request: Request) -> dict[str, Any]:
        target = request.target
        try:
            self._fence.admit(target.host)
        except ValueError as error:
            detail = f"{error}; give the miner's IP address in the inventory"
            raise Unreachable(target.device, request.kind, detail, connected=False) from error
        if request.kind == "identify":
            return {"identity": await self._backend.identify(target)}
        if request.kind == "read":
            return {"values": await self._backend.read(target)}
        if request.instruction is None:
            raise Malformed(target.device, request.kind, "no instruction")
        command = messages.command_of(request.instruction)
        return {"verdict": messages.verdict_of(await self._backend.apply(target, command))}


if __name__ == "__main__":
    main()
