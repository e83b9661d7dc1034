"""Limits that are planned or that move by themselves: windows, ramps, a town that wakes up."""

import pytest

from tests.simulation.ground import LARGEST_W, STOCK_DOWN_S, Ground, event, true_w

SETTLE_S = STOCK_DOWN_S + 3.0
RAMP_UP_W_PER_S = 2_000.0
WINDOW = """
[[window]]
id = "{id}"
node = "{node}"
cap_kw = {cap_kw}
from = "{since}"
until = "{until}"
"""
"""The script of these worlds begins at 12:00:14 local time."""


def window(name: str, cap_kw: float, since: str, until: str, node: str = "plant") -> str:
    """One `[[window]]`."""
    return WINDOW.format(id=name, node=node, cap_kw=cap_kw, since=since, until=until)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_planned_window_is_arrived_at_on_its_first_second(ground: Ground, seed: int) -> None:
    """Down in time, not before; held to its end; up again afterwards."""
    played = ground.play(
        "mixed",
        until_s=330,
        seed=seed,
        site_more=window("peak", 90, "12:01:14", "12:02:44"),
    )

    full_w = played.true_w(0)
    assert played.least_w(0, 15) >= 0.998 * full_w, "it has time"
    assert played.peak_w(60, 150) <= 1.01 * 90_000
    assert played.least_w(60, 150) >= 90_000 - 0.02 * 300_000 - LARGEST_W
    assert played.true_w(330) == pytest.approx(full_w, rel=0.002)


def test_overlapping_windows_bind_by_the_lowest(ground: Ground) -> None:
    """A tighter one within a wider one, and a third for one feeder alone."""
    played = ground.play(
        "mixed",
        until_s=290,
        site_more=window("wide", 120, "12:01:14", "12:05:14")
        + window("tight", 80, "12:02:14", "12:02:54")
        + window("feeder", 30, "12:02:14", "12:05:14", "south"),
    )

    assert played.peak_w(60, 290) <= 1.01 * 120_000
    assert played.peak_w(120, 160) <= 1.01 * 80_000
    assert played.peak_w(120, 290, "south") <= 1.01 * 30_000
    assert played.true_w(290) >= 120_000 - 0.02 * 300_000 - LARGEST_W, "north came back"


def test_no_miner_is_started_into_a_window(ground: Ground) -> None:
    """Released shortly before the peak: the load never overshoots the line down to it."""
    played = ground.play(
        "mixed",
        event(5, "order", id="a", cap_w=90_000, within_s=40),
        event(60, "release", order="a"),
        until_s=180,
        site_more=window("peak", 90, "12:02:14", "12:03:34"),
    )

    assert played.peak_w(120, 180) <= 1.01 * 90_000


@pytest.mark.parametrize(
    ("world", "until_s", "error"), [("stock", 270, 0.05), ("mixed", 330, 0.15)]
)
def test_the_load_rises_by_ramp(ground: Ground, world: str, until_s: int, error: float) -> None:
    """From 0 W to everything: in no 30 s more than the ramp, one miner, and the model's error.

    In a mixed fleet slow firmware started before quick would arrive together with it: half as much
    again as the ramp. Started in the order of their figures they overlap only by what those are
    off; two firmwares here come up quicker than planned.
    """
    played = ground.play(
        world,
        event(5, "order", id="nil", cap_w=0, within_s=40),
        event(60, "release", order="nil"),
        until_s=until_s,
    )

    rows = played.between(60, until_s)
    rises_w = [
        true_w(later) - true_w(earlier) for earlier, later in zip(rows, rows[30:], strict=False)
    ]
    assert max(rises_w) <= (1.0 + error) * 30 * RAMP_UP_W_PER_S + LARGEST_W
    assert played.true_w(until_s) == pytest.approx(played.true_w(0), rel=0.002)


def test_mining_makes_room_when_the_town_wakes_up(ground: Ground) -> None:
    """4 % of the transformer's rating more each minute: never over it for more than 15 s."""
    rating_w = 300_000
    played = ground.play(
        "mixed",
        until_s=300,
        swap={
            'start_local = "12:00"': 'start_local = "16:30"',
            "evening_peak_w = 180_000": "evening_peak_w = 1_200_000",
        },
        site={"rating_kw = 400": "rating_kw = 300"},
    )

    rows = played.between(0, 300)
    through_w = [row["truth"]["bus_w"] for row in rows]
    town_w = [row["truth"]["town_w"] for row in rows]
    assert town_w[-1] - town_w[0] > 55_000
    over_s = longest_s = 0
    for power_w in through_w:
        over_s = over_s + 1 if power_w > 1.01 * rating_w else 0
        longest_s = max(longest_s, over_s)
    assert longest_s <= 15
    assert min(through_w[200:]) >= 0.96 * rating_w - LARGEST_W, "no more room than needed"
