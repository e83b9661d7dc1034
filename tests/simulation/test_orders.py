"""Orders of the dispatcher, judged by the true load: delivered, proved, replaced, ended."""

import pytest

from tests.simulation.ground import (
    LARGEST_W,
    STOCK_DOWN_S,
    Ground,
    Played,
    event,
    true_w,
)

OVER = 1.01
SETTLE_S = STOCK_DOWN_S + 3.0
METER_LATE_S = 3.0
"""A fall is seen so late at most: a meter's own period, its reading, the tick, and rounding."""


def held(played: Played, cap_w: float, from_s: float, until_s: float) -> None:
    """By the physics: no second more than one percent over the cap, nor far under it."""
    assert played.peak_w(from_s, until_s) <= OVER * cap_w
    assert played.least_w(until_s - 1, until_s) >= 0.95 * cap_w - LARGEST_W


def test_a_fleet_of_stock_antminer_is_slow_and_not_disobedient(ground: Ground) -> None:
    """Half of the load within the 31 s of its firmware and 3 s more, and nobody cries wolf."""
    played = ground.play(
        "stock", event(10, "order", id="half", curtail_percent=50, within_s=35), until_s=90
    )

    order = played.order("half")
    assert order["receipts"] == ["RECEIVED", "ACCEPTED", "VERIFIED"]
    assert order["t90_s"] <= SETTLE_S
    held(played, order["cap_w"], 10 + SETTLE_S, 90)
    assert not {name for name in played.alarms() if name.startswith(("over_limit", "miners_"))}


@pytest.mark.parametrize("seed", [1, 2])
def test_forty_percent_less_is_delivered_and_given_back(ground: Ground, seed: int) -> None:
    """All firmwares together: down in time, proved, released, and exactly where it was."""
    played = ground.play(
        "mixed",
        event(10, "order", id="a", curtail_percent=40, within_s=35),
        event(60, "release", order="a"),
        until_s=240,
        seed=seed,
    )

    order = played.order("a")
    assert order["receipts"] == ["RECEIVED", "ACCEPTED", "VERIFIED", "RELEASED"]
    assert order["t90_s"] <= SETTLE_S
    held(played, 0.6 * played.true_w(9), 10 + SETTLE_S, 59)
    assert played.true_w(240) == pytest.approx(played.true_w(9), rel=0.002)
    taken_w = [played.true_w(9) - true_w(row) for row in played.between(10, 60)]
    late_wh = METER_LATE_S * max(taken_w) / 3600
    delivered_wh = 1000 * order["delivered_kwh"]
    assert sum(taken_w) / 3600 - late_wh <= delivered_wh <= sum(taken_w) / 3600


def test_a_cap_of_0_w_is_verified_at_the_floor(ground: Ground) -> None:
    """0 W means 0 W; what is left is sleep draw and fans."""
    played = ground.play("mixed", event(10, "order", id="nil", cap_w=0, within_s=40), until_s=90)

    assert played.stages("nil") == ["RECEIVED", "ACCEPTED_PARTIAL", "VERIFIED"]
    assert sum(fleet["curtailed"] for fleet in played.at(90)["site"]["fleet"]) == 60
    assert played.true_w(90) == pytest.approx(60 * 60 + 2 * 2_000, rel=0.25)


def test_deaf_miners_make_a_cap_of_0_w_fail_by_what_they_draw(ground: Ground) -> None:
    """The same plant with a deaf miner and without: the difference is the truth."""
    order = event(10, "order", id="nil", cap_w=0, within_s=40)
    deaf = ground.play("stock", order, until_s=120, swap={"deaf_count = 0": "deaf_percent = 2"})
    sound = ground.play("stock", order, until_s=120)

    told = deaf.order("nil")
    assert told["receipts"] == ["RECEIVED", "ACCEPTED_PARTIAL", "FAILED"]
    excess_w = deaf.true_w(120) - sound.true_w(120)
    assert excess_w > 3_000
    assert told["shortfall_w"] == pytest.approx(excess_w, rel=0.02)
    assert {"order_failed:nil", "miners_deaf:main"} <= deaf.alarms(100, 120)


def test_orders_on_two_nodes_hold_side_by_side(ground: Ground) -> None:
    """A feeder's order does not lift the plant's, and neither is answered by the other's load."""
    played = ground.play(
        "mixed",
        event(10, "order", id="north", node="north", cap_w=50_000, within_s=40),
        event(15, "order", id="all", cap_w=120_000, within_s=40),
        event(90, "release", order="all"),
        until_s=200,
    )

    assert played.stages("north") == ["RECEIVED", "ACCEPTED", "VERIFIED"]
    assert played.stages("all") == ["RECEIVED", "ACCEPTED", "VERIFIED", "RELEASED"]
    held(played, 120_000, 15 + SETTLE_S, 89)
    assert played.peak_w(10 + SETTLE_S, 200, "north") <= OVER * 50_000
    assert played.true_w(200, "south") >= 0.97 * played.true_w(9, "south")


def test_a_newer_order_replaces_the_one_before(ground: Ground) -> None:
    """Of one node and issuer only the newest counts: lower, then higher, then released."""
    played = ground.play(
        "mixed",
        event(5, "order", id="one", cap_w=150_000, within_s=40),
        event(50, "order", id="two", cap_w=100_000, within_s=40),
        event(100, "order", id="three", cap_w=140_000, within_s=40),
        until_s=200,
    )

    assert played.stages("one") == ["RECEIVED", "ACCEPTED", "VERIFIED", "SUPERSEDED"]
    assert played.stages("two") == ["RECEIVED", "ACCEPTED", "VERIFIED", "SUPERSEDED"]
    assert played.stages("three")[:2] == ["RECEIVED", "ACCEPTED"]
    held(played, 150_000, 5 + SETTLE_S, 49)
    held(played, 100_000, 50 + SETTLE_S, 99)
    held(played, 140_000, 100, 200)


def test_an_order_that_nobody_releases_ends_by_itself(ground: Ground) -> None:
    """Expired: told so once, and the load comes back."""
    played = ground.play(
        "mixed", event(10, "order", id="a", cap_w=120_000, within_s=40, for_s=60), until_s=240
    )

    assert played.stages("a") == ["RECEIVED", "ACCEPTED", "VERIFIED", "EXPIRED"]
    held(played, 120_000, 10 + SETTLE_S, 69)
    assert played.true_w(240) == pytest.approx(played.true_w(9), rel=0.002)


def test_an_order_for_the_future_arrives_on_time(ground: Ground) -> None:
    """Neither at once nor late: the true load is under the cap at the order's first second."""
    played = ground.play(
        "mixed",
        event(5, "order", id="later", cap_w=90_000, in_s=75, within_s=5),
        until_s=120,
    )

    assert played.stages("later") == ["RECEIVED", "ACCEPTED", "VERIFIED"]
    assert played.least_w(5, 15) >= 0.99 * played.true_w(4), "it has time"
    assert played.peak_w(80, 120) <= OVER * 90_000
    assert played.order("later")["t90_s"] <= 3


def test_an_order_above_the_load_changes_nothing(ground: Ground) -> None:
    """Nothing has to be lowered, and that too is proved."""
    played = ground.play("mixed", event(10, "order", id="roomy", cap_w=230_000), until_s=60)

    assert played.stages("roomy") == ["RECEIVED", "ACCEPTED", "VERIFIED"]
    assert played.least_w(0, 60) >= 0.998 * played.true_w(0)
