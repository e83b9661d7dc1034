"""`naryn bench curtail` as it is typed, small: the object's shape, and that all were commanded."""

from pathlib import Path

import pytest

from controller.cli.bench import curtail_report
from controller.cli.bench.curtail_rivals import run_rivals
from controller.cli.bench.peer import Peer
from drivers.registry import JUDGES
from tests.services.bench_runs import bench, ends_with_a_sentence_without_a_compiler

ROOT = Path(__file__).parents[2]
MINERS = 200
MIX = {"antminer-stock": 80, "whatsminer-v2": 60, "luxos": 40, "braiins": 20}
SINGLE = 160
SCENES = ("single", "idle", "polling", "hung", "babble", "antminer")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def result():
    small = ("--miners", MINERS, "--repeats", 1, "--period-s", 0.5, "--no-others")
    return bench("curtail", *small)


def test_one_object_with_figures_raw_limit_and_goals(result):
    assert list(result) == ["bench", "machine", "figures", "raw_limit", "ratios", "goals", "met"]
    figures = result["figures"]
    assert (figures["miners"], figures["repeats"], figures["firmwares"]) == (MINERS, 1, MIX)
    assert set(result["met"]) == set(result["goals"]) == set(curtail_report.GOALS)
    assert all(goal["source"] for goal in result["goals"].values())
    assert set(result["met"].values()) == {None}, "a small run is not judged"


def test_every_miner_was_commanded_and_prepared_commands_left_by_the_guard(result):
    figures = result["figures"]
    assert {name: figures[name]["miners"] for name in SCENES} == {
        **dict.fromkeys(("idle", "polling", "hung", "babble"), MINERS),
        "single": SINGLE,
        "antminer": 80,
    }
    by_guard = []
    for name in SCENES:
        one = figures[name]
        ready = sum(n for f, n in MIX.items() if f in JUDGES and f in one["last_ms_by_firmware"])
        assert one["prepared"] == ready, name
        assert 0.0 < one["first_ms"] <= one["median_ms"] <= one["last_ms"], name
        assert max(one["last_ms_by_firmware"].values()) == one["last_ms"], name
        by_guard.append(one["by_guard"] == ready)
    assert any(by_guard), "a hand-over may come too late on a machine that stands still, not all"
    assert set(figures["idle"]["last_ms_by_firmware"]) == set(MIX)


def test_a_prepared_command_is_one_request(result):
    figures = result["figures"]
    for name, requests in {"antminer": 80, "single": SINGLE}.items():
        one = figures[name]
        if one["by_guard"] == one["prepared"]:
            assert one["requests"] == requests, name
        else:  # its hand-over came too late, and drivers ask first
            assert one["requests"] > requests, name
    assert figures["idle"]["requests"] > MINERS, "LuxOS wants a session first"
    assert figures["antminer"]["cpu_us_per_miner"] > 0.0
    assert figures["hung"]["cpu_us_per_miner"] is None, "not everybody answers"


def test_the_poll_beside_it_went_on(result):
    assert result["figures"]["poll"]["polls"] > 0


def test_the_raw_limit_commanded_as_many(result):
    raw = result["raw_limit"]
    assert (raw["all"]["sent"], raw["single"]["sent"]) == (MINERS, SINGLE)


def test_the_page_explains_every_word_of_the_object(result):
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    words = [*result["figures"], *result["figures"]["idle"], *result["figures"]["poll"]]
    words += curtail_report.GOALS
    assert [word for word in words if f"`{word}`" not in page] == []


def scene(**changes):
    one = {"miners": 10_000, "median_ms": 100.0, "last_ms": 200.0, "requests": 10_000}
    return {**one, "cpu_us_per_miner": 90.0, **changes}


def test_ratios_are_to_the_raw_limit_and_none_where_it_waited():
    figures = dict.fromkeys(SCENES, scene())
    figures |= {"polling": scene(last_ms=300.0), "miners": 10_000, "repeats": 3, "period_s": 5.0}
    free = {"last_ms": 200.0, "cpu_us_per_miner": 60.0, "busy_percent": 99.0}
    found = curtail_report.assemble(figures, {"all": free, "single": free}, {})
    assert found["ratios"] == {
        "single_to_raw": 1.0,
        "idle_to_raw": 1.0,
        "median_to_last": 0.5,
        "polling_to_raw": 1.5,
        "hung_to_idle": 1.0,
        "babble_to_idle": 1.0,
        "antminer_cpu_to_raw": 1.5,
        "antminer_requests_each": 1.0,
    }
    assert [name for name, met in found["met"].items() if not met] == ["polling_to_raw"]
    waited = {**free, "busy_percent": 80.0}
    bound = curtail_report.assemble(figures, {"all": waited, "single": free}, {})
    assert bound["raw_limit"]["peer_bound"] == ["all"]
    assert {name for name, met in bound["met"].items() if met is None} == {
        "idle_to_raw",
        "polling_to_raw",
        "antminer_cpu_to_raw",
    }


def test_pyasic_is_measured_and_what_is_left_out_has_its_reason():
    with Peer(None) as peer:
        found, left_out = run_rivals(peer, {"whatsminer-v2": 3, "luxos": 4})
    pyasic = [one for one in found if one["library"].startswith("pyasic 0")]
    assert {one["firmware"]: one["commanded"] for one in pyasic} == {"whatsminer-v2": 3, "luxos": 4}
    assert all(0.0 < one["first_ms"] <= one["last_ms"] for one in found)
    others = {one["firmware"] for one in found if one not in pyasic}
    assert others or any(why.startswith("pyasic-rs") for why in left_out)


def test_without_a_compiler_it_ends_with_a_sentence(tmp_path):
    ends_with_a_sentence_without_a_compiler("curtail", 200, tmp_path)
