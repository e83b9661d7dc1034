"""Life of one curtailed miner: what was asked, what its readings show, what it draws meanwhile.

    RUNNING ──sleep──► CURTAILING ──asleep──► CURTAILED ──wake──► RESTORING ──full──► (RUNNING)
                           │  ▲                  │ draws again        │
                    too late  └──── sleep ────┐  ▼                    too late
                           └────────────────► DEAF                    └──► STUCK ──awake──►
                           (RUNNING)

A command accepted is not a state reached: only a reading begun after the command moves a miner on.
"""

from dataclasses import replace

from controller.power.site import Miner, Policy
from controller.power.state import Target, TargetState
from drivers.contract.commands import Command, Outcome, Refused, Sleep, Wake
from drivers.contract.commands import RefusalReason as Reason
from drivers.contract.readings import MinerReading, WorkMode

_ASLEEP_SHARE = 0.5
"""Below this share of its baseline a miner counts as asleep (energy.md §3.6; Proto Fleet, Foreman
alike).
"""
_FULL_SHARE = 0.95
_CLAIM_MAX = 1.5
"""Nothing draws more than this share of its nameplate: more is a miner talking nonsense, and must
not push others off.
"""
_STARTING_SHARE = 0.5
"""Seen below this share of its nameplate a miner is on its way up: it will come back to its
nameplate.
"""
_RESERVED_ATTEMPTS = 3
"""So often a miner that was told to wake and did not keeps its room: it may only be slow."""
_SOON_S = 10.0
"""Retry after a refusal that passes by itself (busy, unreachable)."""


def reported_w(miner: Miner, reading: MinerReading | None) -> float:
    """What a miner draws by its own word, in W: reported, else estimated from hashrate, else its
    nameplate.

    A miner never read counts at its nameplate, never at 0.
    """
    if reading is None:
        return miner.rated_power_w
    if reading.power_w is not None and reading.power_w >= 0:
        return min(reading.power_w, _CLAIM_MAX * miner.rated_power_w)
    if reading.hashing is False:
        return miner.sleep_power_w
    if reading.hashrate_ths is not None and reading.hashrate_ths > 0:
        return min(
            reading.hashrate_ths * miner.rated_power_w / miner.rated_hashrate_ths,
            1.25 * miner.rated_power_w,
        )
    return miner.rated_power_w


def is_asleep(reading: MinerReading, baseline_w: float) -> bool:
    """Two signals where there are two: no hashing, and less than half of the power it drew
    before.
    """
    if reading.power_w is None:
        return reading.hashing is False
    return reading.power_w < _ASLEEP_SHARE * baseline_w and reading.hashing is not True


def shows_awake(reading: MinerReading, baseline_w: float) -> bool:
    """One sign is enough. A reading that says neither proves nothing: a missing value wakes
    nobody.
    """
    if reading.hashing is True:
        return True
    return reading.power_w is not None and reading.power_w >= _ASLEEP_SHARE * baseline_w


def draw_w(
    miner: Miner, target: Target | None, now_s: float, reading: MinerReading | None
) -> float:
    """What a miner draws now: the movement in flight by its firmware's dead time and ramp."""
    if target is None:
        return reported_w(miner, reading)
    match target.state:
        case TargetState.CURTAILING | TargetState.CURTAILED:
            to_w, dead_s = miner.sleep_power_w, miner.dynamics.down_dead_s
            ramp_s = miner.dynamics.down_ramp_s
        case TargetState.RESTORING:
            to_w, dead_s = target.baseline_w, miner.dynamics.up_dead_s
            ramp_s = miner.dynamics.up_ramp_s
        case TargetState.DEAF | TargetState.STUCK:
            return _last_known_w(miner, target, reading)
        case TargetState.RUNNING:
            return reported_w(miner, reading)
    gone_s = now_s - target.commanded_s - dead_s
    if gone_s <= 0:
        model_w = target.from_w
    elif gone_s >= ramp_s:
        model_w = to_w
    else:
        model_w = target.from_w + (to_w - target.from_w) * gone_s / ramp_s
    if target.state is TargetState.RESTORING and _begun_since(target, reading):
        return max(model_w, reported_w(miner, reading))  # quicker than its firmware's figures
    return model_w


def settled_w(miner: Miner, target: Target | None, reading: MinerReading | None) -> float:
    """What a miner will draw once its command, if any, has had its time."""
    if target is None:
        return reported_w(miner, reading)
    match target.state:
        case TargetState.CURTAILING | TargetState.CURTAILED:
            return miner.sleep_power_w
        case TargetState.RESTORING:
            return target.baseline_w
        case TargetState.STUCK if target.attempts <= _RESERVED_ATTEMPTS:
            return target.baseline_w
        case TargetState.DEAF | TargetState.STUCK:
            return _last_known_w(miner, target, reading)
        case TargetState.RUNNING:
            return reported_w(miner, reading)


def _last_known_w(miner: Miner, target: Target, reading: MinerReading | None) -> float:
    return reported_w(miner, reading) if _begun_since(target, reading) else target.baseline_w


def _begun_since(target: Target, reading: MinerReading | None) -> bool:
    return reading is not None and reading.begun_s > target.commanded_s


