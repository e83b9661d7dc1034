"""The wheel of due times, and the allowance of connections."""

import random

import pytest

from controller.site.allowance import Allowance
from controller.site.wheel import SLOT_S, Wheel


def popped(wheel, now_s):
    found = []
    while (one := wheel.pop(now_s)) is not None:
        found.append(one)
    return found


def test_nobody_is_due_early_and_everybody_within_a_slot():
    wheel, rng = Wheel(), random.Random(1)
    wanted_s = {f"m{i}": 100.0 + rng.random() * 5.0 for i in range(500)}
    for key, due_s in wanted_s.items():
        wheel.put(key, due_s)
    seen, now_s = {}, 100.0
    while wheel.next_s() is not None:
        for key, due_s in popped(wheel, now_s):
            seen[key] = now_s
            assert wanted_s[key] <= due_s + 1e-9
            assert due_s <= wanted_s[key] + SLOT_S + 1e-9
            assert due_s <= now_s
        now_s = wheel.next_s() or now_s
    assert seen.keys() == wanted_s.keys()


def test_the_last_plan_of_a_key_counts():
    wheel = Wheel()
    wheel.put("a", 10.0)
    wheel.put("a", 5.0)
    wheel.put("b", 20.0)
    wheel.put("b", 30.0)
    wheel.put("c", 7.0)
    wheel.put("c", 7.0)
    assert wheel.due_s("a") == pytest.approx(5.0)
    assert [key for key, _ in popped(wheel, 25.0)] == ["a", "c"]
    assert wheel.due_s("a") is None
    assert popped(wheel, 29.0) == []
    assert [key for key, _ in popped(wheel, 30.0)] == ["b"]
    assert wheel.next_s() is None


def test_a_long_pause_costs_what_is_due_and_no_more():
    wheel = Wheel()
    wheel.put("a", 1.0)
    wheel.put("b", 1e9)
    assert [key for key, _ in popped(wheel, 1e8)] == ["a"]
    assert wheel.next_s() == pytest.approx(1e9)


def test_an_allowance_lets_through_its_rate_and_saves_up_a_tenth_of_a_second():
    allowance = Allowance(100.0, int, 0.0)
    begun = 0
    for step in range(1, 1_001):
        allowance.fill(step * 0.01)
        while allowance.take():
            begun += 1
    assert begun == pytest.approx(100.0 * 10.0 + 10.0, abs=2)
    allowance.fill(1_000.0)
    assert sum(iter(allowance.take, False)) == 10


def test_a_read_that_opens_three_connections_counts_as_three():
    opened = 0
    allowance = Allowance(300.0, lambda: opened, 0.0)
    begun = 0
    for step in range(1, 1_001):
        allowance.fill(step * 0.01)
        while allowance.take():
            begun += 1
            opened += 3
    assert begun == pytest.approx(1_000, rel=0.05)
    assert opened / 10.0 == pytest.approx(300.0, rel=0.05)


def test_a_wave_of_commands_holds_reads_up_for_a_tenth_of_a_second_only():
    opened = 0
    allowance = Allowance(100.0, lambda: opened, 0.0)
    opened = 10_000
    allowance.fill(0.0)
    assert not allowance.take()
    allowance.fill(0.09)
    assert not allowance.take()
    allowance.fill(0.2)
    assert allowance.take()
