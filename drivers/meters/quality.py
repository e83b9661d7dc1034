"""How far a meter's values may be trusted, from its successive readings. Pure.

    words    a a a b b b b b b b b b b b b b    b: identical since ┐
    load     ──────────above load_w─────────              frozen_after_s later: BAD
    age      begun ───────────────────▶ now               stale_after_s later: STALE

A meter whose measuring part has stopped republishes its last words with fresh times, so age alone
never shows it. At no load the words of an honest meter may stand still; they count only above
`load_w`. A meter that froze while the load was off shows no load for ever: give `expected_w`, what
the load should draw by what else is known, and it is found as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from drivers.contract.quantities import Quality, Signal
from drivers.contract.readings import MeterReading


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenRule:
    """What makes a value stale, and identical words an old value.

    `frozen_after_s` None: identical words prove nothing (a map without the rule). The load is the
    largest magnitude among `load_signals` that the meter gives; a meter that gives none of them is
    judged by `expected_w` alone.
    """

    stale_after_s: float
    frozen_after_s: float | None
    load_w: float
    load_signals: tuple[Signal, ...] = (Signal.POWER_W,)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterTrack:
    """What is known of one meter now. Make the next one with `judge`.

    `reading` is the newest, None until there was one. `same_since_s` is when its words were first
    seen. `age_s` is counted from the beginning of that read, None without one.
    """

    reading: MeterReading | None = None
    same_since_s: float | None = None
    age_s: float | None = None
    frozen: bool = False
    qualities: Mapping[Signal, Quality] = field(default_factory=dict)

    def quality(self, signal: Signal) -> Quality:
        """GOOD, STALE or BAD; BAD for a signal that was never received."""
        return self.qualities.get(signal, Quality.BAD)

    def value(self, signal: Signal) -> float | None:
        """The newest value, GOOD or STALE; None where the quality is BAD."""
        if self.reading is None or self.quality(signal) is Quality.BAD:
            return None
        return self.reading.values.get(signal)


NOTHING_YET = MeterTrack()


def judge(
    previous: MeterTrack | None,
    reading: MeterReading | None,
    now_s: float,
    rule: FrozenRule,
    *,
    expected_w: float | None = None,
) -> MeterTrack:
    """The meter's track at `now_s`.

    `reading` None: none has come since (or the read failed). A reading that is not newer than the
    one on the track is not counted again. Call it each tick, or ages stand still.
    """
    track = previous or NOTHING_YET
    newest, same_since_s = track.reading, track.same_since_s
    if reading is not None and (newest is None or reading.begun_s > newest.begun_s):
        if newest is None or same_since_s is None or reading.raw != newest.raw:
            same_since_s = reading.taken_s
        newest = reading
    if newest is None or same_since_s is None:
        return NOTHING_YET
    age_s = max(0.0, now_s - newest.begun_s)
    frozen = (
        rule.frozen_after_s is not None
        and newest.taken_s - same_since_s > rule.frozen_after_s
        and _load_w(newest, rule, expected_w) > rule.load_w
    )
    fresh = Quality.STALE if age_s > rule.stale_after_s else Quality.GOOD
    return MeterTrack(
        reading=newest,
        same_since_s=same_since_s,
        age_s=age_s,
        frozen=frozen,
        qualities={
            signal: Quality.BAD if frozen or value is None else fresh
            for signal, value in newest.values.items()
        },
    )


def _load_w(reading: MeterReading, rule: FrozenRule, expected_w: float | None) -> float:
    known = [reading.values.get(signal) for signal in rule.load_signals]
    return max(abs(value) for value in (*known, expected_w, 0.0) if value is not None)
