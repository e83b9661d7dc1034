"""Every native driver against recorded replies: one suite, the same questions."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
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
from drivers.contract.devices import MinerDriver
from drivers.contract.errors import Malformed, Unreachable
from drivers.contract.readings import WorkMode
from drivers.miners.pyasic_any.messages import Values
from drivers.miners.pyasic_any.port import Heard, MemoryPyasic
from drivers.registry import Wires, build_miner
from drivers.transport.memory import (
    Answer,
    GrpcAnswer,
    GrpcQuestion,
    HttpAnswer,
    HttpQuestion,
    MemoryGrpc,
    MemoryHttp,
    MemoryTcpJson,
)
from drivers.transport.ports import HttpReply
from simulators.devices import protobuf

ANTMINER = "antminer-stock/S19Pro_49.0.1.3/"
WHATSMINER = "whatsminer-stock/M50S-VH50_20230803.11.REL/"
LUXOS = "luxos/S19kPro_2025.4.8.220305/"

CONFIG = {
    "pools": [{"url": "stratum+tcp://pool.example:3333", "user": "w.1", "pass": "x"}],
    "api-listen": True,
    "bitmain-fan-ctrl": False,
    "bitmain-fan-pwm": "100",
    "bitmain-work-mode": "0",
    "bitmain-freq-level": "100",
}
TOKEN = {
    "STATUS": "S",
    "Code": 134,
    "Msg": {"time": "1234", "salt": "BQ5hoXV9", "newsalt": "jbzkfQls"},
}
DETAILS = {"STATUS": [{"STATUS": "S"}], "DEVDETAILS": [{"Model": "M50S_VH50"}]}
OK = {"STATUS": "S", "Code": 131, "Msg": "API command OK"}
ATM = {
    "STATUS": [{"STATUS": "S"}],
    "ATM": [{"Enabled": True, "MaxProfile": "default", "MinProfile": ""}],
}
SESSION = {"STATUS": [{"STATUS": "S"}], "SESSION": [{"SessionID": "yJN2nlj1"}]}
LUXOS_OK = {"STATUS": [{"STATUS": "S", "Code": 335, "Msg": "sent"}]}
LUXOS_WRITES = {"curtail", "profileset", "atmset"}
ROWS = {
    "summary": {"MHS 5s": 104e6, "Elapsed": 3_600},
    "temps": {"Board": 61.0, "Chip": 78.5},
    "fans": {"RPM": 4_800},
    "tunerstatus": {"ApproximateMinerPowerConsumption": 3_031, "PowerLimit": 3_068},
    "pools": {"URL": "stratum+tcp://pool.example:3333"},
}
MESSAGES = {
    "Login": {1: "eUInGZBQ4yGyKiDe", 2: 3_600},
    "GetMinerDetails": {2: {1: 1, 4: "Antminer S19j Pro"}, 5: {1: "25.05.1-plus"}, 12: 2},
    "GetMinerConfiguration": {3: {1: True, 2: 1, 3: {1: 3_068}}},
    "GetConstraints": {1: {1: {1: {1: 3_068}, 2: {1: 920}, 3: {1: 3_375}}}},
    "PauseMining": {},
    "ResumeMining": {},
    "SetPowerTarget": {1: {1: 2_000}},
}
BRAIINS_WRITES = {"PauseMining", "ResumeMining", "SetPowerTarget"}


@dataclass
class Device:
    """Answers like the recorded device; the fields bend what it does."""

    replies: dict[str, bytes]
    config: dict[str, Any] = field(default_factory=lambda: dict(CONFIG))
    bend: Callable[[bytes], bytes] = lambda body: body
    bends: Callable[[str], bool] = lambda _: True
    after_s: float = 0.0
    silent: bool = False
    error: type[OSError] | None = None
    status: int = 200
    writes: list[dict[str, Any]] = field(default_factory=list)
    sealed: int = 0
    luxos_writes: list[str] = field(default_factory=list)
    braiins_writes: list[str] = field(default_factory=list)

    def _said(self, name: str, body: bytes) -> bytes | None:
        if self.error is not None and self.bends(name):
            raise self.error
        if self.silent and self.bends(name):
            return None
        return self.bend(body) if self.bends(name) else body

    def tcp(self, host: str, port: int, request: bytes) -> Answer:
        asked = json.loads(request)
        if "enc" in asked:
            self.sealed += 1
            return Answer(body=self._said("enc", json.dumps(OK).encode()), after_s=self.after_s)
        name = asked.get("command") or asked["cmd"]
        if name in LUXOS_WRITES:
            self.luxos_writes.append(asked["parameter"])
        parts = name.split("+")
        body = self.replies[name] if len(parts) == 1 else self._joined(parts)
        return Answer(body=self._said(name, body), after_s=self.after_s)

    def _joined(self, names: list[str]) -> bytes:
        return json.dumps({name: [json.loads(self.replies[name])] for name in names}).encode()

    def http(self, host: str, port: int, question: HttpQuestion) -> HttpAnswer:
        name = question.path.removeprefix("/cgi-bin/").removesuffix(".cgi")
        after_s = self.after_s
        if name == "get_miner_conf":
            body = json.dumps(self.config).encode()
        elif name == "set_miner_conf":
            self.writes.append(json.loads(question.body))
            self.config = self.writes[-1]
            body, after_s = b'{"stats":"success","code":"M000","msg":"OK!"}', after_s + 21.0
        else:
            body = self.replies[name]
        said = self._said(name, body)
        reply = None if said is None else HttpReply(status=self.status, headers={}, body=said)
        return HttpAnswer(reply=reply, after_s=after_s)

    def grpc(self, host: str, port: int, question: GrpcQuestion) -> GrpcAnswer:
        name = question.path.rpartition("/")[2]
        if name in BRAIINS_WRITES:
            self.braiins_writes.append(name)
        said = self._said(name, protobuf.encode(MESSAGES[name]))
        status = {200: 0, 401: 16}.get(self.status, 13)
        message = None if status else said
        return GrpcAnswer(message=message, status=status, after_s=self.after_s)


@pytest.fixture(params=["antminer-stock", "whatsminer-v2", "luxos", "braiins"])
def firmware(request) -> str:
    return request.param


@pytest.fixture
def device(firmware, recorded) -> Device:
    if firmware == "antminer-stock":
        return Device(
            {
                "stats": recorded(ANTMINER + "4028.stats.json"),
                "summary": recorded(ANTMINER + "4028.summary.json"),
                "get_system_info": recorded(ANTMINER + "80.cgi-bin_get_system_info.cgi.json"),
            }
        )
    if firmware == "luxos":
        names = ("config", "summary", "power", "temps", "fans", "stats", "pools", "profiles")
        replies = {name: recorded(f"{LUXOS}4028.{name}.json") for name in (*names, "version")}
        said = dict.fromkeys((*LUXOS_WRITES, "events", "logoff"), LUXOS_OK)
        said |= {"atm": ATM, "logon": SESSION, "session": SESSION}
        return Device(replies | {name: json.dumps(what).encode() for name, what in said.items()})
    if firmware == "braiins":
        ok = [{"STATUS": "S"}]
        said = {name: {"STATUS": ok, name.upper(): [row]} for name, row in ROWS.items()}
        return Device({name: json.dumps(what).encode() for name, what in said.items()})
    names = ("status", "summary", "pools", "get_version", "get_error_code")
    replies = {name: recorded(f"{WHATSMINER}4028.{name}.json") for name in names}
    replies["get_token"] = json.dumps(TOKEN).encode()
    replies["devdetails"] = json.dumps(DETAILS).encode()
    return Device(replies)


MODELS = {
    "antminer-stock": "Antminer S19 Pro",
    "whatsminer-v2": "WhatsMiner M50S",
    "luxos": "Antminer S19k Pro",
    "braiins": "Antminer S19j Pro",
}


@pytest.fixture
def driver(firmware, device, device_of, clock) -> MinerDriver:
    model = MODELS[firmware]
    wires = Wires(
        tcp=MemoryTcpJson(device.tcp),
        http=MemoryHttp(device.http),
        grpc=MemoryGrpc(device.grpc),
        pyasic=MemoryPyasic(lambda _: Heard(said=Values()), lambda *_: Heard(said=AlreadySo())),
        clock=clock,
    )
    return build_miner(device_of(firmware, model), wires)


def test_reading_has_the_golden_values(firmware, driver, virtually) -> None:
    reading = virtually(driver.read())
    assert reading.miner_id == "m1"
    assert reading.firmware == firmware
    assert reading.hashing is True
    if firmware == "antminer-stock":
        assert reading.hashrate_ths == pytest.approx(110.56689), "manifest: 110.56689 TH/s"
        assert reading.power_w is None, "this firmware reports no power"
        assert reading.power_limit_w is None
        assert reading.model == "Antminer S19 Pro"
        assert reading.serial == "THQING0BDJAB024NF"
        assert reading.mac is None, "manifest: 02:55:97:22:3M:72 is no MAC address"
        assert reading.fans_rpm == (6000, 5880, 5040, 5040)
        assert reading.uptime_s == 50474
        assert reading.chip_temperature_c == 78.0
        assert reading.board_temperatures_c == (73.0, 66.0, 64.0)
        assert (reading.mode, reading.raw_mode) == (WorkMode.NORMAL, "0")
        assert reading.pool_urls == ("stratum+tcp://pool.example:3333",)
    elif firmware == "luxos":
        assert reading.hashrate_ths == pytest.approx(59.75606)
        assert reading.power_w == 1051.0, "manifest: 1051 W"
        assert reading.power_limit_w == 2794.0, "up to there ATM may climb"
        assert reading.model == "Antminer S19k Pro"
        assert reading.firmware_version == "2025.4.8.220305"
        assert reading.serial == "JYZZB0UBDJABF06RB"
        assert reading.mac == "62:F7:5E:B7:10:46"
        assert reading.fans_rpm == (1920, 1920, 2340, 2340)
        assert reading.uptime_s == 3453
        assert reading.chip_temperature_c is None, "it repeats the board's sensors"
        assert reading.board_temperatures_c == (47.0, 47.0, 47.0)
        assert (reading.mode, reading.raw_mode) == (WorkMode.NORMAL, "atm:default")
        assert len(reading.pool_urls or ()) == 4
    elif firmware == "braiins":
        assert reading.hashrate_ths == pytest.approx(104.0)
        assert (reading.power_w, reading.power_limit_w) == (3_031.0, 3_068.0)
        assert reading.model == "Antminer S19j Pro"
        assert reading.firmware_version == "25.05.1-plus"
        assert (reading.mode, reading.raw_mode) == (WorkMode.NORMAL, None)
        assert reading.pool_urls == ("stratum+tcp://pool.example:3333",)
    else:
        assert reading.hashrate_ths == pytest.approx(124.5), "manifest: 124.5 TH/s"
        assert reading.power_w == 3200.0
        assert reading.power_limit_w == 3300.0
        assert reading.model == "M50S VH50"
        assert reading.firmware_version == "20230803.11.REL"
        assert reading.mac == "D4:01:02:03:04:05"
        assert reading.serial is None
        assert reading.fans_rpm == (5400, 5280)
        assert reading.uptime_s == 25500
        assert reading.chip_temperature_c == 81.0
        assert reading.inlet_temperature_c == 28.5
        assert (reading.mode, reading.raw_mode) == (WorkMode.NORMAL, "normal")
        assert len(reading.pool_urls or ()) == 3
    assert reading.faults == ()


def test_reading_is_stamped_before_and_after_the_requests(device, driver, virtually) -> None:
    device.after_s = 0.25

    async def read() -> tuple[float, Any]:
        await asyncio.sleep(7.0)
        return asyncio.get_running_loop().time(), await driver.read()

    begun_s, reading = virtually(read())
    assert reading.begun_s == begun_s
    assert reading.taken_s >= begun_s + 0.25


def test_slow_parts_are_not_asked_again_within_a_minute(
    firmware, device, driver, virtually
) -> None:
    asked: list[str] = []
    device.bends = lambda name: bool(asked.append(name))

    async def read_twice() -> None:
        await driver.read()
        first = list(asked)
        asked.clear()
        await driver.read()
        assert len(first) > len(asked)

    virtually(read_twice())
    assert (
        asked
        == {
            "antminer-stock": ["stats"],
            "whatsminer-v2": ["summary"],
            "luxos": ["config+summary+power+temps+fans+stats+atm"],
            "braiins": ["summary+temps+fans+tunerstatus"],
        }[firmware]
    )


BROKEN = {
    "empty": lambda _: b"",
    "garbage": lambda _: b"\xff\xfe\x00 nonsense \x80",
    "null": lambda _: b"null",
    "a list": lambda _: b"[]",
    "a number": lambda _: b"1e999",
    "an empty object": lambda _: b"{}",
    "deep": lambda _: b'{"STATS":' + b"[" * 100_000,
    "half": lambda body: body[: len(body) // 2],
    "all but the end": lambda body: body.rstrip()[:-1],
    "an error": lambda _: b'{"STATUS":[{"STATUS":"E","Code":14,"Msg":"invalid cmd"}]}',
    "10 MB": lambda _: b'{"a":"' + b"x" * 10_000_000 + b'"}',
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_reply_is_malformed(driver, device, virtually, broken) -> None:
    device.bend = BROKEN[broken]
    with pytest.raises(Malformed):
        virtually(driver.read())


def test_a_broken_slow_part_is_a_fault_and_not_the_end(firmware, driver, device, virtually) -> None:
    fast = {"stats", "status", "summary"}
    device.bend = BROKEN["half"]
    device.bends = lambda name: not fast & set(name.split("+"))
    reading = virtually(driver.read())
    assert reading.hashing is True
    assert len(reading.faults) == 1
    assert "unreadable" in reading.faults[0]
    unknown = reading.mode if firmware == "braiins" else reading.pool_urls
    assert unknown is None, "unknown, not empty and not old"


def test_a_silent_miner_costs_exactly_the_read_deadline(
    firmware, driver, device, virtually
) -> None:
    device.silent = True

    async def read() -> float:
        begun_s = asyncio.get_running_loop().time()
        with pytest.raises(Unreachable) as caught:
            await driver.read()
        assert caught.value.connected
        return asyncio.get_running_loop().time() - begun_s

    assert virtually(read()) == pytest.approx(5.0)


def test_a_miner_that_answers_slowly_costs_no_more_than_the_read_deadline(
    driver, device, virtually
) -> None:
    device.after_s = 2.0

    async def read() -> float:
        begun_s = asyncio.get_running_loop().time()
        reading = await driver.read()
        assert reading.hashing is True
        assert reading.faults, "what did not fit into the deadline is named"
        return asyncio.get_running_loop().time() - begun_s

    assert virtually(read()) <= 5.0


def test_a_refused_connection_is_unreachable(driver, device, virtually) -> None:
    device.error = ConnectionRefusedError
    with pytest.raises(Unreachable) as caught:
        virtually(driver.read())
    assert not caught.value.connected


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
