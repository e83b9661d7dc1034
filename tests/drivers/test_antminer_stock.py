"""The stock Antminer's traps: a write of the whole configuration, two mode keys, 21 s."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from drivers.contract.commands import AlreadySo, Applied, Refused, Sleep, Unconfirmed, Wake
from drivers.contract.errors import Malformed
from drivers.contract.readings import WorkMode
from drivers.miners.antminer_stock import codec
from drivers.miners.antminer_stock.driver import AntminerStock
from drivers.miners.cgminer import ReplyError
from drivers.transport.memory import Answer, HttpAnswer, HttpQuestion, MemoryHttp, MemoryTcpJson
from drivers.transport.ports import HttpReply

POOL = {"url": "stratum+tcp://pool.example:3333", "user": "w.1", "pass": "x"}
EMPTY_POOL = {"url": "", "user": "", "pass": ""}
WHOLE = {
    "pools": [POOL, EMPTY_POOL, EMPTY_POOL],
    "bitmain-fan-ctrl": False,
    "bitmain-fan-pwm": "100",
    "bitmain-freq": "525",
    "nested": {"kept": [1, 2.5, None, True]},
    "bitmain-work-mode": "0",
    "bitmain-freq-level": "100",
}


class Web:
    """The web service: stores what is written; the hooks bend it."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.writes: list[dict[str, Any]] = []
        self.answer_s = 21.0
        self.takes: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]] = lambda _, new: new
        self.answer: dict[str, Any] = {"stats": "success", "code": "M000", "msg": "OK!"}

    def handle(self, host: str, port: int, question: HttpQuestion) -> HttpAnswer:
        if question.method == "GET":
            return self.say(self.config)
        self.writes.append(json.loads(question.body))
        self.config = self.takes(self.config, self.writes[-1])
        return self.say(self.answer, self.answer_s)

    def say(self, what: dict[str, Any], after_s: float = 0.0) -> HttpAnswer:
        reply = HttpReply(status=200, headers={}, body=json.dumps(what).encode())
        return HttpAnswer(reply=reply, after_s=after_s)


def asleep_without_lists(host: str, port: int, request: bytes) -> Answer:
    """Some builds answer with empty lists while they sleep."""
    name = json.loads(request)["command"].upper()
    return Answer(body=json.dumps({"STATUS": [{"STATUS": "S"}], name: []}).encode())


@pytest.fixture
def web() -> Web:
    return Web(dict(WHOLE))


@pytest.fixture
def driver(web, device_of, clock) -> AntminerStock:
    tcp = MemoryTcpJson(asleep_without_lists)
    device = device_of("antminer-stock", "Antminer S19 Pro")
    return AntminerStock(device, tcp=tcp, http=MemoryHttp(web.handle), clock=clock)


def test_sleep_writes_both_keys_and_keeps_all_else_value_for_value(web, driver, virtually) -> None:
    assert virtually(driver.apply(Sleep())) == Applied(persistent_writes=1)
    (written,) = web.writes
    assert (written["bitmain-work-mode"], written["miner-mode"]) == ("1", "1")
    changed = {"bitmain-work-mode", "miner-mode"}
    kept = {key: value for key, value in written.items() if key not in changed}
    assert kept == {key: value for key, value in WHOLE.items() if key not in changed} | {
        "freq-level": "100"
    }


@pytest.mark.parametrize(
    ("keys", "written"),
    [
        ({"bitmain-work-mode": "0"}, ("1", "1")),
        ({"bitmain-work-mode": 0}, (1, 1)),
        ({"miner-mode": 0}, (1, 1)),
        ({"bitmain-work-mode": "0", "miner-mode": 0}, ("1", 1)),
    ],
    ids=repr,
)
def test_each_key_is_written_in_the_type_that_the_firmware_has(
    web, driver, virtually, keys, written
) -> None:
    del web.config["bitmain-work-mode"]
    web.config |= keys
    assert isinstance(virtually(driver.apply(Sleep())), Applied)
    assert (web.writes[0]["bitmain-work-mode"], web.writes[0]["miner-mode"]) == written


def test_already_so_writes_nothing(web, driver, virtually) -> None:
    web.config |= {"bitmain-work-mode": "1", "miner-mode": "1"}
    assert virtually(driver.apply(Sleep())) == AlreadySo()
    assert virtually(driver.prepare()) == AlreadySo()
    assert web.writes == []


