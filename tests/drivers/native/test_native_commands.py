"""Every native driver, each command in every condition: an outcome, in time, and few writes."""

import asyncio
from typing import Any

import pytest

from drivers.contract.commands import (
    AlreadySo,
    Applied,
    LimitPower,
    Refused,
    Sleep,
    Unconfirmed,
    Wake,
)
from drivers.contract.readings import WorkMode
from tests.drivers.native.native_stage import BRAIINS_WRITES, BROKEN, LUXOS_WRITES

COMMANDS = [
    Sleep(),
    Wake(),
    Wake(mode=WorkMode.NORMAL),
    Wake(mode=WorkMode.LOW),
    Wake(mode=WorkMode.SLEEP),
    Wake(raw_mode="2"),
    Wake(raw_mode="low"),
    Wake(raw_mode="\x00drop"),
    Wake(power_limit_w=3300.0),
    LimitPower(power_w=2000.0),
    LimitPower(power_w=0.0),
]
CONDITIONS = {
    "well": {},
    "silent": {"silent": True},
    "refused": {"error": ConnectionRefusedError},
    "reset": {"error": ConnectionResetError},
    "slow": {"after_s": 4.0},
    "login refused": {"status": 401},
    "out of order": {"status": 500},
    **{name: {"bend": bend} for name, bend in BROKEN.items()},
}


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("late", [False, True], ids=["from the start", "only the command"])
@pytest.mark.parametrize("command", COMMANDS, ids=repr)
def test_every_command_gets_an_outcome_in_time(
    driver, device, virtually, command, condition, late
) -> None:
    for name, value in CONDITIONS[condition].items():
        setattr(device, name, value)
    if late:
        writes = {"enc", "set_miner_conf", *LUXOS_WRITES, *BRAIINS_WRITES}
        device.bends = lambda name: name in writes
        device.status = 200

    async def apply() -> tuple[Any, float]:
        begun_s = asyncio.get_running_loop().time()
        outcome = await driver.apply(command)
        return outcome, asyncio.get_running_loop().time() - begun_s

    outcome, took_s = virtually(apply())
    assert isinstance(outcome, Applied | AlreadySo | Refused | Unconfirmed)
    assert took_s <= 60.0
    sent = len(device.writes) + device.sealed + len(device.luxos_writes)
    sent += len(device.braiins_writes)
    # ATM off, profile, ATM on, awake
    most = 4 if device.luxos_writes else 2
    assert sent <= most, "nothing is sent again and again"
    if isinstance(outcome, Refused):
        assert outcome.detail
    if condition in {"silent", "refused", "reset", *BROKEN} and not late:
        assert isinstance(outcome, Refused), "nothing was sent, for nothing could be understood"
        assert sent == 0


def test_a_second_command_is_busy_while_the_first_is_under_way(driver, device, virtually) -> None:
    device.after_s = 1.0

    async def both() -> tuple[Any, Any]:
        first = asyncio.create_task(driver.apply(Sleep()))
        await asyncio.sleep(0.5)
        return await driver.apply(Sleep()), await first

    second, first = virtually(both())
    assert isinstance(second, Refused)
    assert second.reason == "busy"
    assert isinstance(first, Applied)
