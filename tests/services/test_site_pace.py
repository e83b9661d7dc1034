"""What `[poll]` says reaches the poll of a site that is put together."""

import pytest

from controller.app import site
from controller.cli.scenario import play
from controller.cli.scenario.virtual_time import run_virtual
from controller.site.poll import MinerPoll
from simulators.scenario_file import load_scenario, scenario_path


class Assembled(Exception):
    """The poll was built; nothing more is wanted."""


def test_the_configured_pace_bounds_reads_and_connections(monkeypatch):
    scenario = load_scenario(scenario_path("quiet"))
    path = scenario_path("quiet")
    text = play.site_of(path, scenario)
    assert "[poll]" not in text
    text += "\n[poll]\nperiod_s = 7\norder_period_s = 3\nconnections_max = 9\n"
    text += "connections_per_s_max = 11\n"
    built = {}

    class Watched(MinerPoll):
        def __init__(self, drivers, slots, clock, pace, *rest, **named):
            super().__init__(drivers, slots, clock, pace, *rest, **named)
            built.update(pace=pace, opened=named["opened"])
            raise Assembled

    monkeypatch.setattr(site, "MinerPoll", Watched)
    script = play.Script(scenario=scenario, site=text, seed=1, seconds=1.0)
    with pytest.raises(Assembled):
        run_virtual(play.play(script))
    pace = built["pace"]
    assert (pace.period_s, pace.order_period_s) == (7.0, 3.0)
    assert (pace.reads_max, pace.connections_per_s_max) == (9, 11)
    assert built["opened"]() == 0, "twins open no connection"
