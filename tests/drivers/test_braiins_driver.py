"""The driver of Braiins OS+ against the simulated miner, in memory and in virtual time; its physics
judges, not the answers.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from types import NoneType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.contract.commands import (
    AlreadySo,
    Applied,
    LimitPower,
    Outcome,
    Refused,
    Sleep,
    Unconfirmed,
    Wake,
)
from drivers.contract.devices import Login, MinerDevice
from drivers.contract.errors import Malformed, Unreachable
from drivers.contract.frames import SleepFrame
from drivers.contract.readings import MinerReading, WorkMode
from drivers.miners.braiins import codec
from drivers.miners.braiins.driver import Braiins
from drivers.miners.braiins.frame import judge, sleep_frame
from drivers.profiles import load_catalogue
from drivers.transport.memory import Answer, GrpcAnswer, GrpcQuestion, MemoryGrpc, MemoryTcpJson
from simulators.devices import protobuf
from simulators.devices.grpc_wire import GrpcSession
from simulators.devices.persona import GrpcRequest
from tests.protocols.simulated_fleet import braiins_of

LIVE = "summary+temps+fans+tunerstatus"
OUTCOMES = (Applied, AlreadySo, Refused, Unconfirmed)
BEGIN_S = 1_000.0
"""Where the virtual loop's time begins."""


@dataclass
class Stage:
    """One simulated miner whose clock is the loop's; `says` puts another answer in its place.

    `asked` names what came in: joined commands of 4028 and gRPC methods.
    """

    says: dict[str, GrpcAnswer | type[OSError]] = field(default_factory=dict)
    tcp_says: bytes | None = None
    latency_s: float = 0.0
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.world, self.persona = braiins_of()

    def now_s(self) -> float:
        now_s = asyncio.get_running_loop().time() - BEGIN_S + 120.0
        self.world.advance(now_s - self.world.now_s)
        return self.world.now_s

    def tcp(self, host: str, port: int, request: bytes) -> Answer:
        assert (host, port) == ("127.9.0.1", 4028)
        self.asked.append(request.decode().removeprefix('{"command":"').removesuffix('"}'))
        now_s = self.now_s()
        if self.tcp_says is not None:
            return Answer(body=self.tcp_says, after_s=self.latency_s)
        answer = self.persona.tcp("rpc", request, now_s)
        return Answer(body=answer.body, after_s=self.latency_s)

    def grpc(self, host: str, port: int, asked: GrpcQuestion) -> GrpcAnswer:
        assert (host, port) == ("127.9.0.1", 50051)
        method = asked.path.rpartition("/")[2]
        self.asked.append(method)
        now_s = self.now_s()
        other = self.says.get(method)
        if isinstance(other, GrpcAnswer):
            return other
        if other is not None:
            raise other
        request = GrpcRequest(path=asked.path, metadata=asked.metadata, message=asked.message)
        said = self.persona.grpc(request, now_s)
        return GrpcAnswer(
            message=said.message, status=said.status, text=said.detail, after_s=self.latency_s
        )

    def configure(self, tuner: bytes) -> None:
        message = b"\x1a" + bytes([len(tuner)]) + tuner
        self.says["GetMinerConfiguration"] = GrpcAnswer(message=message)


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def driver(stage, device_of, clock) -> Callable[..., Braiins]:
    def build(login: Login | None = None) -> Braiins:
        device = device_of("braiins", "Antminer S19j Pro", login=login)
        tcp, grpc = MemoryTcpJson(stage.tcp), MemoryGrpc(stage.grpc)
        return Braiins(device, tcp=tcp, grpc=grpc, clock=clock)

    return build


