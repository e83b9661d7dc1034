"""LuxOS: what its replies say, which writes a command takes, and whose session it is."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec.structs import replace

from drivers.contract.commands import (
    AlreadySo,
    Applied,
    Command,
    LimitPower,
    Refused,
    Sleep,
    Unconfirmed,
    Wake,
)
from drivers.contract.errors import Malformed
from drivers.contract.readings import WorkMode
from drivers.miners.cgminer import ReplyError
from drivers.miners.luxos import codec, plan
from drivers.miners.luxos.codec import Profile, Settings
from drivers.miners.luxos.driver import Luxos
from drivers.transport.memory import Answer, MemoryTcpJson

S19K = "luxos/S19kPro_2025.4.8.220305/"
OK = [{"STATUS": "S", "Code": 1, "Msg": "done"}]
NO = [{"STATUS": "E", "Code": 402, "Msg": "no"}]


def body_of(**parts: Any) -> bytes:
    """A joined reply: each part is the rows under its command's name, or a whole reply."""
    replies = {
        name: [part if isinstance(part, dict) else {"STATUS": OK, name.upper(): part}]
        for name, part in parts.items()
    }
    return json.dumps({**replies, "id": 1}).encode()


@pytest.fixture
def s19k(recorded) -> Callable[..., bytes]:
    """Join recorded replies; `atm` was not recorded."""

    def join(*names: str) -> bytes:
        return body_of(**{name: json.loads(recorded(f"{S19K}4028.{name}.json")) for name in names})

    return join


# ---- what the replies say


def test_a_recorded_miner(s19k) -> None:
    live = codec.decode_live(s19k("config", "summary", "power", "temps", "fans", "stats"))
    assert live.settings == Settings(is_asleep=False, profile="290MHz", is_atm_on=True)
    assert live.hashrate_ths == pytest.approx(59.75606)
    assert live.power_w == 1051.0
    assert live.board_temperatures_c == (47.0, 47.0, 47.0)
    assert live.fans_rpm == (1920, 1920, 2340, 2340)
    assert live.mac == "62:F7:5E:B7:10:46"


def test_recorded_profiles_pools_and_events(s19k) -> None:
    details = codec.decode_details(s19k("pools", "profiles", "events"))
    assert details.pool_urls is not None
    assert len(details.pool_urls) == 4
    assert len(details.profiles) == 25
    assert details.profiles[4] == Profile(name="290MHz", step=-12, power_w=1188.0)
    settings = Settings(profile="290MHz", is_atm_on=False)
    assert plan.power_limit_w(settings, details.profiles) == 1188.0, "manifest: tuning target"
    assert details.faults == ("event NOPIC_PROTECTION", "event REBOOT_NOT_HASHING")


def test_that_it_sleeps_is_no_fault() -> None:
    details = codec.decode_details(body_of(events=[{"Code": "SLEEP"}, {"Code": "<b>"}]))
    assert details.faults == ()
    assert (details.pool_urls, details.profiles) == (None, ())


def test_a_part_that_fails_is_unknown() -> None:
    failed = {"STATUS": NO, "POWER": [{"Watts": 9}]}
    live = codec.decode_live(
        body_of(config=[{"CurtailMode": "None"}], summary=[{"GHS 5s": 1.0}], power=failed)
    )
    assert (live.power_w, live.fans_rpm, live.board_temperatures_c) == (None, (), ())
    assert (live.mac, live.uptime_s, live.settings.is_atm_on) == (None, None, None)


def test_without_configuration_or_rate_there_is_no_reading() -> None:
    awake, asleep = [{"CurtailMode": "None"}], [{"CurtailMode": "Sleep"}]
    for body in (
        body_of(summary=[{"GHS 5s": 1.0}]),
        body_of(config=[], summary=[{"GHS 5s": 1.0}]),
        body_of(config={"STATUS": NO}, summary=[{"GHS 5s": 1.0}]),
        body_of(config=awake),
        body_of(config=awake, summary={"STATUS": NO}),
    ):
        with pytest.raises(ReplyError):
            codec.decode_live(body)
    assert codec.decode_live(body_of(config=asleep)).settings.is_asleep is True


@pytest.mark.parametrize(
    ("said", "asleep"), [("Sleep", True), ("None", False), ("Idle", None), (None, None), (1, None)]
)
def test_curtail_modes(said, asleep) -> None:
    settings, _ = codec.decode_settings(body_of(config=[{"CurtailMode": said}]))
    assert settings.is_asleep is asleep


@pytest.mark.parametrize(
    ("stats", "celsius"),
    [
        ({"temp_chip1": "70-71-0-0", "temp_pcb1": "50-50-0-0"}, 71.0),
        ({"temp_chip1": "50-50-0-0", "temp_pcb1": "50-50-0-0"}, None),
        ({"temp_chip1": "50-50", "temp_pcb1": "50-50", "temp_chip2": "66", "temp_pcb2": "1"}, 66.0),
        ({"temp_chip1": 7, "temp_pcb1": 8}, None),
        ({}, None),
    ],
)
def test_chips_that_repeat_the_board_are_unknown(stats, celsius) -> None:
    body = body_of(config=[{"Profile": "default"}], summary=[{"Elapsed": 1}], stats=[{}, stats])
    assert codec.decode_live(body).chip_temperature_c == celsius


@pytest.mark.parametrize(
    "name", ["", "0", "3", "+1", "a,b", "a=b", "x" * 65, "a\n", "\x00", "ü", None, 5]
)
def test_a_profile_with_a_name_that_cannot_be_set_is_passed_over(name) -> None:
    rows = [{"Profile Name": name, "Watts": 900, "Step": "0"}]
    assert codec.decode_settings(body_of(config=[{"a": 1}], profiles=rows))[1] == ()


def test_a_spoofed_firmware_is_not_believed() -> None:
    row = {"Miner": "uart_trans.1.3", "LUXminer": "2024.2.19.131822-ef17c0c4"}
    body = json.dumps({"STATUS": OK, "VERSION": [row]}).encode()
    assert codec.decode_firmware_version(body) == "2024.2.19.131822"


# ---- which writes a command takes

PROFILES = tuple(
    Profile(name=name, step=step, power_w=power_w)
    for name, step, power_w in [
        ("490MHz", -4, 2192.0),
        ("540MHz", -2, 2485.0),
        ("default", 0, 2794.0),
        ("640MHz", 2, 3119.0),
        ("mine", None, 2600.0),
    ]
)
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


# ---- whose session it is


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
