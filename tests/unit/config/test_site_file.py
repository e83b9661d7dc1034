"""`site.toml`: a whole one becomes a site in W and seconds."""

from datetime import time
from zoneinfo import ZoneInfo

import pytest

from controller.config.load import build_site, load
from controller.power.site import (
    DispatchPolicy,
    FailsafeCurve,
    Miner,
    Node,
    NodeKind,
    OnMeterLoss,
    Policy,
    Window,
)
from drivers.contract.capabilities import Dynamics
from tests.unit.config.site_text import WHOLE, changed, without, written

MINER = Miner(
    miner_id="m1",
    node_id="r1",
    tier=1,
    firmware="luxos",
    rated_power_w=3250.0,
    rated_hashrate_ths=110.0,
    sleep_power_w=30.0,
    dynamics=Dynamics(down_dead_s=1, down_ramp_s=4, up_dead_s=3, up_ramp_s=10),
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "site.toml"


def test_a_whole_file_becomes_a_site_in_watts_and_seconds(path):
    site = build_site(written(path, WHOLE), {"m1": MINER})
    assert site.site_id == "kambarata"
    assert site.timezone == ZoneInfo("Asia/Bishkek")
    assert site.miners == {"m1": MINER}
    assert site.nodes == {
        "plant": Node(node_id="plant", kind=NodeKind.PLANT, parent=None, rating_w=120e6),
        "t1": Node(
            node_id="t1",
            kind=NodeKind.TRANSFORMER,
            parent="plant",
            rating_w=6_300_500.0,
            meter_id="m-t1",
            other_max_w=800_000.0,
        ),
        "f1": Node(
            node_id="f1",
            kind=NodeKind.FEEDER,
            parent="t1",
            rating_w=2_500_000.0,
            meter_id="m-f1",
            auxiliary_w=4_500.0,
            on_meter_loss=OnMeterLoss.CURTAIL,
            failsafe_w=100_000.0,
        ),
        "r1": Node(node_id="r1", kind=NodeKind.RACK, parent="f1", rating_w=180_000.0),
    }
    assert site.policy == Policy(
        tick_s=0.5,
        margin=0.02,
        deadband=0.015,
        over_limit=0.03,
        ramp_up_w_per_s=100_000.0,
        ramp_down_w_per_s=pytest.approx(500_000.0),
        min_on_s=0.0,
        min_off_s=45.0,
        recover_s=12.0,
        confirm_s=9.0,
        verify_hold_s=6.0,
        service_s=40.0,
        retry_s=70.0,
    )
    assert site.windows == (
        Window(
            window_id="peak",
            node_id="t1",
            cap_w=0.0,
            since=time(18),
            until=time(22, 30),
            months=frozenset({11, 12, 1, 2}),
            weekdays=frozenset({0, 6}),
        ),
        Window(window_id="night", node_id="f1", cap_w=1_200_000.0, since=time(23), until=time(6)),
    )
    assert site.dispatch == DispatchPolicy(
        node_id="plant",
        heartbeat_timeout_s=15.0,
        curve=FailsafeCurve(hold_s=20.0, decay_s=90.0, value_w=1_500_000.0),
        restart_delay_s=0.0,
    )


def test_meters_and_logins_are_as_written_and_paths_begin_at_the_files_folder(path):
    config = written(path, WHOLE)
    first, second = config.file.meter
    assert (first.port, first.unit_id, first.period_s, first.timeout_s) == (502, 1, 1.0, 0.5)
    assert (second.port, second.unit_id, second.period_s, second.timeout_s) == (1502, 0, 0.5, 0.2)
    assert (config.folder, config.state_dir) == (path.parent, path.parent / "var/state")
    assert [entry.firmware for entry in config.file.login] == ["antminer-stock"]


def test_a_relative_path_and_an_absolute_state_dir(path, monkeypatch):
    written(path, changed("var/state", "/var/lib/naryn"))
    monkeypatch.chdir(path.parent)
    config = load(path.relative_to(path.parent))
    assert config.path == path
    assert str(config.state_dir) == "/var/lib/naryn"


def test_the_least_file_has_the_defaults_of_the_core(path):
    config = written(
        path,
        '[site]\nid = "s"\n[control]\nramp_up_mw_per_min = 1\nramp_down_mw_per_min = 1\n'
        '[[node]]\nid = "plant"\nkind = "plant"\nrating_kw = 1\n',
    )
    site = build_site(config, {})
    rate = 1e6 / 60
    assert site.policy == Policy(ramp_up_w_per_s=rate, ramp_down_w_per_s=rate)
    assert site.nodes["plant"] == Node(
        node_id="plant", kind=NodeKind.PLANT, parent=None, rating_w=1000.0
    )
    assert (site.dispatch, site.windows) == (None, ())


def test_a_dispatcher_without_numbers_gets_the_cores_own(path):
    numbers = ("heartbeat_timeout_s = 15", "hold_s = 20", "decay_s = 90", "restart_delay_s = 0")
    site = build_site(written(path, without(*numbers, "failsafe_kw = 1500")), {})
    assert site.dispatch == DispatchPolicy(node_id="plant")


def test_a_miner_that_does_not_fit_the_tree_is_refused(path):
    config = written(path, WHOLE)
    lost = Miner(**{f: getattr(MINER, f) for f in Miner.__slots__} | {"node_id": "r9"})
    with pytest.raises(ValueError, match="miner m1 hangs on unknown node r9"):
        build_site(config, {"m1": lost})
