"""What `[poll]` says reaches the poll of a site that is put together."""

import pytest
from structlog.testing import capture_logs

from controller.app import site
from controller.app.pace import say_pace
from controller.cli.scenario import play
from controller.cli.scenario.virtual_time import run_virtual
from controller.site.poll import MinerPoll, PollPace
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


@pytest.mark.parametrize(
    ("table", "warned"), [("262144\n", False), ("100000\n", True), ("what\n", False), (None, False)]
)
def test_what_a_firewall_must_remember_is_said_at_the_start(tmp_path, table, warned):
    path = tmp_path / "nf_conntrack_max"
    if table is not None:
        path.write_text(table)
    pace = PollPace(period_s=30.0, order_period_s=5.0, reads_max=512, connections_per_s_max=2_000.0)
    with capture_logs() as logs:
        say_pace(pace, 10_000, path)
    assert logs[0]["connections_per_s"] == 400.0
    assert logs[0]["connections_per_s_in_an_order"] == 2_000.0, "2 400 but for the bound"
    assert logs[0]["conntrack_entries"] == 240_000
    assert [entry["event"] for entry in logs[1:]] == ["conntrack_too_small"] * warned
