"""Carries commands to miners: for each at most one under way and the newest waiting behind it.

No slot is held while a reply is awaited: a stock Antminer takes 21 s to answer, and a hundred of
them must not keep the next miner waiting. Every result goes back to the tick as a fact.
"""

import asyncio
from collections.abc import Iterable, Mapping

import structlog

from controller.power.decide import MinerCommand
from controller.power.image import Answered
from controller.site.slots import Slots
from drivers.contract.commands import Applied, Outcome, Refused, Unconfirmed
from drivers.contract.devices import MinerDriver

_log = structlog.get_logger()

_HUNG_S = 180.0
"""Every driver keeps a deadline of its own, 60 s at most; one that does not is given up here, so
that its miner can be commanded again.
"""
_WAVE = 64
"""Commands begun before the loop may do something else: a linear wave, the grid's choice too."""


class Actuator:
    """Sends what was decided. Lives as long as the site runs."""

    def __init__(self, drivers: Mapping[str, MinerDriver], slots: Slots) -> None:
        self._drivers = drivers
        self._slots = slots
        self._running: dict[str, asyncio.Task[None]] = {}
        self._waiting: dict[str, MinerCommand] = {}

    @property
    def under_way(self) -> int:
        """Commands sent and not yet answered."""
        return len(self._running)

    async def give(self, commands: Iterable[MinerCommand]) -> None:
        """Begin every command; returns once each is begun or waits behind its miner's last one."""
        for index, command in enumerate(commands, 1):
            if command.miner_id in self._running:
                self._waiting[command.miner_id] = command
            elif command.miner_id in self._drivers:
                self._begin(command)
            if index % _WAVE == 0:
                await asyncio.sleep(0)

    async def close(self) -> None:
        """Stop waiting for answers. What a miner has received it carries out all the same."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

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
