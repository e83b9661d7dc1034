"""Our LuxOS driver against the simulated one without sockets: settings as the firmware keeps them.

Time stands still but for what a test lets pass.
"""

import json
from typing import Any

import pytest

from drivers.contract.commands import AlreadySo, Applied, LimitPower, Refused, Sleep, Wake
from drivers.contract.devices import MinerDevice
from drivers.contract.readings import MinerReading, WorkMode
from drivers.miners.luxos.driver import Luxos
from drivers.profiles import load_catalogue
from drivers.transport.memory import Answer, MemoryTcpJson
from simulators.devices.luxos import Luxos as SimulatedLuxos
from tests.protocols.simulated_fleet import World, luxos_of, rpc


class Clock:
    """The world's time."""

    def __init__(self, world: World) -> None:
        self._world = world

    def monotonic_s(self) -> float:
        return self._world.now_s


class Ground:
    """One simulated miner, and our driver for it."""

    def __init__(self, **changes: Any) -> None:
        self.world, self.miner = luxos_of(**changes)
        catalogue = load_catalogue()
        device = MinerDevice(
            miner_id="m1",
            host=self.miner.host,
            profile=catalogue.profile("luxos"),
            model=catalogue.model("Antminer S21"),
        )

        def tcp(_host: str, _port: int, request: bytes) -> Answer:
            answer = self.miner.tcp("rpc", request, self.world.now_s)
            assert answer is not None
            return Answer(body=answer.body)

        self.driver = Luxos(device, tcp=MemoryTcpJson(tcp), clock=Clock(self.world))
        self.world.advance(120.0)

    def write(self, command: str, arguments: str) -> None:
        """Another tool changes something and logs off."""
        session = rpc(self.miner, self.world.now_s, "logon")["SESSION"][0]["SessionID"]
        said = rpc(self.miner, self.world.now_s, command, f"{session},{arguments}")
        assert said["STATUS"][0]["STATUS"] == "S", said
        rpc(self.miner, self.world.now_s, "logoff", session)

    async def settled(self) -> MinerReading:
        self.world.advance(120.0)
        return await self.driver.read()


@pytest.fixture
def ground() -> Ground:
    return Ground()


async def test_a_reading_is_what_the_firmware_says(ground: Ground) -> None:
    reading = await ground.driver.read()
    miner = ground.miner.miner
    assert reading.hashrate_ths == pytest.approx(miner.hashrate_ths, rel=1e-3)
    assert reading.power_w == pytest.approx(miner.reported_power_w, abs=0.6)
    assert reading.power_limit_w == miner.rating.power_w
    assert (reading.mode, reading.raw_mode) == (WorkMode.NORMAL, "default")
    assert reading.chip_temperature_c == pytest.approx(miner.chip_temperature_c, abs=0.6)
    assert reading.board_temperatures_c == pytest.approx(
        (miner.board_temperature_c,) * miner.rating.boards, abs=0.06
    )
    assert reading.fans_rpm == (miner.fan_rpm,) * miner.rating.fans
    assert reading.mac == ground.miner.mac
    assert reading.serial == ground.miner.serial
    assert reading.faults == ()


async def test_a_limit_a_sleep_and_a_wake_come_back_to_where_it_was(ground: Ground) -> None:
    before = await ground.driver.read()
    assert isinstance(await ground.driver.apply(LimitPower(power_w=2500.0)), Applied)
    limited = await ground.settled()
    assert limited.power_limit_w == 2400.0, "the strongest profile that needs no more"
    assert ground.miner.miner.wall_power_w <= 2500.0
    assert await ground.driver.apply(LimitPower(power_w=2500.0)) == AlreadySo()

    assert await ground.driver.apply(Sleep()) == Applied(persistent_writes=1)
    asleep = await ground.settled()
    assert (asleep.mode, asleep.hashing) == (WorkMode.SLEEP, False)
    assert asleep.faults == ()
    assert await ground.driver.apply(Sleep()) == AlreadySo()

    wake = Wake(mode=before.mode, raw_mode=before.raw_mode, power_limit_w=before.power_limit_w)
    assert await ground.driver.apply(wake) == Applied(persistent_writes=2)
    after = await ground.settled()
    assert (after.mode, after.raw_mode) == (before.mode, before.raw_mode)
    assert after.power_limit_w == before.power_limit_w
    assert after.hashing is True
    assert ground.miner.miner.wall_power_w == pytest.approx(ground.miner.miner.full_power_w)
    assert ground.miner.persistent_writes == 1 + 1 + 2


