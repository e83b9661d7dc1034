"""`naryn bench tick` as it is typed: the object's shape, its seed, and its exit status."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from controller.cli.bench import command, report
from controller.power.decide import decide

ROOT = Path(__file__).parents[3]
SMALL = ("tick", "--miners", "200", "--ticks", "10")


def bench(*words):
    return CliRunner().invoke(command.app, [str(word) for word in words])


@pytest.fixture(scope="module")
def result():
    ran = bench(*SMALL, "--json")
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


FIGURES = {
    "miners": int,
    "ticks": int,
    "seed": int,
    "median_ms": float,
    "p99_ms": float,
    "max_ms": float,
    "cpu_median_ms": float,
    "cpu_p99_ms": float,
    "gc_max_ms": float,
    "cpu_per_miner_us": float,
    "journal_median_ms": float,
    "journal_p99_ms": float,
    "journal_commits": int,
    "commands_per_tick": float,
    "commands_total": int,
    "sleeps": int,
    "wakes": int,
    "stale_share": float,
    "deaf_miners": int,
    "peak_rss_mib": float,
}

PARTS = ("machine", "figures", "raw_limit", "ratios", "goals", "decisions")


def test_one_object_with_figures_raw_limit_goals_and_proof(result):
    assert list(result) == [
        "bench",
        "machine",
        "figures",
        "raw_limit",
        "ratios",
        "goals",
        "met",
        "decisions",
    ]
    figures = result["figures"]
    assert {name: type(value) for name, value in figures.items()} == FIGURES
    assert (figures["miners"], figures["ticks"], figures["seed"]) == (200, 10, 1)
    assert 0 < figures["median_ms"] <= figures["p99_ms"] <= figures["max_ms"]
    assert figures["deaf_miners"] == 4
    assert result["raw_limit"]["median_ms"] > 0
    assert result["ratios"]["median_to_raw"] > 0
    assert {name: goal["at_most"] for name, goal in result["goals"].items()} == {
        "median_ms": 50.0,
        "p99_ms": 150.0,
    }
    assert all(goal["source"] for goal in result["goals"].values())


def test_commands_go_both_ways_and_are_counted(result):
    figures, decisions = result["figures"], result["decisions"]
    assert figures["sleeps"] > 0
    assert figures["wakes"] > 0
    assert figures["sleeps"] + figures["wakes"] == figures["commands_total"]
    assert figures["commands_per_tick"] == figures["commands_total"] / 10
    assert decisions["commands"] == figures["commands_total"]


def test_decisions_differ_from_doing_nothing(result):
    did = result["decisions"]
    assert did["over_cap_s"] < did["over_cap_s_if_nothing_was_done"] == 10
    assert did["over_cap_mean_w"] < did["over_cap_mean_w_if_nothing_was_done"]
    assert did["over_cap_final_w"] == 0 < did["over_cap_final_w_if_nothing_was_done"]
    assert did["load_final_w"] <= 1.01 * did["cap_final_w"]


def test_goals_for_the_whole_fleet_are_not_judged_at_a_small_one(result):
    assert result["met"] == {"median_ms": None, "p99_ms": None}


def test_the_page_explains_every_word_of_the_object(result):
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    words = [*result, *(key for part in PARTS for key in result[part])]
    assert [word for word in words if f"`{word}`" not in page] == []


def test_machine_says_how_it_was_measured(result):
    machine = result["machine"]
    assert machine["pinned_core"] in os.sched_getaffinity(0)
    assert machine["gc"].startswith("as run: on")
    assert machine["cores"] == os.cpu_count()
    assert machine["journal_filesystem"]


def test_cores_are_given_back():
    before = os.sched_getaffinity(0)
    bench(*SMALL)
    assert os.sched_getaffinity(0) == before


def test_same_seed_same_decisions_in_a_process_of_its_own(result):
    """Another process has other string hashes: no decision may follow the order of a set."""
    code = "import sys; from controller.cli.bench.command import app; app(sys.argv[1:])"
    again = subprocess.run(
        [sys.executable, "-c", code, *SMALL, "--json"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        check=True,
    )
    assert json.loads(again.stdout)["decisions"] == result["decisions"]


def test_another_seed_is_another_fleet(result):
    other = json.loads(bench(*SMALL, "--seed", 2, "--json").stdout)
    assert other["decisions"]["sha256"] != result["decisions"]["sha256"]


def test_for_people_a_table():
    shown = bench(*SMALL)
    assert shown.exit_code == 0
    for word in ("200 miners", "median_ms", "≤ 150 ms", "over the cap, nothing done", "on core"):
        assert word in " ".join(shown.stdout.split())


def test_wrong_decisions_end_with_a_sentence_and_no_figures(monkeypatch):
    def mute(state, image, site):
        return replace(decide(state, image, site), commands=())

    monkeypatch.setattr(command, "decide", mute)
    ran = bench(*SMALL, "--json")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert ran.stderr.startswith("bench tick: no command was decided")
    assert "Traceback" not in ran.output


def test_what_cannot_be_measured_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(command.tempfile, "tempdir", str(tmp_path / "absent"))
    ran = bench(*SMALL)
    assert ran.exit_code == 1
    assert ran.stderr.startswith("bench tick: ")
    assert "absent" in ran.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("--miners", "99"),
        ("--miners", "100001"),
        ("--ticks", "9"),
        ("--ticks", "3601"),
        ("--seed", "x"),
    ],
)
def test_sizes_are_bounded(words):
    ran = bench("tick", *words)
    assert (ran.exit_code, words[0] in ran.stderr) == (2, True)


def test_a_system_that_does_not_pin_is_said(monkeypatch):
    def refuse(_pid, _cores):
        raise PermissionError

    monkeypatch.setattr(report.os, "sched_setaffinity", refuse)
    ran = bench(*SMALL, "--json")
    assert (ran.exit_code, json.loads(ran.stdout)["machine"]["pinned_core"]) == (0, None)
