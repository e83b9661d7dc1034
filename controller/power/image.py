"""The process image: every value of one tick, frozen before anything is decided."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from controller.power.instructions import Instruction
from drivers.contract.commands import Outcome
from drivers.contract.quantities import Quality
from drivers.contract.readings import MinerReading, WorkMode


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterView:
    """One meter at this tick. `power_w` is None unless quality is GOOD; `taken_s` is when it was
    read.
    """

    quality: Quality
    power_w: float | None = None
    frequency_hz: float | None = None
    taken_s: float | None = None
    fault: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What came of one command since the last tick."""

    miner_id: str
    commanded_s: float
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardShed:
    """A miner that the guard put to sleep: what it drew before, and what it is given back."""

    baseline_w: float
    mode: WorkMode | None
    raw_mode: str | None
    power_limit_w: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """All that is known now. `miners` holds each miner's last reading, however old; unread ones
    are absent.

    `unreachable`: miners whose last poll failed → since when (monotonic seconds). `clock_synced`:
    what the kernel says of the wall clock; None when it cannot say. `guard_limit_w`: what a
    tripped watchdog lets stand; None while none has tripped. `guarded`: a second process answers
    that would put the miners to sleep if this one fell silent. `guard_shed`: miners that it did
    put to sleep; they become ours.
    """

    now: datetime
    now_s: float
    meters: Mapping[str, MeterView]
    miners: Mapping[str, MinerReading]
    unreachable: Mapping[str, float] = field(default_factory=dict)
    answered: tuple[Answered, ...] = ()
    instructions: tuple[Instruction, ...] = ()
    clock_synced: bool | None = None
    ticks_skipped: int = 0
    journal_failed: bool = False
    guard_limit_w: float | None = None
    guarded: bool = False
    guard_shed: Mapping[str, GuardShed] = field(default_factory=dict)
