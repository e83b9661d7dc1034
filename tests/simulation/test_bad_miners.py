"""Miners that lie, hang, talk nonsense or are slow: each costs itself, and nothing else."""

import pytest

from tests.simulation.ground import STOCK_DOWN_S, Ground, Played, event, true_w

STOCK, WHATSMINER, LUXOS = "127.12.0.3", "127.12.1.4", "127.12.2.5"
BAD = {STOCK: "north-0003", WHATSMINER: "north-0014", LUXOS: "north-0025"}
FAULTS = ("hang", "garbage", "huge", "closed", "liar", "slow")
READ_EVERY_S, READ_TAKES_S = 10.5, 2.0
"""The poll's period and its spread in these worlds, and what an honest read may take."""
AWAY_S = 25.0
"""A stock Antminer answers no read for so long around the restart that a command makes."""


def ages_s(played: Played, from_s: float, until_s: float, spared: set[str]) -> tuple[float, float]:
    """Largest age of a reading of the miners that are not spared: quick firmwares, stock ones."""
    rows = played.between(from_s, until_s)
    slow = {f"north-{n:04d}" for n in range(1, 11)} | {f"south-{n:04d}" for n in range(1, 11)}
    quick = {name for name in rows[0]["reading_age_s"] if name not in slow} - spared
    others = slow - spared
    return (
        max(row["reading_age_s"][name] for row in rows for name in quick),
        max(row["reading_age_s"][name] for row in rows for name in others),
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_miner_of_each_firmware_costs_itself_only(ground: Ground, fault: str) -> None:
    """An order amid the trouble is delivered by the others; then all come back."""
    played = ground.play(
        "mixed",
        *(event(2, "miner_fault", host=host, fault=fault, for_s=68) for host in BAD),
        event(10, "order", id="a", curtail_percent=40, within_s=40),
        event(90, "release", order="a"),
        until_s=300,
    )

    assert played.stages("a") == ["RECEIVED", "ACCEPTED", "VERIFIED", "RELEASED"]
    cap_w = played.order("a")["cap_w"]
    assert played.peak_w(10 + STOCK_DOWN_S + 10, 89) <= 1.01 * cap_w
    quick_s, stock_s = ages_s(played, 0, 300, set(BAD.values()))
    assert quick_s <= READ_EVERY_S + READ_TAKES_S
    assert stock_s <= READ_EVERY_S + AWAY_S
    ticks = played.at(300)["site"]["tick"]
    assert (ticks["skipped"], ticks["failed"]) == (0, 0)
    assert played.true_w(300) == pytest.approx(played.true_w(1), rel=0.01)


@pytest.mark.parametrize("seed", [5, 6])
def test_ten_liars_do_not_hold_the_load_up(ground: Ground, seed: int) -> None:
    """They say zero and draw on: the feeder's meter tells, and others go in their place."""
    liars = [f"127.12.1.{n}" for n in range(1, 11)]
    played = ground.play(
        "mixed",
        *(event(2, "miner_fault", host=host, fault="liar", for_s=500) for host in liars),
        event(20, "order", id="a", cap_w=90_000, within_s=40),
        until_s=130,
        seed=seed,
    )

    assert played.peak_w(20 + 2 * STOCK_DOWN_S + 10, 130) <= 1.01 * 90_000
    assert played.true_w(130) >= 0.9 * 90_000


def test_deaf_miners_are_replaced_by_others(ground: Ground) -> None:
    """Two of ten S19 Pro do not listen; the load comes down all the same, and they are named."""
    played = ground.play(
        "mixed",
        event(10, "order", id="a", cap_w=100_000, within_s=40),
        until_s=130,
        swap={"deaf_count = 0": "deaf_percent = 20"},
    )

    assert "VERIFIED" in played.stages("a")
    assert played.peak_w(10 + 2 * STOCK_DOWN_S + 10, 130) <= 1.01 * 100_000
    assert "miners_deaf:north" in played.alarms(60, 130)


def test_a_miner_that_fell_asleep_unseen_is_woken_again(ground: Ground) -> None:
    """It obeyed, but its answers were garbage until the limit was gone: nobody may forget it."""
    played = ground.play(
        "stock",
        event(10, "order", id="a", cap_w=10_000, within_s=40),
        *(
            event(20, "miner_fault", host=f"127.13.0.{n}", fault="garbage", for_s=70)
            for n in (1, 2)
        ),
        event(55, "release", order="a"),
        until_s=280,
    )

    assert played.least_w(45, 50) <= 12_000, "both fell asleep"
    assert played.true_w(280) == pytest.approx(played.true_w(1), rel=0.005)


def test_a_miner_that_cannot_be_reached_counts_at_its_last_power(ground: Ground) -> None:
    """A whole firmware falls off the network: the order is held by the rest, never declared."""
    lost = [f"127.12.4.{n}" for n in range(1, 11)]
    played = ground.play(
        "mixed",
        *(event(5, "miner_fault", host=host, fault="closed", for_s=500) for host in lost),
        event(40, "order", id="a", cap_w=100_000, within_s=40),
        until_s=150,
    )

    assert played.stages("a")[-1] == "VERIFIED"
    assert "miners_unreachable:south" in played.alarms(30, 40)
    assert played.peak_w(40 + STOCK_DOWN_S + 3, 150) <= 1.01 * 100_000
    assert all(true_w(row, "south") > 33_000 for row in played.between(40, 150)), "they draw on"
