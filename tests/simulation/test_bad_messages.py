"""Messages that must change nothing, and clocks that disagree."""

import pytest

from simulators.services.dispatcher.forgery import FORGERIES
from tests.simulation.ground import STOCK_DOWN_S, Ground, Played, event

SETTLE_S = STOCK_DOWN_S + 3.0
REASONS = {
    "garbage": "MALFORMED",
    "unsigned": "UNSIGNED",
    "stranger": "UNKNOWN_KEY",
    "tampered": "BAD_SIGNATURE",
    "oversized": "OVERSIZED",
    "malformed": "MALFORMED",
    "foreign": "FOREIGN_SITE",
    "replayed": "REPLAYED",
    "expired": "EXPIRED",
}


def rejections(played: Played) -> list[str]:
    """Why orders and setpoints were refused, in turn."""
    return [
        said["reason"]
        for said in played.result["answers"]
        if said["stage"] == "REJECTED" and not said["about"].startswith("heartbeat")
    ]


def test_every_forgery_has_its_reason() -> None:
    """A new kind of forgery is a new row here."""
    assert {*REASONS} == {*FORGERIES}


@pytest.mark.parametrize("fault", FORGERIES)
def test_a_forged_order_is_refused_and_changes_nothing(ground: Ground, fault: str) -> None:
    """The order that stands goes on, and the dispatcher's next one is believed as ever."""
    played = ground.play(
        "mixed",
        event(5, "order", id="before", cap_w=150_000, within_s=40),
        event(50, "forgery", fault=fault, cap_w=10_000),
        event(80, "order", id="after", cap_w=120_000, within_s=40),
        until_s=116,
    )

    assert rejections(played) == [REASONS[fault]]
    assert all(order["id"] in {"before", "after"} for order in played.result["orders"])
    assert played.stages("before") == ["RECEIVED", "ACCEPTED", "VERIFIED", "SUPERSEDED"]
    assert played.least_w(50, 80) >= 150_000 - 10_000, "nobody obeyed the forgery"
    assert played.stages("after") == ["RECEIVED", "ACCEPTED", "VERIFIED"]
    assert played.peak_w(80 + SETTLE_S, 116) <= 1.01 * 120_000


HARD = {"emergency": {}, "lockout": {"order_number": "NESK 77"}}


@pytest.mark.parametrize("order_class", HARD)
def test_one_signature_does_not_end_what_needs_two(ground: Ground, order_class: str) -> None:
    """It takes one to lower and two to release; a later, softer order lifts nothing either."""
    asked = {"class": order_class, **HARD[order_class]}
    played = ground.play(
        "mixed",
        event(5, "order", id="hard", cap_w=60_000, within_s=40, **asked),
        event(50, "release", order="hard"),
        event(60, "order", id="soft", cap_w=150_000, within_s=40),
        until_s=120,
    )

    assert played.stages("hard") == ["RECEIVED", "ACCEPTED", "VERIFIED"]
    assert "NEEDS_TWO_SIGNATURES" in rejections(played)
    assert played.peak_w(5 + SETTLE_S, 120) <= 1.01 * 60_000


@pytest.mark.parametrize("offset_s", [-120, 120])
def test_a_wrong_clock_lowers_with_an_alarm_and_raises_nothing(
    ground: Ground, offset_s: int
) -> None:
    """Two minutes wrong: the order is obeyed and alarmed; the higher setpoint is refused."""
    played = ground.play(
        "mixed",
        event(0, "clock", offset_s=offset_s),
        event(2, "setpoint", cap_w=150_000),
        event(50, "order", id="down", cap_w=90_000, within_s=40),
        event(100, "setpoint", cap_w=190_000),
        until_s=190,
    )

    assert played.peak_w(2 + SETTLE_S, 50) <= 1.01 * 150_000
    assert played.stages("down")[-1] == "VERIFIED"
    assert played.peak_w(50 + SETTLE_S, 190) <= 1.01 * 90_000
    assert "clock_disagrees:down" in played.alarms(51, 60)
    assert rejections(played) == ["CLOCK_DISAGREES"]


@pytest.mark.parametrize("offset_s", [-120, 120])
def test_a_release_by_a_wrong_clock_is_refused(ground: Ground, offset_s: int) -> None:
    """It would raise the load: the order stands."""
    played = ground.play(
        "mixed",
        event(0, "clock", offset_s=offset_s),
        event(5, "order", id="a", cap_w=90_000, within_s=40),
        event(60, "release", order="a"),
        until_s=110,
    )

    assert played.stages("a") == ["RECEIVED", "ACCEPTED", "VERIFIED"]
    assert rejections(played) == ["CLOCK_DISAGREES"]
    assert played.peak_w(5 + SETTLE_S, 110) <= 1.01 * 90_000


@pytest.mark.parametrize("offset_s", [-120, 120])
def test_a_clock_that_steps_is_obeyed_downwards(ground: Ground, offset_s: int) -> None:
    """Right before and wrong from one second to the next: what lowers is applied, and alarmed."""
    played = ground.play(
        "mixed",
        event(30, "clock", offset_s=offset_s),
        event(40, "order", id="down", cap_w=90_000, within_s=40),
        until_s=100,
    )

    assert played.stages("down") == ["RECEIVED", "ACCEPTED", "VERIFIED"]
    assert played.peak_w(40 + SETTLE_S, 100) <= 1.01 * 90_000
    assert "clock_disagrees:down" in played.alarms(41, 60)


def test_a_clock_set_right_again_is_believed_again(ground: Ground) -> None:
    """Heartbeats of a clock that went back pass for late ones; two minutes later all is well."""
    played = ground.play(
        "mixed",
        event(5, "order", id="a", cap_w=90_000, within_s=40),
        event(45, "clock", offset_s=120),
        event(60, "clock", offset_s=0),
        event(190, "release", order="a"),
        until_s=370,
    )

    assert played.stages("a") == ["RECEIVED", "ACCEPTED", "VERIFIED", "RELEASED"]
    assert rejections(played) == []
    assert played.peak_w(5 + SETTLE_S, 190) <= 1.01 * 90_000
    assert played.true_w(370) == pytest.approx(played.true_w(0), rel=0.01)
