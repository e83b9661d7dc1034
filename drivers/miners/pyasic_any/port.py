"""What a `PyasicMiner` asks of pyasic, wherever pyasic runs; and a twin without pyasic."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from drivers.contract.commands import Command, Outcome
from drivers.contract.errors import Unreachable
from drivers.miners.pyasic_any.messages import Identity, Target, Values


class PyasicPort(Protocol):
    """Every call raises DeviceError and costs at most its deadline and a short grace."""

    async def identify(self, target: Target, *, deadline_s: float) -> Identity:
        """Return what pyasic takes the device for, by asking it (pyasic's own port scan)."""
        ...

    async def read(self, target: Target, *, deadline_s: float) -> Values:
        """Return the live values."""
        ...

    async def apply(self, target: Target, command: Command, *, deadline_s: float) -> Outcome:
        """Carry out one command: Applied means only that pyasic reported success."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a twin's handler answers; `said` None is a miner that never answers."""

    said: Values | Outcome | Identity | None
    after_s: float = 0.0


ReadHandler = Callable[[Target], Heard]
ApplyHandler = Callable[[Target, Command], Heard]


class MemoryPyasic:
    """In-memory `PyasicPort` for runs with a virtual clock.

    `read(target) -> Heard(said=Values)`, `apply(target, command) -> Heard(said=Outcome)` and, where
    wanted, `identify(target) -> Heard(said=Identity)`. A handler may raise a DeviceError.
    """

    def __init__(
        self,
        read: ReadHandler,
        apply: ApplyHandler,
        identify: ReadHandler = lambda _: Heard(said=None),
    ) -> None:
        self._read = read
        self._apply = apply
        self._identify = identify

    async def identify(self, target: Target, *, deadline_s: float) -> Identity:
        """See `PyasicPort.identify`."""
        said = await _heard(target, "identify", lambda: self._identify(target), deadline_s)
        assert isinstance(said, Identity), "an identify handler says Identity"  # noqa: S101
        return said

    async def read(self, target: Target, *, deadline_s: float) -> Values:
        """See `PyasicPort.read`."""
        said = await _heard(target, "read", lambda: self._read(target), deadline_s)
        assert isinstance(said, Values), "a read handler says Values"  # noqa: S101
        return said

    async def apply(self, target: Target, command: Command, *, deadline_s: float) -> Outcome:
        """See `PyasicPort.apply`."""
        said = await _heard(target, "apply", lambda: self._apply(target, command), deadline_s)
        assert not isinstance(said, Values | Identity), "an apply handler says an outcome"  # noqa: S101
        return said


async def _heard(
    target: Target, operation: str, ask: Callable[[], Heard], deadline_s: float
) -> Values | Outcome | Identity:
    try:
        async with asyncio.timeout(deadline_s):
            heard = ask()
            if heard.said is None:
                await asyncio.get_running_loop().create_future()
            await asyncio.sleep(heard.after_s)
    except TimeoutError:
        detail = f"no answer within {deadline_s:g} s"
        raise Unreachable(target.device, operation, detail, connected=True) from None
    if heard.said is None:
        raise Unreachable(target.device, operation, "no answer", connected=True)
    return heard.said
