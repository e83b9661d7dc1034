"""The same seed gives the same bytes, in any process; another seed other numbers and the same end.

The real command, as people run it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulators.scenario_file import SCENARIO_DIR
from tests.simulation.ground import Ground, event

TROUBLE = (
    event(2, "miner_fault", host="127.12.0.3", fault="garbage", for_s=30),
    event(2, "miner_fault", host="127.12.1.3", fault="liar", for_s=50),
    event(5, "meter_fault", meter="south", fault="late", for_s=20),
    event(10, "order", id="a", curtail_percent=40, within_s=40),
    event(55, "release", order="a"),
)


def start(
    file: Path,
    trace: Path,
    *,
    seed: int | None = None,
    hash_seed: str = "0",
    for_s: float = 80,
) -> subprocess.Popen[bytes]:
    """Start `naryn scenario run FILE --json --trace TRACE`."""
    command = [sys.executable, "-m", "controller.cli.main", "scenario", "run", str(file), "--json"]
    command += ["--for-s", str(for_s), "--trace", str(trace)]
    command += [] if seed is None else ["--seed", str(seed)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        cwd=file.parent,
    )


def ended(process: subprocess.Popen[bytes]) -> bytes:
    """What it printed. It must end by itself, with status 0 and without a word of complaint."""
    said, complained = process.communicate(timeout=60)
    assert (process.returncode, complained) == (0, b"")
    return said


def test_one_seed_one_result_whatever_the_process(ground: Ground, tmp_path: Path) -> None:
    """Two processes that hash differently; every second of the trace, too."""
    file = ground.lay("mixed", *TROUBLE)
    traces = [tmp_path / "first.jsonl", tmp_path / "second.jsonl"]
    runs = [start(file, trace, hash_seed=salt) for trace, salt in zip(traces, "01", strict=True)]
    first, second = (ended(run) for run in runs)

    assert first == second
    assert traces[0].read_bytes() == traces[1].read_bytes()
    assert len(traces[0].read_bytes().splitlines()) == json.loads(first)["ticks"]["run"]


def test_another_seed_other_numbers_the_same_verdicts(ground: Ground, tmp_path: Path) -> None:
    """Noise, spread and who is deaf differ; what became of the order does not."""
    file = ground.lay("mixed", *TROUBLE)
    runs = [start(file, tmp_path / f"{seed}.jsonl", seed=seed) for seed in (21, 22)]
    one, other = (json.loads(ended(run)) for run in runs)

    assert one["sha256"] != other["sha256"]
    assert one["mining_w"] != other["mining_w"]
    verdicts = [[order["receipts"] for order in result["orders"]] for result in (one, other)]
    assert verdicts[0] == verdicts[1] == [["RECEIVED", "ACCEPTED", "VERIFIED", "RELEASED"]]


def test_the_shipped_evening_happens_whatever_the_seed(tmp_path: Path) -> None:
    """Down, proved, back by ramp, the peak on time, and the last order FAILED by the truth."""
    evening = SCENARIO_DIR / "evening.toml"
    runs = [start(evening, tmp_path / f"{seed}.jsonl", seed=seed, for_s=240) for seed in (1, 3)]

    for run in runs:
        result = json.loads(ended(run))
        assert result["missed"] == []
        assert result["ticks"]["skipped"] == 0


MISTAKES = {
    "an event that no dispatcher can play": (
        event(5, "order", id="a", cap_w=1, curtail_percent=40),
        "event 'order' at 5 s: give exactly one of",
    ),
    "a forgery of no known kind": (
        event(5, "forgery", fault="gentle", cap_w=1),
        "fault 'gentle' is not one of: garbage",
    ),
    "a clock without its error": (event(5, "clock"), "event 'clock' at 5 s: needs offset_s"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_wrong_scenario_is_refused_with_a_sentence(
    ground: Ground, tmp_path: Path, name: str
) -> None:
    """Exit status 2 and one line that says where; no traceback."""
    wrong, said = MISTAKES[name]
    process = start(ground.lay("mixed", wrong), tmp_path / "trace.jsonl")
    out, complained = process.communicate(timeout=60)

    assert (process.returncode, out) == (2, b"")
    assert said in complained.decode()
    assert b"Traceback" not in complained
