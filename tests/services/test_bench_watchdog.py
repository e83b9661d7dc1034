"""`naryn bench watchdog` as it is typed, small: a real guard, a real death, and every command."""

import signal
from pathlib import Path

import pytest

from controller.cli.bench import watchdog_report
from controller.cli.bench.watchdog_report import Death
from drivers.registry import JUDGES
from tests.services.bench_runs import bench, ended_in_the_middle

ROOT = Path(__file__).parents[2]
MINERS, SILENCE_S, DECAY_S = 60, 8.0, 2.0
MIX = {"antminer-stock": 24, "whatsminer-v2": 18, "luxos": 12, "braiins": 6}


@pytest.fixture(scope="module")
def result():
    small = ("--miners", MINERS, "--silence-s", SILENCE_S, "--decay-s", DECAY_S)
    return bench("watchdog", *small, timeout_s=110)


def test_one_object_with_figures_raw_limit_and_goals(result):
    assert list(result) == ["bench", "machine", "figures", "raw_limit", "ratios", "goals", "met"]
    figures = result["figures"]
    assert (figures["miners"], figures["silence_s"], figures["decay_s"]) == (60, 8.0, 2.0)
    assert figures["prepared"] == sum(n for f, n in MIX.items() if f in JUDGES)
    assert result["raw_limit"]["sent"] == MINERS
    assert result["met"] == {"first_late_s": None}, "a small run is not judged"
    assert result["ratios"] == {}, "a fall along a curve has no raw limit"


def test_nobody_is_commanded_before_the_silence_is_over_nor_before_the_curve_asks(result):
    figures = result["figures"]
    assert figures["killed_s"] >= 0.0
    assert SILENCE_S <= figures["first_s"] <= figures["median_s"] <= figures["last_s"]
    assert figures["last_s"] > SILENCE_S + 0.8 * DECAY_S, "the last wait for the curve's end"
    assert set(figures["last_s_by_firmware"]) == set(MIX)


def test_the_page_explains_every_word_of_the_object(result):
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    words = [*result["figures"], *result["goals"], "fall_to_raw"]
    assert [word for word in words if f"`{word}`" not in page] == []


def test_moments_count_from_the_last_beat():
    no = {"last_ns": None}
    stamped = {
        "first_ns": 125_300_000_000,
        "median_ns": 125_500_000_000,
        "last_ns": 126_000_000_000,
    }
    stamped["by_firmware"] = {"1": no, "2": {"last_ns": 126_000_000_000}, "3": no, "4": no}
    death = Death(beat_s=105.0, killed_s=105.4, prepared=9_000)
    seen = watchdog_report.moments(death, stamped, 20.0, 0.0)
    assert (seen["killed_s"], seen["first_s"], seen["last_s"]) == (0.4, 20.3, 21.0)
    assert (seen["first_late_s"], seen["last_late_s"]) == (0.3, 1.0)
    assert seen["last_s_by_firmware"] == {"luxos": 21.0}
    figures = {"miners": 10_000, "silence_s": 20.0, "decay_s": 0.0, **seen}
    found = watchdog_report.assemble(figures, {"last_ms": 500.0}, {})
    assert found["ratios"] == {"fall_to_raw": 1.4}
    assert found["met"] == {"first_late_s": True}


def test_one_that_is_ended_takes_guard_and_peer_with_it():
    status, started = ended_in_the_middle("watchdog", "--miners", MINERS, children=2)
    assert status == 128 + signal.SIGTERM
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]
