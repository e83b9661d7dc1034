"""A feeder's meter that stops, freezes or answers nonsense: BAD, its rule, and back again."""

from itertools import pairwise

import pytest

from tests.simulation.ground import (
    LARGEST_W,
    STOCK_DOWN_S,
    Ground,
    Played,
    event,
    meter,
    true_w,
)

FAULTS = ("silent", "frozen", "nan", "late", "exception", "drop", "wrong_transaction")
FOUND_S = 15.0
"""Frozen is found after 10 s of equal registers, silence after three periods and a timeout."""
BEGIN_S, LAST_S, END_S = 5.0, 95.0, 100.0


def usable(played: Played, at_s: float) -> bool:
    """Whether the site believes the meter of the north feeder."""
    found = meter(played.at(at_s), "north")
    return found["quality"] == "good" and found["power_w"] is not None


@pytest.mark.parametrize("fault", FAULTS)
def test_by_the_model_the_limit_holds_and_nothing_starts(ground: Ground, fault: str) -> None:
    """A cap given while the meter is lost is kept by the truth; released, north waits for it."""
    played = ground.play(
        "mixed",
        event(BEGIN_S, "meter_fault", meter="north", fault=fault, for_s=END_S - BEGIN_S),
        event(25, "order", id="a", cap_w=130_000, within_s=40),
        event(70, "release", order="a"),
        until_s=280,
    )

    assert "meter_bad:north" in played.alarms(BEGIN_S + FOUND_S, BEGIN_S + FOUND_S)
    assert not usable(played, 24)
    assert played.peak_w(25 + STOCK_DOWN_S + 3, 70) <= 1.01 * 130_000
    assert "VERIFIED" not in played.stages("a"), "nothing is proved without its meter"
    asleep = [row["site"]["fleet"][0] for row in played.between(70, LAST_S)]
    assert not any(fleet["restoring"] for fleet in asleep)
    assert usable(played, END_S + 5)
    assert "meter_bad:north" not in played.alarms(END_S + 6, 280)
    assert played.true_w(280) == pytest.approx(played.true_w(1), rel=0.005)


@pytest.mark.parametrize("fault", ["silent", "frozen", "nan"])
def test_by_curtailing_the_load_falls_to_its_failsafe_and_comes_back(
    ground: Ground, fault: str
) -> None:
    """Held for 15 s, then down to 40 kW within 30 s, never up; afterwards up by ramp."""
    played = ground.play(
        "mixed",
        event(BEGIN_S, "meter_fault", meter="north", fault=fault, for_s=115),
        until_s=280,
        site={'on_meter_loss = "model"': 'on_meter_loss = "curtail"\nfailsafe_kw = 40'},
    )

    assert played.least_w(0, BEGIN_S + 15, "north") >= 0.99 * played.true_w(1, "north")
    settled_s = BEGIN_S + FOUND_S + 15 + 30 + STOCK_DOWN_S
    assert played.peak_w(settled_s, 120, "north") <= 1.01 * 40_000
    lost = [true_w(row, "north") for row in played.between(BEGIN_S, 120)]
    assert all(later <= earlier + 50 for earlier, later in pairwise(lost))
    assert played.least_w(0, 280, "south") >= 0.99 * played.true_w(1, "south"), "its own feeder"
    assert played.true_w(280) == pytest.approx(played.true_w(1), rel=0.005)


def test_a_lost_transformer_meter_counts_the_town_at_its_worst(ground: Ground) -> None:
    """The rating stays held though nobody sees the town: 200 kW of it are assumed."""
    played = ground.play(
        "mixed",
        event(10, "meter_fault", meter="transformer", fault="silent", for_s=90),
        until_s=240,
        site={"rating_kw = 400": "rating_kw = 320"},
    )

    assert played.least_w(0, 10) >= 0.99 * played.true_w(0)
    settled_s = 10 + FOUND_S + STOCK_DOWN_S + 3
    assert played.peak_w(settled_s, 100) <= 1.01 * 120_000
    assert played.least_w(settled_s, 100) >= 120_000 - 0.03 * 320_000 - LARGEST_W
    assert played.true_w(240) == pytest.approx(played.true_w(1), rel=0.005)


def test_all_meters_lost_is_survived(ground: Ground) -> None:
    """Every feeder dark at once during an order: held by what miners say and 8 %, never proved."""
    played = ground.play(
        "mixed",
        event(5, "meter_fault", meter="north", fault="silent", for_s=400),
        event(5, "meter_fault", meter="south", fault="silent", for_s=400),
        event(5, "meter_fault", meter="transformer", fault="silent", for_s=400),
        event(30, "order", id="a", cap_w=100_000, within_s=40),
        until_s=140,
    )

    assert played.peak_w(30 + STOCK_DOWN_S + 3, 140) <= 1.01 * 100_000
    assert played.stages("a")[2:] == ["FAILED"]
    assert played.order("a")["shortfall_w"] is None, "unknown is absent, never 0"
