"""The dispatcher's standing limit: lowered, raised, given for a feeder, and not renewed."""

import pytest

from tests.simulation.ground import LARGEST_W, STOCK_DOWN_S, Ground, event

SETTLE_S = STOCK_DOWN_S + 3.0
ROOM_W = 0.02 * 300_000 + LARGEST_W
"""Margin and deadband below a cap, and a miner that does not fit."""


def test_a_setpoint_is_held_lowered_and_raised(ground: Ground) -> None:
    """Each value holds from the moment it can be reached; up goes by ramp, never over."""
    played = ground.play(
        "mixed",
        event(5, "setpoint", cap_w=150_000),
        event(60, "setpoint", cap_w=90_000),
        event(120, "setpoint", cap_w=160_000),
        until_s=310,
    )

    assert played.peak_w(5 + SETTLE_S, 60) <= 1.01 * 150_000
    assert played.least_w(5 + SETTLE_S, 60) >= 150_000 - ROOM_W
    assert played.peak_w(60 + SETTLE_S, 120) <= 1.01 * 90_000
    assert played.least_w(60 + SETTLE_S, 120) >= 90_000 - ROOM_W
    assert played.peak_w(120, 310) <= 1.01 * 160_000
    assert played.true_w(310) >= 160_000 - ROOM_W


ON_EXPIRY = {"hold": 80_000.0, "failsafe": 60_000.0, "release": None}


@pytest.mark.parametrize("on_expiry", ON_EXPIRY)
def test_a_setpoint_that_nobody_renews(ground: Ground, on_expiry: str) -> None:
    """hold: stays · failsafe: down along the curve to 60 kW · release: back to where it was."""
    played = ground.play(
        "mixed",
        event(5, "setpoint", cap_w=80_000, for_s=50, on_expiry=on_expiry),
        until_s=240,
    )

    cap_w = ON_EXPIRY[on_expiry]
    assert played.peak_w(5 + SETTLE_S, 55) <= 1.01 * 80_000
    if cap_w is None:
        assert played.true_w(240) == pytest.approx(played.true_w(1), rel=0.002)
        return
    assert played.peak_w(55, 240) <= 1.01 * 80_000
    assert played.peak_w(55 + 15 + 30 + SETTLE_S, 240) <= 1.01 * cap_w
    assert played.true_w(240) >= cap_w - ROOM_W


def test_a_setpoint_for_later_leaves_the_one_before_it_in_force(ground: Ground) -> None:
    """The old limit holds until the new one begins; it is arrived at on its first second."""
    played = ground.play(
        "mixed",
        event(5, "setpoint", cap_w=140_000),
        event(50, "setpoint", cap_w=80_000, in_s=60),
        until_s=150,
    )

    assert played.peak_w(5 + SETTLE_S, 110) <= 1.01 * 140_000
    assert played.least_w(45, 60) >= 140_000 - ROOM_W, "it has time"
    assert played.peak_w(110, 150) <= 1.01 * 80_000


def test_a_feeders_setpoint_limits_that_feeder_alone(ground: Ground) -> None:
    """North goes down; south mines on."""
    played = ground.play("mixed", event(5, "setpoint", node="north", cap_w=40_000), until_s=80)

    assert played.peak_w(5 + SETTLE_S, 80, "north") <= 1.01 * 40_000
    assert played.least_w(0, 80, "south") >= 0.99 * played.true_w(1, "south")


def test_a_setpoint_of_0_w_is_no_missing_setpoint(ground: Ground) -> None:
    """0 W means 0 W."""
    played = ground.play("mixed", event(5, "setpoint", cap_w=0), until_s=80)

    assert sum(fleet["curtailed"] for fleet in played.at(80)["site"]["fleet"]) == 60
    assert played.true_w(80) < 8_000