def test_no_frame_is_prepared_where_the_device_asks_for_no_login(web, driver, virtually) -> None:
    with pytest.raises(Malformed, match="HTTP status 200 without a digest challenge"):
        virtually(driver.prepare())
    web.config.pop("pools")
    with pytest.raises(Malformed, match="configuration without pools"):
        virtually(driver.prepare())
    assert web.writes == []


def test_one_key_that_says_sleep_is_not_enough_unless_we_wrote_both(web, driver, virtually) -> None:
    web.config["bitmain-work-mode"] = "1"
    web.takes = lambda old, new: {k: v for k, v in new.items() if k in old}

    async def twice() -> list[Any]:
        return [await driver.apply(Sleep()), await driver.apply(Sleep())]

    assert virtually(twice()) == [Applied(persistent_writes=1), AlreadySo()]


@pytest.mark.parametrize(
    ("wake", "mode"),
    [
        (Wake(), "0"),
        (Wake(mode=WorkMode.NORMAL), "0"),
        (Wake(mode=WorkMode.LOW, raw_mode="3"), "3"),
        (Wake(raw_mode="2"), "2"),
    ],
    ids=repr,
)
def test_wake_restores_exactly_the_mode_before(web, driver, virtually, wake, mode) -> None:
    web.config |= {"bitmain-work-mode": "1", "miner-mode": "1"}
    assert virtually(driver.apply(wake)) == Applied(persistent_writes=1)
    assert (web.writes[0]["bitmain-work-mode"], web.writes[0]["miner-mode"]) == (mode, mode)


@pytest.mark.parametrize(
    "wake",
    [Wake(mode=WorkMode.LOW), Wake(mode=WorkMode.HIGH), Wake(raw_mode="1"), Wake(raw_mode="-1")],
    ids=repr,
)
def test_a_mode_that_sources_disagree_on_is_refused(web, driver, virtually, wake) -> None:
    outcome = virtually(driver.apply(wake))
    assert isinstance(outcome, Refused)
    assert outcome.reason == "unsupported"
    assert web.writes == []


INCOMPLETE = {
    "no pools": {"pools": None},
    "pools empty": {"pools": []},
    "three empty pools": {"pools": [EMPTY_POOL] * 3},
    "a pool without user": {"pools": [POOL | {"user": ""}]},
    "a pool without pass": {"pools": [{"url": POOL["url"], "user": "w"}]},
    "a pool that is none": {"pools": [POOL, "stratum"]},
    "a url that is none": {"pools": [POOL | {"url": "\x00\x17broken"}]},
    "no fan settings": {"bitmain-fan-ctrl": None},
    "no mode": {"bitmain-work-mode": None},
    "a mode that is none": {"bitmain-work-mode": "asleep"},
    "a mode that is a list": {"bitmain-work-mode": ["0"]},
}


@pytest.mark.parametrize("broken", INCOMPLETE)
def test_an_incomplete_configuration_is_never_written_back(web, driver, virtually, broken) -> None:
    for key, value in INCOMPLETE[broken].items():
        web.config[key] = value
        if value is None:
            del web.config[key]
    outcome = virtually(driver.apply(Sleep()))
    assert isinstance(outcome, Refused)
    assert outcome.reason == "malformed_state"
    assert web.writes == []


def test_the_write_is_given_35_seconds_and_is_not_sent_again(web, driver, virtually) -> None:
    web.answer_s = 34.0
    assert isinstance(virtually(driver.apply(Sleep())), Applied)
    web.writes.clear()
    web.answer_s = 10_000.0
    outcome = virtually(driver.apply(Wake()))
    assert isinstance(outcome, Unconfirmed)
    assert len(web.writes) == 1


def test_a_no_is_refused_with_the_vendors_words(web, driver, virtually) -> None:
    web.answer = {"stats": "error", "code": "M001", "msg": "Invalid pool!"}
    outcome = virtually(driver.apply(Sleep()))
    assert isinstance(outcome, Refused)
    assert (outcome.reason, outcome.detail) == ("device_refused", "M001 Invalid pool!")


def test_pools_that_differ_afterwards_are_told(web, driver, virtually) -> None:
    web.takes = lambda _, new: new | {"pools": [POOL | {"url": "stratum+tcp://other:1"}]}
    outcome = virtually(driver.apply(Sleep()))
    assert isinstance(outcome, Unconfirmed)
    assert "pools" in outcome.detail


def test_a_write_without_effect_is_refused(web, driver, virtually) -> None:
    web.takes = lambda old, _: old
    outcome = virtually(driver.apply(Sleep()))
    assert isinstance(outcome, Refused)
    assert "still reports" in outcome.detail


