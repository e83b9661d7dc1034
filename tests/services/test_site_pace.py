"""What `[poll]` says reaches the poll of a site that is put together."""

import pytest
from structlog.testing import capture_logs

from controller.app import site
from controller.app.pace import say_pace
from controller.cli.scenario import play
from controller.cli.scenario.virtual_time import run_virtual
from controller.config.problems import ConfigError
from controller.site.poll import MinerPoll, Periods, PollPace
from simulators.scenario_file import load_scenario, scenario_path


def built_pace(monkeypatch, poll):
    """The pace of the scenario "quiet" with these lines in its site file."""
    scenario = load_scenario(scenario_path("quiet"))
    text = play.site_of(scenario_path("quiet"), scenario)
    assert "[poll]" not in text
    built = {}

    class Watched(MinerPoll):
        def __init__(self, drivers, slots, clock, pace, *rest, **named):
            super().__init__(drivers, slots, clock, pace, *rest, **named)
            built.update(pace=pace, opened=named["opened"], miners=list(drivers))
            raise Assembled

    monkeypatch.setattr(site, "MinerPoll", Watched)
    script = play.Script(scenario=scenario, site=f"{text}\n{poll}", seed=1, seconds=1.0)
    with pytest.raises(Assembled):
        run_virtual(play.play(script))
    return built


class Assembled(Exception):
    """The poll was built; nothing more is wanted."""


def test_the_configured_pace_bounds_reads_and_connections(monkeypatch):
    poll = "[poll]\nperiod_s = 7\norder_period_s = 3\nconnections_max = 9\n"
    built = built_pace(monkeypatch, poll + "connections_per_s_max = 11\n")
    pace = built["pace"]
    assert (pace.period_s, pace.order_period_s) == (7.0, 3.0)
    assert (pace.reads_max, pace.connections_per_s_max) == (9, 11)
    assert built["opened"]() == 0, "twins open no connection"


def test_a_firmware_may_have_a_pace_of_its_own(monkeypatch):
    own = "[[poll.firmware]]\nname = 'whatsminer-v2'\nperiod_s = 60\norder_period_s = 20\n"
    built = built_pace(monkeypatch, own)
    paces = [built["pace"].of(name) for name in built["miners"]]
    assert {(pace.period_s, pace.order_period_s) for pace in paces} == {(30.0, 5.0), (60.0, 20.0)}


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ("name = 'whatsminer'\nperiod_s = 60\norder_period_s = 20", "use one of: antminer-stock"),
        ("name = 'luxos'\nperiod_s = 6\norder_period_s = 20", "must not be longer than period_s"),
        ("name = 'luxos'\nperiod_s = 6", "order_period_s"),
    ],
)
def test_a_pace_that_cannot_be_is_refused_with_its_place(monkeypatch, own, said):
    with pytest.raises(ConfigError, match=said) as caught:
        built_pace(monkeypatch, f"[[poll.firmware]]\n{own}\n")
    assert "poll.firmware" in str(caught.value)


def test_two_paces_for_one_firmware_are_refused(monkeypatch):
    own = "[[poll.firmware]]\nname = 'luxos'\nperiod_s = 60\norder_period_s = 20\n"
    with pytest.raises(ConfigError, match="'luxos' has two paces; keep one"):
        built_pace(monkeypatch, own + own)


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


def test_the_estimate_counts_each_miner_at_its_own_pace():
    slow = Periods(period_s=60.0, order_period_s=30.0)
    pace = PollPace(
        period_s=30.0,
        order_period_s=5.0,
        reads_max=512,
        own=dict.fromkeys(map(str, range(60)), slow),
    )
    with capture_logs() as logs:
        say_pace(pace, 90)
    assert logs[0]["connections_per_s"] == round(1.2 * (60 / 60 + 30 / 30), 1)
    assert logs[0]["connections_per_s_in_an_order"] == round(1.2 * (60 / 30 + 30 / 5), 1)