def test_a_reading_has_what_the_physics_has(stage, driver, virtually) -> None:
    reading = virtually(driver().read())
    miner = stage.persona.miner
    assert reading.hashrate_ths == pytest.approx(miner.hashrate_ths)
    assert reading.hashing is True
    assert reading.power_w == pytest.approx(miner.reported_power_w, abs=0.5)
    assert reading.power_limit_w == 3_068.0
    assert (reading.mode, reading.raw_mode) == (WorkMode.NORMAL, None)
    assert (reading.make, reading.model) == ("AntMiner", "Antminer S19j Pro")
    assert reading.firmware_version == "2025-06-25-0-45f356ea-25.05.1-plus"
    assert (reading.serial, reading.mac) == (stage.persona.serial, stage.persona.mac.upper())
    assert reading.chip_temperature_c == pytest.approx(miner.chip_temperature_c, abs=0.1)
    assert len(reading.board_temperatures_c) == 3
    assert len(reading.fans_rpm) == 4
    assert list(reading.pool_urls) == [pool.url for pool in stage.persona.pools]
    assert reading.faults == ()
    assert stage.asked == [f"{LIVE}+pools", "Login", "GetMinerDetails"]


def test_a_steady_miner_costs_one_connection_and_once_a_minute_two(stage, driver, virtually):
    async def watch() -> list[list[str]]:
        miner, costs = driver(), []
        for _ in range(14):
            await miner.read()
            costs.append(list(stage.asked))
            stage.asked.clear()
            await asyncio.sleep(10.0)
        return costs

    costs = virtually(watch())
    minute = [f"{LIVE}+pools", "GetMinerDetails"]
    assert [cost for cost in costs[1:] if cost != [LIVE]] == [minute] * 2
    slow = [at for at, cost in enumerate(costs) if cost != [LIVE]]
    assert all(4 < later - earlier <= 6 for earlier, later in pairwise(slow)), "once a minute"


def test_sleep_and_wake_are_seen_at_once_and_write_nothing(stage, driver, virtually) -> None:
    async def play() -> None:
        miner = driver()
        await miner.read()
        assert await miner.apply(Sleep()) == Applied(persistent_writes=0)
        ramping = await miner.read()
        assert (ramping.hashing, ramping.mode) == (True, WorkMode.SLEEP)
        assert await miner.apply(Sleep()) == AlreadySo()
        await asyncio.sleep(10.0)
        asleep = await miner.read()
        assert (asleep.hashing, asleep.mode) == (False, WorkMode.SLEEP)
        assert asleep.hashrate_ths == 0.0
        assert stage.persona.miner.wall_power_w < 100.0
        assert await miner.apply(Wake(power_limit_w=asleep.power_limit_w)) == Applied()
        assert await miner.apply(Wake()) == AlreadySo()
        await asyncio.sleep(60.0)
        awake = await miner.read()
        assert (awake.hashing, awake.mode) == (True, WorkMode.NORMAL)

    virtually(play())
    assert stage.persona.persistent_writes == 0
    assert "SetPowerTarget" not in stage.asked


def test_a_pause_by_somebody_else_is_seen_when_hashing_ends(stage, driver, virtually) -> None:
    async def play() -> tuple[MinerReading, list[str]]:
        miner = driver()
        await miner.read()
        stage.persona.control("pause", stage.now_s())
        await asyncio.sleep(10.0)
        stage.asked.clear()
        reading = await miner.read()
        await miner.read()
        return reading, stage.asked

    reading, asked = virtually(play())
    assert (reading.hashing, reading.mode) == (False, WorkMode.SLEEP)
    assert asked == [LIVE, "GetMinerDetails", LIVE]


def test_a_limit_is_written_once_and_held_at_the_wall(stage, driver, virtually) -> None:
    async def play() -> None:
        miner = driver()
        assert await miner.apply(LimitPower(power_w=2_000.9)) == Applied(persistent_writes=1)
        assert await miner.apply(LimitPower(power_w=2_000.0)) == AlreadySo()
        await asyncio.sleep(40.0)
        reading = await miner.read()
        assert reading.power_limit_w == 2_000.0
        assert stage.persona.miner.wall_power_w == pytest.approx(2_000.0)
        assert stage.asked.count("GetConstraints") == 1, "the bounds are kept"
        assert await miner.apply(Wake(power_limit_w=3_068.0)) == Applied(persistent_writes=1)

    virtually(play())
    assert stage.persona.persistent_writes == 2
    assert stage.persona.target_w == 3_068


