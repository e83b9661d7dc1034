"""LuxOS: whose session it is, and what comes of several writes under one."""

import asyncio
import json
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
from drivers.contract.errors import Malformed
from drivers.miners.luxos.driver import Luxos
from drivers.transport.memory import Answer, MemoryTcpJson
from tests.drivers.luxos.luxos_stage import NO, OK, PROFILES, body_of


@dataclass
class Miner:
    """Keeps one session and what was written under it; the fields bend what it does."""

    config: dict[str, Any] = field(
        default_factory=lambda: {
            "CurtailMode": "None",
            "Profile": "default",
            "IsAtmEnabled": False,
        }
    )
    session_id: str = ""
    logons: int = 0
    written: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    lapses: int = 0
    """How many sessions end before their first write."""
    refuses: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    garbles: set[str] = field(default_factory=set)
    after_s: dict[str, float] = field(default_factory=dict)

    def tcp(self, host: str, port: int, request: bytes) -> Answer:
        asked = json.loads(request)
        name, parameter = asked["command"], asked.get("parameter", "")
        self.asked.append(name)
        said = self._said(name, parameter)
        body = b"\xff{" if name in self.garbles else said
        silent = name in self.silent or parameter.partition(",")[2] in self.silent
        return Answer(body=None if silent else body, after_s=self.after_s.get(name, 0.0))

    def _said(self, name: str, parameter: str) -> bytes:
        if "+" in name:
            rows = {
                "config": [self.config],
                "atm": [{"MaxProfile": "default", "MinProfile": ""}],
                "profiles": [
                    {"Profile Name": p.name, "Watts": p.power_w, "Step": p.step} for p in PROFILES
                ],
            }
            return body_of(**{part: rows[part] for part in name.split("+")})
        if name == "logon" and not self.session_id:
            self.logons += 1
            self.session_id = f"session{self.logons}"
        elif name == "logon":
            return json.dumps({"STATUS": NO}).encode()
        if name in {"logon", "session"}:
            rows = [{"SessionID": self.session_id}]
            return json.dumps({"STATUS": OK, "SESSION": rows}).encode()
        if self.lapses and name != "logoff":
            self.lapses, self.session_id = self.lapses - 1, ""
        session_id, _, arguments = parameter.partition(",")
        if not session_id or session_id != self.session_id or arguments in self.refuses:
            return json.dumps({"STATUS": NO}).encode()
        if name == "logoff":
            self.session_id = ""
        else:
            self.written.append(f"{name} {arguments}")
        return json.dumps({"STATUS": OK}).encode()


@pytest.fixture
def miner() -> Miner:
    return Miner()


@pytest.fixture
def driver(miner, device_of, clock) -> Luxos:
    device = device_of("luxos", "Antminer S19k Pro")
    return Luxos(device, tcp=MemoryTcpJson(miner.tcp), clock=clock)


def test_a_sleep_is_four_requests_and_leaves_no_session(miner, driver, virtually) -> None:
    assert virtually(driver.apply(Sleep())) == Applied(persistent_writes=1)
    assert miner.asked == ["config+atm", "logon", "curtail", "logoff"]
    assert miner.written == ["curtail sleep"]
    assert miner.session_id == ""


def test_asleep_already_needs_no_session(miner, driver, virtually) -> None:
    miner.config["CurtailMode"] = "Sleep"
    assert virtually(driver.apply(Sleep())) == AlreadySo()
    assert miner.logons == 0


def test_somebody_elses_session_is_busy_and_is_left_alone(miner, driver, virtually) -> None:
    miner.session_id = "theirs"
    outcome = virtually(driver.apply(Sleep()))
    assert isinstance(outcome, Refused)
    assert outcome.reason == "busy"
    assert "another tool holds it" in outcome.detail
    assert (miner.written, miner.session_id) == ([], "theirs")


@pytest.mark.parametrize(("lapses", "logons"), [(1, 2), (2, 2), (9, 2)])
def test_a_session_that_ended_is_taken_anew_once(miner, driver, virtually, lapses, logons) -> None:
    miner.lapses = lapses
    outcome = virtually(driver.apply(Sleep()))
    assert miner.logons == logons
    if lapses == 1:
        assert outcome == Applied(persistent_writes=1)
        assert miner.written == ["curtail sleep"]
    else:
        assert isinstance(outcome, Refused)
        assert outcome.reason == "device_refused"
        assert miner.written == []


def test_a_plain_no_stands(miner, driver, virtually) -> None:
    miner.refuses = {"sleep"}
    outcome = virtually(driver.apply(Sleep()))
    assert outcome == Refused(reason="device_refused", detail="code 402: no")
    assert miner.logons == 1
    assert miner.session_id == "", "logged off after a no, too"


def test_a_session_taken_over_by_somebody_else_is_busy(miner, driver, virtually) -> None:
    answer = miner.tcp

    def taken(host: str, port: int, request: bytes) -> Answer:
        if b"curtail" in request:
            miner.session_id = "theirs"
        return answer(host, port, request)

    driver._tcp = MemoryTcpJson(taken)
    outcome = virtually(driver.apply(Sleep()))
    assert isinstance(outcome, Refused)
    assert outcome.reason == "busy"
    assert miner.session_id == "theirs"


