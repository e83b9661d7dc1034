"""Figures and states in words: examples, every state known, and the same figures as `naryn top`."""

import doctest
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.cli import screen
from controller.console import words
from controller.power.alarms import Severity
from controller.power.decide import Phase
from controller.power.state import OrderStage


def test_examples_in_docstrings_hold():
    outcome = doctest.testmod(words)
    assert outcome.attempted > 10
    assert outcome.failed == 0


@pytest.mark.parametrize(
    ("table", "states"),
    [
        (words.PHASES, [phase.value for phase in Phase]),
        (words.STAGES, [stage.value for stage in OrderStage]),
        (words.SEVERITIES, [severity.value for severity in Severity]),
        (words.MODES, ["observe", "part_armed", "armed"]),
    ],
    ids=["phases", "stages", "severities", "modes"],
)
def test_every_state_has_words_and_no_word_is_left_over(table, states):
    assert sorted(table) == sorted(states)


def test_a_state_of_a_newer_process_is_shown_as_one_to_look_at():
    assert words.said(words.PHASES, "teleporting").tone == "warn"


@given(st.floats(-1e9, 1e9))
def test_power_is_said_as_top_says_it(power_w):
    assert words.power(power_w) == screen.power(power_w)


@pytest.mark.parametrize("unknown", [None, nan, inf])
def test_what_is_not_known_is_a_dash(unknown):
    assert words.power(unknown) == words.hashrate(unknown) == words.age(unknown) == "–"


@given(st.text(max_size=1000))
def test_a_strangers_words_become_one_line_of_visible_signs(text):
    shown = words.printable(text)
    assert shown.isprintable()
    assert len(shown) <= words.TEXT_MAX


@given(st.integers(-21 * 10**14, 21 * 10**14))
def test_no_satoshi_is_lost(amount_sat):
    whole, _, places = words.bitcoin(amount_sat).removesuffix(" BTC").partition(".")
    assert len(places) == 8
    assert int(whole + places) == amount_sat
