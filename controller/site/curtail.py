"""Sleeps that the guard carries for the actuator: handed over in one message, outcomes asked for.

    curtail ── Curtail, once ──────▶ guard      which are taken; the others are the drivers'
    run     ── Collect, while open ▶ guard      what came of them, each once

A request names the moment, by the guard's clock, after which nobody of it is taken: one that stood
still must not put to sleep whom this process has woken since.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import structlog

from controller.channel.client import ChannelClient
from controller.channel.curtail import CURTAIL_MINERS_MAX, Collect, Curtail, Outcomes, Taken
from controller.channel.frames import ChannelError
from controller.clock import SiteClock
from controller.power.decide import MinerCommand
from controller.site.slots import MinerSlots
from drivers.contract.commands import Outcome

_log = structlog.get_logger()

HAND_OVER_S = 0.25
"""All the time that a hand-over may take; the guard answers within some milliseconds. Longer would
cost more than it saves: half a second is what the whole wave takes.
"""
_GLANCE_TURNS = 32
"""Turns of the loop; a long answer takes some from the socket to here."""
COLLECT_S = 0.25
CHANGED_S_MAX = 120.0
"""Twice as long as a prepared command holds a configuration."""
_ANSWER_S = 2.0
_PART_BYTES_MAX = 400 * 1024
"""Miner ids in one request: each may be named twice, and the channel carries 1 MiB."""
_TURN = 64
"""Outcomes passed on before the loop may do something else."""

Told = Callable[[MinerCommand, Outcome | None], None]
"""Takes what came of a Sleep; None when the guard was lost before it said so: whether the miner has
the command is then unknown.
"""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Open:
    number: int
    command: MinerCommand
    told: Told


class Curtailer:
    """One controller's Sleeps at its guard. `run` serves one connection."""

    def __init__(self, site_id: str, epoch: str, clock: SiteClock) -> None:
        self._site_id = site_id
        self._epoch = epoch
        self._clock = clock
        self._client: ChannelClient | None = None
        self._ahead_s: float | None = None
        self._number = 0
        self._open: dict[str, _Open] = {}
        self._wanted = asyncio.Event()

    @property
    def is_connected(self) -> bool:
        """Whether a guard is there whose clock is known."""
        return self._client is not None and self._ahead_s is not None

    def heard(self, guard_now_s: float) -> None:
        """The guard has told its time. It was that time before now, so the greatest difference to
        our own clock is the nearest to the truth, and never more than it.
        """
        ahead_s = guard_now_s - self._clock.monotonic_s()
        if self._ahead_s is None:
            self._wanted.set()  # an earlier connection may have left outcomes
            self._ahead_s = ahead_s
        self._ahead_s = max(ahead_s, self._ahead_s)

    async def curtail(
        self, sleeps: Sequence[MinerCommand], changed_s: Mapping[str, float], told: Told
    ) -> frozenset[str]:
        """Hand these over; returns the miners that the guard has taken, within HAND_OVER_S.

        `changed_s`: see `changed_since`. `told` is called once for each of the taken. Others may
        have been taken when the guard did not answer in time: a second Sleep says the same.
        """
        client, ahead_s = self._client, self._ahead_s
        if client is None or ahead_s is None:
            return frozenset()
        taken: set[str] = set()
        begun_s = self._clock.monotonic_s()
        until_s = begun_s + ahead_s + HAND_OVER_S

        async def hand_over() -> None:
            for part in _parts(sleeps):
                ask = self._ask(part, until_s, ahead_s, changed_s)
                taken.update(await self._hand_over(client, part, ask, told))

        handing = asyncio.create_task(hand_over())
        try:
            await asyncio.wait([handing], timeout=HAND_OVER_S)
            # An answer that lies in the socket by now counts, however late this loop looks.
            for _ in range(_GLANCE_TURNS):
                if handing.done():
                    break
                await asyncio.sleep(0)
        finally:
            handing.cancel()
        (error,) = await asyncio.gather(handing, return_exceptions=True)
        took_s = round(self._clock.monotonic_s() - begun_s, 3)
        if error is None:
            _log.info("handed_over", miners=len(sleeps), taken=len(taken), took_s=took_s)
        else:
            said = str(error) or f"no answer within {HAND_OVER_S:g} s"
            _log.warning("hand_over_failed", miners=len(sleeps), taken=len(taken), error=said)
        if isinstance(error, Exception) and not isinstance(
            error, ChannelError | msgspec.MsgspecError
        ):
            raise error
        return frozenset(taken)

    async def run(self, client: ChannelClient) -> None:
        """Ask for outcomes for ever while any is open. Raises ChannelError."""
        self._client, self._ahead_s = client, None
        self._wanted.clear()
        try:
            while True:
                await self._wanted.wait()
                await self._collect(client)
                await asyncio.sleep(COLLECT_S)
        finally:
            self._client = None

    async def lose(self) -> None:
        """The connection has ended: nobody will say what came of those that are open."""
        lost, self._open = list(self._open.values()), {}
        if lost:
            _log.error("guard_lost_with_commands", miners=len(lost))
        for index, one in enumerate(lost, 1):
            one.told(one.command, None)
            if index % _TURN == 0:
                await asyncio.sleep(0)

    def _ask(
        self,
        part: Sequence[MinerCommand],
        until_s: float,
        ahead_s: float,
        changed_s: Mapping[str, float],
    ) -> Curtail:
        self._number += 1
        names = tuple(command.miner_id for command in part)
        return Curtail(
            site_id=self._site_id,
            epoch=self._epoch,
            number=self._number,
            until_s=until_s,
            miner_ids=names,
            changed_s={n: changed_s[n] + ahead_s for n in names if n in changed_s},
        )

    async def _hand_over(
        self, client: ChannelClient, part: Sequence[MinerCommand], ask: Curtail, told: Told
    ) -> set[str]:
        self._wanted.set()
        taken = frozenset((await _asked(client, ask, Taken, _ANSWER_S)).miner_ids)
        if self._client is not client:
            return set()  # lost since: nobody would ask for what came of them
        opened = {c.miner_id: _Open(ask.number, c, told) for c in part if c.miner_id in taken}
        self._open |= opened
        return set(opened)

    async def _collect(self, client: ChannelClient) -> None:
        while True:
            number, before = self._number, dict(self._open)
            ask = Collect(site_id=self._site_id, epoch=self._epoch)
            page = await _asked(client, ask, Outcomes, _ANSWER_S)
            for index, line in enumerate(page.lines, 1):
                one = self._open.get(line.miner_id)
                if one is not None and one.number == line.number:
                    del self._open[line.miner_id]
                    one.told(one.command, line.outcome())
                if index % _TURN == 0:
                    await asyncio.sleep(0)
            if not page.left:
                await self._give_up(before)
                if number == self._number:
                    self._wanted.clear()
            if not page.left or not page.lines:
                return

    async def _give_up(self, before: dict[str, _Open]) -> None:
        """The guard has nothing open: of what it had before it was asked, it knows no more."""
        lost = [name for name, one in before.items() if self._open.get(name) is one]
        for name in lost:
            one = self._open.pop(name)
            one.told(one.command, None)
        if lost:
            _log.error("guard_forgot_commands", miners=len(lost))


