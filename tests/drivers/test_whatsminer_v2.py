"""WhatsMiner API version 2: cipher, token, codes, and which verb is used for what."""

import asyncio
import base64
import hashlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from drivers.contract.commands import AlreadySo, Applied, LimitPower, Refused, Sleep, Wake
from drivers.contract.devices import Login
from drivers.contract.errors import DeviceRefused
from drivers.contract.readings import WorkMode
from drivers.miners.cgminer import ReplyError
from drivers.miners.whatsminer_v2 import cipher, codec
from drivers.miners.whatsminer_v2.driver import TOKEN_LIFE_S, WhatsminerV2
from drivers.transport.memory import Answer, MemoryTcpJson

# `openssl passwd -1 -salt SALT WORD`, the reference that the API manual names.
KEY = "RxmaDUO33TS7O26yeMHZ81"  # WORD admin, SALT BQ5hoXV9
TOKEN_REPLY = {
    "STATUS": "S",
    "Code": 134,
    "Msg": {"time": "5626", "salt": "BQ5hoXV9", "newsalt": "jbzkfQls"},
}


class Miner:
    """Opens sealed commands with a key of its own and keeps what was asked."""

    def __init__(self) -> None:
        self.status = {"mineroff": "false", "power_mode": "normal", "power_limit_set": "3300"}
        self.asked: list[dict[str, Any]] = []
        self.tokens = 0
        self.answers: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {"STATUS": [{"STATUS": "S"}], "SUMMARY": [{"HS RT": 1e8}]}

    def cipher(self) -> Cipher:
        return Cipher(algorithms.AES(hashlib.sha256(KEY.encode()).digest()), modes.ECB())

    def tcp(self, host: str, port: int, request: bytes) -> Answer:
        asked = json.loads(request)
        if "enc" in asked:
            opener = self.cipher().decryptor()
            plain = opener.update(base64.b64decode(asked["data"])) + opener.finalize()
            self.asked.append(json.loads(plain.rstrip(b"\0")))
            said = (
                self.answers.pop(0) if self.answers else {"STATUS": "S", "Code": 131, "Msg": "ok"}
            )
            if said["STATUS"] != "S":
                return Answer(body=json.dumps(said).encode())
            sealer = self.cipher().encryptor()
            text = json.dumps(said).encode()
            sealed = sealer.update(text + b"\0" * (-len(text) % 16)) + sealer.finalize()
            return Answer(body=json.dumps({"enc": base64.b64encode(sealed).decode()}).encode())
        if asked["cmd"] == "get_token":
            self.tokens += 1
            return Answer(body=json.dumps(TOKEN_REPLY).encode())
        if asked["cmd"] == "summary":
            return Answer(body=json.dumps(self.summary).encode())
        said = {"STATUS": "S", "Code": 131, "Msg": self.status}
        return Answer(body=json.dumps(said).encode())


@pytest.fixture
def miner() -> Miner:
    return Miner()


@pytest.fixture
def driver(miner, device_of, clock) -> WhatsminerV2:
    login = Login(username="super", password="admin")
    device = device_of("whatsminer-v2", "WhatsMiner M50S", login=login)
    return WhatsminerV2(device, tcp=MemoryTcpJson(miner.tcp), clock=clock)


def verbs(miner: Miner) -> list[tuple[str, str | None]]:
    return [(asked["cmd"], asked.get("percent")) for asked in miner.asked]


def test_the_token_is_the_one_of_the_manuals_reference() -> None:
    token = cipher.derive_token(codec.content(json.dumps(TOKEN_REPLY).encode()), "admin")
    assert token.aes_key == hashlib.sha256(KEY.encode()).digest()
    assert token.sign == "w.BNbkCV6n1aNWgiBWLzT/", "openssl passwd -1 -salt jbzkfQls KEY+5626"
    assert token.sign not in repr(token)


def test_sleep_is_power_off_with_the_answer_before(miner, driver, virtually) -> None:
    assert virtually(driver.apply(Sleep())) == Applied()
    assert [(asked["cmd"], asked["respbefore"]) for asked in miner.asked] == [("power_off", "true")]


@pytest.mark.parametrize("name", ["mineroff", "btmineroff"])
def test_a_miner_that_is_off_is_asleep_already(miner, driver, virtually, name) -> None:
    miner.status = {name: "true", "power_mode": "normal"}
    assert virtually(driver.apply(Sleep())) == AlreadySo()
    assert miner.asked == []


