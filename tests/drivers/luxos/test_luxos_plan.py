"""LuxOS: which writes a command takes."""

from typing import Any

import pytest
from msgspec.structs import replace

from drivers.contract.commands import Command, LimitPower, Sleep, Wake
from drivers.contract.readings import WorkMode
from drivers.miners.luxos import plan
from drivers.miners.luxos.codec import Settings
from tests.drivers.luxos.luxos_stage import PROFILES

PLAIN = Settings(is_asleep=False, profile="default", is_atm_on=False, ceiling="default", floor="")
ATM = replace(PLAIN, is_atm_on=True)
ASLEEP = replace(PLAIN, is_asleep=True)
TARGET = replace(PLAIN, power_target_w=2700.0)


def put(name: str) -> tuple[str, str]:
    return ("profileset", name)


def atm_up_to(name: str) -> tuple[str, str, str]:
    return ("atmset", "enabled=true", f"max_profile={name}")


OFF = ("atmset", "enabled=false")
SLEEP, WAKE = ("curtail", "sleep"), ("curtail", "wakeup")

PLANS: list[tuple[Settings, Command, tuple[Any, ...]]] = [
    (PLAIN, Sleep(), (SLEEP,)),
    (ASLEEP, Sleep(), ()),
    (replace(PLAIN, is_asleep=None), Sleep(), (SLEEP,)),
    (PLAIN, Wake(), ()),
    (ASLEEP, Wake(), (WAKE,)),
    (replace(PLAIN, is_asleep=None), Wake(), (WAKE,)),
    (ASLEEP, Wake(mode=WorkMode.NORMAL, raw_mode="default", power_limit_w=2794.0), (WAKE,)),
    (ASLEEP, Wake(raw_mode="default", power_limit_w=9999.0), (WAKE,)),
    (ASLEEP, Wake(power_limit_w=2794.0), (WAKE,)),
    (ASLEEP, Wake(power_limit_w=2500.0), (put("540MHz"), WAKE)),
    (ASLEEP, Wake(raw_mode="default", power_limit_w=2500.0), (put("540MHz"), WAKE)),
    (ASLEEP, Wake(raw_mode="640MHz"), (put("640MHz"), WAKE)),
    (ASLEEP, Wake(raw_mode="mine"), (put("mine"), WAKE)),
    (ASLEEP, Wake(raw_mode="atm:default"), (put("default"), atm_up_to("default"), WAKE)),
    (ATM, Wake(raw_mode="atm:default"), ()),
    (ATM, Wake(raw_mode="default"), (OFF, put("default"))),
    (ATM, Wake(power_limit_w=2200.0), (OFF, put("490MHz"), atm_up_to("490MHz"))),
    # a target in watts is left alone, or gives way to a profile that draws no more
    (TARGET, Wake(raw_mode="default", power_limit_w=2700.0), ()),
    (TARGET, Wake(power_limit_w=2700.0), ()),
    (TARGET, Wake(raw_mode="default", power_limit_w=2699.0), (put("540MHz"),)),
    (PLAIN, LimitPower(power_w=2794.0), ()),
    (PLAIN, LimitPower(power_w=2793.0), (put("540MHz"),)),
    (PLAIN, LimitPower(power_w=99_999.0), ()),
    (replace(PLAIN, profile="490MHz"), LimitPower(power_w=float("inf")), (put("default"),)),
    (ATM, LimitPower(power_w=2500.0), (OFF, put("540MHz"), atm_up_to("540MHz"))),
    (replace(ATM, profile="490MHz"), LimitPower(power_w=2800.0), ()),
    (
        replace(ATM, profile="640MHz"),
        LimitPower(power_w=2800.0),
        (OFF, put("default"), atm_up_to("default")),
    ),
    (
        replace(ATM, ceiling=""),
        LimitPower(power_w=2800.0),
        (OFF, put("default"), atm_up_to("default")),
    ),
]


