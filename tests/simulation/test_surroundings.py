"""What happens around the miners and is not theirs: units, frequency, heat, water."""

import pytest

from tests.simulation.ground import STOCK_DOWN_S, Ground, event

CAP_W = 120_000
HAPPENINGS = {
    "a unit trips and comes back": (
        event(50, "unit_trip", unit=1),
        event(80, "unit_start", unit=1),
    ),
    "both units trip": (event(50, "unit_trip", unit=1), event(55, "unit_trip", unit=2)),
    "frequency falls": (event(50, "frequency", delta_hz=-0.8, for_s=20),),
    "frequency rises": (event(50, "frequency", delta_hz=0.6, for_s=20),),
    "heat": (event(50, "ambient", celsius=45),),
    "frost": (event(50, "ambient", celsius=-35),),
    "the river dries up": (event(50, "inflow", m3_s=0),),
}


@pytest.mark.parametrize("name", HAPPENINGS)
def test_an_order_holds_whatever_happens_around(ground: Ground, name: str) -> None:
    """No limit of the site's own moves with it: the load neither rises nor falls."""
    played = ground.play(
        "mixed",
        event(5, "order", id="a", cap_w=CAP_W, within_s=40),
        *HAPPENINGS[name],
        until_s=110,
    )

    assert played.stages("a") == ["RECEIVED", "ACCEPTED", "VERIFIED"]
    assert played.peak_w(5 + STOCK_DOWN_S + 3, 110) <= 1.01 * CAP_W
    assert played.least_w(50, 110) >= 0.99 * played.true_w(49)
    ticks = played.at(110)["site"]["tick"]
    assert (ticks["skipped"], ticks["failed"]) == (0, 0)
    assert not {a for a in played.alarms(50, 110) if a.startswith(("over_limit", "meter_bad"))}