@pytest.mark.parametrize(
    ("off", "wake", "sent"),
    [
        ("true", Wake(), [("power_on", None)]),
        ("false", Wake(), []),
        ("true", Wake(mode=WorkMode.NORMAL, raw_mode="normal"), [("power_on", None)]),
        ("true", Wake(raw_mode="low"), [("set_low_power", None), ("power_on", None)]),
        ("true", Wake(power_limit_w=3300.0), [("power_on", None)]),
        ("true", Wake(power_limit_w=1650.0), [("power_on", None), ("set_power_pct", "50")]),
        ("false", Wake(power_limit_w=3300.0), [("set_power_pct", "100")]),
    ],
    ids=repr,
)
def test_wake_sends_only_what_differs(miner, driver, virtually, off, wake, sent) -> None:
    miner.status["mineroff"] = off
    outcome = virtually(driver.apply(wake))
    assert verbs(miner) == sent
    writes = sum(1 for verb, _ in sent if verb.endswith("_power"))
    assert outcome == (Applied(persistent_writes=writes) if sent else AlreadySo())


@pytest.mark.parametrize(
    ("limit_w", "rated_w", "wanted_w", "percent"),
    [
        (3300.0, 3276.0, 1650.0, 50),
        (3300.0, 3276.0, 3299.0, 99),
        (3300.0, 3276.0, 9999.0, 100),
        (None, 3000.0, 1650.0, 50),
        (99_999.0, 3000.0, 1650.0, 50),
        (0.0, 3000.0, 1650.0, 50),
        (3300.0, 3276.0, 32.0, 0),
        (3300.0, 3276.0, -5.0, 0),
        (3300.0, 3276.0, float("nan"), 0),
        (3300.0, 3276.0, float("inf"), 100),
    ],
)
def test_the_percentage_errs_towards_less(limit_w, rated_w, wanted_w, percent) -> None:
    found = codec.percent_for(wanted_w, power_limit_w=limit_w, rated_power_w=rated_w)
    assert found == percent
    full_w = min(limit_w or 1e9, rated_w * codec.NAMEPLATE_TOLERANCE)
    assert found in {0, 100} or found * full_w / 100 <= wanted_w + 1e-6


def test_a_power_limit_is_a_temporary_percentage(miner, driver, virtually) -> None:
    assert virtually(driver.apply(LimitPower(power_w=1650.0))) == Applied(persistent_writes=0)
    assert verbs(miner) == [("set_power_pct", "50")]


@pytest.mark.parametrize(("off", "power_w"), [("true", 1650.0), ("false", 10.0)])
def test_a_limit_that_cannot_be_held_is_refused(miner, driver, virtually, off, power_w) -> None:
    miner.status["mineroff"] = off
    outcome = virtually(driver.apply(LimitPower(power_w=power_w)))
    assert isinstance(outcome, Refused)
    assert outcome.reason == "unsupported"
    assert miner.asked == []


def test_the_token_is_kept_25_minutes(miner, driver, virtually) -> None:
    async def run() -> list[int]:
        counts = []
        for wait_s in (0.0, TOKEN_LIFE_S - 1.0, 2.0):
            await asyncio.sleep(wait_s)
            await driver.apply(Sleep())
            counts.append(miner.tokens)
        return counts

    assert virtually(run()) == [1, 1, 2]


REFUSALS = [
    # code, text                                fresh token?  sent  reason
    (135, "check token err", False, 2, "applied"),
    (135, "check token err", True, 1, "unauthorized"),
    (23, "enc json load err", True, 1, "unauthorized"),
    (45, "permission denied", True, 1, "unauthorized"),
    (132, "can't access write cmd", True, 1, "unauthorized"),
    (136, "over max connect", True, 1, "busy"),
    (132, "API command ERROR", True, 1, "device_refused"),
]


@pytest.mark.parametrize(("code", "text", "fresh", "sent", "reason"), REFUSALS)
def test_codes_become_reasons(miner, driver, virtually, code, text, fresh, sent, reason) -> None:
    async def run() -> Any:
        if not fresh:
            await driver.apply(Sleep())
            miner.asked.clear()
        miner.answers = [{"STATUS": "E", "Code": code, "Msg": text}]
        return await driver.apply(Sleep())

    outcome = virtually(run())
    assert len(miner.asked) == sent
    if reason == "applied":
        assert outcome == Applied()
    else:
        assert isinstance(outcome, Refused)
        assert outcome.reason == reason
        assert str(code) in outcome.detail
        assert text in outcome.detail


def test_a_wrong_password_is_unauthorized(miner, device_of, clock, virtually) -> None:
    wrong = Login(username="super", password="wrong")
    device = device_of("whatsminer-v2", "WhatsMiner M50S", login=wrong)

    def tcp(host: str, port: int, request: bytes) -> Answer:
        try:
            return miner.tcp(host, port, request)
        except (ValueError, UnicodeDecodeError):
            return Answer(body=b'{"STATUS":"E","Code":23,"Msg":"enc json load err"}')

    outcome = virtually(WhatsminerV2(device, tcp=MemoryTcpJson(tcp), clock=clock).apply(Sleep()))
    assert isinstance(outcome, Refused)
    assert outcome.reason == "unauthorized"


