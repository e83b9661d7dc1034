"""The pieces of the page: golden HTML for every state, and hostile words in every place.

The expected HTML stands in golden/, a tag a line. After a wanted change: NARYN_GOLDEN=write pytest,
then read the difference.
"""

import os
import re
from html.parser import HTMLParser
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.channel.view import AlarmView, EventView
from controller.console.pages import BEAT, PIECES, Pages, Place
from controller.console.watch import Seen
from tests.console.pictures import (
    ALARMED,
    BAD_TREASURY,
    DELIVERING,
    GOOD_TREASURY,
    PEACE,
    PROVED,
    WATCHING,
    changed,
    treasury,
)
from tests.unit.cli.images import AT, node

GOLDEN = Path(__file__).parent / "golden"
PLACE = Place(
    name="Камбар-Ата 2",
    root_id="plant",
    rating_w=3e6,
    zone=ZoneInfo("Asia/Bishkek"),
    timezone="Asia/Bishkek",
    stale_after_s=5.0,
)
NOBODY = "/s/run/site.sock: nobody listens here; does `naryn run` run?"


def fresh(image):
    return Seen(image=image, age_s=0.4)


STATES = {
    "peace": (fresh(PEACE), fresh(GOOD_TREASURY)),
    "delivering": (fresh(DELIVERING), fresh(GOOD_TREASURY)),
    "proved": (fresh(PROVED), None),
    "alarmed": (fresh(ALARMED), fresh(BAD_TREASURY)),
    "watching": (fresh(WATCHING), Seen(fault="/t: nobody listens here")),
    "silent": (
        Seen(image=PEACE, age_s=75.0, fault=NOBODY),
        Seen(image=GOOD_TREASURY, age_s=3700.0, fault="/t: nobody listens here"),
    ),
    "absent": (Seen(fault=NOBODY), fresh(GOOD_TREASURY)),
}


def pieces(site, money=None):
    return Pages(PLACE).pieces(site, money, AT)


