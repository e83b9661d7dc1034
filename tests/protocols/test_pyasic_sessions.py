"""A LuxOS miner that only pyasic's own identification knows: one session a command."""

import random

import pytest

from drivers.contract.commands import Applied, Refused, Sleep, Wake
from drivers.miners.pyasic_any.messages import Target
from drivers.miners.pyasic_any.parent import PyasicChild
from simulators.devices.fleet import build_fleet
from simulators.devices.listener import serve_fleet
from simulators.devices.luxos import Luxos
from simulators.scenario import FleetGroup
from tests.protocols.simulated_fleet import rpc

HOST = "127.77.9.2"


@pytest.mark.fixed_ports
async def test_pyasic_commands_luxos_under_a_session_of_its_own() -> None:
    """pyasic's own scan knows only the ports 80 and 4028, so the simulator has to stand there."""
    group = FleetGroup(
        feeder="f1", firmware="luxos", model="Antminer S21", count=1, first_host=HOST
    )
    personas = build_fleet([group], rng=random.Random(7))
    persona = personas[HOST]
    assert isinstance(persona, Luxos)
    target = Target(device="m1", host=HOST, firmware="pyasic", model="Antminer S21")
    async with (
        serve_fleet(personas, now_s=lambda: 10.0, ports={"rpc": 4028, "http": 80}),
        PyasicChild() as child,
    ):
        assert isinstance(await child.apply(target, Sleep(), deadline_s=15.0), Applied)
        assert persona.miner.sleep_wanted
        theirs = rpc(persona, 10.0, "logon")["SESSION"][0]["SessionID"]
        busy = await child.apply(target, Wake(), deadline_s=15.0)
        assert isinstance(busy, Refused)
        assert busy.reason == "busy"
        assert persona.miner.sleep_wanted
        rpc(persona, 10.0, "logoff", theirs)
        assert isinstance(await child.apply(target, Wake(), deadline_s=15.0), Applied)
        assert not persona.miner.sleep_wanted
