"""`naryn bench poll` as it is typed, small: the object's shape, and that it really polled."""

from io import StringIO

import pytest
from rich.console import Console

from controller.cli.bench import poll, poll_report
from controller.cli.bench.babble import SLICES
from tests.services.bench_runs import bench, ends_with_a_sentence_without_a_compiler

MINERS, SECONDS, PERIOD_S = 40, 0.6, 0.5


@pytest.fixture(scope="module")
def result():
    small = ("--miners", MINERS, "--seconds", SECONDS, "--period-s", PERIOD_S, "--latency-ms", 5)
    return bench("poll", "--hung-percent", 10, *small)


FIGURES = {
    "miners": int,
    "hung": int,
    "period_s": float,
    "latency_ms": float,
    "seconds": float,
    "firmwares": dict,
    "left_out": list,
    "telemetry": bool,
    "lines_lost": int,
    "polls": int,
    "missed": int,
    "timeouts": int,
    "failed": int,
    "cpu_share": float,
    "cpu_us_per_poll": float,
    "late_p50_ms": float,
    "late_p99_ms": float,
    "begun_late_p99_ms": float,
    "loop_lag_p50_ms": float,
    "loop_lag_p99_ms": float,
    "connections_per_s": float,
    "conntrack_entries": int,
    "babble_seconds": float,
    "babble_reads": int,
    "babble_polls": int,
    "babble_missed": int,
    "babble_failed": int,
    "babble_cpu_us_per_poll": float,
    "babble_late_p99_ms": float,
    "babble_loop_lag_p99_ms": float,
    "rss_mib": float,
    "rss_per_miner_kib": float,
    "flat_us_per_poll": dict,
}


def test_one_object_with_figures_raw_limit_and_goals(result):
    assert list(result) == [
        "bench",
        "machine",
        "figures",
        "raw_limit",
        "ratios",
        "goals",
        "met",
    ]
    assert {name: type(value) for name, value in result["figures"].items()} == FIGURES
    assert set(result["met"]) == set(result["goals"]) == set(poll.GOALS)
    assert all(goal["source"] for goal in result["goals"].values())


def test_a_small_run_is_not_judged(result):
    assert set(result["met"].values()) == {None}


def test_the_whole_mix_was_really_polled(result):
    figures = result["figures"]
    assert figures["firmwares"] == {
        "antminer-stock": 16,
        "whatsminer-v2": 12,
        "luxos": 8,
        "braiins": 4,
    }
    assert figures["left_out"] == []
    assert figures["hung"] == 2, "whole tenths of each firmware"
    assert figures["polls"] > 0
    assert figures["failed"] == 0
    assert figures["connections_per_s"] > 0.0, "the peer saw them too"
    assert figures["lines_lost"] == 0


def test_two_babbled_in_turn_and_the_others_were_read_on(result):
    figures = result["figures"]
    assert figures["babble_reads"] >= 2 * SLICES, "each of the two in each slice"
    assert figures["babble_polls"] > 0
    assert figures["babble_failed"] == 0, "of the others"
    ratio = figures["babble_cpu_us_per_poll"] / figures["cpu_us_per_poll"]
    assert result["ratios"]["babble_to_well"] == pytest.approx(ratio, abs=1e-3)


def test_people_are_shown_each_figure_that_has_a_goal(result):
    console = Console(width=120, file=StringIO())
    console.print(poll_report.render(result))
    shown = console.file.getvalue()
    assert shown.count("≤") == len(poll.GOALS)
    assert "two babble" in shown


def test_each_firmware_has_its_own_raw_limit(result):
    by_firmware = result["raw_limit"]["by_firmware"]
    names = {*result["figures"]["firmwares"], "all"}
    assert set(by_firmware) == set(result["figures"]["flat_us_per_poll"]) == names
    assert all(raw["polls"] > 0 and raw["failed"] == 0 for raw in by_firmware.values())


def raw(us, busy):
    return {"cpu_us_per_poll": us, "busy_percent": busy}


def test_a_raw_client_that_waited_gives_no_ratio():
    figures = {"flat_us_per_poll": {"luxos": 60.0, "all": 60.0}, "cpu_us_per_poll": 100.0}
    figures |= {"miners": 10, "period_s": 5.0, "seconds": 1.0, "polls": 0, "babble_polls": 0}
    bound = poll.assemble(figures, {"luxos": raw(40.0, 99.0), "all": raw(40.0, 80.0)}, {})
    assert bound["raw_limit"]["peer_bound"] == ["all"]
    assert bound["ratios"] == {"flat_to_raw_by_firmware": {"luxos": 1.5}}
    free = poll.assemble(figures, {"luxos": raw(40.0, 99.0), "all": raw(40.0, 96.0)}, {})
    assert free["raw_limit"]["peer_bound"] == []
    assert free["ratios"]["flat_to_raw"] == 1.5
    assert free["ratios"]["fleet_to_raw"] == 2.5


def test_without_a_compiler_it_ends_with_a_sentence(tmp_path):
    ends_with_a_sentence_without_a_compiler("poll", 20, tmp_path)