@pytest.mark.parametrize("name", STATES)
def test_golden(name):
    found = pieces(*STATES[name])
    text = "".join(
        f"<!-- {piece} -->\n" + re.sub(r"(?<=>)\s*(?=<[^/])", "\n", found[piece]).strip() + "\n"
        for piece in (*PIECES, BEAT)
    )
    path = GOLDEN / f"{name}.html"
    if os.environ.get("NARYN_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Every tag and attribute of a page, and whether each is closed."""

    VOID = frozenset({"meta", "link"})

    def __init__(self, text):
        super().__init__()
        self.names, self.attributes, self.open = set(), set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def whole(site, money):
    pages = Pages(PLACE)
    return pages.page(pages.pieces(site, money, AT), site, AT)


@pytest.mark.parametrize("name", STATES)
def test_the_whole_page_is_well_formed_and_holds_no_style_and_no_script_of_its_own(name):
    text = whole(*STATES[name])
    tags = Tags(text)
    assert tags.open == []
    assert "style" not in tags.names | tags.attributes
    assert not [name for name in tags.attributes if name.startswith("on")]
    assert re.findall(r"<script(?![^>]* src=\"/static/)", text) == []
    assert re.findall(r"(?:src|href)=\"(?!/|#)", text) == []


def test_a_piece_is_one_line_as_a_stream_needs_it():
    for state in STATES.values():
        assert not [text for text in pieces(*state).values() if re.search(r"[\r\n]", text)]


HOSTILE = [
    '<script>alert("x")</script>',
    "\"'><img src=x onerror=alert(1)>",
    "</p></section><h1>owned</h1>",
    "{{ 7 * 7 }}",
    "data: x\n\nevent: head\ndata: owned",
    "\x1b[2J\u202egnp",
]


def poisoned(view, text):
    """The same view with the text in every place that holds words but ids of states."""
    if isinstance(view, msgspec.Struct):
        return type(view)(
            **{
                name: getattr(view, name)
                if name in {"parent", "node_id", "feeder", "kind"} and hasattr(view, "parent")
                else poisoned(getattr(view, name), text)
                for name in view.__struct_fields__
            }
        )
    if isinstance(view, list):
        return [poisoned(entry, text) for entry in view]
    return text if isinstance(view, str) else view


@pytest.mark.parametrize("text", HOSTILE)
def test_a_strangers_words_are_only_words(text):
    site = poisoned(changed(ALARMED, skipped={text: 3}), text)
    money = poisoned(BAD_TREASURY, text)
    page = whole(Seen(image=site, age_s=1.0, fault=text), Seen(image=money, age_s=1.0, fault=text))
    clean = Tags(whole(Seen(image=ALARMED, age_s=1.0, fault="x"), fresh(BAD_TREASURY)))
    tags = Tags(page)
    assert tags.open == []
    assert tags.names <= clean.names
    assert tags.attributes <= clean.attributes
    assert not [c for c in page if not c.isprintable() and c != "\n"]


def test_a_node_with_a_hostile_name_is_drawn_by_that_name():
    bad = node("<b>x</b>", "plant", None, 3e6)
    assert "&lt;b&gt;x&lt;/b&gt;" in pieces(fresh(changed(PEACE, nodes=[bad])))["tree"]


def test_unknown_is_a_dash_in_every_place():
    nothing = node("plant", "plant", None, 3e6, measured_w=None, through_w=None)
    dark = changed(PEACE, nodes=[nothing], meters=[], fleet=[], planned=[])
    found = pieces(fresh(dark), fresh(treasury(pools=[], sweeps=[])))
    assert "–" in found["now"]
    assert "0.0 kW" not in found["now"]
    assert "0.0 kW" not in found["tree"]
    assert "meter lost" in found["tree"]


def test_alarms_of_both_processes_the_worst_first_and_the_rest_counted():
    many = [
        AlarmView(
            alarm_id=f"miners_deaf:{n}",
            severity="warning",
            since_at=AT,
            detail=f"feeder {n}",
            meaning="",
            mend="",
        )
        for n in range(20)
    ]
    text = pieces(fresh(changed(PEACE, alarms=many)), fresh(BAD_TREASURY))["alarms"]
    assert text.index("ledger differs") < text.index("miners deaf")
    assert "treasury, critical" in text
    assert "and 9 more" in text


def test_events_of_both_processes_are_in_order_the_newest_first():
    told = pieces(fresh(PROVED), fresh(GOOD_TREASURY))["events"]
    said = ("ramp_down → curtailed", "sweep in block", "asel arms north")
    found = [told.index(word) for word in said]
    assert found == sorted(found)
    same = [EventView(at=AT, kind="order", text=text) for text in ("first", "second")]
    told = pieces(fresh(changed(PEACE, events=same)))["events"]
    assert told.index("second") < told.index("first")


def test_money_is_shown_to_the_satoshi_and_the_transaction_in_full():
    text = pieces(fresh(PEACE), fresh(GOOD_TREASURY))["treasury"]
    assert "1283.12500001" in text
    assert "62.50000001 BTC" in text
    assert 'title="4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"' in text
    assert "3/6" in text
    assert "ledger = chain" in text
    assert "ledger ≠ chain" in pieces(fresh(PEACE), fresh(BAD_TREASURY))["treasury"]


def test_confirmations_stop_at_six():
    deep = [changed(GOOD_TREASURY.sweeps[0], confirmations=400, stage="final")]
    assert "6/6" in pieces(fresh(PEACE), fresh(treasury(sweeps=deep)))["treasury"]


def test_the_beat_holds_the_points_of_charts_and_none_of_a_silent_process():
    beat = msgspec.json.decode(pieces(fresh(PEACE), fresh(GOOD_TREASURY))[BEAT])
    assert beat["points"] == {
        "plant/measured_w": 2.4e6,
        "plant/limit_w": 3e6,
        "site/frequency_hz": 49.987,
        "site/hashrate_ths": 31_680.0,
        "treasury/reserve_sat": 128_312_500_001,
    }
    silent = msgspec.json.decode(pieces(Seen(image=PEACE, age_s=9.0, fault="gone"))[BEAT])
    assert (silent["points"], silent["age_s"], silent["fault"]) == ({}, 9.0, "gone")


numbers = st.none() | st.floats(allow_nan=True, allow_infinity=True)


@given(watts=st.lists(numbers, min_size=4, max_size=4), signal=st.floats())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_numbers_are_shown(watts, signal):
    measured_w, through_w, limit_w, settle_w = watts
    known = {"limit_w": limit_w, "settle_w": settle_w}
    facts = {name: value for name, value in known.items() if value is not None}
    root = node("plant", "plant", None, 3e6, measured_w=measured_w, through_w=through_w, **facts)
    meters = [
        changed(meter, signals=dict.fromkeys(meter.signals, signal)) for meter in PEACE.meters
    ]
    found = pieces(fresh(changed(DELIVERING, nodes=[root], meters=meters)), fresh(GOOD_TREASURY))
    assert "plant" in found["tree"]
    msgspec.json.decode(found[BEAT])