@pytest.mark.parametrize(("power_w", "stands_w"), [(0.0, 920), (100.0, 920), (9_999.0, 3_375)])
def test_a_limit_is_clamped_to_what_the_firmware_takes(
    stage, driver, virtually, power_w, stands_w
) -> None:
    assert virtually(driver().apply(LimitPower(power_w=power_w))) == Applied(persistent_writes=1)
    assert stage.persona.target_w == stands_w


def test_without_bounds_the_firmware_itself_says_no(stage, driver, virtually) -> None:
    stage.says["GetConstraints"] = GrpcAnswer(message=None, status=12)
    outcome = virtually(driver().apply(LimitPower(power_w=100.0)))
    assert isinstance(outcome, Refused)
    assert outcome.reason == "device_refused"
    assert "outside of 920" in outcome.detail
    zero = virtually(driver().apply(LimitPower(power_w=0.4)))
    assert isinstance(zero, Refused)
    assert "use Sleep" in zero.detail
    assert stage.persona.persistent_writes == 0


@pytest.mark.parametrize(
    "tuner",
    [b"\x08\x00\x1a\x03\x08\xd0\x0f", b"\x08\x01\x10\x02"],
    ids=["off, with 2000 W stored", "after a hashrate"],
)
def test_a_tuner_without_a_power_target_is_left_as_it_is(stage, driver, virtually, tuner) -> None:
    stage.configure(tuner)
    limited = virtually(driver().apply(LimitPower(power_w=2_000.0)))
    assert isinstance(limited, Refused)
    assert limited.reason == "unsupported"
    assert "use Sleep" in limited.detail
    stage.persona.control("pause", 130.0)
    assert virtually(driver().apply(Wake(power_limit_w=2_000.0))) == Applied()
    assert stage.persona.persistent_writes == 0


def test_a_wake_to_the_stored_target_asks_for_no_bounds(stage, driver, virtually) -> None:
    stage.persona.control("pause", 130.0)
    assert virtually(driver().apply(Wake(power_limit_w=3_068.0))) == Applied()
    assert stage.asked == ["Login", "GetMinerConfiguration", "ResumeMining"]


def test_what_the_miner_then_says_decides(stage, driver, virtually) -> None:
    stage.says["SetPowerTarget"] = GrpcAnswer(message=protobuf.encode({1: {1: 2_500}}))
    outcome = virtually(driver().apply(LimitPower(power_w=2_000.0)))
    assert outcome == Unconfirmed(detail="asked for 2000 W, and the miner says 2500 W")


@pytest.mark.parametrize("mode", [WorkMode.LOW, WorkMode.HIGH, WorkMode.SLEEP])
def test_there_are_no_modes_to_wake_into(stage, driver, virtually, mode) -> None:
    for command in (Wake(mode=mode), Wake(raw_mode="2")):
        outcome = virtually(driver().apply(command))
        assert isinstance(outcome, Refused)
        assert outcome.reason == "unsupported"
    assert stage.asked == []


def test_a_token_is_kept_while_it_is_used_and_replaced_before_it_ends(
    stage, driver, virtually
) -> None:
    async def play() -> None:
        miner = driver()
        for _ in range(2):
            assert await miner.apply(Wake()) == AlreadySo()
            await asyncio.sleep(3_000.0)
        assert stage.asked.count("Login") == 1, "every use renews it"
        await asyncio.sleep(300.0)
        assert await miner.apply(Wake()) == AlreadySo()
        assert stage.asked.count("Login") == 2, "3300 s unused: it would end within minutes"

    virtually(play())


def test_a_forgotten_token_costs_one_more_login(stage, driver, virtually) -> None:
    async def play() -> Outcome:
        miner = driver()
        await miner.read()
        stage.persona._tokens.clear()
        stage.asked.clear()
        return await miner.apply(Sleep())

    assert virtually(play()) == Applied()
    assert stage.asked == ["PauseMining", "Login", "PauseMining"]


