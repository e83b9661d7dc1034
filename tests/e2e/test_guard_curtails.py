"""A crowd of real processes: an emergency order leaves by the guard's wave, and the guard is killed
in the middle of it.
"""

import json
import os
import re
import signal

import pytest

from controller.site.actuate import MASS
from tests.e2e.plant import NARYN, Plant
from tests.patience import eventually

pytestmark = pytest.mark.timeout(300)

ANTMINERS, WHATSMINERS, OTHERS = 10, 74, 6
CAP_SHARE = 0.1


class Crowd(Plant):
    """More miners than a hand-over needs; the first ten take 21 s to answer a Sleep."""

    def __init__(self):
        super().__init__(guarded=True)

    def _scenario(self):
        path, meter = super()._scenario()
        file = self.folder / "quiet.toml"
        text = file.read_text()
        for theirs, ours in (
            ("count = 8", f"count = {ANTMINERS}"),
            ("count = 6", f"count = {WHATSMINERS}"),
            ("rating_w = 100_000", "rating_w = 400_000"),
        ):
            assert theirs in text
            text = text.replace(theirs, ours)
        file.write_text(text)
        return path, meter

    def _begin(self):
        super()._begin()
        file = self.folder / "site.toml"
        text = file.read_text()
        for theirs, ours in (
            ("rating_kw = 200", "rating_kw = 500"),
            ("rating_kw = 100", "rating_kw = 400"),
            ("service_s = 40", "service_s = 120"),
        ):
            assert theirs in text
            text = text.replace(theirs, ours)
        file.write_text(text)

    def alarms(self):
        """Ids of the alarms that the site shows."""
        return {alarm["alarm_id"] for alarm in self.status()["alarms"]}

    def count(self, state):
        """How many miners the site shows in this state."""
        lines = json.loads(self.naryn("miners", "--json").stdout)
        return sum(line["state"] == state for line in lines)


@pytest.fixture
def plant():
    with Crowd() as made:
        yield made


def test_an_emergency_leaves_by_the_guards_wave_and_outlives_the_guard(plant):
    guard = plant.run_guard()
    site = plant.mine()
    everybody = ANTMINERS + WHATSMINERS + OTHERS
    eventually(lambda: plant.guard()["ready"] == everybody, "every miner's sleep is prepared")
    full_w = plant.truth_w()

    cap_w = round(CAP_SHARE * full_w)
    words = plant.order_words("e1", cap_w)
    plant.start("order", [*NARYN, *words, "--class", "emergency"])
    halfway = eventually(
        lambda: (g := plant.guard())["curtailed"] and g["curtailing"] <= ANTMINERS and g,
        "the wave has left, and only those that answer slowly have not",
    )
    sent = halfway["curtailed"]
    assert sent >= MASS
    assert halfway["curtailing"] > 0
    assert halfway["latch"] is None
    assert (halfway["asleep"], halfway["untaken"]) == (0, 0), "they are the controller's"
    shown = plant.naryn("guard", "status", status=None).stdout
    assert f"curtailed   {sent} for the controller" in shown
    assert "curtailment_taken" in guard.said()
    assert re.search(rf"handed_over .*taken={sent}\b", site.said())

    os.kill(guard.pid, signal.SIGKILL)
    guard.process.wait()
    eventually(lambda: "guard_lost_with_commands" in site.said(), "the site has noticed")
    assert re.search(r"guard_lost_with_commands .*miners=[1-9]", site.said())
    eventually(lambda: "guard_lost" in plant.alarms(), "people are told")
    eventually(lambda: plant.order("e1")["stage"] == "verified", "the order is kept", 100.0)
    assert plant.truth_w() <= 1.02 * cap_w
    assert plant.ear.stages("e1")[-1] == "VERIFIED"
    eventually(lambda: plant.count("curtailed") >= sent, "those that were open, too")
