"""The simulated LuxOS: sessions, curtailment, profiles."""

import pytest

from simulators.devices.luxos import Luxos
from tests.protocols.simulated_fleet import World, luxos_of, rpc


class TestLuxos:
    def logon(self, world: World, miner: Luxos) -> str:
        return str(rpc(miner, world.now_s, "logon")["SESSION"][0]["SessionID"])

    def test_one_session_at_a_time_for_a_minute_after_its_last_use(self) -> None:
        world, miner = luxos_of()
        first = self.logon(world, miner)
        refused = rpc(miner, world.now_s, "logon")
        assert refused["STATUS"][0]["STATUS"] == "E"
        assert "SESSION" not in refused
        world.advance(50.0)
        assert rpc(miner, world.now_s, "atmset", f"{first},enabled=false")["STATUS"][0]["Code"]
        world.advance(50.0)
        assert rpc(miner, world.now_s, "session")["SESSION"][0]["SessionID"] == first
        world.advance(11.0)
        assert rpc(miner, world.now_s, "session")["SESSION"][0]["SessionID"] == ""
        late = rpc(miner, world.now_s, "curtail", f"{first},sleep")
        assert late["STATUS"][0]["STATUS"] == "E"
        assert not miner.miner.sleep_wanted
        assert self.logon(world, miner) != first

    def test_logoff_makes_room(self) -> None:
        world, miner = luxos_of()
        rpc(miner, world.now_s, "logoff", self.logon(world, miner))
        assert len(self.logon(world, miner)) == 8

    def test_sleep_to_25_w_within_5_s_and_wake_within_10_s(self) -> None:
        world, miner = luxos_of()
        session = self.logon(world, miner)
        reply = rpc(miner, world.now_s, "curtail", f"{session},sleep")
        assert reply["CURTAIL"] == [{"Action": "sleep mode"}]
        world.advance(5.0)
        assert miner.miner.wall_power_w == pytest.approx(25.0)
        config = rpc(miner, world.now_s, "config")["CONFIG"][0]
        assert (config["CurtailMode"], config["IsPowerSupplyOn"]) == ("Sleep", False)
        assert rpc(miner, world.now_s, "power")["POWER"][0]["Watts"] <= 25
        rpc(miner, world.now_s, "curtail", f"{session},wakeup")
        world.advance(10.0)
        assert miner.miner.wall_power_w == pytest.approx(miner.miner.full_power_w)

    @pytest.mark.parametrize("parameter", ["", "sleep", "badsess1,sleep", "{},nap", "{}"])
    def test_a_curtailment_without_session_or_sense_is_refused(self, parameter: str) -> None:
        world, miner = luxos_of()
        session = self.logon(world, miner)
        reply = rpc(miner, world.now_s, "curtail", parameter.format(session))
        assert reply["STATUS"][0]["STATUS"] == "E"
        assert not miner.miner.sleep_wanted

    def test_a_profile_waits_for_atm_and_then_throttles_without_a_dip(self) -> None:
        world, miner = luxos_of()
        session = self.logon(world, miner)
        rpc(miner, world.now_s, "atmset", f"{session},enabled=true,temp_window=7")
        assert rpc(miner, world.now_s, "atm")["ATM"][0]["TempWindow"] == 7
        refused = rpc(miner, world.now_s, "profileset", f"{session},490MHz")
        assert refused["STATUS"][0]["STATUS"] == "E"
        rpc(miner, world.now_s, "atmset", f"{session},enabled=false")
        reply = rpc(miner, world.now_s, "profileset", f"{session},490MHz")
        assert reply["PROFILE"][0]["Profile"] == "490MHz"
        watts = next(
            row["Watts"]
            for row in rpc(miner, world.now_s, "profiles")["PROFILES"]
            if row["Profile Name"] == "490MHz"
        )
        lowest_w = miner.miner.wall_power_w
        for _ in range(30):
            world.advance(1.0)
            lowest_w = min(lowest_w, miner.miner.wall_power_w)
        assert miner.miner.wall_power_w == pytest.approx(watts)
        assert lowest_w == pytest.approx(watts)

    def test_sleep_outlasts_a_reboot(self) -> None:
        world, miner = luxos_of()
        session = self.logon(world, miner)
        rpc(miner, world.now_s, "curtail", f"{session},sleep")
        rpc(miner, world.now_s, "rebootdevice", session)
        world.advance(200.0)
        assert rpc(miner, world.now_s, "config")["CONFIG"][0]["CurtailMode"] == "Sleep"
        assert miner.miner.hashrate_ths == 0.0
