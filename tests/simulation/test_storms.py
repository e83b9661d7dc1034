"""Many things at once, drawn by a seed: whatever happens, the load stays under what was ordered.

A storm that fails names its seed; `storm(seed)` draws the same events again.
"""

import random
from collections.abc import Iterator
from itertools import pairwise

import pytest

from simulators.services.dispatcher.forgery import FORGERIES
from tests.simulation.ground import LARGEST_W, STOCK_DOWN_S, Event, Ground, Played, event

FULL_W = 300_000
END_S, CALM_S = 400.0, 200.0
"""Nothing new begins after CALM_S; by END_S the load must be back."""
SETTLE_S = 2 * STOCK_DOWN_S + 20.0
"""A descent, the time to find out who did not obey, and the descent of those in their place."""
LIARS_MAX = 2
MINER_FAULTS = ("hang", "garbage", "huge", "closed", "liar", "slow")
METER_FAULTS = ("silent", "frozen", "nan", "late", "exception", "drop", "wrong_transaction")
DEAF = {"deaf_count = 0": "deaf_count = 1"}
Step = tuple[float, int]


def storm(seed: int) -> tuple[list[Event], list[Step]]:
    """Draw events, and the cap that the dispatcher wants from each of some seconds on."""
    rng = random.Random(f"storm {seed}")
    caps = list(_caps(rng))
    events = [event(at_s, "setpoint", cap_w=cap_w) for at_s, cap_w in caps]
    hosts = [f"127.12.{group}.{n}" for group in range(6) for n in range(1, 11)]
    liars = 0
    for host in rng.sample(hosts, 6):
        fault = rng.choice(MINER_FAULTS)
        liars += fault == "liar"
        if fault == "liar" and liars > LIARS_MAX:
            fault = "hang"
        at_s = round(rng.uniform(1, CALM_S - 20), 1)
        events.append(event(at_s, "miner_fault", host=host, fault=fault, for_s=_lasts_s(rng, at_s)))
    for meter_id in rng.sample(["north", "south", "transformer"], 2):
        at_s = round(rng.uniform(1, CALM_S - 20), 1)
        fault = rng.choice(METER_FAULTS)
        lasts_s = _lasts_s(rng, at_s)
        events.append(event(at_s, "meter_fault", meter=meter_id, fault=fault, for_s=lasts_s))
    at_s = round(rng.uniform(10, 150), 1)
    events.append(event(at_s, "frequency", delta_hz=rng.choice([-0.7, 0.5]), for_s=10))
    events.append(event(at_s, "ambient", celsius=rng.choice([-30, 40])))
    at_s = round(rng.uniform(10, 120), 1)
    events.append(event(at_s, "heartbeat_stop"))
    events.append(event(round(at_s + rng.uniform(5, 60), 1), "heartbeat_resume"))
    events.append(event(at_s, "forgery", fault=rng.choice(FORGERIES), cap_w=FULL_W))
    return sorted(events, key=lambda drawn: drawn[0]), caps


def _caps(rng: random.Random) -> Iterator[Step]:
    """Setpoints down and up; the last one gives everything back."""
    at_s = 5.0
    while at_s < CALM_S - 30:
        yield at_s, rng.randrange(50_000, 190_000, 5_000)
        at_s = round(at_s + rng.uniform(20, 80), 1)
    yield CALM_S, FULL_W


def _lasts_s(rng: random.Random, at_s: float) -> float:
    return round(rng.uniform(5, CALM_S - at_s), 1)


def allowed_w(caps: list[Step], at_s: float) -> float:
    """The highest cap of the last SETTLE_S: what a plant that is slow may still draw."""
    steps = [(-1e9, FULL_W), *caps, (1e9, FULL_W)]
    return max(
        cap_w
        for (from_s, cap_w), (until_s, _) in pairwise(steps)
        if until_s > at_s - SETTLE_S and from_s <= at_s
    )


def over(played: Played, caps: list[Step]) -> list[tuple[float, float, float]]:
    """Seconds over what was allowed: when, how much, what was allowed."""
    return [
        (row["t_s"], row["truth"]["mining_w"], allowed_w(caps, row["t_s"]))
        for row in played.between(0, END_S)
        if row["truth"]["mining_w"] > 1.01 * allowed_w(caps, row["t_s"]) + LIARS_MAX * LARGEST_W
    ]


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_a_storm_ends_where_it_began_and_never_over_the_limit(ground: Ground, seed: int) -> None:
    """No tick failed, no second over, nobody forgotten asleep."""
    events, caps = storm(seed)
    played = ground.play("mixed", *events, until_s=END_S, seed=seed, swap=DEAF)

    assert over(played, caps) == []
    ticks = played.at(END_S)["site"]["tick"]
    assert (ticks["skipped"], ticks["failed"]) == (0, 0)
    assert played.true_w(END_S) == pytest.approx(played.true_w(0), rel=0.01)
