"""Amounts: exact both ways, or refused."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.money.amounts import (
    SAT_MAX,
    NotAnAmount,
    btc_from_sat,
    btc_text,
    fee_for,
    sat_from_btc,
)

SATS = st.integers(0, SAT_MAX)


@given(SATS)
def test_there_and_back(sat):
    assert sat_from_btc(btc_from_sat(sat)) == sat
    assert Decimal(btc_text(sat)) == btc_from_sat(sat)


@pytest.mark.parametrize(
    ("btc", "sat"),
    [
        (0, 0),
        (50, 5_000_000_000),
        (Decimal("0.00000001"), 1),
        (Decimal("1E-8"), 1),
        (Decimal("20999999.99999999"), SAT_MAX - 1),
    ],
)
def test_amounts_of_the_node(btc, sat):
    assert sat_from_btc(btc) == sat


@pytest.mark.parametrize(
    "btc",
    [
        0.1,
        "0.1",
        None,
        True,
        Decimal("0.000000001"),
        Decimal(-1),
        Decimal("NaN"),
        Decimal("Infinity"),
        Decimal("1E+400"),
        21_000_001,
        [1],
    ],
    ids=repr,
)
def test_what_is_no_amount_is_refused(btc):
    with pytest.raises(NotAnAmount):
        sat_from_btc(btc)


def test_amounts_for_people():
    assert btc_text(1) == "0.00000001"
    assert btc_text(-150_000_000) == "-1.50000000"
    assert btc_text(0) == "0.00000000"


@given(st.integers(1, 400_000), st.integers(100, 10_000_000))
def test_a_fee_is_rounded_up_by_less_than_a_satoshi(vsize, rate):
    fee = fee_for(vsize, rate)
    assert vsize * rate <= fee * 1000 < vsize * rate + 1000
