"""The proof must fail when decisions are thrown away, wrong, or cheap; the clock must not."""

from dataclasses import replace
from io import StringIO
from itertools import count

import pytest
from rich.console import Console

from controller.cli.bench.fleet import build_plant
from controller.cli.bench.report import assemble, percentile, render
from controller.cli.bench.script import LEARN_TICKS
from controller.cli.bench.tick import (
    HOLD_TICKS,
    Record,
    WrongDecisionsError,
    over_s,
    prove,
    settle_ticks,
)
from controller.power.decide import MinerCommand, decide
from drivers.contract.commands import Sleep, Wake
from drivers.profiles import load_catalogue
from tests.unit.bench.bench_parts import MINERS, SEED, TICKS, judge, run


def test_real_decisions_prove_themselves():
    judge(run())


def test_thrown_away():
    record = run(lambda *now: replace(decide(*now), commands=()))
    with pytest.raises(WrongDecisionsError, match="no command was decided"):
        judge(record)


def told(kind, state, image, site):
    """Real decisions, but every miner is told this instead."""
    commands = (
        MinerCommand(miner_id=name, command=kind, commanded_s=image.now_s) for name in site.miners
    )
    return replace(decide(state, image, site), commands=tuple(commands))


def test_commands_that_lower_nothing():
    with pytest.raises(WrongDecisionsError, match="2000 commands changed nothing: 10 s over"):
        judge(run(lambda *now: told(Wake(), *now)))


def test_a_cap_forgotten_after_the_measured_ticks():
    calls = count(-LEARN_TICKS - settle_ticks(build_plant(MINERS, load_catalogue()).site))

    def forgetful(*now):
        return decide(*now) if next(calls) < TICKS else told(Wake(), *now)

    with pytest.raises(WrongDecisionsError, match="the cap is not held"):
        judge(run(forgetful))


def test_everything_asleep_is_no_way_to_hold_a_cap():
    with pytest.raises(WrongDecisionsError, match="far too much sleeps"):
        judge(run(lambda *now: told(Sleep(), *now)))


IDLE = [500.0] * (TICKS + HOLD_TICKS)
HELD = {"sleeps": 3, "final_load_w": 90.0, "final_cap_w": 100.0}
#       over by tick (measured, then held), what is done if nothing is, said
VERDICTS = [
    ("held", [5.0] * 2 + [0.0] * 18, IDLE, HELD, None),
    ("not held", [5.0] * 2 + [0.0] * 17 + [7e3], IDLE, HELD, "not held: 7.0 kW"),
    ("as bad as idle", IDLE[:TICKS] + [0.0] * HOLD_TICKS, IDLE, HELD, "changed nothing: 10 s"),
    ("cap never binds", [0.0] * 20, [0.0] * 20, HELD, "nothing proved"),
    ("cap ends unbound", [0.0] * 20, [5.0] * 10 + [0.0] * 10, HELD, "nothing proved"),
    ("no commands", [0.0] * 20, IDLE, {**HELD, "sleeps": 0}, "no command"),
    ("half empty", [0.0] * 20, IDLE, {**HELD, "final_load_w": 49.0}, "far too much sleeps"),
]


@pytest.mark.parametrize(
    ("name", "over_w", "idle_w", "rest", "said"), VERDICTS, ids=[row[0] for row in VERDICTS]
)
def test_verdicts(name, over_w, idle_w, rest, said):
    record = Record(over_w=over_w, **rest)
    if said is None:
        prove(record, idle_w, TICKS)
        return
    with pytest.raises(WrongDecisionsError, match=said):
        prove(record, idle_w, TICKS)


def test_only_measured_seconds_count_as_over():
    assert over_s([1.0, 0.0, 1.0, 1.0], 3) == 2


def test_every_tick_is_timed_once_by_the_stopwatch_alone():
    """The watch moves 1 ms a look: a pause of the collector would be two looks more."""
    record = run()
    assert len(record.decide_ns) == len(record.cpu_ns) == len(record.bare_ns) == TICKS
    assert set(record.cpu_ns) == {1_000_000}
    assert set(record.bare_ns) <= {1_000_000, 3_000_000}
    for decided_ns, paused_ns in zip(record.decide_ns, record.gc_ns, strict=True):
        assert decided_ns == 1_000_000 + 2 * paused_ns


def test_same_seed_same_record():
    first, second, other = run(), run(), run(seed=SEED + 1)
    assert (first.digest, first.over_w) == (second.digest, second.over_w)
    assert other.digest != first.digest


def record_of(decide_ms, ticks):
    return Record(
        decide_ns=[int(ms * 1e6) for ms in decide_ms],
        cpu_ns=[1_000] * ticks,
        bare_ns=[2_000_000] * ticks,
        journal_ns=[1_000_000],
        gc_ns=[0] * ticks,
        stale_shares=[0.2],
        sleeps=1,
        over_w=[0.0] * ticks,
    )


#      miners  ticks  milliseconds                 median p99   shown
GOALS = [
    (10_000, 60, [50.0] * 59 + [150.0], True, True, "met"),
    (10_000, 60, [50.1] * 59 + [150.1], False, False, "not met"),
    (10_000, 100, [1.0] * 99 + [999.0], True, True, "met"),
    (10_000, 59, [1.0] * 59, None, None, "not judged"),
    (9_999, 60, [1.0] * 60, None, None, "not judged"),
]


@pytest.mark.parametrize(("miners", "ticks", "decide_ms", "median", "p99", "shown"), GOALS)
def test_goals_are_judged_and_never_fail(miners, ticks, decide_ms, median, p99, shown):
    result = assemble(
        record_of(decide_ms, ticks),
        [1.0] * ticks,
        miners=miners,
        ticks=ticks,
        deaf=1,
        seed=1,
        machine={"cpu": "c", "pinned_core": None, "python": "p", "load_1m": 0, "gc": "on"},
    )
    assert result["met"] == {"median_ms": median, "p99_ms": p99}
    console = Console(width=200, record=True, file=StringIO())
    console.print(render(result))
    text = console.export_text()
    assert shown in text
    assert ("not met" in text) is (shown == "not met")
    assert ("The goals are for 10000 miners" in text) is (median is None)
    assert "not pinned to a core" in text
    assert result["ratios"]["median_to_raw"] == round(result["figures"]["median_ms"] / 2.0, 2)


@pytest.mark.parametrize(
    ("values", "share", "ranked"),
    [
        ([7], 0.99, 7),
        ([3, 1, 2], 0.5, 2),
        (range(1, 61), 0.99, 60),
        (range(1, 101), 0.99, 99),
        (range(1, 1001), 0.99, 990),
    ],
)
def test_percentile_is_nearest_rank(values, share, ranked):
    assert percentile(values, share) == ranked


def test_the_small_run_is_the_one_that_is_compared():
    assert (MINERS, TICKS, SEED) == (200, 10, 1)
