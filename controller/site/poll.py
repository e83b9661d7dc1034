"""Reads every miner and meter, each at its own pace; one that hangs costs its own deadline only.

One loop and one wheel of due times for all miners, never a job a miner. A miner that takes part
in an order is read every `order_period_s`; one that fails is asked less often, up to eight
periods apart.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from math import ceil

import structlog

from controller.site.allowance import Allowance
from controller.site.slots import MeterSlot, MinerSlots
from controller.site.wheel import SLOT_S, Wheel
from drivers.contract.devices import MeterDriver, MinerDriver
from drivers.contract.errors import DeviceError
from drivers.contract.readings import MinerReading
from drivers.transport.ports import Clock

_log = structlog.get_logger()

_REST_S_MAX = 0.05
"""The longest rest of the loop: a miner may be hastened meanwhile."""
_REST_S_MIN = 0.001
_STARTS_MAX = 4
"""Reads begun before others have their turn: fewer than end in the same turn (`tcp_json`), so that
a round that is late ends what it has begun, and keeps no tick waiting.
"""
_BACKOFF_MAX = 8
_AWAY_MAX = 4
"""Failed reads in a row that are no reason to ask less often while a miner takes part in an order:
a stock Antminer's API is away while the miner restarts, and read too late it would pass for deaf.
"""
_HUNG_S = 60.0
"""Every driver keeps a deadline of its own, 15 s at most; one that does not is given up here, so
that it holds no place for ever.
"""
_FIRST_READS_PER_S = 250.0
"""A first read asks everything: who it is, its configuration, its pools, on three connections and
more. A large fleet's first round takes longer than a period, so that others have their turn too.
"""
_HASTENED_PER_S = 2_000.0
_HASTE_SPREAD_S = 1.0
"""Miners hastened together are read at the end of one order period, so many a second, and over a
second at least: when they have done what they were told.
"""
_GAP = 0.5
"""A miner whose turn came late has this share of its period before the next read, at least."""
_SPREAD = 0.1
"""Periods vary by this share, so that a fleet started together does not stay in step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Periods:
    """How often a miner is read, in seconds: usually, and while it takes part in an order."""

    period_s: float
    order_period_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PollPace(Periods):
    """How often miners are read, how many reads may be under way at once, and how many connections
    they may open in a second. `own`: miners, by id, that are not read as the others.
    """

    reads_max: int
    connections_per_s_max: float = float("inf")
    own: Mapping[str, Periods] = field(default_factory=dict)

    def of(self, miner_id: str) -> Periods:
        """The periods of one miner."""
        return self.own.get(miner_id, self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """One read that has ended: when it was due and when it began, both by the monotonic clock."""

    miner_id: str
    due_s: float
    begun_s: float
    missed: int
    """Failed reads in a row, this one included; 0: it was read."""


@dataclass(slots=True, eq=False)
class _Under:
    """A read under way."""

    task: asyncio.Task[None]
    begun_s: float
    given_up: bool = False


class MinerPoll:
    """The polling of the fleet."""

    def __init__(
        self,
        drivers: Mapping[str, MinerDriver],
        slots: MinerSlots,
        clock: Clock,
        pace: PollPace,
        rng: random.Random,
        heard: Callable[[MinerReading], None] | None = None,
        ended: Callable[[Polled], None] | None = None,
        opened: Callable[[], int] = int,
    ) -> None:
        """`heard` is told of every reading, `ended` of every read; neither may raise. `opened`
        tells how many connections were begun so far; without it each read counts as one.
        """
        self._drivers = drivers
        self._slots = slots
        self._clock = clock
        self._pace = pace
        self._rng = rng
        self._heard = heard
        self._ended = ended
        self._allowance: Allowance | None = None
        if pace.connections_per_s_max < float("inf"):
            self._allowance = Allowance(pace.connections_per_s_max, opened, clock.monotonic_s())
        self._wheel = Wheel()
        self._hastened: frozenset[str] = frozenset()
        self._reading: dict[str, _Under] = {}
        """In the order of their beginning."""

    def hasten(self, miner_ids: Collection[str]) -> None:
        """These take part in an order now: read them at the order's pace. Replaces the earlier
        set.
        """
        wanted = frozenset(miner_ids)
        now_s, new = self._clock.monotonic_s(), sorted(wanted - self._hastened)
        spread_s = max(_HASTE_SPREAD_S, len(new) / _HASTENED_PER_S)
        for miner_id in new:
            due_s, period_s = self._wheel.due_s(miner_id), self._pace.of(miner_id).order_period_s
            soon_s = now_s + period_s
            if due_s is not None and due_s > soon_s:
                self._wheel.put(miner_id, soon_s - min(spread_s, period_s) * self._rng.random())
        self._hastened = wanted

    async def run(self) -> None:
        """Read for ever. The first round takes one order period, or what a large fleet needs."""
        now_s = self._clock.monotonic_s()
        spread_s = max(self._pace.order_period_s, len(self._drivers) / _FIRST_READS_PER_S)
        for miner_id in self._drivers:
            self._wheel.put(miner_id, now_s + self._rng.random() * spread_s)
        try:
            while True:
                now_s = self._clock.monotonic_s()
                self._give_up_hung(now_s)
                await asyncio.sleep(self._start_due(now_s))
        finally:
            under = [read.task for read in self._reading.values()]
            for task in under:
                task.cancel()
            await asyncio.gather(*under, return_exceptions=True)

    def _start_due(self, now_s: float) -> float:
        """Begin what is due and may begin; how long to rest then, in s."""
        allowance = self._allowance
        if allowance is not None:
            allowance.fill(now_s)
        begun = 0
        while (next_s := self._wheel.next_s()) is not None and next_s <= now_s:
            if begun == _STARTS_MAX:
                return 0.0
            if len(self._reading) >= self._pace.reads_max:
                return SLOT_S
            if allowance is not None and not allowance.take():
                return SLOT_S
            found = self._wheel.pop(now_s)
            if found is not None:
                self._start(*found, now_s)
                begun += 1
        if next_s is None:
            return _REST_S_MAX
        return min(max(next_s - self._clock.monotonic_s(), _REST_S_MIN), _REST_S_MAX)

    def _start(self, miner_id: str, due_s: float, now_s: float) -> None:
        task = asyncio.create_task(self._read(miner_id, due_s))
        self._reading[miner_id] = _Under(task, now_s)

    def _give_up_hung(self, now_s: float) -> None:
        """One look at the oldest, in place of a timer for each read."""
        for read in self._reading.values():
            if now_s - read.begun_s < _HUNG_S:
                return
            if not read.given_up:
                read.given_up = True
                read.task.cancel()

    async def _read(self, miner_id: str, due_s: float) -> None:
        begun_s, missed = self._clock.monotonic_s(), 0
        try:
            reading = await self._drivers[miner_id].read()
            self._slots.put(reading)
            if self._heard is not None:
                self._heard(reading)
        except DeviceError as error:
            missed = self._slots.miss(miner_id, self._clock.monotonic_s(), str(error))
            if missed == 1:
                _log.info("miner_read_failed", miner=miner_id, error=str(error))
        except asyncio.CancelledError:
            if not self._reading[miner_id].given_up:
                raise
            missed = self._fault(miner_id, f"no end of a read within {_HUNG_S:g} s")
        except Exception as error:  # noqa: BLE001 - a driver's own fault must not end the polling of its miner
            missed = self._fault(miner_id, repr(error))
        finally:
            self._reading.pop(miner_id, None)
            # Whatever failed, saying so included: it is read again.
            self._wheel.put(miner_id, self._next_s(miner_id, due_s, begun_s, missed))
        if self._ended is not None:
            self._ended(Polled(miner_id=miner_id, due_s=due_s, begun_s=begun_s, missed=missed))

    def _fault(self, miner_id: str, what: str) -> int:
        _log.exception("miner_driver_failed", miner=miner_id)
        return self._slots.miss(miner_id, self._clock.monotonic_s(), f"driver: {what}")

    def _next_s(self, miner_id: str, due_s: float, begun_s: float, missed: int) -> float:
        """When to read it again, after so many failures in a row.

        Counted from when it was due, not from when its turn came: miners that were late together
        would be due together from then on, and late again.
        """
        hastened = miner_id in self._hastened
        periods = self._pace.of(miner_id)
        period_s = periods.order_period_s if hastened else periods.period_s
        if missed:
            period_s *= min(2.0 ** max(0, missed - (_AWAY_MAX if hastened else 1)), _BACKOFF_MAX)
        period_s *= 1.0 + _SPREAD * (self._rng.random() - 0.5)
        next_s = due_s + period_s
        soonest_s = max(begun_s + _GAP * period_s, self._clock.monotonic_s())
        return next_s + period_s * max(0, ceil((soonest_s - next_s) / period_s))


async def poll_meter(driver: MeterDriver, slot: MeterSlot, clock: Clock, period_s: float) -> None:
    """Read one meter for ever, on a fixed grid of `period_s`; a late read is not made up for."""
    due_s = clock.monotonic_s()
    failing = False
    while True:
        try:
            async with asyncio.timeout(_HUNG_S):
                slot.put(await driver.read())
            failing = False
        except DeviceError as error:
            slot.miss(error.detail)
            if not failing:
                _log.warning("meter_read_failed", meter=slot.meter_id, error=str(error))
            failing = True
        except Exception as error:  # noqa: BLE001 - a driver's own fault must not end the reading of its meter
            slot.miss(f"driver: {error!r}")
            _log.exception("meter_driver_failed", meter=slot.meter_id)
        due_s = max(due_s + period_s, clock.monotonic_s())
        await asyncio.sleep(max(0.0, due_s - clock.monotonic_s()))