async def test_under_atm_the_limit_is_its_ceiling_and_the_wake_puts_it_back(
    ground: Ground,
) -> None:
    ground.write("atmset", "enabled=true")
    before = await ground.driver.read()
    assert before.raw_mode == "atm:default"
    writes = ground.miner.persistent_writes
    assert await ground.driver.apply(LimitPower(power_w=2500.0)) == Applied(persistent_writes=3)
    assert ground.miner.persistent_writes == writes + 3
    atm = rpc(ground.miner, ground.world.now_s, "atm")["ATM"][0]
    assert (atm["Enabled"], atm["MaxProfile"]) == (True, ground.miner.profile.name)
    limited = await ground.settled()
    assert limited.power_limit_w == 2400.0
    assert await ground.driver.apply(Wake(raw_mode="atm:default")) == Applied(persistent_writes=3)
    after = await ground.settled()
    assert (after.raw_mode, after.power_limit_w) == (before.raw_mode, before.power_limit_w)


async def test_a_miner_wakes_under_its_limit(ground: Ground) -> None:
    await ground.driver.apply(Sleep())
    await ground.settled()
    assert await ground.driver.apply(Wake(power_limit_w=2500.0)) == Applied(persistent_writes=2)
    highest_w = 0.0
    for _ in range(60):
        ground.world.advance(1.0)
        highest_w = max(highest_w, ground.miner.miner.wall_power_w)
    assert 2000.0 < highest_w <= 2500.0


async def test_a_limit_below_the_weakest_profile_is_refused(ground: Ground) -> None:
    writes = ground.miner.persistent_writes
    outcome = await ground.driver.apply(LimitPower(power_w=100.0))
    assert isinstance(outcome, Refused)
    assert outcome.reason == "unsupported"
    assert ground.miner.persistent_writes == writes


async def test_a_session_of_ours_is_closed_and_a_foreign_one_respected(ground: Ground) -> None:
    now_s = ground.world.now_s
    theirs = rpc(ground.miner, now_s, "logon")["SESSION"][0]["SessionID"]
    outcome = await ground.driver.apply(Sleep())
    assert isinstance(outcome, Refused)
    assert outcome.reason == "busy"
    assert rpc(ground.miner, now_s, "session")["SESSION"][0]["SessionID"] == theirs
    ground.world.advance(61.0)
    assert await ground.driver.apply(Sleep()) == Applied(persistent_writes=1)
    assert rpc(ground.miner, ground.world.now_s, "session")["SESSION"][0]["SessionID"] == ""


async def test_a_session_that_ends_between_logon_and_write_is_taken_anew(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, late = SimulatedLuxos.tcp, [61.0]

    def tcp(miner: SimulatedLuxos, port: str, request: bytes, now_s: float) -> Any:
        if json.loads(request)["command"] == "curtail" and late:
            ground.world.advance(late.pop())
        return answer(miner, port, request, ground.world.now_s)

    monkeypatch.setattr(SimulatedLuxos, "tcp", tcp)
    # Our own clock did not see the minute pass, as if the miner's ran ahead.
    monkeypatch.setattr(Clock, "monotonic_s", lambda _: 1_000.0)
    assert await ground.driver.apply(Sleep()) == Applied(persistent_writes=1)
    assert late == []
    assert ground.miner.miner.sleep_wanted


async def test_a_deaf_miner_says_yes_and_the_reading_says_no() -> None:
    ground = Ground(deaf_count=1)
    assert await ground.driver.apply(Sleep()) == Applied(persistent_writes=1)
    reading = await ground.settled()
    assert (reading.mode, reading.hashing) == (WorkMode.NORMAL, True)
