"""Carries commands to miners: for each at most one under way and the newest waiting behind it.

    many Sleeps at once ─▶ the guard's wave ─▶ outcome
           │ not taken, login expired, guard lost
           ▼
    everything else ─▶ the miner's driver ─▶ outcome

No slot is held while a reply is awaited: a stock Antminer takes 21 s to answer, and a hundred of
them must not keep the next miner waiting. Every result goes back to the tick as a fact.
"""

import asyncio
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Protocol

import structlog

from controller.power.decide import MinerCommand
from controller.power.image import Answered
from controller.site.curtail import Told
from controller.site.slots import MinerSlots, Slots
from drivers.contract.commands import (
    Applied,
    Outcome,
    RefusalReason,
    Refused,
    Sleep,
    Unconfirmed,
)
from drivers.contract.devices import MinerDriver

_log = structlog.get_logger()

_HUNG_S = 180.0
"""Every driver keeps a deadline of its own, 60 s at most; one that does not is given up here, so
that its miner can be commanded again.
"""
_WAVE = 64
"""Commands begun before the loop may do something else: a linear wave, the grid's choice too."""


MASS = _WAVE
"""Sleeps of one tick that go to the guard. Fewer leave about as soon by the drivers, which read a
miner's configuration before they write it; the guard's is up to a minute old.
"""


class Waves(Protocol):
    """The guard as the actuator meets it; controller/site/guarded.py is the real one."""

    def takes_sleeps(self) -> bool:
        """Whether a hand-over has a chance."""
        ...

    async def curtail(
        self, sleeps: Sequence[MinerCommand], miners: MinerSlots, told: Told
    ) -> Container[str]:
        """Hand Sleeps over; returns soon with the miners whose outcome `told` will hear.

        `miners`: as they were last read.
        """
        ...


class Actuator:
    """Sends what was decided. Lives as long as the site runs."""

    def __init__(
        self, drivers: Mapping[str, MinerDriver], slots: Slots, guard: Waves | None = None
    ) -> None:
        """`guard` is None for a site that has none."""
        self._drivers = drivers
        self._slots = slots
        self._guard = guard
        self._running: dict[str, asyncio.Task[None]] = {}
        self._handed: dict[str, MinerCommand] = {}
        self._waiting: dict[str, MinerCommand] = {}

    @property
    def under_way(self) -> int:
        """Commands sent and not yet answered."""
        return len(self._running) + len(self._handed)

    async def give(self, commands: Iterable[MinerCommand]) -> None:
        """Begin every command; returns once each is begun, taken by the guard, or waits behind its
        miner's last one.
        """
        commands = tuple(commands)
        mass = self._mass(commands)
        self._handed |= {command.miner_id: command for command in mass}
        async with asyncio.TaskGroup() as tasks:
            if mass and self._guard is not None:
                tasks.create_task(self._hand_over(mass, self._guard))
                await asyncio.sleep(0)  # it leaves before anything else is begun
            for index, command in enumerate(commands, 1):
                if self._handed.get(command.miner_id) is not command:
                    self._begin_or_wait(command)
                if index % _WAVE == 0:
                    await asyncio.sleep(0)

    async def close(self) -> None:
        """Stop waiting for answers. What a miner has received it carries out all the same."""
        self._handed.clear()
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _mass(self, commands: Sequence[MinerCommand]) -> list[MinerCommand]:
        if self._guard is None or not self._guard.takes_sleeps():
            return []
        busy = self._running.keys() | self._handed.keys()
        mass = [
            command
            for command in commands
            if isinstance(command.command, Sleep)
            and command.miner_id in self._drivers
            and command.miner_id not in busy
        ]
        return mass if len(mass) >= MASS else []

    async def _hand_over(self, mass: Sequence[MinerCommand], guard: Waves) -> None:
        taken: Container[str] = ()
        try:
            taken = await guard.curtail(mass, self._slots.miners, self._told)
        except Exception:  # noqa: BLE001 - a fault of the quick way: the drivers are still there
            _log.exception("hand_over_failed", miners=len(mass))
        for index, command in enumerate(mass, 1):
            if command.miner_id not in taken:
                self._told(command, None)
            if index % _WAVE == 0:
                await asyncio.sleep(0)

    def _told(self, command: MinerCommand, outcome: Outcome | None) -> None:
        """What the guard's wave came to; None when that is not known."""
        if self._handed.get(command.miner_id) is not command:
            return
        del self._handed[command.miner_id]
        expired = isinstance(outcome, Refused) and outcome.reason is RefusalReason.UNAUTHORIZED
        if outcome is None or expired:
            self._begin(command)
        else:
            self._answered(command, outcome)

    def _begin_or_wait(self, command: MinerCommand) -> None:
        if command.miner_id in self._running or command.miner_id in self._handed:
            self._waiting[command.miner_id] = command
        elif command.miner_id in self._drivers:
            self._begin(command)

    def _begin(self, command: MinerCommand) -> None:
        self._running[command.miner_id] = asyncio.create_task(
            self._carry(command), name=f"command {command.miner_id}"
        )

    async def _carry(self, command: MinerCommand) -> None:
        outcome: Outcome
        try:
            async with asyncio.timeout(_HUNG_S):
                outcome = await self._drivers[command.miner_id].apply(command.command)
        except Exception as error:  # noqa: BLE001 - a driver's own fault: whether the miner heard it is unknown
            _log.exception("miner_driver_failed", miner=command.miner_id)
            outcome = Unconfirmed(detail=f"driver: {error!r}")
        finally:
            self._running.pop(command.miner_id, None)
        self._answered(command, outcome)

    def _answered(self, command: MinerCommand, outcome: Outcome) -> None:
        if isinstance(outcome, Refused):
            _log.info(
                "command_refused",
                miner=command.miner_id,
                command=type(command.command).__name__,
                reason=outcome.reason,
                detail=outcome.detail,
            )
        elif not isinstance(outcome, Applied):
            _log.debug("command_answered", miner=command.miner_id, outcome=str(outcome))
        self._slots.answered.append(
            Answered(miner_id=command.miner_id, commanded_s=command.commanded_s, outcome=outcome)
        )
        following = self._waiting.pop(command.miner_id, None)
        if following is not None:
            self._begin(following)
