"""Slow questions of a fleet that was started together are spread."""

from drivers.miners.own_pace import own_period_s


def test_periods_are_at_most_a_quarter_shorter_and_each_its_own():
    periods = [own_period_s(f"m{number:05}", 60.0) for number in range(1_000)]
    assert all(45.0 <= period <= 60.0 for period in periods)
    assert len(set(periods)) == 1_000
    fullest = max(sum(at <= period < at + 1.0 for period in periods) for at in range(45, 61))
    assert fullest < 100, "no second holds a tenth of them"


def test_a_miner_keeps_its_period():
    assert own_period_s("m1", 60.0) == own_period_s("m1", 60.0)
