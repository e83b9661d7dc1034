"""Whether the controller is there, and what load may stand when it is not. Pure.

heard ◀──────────── beats of one epoch
  │ silent for longer than hold_s, and no signed hold in force
  ▼
LATCHED: the limit falls along the fail-safe curve and never rises
  │ a person releases it, while the controller is heard again
  ▼
heard
"""

from dataclasses import dataclass, replace
from datetime import datetime

from controller.power.caps import failsafe_w
from controller.power.site import FailsafeCurve


@dataclass(frozen=True, slots=True, kw_only=True)
class Latch:
    """A trip. `silent_from_s` (CLOCK_MONOTONIC) is None when it happened in an earlier run of the
    guard: its age is then unknown, and the curve counts as walked to its end. `fell`: the beats for
    the relay have stopped, so that its contactor falls; they stay so until a release.
    """

    tripped_at: datetime
    start_w: float
    silent_from_s: float | None
    fell: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What the guard knows of its controller. `heard_s`: the last beat, or the guard's own start:
    a controller that never came is as silent as one that died. `held_until_s`: the end of the
    newest signed hold, past or to come.
    """

    heard_s: float
    epoch: str | None = None
    latch: Latch | None = None
    held_until_s: float | None = None


REPLACED_S = 3.0
"""A controller that has missed three beats has ended: another may take its place, long before the
silence counts as one.
"""


def heard(watch: Watch, epoch: str, now_s: float) -> Watch | str:
    """Take a beat. Returns a sentence instead while another controller is in charge."""
    if watch.epoch not in {None, epoch} and now_s - watch.heard_s <= REPLACED_S:
        return (
            "another controller is in charge of this guard; two of them on one site would undo "
            "each other's work: end one"
        )
    return replace(watch, heard_s=now_s, epoch=epoch)


def looked(watch: Watch, now_s: float, now: datetime, load_w: float, curve: FailsafeCurve) -> Watch:
    """Trip when the silence has lasted too long; `load_w` is what stands at that moment."""
    silent_from_s = _silent_from_s(watch, curve)
    if watch.latch is not None or now_s - silent_from_s <= curve.hold_s:
        return watch
    return replace(watch, latch=Latch(tripped_at=now, start_w=load_w, silent_from_s=silent_from_s))


def _silent_from_s(watch: Watch, curve: FailsafeCurve) -> float:
    """From when silence counts: so that one that outlasts a hold trips at the hold's end, and the
    curve is walked from there.
    """
    if watch.held_until_s is None:
        return watch.heard_s
    return max(watch.heard_s, watch.held_until_s - curve.hold_s)


def limit_w(watch: Watch, now_s: float, curve: FailsafeCurve) -> float | None:
    """The load that may stand, in W; None while nothing is latched."""
    if watch.latch is None:
        return None
    start_w = watch.latch.start_w
    if watch.latch.silent_from_s is None:
        return min(start_w, curve.value_w)
    return failsafe_w(start_w, now_s - watch.latch.silent_from_s, curve)


def walked(watch: Watch, now_s: float, curve: FailsafeCurve) -> bool:
    """Whether a latch stands and its curve has come to its end."""
    if watch.latch is None:
        return False
    silent_from_s = watch.latch.silent_from_s
    return silent_from_s is None or now_s - silent_from_s >= curve.hold_s + curve.decay_s


def released(watch: Watch, now_s: float, curve: FailsafeCurve) -> Watch | str:
    """End the latch. Returns a sentence instead when that may not be."""
    if watch.latch is None:
        return "nothing is latched"
    if watch.epoch is None or now_s - watch.heard_s > curve.hold_s:
        return "the controller is still silent; start `naryn run` first"
    return replace(watch, latch=None)
