"""The simulated Braiins OS+: gRPC messages, power targets, GraphQL."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.devices import graphql, protobuf
from simulators.devices.braiins import Braiins, ControlRefusedError
from simulators.devices.persona import GrpcRequest, HttpRequest
from tests.protocols.simulated_fleet import World, braiins_of, document


class TestBraiins:
    def call(
        self, world: World, miner: Braiins, path: str, message: bytes = b"", token: str = ""
    ) -> tuple[int, dict[int, int | bytes], str]:
        request = GrpcRequest(
            path=f"/braiins.bos.v1.{path}", metadata={"authorization": token}, message=message
        )
        answer = miner.grpc(request, world.now_s)
        fields = protobuf.decode(answer.message or b"")
        return answer.status, fields, answer.metadata.get("authorization", "")

    def login(self, world: World, miner: Braiins) -> str:
        login = protobuf.encode({1: "root", 2: "root"})
        return self.call(world, miner, "AuthenticationService/Login", login)[2]

    def test_pause_and_resume_say_whether_it_was_so_already(self) -> None:
        world, miner = braiins_of()
        token = self.login(world, miner)
        pause, resume = "ActionsService/PauseMining", "ActionsService/ResumeMining"
        assert self.call(world, miner, pause, token=token)[:2] == (0, {})
        assert self.call(world, miner, pause, token=token)[:2] == (0, {1: 1})
        world.advance(10.0)
        assert miner.miner.wall_power_w == pytest.approx(miner.miner.rating.sleep_power_w)
        assert self.call(world, miner, resume, token=token)[:2] == (0, {})
        world.advance(40.0)
        assert miner.miner.wall_power_w == pytest.approx(miner.miner.full_power_w)

    def test_a_token_lives_for_an_hour_after_its_last_use(self) -> None:
        world, miner = braiins_of()
        token, path = self.login(world, miner), "MinerService/GetMinerDetails"
        assert self.call(world, miner, path)[0] == 16
        for _ in range(2):
            world.advance(3_500.0, dt_s=3_500.0)
            assert self.call(world, miner, path, token=token)[0] == 0
        world.advance(3_601.0, dt_s=3_601.0)
        assert self.call(world, miner, path, token=token)[0] == 16

    @pytest.mark.parametrize("login", [b"\xff", b"", protobuf.encode({1: "root", 2: "admin"})])
    def test_a_wrong_login_is_refused(self, login: bytes) -> None:
        world, miner = braiins_of()
        status, fields, token = self.call(world, miner, "AuthenticationService/Login", login)
        assert status in {3, 16}
        assert (fields, token) == ({}, "")

    def test_control_holds_a_power_target_within_its_bounds(self) -> None:
        world, miner = braiins_of()
        miner.control("set_power_target", world.now_s, power_w=2000)
        world.advance(40.0)
        assert miner.miner.wall_power_w == pytest.approx(2000.0)
        assert miner.persistent_writes == 1
        with pytest.raises(ControlRefusedError, match="outside of"):
            miner.control("set_power_target", world.now_s, power_w=100)

    @pytest.mark.parametrize("message", [b"", b"\x12\x80", b"\x12\x01\x09", b"\x10\x05"])
    def test_a_target_that_is_none_is_refused(self, message: bytes) -> None:
        world, miner = braiins_of()
        token = self.login(world, miner)
        status, _, _ = self.call(world, miner, "PerformanceService/SetPowerTarget", message, token)
        assert status in {3, 11}
        assert miner.persistent_writes == 0

    def test_graphql_answers_the_fields_that_were_asked_for(self) -> None:
        world, miner = braiins_of()
        query = (
            "{ bosminer { config { ... on BosminerConfig { autotuning { powerTarget } } }"
            " info { modelName workSolver { realHashrate { mhs5S } } } } }"
        )
        body = json.dumps({"query": query}).encode()
        request = HttpRequest(method="POST", path="/graphql", body=body)
        reply = document(miner.http("http", request, world.now_s))["data"]["bosminer"]
        assert reply["config"] == {"autotuning": {"powerTarget": 3068}}
        assert reply["info"]["modelName"] == "Antminer S19j Pro"
        rate_mhs = reply["info"]["workSolver"]["realHashrate"]["mhs5S"]
        assert rate_mhs == pytest.approx(miner.miner.hashrate_ths * 1e6)

    @pytest.mark.parametrize("query", ["", "{", "{ bos(id: 1) }", "mutation { x }", "{" * 40])
    def test_a_query_that_is_none_is_an_error_and_no_crash(self, query: str) -> None:
        with pytest.raises(graphql.QueryError):
            graphql.project({}, query)
        world, miner = braiins_of()
        body = json.dumps({"query": query}).encode()
        request = HttpRequest(method="POST", path="/graphql", body=body)
        assert document(miner.http("http", request, world.now_s))["errors"]


@given(st.binary(max_size=64))
@settings(max_examples=200)
def test_protobuf_decodes_or_says_no(data: bytes) -> None:
    try:
        fields = protobuf.decode(data)
    except protobuf.MessageError:
        return
    assert all(isinstance(value, int | bytes) for value in fields.values())