def test_a_token_that_never_holds_is_not_tried_for_ever(stage, driver, virtually) -> None:
    stage.says["PauseMining"] = GrpcAnswer(message=None, status=16, text="token")
    outcome = virtually(driver().apply(Sleep()))
    assert isinstance(outcome, Refused)
    assert outcome.reason == "unauthorized"
    assert stage.asked == ["Login", "PauseMining", "Login", "PauseMining"]


def test_a_wrong_login_leaves_the_live_values(stage, driver, virtually) -> None:
    async def play() -> tuple[Outcome, MinerReading, MinerReading]:
        miner = driver(Login(username="root", password="wrong"))
        outcome = await miner.apply(Sleep())
        first = await miner.read()
        stage.asked.clear()
        return outcome, first, await miner.read()

    outcome, first, second = virtually(play())
    assert isinstance(outcome, Refused)
    assert outcome.reason == "unauthorized"
    assert first.hashing is True
    assert first.mode is None
    assert first.faults == ("Login unreadable: gRPC status 16: wrong user name or password",)
    assert second.mode is None
    assert stage.asked == [LIVE], "it is not asked again within the minute"


DEAD: dict[str, tuple[GrpcAnswer | type[OSError], str]] = {
    "refused": (ConnectionRefusedError, "unreachable"),
    "out of order": (GrpcAnswer(message=None, status=8, text="busy"), "busy"),
    "no such method": (GrpcAnswer(message=None, status=12), "unsupported"),
    "said no": (GrpcAnswer(message=None, status=9, text="not now"), "device_refused"),
}
UNCERTAIN: dict[str, GrpcAnswer | type[OSError]] = {
    "hangs up": ConnectionResetError,
    "silent": GrpcAnswer(message=None),
    "internal error": GrpcAnswer(message=None, status=13),
    "garbage": GrpcAnswer(message=b"\xff" * 600),
    "10 MB": GrpcAnswer(message=b"A" * 10_000_000),
}
COMMANDS = {
    "PauseMining": Sleep(),
    "ResumeMining": Wake(),
    "SetPowerTarget": LimitPower(power_w=2_000.0),
}


@pytest.mark.parametrize("method", COMMANDS)
@pytest.mark.parametrize("how", DEAD)
def test_a_plain_no_is_refused(stage, driver, virtually, method, how) -> None:
    stage.says[method], reason = DEAD[how]
    outcome = virtually(driver().apply(COMMANDS[method]))
    assert isinstance(outcome, Refused)
    assert outcome.reason == reason
    assert stage.asked.count(method) == 1


@pytest.mark.parametrize("method", COMMANDS)
@pytest.mark.parametrize("how", UNCERTAIN)
def test_what_may_have_been_carried_out_is_unconfirmed_and_never_sent_again(
    stage, driver, virtually, method, how
) -> None:
    stage.says[method] = UNCERTAIN[how]
    outcome = virtually(driver().apply(COMMANDS[method]))
    assert isinstance(outcome, Unconfirmed)
    assert outcome.detail
    assert stage.asked.count(method) == 1


@pytest.mark.parametrize("method", ["Login", "GetMinerConfiguration", "GetConstraints"])
@pytest.mark.parametrize("how", [*UNCERTAIN, "refused", "said no"])
def test_what_fails_before_the_command_is_refused(stage, driver, virtually, method, how) -> None:
    stage.says[method] = UNCERTAIN.get(how) or DEAD[how][0]
    outcome = virtually(driver().apply(LimitPower(power_w=2_000.0)))
    assert isinstance(outcome, Refused)
    assert "SetPowerTarget" not in stage.asked


def test_a_target_that_was_set_and_a_resume_that_was_not_are_uncertain(
    stage, driver, virtually
) -> None:
    stage.says["ResumeMining"] = DEAD["said no"][0]
    outcome = virtually(driver().apply(Wake(power_limit_w=2_500.0)))
    assert isinstance(outcome, Unconfirmed)
    assert "the target is set" in outcome.detail
    assert stage.persona.target_w == 2_500


