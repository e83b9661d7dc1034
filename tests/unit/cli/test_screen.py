"""What `naryn status` and `naryn top` show, at 80 and at 140 columns.

The expected text stands in golden/. After a wanted change: NARYN_GOLDEN=write pytest, then read
the difference.
"""

import os
from io import StringIO
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from controller.channel.view import EventView
from controller.cli.screen import power, render
from tests.unit.cli.images import AT, CURTAILED, IMAGES, TROUBLE, fleet, image, node, order

GOLDEN = Path(__file__).parent / "golden"
BISHKEK = ZoneInfo("Asia/Bishkek")


def shown(picture, width):
    out = StringIO()
    console = Console(file=out, width=width, color_system=None, legacy_windows=False)
    console.print(render(picture, BISHKEK))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize("name", IMAGES)
def test_golden(name, width):
    text = shown(IMAGES[name], width)
    path = GOLDEN / f"{name}-{width}.txt"
    if os.environ.get("NARYN_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def flat(text):
    """Without line breaks: where a cell was folded does not count."""
    return "".join(text.split())


@pytest.mark.parametrize("width", [60, 80, 100, 119, 120, 140, 200])
def test_node_and_reason_stay_legible_and_nothing_is_wider_than_the_terminal(width):
    text = shown(CURTAILED, width)
    assert all(cell_len(line) <= width for line in text.splitlines())
    for name in ("plant", "transformer", "north", "south"):
        assert name in text
    words = CURTAILED.nodes[0].reason.split()
    for word in words:
        assert word in flat(text)
    assert "533.0 kW" in text
    assert "540.0 kW" in text


def test_a_reason_of_two_hundred_letters_is_folded_not_cut():
    reason = "operator asel: " + "крутой " * 25
    text = shown(
        image(nodes=[node("plant", "plant", None, 3e6, reason=reason, cap_class="operator")]), 80
    )
    assert flat(text).count("крутой") == 25


def test_what_waits_for_help_comes_first():
    lines = shown(TROUBLE, 80).splitlines()
    worst = next(i for i, line in enumerate(lines) if "meter bad" in line)
    other = next(i for i, line in enumerate(lines) if "no watchdog" in line)
    assert worst < other
    assert "→ check the meter's network" in lines[worst + 1]


def test_an_unknown_power_is_a_dash_or_lost_never_zero():
    for width in (80, 140):
        line = next(row for row in shown(TROUBLE, width).splitlines() if "north  " in row)
        assert "meter lost" in line
        assert " 0.0 kW" not in line
    assert power(None) == "—"
    assert power(0.0) == "0.0 kW"


@pytest.mark.parametrize(
    "text",
    ["[red]stop[/red]", "[/nothing]", "\x1b[2J\x1b[H gone", "a\rb\x07\u202egnp", ":warning:"],
    ids=["markup", "broken markup", "escape", "control and bidi", "emoji"],
)
@pytest.mark.parametrize("width", [80, 140])
def test_a_strangers_words_do_nothing_to_the_terminal(text, width):
    picture = image(
        name=text,
        nodes=[node("plant", "plant", None, 3e6, reason=text)],
        events=[EventView(at=AT, kind="order", text=text)],
    )
    out = shown(picture, width)
    assert not [c for c in out if not c.isprintable() and c != "\n"]
    visible = "".join(c if c.isprintable() else "?" for c in text)
    assert out.count(visible) >= 2


def test_only_the_newest_orders_and_alarms_fit():
    orders = [order(f"o{number}", "released") for number in range(9)]
    text = shown(image(orders=orders), 80)
    assert [f"o{n}" in text for n in range(9)] == [False] * 5 + [True] * 4
    alarms = [
        type(TROUBLE.alarms[0])(
            alarm_id=f"meter_bad:m{n}",
            severity="critical",
            since_at=AT,
            detail=f"m{n}: lost",
            meaning="",
            mend="",
        )
        for n in range(9)
    ]
    assert "and 3 more" in shown(image(alarms=alarms), 80)


@given(
    width=st.integers(50, 220),
    watts=st.lists(st.none() | st.floats(-1e9, 1e9, allow_nan=False), min_size=3, max_size=3),
    deaf=st.integers(0, 10**6),
)
@settings(max_examples=40, deadline=None)
def test_any_image_is_shown_within_the_width(width, watts, deaf):
    measured_w, limit_w, through_w = watts
    picture = image(
        nodes=[
            node(
                "plant",
                "plant",
                None,
                3e6,
                measured_w=measured_w,
                limit_w=abs(limit_w or 0.0),
                through_w=through_w,
            )
        ],
        fleet=[fleet("north", deaf=deaf)],
    )
    assert all(cell_len(line) <= width for line in shown(picture, width).splitlines())
