"""Which coins are due, what a sweep costs, and what the chain says of it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.money.facts import Wallet
from controller.money.policy import Limits
from controller.money.sweep import (
    INPUTS_MAX,
    NEXT,
    Confirmed,
    Costs,
    Gone,
    NotWorth,
    Plan,
    Stage,
    by_chain,
    cost,
    plan,
    sweep_id,
    sweepable,
    vsize_of,
)
from tests.unit.money.money_facts import coin

COSTS = Costs(
    input_weight=272,
    output_script_bytes=34,
    feerate_sat_kvb=2_000,
    min_sweep_sat=100_000,
    limits=Limits(max_fee_sat=50_000, max_fee_percent=5, floor_sat_kvb=100, ceiling_sat_kvb=50_000),
)


@pytest.mark.parametrize(
    ("coinbase", "confirmations", "due"),
    [(True, 100, False), (True, 101, True), (False, 5, False), (False, 6, True)],
)
def test_coins_are_due_when_they_are_deep(coinbase, confirmations, due):
    one = coin("c", 1, height=10, coinbase=coinbase)
    assert (sweepable([one], 10 + confirmations - 1, set()) == [one]) == due


def test_the_reserve_and_coins_on_their_way_are_left_alone():
    mine, held, reserve = coin("a", 1), coin("b", 1), coin("r", 1, wallet=Wallet.RESERVE)
    assert sweepable([reserve, held, mine], 500, {held.outpoint}) == [mine]


def test_the_largest_go_first_and_no_more_than_fit():
    coins = [coin(n, 10_000 + n) for n in range(INPUTS_MAX + 5)]
    planned = plan(reversed(coins), replace(COSTS, limits=replace(COSTS.limits, max_fee_percent=9)))
    assert isinstance(planned, Plan)
    assert set(planned.outpoints) == {c.outpoint for c in coins[5:]}
    assert list(planned.outpoints) == sorted(planned.outpoints)


def test_a_flood_of_dust_neither_stops_a_sweep_nor_makes_it_dear():
    """At 2 sat/vB a coin costs 136 sat to move, and 5 % of it may go: below 2720 sat it stays."""
    dust = [coin(f"d{n}", 2_719) for n in range(500)]
    real, least = coin("real", 10**6), coin("least", 2_720)
    planned = plan([*dust, least, real], COSTS)
    assert isinstance(planned, Plan)
    assert set(planned.outpoints) == {real.outpoint, least.outpoint}
    assert isinstance(plan(dust, COSTS), NotWorth)


def test_sizes_are_those_of_the_reference():
    """P2WPKH coins to P2WSH: 122 vB for one, 325 or 326 for four, 598 for eight, at most."""
    assert [vsize_of(n, COSTS) for n in (1, 4, 8)] == [122, 326, 598]


@given(st.lists(st.integers(1, 10**10), min_size=1, max_size=120), st.integers(100, 50_000))
def test_a_plan_keeps_every_satoshi(sats, rate):
    costs = replace(COSTS, feerate_sat_kvb=rate)
    coins = [coin(n, sat) for n, sat in enumerate(sats)]
    planned = plan(coins, costs)
    if isinstance(planned, Plan):
        swept = sum(c.sat for c in coins if c.outpoint in planned.outpoints)
        assert planned.amount_sat + planned.fee_sat == swept >= costs.min_sweep_sat
        assert len(planned.outpoints) <= INPUTS_MAX
        assert 0 < planned.fee_sat <= costs.limits.max_fee_sat
        assert planned.fee_sat * 100 <= swept * costs.limits.max_fee_percent


DEAR = replace(COSTS, min_sweep_sat=0, limits=replace(COSTS.limits, max_fee_percent=50))


@pytest.mark.parametrize(
    ("sats", "costs", "said"),
    [
        ([], COSTS, "no mature coin"),
        ([99_999], COSTS, "min_sweep_sat"),
        ([2_720], replace(COSTS, min_sweep_sat=0), "max_fee_percent"),
        ([100_000], replace(COSTS, feerate_sat_kvb=80_000), "worth moving"),
        ([100_000], replace(COSTS, feerate_sat_kvb=42_000), "max_fee_percent"),
        ([700], DEAR, "no node relays"),
        ([10**9], replace(COSTS, limits=replace(COSTS.limits, max_fee_sat=243)), "max_fee_sat"),
    ],
)
def test_what_is_not_worth_it(sats, costs, said):
    found = plan([coin(n, sat) for n, sat in enumerate(sats)], costs)
    assert isinstance(found, NotWorth)
    assert said in found.sentence


def test_the_same_coins_to_the_same_place_are_the_same_sweep():
    a, b = coin("a", 1).outpoint, coin("b", 1).outpoint
    assert sweep_id("g", "c", 3, [a, b]) == sweep_id("g", "c", 3, [b, a])
    others = {
        sweep_id("g", "c", 3, [a, b]),
        sweep_id("g", "c", 4, [a, b]),
        sweep_id("h", "c", 3, [a, b]),
        sweep_id("g", "d", 3, [a, b]),
        sweep_id("g", "c", 3, [a]),
    }
    assert len(others) == 5
    assert cost((b, a), 10**6, COSTS) == cost((a, b), 10**6, COSTS)


A, B = sorted((coin("a", 1).outpoint, coin("b", 1).outpoint))


@pytest.mark.parametrize(
    ("spenders", "verdict"),
    [
        ({A: None, B: None}, None),
        ({A: ("ours", 7), B: ("ours", 7)}, Confirmed("ours", 7)),
        ({A: ("older", 7), B: ("older", 7)}, Confirmed("older", 7)),
        ({A: None}, Gone(f"{B} is not on the chain")),
        ({A: ("thief", 7), B: None}, Gone(f"{A} was spent by thief, which is not ours")),
    ],
)
def test_what_the_chain_says(spenders, verdict):
    assert by_chain([A, B], spenders, {"ours", "older"}) == verdict


def test_every_stage_has_its_ways():
    assert set(NEXT) == set(Stage)
    assert all(Stage.CONFIRMED in ways for stage, ways in NEXT.items() if stage.is_open)
    by_people = {stage for stage, ways in NEXT.items() if Stage.ABANDONED in ways}
    given_back = {Stage.CONFIRMED, Stage.FINAL}  # by the chain
    assert by_people - given_back == {Stage.PROPOSED, Stage.BLOCKED, Stage.STUCK}
    assert all(stage not in ways for stage, ways in NEXT.items())
    assert {stage for stage in Stage if not stage.is_open} == {
        Stage.CONFIRMED,
        Stage.FINAL,
        Stage.ABANDONED,
    }
