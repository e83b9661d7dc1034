"""Keeps every miner's Sleep prepared, and sends it in waves; what fails goes through the driver.

    prepared frame ──▶ wave ──▶ applied
          │ none, or its login did not hold
          ▼
    driver.apply(Sleep) ──▶ applied | failed, rests, is tried again

A miner whose frame was taken is read afterwards: accepted is not asleep. What a controller borrows
(`lend`) leaves by a wave only, and its outcome is the borrower's.
"""

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping
from itertools import islice

import structlog

from controller.channel.guard import Entry
from controller.guard.waves import SendWave, Waves
from drivers.contract.commands import (
    AlreadySo,
    Applied,
    Outcome,
    RefusalReason,
    Refused,
    Sleep,
    Unconfirmed,
)
from drivers.contract.devices import MinerDriver
from drivers.contract.errors import DeviceError
from drivers.contract.frames import FrameMaker, SleepFrame
from drivers.contract.readings import WorkMode
from drivers.transport.ports import Clock

_log = structlog.get_logger()

FRESH_S = 15.0
"""A frame is prepared anew when it has less than this to live."""
PREPARE_MAX = 64
"""Preparations under way at once."""
PREPARE_REST_S = 30.0
PREPARE_REST_S_MAX = 600.0
"""After a failed preparation a miner rests, twice as long each time: those that hang must not hold
the places of the others.
"""
RETRY_S = 10.0
CHECK_S = 30.0
"""When a miner is read after its frame was taken; every firmware is down by then but a stock
Antminer that restarts, which is read again.
"""
LENT_S = 5.0
"""How long after it was lent a command may still leave: far longer than ten thousand take. A guard
that stood still in the middle must not put to sleep whom the controller has woken since.
"""
_LOOK_S = 0.5
_STEP_S = 0.1

Told = Callable[[str, Outcome], None]