def test_asleep_without_any_rate_is_not_hashing_and_its_rate_is_unknown(
    web, driver, virtually
) -> None:
    web.config |= {"bitmain-work-mode": "1", "miner-mode": "1"}
    reading = virtually(driver.read())
    assert (reading.hashing, reading.hashrate_ths, reading.mode) == (False, None, WorkMode.SLEEP)


def test_awake_without_any_rate_is_unknown(driver, virtually) -> None:
    reading = virtually(driver.read())
    assert (reading.hashing, reading.hashrate_ths) == (None, None)


def test_the_mode_is_read_afresh_after_a_command(driver, virtually) -> None:
    async def run() -> list[WorkMode | None]:
        before = await driver.read()
        await driver.apply(Sleep())
        return [before.mode, (await driver.read()).mode]

    assert virtually(run()) == [WorkMode.NORMAL, WorkMode.SLEEP]


def test_two_keys_that_disagree_are_no_mode(web, driver, virtually) -> None:
    web.config |= {"bitmain-work-mode": "1", "miner-mode": "0"}
    reading = virtually(driver.read())
    assert (reading.mode, reading.raw_mode) == (None, None)


def test_a_profile_with_too_short_a_deadline_is_an_error(device_of, clock) -> None:
    device = device_of("luxos", "Antminer S19 Pro")
    with pytest.raises(ValueError, match="command_deadline_s must be at least 35 s"):
        AntminerStock(device, tcp=MemoryTcpJson(asleep_without_lists), http=None, clock=clock)


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (b'{"stats":"success","code":"M000","msg":"OK!"}', None),
        (b'{"stats":"success"}', None),
        (b'{"stats":"error","code":"M002","msg":"no"}', "M002 no"),
        (b'{"code":"M001"}', "M001"),
    ],
)
def test_write_replies(body, refusal) -> None:
    assert codec.decode_write_reply(body) == refusal


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b'{"code":1}', b"M000"])
def test_write_replies_that_say_nothing(body) -> None:
    with pytest.raises(ReplyError):
        codec.decode_write_reply(body)


def test_a_cancelled_command_leaves_the_driver_usable(web, driver, virtually) -> None:
    async def run() -> Any:
        task = asyncio.create_task(driver.apply(Sleep()))
        await asyncio.sleep(1.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await driver.apply(Wake(raw_mode="2"))

    assert isinstance(virtually(run()), Applied)


def test_the_configuration_is_read_again_when_it_can_have_changed(
    web, device_of, clock, virtually
) -> None:
    """Who stores another one at the miner's page makes it restart."""
    live: dict[str, Any] = {"GHS 5s": 110_000.0, "Elapsed": 1_000}

    def stats(host: str, port: int, request: bytes) -> Answer:
        return Answer(body=json.dumps({"STATUS": [{"STATUS": "S"}], "STATS": [live]}).encode())

    asked: list[str] = []

    def handle(host: str, port: int, question: HttpQuestion) -> HttpAnswer:
        asked.append(question.path)
        return web.handle(host, port, question)

    driver = AntminerStock(
        device_of("antminer-stock", "Antminer S19 Pro"),
        tcp=MemoryTcpJson(stats),
        http=MemoryHttp(handle),
        clock=clock,
    )

    async def reads_config(hashrate_ghs: float, uptime_s: int | None) -> bool:
        await asyncio.sleep(5.0)
        live.update({"GHS 5s": hashrate_ghs, "Elapsed": uptime_s})
        before = asked.count(codec.CONFIG_PATH)
        await driver.read()
        return asked.count(codec.CONFIG_PATH) > before

    async def play() -> None:
        assert await reads_config(110_000.0, 1_005)
        assert not await reads_config(109_000.0, 1_010)
        assert await reads_config(0.0, 1_015), "hashing ended"
        assert not await reads_config(0.0, 1_020)
        assert await reads_config(110_000.0, 1_025), "hashing began"
        assert await reads_config(110_000.0, 3), "it restarted"
        assert not await reads_config(110_000.0, 8)
        assert not await reads_config(110_000.0, None), "no uptime proves nothing"
        await asyncio.sleep(300.0)
        assert await reads_config(110_000.0, 318), "five minutes"
        web.config.pop("pools")
        assert await reads_config(0.0, 323)
        assert not await reads_config(0.0, 328)
        await asyncio.sleep(60.0)
        assert await reads_config(0.0, 393), "a minute after one that could not be read"

    virtually(play())