def test_power_is_taken_in_both_spellings() -> None:
    def power_w(row: dict[str, Any]) -> float | None:
        body = json.dumps({"STATUS": [{"STATUS": "S"}], "SUMMARY": [row]}).encode()
        return codec.decode_summary(body).power_w

    assert power_w({"Power": 3200}) == 3200.0
    assert power_w({"Power_RT": 3215}) == 3215.0
    assert power_w({"Power": 3200, "Power_RT": 3215}) == 3215.0
    assert power_w({"Power": 0}) == 0.0, "0 W means 0 W"
    assert power_w({}) is None


def test_off_without_a_mining_process_is_not_hashing(miner, driver, virtually) -> None:
    miner.status["mineroff"] = "true"
    miner.summary = {"STATUS": "E", "Code": 14, "Msg": "invalid cmd"}
    reading = virtually(driver.read())
    assert (reading.hashing, reading.mode) == (False, WorkMode.SLEEP)
    assert (reading.hashrate_ths, reading.power_w, reading.raw_mode) == (None, None, "normal")
    miner.status["mineroff"] = "false"
    with pytest.raises(DeviceRefused):
        virtually(driver.read())


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ('{"error_code":[]}', ()),
        ('{"error_code":[{"218":"2024-06-15"},{"110":"2024"}]}', ("error 218", "error 110")),
        ('{"error_code":["218",110]}', ("error 218", "error 110")),
        ('{"error_code":[{"<b>":"x"},{},null]}', ()),
    ],
)
def test_error_codes(body, errors) -> None:
    whole = f'{{"STATUS":"S","Code":131,"Msg":{body}}}'.encode()
    assert codec.decode_errors(whole) == errors


@pytest.mark.parametrize(
    ("said", "model"),
    [("M50S_VH50", "M50S VH50"), ("M60SVK40", "M60S VK40"), ("M30S++_VH50", "M30S++ VH50")],
)
def test_models(said, model) -> None:
    body = json.dumps({"DEVDETAILS": [{"Model": said}]}).encode()
    assert codec.decode_model(body) == model


def test_known_faults_of_the_vendors_json_are_mended() -> None:
    body = b'{"STATUS":[{"STATUS":"S"}],"SUMMARY":[{"Power":3200,"Power Mode":"Nor\nmal",}]}'
    assert codec.decode_summary(body).power_w == 3200.0


@pytest.mark.parametrize(
    "salts",
    [("", "a", "1"), ("$x", "a", "1"), ("a" * 99, "a", "1"), ("a", "\n", "1"), ("a", "b", "x")],
)
def test_a_token_of_nonsense_is_an_error(salts) -> None:
    names = ("salt", "newsalt", "time")
    message = dict(zip(names, salts, strict=True))
    with pytest.raises(ReplyError):
        cipher.derive_token(
            codec.content(json.dumps({"STATUS": "S", "Msg": message}).encode()), "admin"
        )


@pytest.mark.parametrize("sealed", ["", "!", "AAAA", "A" * 24, "QUJD" * 8])
def test_a_sealed_answer_of_nonsense_is_an_error(sealed) -> None:
    token = cipher.derive_token(codec.content(json.dumps(TOKEN_REPLY).encode()), "admin")
    with pytest.raises(ReplyError):
        codec.decode_answer(token, json.dumps({"enc": sealed}).encode())


def test_whether_it_is_off_is_asked_while_it_does_not_hash(miner, driver, virtually) -> None:
    """What cannot be joined costs a connection: it is asked only when it can have changed."""
    status_asked: list[str] = []

    def tcp(host: str, port: int, request: bytes) -> Answer:
        if b'"status"' in request:
            status_asked.append(request.decode())
        return miner.tcp(host, port, request)

    driver._tcp = MemoryTcpJson(tcp)

    async def reads(hashrate: float, *, off: bool, after_s: float = 5.0) -> list[WorkMode | None]:
        miner.summary["SUMMARY"][0]["HS RT"] = hashrate
        miner.status["mineroff"] = str(off).lower()
        modes = []
        for _ in range(3):
            await asyncio.sleep(after_s)
            modes.append((await driver.read()).mode)
        return modes

    async def play() -> None:
        assert await reads(1e8, off=False) == [WorkMode.NORMAL] * 3
        assert len(status_asked) == 1
        assert await reads(0.0, off=True) == [WorkMode.SLEEP] * 3
        assert len(status_asked) == 4, "in every read while it does not hash"
        assert await reads(1e8, off=False) == [WorkMode.NORMAL] * 3
        assert len(status_asked) == 5, "once to see that it is on again"
        await driver.apply(LimitPower(power_w=2_000.0))
        before = len(status_asked)
        await driver.read()
        assert len(status_asked) == before + 1, "after a command"
        await reads(1e8, off=False, after_s=61.0)
        assert len(status_asked) == before + 4, "and once a minute"

    virtually(play())
