"""The one-line diagram: what is drawn of any tree, and how each node stands to its limit."""

from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.console.tree import DRAWN_MAX, bar, grow, verdict
from tests.unit.cli.images import CURTAILED, fleet, node


def drawn(branches):
    return [name for b in branches for name in (b.node.node_id, *drawn(b.children))]


def test_the_tree_hangs_together_with_its_miners_at_the_feeders():
    tree = grow(CURTAILED.nodes, CURTAILED.fleet)
    assert drawn(tree.roots) == ["plant", "transformer", "north", "south"]
    south = tree.roots[0].children[0].children[1]
    assert [(c.number, c.word) for c in south.miners] == [
        (58, "running"),
        (80, "asleep"),
        (4, "deaf"),
        (2, "not answering"),
    ]
    assert not tree.is_tall


def test_a_rack_is_a_line_at_its_feeder_and_only_while_something_limits_it():
    leak = {"limit_w": 0.0, "reason": "operator asel: leak", "cap_class": "operator"}
    nodes = [
        node("plant", "plant", None, 3e6),
        node("north", "feeder", "plant", 5e5),
        node("r1", "rack", "north", 1e5, measured_w=None, cap_class="feeder"),
        node("r2", "rack", "north", 1e5, measured_w=None, **leak),
    ]
    tree = grow(nodes, [])
    assert drawn(tree.roots) == ["plant", "north"]
    assert [rack.node_id for rack in tree.roots[0].children[0].racks] == ["r2"]


def test_many_feeders_stand_in_rows_and_far_too_many_are_counted():
    nodes = [node("plant", "plant", None, 3e6)]
    nodes += [node(f"f{n}", "feeder", "plant", 5e5) for n in range(100)]
    tree = grow(nodes, [])
    assert tree.is_tall
    assert tree.roots[0].is_busbar
    assert len(drawn(tree.roots)) == DRAWN_MAX
    assert tree.roots[0].left_out == 101 - DRAWN_MAX


def test_five_levels_are_a_tall_tree():
    chain = ["plant", "line", "t1", "t2", "feeder"]
    nodes = [
        node(name, kind, above, 1e6)
        for name, kind, above in zip(
            chain,
            ["plant", "line", "transformer", "transformer", "feeder"],
            [None, *chain],
            strict=False,
        )
    ]
    assert not grow(nodes[:4], []).is_tall
    assert grow(nodes, []).is_tall


@pytest.mark.parametrize(
    ("facts", "tone", "text"),
    [
        ({"measured_w": None}, "bad", "meter lost"),
        ({"measured_w": 400e3, "limit_w": 500e3}, "ok", "100.0 kW free"),
        ({"measured_w": 503e3, "limit_w": 500e3}, "ok", "at the limit"),
        ({"measured_w": 20e3, "limit_w": 0.0}, "ok", "at its floor, above the limit"),
        ({"measured_w": 600e3, "limit_w": 500e3, "settle_w": 490e3}, "warn", "coming down"),
        ({"measured_w": 600e3, "limit_w": 500e3, "settle_w": 600e3}, "bad", "OVER by 100.0 kW"),
        ({"measured_w": 600e3, "limit_w": 500e3, "planned": True}, "busy", "limit to come"),
        ({"measured_w": 0.0, "limit_w": 500e3}, "ok", "500.0 kW free"),
    ],
)
def test_how_a_node_stands(facts, tone, text):
    found = verdict(node("north", "feeder", "plant", 1e6, **facts))
    assert found.tone == tone
    assert text in found.text


def test_an_unknown_load_has_no_bar_and_one_of_zero_has_an_empty_one():
    assert bar(node("n", "feeder", None, 1e6, measured_w=None)).load is None
    assert bar(node("n", "feeder", None, 1e6, measured_w=nan)).load is None
    assert bar(node("n", "feeder", None, 1e6, measured_w=0.0)).load == 0


def test_a_bar_has_a_mark_only_where_the_limit_is_under_the_rating():
    assert bar(node("n", "feeder", None, 1e6)).mark is None
    assert bar(node("n", "feeder", None, 1e6, limit_w=250e3)).mark == 250


@given(
    st.lists(
        st.tuples(
            st.integers(0, 30),
            st.none() | st.integers(0, 30),
            st.sampled_from(["plant", "feeder", "rack"]),
        ),
        max_size=60,
    )
)
def test_any_list_of_nodes_is_drawn_and_each_at_most_once(listed):
    nodes = [
        node(f"n{n}", kind, None if above is None else f"n{above}", 1e6)
        for n, above, kind in {entry[0]: entry for entry in listed}.values()
    ]
    names = drawn(grow(nodes, [fleet("n1")]).roots)
    assert len(names) == len(set(names)) <= DRAWN_MAX
