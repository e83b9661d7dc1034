"""The simulated miner's truth: dead times, ramps, limits, heat; the same whatever the step."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.physics.miner import MinerPhysics, MinerState
from simulators.physics.miner_models import RATINGS, TIMINGS, rating_of

FIRMWARES = sorted(TIMINGS)


def miner_of(firmware: str = "luxos", *, deaf: bool = False, seed: int = 1) -> MinerPhysics:
    return MinerPhysics(rating_of("S21"), TIMINGS[firmware], rng=random.Random(seed), deaf=deaf)


def state_of(miner: MinerPhysics) -> MinerState:
    return miner.state


def run(miner: MinerPhysics, begin_s: float, end_s: float, dt_s: float = 0.1) -> float:
    """Step through [begin, end]; returns the end."""
    steps = round((end_s - begin_s) / dt_s)
    for index in range(1, steps + 1):
        miner.step(begin_s + index * dt_s, dt_s, 20.0)
    return end_s


@pytest.mark.parametrize("firmware", FIRMWARES)
def test_going_to_sleep_is_flat_then_a_line_then_flat(firmware: str) -> None:
    timings, miner = TIMINGS[firmware], miner_of(firmware)
    full_w, sleep_w = miner.full_power_w, miner.rating.sleep_power_w
    miner.sleep(0.0)
    at_s = run(miner, 0.0, timings.down_dead_s - 0.2)
    assert miner.wall_power_w == pytest.approx(full_w)
    assert state_of(miner) is MinerState.HASHING
    at_s = run(miner, at_s, at_s + 0.2 + timings.down_ramp_s / 2)
    assert miner.wall_power_w == pytest.approx((full_w + sleep_w) / 2, rel=0.06)
    assert state_of(miner) is MinerState.GOING_DOWN
    run(miner, at_s, at_s + timings.down_ramp_s / 2 + 0.2)
    assert miner.wall_power_w == pytest.approx(sleep_w)
    assert miner.hashrate_ths == 0.0
    assert state_of(miner) is MinerState.ASLEEP


@pytest.mark.parametrize("firmware", FIRMWARES)
def test_waking_is_flat_then_a_line_then_full(firmware: str) -> None:
    timings, miner = TIMINGS[firmware], miner_of(firmware)
    miner.sleep(0.0)
    at_s = run(miner, 0.0, 100.0)
    miner.wake(at_s)
    at_s = run(miner, at_s, at_s + timings.up_dead_s - 0.2)
    assert state_of(miner) is MinerState.STARTING
    assert miner.wall_power_w == pytest.approx(miner.rating.sleep_power_w)
    at_s = run(miner, at_s, at_s + 0.2 + timings.up_ramp_s / 2)
    half_w = (miner.full_power_w + miner.rating.sleep_power_w) / 2
    assert miner.wall_power_w == pytest.approx(half_w, rel=0.02)
    run(miner, at_s, at_s + timings.up_ramp_s / 2 + 0.2)
    assert miner.wall_power_w == pytest.approx(miner.full_power_w)
    assert state_of(miner) is MinerState.HASHING


def test_luxos_keeps_the_vendors_promise_of_5_s_down_and_10_s_up() -> None:
    timings = TIMINGS["luxos"]
    assert timings.down_dead_s + timings.down_ramp_s < 5.0
    assert timings.up_dead_s + timings.up_ramp_s < 10.0


@pytest.mark.parametrize("command", ["sleep", "wake", "limit", "scale", "restart"])
def test_a_deaf_miner_draws_on(command: str) -> None:
    miner = miner_of(deaf=True)
    arguments = {"limit": (1500.0,), "scale": (0.5,)}.get(command, ())
    getattr(miner, command)(0.0, *arguments)
    run(miner, 0.0, 120.0, 1.0)
    assert miner.wall_power_w == pytest.approx(miner.full_power_w)
    assert miner.hashrate_ths > 190.0


@pytest.mark.parametrize(
    ("firmware", "dips"),
    [("luxos", False), ("braiins", False), ("whatsminer-v2", True), ("antminer-stock", True)],
)
def test_a_limit_settles_there_and_restarts_where_the_firmware_does(
    firmware: str, dips: bool
) -> None:
    miner = miner_of(firmware)
    miner.limit(0.0, 2000.0)
    lowest_w = miner.wall_power_w
    for second in range(1, 200):
        miner.step(float(second), 1.0, 20.0)
        lowest_w = min(lowest_w, miner.wall_power_w)
    assert miner.wall_power_w == pytest.approx(2000.0)
    assert (lowest_w < 100.0) is dips


def test_a_throttled_chip_is_more_efficient() -> None:
    miner = miner_of()
    full_jth = miner.full_power_w / miner.full_hashrate_ths
    miner.limit(0.0, 1750.0)
    run(miner, 0.0, 100.0, 1.0)
    assert miner.wall_power_w / miner.hashrate_ths < full_jth * 0.97


def test_waking_returns_to_the_limit_that_was_set() -> None:
    miner = miner_of("braiins")
    miner.limit(0.0, 2500.0)
    at_s = run(miner, 0.0, 60.0, 1.0)
    miner.sleep(at_s)
    at_s = run(miner, at_s, at_s + 60.0, 1.0)
    miner.wake(at_s)
    run(miner, at_s, at_s + 120.0, 1.0)
    assert miner.wall_power_w == pytest.approx(2500.0)


def test_a_temporary_share_is_fast_and_lost_by_a_restart() -> None:
    miner = miner_of("whatsminer-v2")
    miner.scale(0.0, 0.5)
    at_s = run(miner, 0.0, 2.0)
    assert miner.wall_power_w == pytest.approx(miner.full_power_w / 2, rel=0.001)
    miner.restart(at_s)
    run(miner, at_s, at_s + 120.0, 1.0)
    assert miner.wall_power_w == pytest.approx(miner.full_power_w)


def test_the_last_command_wins() -> None:
    miner = miner_of("antminer-stock")
    miner.sleep(0.0)
    at_s = run(miner, 0.0, 10.0)
    miner.wake(at_s)
    run(miner, at_s, at_s + 200.0, 1.0)
    assert miner.wall_power_w == pytest.approx(miner.full_power_w)


def test_a_sleeping_miner_sleeps_through_a_restart_unless_it_wakes_by_it() -> None:
    miner = miner_of("luxos")
    miner.sleep(0.0)
    at_s = run(miner, 0.0, 30.0, 1.0)
    miner.restart(at_s)
    at_s = run(miner, at_s, at_s + 100.0, 1.0)
    assert state_of(miner) is MinerState.ASLEEP
    miner.restart(at_s, wakes=True)
    run(miner, at_s, at_s + 100.0, 1.0)
    assert state_of(miner) is MinerState.HASHING


def test_chips_follow_ambient_and_load() -> None:
    miner = miner_of()
    for second in range(1, 400):
        miner.step(float(second), 1.0, 35.0)
    hot_c = miner.chip_temperature_c
    miner.sleep(400.0)
    for second in range(401, 900):
        miner.step(float(second), 1.0, 35.0)
    assert hot_c == pytest.approx(80.0, abs=0.5)
    assert miner.chip_temperature_c == pytest.approx(35.0, abs=0.1)
    assert miner.fan_rpm < 3000


def test_what_the_firmware_says_lies_below_the_wall() -> None:
    miner = MinerPhysics(
        rating_of("M50S"), TIMINGS["whatsminer-v2"], rng=random.Random(3), under_report=0.05
    )
    assert miner.reported_power_w == pytest.approx(miner.wall_power_w * 0.95)


def test_the_same_seed_gives_the_same_day() -> None:
    first, second, other = miner_of(seed=5), miner_of(seed=5), miner_of(seed=6)
    for miner in (first, second, other):
        run(miner, 0.0, 30.0, 1.0)
    assert first.hashrate_ths == second.hashrate_ths
    assert first.hashrate_ths != other.hashrate_ths


COMMANDS = st.lists(
    st.tuples(
        st.sampled_from(["sleep", "wake", "limit", "scale", "restart"]),
        st.integers(1, 40),
        st.floats(0.1, 1.0),
    ),
    max_size=8,
)


def play(firmware: str, commands: list[tuple[str, int, float]], dt_s: float) -> list[float]:
    """Wall power before each command and at the end."""
    miner, at_s, seen_w = miner_of(firmware), 0.0, []
    for name, wait_s, share in [*commands, ("end", 60, 0.0)]:
        if name == "limit":
            miner.limit(at_s, share * 3500.0)
        elif name == "scale":
            miner.scale(at_s, share)
        elif name != "end":
            getattr(miner, name)(at_s)
        at_s = run(miner, at_s, at_s + wait_s, dt_s)
        seen_w.append(miner.wall_power_w)
    return seen_w


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(FIRMWARES), COMMANDS)
def test_power_does_not_depend_on_the_step(
    firmware: str, commands: list[tuple[str, int, float]]
) -> None:
    assert play(firmware, commands, 0.25) == pytest.approx(play(firmware, commands, 1.0), abs=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(FIRMWARES), COMMANDS)
def test_power_stays_between_sleep_and_full(
    firmware: str, commands: list[tuple[str, int, float]]
) -> None:
    miner = miner_of(firmware)
    for power_w in play(firmware, commands, 1.0):
        assert miner.rating.sleep_power_w - 1e-6 <= power_w <= miner.full_power_w + 1e-6


def test_a_step_as_long_as_the_whole_story_ends_where_small_steps_end() -> None:
    miner = miner_of("antminer-stock")
    miner.sleep(0.0)
    miner.step(500.0, 500.0, 20.0)
    assert state_of(miner) is MinerState.ASLEEP
    assert miner.hashrate_1m_ths < 0.01


def test_nameplates_are_plausible() -> None:
    for rating in RATINGS.values():
        assert 15.0 < rating.power_w / rating.hashrate_ths < 40.0
        assert rating.sleep_power_w < 0.03 * rating.power_w
    names = [rating.model for rating in RATINGS.values()]
    assert all(a != b for a, b in pairwise(sorted(names)))


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Antminer S19 Pro", "Antminer S19 Pro"),
        ("s19-pro", "Antminer S19 Pro"),
        ("S19", None),
        ("M50S", "M50S VH50"),
        ("WhatsMiner M30S++", "M30S++ VH50"),
        ("M50S_VH50", "M50S VH50"),
        ("", None),
        ("Avalon 1566", None),
    ],
)
def test_models_are_found_by_the_names_that_people_use(said: str, meant: str | None) -> None:
    if meant is None:
        with pytest.raises(ValueError, match="not simulated; use one of: Antminer S19 Pro"):
            rating_of(said)
    else:
        assert rating_of(said).model == meant
