"""Benchmarks of commands fail when a miner has none or one too many; never by the clock."""

import pytest
from typer.testing import CliRunner

from controller.cli.bench import command, curtail_waves, watchdog
from controller.cli.bench.curtail_site import GuardError
from controller.cli.bench.curtail_waves import CurtailError


class Stamps:
    """A peer that has stamped this many miners."""

    def __init__(self, acted):
        self.acted = acted

    def report(self):
        return {"miners_acted": self.acted}


class Guard:
    """A guard process that has something to say."""

    def said(self):
        return "shed_failed miner=m1"


class Site:
    """A controller that has not reached these miners, and gives them their command again."""

    def __init__(self, *unreached):
        self.waiting, self.given, self.actuator = list(unreached), [], self

    def unreached(self):
        found, self.waiting = self.waiting, []
        return found

    def sleeps(self, names):
        return names

    async def give(self, commands):
        self.given += commands


async def test_a_miner_without_its_command_ends_the_run(monkeypatch):
    monkeypatch.setattr(curtail_waves, "COMMANDED_S_MAX", 0.0)
    with pytest.raises(CurtailError, match="3 of 4 miners had their command"):
        await curtail_waves._commanded(Stamps(3), Site(), 4)


async def test_so_does_a_command_that_nobody_gave():
    with pytest.raises(CurtailError, match="5 miners had a command, and 4 were to have one"):
        await curtail_waves._commanded(Stamps(5), Site(), 4)
    assert await curtail_waves._commanded(Stamps(4), Site(), 4) == ({"miners_acted": 4}, 0)


async def test_who_was_not_reached_is_commanded_again_as_a_tick_would():
    site, stamps = Site("m1"), Stamps(3)

    async def give(commands):
        site.given += commands
        stamps.acted += len(commands)

    site.give = give
    assert await curtail_waves._commanded(stamps, site, 4) == ({"miners_acted": 4}, 1)
    assert site.given == ["m1"]


def test_a_guard_that_leaves_somebody_behind_is_quoted():
    with pytest.raises(GuardError, match=r"3 of 4 miners .* the guard said: shed_failed miner=m1"):
        watchdog._until_commanded(Guard(), Stamps(3), 4, -watchdog.LATE_S_MAX)
    assert watchdog._until_commanded(Guard(), Stamps(4), 4, 0.0) == {"miners_acted": 4}


@pytest.mark.parametrize("name", ["curtail", "watchdog"])
def test_it_is_a_sentence_and_status_1_without_figures(monkeypatch, name):
    def fails(*_words, **_options):
        raise (CurtailError if name == "curtail" else GuardError)("one miner mines on")

    monkeypatch.setattr(getattr(command, f"{name}_bench"), "measure", fails)
    ran = CliRunner().invoke(command.app, [name, "--json"])
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert ran.stderr == f"bench {name}: one miner mines on\n"


@pytest.mark.parametrize(
    "words",
    [
        ("curtail", "--miners", "199"),
        ("curtail", "--repeats", "0"),
        ("curtail", "--period-s", "0.1"),
        ("watchdog", "--silence-s", "4"),
        ("watchdog", "--silence-s", "61"),
        ("watchdog", "--decay-s", "-1"),
    ],
)
def test_sizes_are_bounded(words):
    ran = CliRunner().invoke(command.app, words)
    assert (ran.exit_code, words[1] in ran.stderr) == (2, True)
