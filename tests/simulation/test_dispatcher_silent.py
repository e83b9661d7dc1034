"""The dispatcher falls silent: the load follows a curve that never rises, until he is back.

Heartbeat timeout 15 s, held for 15 s after the last beat, then down to 60 kW within 30 s.
"""

from itertools import pairwise

from tests.simulation.ground import STOCK_DOWN_S, Ground, Played, event, true_w

HOLD_S, DECAY_S, FAILSAFE_W = 15.0, 30.0, 60_000.0
RESTART_S = 10.0
BEAT_S = 5.0
NOISE_W = 50.0
SETTLE_S = STOCK_DOWN_S + 3.0


def never_rises(played: Played, from_s: float, until_s: float) -> bool:
    """Whether the true load only falls, but for the noise of the cables' voltage."""
    load_w = [true_w(row) for row in played.between(from_s, until_s)]
    return all(later <= earlier + NOISE_W for earlier, later in pairwise(load_w))


def under_the_curve(played: Played, held_w: float, lost_s: float, until_s: float) -> bool:
    """Whether each second is under what the curve allowed a fleet's fall earlier."""
    for row in played.between(lost_s, until_s):
        fallen = min(1.0, max(0.0, (row["t_s"] - SETTLE_S - lost_s - HOLD_S) / DECAY_S))
        if true_w(row) > 1.01 * (held_w + (FAILSAFE_W - held_w) * fallen):
            return False
    return True


def test_the_load_falls_along_the_curve_and_comes_back_after_the_delay(ground: Ground) -> None:
    """Silent for 110 s. A heartbeat that names what is in force ends it, and not at once."""
    played = ground.play(
        "mixed",
        event(1, "setpoint", cap_w=180_000),
        event(60, "heartbeat_stop"),
        event(170, "heartbeat_resume"),
        until_s=330,
    )

    assert "dispatcher_silent" in played.alarms(60 + HOLD_S + 1, 170)
    assert under_the_curve(played, 180_000, 60, 170)
    assert played.peak_w(60 + HOLD_S + DECAY_S + SETTLE_S, 170) <= 1.01 * FAILSAFE_W
    assert never_rises(played, 60, 170 + RESTART_S)
    assert "dispatcher_silent" not in played.alarms(172 + RESTART_S + BEAT_S, 330)
    assert played.true_w(330) >= 0.95 * 180_000
    assert played.peak_w(60, 330) <= 1.01 * 180_000, "the setpoint still stands"


def test_a_short_silence_costs_nothing(ground: Ground) -> None:
    """Two heartbeats lost, back before the timeout: nobody is alarmed and nothing is shed."""
    played = ground.play(
        "mixed",
        event(11, "heartbeat_stop"),
        event(23, "heartbeat_resume"),
        until_s=80,
    )

    assert "dispatcher_silent" not in played.alarms(10, 80)
    assert played.least_w(0, 80) >= 0.998 * played.true_w(0)


def test_a_dispatcher_never_heard_counts_as_lost_from_the_start(ground: Ground) -> None:
    """No grace for a broker that was never reached: the curve begins with the site."""
    played = ground.play("mixed", event(0, "heartbeat_stop"), until_s=110)

    assert "dispatcher_silent" in played.alarms(0, 110)
    begun_s = played.rows[0]["t_s"]
    assert under_the_curve(played, 300_000, begun_s, 110)
    assert played.peak_w(begun_s + HOLD_S + DECAY_S + SETTLE_S, 110) <= 1.01 * FAILSAFE_W
    assert never_rises(played, begun_s, 110)


def test_first_heard_late_he_is_believed(ground: Ground) -> None:
    """His first heartbeat lets the load come back, after the restart delay."""
    played = ground.play(
        "mixed", event(0, "heartbeat_stop"), event(100, "heartbeat_resume"), until_s=290
    )

    assert never_rises(played, 0, 100 + RESTART_S)
    assert played.true_w(290) >= 0.99 * played.true_w(-10)


def test_an_order_that_stands_is_not_loosened_by_silence(ground: Ground) -> None:
    """Under an order the curve only falls further; when the order ends unseen, nothing rises."""
    played = ground.play(
        "mixed",
        event(5, "order", id="a", cap_w=100_000, for_s=60, within_s=40),
        event(45, "heartbeat_stop"),
        until_s=170,
    )

    assert played.stages("a")[:3] == ["RECEIVED", "ACCEPTED", "VERIFIED"]
    assert played.peak_w(5 + SETTLE_S, 170) <= 1.01 * 100_000
    assert played.peak_w(45 + HOLD_S + DECAY_S + SETTLE_S, 170) <= 1.01 * FAILSAFE_W


def test_a_lowering_order_is_obeyed_in_the_middle_of_silence(ground: Ground) -> None:
    """Heartbeats lost, orders not: what lowers the load is never refused."""
    played = ground.play(
        "mixed",
        event(10, "heartbeat_stop"),
        event(20, "order", id="a", cap_w=40_000, within_s=40),
        until_s=100,
    )

    assert played.stages("a")[-1] == "VERIFIED"
    assert played.peak_w(20 + SETTLE_S, 100) <= 1.01 * 40_000
