"""The policy: one good transaction, and everything that may be wrong with it."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from controller.money.facts import OutPoint, Output
from controller.money.policy import Expected, Facts, Input, Limits, Reason, violations
from tests.unit.money.money_facts import COLLECTION, RESERVE, STRANGER, txid

LIMITS = Limits(max_fee_sat=5_000, max_fee_percent=5, floor_sat_kvb=100, ceiling_sat_kvb=20_000)
POINTS = tuple(sorted(OutPoint(txid("coin", n), n) for n in range(2)))
COINS = {point: Output(script=COLLECTION, sat=100_000) for point in POINTS}
PAYS = Output(script=RESERVE, sat=199_000)
EXPECTED = Expected(
    coins=COINS,
    destination=RESERVE,
    amount_sat=PAYS.sat,
    vsize=200,
    limits=LIMITS,
    txid=txid("sweep"),
)


def spend(point):
    return Input(
        outpoint=point,
        sequence=0xFFFFFFFD,
        sighashes=frozenset(),
        previous_txid=point.txid,
        claimed=(COINS[point], COINS[point]),
    )


PSBT = Facts(
    txid=txid("sweep"),
    version=2,
    locktime=0,
    inputs=tuple(map(spend, POINTS)),
    outputs=(PAYS,),
)
SIGNED = replace(
    PSBT,
    vsize=199,
    inputs=tuple(
        Input(outpoint=p, sequence=0xFFFFFFFD, sighashes=frozenset({1}), signed=True)
        for p in POINTS
    ),
)


def reasons(facts, expected=EXPECTED):
    return {found.reason for found in violations(facts, expected)}


def first(facts, **changes):
    return replace(facts, inputs=(replace(facts.inputs[0], **changes), *facts.inputs[1:]))


def test_a_right_transaction_passes_in_every_form():
    assert violations(PSBT, EXPECTED) == ()
    assert violations(PSBT, replace(EXPECTED, txid=None)) == ()
    assert violations(SIGNED, EXPECTED) == ()


FOREIGN = Output(script=STRANGER, sat=1_000)
BAD_OUTPUT = Output(script=COLLECTION, sat=99_999)
ANCHOR = Output(script=b"\x6a\x20" + b"h" * 32, sat=0)
OTHER = OutPoint(txid("other"), 0)
MANY = {
    "version 1": (replace(PSBT, version=1), Reason.VERSION),
    "version 3": (replace(PSBT, version=3), Reason.VERSION),
    "lock time": (replace(PSBT, locktime=800_000), Reason.LOCKTIME),
    "other id": (replace(PSBT, txid=txid("x")), Reason.TXID),
    "input left out": (replace(PSBT, inputs=PSBT.inputs[:1]), Reason.INPUTS),
    "input twice": (replace(PSBT, inputs=PSBT.inputs[:1] * 2 + PSBT.inputs[1:]), Reason.INPUTS),
    "foreign input": (first(PSBT, outpoint=OTHER), Reason.INPUTS),
    "unknown coin": (first(PSBT, outpoint=OTHER, previous_txid=OTHER.txid), Reason.COIN_UNKNOWN),
    "sequence": (first(PSBT, sequence=0xFFFFFFFF), Reason.SEQUENCE),
    "sighash named": (first(PSBT, sighashes=frozenset({1, 0x81})), Reason.SIGHASH),
    "sighash used": (first(SIGNED, sighashes=frozenset({3})), Reason.SIGHASH),
    "no previous": (first(PSBT, previous_txid=None), Reason.PREVIOUS_MISSING),
    "other previous": (first(PSBT, previous_txid=txid("y")), Reason.PREVIOUS_TXID),
    "amount lied": (first(PSBT, claimed=(COINS[POINTS[0]], BAD_OUTPUT)), Reason.PREVIOUS_OUTPUT),
    "change": (replace(PSBT, outputs=(PAYS, FOREIGN)), Reason.DESTINATION),
    "change to ourselves": (replace(PSBT, outputs=(PAYS, BAD_OUTPUT)), Reason.OUTPUTS),
    "no output": (replace(PSBT, outputs=()), Reason.OUTPUTS),
    "reserve twice": (replace(PSBT, outputs=(PAYS, PAYS)), Reason.OUTPUTS),
    "less arrives": (replace(PSBT, outputs=(replace(PAYS, sat=198_999),)), Reason.AMOUNT),
    "anchor unasked": (replace(PSBT, outputs=(PAYS, ANCHOR)), Reason.ANCHOR),
    "anchor burns": (replace(PSBT, outputs=(PAYS, replace(ANCHOR, sat=1))), Reason.ANCHOR),
    "unsigned": (first(SIGNED, signed=False), Reason.UNSIGNED),
    "no signature": (first(SIGNED, sighashes=frozenset()), Reason.UNSIGNED),
}


@pytest.mark.parametrize(("facts", "reason"), MANY.values(), ids=MANY)
def test_what_is_wrong_is_named(facts, reason):
    assert reason in reasons(facts)


@pytest.mark.parametrize(
    ("paid_sat", "limits", "vsize", "reason"),
    [
        (200_000, LIMITS, 200, Reason.FEE),
        (200_001, LIMITS, 200, Reason.FEE),
        (199_000, replace(LIMITS, max_fee_sat=999), 200, Reason.FEE),
        (189_999, replace(LIMITS, max_fee_sat=50_000), 2_000, Reason.FEE_SHARE),
        (199_980, LIMITS, 201, Reason.FEERATE),
        (195_999, LIMITS, 200, Reason.FEERATE),
    ],
)
def test_fees_out_of_bounds(paid_sat, limits, vsize, reason):
    output = replace(PAYS, sat=paid_sat)
    expected = replace(EXPECTED, amount_sat=paid_sat, limits=limits, vsize=vsize)
    found = reasons(replace(PSBT, outputs=(output,)), expected)
    assert reason in found
    assert found <= {reason, Reason.FEERATE}, "a fee of nothing is below every rate too"


@pytest.mark.parametrize(
    ("paid_sat", "limits", "vsize"),
    [
        (199_000, replace(LIMITS, max_fee_sat=1_000), 200),
        (190_000, replace(LIMITS, max_fee_sat=50_000), 2_000),
        (199_980, LIMITS, 200),
        (196_000, LIMITS, 200),
    ],
)
def test_fees_just_within_bounds(paid_sat, limits, vsize):
    output = replace(PAYS, sat=paid_sat)
    expected = replace(EXPECTED, amount_sat=paid_sat, limits=limits, vsize=vsize)
    assert violations(replace(PSBT, outputs=(output,)), expected) == ()


def test_an_anchor_that_is_asked_for_must_be_there_exactly():
    asked = replace(EXPECTED, anchor=b"h" * 32)
    with_it = replace(PSBT, outputs=(PAYS, ANCHOR))
    assert violations(with_it, asked) == ()
    assert reasons(PSBT, asked) == {Reason.ANCHOR}
    assert reasons(with_it, replace(asked, anchor=b"g" * 32)) == {Reason.ANCHOR}
    twice = replace(PSBT, outputs=(PAYS, ANCHOR, ANCHOR))
    assert reasons(twice, asked) == {Reason.ANCHOR}


SCRIPTS = st.binary(max_size=40)
OUTPUTS = st.builds(Output, script=SCRIPTS, sat=st.integers(0, 250_000))


@given(st.lists(OUTPUTS, max_size=4), st.booleans())
def test_no_foreign_script_ever_passes(extra, before):
    assume(extra)
    outputs = (*extra, PAYS) if before else (PAYS, *extra)
    for facts in (PSBT, SIGNED):
        assert reasons(replace(facts, outputs=outputs))
        assert reasons(replace(facts, outputs=tuple(extra))) or tuple(extra) == (PAYS,)


@given(
    st.lists(st.tuples(st.sampled_from([*POINTS, OTHER]), st.integers(0, 2**32 - 1)), max_size=4)
)
def test_no_other_set_of_inputs_ever_passes(spends):
    right = sorted(point for point, _ in spends) == list(POINTS)
    assume(not right or any(sequence != 0xFFFFFFFD for _, sequence in spends))
    inputs = tuple(
        Input(
            outpoint=point,
            sequence=sequence,
            sighashes=frozenset({1}),
            previous_txid=point.txid,
            claimed=(COINS[point],) if point in COINS else (),
            signed=True,
        )
        for point, sequence in spends
    )
    for facts in (PSBT, SIGNED):
        assert reasons(replace(facts, inputs=inputs))
