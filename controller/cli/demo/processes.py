"""Starts the demonstration's processes and ends every one of them, by pid."""

import asyncio
import ctypes
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, Self

_PR_SET_PDEATHSIG = 1
_END_S = 8.0


class ProcessFailed(Exception):
    """A process of the demonstration did not start, or ended by itself. Says which and why."""


def _die_with_parent() -> None:
    """In the child: the kernel ends us when the demonstration dies, however it dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass(slots=True)
class Child:
    """One process that was started, and where its words go."""

    name: str
    command: tuple[str, ...]
    process: asyncio.subprocess.Process
    log: Path


@dataclass(slots=True)
class Processes:
    """All of them, in the order of their start. An async context manager: leaving it ends all."""

    folder: Path
    children: list[Child] = field(default_factory=list)

    async def start(self, name: str, module: str, *arguments: str) -> Child:
        """Start `python -m module`; standard output is a pipe, standard error a log file."""
        return await self.launch(name, sys.executable, "-m", module, *arguments)

    async def launch(self, name: str, *command: str) -> Child:
        """Start a program in the same way."""
        log = self.folder / f"{name}.log"
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                preexec_fn=_die_with_parent,
                limit=1024 * 1024,
            )
        child = Child(name=name, command=command, process=process, log=log)
        self.children.append(child)
        return child

    async def end(self, child: Child) -> None:
        """End one child now; it counts no more as one that may not end."""
        self.children.remove(child)
        await _end(child)

    async def kill(self, child: Child) -> None:
        """Kill one child, as a power failure would."""
        self.children.remove(child)
        os.kill(child.process.pid, signal.SIGKILL)
        await child.process.wait()
        await _end(child)

    async def first_line(self, child: Child, within_s: float) -> str:
        """Wait for a child's first line on standard output. Raises ProcessFailed."""
        stream = child.process.stdout
        assert stream is not None, "started with a pipe"  # noqa: S101
        try:
            line = await asyncio.wait_for(stream.readline(), within_s)
        except TimeoutError:
            raise ProcessFailed(f"{child.name} is not ready after {within_s:.0f} s") from None
        if not line:
            raise ProcessFailed(await self.last_words(child))
        return line.decode(errors="replace").strip()

    async def last_words(self, child: Child) -> str:
        """Why a child ended, in its own words."""
        status = await child.process.wait()
        said = child.log.read_text(errors="replace").strip().splitlines()[-5:]
        return f"{child.name} ended with status {status}:\n  " + "\n  ".join(said)

    async def failed(self, child: Child, how: str) -> NoReturn:
        """Raise ProcessFailed with how a child fails, or why it has ended."""
        if child.process.returncode is not None:
            raise ProcessFailed(await self.last_words(child))
        raise ProcessFailed(f"{child.name} {how}; see {child.log}")

    def ended(self) -> Child | None:
        """A child that has ended by itself, if any."""
        return next((c for c in self.children if c.process.returncode is not None), None)

    async def __aenter__(self) -> Self:
        """Nothing is started yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the youngest first; what does not end in time is killed. Each by its own pid."""
        for child in reversed(self.children):
            await _end(child)


async def _end(child: Child) -> None:
    process = child.process
    if process.returncode is None:
        os.kill(process.pid, signal.SIGTERM)
    drain = asyncio.create_task(_drain(process))
    try:
        await asyncio.wait_for(process.wait(), _END_S)
    except TimeoutError:
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
    await drain


async def _drain(process: asyncio.subprocess.Process) -> None:
    """Read what is left, so that a full pipe keeps nobody alive."""
    if process.stdout is not None:
        while await process.stdout.read(65_536):
            pass
