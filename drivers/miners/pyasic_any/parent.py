"""The parent's half of the pyasic child: starts it, asks it, restarts it.

    async with PyasicChild() as pyasic:
        values = await pyasic.read(target, deadline_s=10.0)

A child that dies fails the requests that wait for it as Unreachable and is started again with a
growing pause. One that lets a deadline pass without saying anything at all hangs; it is killed and
started again. The parent's loop never waits for pyasic.
"""

import asyncio
import contextlib
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from drivers.contract.commands import Command, Outcome
from drivers.contract.errors import Malformed, Unreachable
from drivers.miners.pyasic_any import messages
from drivers.miners.pyasic_any.messages import Identity, Reply, Request, Target, Values

CHILD_COMMAND = (sys.executable, "-I", "-m", "drivers.miners.pyasic_any.child")

START_DEADLINE_S = 30.0
GRACE_S = 2.0
"""How much later than the child the parent gives up: the child's own answer says more."""

BACKOFF_S_MIN = 0.5
BACKOFF_S_MAX = 30.0
HEALTHY_AFTER_S = 60.0
END_DEADLINE_S = 3.0
_LAST_WORDS_BYTES = 2_000


class PyasicChild:
    """`PyasicPort` over a child process. An async context manager; leaving it ends the child."""

    def __init__(
        self,
        *,
        command: tuple[str, ...] = CHILD_COMMAND,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._command = command
        self._environment = None if environment is None else dict(environment)
        self._ready = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._next_id = 1
        self._last_frame_s = 0.0
        self._last_words = ""
        self.restarts = 0
        """How often the child had to be started again."""

    async def __aenter__(self) -> Self:
        self._supervisor = asyncio.create_task(self._supervise(), name="pyasic-child")
        try:
            async with asyncio.timeout(START_DEADLINE_S):
                await self._ready.wait()
        except TimeoutError:
            await self.close()
            detail = f"not ready within {START_DEADLINE_S:g} s: {self._last_words or 'no words'}"
            raise Unreachable("pyasic child", "start", detail, connected=False) from None
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the child and fail what waits for it."""
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is not None:
            supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await supervisor

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._process.pid if self._process is not None else None

    async def identify(self, target: Target, *, deadline_s: float) -> Identity:
        """See `PyasicPort.identify`."""
        reply = await self._ask("identify", target, deadline_s)
        if reply.identity is None:
            raise Malformed(target.device, "identify", "the child answered something else")
        return reply.identity

    async def read(self, target: Target, *, deadline_s: float) -> Values:
        """See `PyasicPort.read`."""
        reply = await self._ask("read", target, deadline_s)
        if reply.values is None:
            raise Malformed(target.device, "read", "the child answered something else")
        return reply.values

    async def apply(self, target: Target, command: Command, *, deadline_s: float) -> Outcome:
        """See `PyasicPort.apply`."""
        instruction = messages.instruction_of(command)
        reply = await self._ask("apply", target, deadline_s, instruction=instruction)
        if reply.verdict is None:
            raise Malformed(target.device, "apply", "the child answered something else")
        return messages.outcome_of(reply.verdict)

    async def _ask(self, kind: Any, target: Target, deadline_s: float, **more: Any) -> Reply:
        process = self._process
        if process is None or process.stdin is None or not self._ready.is_set():
            detail = f"the pyasic child is starting again: {self._last_words or 'no words'}"
            raise Unreachable(target.device, kind, detail, connected=False)
        loop = asyncio.get_running_loop()
        request = Request(id=self._next_id, kind=kind, target=target, deadline_s=deadline_s, **more)
        self._next_id += 1
        frame = self._frame(request)
        waiting: asyncio.Future[Reply] = loop.create_future()
        self._waiting[request.id] = waiting
        sent_s = loop.time()
        process.stdin.write(frame)
        try:
            async with asyncio.timeout(deadline_s + GRACE_S):
                reply = await waiting
        except TimeoutError:
            if self._last_frame_s < sent_s and self._process is process:
                self._last_words = "it hung and was killed"
                self._ready.clear()  # now, not when its end is noticed: it takes no more
                _kill(process)
            detail = f"the pyasic child did not answer within {deadline_s + GRACE_S:g} s"
            raise Unreachable(target.device, kind, detail, connected=True) from None
        finally:
            del self._waiting[request.id]
        if reply.failure is not None:
            raise messages.error_of(reply.failure, target.device)
        return reply

    def _frame(self, request: Request) -> bytes:
        try:
            return messages.encode_frame(request)
        except messages.FrameError as error:
            raise Malformed(request.target.device, request.kind, str(error)) from error

    async def _supervise(self) -> None:
        loop = asyncio.get_running_loop()
        pause_s = BACKOFF_S_MIN
        while True:
            begun_s = loop.time()
            try:
                await self._run()
            except (OSError, messages.FrameError) as error:
                self._last_words = str(error)
            if loop.time() - begun_s > HEALTHY_AFTER_S:
                pause_s = BACKOFF_S_MIN
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2.0, BACKOFF_S_MAX)
            self.restarts += 1

    async def _run(self) -> None:
        """Run one child to its end. Raises OSError or FrameError."""
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
        )
        listening = asyncio.create_task(self._listen(process))
        try:
            await self._converse(process)
        finally:
            self._ready.clear()
            self._process = None
            await _end(process)
            await listening
            self._fail_waiting()

    async def _converse(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101 - asked for above
        loop = asyncio.get_running_loop()
        try:
            while True:
                prefix = await process.stdout.readexactly(messages.LENGTH_BYTES)
                length = messages.decode_length(prefix)
                reply = messages.decode_reply(await process.stdout.readexactly(length))
                self._last_frame_s = loop.time()
                if reply.id == 0:
                    self._process = process
                    self._ready.set()
                waiting = self._waiting.get(reply.id)
                if waiting is not None and not waiting.done():
                    waiting.set_result(reply)
        except asyncio.IncompleteReadError:
            return

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        """Keep the end of what the child complains about, for the error that names its death."""
        assert process.stderr is not None  # noqa: S101 - asked for above
        tail = b""
        while chunk := await process.stderr.read(4_096):
            tail = (tail + chunk)[-_LAST_WORDS_BYTES:]
            self._last_words = tail.decode("utf-8", errors="replace").strip()

    def _fail_waiting(self) -> None:
        detail = f"the pyasic child ended: {self._last_words[-300:] or 'no words'}"
        error = messages.failure_of(Unreachable("pyasic child", "wait", detail, connected=True))
        for request_id, waiting in self._waiting.items():
            if not waiting.done():
                waiting.set_result(Reply(id=request_id, failure=error))


async def _end(process: asyncio.subprocess.Process) -> None:
    """Close the child's input, which ends it; kill it when it does not."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(END_DEADLINE_S):
            await process.wait()
    except TimeoutError:
        _kill(process)
        await process.wait()


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