def begin_sleep(
    miner: Miner, target: Target | None, reading: MinerReading | None, now_s: float, why: str
) -> Target:
    """The record that is journaled before a Sleep leaves."""
    if target is None or target.state is TargetState.RUNNING:
        from_w = reported_w(miner, reading)
        starting = from_w < _STARTING_SHARE * miner.rated_power_w
        mode, raw_mode = mode_to_restore(target, reading)
        return Target(
            state=TargetState.CURTAILING,
            since_s=now_s,
            commanded_s=now_s,
            baseline_w=miner.rated_power_w if starting else from_w,
            from_w=from_w,
            mode=mode,
            raw_mode=raw_mode,
            power_limit_w=reading.power_limit_w if reading is not None else None,
            attempts=1,
            why=why,
            persistent_writes=target.persistent_writes if target is not None else 0,
        )
    return replace(
        target,
        state=TargetState.CURTAILING,
        since_s=now_s,
        from_w=draw_w(miner, target, now_s, reading),
        commanded_s=now_s,
        attempts=target.attempts + 1 if target.state is TargetState.DEAF else 1,
        why=why,
    )


def mode_to_restore(
    target: Target | None, reading: MinerReading | None
) -> tuple[WorkMode | None, str | None]:
    """The mode it runs in. A miner may be set to sleep and hash on: woken into that it would never
    come back.
    """
    if reading is not None and reading.mode is not WorkMode.SLEEP:
        return reading.mode, reading.raw_mode
    return (target.mode, target.raw_mode) if target is not None else (None, None)


def begin_wake(
    miner: Miner, target: Target, reading: MinerReading | None, now_s: float, why: str
) -> Target:
    """The record that is journaled before a Wake leaves."""
    return replace(
        target,
        state=TargetState.RESTORING,
        from_w=draw_w(miner, target, now_s, reading),
        since_s=now_s,
        commanded_s=now_s,
        attempts=target.attempts + 1 if target.state is TargetState.STUCK else 1,
        why=why,
    )


def command_for(target: Target) -> Command | None:
    """The command that a record in flight stands for; a restart sends it again."""
    match target.state:
        case TargetState.CURTAILING:
            return Sleep()
        case TargetState.RESTORING:
            return Wake(
                mode=target.mode,
                raw_mode=target.raw_mode,
                power_limit_w=target.power_limit_w,
            )
        case _:
            return None


def answered(target: Target, outcome: Outcome, now_s: float, policy: Policy) -> Target:
    """Take in what a driver said. Only a refusal moves a miner; a success is believed from
    readings alone.
    """
    if isinstance(outcome, Refused) and target.state in {
        TargetState.CURTAILING,
        TargetState.RESTORING,
    }:
        soon = outcome.reason in {Reason.UNREACHABLE, Reason.BUSY}
        return _missed(
            target,
            now_s,
            f"{outcome.reason}: {outcome.detail}",
            retry_s=_SOON_S if soon else _backoff_s(target, policy),
        )
    writes = getattr(outcome, "persistent_writes", 0)
    return (
        replace(target, persistent_writes=target.persistent_writes + writes) if writes else target
    )


def observe(
    miner: Miner, target: Target, reading: MinerReading | None, now_s: float, policy: Policy
) -> Target:
    """Move a miner on by its newest reading and the time that has passed. Returns `target` itself
    if nothing did.
    """
    fresh = reading is not None and reading.begun_s > target.commanded_s
    match target.state:
        case TargetState.CURTAILING:
            if fresh and reading is not None and is_asleep(reading, target.baseline_w):
                return replace(target, state=TargetState.CURTAILED, since_s=now_s, attempts=0)
            if now_s > target.commanded_s + miner.dynamics.down_s + policy.confirm_s:
                said = "still draws" if fresh else "does not answer"
                return _missed(target, now_s, said, retry_s=_backoff_s(target, policy))
        case TargetState.CURTAILED:
            newer = reading is not None and reading.begun_s > target.since_s
            if newer and reading is not None and shows_awake(reading, target.baseline_w):
                return _missed(target, now_s, "draws again", retry_s=0.0)
        case TargetState.DEAF:
            if fresh and reading is not None and is_asleep(reading, target.baseline_w):
                return replace(target, state=TargetState.CURTAILED, since_s=now_s, attempts=0)
        case TargetState.RESTORING:
            return _observe_restoring(miner, target, reading if fresh else None, now_s, policy)
        case TargetState.STUCK:
            if fresh and reading is not None and shows_awake(reading, target.baseline_w):
                return replace(target, state=TargetState.RUNNING, since_s=now_s, attempts=0, why="")
        case TargetState.RUNNING:
            pass
    return target


def _observe_restoring(
    miner: Miner, target: Target, reading: MinerReading | None, now_s: float, policy: Policy
) -> Target:
    awake = reading is not None and shows_awake(reading, target.baseline_w)
    full = awake and reported_w(miner, reading) >= _FULL_SHARE * target.baseline_w
    due = now_s > target.commanded_s + 2.0 * miner.dynamics.up_s  # a slow one keeps its room
    if full or (awake and due):
        return replace(target, state=TargetState.RUNNING, since_s=now_s, attempts=0, why="")
    if not awake and now_s > target.commanded_s + miner.dynamics.up_s + policy.confirm_s:
        said = "still sleeps" if reading is not None else "does not answer"
        return _missed(target, now_s, said, retry_s=_backoff_s(target, policy))
    return target


def _missed(target: Target, now_s: float, why: str, *, retry_s: float) -> Target:
    down = target.state in {TargetState.CURTAILING, TargetState.CURTAILED, TargetState.DEAF}
    return replace(
        target,
        state=TargetState.DEAF if down else TargetState.STUCK,
        since_s=now_s,
        retry_s=now_s + retry_s,
        why=why,
    )


def _backoff_s(target: Target, policy: Policy) -> float:
    return min(policy.retry_s * 2.0 ** max(0, target.attempts - 1), policy.retry_max_s)
