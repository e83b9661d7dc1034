"""The prepared pause of Braiins OS+ against the simulated miner, and any bytes as its answer."""

import asyncio
from functools import cache
from types import NoneType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.contract.commands import (
    AlreadySo,
    Applied,
    Refused,
    Unconfirmed,
)
from drivers.contract.devices import MinerDevice
from drivers.contract.frames import SleepFrame
from drivers.miners.braiins import codec
from drivers.miners.braiins.frame import judge, sleep_frame
from drivers.profiles import load_catalogue
from simulators.devices.grpc_wire import GrpcSession
from tests.drivers.braiins.braiins_stage import BEGIN_S, Stage

OUTCOMES = (Applied, AlreadySo, Refused, Unconfirmed)


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