def test_a_target_that_fails_ends_the_wake(stage, driver, virtually) -> None:
    stage.says["SetPowerTarget"] = DEAD["said no"][0]
    outcome = virtually(driver().apply(Wake(power_limit_w=2_500.0)))
    assert isinstance(outcome, Refused)
    assert "ResumeMining" not in stage.asked


@pytest.mark.parametrize("how", UNCERTAIN)
def test_without_grpc_the_live_values_are_read(stage, driver, virtually, how) -> None:
    stage.says["GetMinerDetails"] = UNCERTAIN[how]
    reading = virtually(driver().read())
    assert reading.hashing is True
    assert reading.power_w > 2_900.0
    assert (reading.mode, reading.model) == (None, None)
    assert len(reading.faults) == 1
    assert reading.faults[0].startswith("GetMinerDetails unreadable: ")


def test_an_older_status_is_forgotten_and_the_identity_is_not(stage, driver, virtually) -> None:
    async def play() -> MinerReading:
        miner = driver()
        await miner.read()
        stage.says["GetMinerDetails"] = ConnectionResetError
        await asyncio.sleep(61.0)
        return await miner.read()

    reading = virtually(play())
    assert (reading.mode, reading.model) == (None, "Antminer S19j Pro")


def test_a_status_that_is_no_mode_is_told(stage, driver, virtually) -> None:
    stage.says["GetMinerDetails"] = GrpcAnswer(message=protobuf.encode({12: 5}))
    reading = virtually(driver().read())
    assert reading.mode is None
    assert reading.faults == ("the firmware says that it is restricted",)


def test_power_comes_by_grpc_where_4028_does_not_tell_it(stage, driver, virtually) -> None:
    stage.tcp_says = b'{"summary":[{"SUMMARY":[{"MHS 5s":104000000}]}],"temps":[],"fans":[]}'
    reading = virtually(driver().read())
    assert reading.power_w == pytest.approx(stage.persona.miner.reported_power_w, abs=0.5)
    assert reading.power_limit_w is None
    assert reading.pool_urls is None
    assert [fault.partition(" ")[0] for fault in reading.faults] == ["temps", "fans", "tunerstatus"]
    assert stage.asked == [f"{LIVE}+pools", "Login", "GetMinerDetails", "GetMinerStats"]


def test_without_power_from_anywhere_the_status_is_still_new(stage, driver, virtually) -> None:
    stage.tcp_says = b'{"summary":[{"SUMMARY":[{"MHS 5s":0}]}]}'
    stage.says["GetMinerStats"] = ConnectionResetError

    async def play() -> tuple[MinerReading, MinerReading]:
        miner = driver()
        first = await miner.read()
        stage.persona.control("pause", stage.now_s())
        await asyncio.sleep(61.0)
        return first, await miner.read()

    first, second = virtually(play())
    assert (first.power_w, first.mode) == (None, WorkMode.NORMAL)
    assert (second.power_w, second.mode) == (None, WorkMode.SLEEP)
    assert "GetMinerStats unreadable" in second.faults[-1]


@pytest.mark.parametrize("said", [b"", b"nonsense", b"{}", b"null", b"[" * 100_000, b"A" * 10**7])
def test_a_broken_reply_on_4028_is_malformed(stage, driver, virtually, said) -> None:
    stage.tcp_says = said
    with pytest.raises(Malformed):
        virtually(driver().read())
    assert "Login" not in stage.asked