def changed_since(miners: MinerSlots, now_s: float) -> dict[str, float]:
    """Since when a miner's stored configuration may be another than before, by our clock.

    Who changes it at the miner's own page starts its mining anew. One that did not answer its last
    poll may be starting just now. Older moments are left out: no prepared command is that old.
    """
    changed_s = dict.fromkeys(miners.errors, now_s)
    for name, reading in miners.readings.items():
        if name not in changed_s and reading.uptime_s is not None:
            begun_s = reading.taken_s - reading.uptime_s
            if now_s - begun_s < CHANGED_S_MAX:
                changed_s[name] = begun_s
    return changed_s


def _parts(sleeps: Sequence[MinerCommand]) -> Iterator[list[MinerCommand]]:
    part: list[MinerCommand] = []
    size = 0
    for command in sleeps:
        own = len(command.miner_id.encode()) + 5
        if part and (size + own > _PART_BYTES_MAX or len(part) == CURTAIL_MINERS_MAX):
            yield part
            part, size = [], 0
        part.append(command)
        size += own
    if part:
        yield part


async def _asked(
    client: ChannelClient, ask: Curtail | Collect, shape: type[T], within_s: float
) -> T:
    body = await client.request(msgspec.msgpack.encode(ask), within_s)
    return msgspec.msgpack.decode(body, type=shape)
