"""Which order stands first, how far it has come, and what is awaited of it."""

from datetime import timedelta

import pytest

from controller.console.orders import choose
from tests.unit.cli.images import AT, order


def test_no_order_is_no_card():
    assert choose([], AT).lead is None


def test_the_newest_in_force_stands_first_and_those_that_ended_last():
    orders = [
        order("old", "verified"),
        order("ended", "released"),
        order("new", "delivering"),
        order("last", "expired"),
    ]
    desk = choose(orders, AT)
    assert desk.lead.order.order_id == "new"
    assert [o.order_id for o in desk.others] == ["old", "last", "ended"]


def test_without_one_in_force_the_newest_that_ended_is_shown():
    desk = choose([order("a", "released"), order("b", "expired")], AT)
    assert desk.lead.order.order_id == "b"
    assert desk.lead.left is None


@pytest.mark.parametrize(
    ("stage", "from_s", "due", "left"),
    [
        ("waiting", 300, "begins", "0:05:00"),
        ("delivering", -20, "due", "0:00:40"),
        ("delivering", -200, "due", "0:00:00"),
        ("verified", -20, "ends", "0:15:00"),
        ("failed", -20, "ends", "0:15:00"),
    ],
)
def test_what_is_awaited_and_how_long(stage, from_s, due, left):
    begins = AT + timedelta(seconds=from_s)
    told = order("o", stage, valid_from=begins)
    lead = choose([told], AT).lead
    assert (lead.due, lead.left) == (due, left)


def test_a_deadline_counts_from_the_receipt_when_the_order_came_late():
    late = order("o", "delivering", valid_from=AT - timedelta(hours=1), within_s=100.0)
    assert choose([late], AT).lead.left == "0:00:10"


def test_an_older_site_that_says_no_begin_gets_no_false_deadline():
    assert choose([order("o", "delivering")], AT).lead.due == "ends"


@pytest.mark.parametrize(
    ("measured_w", "done"), [(900e3, 0), (720e3, 500), (533e3, 1000), (950e3, 0), (None, None)]
)
def test_how_much_of_the_drop_is_there(measured_w, done):
    assert choose([order("o", "delivering", measured_w=measured_w)], AT).lead.done == done


def test_an_order_that_asks_for_no_drop_has_no_share_of_it():
    assert choose([order("o", "verified", cap_w=950e3)], AT).lead.done is None


def test_a_shortfall_is_told_while_it_matters():
    def short_w(stage):
        return choose([order("o", stage, shortfall_w=5e3)], AT).lead.shortfall_w

    assert [short_w(s) for s in ("delivering", "failed", "released")] == [5e3, 5e3, None]