@pytest.mark.parametrize("bend", ["silent", "garbles"])
def test_no_answer_after_sending_is_unconfirmed_and_not_sent_again(
    miner, driver, virtually, bend
) -> None:
    setattr(miner, bend, {"curtail"})
    outcome = virtually(driver.apply(Sleep()))
    assert isinstance(outcome, Unconfirmed)
    assert miner.written == ["curtail sleep"]
    assert miner.session_id == "", "the session is closed nevertheless"


@pytest.mark.parametrize("bend", ["silent", "garbles"])
@pytest.mark.parametrize("name", ["config+atm", "logon"])
def test_no_answer_before_sending_is_a_refusal(miner, driver, virtually, bend, name) -> None:
    setattr(miner, bend, {name})
    outcome = virtually(driver.apply(Sleep()))
    assert isinstance(outcome, Refused)
    assert outcome.reason == ("unreachable" if bend == "silent" else "malformed_state")
    assert miner.written == []


def test_a_session_that_could_not_be_closed_serves_the_next_command(
    miner, driver, virtually
) -> None:
    miner.silent = {"logoff"}
    refused: list[Any] = []

    async def both() -> None:
        assert await driver.apply(Sleep()) == Applied(persistent_writes=1)
        # The miner never got the log-off: the session stands, and it is ours.
        miner.session_id, miner.silent = "session1", set()
        miner.config["CurtailMode"] = "Sleep"
        refused.append(await driver.apply(Wake()))

    virtually(both())
    assert refused == [Applied(persistent_writes=1)]
    assert miner.logons == 1
    assert miner.session_id == ""


def test_a_kept_session_that_has_ended_since_is_taken_anew(miner, driver, virtually) -> None:
    miner.silent = {"logoff"}

    async def both() -> Any:
        await driver.apply(Sleep())
        miner.session_id, miner.silent = "", set()
        return await driver.apply(Sleep())

    assert virtually(both()) == Applied(persistent_writes=1)
    assert miner.logons == 2


def test_a_slow_miner_costs_no_more_than_the_command_deadline(miner, driver, virtually) -> None:
    names = ["config+atm", "logon", "curtail", "logoff"]
    miner.after_s = dict.fromkeys(names, 4.9)

    async def apply() -> float:
        begun_s = asyncio.get_running_loop().time()
        assert await driver.apply(Sleep()) == Applied(persistent_writes=1)
        return asyncio.get_running_loop().time() - begun_s

    assert virtually(apply()) <= 15.0


# ---- several writes


def test_a_limit_under_atm_puts_the_ceiling_down(miner, driver, virtually) -> None:
    miner.config["IsAtmEnabled"] = True
    assert virtually(driver.apply(LimitPower(power_w=2500.0))) == Applied(persistent_writes=3)
    assert miner.written == [
        "atmset enabled=false",
        "profileset 540MHz",
        "atmset enabled=true,max_profile=540MHz",
    ]
    assert miner.logons == 1


def test_a_refused_profile_leaves_atm_on(miner, driver, virtually) -> None:
    miner.config["IsAtmEnabled"] = True
    miner.refuses = {"540MHz"}
    outcome = virtually(driver.apply(LimitPower(power_w=2500.0)))
    assert isinstance(outcome, Unconfirmed)
    assert "profileset 540MHz: code 402: no; ATM is on again" in outcome.detail
    assert miner.written == ["atmset enabled=false", "atmset enabled=true,max_profile=540MHz"]


def test_an_atm_that_stays_off_is_told(miner, driver, virtually) -> None:
    miner.config["IsAtmEnabled"] = True
    miner.refuses = {"enabled=true,max_profile=540MHz"}
    outcome = virtually(driver.apply(LimitPower(power_w=2500.0)))
    assert isinstance(outcome, Unconfirmed)
    assert "ATM is off, switch it on again" in outcome.detail


def test_an_unanswered_switch_of_atm_is_switched_back(miner, driver, virtually) -> None:
    miner.config["IsAtmEnabled"] = True
    miner.silent = {"enabled=false"}
    outcome = virtually(driver.apply(Wake(raw_mode="540MHz")))
    assert isinstance(outcome, Unconfirmed)
    assert miner.written == ["atmset enabled=false", "atmset enabled=true"]


def test_a_refused_first_write_is_a_refusal_and_nothing_else_is_sent(
    miner, driver, virtually
) -> None:
    miner.config |= {"IsAtmEnabled": True, "CurtailMode": "Sleep"}
    miner.refuses = {"enabled=false"}
    outcome = virtually(driver.apply(Wake(raw_mode="540MHz")))
    assert isinstance(outcome, Refused)
    assert miner.written == []


def test_a_miner_that_did_not_take_the_limit_is_not_woken(miner, driver, virtually) -> None:
    miner.config["CurtailMode"] = "Sleep"
    miner.refuses = {"540MHz"}
    outcome = virtually(driver.apply(Wake(power_limit_w=2500.0)))
    assert isinstance(outcome, Refused)
    assert miner.written == []


def test_a_reply_that_is_no_luxos_is_malformed(device_of, clock, virtually) -> None:
    said = b'{"STATUS":[{"STATUS":"E","Code":14,"Msg":"Invalid command"}],"id":1}'
    tcp = MemoryTcpJson(lambda *_: Answer(body=said))
    driver = Luxos(device_of("luxos", "Antminer S21"), tcp=tcp, clock=clock)
    with pytest.raises(Malformed, match="no config"):
        virtually(driver.read())
    outcome = virtually(driver.apply(Sleep()))
    assert isinstance(outcome, Refused)
    assert outcome.reason == "malformed_state"
