"""Which writes take a LuxOS miner from what is set to what is wanted. Pure.

A miner runs at one profile (ATM off), or ATM moves it by temperature between profiles under a
ceiling (ATM on). As a mode these are spelt `default` and `atm:default`.

    Sleep       curtail sleep
    Wake        [profile, as below, before it draws power]  curtail wakeup
    LimitPower  [atmset enabled=false]  profileset NAME  [atmset enabled=true,max_profile=NAME]
"""

from collections.abc import Sequence

from drivers.contract.commands import Command, LimitPower, Sleep, Wake
from drivers.contract.readings import WorkMode
from drivers.miners.luxos.codec import Profile, Settings

Write = tuple[str, ...]
"""A command and its parameters after the session's id."""

SLEEP: Write = ("curtail", "sleep")
WAKE: Write = ("curtail", "wakeup")
ATM_OFF: Write = ("atmset", "enabled=false")
ATM_ON: Write = ("atmset", "enabled=true")

_ATM = "atm:"
_NO_PROFILES = "it lists no profile"


class PlanError(ValueError):
    """The miner cannot do what is asked; the text says why, for people."""


def plan(settings: Settings, profiles: Sequence[Profile], command: Command) -> tuple[Write, ...]:
    """Return the writes, in order; none when all is so already. Raises PlanError."""
    match command:
        case Sleep():
            return () if settings.is_asleep else (SLEEP,)
        case Wake():
            # Before it wakes, so that it does not pass the limit on its way up.
            before = _to_restore(settings, profiles, command)
            return before if settings.is_asleep is False else (*before, WAKE)
        case LimitPower(power_w=power_w):
            profile = _strongest(profiles, power_w)
            return _to_set(settings, profiles, profile, is_atm=settings.is_atm_on is True)


def raw_mode(settings: Settings, profiles: Sequence[Profile]) -> str | None:
    """Return what is set as one text that `Wake` restores; None where it is not known."""
    if settings.is_atm_on:
        ceiling = _ceiling(settings, profiles)
        return None if ceiling is None else f"{_ATM}{ceiling.name}"
    return settings.profile


def power_limit_w(settings: Settings, profiles: Sequence[Profile]) -> float | None:
    """Return what the firmware holds: its power target, or the watts of the profile or ceiling."""
    if settings.power_target_w is not None:
        return settings.power_target_w
    at_profile = _named(profiles, settings.profile)
    top = _ceiling(settings, profiles) if settings.is_atm_on else at_profile
    return None if top is None else top.power_w


def atm_on_again(writes: Sequence[Write]) -> Write:
    """Return the write that switches ATM on again, under the plan's own ceiling if it has one."""
    return next((write for write in writes if write[:2] == ATM_ON), ATM_ON)


def _to_restore(settings: Settings, profiles: Sequence[Profile], wake: Wake) -> tuple[Write, ...]:
    if wake.raw_mode is None and wake.mode not in {None, WorkMode.NORMAL}:
        raise PlanError(f"LuxOS has profiles and no mode {wake.mode}; ask for one by its name")
    limit_w, present_w = wake.power_limit_w, power_limit_w(settings, profiles)
    if wake.raw_mode is None:
        if limit_w is None or limit_w == present_w:
            return ()
        profile = _strongest(profiles, limit_w)
        return _to_set(settings, profiles, profile, is_atm=settings.is_atm_on is True)
    if wake.raw_mode == raw_mode(settings, profiles) and (
        limit_w is None or present_w is None or present_w <= limit_w
    ):
        return ()
    named = _named(profiles, wake.raw_mode.removeprefix(_ATM))
    if named is None:
        shown = wake.raw_mode[:80]
        raise PlanError(f"mode {shown!r} names none of its profiles: {_list(profiles)}")
    if limit_w is not None and named.power_w > limit_w:
        named = _strongest(profiles, limit_w)
    return _to_set(settings, profiles, named, is_atm=wake.raw_mode.startswith(_ATM))


def _to_set(
    settings: Settings, profiles: Sequence[Profile], profile: Profile, *, is_atm: bool
) -> tuple[Write, ...]:
    """A profile is refused while ATM is on, and ATM must not climb above it afterwards."""
    if is_atm:
        floor = _bound(profiles, settings.floor)
        if floor is not None and floor.power_w > profile.power_w:
            raise PlanError(
                f"ATM does not go below profile {floor.name} ({floor.power_w:g} W); lower its "
                "min_profile on the miner"
            )
    if settings.is_atm_on and is_atm:
        now = _named(profiles, settings.profile)
        is_under = now is not None and now.power_w <= profile.power_w
        if is_under and _ceiling(settings, profiles) == profile:
            return ()
    elif not settings.is_atm_on and not is_atm and settings.profile == profile.name:
        return ()
    before = (ATM_OFF,) if settings.is_atm_on else ()
    after = ((*ATM_ON, f"max_profile={profile.name}"),) if is_atm else ()
    return (*before, ("profileset", profile.name), *after)


def _strongest(profiles: Sequence[Profile], power_w: float) -> Profile:
    """Return the strongest profile at or under `power_w` that does not overclock."""
    offered = [p for p in profiles if p.step is not None and p.step <= 0]
    fitting = [p for p in offered if p.power_w <= power_w]
    if not fitting:
        least_w = min((p.power_w for p in offered), default=None)
        why = _NO_PROFILES if least_w is None else f"its weakest profile draws {least_w:g} W"
        raise PlanError(f"cannot hold {power_w:g} W: {why}; use Sleep")
    return max(fitting, key=lambda profile: profile.power_w)


def _ceiling(settings: Settings, profiles: Sequence[Profile]) -> Profile | None:
    """Return the profile up to which ATM may climb: without a bound the strongest of all."""
    if settings.ceiling == "":
        return max(profiles, key=lambda profile: profile.power_w, default=None)
    return _bound(profiles, settings.ceiling)


def _bound(profiles: Sequence[Profile], bound: str | None) -> Profile | None:
    """Return the profile that a bound names by its name or by its step, e.g. "-2"."""
    by_name = _named(profiles, bound)
    try:
        step = int(bound or "")
    except ValueError:
        return by_name
    return by_name or next((p for p in profiles if p.step == step), None)


def _named(profiles: Sequence[Profile], name: str | None) -> Profile | None:
    return next((profile for profile in profiles if profile.name == name), None)


def _list(profiles: Sequence[Profile]) -> str:
    return ", ".join(profile.name for profile in profiles[:40]) or _NO_PROFILES