@pytest.mark.parametrize(("settings", "command", "writes"), PLANS, ids=repr)
def test_plans(settings, command, writes) -> None:
    assert plan.plan(settings, PROFILES, command) == writes


REFUSED: list[tuple[Settings, Command, str]] = [
    (PLAIN, LimitPower(power_w=2000.0), "its weakest profile draws 2192 W; use Sleep"),
    (PLAIN, LimitPower(power_w=float("nan")), "cannot hold nan W"),
    (ASLEEP, Wake(mode=WorkMode.LOW), "no mode low"),
    (ASLEEP, Wake(mode=WorkMode.SLEEP), "no mode sleep"),
    (ASLEEP, Wake(raw_mode="2"), "names none of its profiles: 490MHz, 540MHz"),
    (ASLEEP, Wake(raw_mode="atm:"), "names none of its profiles"),
    (ASLEEP, Wake(raw_mode="\x00drop"), "names none of its profiles"),
    (replace(ATM, floor="540MHz"), LimitPower(power_w=2200.0), "ATM does not go below profile 540"),
    (replace(ATM, floor="-2"), LimitPower(power_w=2200.0), "lower its min_profile on the miner"),
]


@pytest.mark.parametrize(("settings", "command", "why"), REFUSED, ids=repr)
def test_plans_that_cannot_be(settings, command, why) -> None:
    with pytest.raises(plan.PlanError, match=why):
        plan.plan(settings, PROFILES, command)


def test_without_profiles_a_limit_is_refused_and_a_plain_wake_is_not() -> None:
    with pytest.raises(plan.PlanError, match="it lists no profile"):
        plan.plan(PLAIN, (), LimitPower(power_w=9_999.0))
    assert plan.plan(ASLEEP, (), Wake(raw_mode="default")) == (plan.WAKE,)


@pytest.mark.parametrize(
    ("settings", "raw_mode", "power_limit_w"),
    [
        (PLAIN, "default", 2794.0),
        (TARGET, "default", 2700.0),
        (replace(PLAIN, profile=None), None, None),
        (replace(PLAIN, profile="gone"), "gone", None),
        (ATM, "atm:default", 2794.0),
        (replace(ATM, ceiling="+2"), "atm:640MHz", 3119.0),
        (replace(ATM, ceiling="-2"), "atm:540MHz", 2485.0),
        (replace(ATM, ceiling=""), "atm:640MHz", 3119.0),
        (replace(ATM, ceiling="+9"), None, None),
        (replace(ATM, ceiling=None), None, None),
    ],
)
def test_what_is_set_as_mode_and_limit(settings, raw_mode, power_limit_w) -> None:
    assert plan.raw_mode(settings, PROFILES) == raw_mode
    assert plan.power_limit_w(settings, PROFILES) == power_limit_w


@pytest.mark.parametrize("settings", [PLAIN, ATM, replace(ATM, ceiling="")])
@pytest.mark.parametrize("limit_w", [2200.0, 2500.0, 2794.0])
def test_after_a_limit_the_wake_finds_back(settings, limit_w) -> None:
    """Held against a miner that obeys: the mode is restored as it was."""
    wanted = plan.raw_mode(settings, PROFILES)
    limited = obeyed(settings, plan.plan(settings, PROFILES, LimitPower(power_w=limit_w)))
    assert plan.power_limit_w(limited, PROFILES) <= limit_w
    restored = obeyed(limited, plan.plan(limited, PROFILES, Wake(raw_mode=wanted)))
    assert plan.raw_mode(restored, PROFILES) == wanted


def obeyed(settings: Settings, writes: tuple[plan.Write, ...]) -> Settings:
    for command, *arguments in writes:
        if command == "profileset":
            assert not settings.is_atm_on, "a profile is refused while ATM is on"
            settings = replace(settings, profile=arguments[0])
        for argument in arguments if command == "atmset" else ():
            key, _, value = argument.partition("=")
            changes = {"enabled": ("is_atm_on", value == "true"), "max_profile": ("ceiling", value)}
            settings = replace(settings, **dict([changes[key]]))
    return settings
