"""Reads every miner and meter, each at its own pace; one that hangs costs its own deadline only.

One loop and one queue of due times for all miners, never a job a miner. A miner that takes part
in an order is read every `order_period_s`; one that fails is asked less often, up to eight
periods apart.
"""

import asyncio
import heapq
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import structlog

from controller.site.slots import MeterSlot, MinerSlots
from drivers.contract.devices import MeterDriver, MinerDriver
from drivers.contract.errors import DeviceError
from drivers.contract.readings import MinerReading
from drivers.transport.ports import Clock

_log = structlog.get_logger()

_STEP_S = 0.05
_BACKOFF_MAX = 8
_AWAY_MAX = 4
"""Failed reads in a row that are no reason to ask less often while a miner takes part in an order:
a stock Antminer's API is away while the miner restarts, and read too late it would pass for deaf.
"""
_HUNG_S = 60.0
"""Every driver keeps a deadline of its own, 15 s at most; one that does not is given up here, so
that it holds no place for ever.
"""
_SPREAD = 0.1
"""Periods vary by this share, so that a fleet started together does not stay in step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PollPace:
    """How often miners are read, in seconds, and how many reads may be under way at once."""

    period_s: float
    order_period_s: float
    reads_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """One read that has ended: when it was due and when it began, both by the monotonic clock."""

    miner_id: str
    due_s: float
    begun_s: float
    missed: int
    """Failed reads in a row, this one included; 0: it was read."""


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
    ) -> None:
        """`heard` is told of every reading, `ended` of every read; neither may raise."""
        self._drivers = drivers
        self._slots = slots
        self._clock = clock
        self._pace = pace
        self._rng = rng
        self._heard = heard
        self._ended = ended
        self._due_s: dict[str, float] = {}
        self._queue: list[tuple[float, str]] = []
        self._hastened: frozenset[str] = frozenset()
        self._reading: dict[str, asyncio.Task[None]] = {}

    def hasten(self, miner_ids: Collection[str]) -> None:
        """These take part in an order now: read them at the order's pace. Replaces the earlier
        set.
        """
        wanted = frozenset(miner_ids)
        soon_s = self._clock.monotonic_s() + self._pace.order_period_s
        for miner_id in sorted(wanted - self._hastened):
            if miner_id in self._due_s and self._due_s[miner_id] > soon_s:
                self._plan(miner_id, soon_s - self._rng.random())
        self._hastened = wanted

    async def run(self) -> None:
        """Read for ever. The first round is spread over one order period."""
        now_s = self._clock.monotonic_s()
        for miner_id in self._drivers:
            self._plan(miner_id, now_s + self._rng.random() * self._pace.order_period_s)
        try:
            while True:
                self._start_due()
                await asyncio.sleep(_STEP_S)
        finally:
            for task in self._reading.values():
                task.cancel()
            await asyncio.gather(*self._reading.values(), return_exceptions=True)

    def _plan(self, miner_id: str, due_s: float) -> None:
        self._due_s[miner_id] = due_s
        heapq.heappush(self._queue, (due_s, miner_id))

    def _start_due(self) -> None:
        now_s = self._clock.monotonic_s()
        while self._queue and self._queue[0][0] <= now_s:
            if len(self._reading) >= self._pace.reads_max:
                return
            due_s, miner_id = heapq.heappop(self._queue)
            if self._due_s.get(miner_id) != due_s or miner_id in self._reading:
                continue
            del self._due_s[miner_id]
            task = asyncio.create_task(self._read(miner_id, due_s), name=f"read {miner_id}")
            self._reading[miner_id] = task

    async def _read(self, miner_id: str, due_s: float) -> None:
        begun_s, missed = self._clock.monotonic_s(), 0
        try:
            async with asyncio.timeout(_HUNG_S):
                reading = await self._drivers[miner_id].read()
            self._slots.put(reading)
            if self._heard is not None:
                self._heard(reading)
        except DeviceError as error:
            missed = self._slots.miss(miner_id, self._clock.monotonic_s(), str(error))
            if missed == 1:
                _log.info("miner_read_failed", miner=miner_id, error=str(error))
        except Exception as error:  # noqa: BLE001 - a driver's own fault must not end the polling of its miner
            missed = self._slots.miss(miner_id, self._clock.monotonic_s(), f"driver: {error!r}")
            _log.exception("miner_driver_failed", miner=miner_id)
        finally:
            self._reading.pop(miner_id, None)
        if self._ended is not None:
            self._ended(Polled(miner_id=miner_id, due_s=due_s, begun_s=begun_s, missed=missed))
        hastened = miner_id in self._hastened
        period_s = self._pace.order_period_s if hastened else self._pace.period_s
        period_s *= min(2.0 ** max(0, missed - (_AWAY_MAX if hastened else 1)), _BACKOFF_MAX)
        period_s *= 1.0 + _SPREAD * (self._rng.random() - 0.5)
        self._plan(miner_id, max(begun_s + period_s, self._clock.monotonic_s()))


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
