"""The simulated stock Antminer: digest login, the 21 s write, and its traps."""

import json
import re

import pytest

from simulators.devices.antminer import ModeKey
from simulators.devices.persona import Answer, Close, HttpAnswer, HttpRequest
from tests.protocols.simulated_fleet import (
    antminer_of,
    digest_header,
    document,
    page,
    rpc,
    whole_configuration,
)


class TestAntminer:
    def test_the_login_is_a_digest_and_a_wrong_password_is_refused(self) -> None:
        world, miner = antminer_of()
        assert page(miner, world.now_s, "get_system_info").status == 200
        refused = page(miner, world.now_s, "get_system_info", password="admin")
        assert refused.status == 401
        assert refused.headers["WWW-Authenticate"].startswith(
            'Digest realm="antMiner Configuration", nonce='
        )

    def test_a_nonce_serves_again_but_not_for_another_page_and_not_for_ever(self) -> None:
        world, miner = antminer_of()
        path = "/cgi-bin/stats.cgi"
        bare = miner.http("http", HttpRequest(method="GET", path=path), world.now_s)
        challenge = bare.headers["WWW-Authenticate"]

        def ask(target: str, signed: str, nc: int) -> HttpAnswer:
            header = {"authorization": digest_header(challenge, "GET", signed, "root", nc)}
            request = HttpRequest(method="GET", path=target, headers=header)
            return miner.http("http", request, world.now_s)

        assert ask(path, path, 1).status == 200
        assert ask(path, path, 2).status == 200
        assert ask("/cgi-bin/summary.cgi", path, 3).status == 401
        world.advance(601.0, dt_s=601.0)
        late = ask(path, path, 4)
        assert late.status == 401
        assert late.headers["WWW-Authenticate"].endswith("stale=true")

    @pytest.mark.parametrize(
        "header", ["", "Basic cm9vdDpyb290", "Digest", 'Digest username="root"', "Digest é=\xff"]
    )
    def test_any_other_header_is_refused(self, header: str) -> None:
        world, miner = antminer_of()
        request = HttpRequest(
            method="GET", path="/cgi-bin/stats.cgi", headers={"authorization": header}
        )
        assert miner.http("http", request, world.now_s).status == 401

    def test_a_write_is_answered_after_21_s_and_in_force_then(self) -> None:
        world, miner = antminer_of()
        body = whole_configuration(miner, world.now_s) | {"miner-mode": 1}
        answer = page(miner, world.now_s, "set_miner_conf", body)
        assert document(answer) == {"stats": "success", "code": "M000", "msg": "OK!"}
        assert answer.after_s == pytest.approx(21.0)
        assert miner.accepts("rpc", world.now_s)
        world.advance(20.9)
        assert whole_configuration(miner, world.now_s)["bitmain-work-mode"] == "0"
        assert miner.miner.wall_power_w == pytest.approx(miner.miner.full_power_w)
        assert miner.persistent_writes == 0
        world.advance(0.2)
        assert whole_configuration(miner, world.now_s)["bitmain-work-mode"] == "1"
        assert not miner.accepts("rpc", world.now_s)
        assert miner.tcp("rpc", b'{"command":"summary"}', world.now_s) == Answer(
            None, close=Close.RESET
        )
        world.advance(15.0)
        assert rpc(miner, world.now_s, "summary")["SUMMARY"][0]["GHS 5s"] == 0.0
        assert miner.miner.wall_power_w == pytest.approx(miner.miner.rating.sleep_power_w)
        assert miner.persistent_writes == 1

    def test_a_body_without_pools_wipes_the_pools(self) -> None:
        world, miner = antminer_of()
        body = whole_configuration(miner, world.now_s)
        del body["pools"]
        assert document(page(miner, world.now_s, "set_miner_conf", body))["code"] == "M000"
        world.advance(60.0)
        assert rpc(miner, world.now_s, "pools")["POOLS"] == []
        assert whole_configuration(miner, world.now_s)["pools"] == []

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"[]",
            b'{"pools": "none"}',
            b'{"pools": [{"url": 1}]}',
            b'{"pools": [' + b'{"url":"","user":"","pass":""},' * 3 + b"null]}",
            b"[" * 5000,
        ],
    )
    def test_a_malformed_body_changes_nothing(self, body: bytes) -> None:
        world, miner = antminer_of()
        before = whole_configuration(miner, world.now_s)
        path = "/cgi-bin/set_miner_conf.cgi"
        bare = miner.http("http", HttpRequest(method="POST", path=path), world.now_s)
        header = digest_header(bare.headers["WWW-Authenticate"], "POST", path, "root")
        request = HttpRequest(
            method="POST", path=path, body=body, headers={"authorization": header}
        )
        assert document(miner.http("http", request, world.now_s))["code"] == "M001"
        world.advance(60.0)
        assert whole_configuration(miner, world.now_s) == before

    @pytest.mark.parametrize(
        ("obeys", "written", "sleeps"),
        [
            (ModeKey.MINER_MODE_ONLY, {"miner-mode": 1}, True),
            (ModeKey.MINER_MODE_ONLY, {"bitmain-work-mode": "1"}, False),
            (ModeKey.MINER_MODE_ONLY, {"miner-mode": "1", "bitmain-work-mode": "1"}, True),
            (ModeKey.EITHER, {"miner-mode": 1}, True),
            (ModeKey.EITHER, {"bitmain-work-mode": "1"}, True),
            (ModeKey.EITHER, {"miner-mode": 0, "bitmain-work-mode": "1"}, False),
        ],
    )
    def test_reported_and_obeyed_mode_are_two_things(
        self, obeys: ModeKey, written: dict[str, object], sleeps: bool
    ) -> None:
        world, miner = antminer_of()
        miner.mode_key = obeys
        body = whole_configuration(miner, world.now_s)
        del body["bitmain-work-mode"]
        answer = page(miner, world.now_s, "set_miner_conf", body | written)
        assert document(answer)["code"] == "M000"
        world.advance(200.0)
        assert (miner.miner.hashrate_ths == 0.0) is sleeps
        expected = str(written.get("miner-mode", written.get("bitmain-work-mode")))
        assert whole_configuration(miner, world.now_s)["bitmain-work-mode"] == expected

    def test_a_wake_takes_a_write_a_restart_and_a_ramp(self) -> None:
        world, miner = antminer_of()
        body = whole_configuration(miner, world.now_s)
        page(miner, world.now_s, "set_miner_conf", body | {"miner-mode": 1})
        world.advance(60.0)
        page(miner, world.now_s, "set_miner_conf", body | {"miner-mode": 0})
        world.advance(40.0)
        assert miner.miner.hashrate_ths == 0.0
        world.advance(60.0)
        assert miner.miner.wall_power_w == pytest.approx(miner.miner.full_power_w)
        assert rpc(miner, world.now_s, "summary")["SUMMARY"][0]["GHS 5s"] > 100_000

    def test_joined_commands_are_refused_and_replies_end_with_nul(self) -> None:
        world, miner = antminer_of()
        assert rpc(miner, world.now_s, "summary+stats")["STATUS"][0]["Code"] == 14
        answer = miner.tcp("rpc", b'{"command":"version"}', world.now_s)
        assert answer is not None
        assert answer.body is not None
        assert answer.body.endswith(b"}\0")

    def test_no_reply_mentions_power(self) -> None:
        world, miner = antminer_of()
        texts = [json.dumps(rpc(miner, world.now_s, n)) for n in ("summary", "stats", "devs")]
        texts += [json.dumps(document(page(miner, world.now_s, n))) for n in ("summary", "stats")]
        assert not re.search("power|watt", "".join(texts), re.IGNORECASE)

    def test_the_pages_say_who_it_is(self) -> None:
        world, miner = antminer_of()
        info = document(page(miner, world.now_s, "get_system_info"))
        assert (info["minertype"], info["macaddr"]) == ("Antminer S19 Pro", miner.mac)
        assert document(page(miner, world.now_s, "get_network_info"))["ipaddress"] == miner.host
        assert document(page(miner, world.now_s, "pools"))["POOLS"][0]["url"] == miner.pools[0].url
        assert page(miner, world.now_s, "no_such_page").status == 404
        assert document(page(miner, world.now_s, "blink", {"blink": "true"})) == {"code": "B000"}
        assert document(page(miner, world.now_s, "get_blink_status")) == {"blink": True}

    def test_a_reboot_takes_the_whole_device_away(self) -> None:
        world, miner = antminer_of()
        page(miner, world.now_s, "reboot")
        assert not miner.accepts("http", world.now_s)
        world.advance(61.0)
        assert miner.accepts("http", world.now_s)
        world.advance(90.0)
        assert miner.miner.wall_power_w == pytest.approx(miner.miner.full_power_w)