def test_every_deadline_holds(stage, driver, virtually) -> None:
    async def timed(work) -> tuple[Any, float]:
        begun_s = asyncio.get_running_loop().time()
        found = await asyncio.gather(work, return_exceptions=True)
        return found[0], asyncio.get_running_loop().time() - begun_s

    async def play() -> None:
        stage.latency_s = 3.0
        reading, took_s = await timed(driver().read())
        assert reading.hashing is True
        assert reading.faults == ("Login unreadable: no whole reply within 2 s",)
        assert took_s == pytest.approx(5.0)
        outcome, took_s = await timed(driver().apply(Wake(power_limit_w=2_500.0)))
        assert isinstance(outcome, Unconfirmed), "login, stored target, bounds, target, no time"
        assert took_s == pytest.approx(15.0)
        stage.latency_s = 6.0
        error, took_s = await timed(driver().read())
        assert isinstance(error, Unreachable)
        assert took_s == pytest.approx(5.0)
        outcome, took_s = await timed(driver().apply(Sleep()))
        assert isinstance(outcome, Refused)
        assert took_s == pytest.approx(5.0)

    virtually(play())


def answer_to(stage: Stage, frame: SleepFrame) -> bytes:
    """What the simulated miner sends back when the frame is sent to it."""
    session = GrpcSession()
    head = session.bytes_to_send()
    for stream_id, request in session.receive(frame.request):
        session.answer(stream_id, stage.persona.grpc(request, stage.world.now_s))
    return head + session.bytes_to_send()


def test_a_prepared_pause_is_the_same_pause(stage, driver, virtually) -> None:
    frame = virtually(driver().prepare())
    assert (frame.miner_id, frame.host, frame.port) == ("m1", "127.9.0.1", 50051)
    assert "authorization" not in repr(frame)
    said = answer_to(stage, frame)
    assert [at for at in range(len(said) + 1) if judge(frame, said[:at], False)] == [len(said)]
    assert judge(frame, said, False) == Applied()
    assert stage.persona.miner.sleep_wanted
    assert judge(frame, answer_to(stage, frame), False) == AlreadySo()


def test_a_prepared_pause_with_a_forgotten_token_is_told(stage, driver, virtually) -> None:
    frame = virtually(driver().prepare())
    stage.persona._tokens.clear()
    outcome = judge(frame, answer_to(stage, frame), False)
    assert isinstance(outcome, Refused)
    assert outcome.reason == "unauthorized"
    assert not stage.persona.miner.sleep_wanted


def test_a_prepared_pause_has_a_token_that_lasts(stage, driver, virtually) -> None:
    async def play() -> None:
        miner = driver()
        first = await miner.prepare()
        assert first.valid_until_s == pytest.approx(BEGIN_S + 3_240.0)
        await asyncio.sleep(2_600.0)
        assert (await miner.prepare()).valid_until_s == first.valid_until_s
        assert stage.asked == ["Login"]
        await asyncio.sleep(100.0)
        assert (await miner.prepare()).valid_until_s == pytest.approx(BEGIN_S + 5_940.0)

    virtually(play())


@cache
def prepared() -> tuple[SleepFrame, bytes]:
    """A frame, and the simulated miner's answer to it."""
    stage, catalogue = Stage(), load_catalogue()
    device = MinerDevice(
        miner_id="m1",
        host="127.9.0.1",
        profile=catalogue.profile("braiins"),
        model=catalogue.model("Antminer S19j Pro"),
    )
    session = codec.Session(token="t", life_s=3_600)
    stage.persona._tokens["t"] = 1e9
    frame = sleep_frame(device, 50051, session, 1_000.0)
    return frame, answer_to(stage, frame)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_answer_to_a_prepared_pause_raises(data) -> None:
    frame, said = prepared()
    begin = data.draw(st.integers(0, len(said)))
    bent = said[:begin] + data.draw(st.binary(max_size=30)) + said[begin + 5 :]
    assert isinstance(judge(frame, bent, False), (*OUTCOMES, NoneType))
    assert isinstance(judge(frame, bent, True), OUTCOMES)


def test_one_command_at_a_time(stage, driver, virtually) -> None:
    async def play() -> tuple[Outcome, Outcome]:
        stage.latency_s = 1.0
        miner = driver()
        first = asyncio.create_task(miner.apply(Sleep()))
        await asyncio.sleep(0.5)
        return await miner.apply(Wake()), await first

    second, first = virtually(play())
    assert isinstance(second, Refused)
    assert second.reason == "busy"
    assert first == Applied()
