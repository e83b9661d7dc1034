"""The simulated WhatsMiner: tokens, encrypted writes, and what each command does to the wall."""

import pytest

from simulators.devices.whatsminer_cipher import md5crypt
from tests.protocols.simulated_fleet import WhatsminerClient, rpc, whatsminer_of


class TestWhatsminer:
    @pytest.mark.parametrize(
        ("password", "salt", "digest"),
        [
            ("admin", "BQ5hoXV9", "RxmaDUO33TS7O26yeMHZ81"),  # openssl passwd -1 -salt …
            ("password", "saltsalt", "qjXMvbEw8oaL.CzflDtaK/"),
        ],
    )
    def test_md5crypt_is_that_of_openssl(self, password: str, salt: str, digest: str) -> None:
        assert md5crypt(password, salt) == digest

    def test_power_off_and_on(self) -> None:
        world, miner = whatsminer_of()
        reply = WhatsminerClient(world, miner).write("power_off", respbefore="true")
        assert (reply["STATUS"], reply["Code"], reply["after_s"]) == ("S", 131, 0.0)
        world.advance(5.0)
        assert miner.miner.wall_power_w == pytest.approx(miner.miner.rating.sleep_power_w)
        assert rpc(miner, world.now_s, "status")["Msg"]["mineroff"] == "true"
        assert rpc(miner, world.now_s, "summary")["SUMMARY"][0]["HS RT"] == 0.0
        assert WhatsminerClient(world, miner).write("power_on")["Code"] == 131
        world.advance(60.0)
        assert miner.miner.wall_power_w == pytest.approx(miner.miner.full_power_w)
        assert rpc(miner, world.now_s, "status")["Msg"]["mineroff"] == "false"
        assert miner.persistent_writes == 0

    @pytest.mark.parametrize(
        ("fields", "code", "after_s"),
        [
            ({}, 132, 0.0),
            ({"respbefore": "maybe"}, 132, 0.0),
            ({"respbefore": "false"}, 131, 2.0),
        ],
    )
    def test_power_off_needs_respbefore(
        self, fields: dict[str, str], code: int, after_s: float
    ) -> None:
        world, miner = whatsminer_of()
        reply = WhatsminerClient(world, miner).write("power_off", **fields)
        assert (reply["Code"], reply["after_s"]) == (code, pytest.approx(after_s))
        assert miner.miner.sleep_wanted is (code == 131)

    def test_a_token_lives_for_30_minutes(self) -> None:
        world, miner = whatsminer_of()
        client = WhatsminerClient(world, miner)
        world.advance(29 * 60.0, dt_s=60.0)
        assert client.write("power_on")["Code"] == 131
        world.advance(61.0, dt_s=61.0)
        reply = client.write("power_off", respbefore="true")
        assert (reply["STATUS"], reply["Code"]) == ("E", 135)
        assert not miner.miner.sleep_wanted

    def test_a_hundred_tokens_and_no_more_until_one_expires(self) -> None:
        world, miner = whatsminer_of()
        for _ in range(100):
            assert rpc(miner, world.now_s, "get_token")["Code"] == 134
        assert rpc(miner, world.now_s, "get_token")["Code"] == 136
        world.advance(1801.0, dt_s=1801.0)
        assert rpc(miner, world.now_s, "get_token")["Code"] == 134

    def test_what_is_not_a_good_write_is_refused_with_the_manuals_code(self) -> None:
        world, miner = whatsminer_of()
        client = WhatsminerClient(world, miner)
        assert WhatsminerClient(world, miner, "wrong").write("power_on")["Code"] == 23
        assert client.send({"enc": 1, "data": "%%%"})["Code"] == 137
        assert client.send({"enc": 1})["Code"] == 23
        assert client.send({"cmd": "power_off", "respbefore": "true"})["Code"] == 45
        assert client.send({"cmd": "no_such"})["Code"] == 14
        assert client.write("no_such")["Code"] == 14
        client.sign = client.sign[::-1]
        assert client.write("power_off", respbefore="true")["Code"] == 135
        miner.api_open = False
        assert WhatsminerClient(world, miner).write("power_on")["Code"] == 45
        assert not miner.miner.sleep_wanted

    def test_a_percentage_is_quick_and_a_limit_restarts(self) -> None:
        world, miner = whatsminer_of()
        client = WhatsminerClient(world, miner)
        assert client.write("set_power_pct", percent="50")["Code"] == 131
        world.advance(2.0)
        assert miner.miner.wall_power_w == pytest.approx(miner.miner.full_power_w / 2, rel=0.01)
        assert (miner.persistent_writes, miner.percent) == (0, 50)
        assert client.write("adjust_power_limit", power_limit="2500")["Code"] == 131
        world.advance(10.0)
        assert miner.miner.wall_power_w < 100.0
        world.advance(60.0)
        assert miner.miner.wall_power_w == pytest.approx(2500.0)
        assert (miner.persistent_writes, miner.percent) == (1, 100)
        assert rpc(miner, world.now_s, "summary")["SUMMARY"][0]["Power Limit"] == 2500

    @pytest.mark.parametrize(
        ("command", "field", "value"),
        [
            ("set_power_pct", "percent", "101"),
            ("set_power_pct", "percent", "-5"),
            ("set_power_pct", "percent", "٥"),
            ("adjust_power_limit", "power_limit", "100000"),
            ("adjust_power_limit", "power_limit", "2e3"),
        ],
    )
    def test_numbers_outside_of_their_range_are_refused(
        self, command: str, field: str, value: str
    ) -> None:
        world, miner = whatsminer_of()
        assert WhatsminerClient(world, miner).write(command, **{field: value})["Code"] == 132
        world.advance(5.0)
        assert miner.miner.wall_power_w == pytest.approx(miner.miner.full_power_w)

    def test_low_mode_draws_less_and_normal_mode_all(self) -> None:
        world, miner = whatsminer_of()
        WhatsminerClient(world, miner).write("set_low_power")
        world.advance(60.0)
        assert miner.miner.wall_power_w == pytest.approx(0.75 * miner.miner.full_power_w, rel=0.01)
        assert rpc(miner, world.now_s, "summary")["SUMMARY"][0]["Power Mode"] == "Low"
        WhatsminerClient(world, miner).write("set_normal_power")
        world.advance(60.0)
        assert miner.miner.wall_power_w > 0.98 * miner.miner.full_power_w

    def test_power_off_does_not_outlast_a_reboot(self) -> None:
        world, miner = whatsminer_of()
        client = WhatsminerClient(world, miner)
        client.write("power_off", respbefore="true")
        world.advance(10.0)
        client.write("reboot")
        assert not miner.accepts("rpc", world.now_s)
        world.advance(120.0)
        assert miner.miner.wall_power_w == pytest.approx(miner.miner.full_power_w)

    def test_reads_join_and_say_what_the_physics_says(self) -> None:
        world, miner = whatsminer_of()
        reply = rpc(miner, world.now_s, "summary+devs+pools+devdetails")
        row = reply["summary"][0]["SUMMARY"][0]
        assert row["Power"] == round(miner.miner.reported_power_w)
        assert row["HS RT"] == pytest.approx(miner.miner.hashrate_ths * 1e6, rel=1e-6)
        assert sum(b["MHS 5s"] for b in reply["devs"][0]["DEVS"]) == pytest.approx(row["HS RT"])
        assert reply["devdetails"][0]["DEVDETAILS"][0]["Model"] == "M50S_VH50"
        assert reply["pools"][0]["POOLS"][0]["POOL"] == 1
