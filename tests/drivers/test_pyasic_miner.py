"""Messages between parent and child, pyasic's values, and the driver on top of them."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract.commands import (
    AlreadySo,
    Applied,
    LimitPower,
    RefusalReason,
    Refused,
    Sleep,
    Unconfirmed,
    Wake,
)
from drivers.contract.errors import Busy, DeviceError, Malformed, Unreachable, Unsupported
from drivers.contract.readings import WorkMode
from drivers.miners.pyasic_any import messages
from drivers.miners.pyasic_any.driver import PyasicMiner
from drivers.miners.pyasic_any.messages import FrameError, Reply, Request, Target, Values
from drivers.miners.pyasic_any.port import Heard, MemoryPyasic
from drivers.miners.pyasic_any.values import decode_values

TARGET = Target(
    device="m1",
    host="127.9.0.1",
    firmware="pyasic",
    model="Antminer S21",
    password="secret",
)

# ---- messages
# ----

OUTCOMES = [
    Applied(persistent_writes=2),
    AlreadySo(),
    Refused(reason=RefusalReason.BUSY, detail="why"),
    Unconfirmed(detail="perhaps"),
]
COMMANDS = [
    Sleep(),
    Wake(),
    Wake(mode=WorkMode.NORMAL, raw_mode="normal", power_limit_w=3000.0),
    LimitPower(power_w=1500.0),
]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=repr)
def test_an_outcome_survives_the_wire(outcome) -> None:
    frame = messages.encode_frame(Reply(id=1, verdict=messages.verdict_of(outcome)))
    assert messages.decode_length(frame[:4]) == len(frame) - 4
    assert messages.outcome_of(messages.decode_reply(frame[4:]).verdict) == outcome


@pytest.mark.parametrize("command", COMMANDS, ids=repr)
def test_a_command_survives_the_wire(command) -> None:
    request = Request(
        id=1,
        kind="apply",
        target=TARGET,
        deadline_s=5.0,
        instruction=messages.instruction_of(command),
    )
    read = messages.decode_request(messages.encode_frame(request)[4:])
    assert messages.command_of(read.instruction) == command
    assert "secret" not in repr(read)


@pytest.mark.parametrize(
    "error",
    [
        Unreachable("m1", "read", "gone", connected=True),
        Unreachable("m1", "read", "gone", connected=False),
        Busy("m1", "read", "tuning"),
        Unsupported("m1", "apply", "cannot"),
    ],
    ids=repr,
)
def test_an_error_survives_the_wire(error) -> None:
    found = messages.error_of(messages.failure_of(error), "m1")
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert vars(found) == vars(error)


@given(st.binary(max_size=64))
def test_any_bytes_are_a_message_or_a_frame_error(body) -> None:
    for decode in (messages.decode_request, messages.decode_reply, messages.decode_length):
        with suppress(FrameError):
            decode(body)


def test_a_message_larger_than_a_frame_is_an_error() -> None:
    with pytest.raises(FrameError):
        messages.encode_frame(Reply(id=1, values=Values(model="x" * 2_000_000)))
    with pytest.raises(FrameError):
        messages.decode_length((2**31).to_bytes(4, "big"))


# ---- the driver


def miner(
    device_of, clock, *, firmware="pyasic", read: Any = None, apply: Any = None
) -> PyasicMiner:
    port = MemoryPyasic(lambda _: Heard(said=read), lambda *_: Heard(said=apply))
    return PyasicMiner(device_of(firmware, "Antminer S21"), pyasic=port, clock=clock)


@pytest.mark.parametrize(
    ("values", "hashing", "mode"),
    [
        (Values(hashrate_ths=200.0, is_mining=True), True, None),
        (Values(hashrate_ths=0.0), False, None),
        (Values(hashrate_ths=200.0, is_mining=False), True, WorkMode.SLEEP),
        (Values(power_w=25.0), None, None),
        (Values(power_w=25.0, is_mining=False), False, WorkMode.SLEEP),
    ],
    ids=repr,
)
def test_hashing_is_what_the_hashrate_says(
    device_of, clock, virtually, values, hashing, mode
) -> None:
    reading = virtually(miner(device_of, clock, read=values).read())
    assert (reading.hashing, reading.mode) == (hashing, mode)
    assert (reading.hashrate_ths, reading.power_w) == (values.hashrate_ths, values.power_w)
    assert reading.raw_mode is None


def test_a_stored_sleep_counts_as_a_write(device_of, clock, virtually) -> None:
    stored = miner(device_of, clock, apply=Applied())
    assert virtually(stored.apply(Sleep())) == Applied(persistent_writes=1)
    passing = miner(device_of, clock, firmware="braiins", apply=Applied())
    assert virtually(passing.apply(Sleep())) == Applied(persistent_writes=0)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Unreachable("m1", "apply", "no child", connected=False), Refused),
        (Unreachable("m1", "apply", "the child died", connected=True), Unconfirmed),
        (Malformed("m1", "apply", "pyasic failed"), Unconfirmed),
        (Unsupported("m1", "apply", "cannot"), Refused),
    ],
    ids=repr,
)
def test_no_error_escapes_apply(device_of, clock, virtually, error, kind) -> None:
    def fail(*_: Any) -> Heard:
        raise error

    port = MemoryPyasic(fail, fail)
    driver = PyasicMiner(device_of("pyasic", "Antminer S21"), pyasic=port, clock=clock)
    assert isinstance(virtually(driver.apply(Sleep())), kind)
    with pytest.raises(DeviceError):
        virtually(driver.read())


def test_silence_costs_the_deadline(device_of, clock, virtually) -> None:
    with pytest.raises(Unreachable, match="within 15 s"):
        virtually(miner(device_of, clock).read())
    assert isinstance(virtually(miner(device_of, clock).apply(Sleep())), Unconfirmed)


class Thing:
    def __init__(self, **fields: Any) -> None:
        vars(self).update(fields)


def test_pyasics_objects_are_taken_apart_and_nonsense_is_unknown() -> None:
    def rate(figure: Any, hashes: int = 10**12) -> Thing:
        return Thing(rate=figure, unit=Thing(value=hashes))

    boards = [
        Thing(hashrate=rate(60.0), chip_temp=70, temp=60),
        Thing(hashrate=rate(70_000.0, 10**9), chip_temp=75, temp=0),
        Thing(hashrate=None, chip_temp=None, temp=None),
    ]
    parts = {
        "hashboards": boards,
        "hashrate": rate(999.0),
        "wattage": 3_400,
        "wattage_limit": "many",
        "fans": [Thing(speed=6000), Thing(speed=None), Thing(speed=-5)],
        "mac": "nonsense",
        "is_mining": "yes",
        "uptime": 10**30,
        "pools": [Thing(url="stratum+tcp://pool.example:3333"), Thing(url=None)],
    }
    values = decode_values(Thing(make="AntMiner", raw_model="S21"), parts)
    assert values == Values(
        make="AntMiner",
        model="S21",
        hashrate_ths=130.0,
        power_w=3400.0,
        chip_temperature_c=75.0,
        board_temperatures_c=(60.0, None, None),
        fans_rpm=(6000,),
        pool_urls=("stratum+tcp://pool.example:3333",),
    )
    assert decode_values(None, {}) == Values()
    assert decode_values(None, {"hashrate": rate(46.0)}).hashrate_ths == 46.0
    paused = decode_values(None, {"hashrate": rate(46.0), "is_mining": False})
    assert paused.hashrate_ths is None, "an average of the past minute is no rate of now"
