"""Two clocks that may disagree: ours, and the dispatcher's as its signed heartbeats show it.

A heartbeat tells the sender's time at most a transit later, so of several the largest difference is
the nearest to the truth. Differences are kept against CLOCK_MONOTONIC: a step of our own wall clock
shows at once and poisons nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self

from controller.dispatch.acceptance.verdicts import Alarm, Reason, Window

FRESH_S = 30.0
"""An order older than this, or further in the future, is not fresh (energy.md §5.2)."""
RAISE_OFFSET_MAX_S = 2.0
"""Largest disagreement of the clocks at which a dated raise is believed (energy.md §5.2)."""
SAMPLES_MAX = 12
SAMPLE_AGE_MAX_S = 120.0
ISSUERS_MAX = 32


@dataclass(frozen=True, slots=True)
class ClockView:
    """`offsets_s`: issuer's clock minus ours, by issuer; an issuer not heard lately is absent.

    `synced`: whether our own clock is disciplined; None when that cannot be told. False refuses
    dated raises.
    """

    offsets_s: Mapping[str, float] = field(default_factory=dict)
    synced: bool | None = None


@dataclass(frozen=True, slots=True)
class HeartbeatClock:
    """Estimates the offsets. Samples: (heard_s, sender's UNIX time minus monotonic), by issuer."""

    samples: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)

    def observe(self, issuer: str, at: datetime, heard_s: float) -> Self:
        """Return the estimate that also knows an accepted heartbeat, stamped `at`, heard now."""
        live = {name: _live(kept, heard_s) for name, kept in self.samples.items()}
        live = {name: kept for name, kept in live.items() if kept or name == issuer}
        if issuer not in live and len(live) >= ISSUERS_MAX:
            return self
        sample = (heard_s, at.timestamp() - heard_s)
        return type(self)({**live, issuer: (*live.get(issuer, ()), sample)[-SAMPLES_MAX:]})

    def view(self, now: datetime, now_s: float, *, synced: bool | None) -> ClockView:
        """Offsets as of now; `now` and `now_s` are one instant on our two clocks."""
        ours_s = now.timestamp() - now_s
        return ClockView(
            {
                name: max(difference_s for _, difference_s in kept) - ours_s
                for name, samples in self.samples.items()
                if (kept := _live(samples, now_s))
            },
            synced,
        )


@dataclass(frozen=True, slots=True)
class Dated:
    """What the time rules look at: a message's stamps, and what acting on it would do.

    `event`: an order, which must be fresh; a setpoint is state and may have waited at the broker.
    """

    issued_at: datetime
    valid_from: datetime
    valid_until: datetime
    event: bool
    raises: bool


@dataclass(frozen=True, slots=True)
class Timing:
    """When to act on it, and the alarm to raise."""

    window: Window
    alarm: Alarm | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Untimely:
    """Why not to act on it."""

    reason: Reason
    detail: str


def judge_time(
    dated: Dated, now: datetime, now_s: float, offset_s: float | None, *, synced: bool | None
) -> Timing | Untimely:
    """Apply the time rules. `offset_s` is the issuer's clock minus ours, None when unknown.

    Expired in both clocks is EXPIRED. What raises load must be right in every respect. What lowers
    it is applied whatever the clocks say; when they disagree its window is counted from receipt.
    """
    expired = dated.valid_until <= now
    duration = dated.valid_until - max(dated.issued_at, dated.valid_from)
    expired_there = offset_s is None or dated.valid_until <= now + timedelta(seconds=offset_s)
    if (expired and expired_there) or duration <= timedelta(0):
        detail = f"valid until {_stamp(dated.valid_until)}, now {_stamp(now)}"
        return Untimely(Reason.EXPIRED, detail)
    age_s = (now - dated.issued_at).total_seconds()
    facts = _Facts(
        age_s=age_s,
        expired=expired,
        off=age_s < -FRESH_S or (dated.event and age_s > FRESH_S),
        agrees=offset_s is not None and abs(offset_s) <= RAISE_OFFSET_MAX_S,
        offset_s=offset_s,
    )
    as_dated = _window(dated.valid_from, dated.valid_until, now, now_s)
    if dated.raises:
        return _judge_raise(facts, synced=synced) or Timing(as_dated)
    alarm = _lowering_alarm(facts, event=dated.event)
    if alarm is None:
        return Timing(as_dated)
    if alarm is Alarm.DELIVERED_LATE:
        return Timing(as_dated, alarm, facts.said)
    return Timing(_rebased(dated, duration, now, now_s, offset_s), alarm, facts.said)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """`off`: the stamp of issue does not fit our clock. `agrees`: heartbeats show equal clocks."""

    age_s: float
    expired: bool
    off: bool
    agrees: bool
    offset_s: float | None

    @property
    def said(self) -> str:
        age_s, offset_s = self.age_s, self.offset_s
        when = f"{age_s:.1f} s ago" if age_s >= 0 else f"{-age_s:.1f} s in the future"
        there = "is unknown (no heartbeat)" if offset_s is None else f"differs by {offset_s:+.1f} s"
        return f"issued {when} by this site's clock; the issuer's clock {there}"


def _judge_raise(facts: _Facts, *, synced: bool | None) -> Untimely | None:
    if synced is False:
        return Untimely(Reason.CLOCK_DISAGREES, "this site's clock is not synchronised")
    if facts.off and facts.agrees:
        return Untimely(Reason.NOT_FRESH, f"{facts.said}; {FRESH_S:.0f} s are allowed")
    apart = facts.offset_s is not None and not facts.agrees
    if facts.off or facts.expired or apart:
        return Untimely(Reason.CLOCK_DISAGREES, f"{facts.said}; set the clocks and order again")
    return None


def _lowering_alarm(facts: _Facts, *, event: bool) -> Alarm | None:
    if facts.off and facts.agrees and not facts.expired and facts.age_s > 0:
        return Alarm.DELIVERED_LATE
    apart = facts.offset_s is not None and abs(facts.offset_s) > FRESH_S
    state_apart = not event and apart and abs(facts.age_s) > FRESH_S
    return Alarm.CLOCK_DISAGREES if facts.off or facts.expired or state_apart else None


def _rebased(
    dated: Dated, duration: timedelta, now: datetime, now_s: float, offset_s: float | None
) -> Window:
    """Window in our clock: an order's counted from receipt, a setpoint's moved by the offset.

    A setpoint may have waited at the broker, so counting it from receipt would lengthen it.
    """
    if not dated.event and offset_s is not None:
        shift = timedelta(seconds=offset_s)
        return _window(dated.valid_from - shift, dated.valid_until - shift, now, now_s)
    begin = now + max(timedelta(0), dated.valid_from - dated.issued_at)
    return _window(begin, begin + duration, now, now_s)


def heartbeat_delay_s(at: datetime, now: datetime, offset_s: float) -> float:
    """How much later than its fastest predecessors a heartbeat came."""
    return offset_s - (at - now).total_seconds()


def _live(
    samples: tuple[tuple[float, float], ...], now_s: float
) -> tuple[tuple[float, float], ...]:
    return tuple(sample for sample in samples if now_s - sample[0] <= SAMPLE_AGE_MAX_S)


def _window(begin: datetime, end: datetime, now: datetime, now_s: float) -> Window:
    from_s = now_s + (begin - now).total_seconds()
    return Window(begin, end, from_s, now_s + (end - now).total_seconds())


def _stamp(instant: datetime) -> str:
    return instant.isoformat(timespec="seconds").replace("+00:00", "Z")