class Shedder:
    """The fleet as the guard commands it. `drivers` is replaced with every ladder."""

    def __init__(self, send: SendWave, clock: Clock) -> None:
        self._clock = clock
        self._waves = Waves(send, clock, self._answered)
        self._drivers: dict[str, MinerDriver] = {}
        self._wanted: tuple[str, ...] = ()
        self._frames: dict[str, SleepFrame] = {}
        self._preparing: set[str] = set()
        self._rest: dict[str, tuple[float, float]] = {}
        """After a failed preparation: until when it rests, and for how long that is."""
        self._under_way: dict[str, asyncio.Task[None] | None] = {}
        self._lent: dict[str, Told] = {}
        self._asleep: dict[str, float] = {}
        self._liars: set[str] = set()
        self._entries: dict[str, Entry] = {}
        self._failed: dict[str, float] = {}
        self._looks_first = False

    @property
    def gone(self) -> frozenset[str]:
        """Those whose command is under way or done."""
        return frozenset(self._under_way) | self._asleep.keys()

    @property
    def asleep(self) -> int:
        """How many this guard has put to sleep."""
        return len(self._asleep)

    def shed(self) -> tuple[Entry, ...]:
        """Those put to sleep, as they stood in the ladder that they were taken from."""
        return tuple(self._entries[name] for name in self._asleep)

    def sleeping(self) -> frozenset[str]:
        """Those put to sleep, without those that said so once and were found to hash, until a
        reading says that they sleep.
        """
        return frozenset(self._asleep) - self._liars

    @property
    def under_way(self) -> int:
        """Commands that have left and are not answered yet."""
        return len(self._under_way)

    @property
    def failed(self) -> int:
        """How many the last command did not put to sleep."""
        return len(self._failed)

    def ready(self) -> int:
        """How many commands lie prepared; an expired one does not count."""
        now_s = self._clock.monotonic_s()
        return sum(frame.valid_until_s > now_s for frame in self._frames.values())

    def resting(self) -> frozenset[str]:
        """Those that failed just now."""
        now_s = self._clock.monotonic_s()
        return frozenset(name for name, due_s in self._failed.items() if due_s > now_s)

    def take(self, drivers: Mapping[str, MinerDriver], awake: Iterable[str]) -> None:
        """The fleet of a new ladder; commands are prepared for those that draw."""
        before, self._drivers = self._drivers, dict(drivers)
        self._wanted = tuple(name for name in awake if name in drivers)
        kept = {name for name in self._wanted if before.get(name) is drivers[name]}
        # A miner that moved has a new driver, and its old frame would go to somebody else.
        self._frames = {name: frame for name, frame in self._frames.items() if name in kept}

    def look_first(self) -> None:
        """An earlier run of the guard has shed already: each miner is read before it is commanded,
        lest those asleep have their flash written once more.
        """
        self._looks_first = True

    def forget(self) -> None:
        """A latch was released: what was put to sleep is the controller's again."""
        self._asleep.clear()
        self._liars.clear()
        self._failed.clear()
        self._entries.clear()
        self._looks_first = False

    def give(self, entries: Iterable[Entry]) -> None:
        """Put these to sleep; returns at once."""
        now_s, frames = self._clock.monotonic_s(), []
        for entry in entries:
            name = entry.miner_id
            if name not in self._drivers or name in self._under_way:
                continue
            self._failed.pop(name, None)
            self._entries[name] = entry
            frame = self._frames.pop(name, None)
            if frame is not None and frame.valid_until_s > now_s and not self._looks_first:
                self._under_way[name] = None
                frames.append(frame)
            else:
                self._begin(name)
        if frames:
            self._waves.start(frames)

    def lend(
        self, entries: Mapping[str, Entry], changed_s: Mapping[str, float], told: Told
    ) -> tuple[str, ...]:
        """Send for a controller what lies prepared of these; returns the miners it leaves for.

        A configuration read before `changed_s` is not written back. `told` hears each outcome
        once, unless `keep` comes before it.
        """
        now_s, frames = self._clock.monotonic_s(), []
        for name in entries:
            frame = self._frames.get(name)
            gone = name in self._under_way or name in self._asleep
            if gone or frame is None or frame.valid_until_s <= now_s:
                continue
            if frame.read_s is not None and frame.read_s < changed_s.get(name, -math.inf):
                continue
            frames.append(frame)
        names = tuple([frame.miner_id for frame in frames])
        for name in names:
            del self._frames[name]
        self._rest |= dict.fromkeys(names, (now_s + PREPARE_REST_S, PREPARE_REST_S / 2))
        self._under_way |= dict.fromkeys(names)
        self._lent |= dict.fromkeys(names, told)
        self._entries |= {name: entries[name] for name in names}
        if frames:
            self._waves.start(frames, now_s + LENT_S)
        return names

    def keep(self, asleep: Iterable[str]) -> None:
        """What is lent and under way is ours from now on, and so are these that sleep already, as
        far as we know: they are read at once.
        """
        self._lent.clear()
        now_s = self._clock.monotonic_s()
        self._asleep |= {name: now_s for name in asleep if name in self._entries}

    async def run(self) -> None:
        """Prepare, and check those that were put to sleep, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_prepared())
            tasks.create_task(self._keep_checked())

    async def close(self) -> None:
        """Stop waiting for answers. What a miner has received it carries out all the same."""
        await self._waves.close()
        tasks = [task for task in self._under_way.values() if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _answered(self, name: str, outcome: Outcome) -> None:
        self._under_way.pop(name, None)
        told = self._lent.pop(name, None)
        if told is not None:
            told(name, outcome)
            return
        if isinstance(outcome, Refused) and outcome.reason is RefusalReason.UNAUTHORIZED:
            self._begin(name)  # the prepared login did not hold: the driver logs in anew
            return
        self._note(name, outcome)

    def _begin(self, name: str) -> None:
        self._under_way[name] = asyncio.create_task(self._carry(name), name=f"shed {name}")

    async def _carry(self, name: str) -> None:
        outcome: Outcome
        try:
            driver = self._drivers[name]
            if self._looks_first and await _sleeps(driver):
                outcome = AlreadySo()
            else:
                outcome = await driver.apply(Sleep())
        except Exception as error:  # noqa: BLE001 - a driver's own fault must not end the shedding of the others
            _log.exception("miner_driver_failed", miner=name)
            outcome = Unconfirmed(detail=f"driver: {error!r}")
        finally:
            self._under_way.pop(name, None)
        self._note(name, outcome)

    def _note(self, name: str, outcome: Outcome) -> None:
        now_s = self._clock.monotonic_s()
        if isinstance(outcome, Applied | AlreadySo):
            self._asleep[name] = now_s + CHECK_S
            self._failed.pop(name, None)
            return
        self._failed[name] = now_s + RETRY_S
        _log.warning("shed_failed", miner=name, detail=outcome.detail)

    async def _keep_checked(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            now_s = self._clock.monotonic_s()
            due = [name for name, due_s in self._asleep.items() if due_s <= now_s][:PREPARE_MAX]
            await asyncio.gather(*(self._check(name) for name in due))

    async def _check(self, name: str) -> None:
        now_s = self._clock.monotonic_s()
        self._asleep[name] = now_s + 2 * CHECK_S
        driver = self._drivers.get(name)
        if driver is None:
            return
        try:
            reading = await driver.read()
        except DeviceError:
            return
        except Exception:  # noqa: BLE001 - a driver's own fault concerns its miner alone
            _log.exception("miner_driver_failed", miner=name)
            return
        if reading.hashing is True and reading.mode is not WorkMode.SLEEP:
            self._asleep.pop(name, None)
            self._liars.add(name)
            self._failed[name] = self._clock.monotonic_s()
            _log.warning("shed_miner_hashes", miner=name)
        elif reading.hashing is False:
            self._liars.discard(name)

    async def _keep_prepared(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                now_s = self._clock.monotonic_s()
                # What prepares takes turns with what sends, and nobody waits for a preparation.
                room = 0 if self._waves.sending else PREPARE_MAX - len(self._preparing)
                due = (name for name in self._wanted if self._is_due(name, now_s))
                begun = list(islice(due, room))
                for name in begun:
                    self._preparing.add(name)
                    tasks.create_task(self._prepare(name), name=f"prepare {name}")
                await asyncio.sleep(_STEP_S if begun else _LOOK_S)

    def _is_due(self, name: str, now_s: float) -> bool:
        frame = self._frames.get(name)
        if name in self._under_way or name in self._asleep or name in self._preparing:
            return False
        if frame is not None and frame.valid_until_s - FRESH_S > now_s:
            return False
        return self._rest.get(name, (0.0, 0.0))[0] <= now_s

    async def _prepare(self, name: str) -> None:
        driver: object = self._drivers.get(name)
        frame = None
        try:
            if isinstance(driver, FrameMaker):
                frame = await driver.prepare()
        except DeviceError as error:
            _log.info("not_prepared", miner=name, error=str(error))
        except Exception:  # noqa: BLE001 - a driver's own fault concerns its miner alone
            _log.exception("miner_driver_failed", miner=name)
        finally:
            self._preparing.discard(name)
        if isinstance(frame, SleepFrame) and self._drivers.get(name) is driver:
            self._frames[name] = frame
            self._rest.pop(name, None)
            return
        self._frames.pop(name, None)
        _, rest_s = self._rest.get(name, (0.0, PREPARE_REST_S / 2))
        asleep = isinstance(frame, AlreadySo)  # it may be woken at any time
        rest_s = PREPARE_REST_S if asleep else min(2 * rest_s, PREPARE_REST_S_MAX)
        self._rest[name] = self._clock.monotonic_s() + rest_s, rest_s


async def _sleeps(driver: MinerDriver) -> bool:
    """Whether a miner says that it sleeps, and does."""
    try:
        reading = await driver.read()
    except Exception as error:  # noqa: BLE001 - whatever keeps it from telling, it is commanded
        _log.info("not_read", error=repr(error))
        return False
    return reading.hashing is False and reading.mode is WorkMode.SLEEP
