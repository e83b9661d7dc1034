"""A guarded site of real processes: the controller is killed and its miners go to sleep."""

import json
import os
import signal
import time
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.e2e.plant import Plant
from tests.patience import eventually

pytestmark = pytest.mark.timeout(400)

SILENCE_S = 5.0
HOLD = ("guard", "hold", "--minutes", "5", "--reason", "update")
ASLEEP_SHARE = 0.1
"""Sleeping miners and auxiliaries, as a share of the load before."""


@pytest.fixture
def plant():
    with Plant(guarded=True) as made:
        yield made


def alarms(plant):
    """Ids of the alarms that the site shows."""
    return {alarm["alarm_id"] for alarm in plant.status()["alarms"]}


def killed(program):
    os.kill(program.pid, signal.SIGKILL)
    program.process.wait()


def test_a_dead_controllers_miners_sleep_until_a_person_has_looked(plant):
    guard = plant.run_guard()
    lonely = plant.naryn("guard", "status", status=1).stdout
    assert "heard never" in lonely
    with pytest.raises(HTTPError, match="503"):
        urlopen(f"http://127.0.0.1:{plant.guard_port}/readyz", timeout=5)

    site = plant.mine()
    assert {"no_watchdog", "guard_lost", "guard_latched"}.isdisjoint(alarms(plant))
    miners = len(json.loads(plant.naryn("miners", "--json").stdout))
    seen = eventually(
        lambda: (g := plant.guard())["ready"] == miners and g,
        "every miner's sleep is prepared",
    )
    assert (seen["entries"], seen["uncovered"], seen["latch"]) == (miners, 0, None)
    eventually(
        lambda: plant.truth_w() == pytest.approx(plant.guard()["load_w"], rel=0.15),
        "the ladder stands for the load",
    )
    full_w = plant.truth_w()

    refused = plant.naryn(*HOLD, "--key", "keys/stranger.key", status=1)
    assert "list the signer's public key as [[guard.hold_key]]" in refused.stderr
    plant.naryn(*HOLD, "--key", "keys/anna.key")
    killed(site)
    time.sleep(SILENCE_S + 2.0)
    held = plant.guard()
    assert held["latch"] is None
    assert (held["hold"]["issuer"], held["hold"]["reason"]) == ("anna", "update")
    assert plant.truth_w() > 0.9 * full_w
    plant.naryn("guard", "hold", "--end")

    eventually(lambda: plant.truth_w() < ASLEEP_SHARE * full_w, "the fleet sleeps")
    tripped = plant.naryn("guard", "status", status=1).stdout
    assert "latch       TRIPPED" in tripped
    assert f"{miners} asleep" in tripped
    early = plant.naryn("guard", "release", status=1)
    assert "the controller is still silent; start `naryn run` first" in early.stderr

    killed(guard)
    guard = plant.run_guard()
    assert plant.guard()["latch"]["limit_w"] == 0.0, "a latch outlives its process"

    plant.run_site()
    eventually(lambda: "guard_latched" in alarms(plant), "the site shows the latch")
    assert plant.node("plant")["limit_w"] == 0.0
    assert plant.truth_w() < ASLEEP_SHARE * full_w, "the controller wakes nobody"

    eventually(
        lambda: plant.naryn("guard", "release", status=None).returncode == 0,
        "the controller has taken over the sleeping miners, so the latch may end",
    )
    eventually(lambda: plant.truth_w() > 0.5 * full_w, "the load comes back", within_s=120.0)
    assert plant.guard()["latch"] is None
    assert "guard_latched" not in alarms(plant)
    status, took_s = guard.end()
    assert status == 0
    assert took_s < 5.0
    assert not (plant.folder / "state" / "run" / "guard.sock").exists()
