"""Bytes of the simulated chain: read strictly, written as they were, refused without a crash."""

import json
from base64 import b64encode
from decimal import Decimal
from hashlib import sha256

import pytest
from embit.psbt import PSBT
from embit.transaction import Transaction as OtherTransaction
from hypothesis import given
from hypothesis import strategies as st

from simulators.services.chain import psbt, script
from simulators.services.chain.answers import amount
from simulators.services.chain.arguments import amount_sat
from simulators.services.chain.block import build_block, merkle_root, subsidy_sat
from simulators.services.chain.descriptors import expand
from simulators.services.chain.errors import CallError
from simulators.services.chain.psbt_finalize import finalize
from simulators.services.chain.rpc import answer
from simulators.services.chain.wire import (
    Outpoint,
    Reader,
    Transaction,
    TxIn,
    TxOut,
    WireError,
    read_block,
    read_transaction,
    with_size,
)

HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)
UINT32 = st.integers(0, 2**32 - 1)
INPUTS = st.builds(
    TxIn,
    st.builds(Outpoint, HASHES, UINT32),
    st.binary(max_size=80),
    UINT32,
    st.lists(st.binary(max_size=300), max_size=3).map(tuple),
)
OUTPUTS = st.builds(TxOut, st.integers(0, 2**62), st.binary(max_size=80))
UNKNOWN_KEYS = st.binary(min_size=1, max_size=40).filter(lambda key: key[0] > 8)
TRANSACTIONS = st.builds(
    Transaction,
    st.lists(INPUTS, min_size=1, max_size=4).map(tuple),
    st.lists(OUTPUTS, min_size=1, max_size=4).map(tuple),
    UINT32,
    UINT32,
)


@given(TRANSACTIONS)
def test_a_transaction_is_what_was_written(tx):
    assert read_transaction(tx.raw) == tx
    other = OtherTransaction.parse(tx.raw)
    assert other.txid().hex() == tx.txid
    assert other.serialize() == tx.raw
    assert tx.weight == 3 * len(tx.stripped) + len(tx.raw)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_transaction_or_are_refused(data):
    try:
        tx = read_transaction(data)
    except WireError:
        return
    assert tx.raw == data


@given(TRANSACTIONS, st.data())
def test_a_transaction_with_one_byte_more_or_less_is_refused(tx, data):
    with pytest.raises(WireError):
        read_transaction(tx.raw + b"\x00")
    cut = data.draw(st.integers(0, len(tx.raw) - 1))
    with pytest.raises(WireError):
        read_transaction(tx.raw[:cut])


@pytest.mark.parametrize("data", ["fd0100", "fe00010000", "ff0000000100000000"])
def test_a_size_has_one_form(data):
    with pytest.raises(WireError):
        Reader(bytes.fromhex(data)).sized()


def test_a_size_is_checked_before_anything_is_read():
    with pytest.raises(WireError, match="at most 100000 fit"):
        read_transaction(bytes.fromhex("02000000" + "fe40420f00"))


@given(st.lists(TRANSACTIONS, max_size=3), st.integers(0, 10**6), st.binary(max_size=80))
def test_a_block_is_what_was_written_and_has_its_work(transactions, height, mark):
    block = build_block(
        previous="11" * 32,
        height=height,
        time_s=1_800_000_000,
        script=b"\x51",
        transactions=transactions,
        fees_sat=7,
        mark=mark,
    )
    assert read_block(block.raw) == block
    assert int(block.hash, 16) < 1 << 255
    assert block.transactions[0].outputs[0].value_sat == subsidy_sat(height) + 7


def test_a_merkle_root_of_three():
    def both(left, right):
        return sha256(sha256(left + right).digest()).digest()

    one, two, three = (bytes((n,)) * 32 for n in (1, 2, 3))
    assert merkle_root([one]) == one
    assert merkle_root([one, two, three]) == both(both(one, two), both(three, three))


def test_new_coins_are_halved():
    assert [subsidy_sat(height) for height in (0, 149, 150, 300, 64 * 150)] == [
        5_000_000_000,
        5_000_000_000,
        2_500_000_000,
        1_250_000_000,
        0,
    ]


@given(st.integers(-(10**16), 10**16))
def test_amounts_are_written_with_eight_places(value_sat):
    text = bytes(amount(value_sat)).decode()
    assert Decimal(text) == Decimal(value_sat).scaleb(-8)
    assert len(text.partition(".")[2]) == 8


@given(st.integers(0, 21 * 10**14))
def test_amounts_are_read_to_the_satoshi(value_sat):
    text = bytes(amount(value_sat)).decode()
    assert amount_sat(text) == amount_sat(Decimal(text)) == value_sat


@given(st.text(max_size=40) | st.from_regex(r"-?[0-9.]{0,9}([eE]-?[0-9]{0,9})?", fullmatch=True))
def test_any_text_is_an_amount_or_is_refused(text):
    try:
        value_sat = amount_sat(text)
    except CallError as refused:
        assert refused.code == -3  # noqa: PT017 - either outcome is right
        return
    assert Decimal(text) == Decimal(value_sat).scaleb(-8)


@given(st.binary(max_size=120))
def test_any_script_is_described(data):
    assert isinstance(script.assembly(data), str)
    assert script.plain_descriptor(data).count("#") == 1
    address = script.address_of(data)
    if address is not None:
        assert script.script_of(address) == data


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_none(text):
    found = script.script_of(text)
    assert found is None or script.address_of(found) is not None


@given(st.text(max_size=80) | st.from_regex(r"(wpkh|wsh|tr|sh|pkh|addr|raw)\(.{0,40}\)?"))
def test_any_text_is_a_descriptor_or_is_refused(text):
    try:
        expand({"desc": text, "range": 1})
    except CallError as refused:
        assert refused.code in (-5, -8)  # noqa: PT017 - either outcome is right


@given(TRANSACTIONS, st.dictionaries(UNKNOWN_KEYS, st.binary(max_size=90)))
def test_a_psbt_keeps_what_it_does_not_understand(tx, fields):
    """Also the version and sequence 0, which embit would write as others."""
    bare = psbt.create(
        Transaction(
            tuple(TxIn(spent.outpoint, sequence=spent.sequence) for spent in tx.inputs),
            tx.outputs,
            tx.version,
            tx.lock_time,
        )
    )
    full = psbt.Psbt(bare.tx, {}, (fields, *bare.inputs[1:]), bare.outputs)
    assert psbt.read(full.to_text()) == full
    assert psbt.combine([psbt.read(bare.to_text()), psbt.read(full.to_text())]) == full


def test_a_psbt_is_one_that_others_read():
    spent = TxIn(Outpoint("aa" * 32, 3), sequence=0xFFFFFFFD)
    tx = Transaction((spent,), (TxOut(5, b"\x51"),))
    other = PSBT.from_string(psbt.create(tx).to_text())
    assert other.tx.txid().hex() == tx.txid
    assert (len(other.inputs), len(other.outputs)) == (1, 1)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_a_psbt_or_are_refused(data, headed):
    text = b64encode((psbt.MAGIC if headed else b"") + data).decode()
    try:
        psbt.read(text)
    except CallError as refused:
        assert refused.code == -22  # noqa: PT017 - either outcome is right


@given(
    st.dictionaries(
        st.sampled_from([bytes((n,)) for n in range(9)] + [b"\x02" + b"\x02" * 33]),
        st.binary(max_size=60),
    ),
    st.sampled_from(["5120" + "33" * 32, "0014" + "11" * 20, "0020" + "22" * 32, "51", ""]),
)
def test_broken_fields_of_a_psbt_are_refused_or_do_not_finalize(fields, paid):
    spent = TxIn(Outpoint("aa" * 32, 0))
    bare = psbt.create(Transaction((spent,), (TxOut(5, b"\x51"),)))
    output = TxOut(7, bytes.fromhex(paid)).to_bytes()
    broken = psbt.Psbt(bare.tx, {}, ({b"\x01": output, **fields},), bare.outputs)
    try:
        _, tx = finalize(psbt.read(broken.to_text()))
    except CallError as refused:
        assert refused.code == -22  # noqa: PT017 - either outcome is right
    else:
        assert tx is None or paid == "51"


@given(
    st.binary(max_size=80)
    | st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["id", "method", "params", "jsonrpc"]), inner, max_size=4
            )
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_body_gets_an_answer(body):
    status, reply = answer(lambda method, _: method, body)
    assert status in (200, 204, 400, 404, 500)
    assert (reply == b"") == (status == 204)
    assert reply == b"" or json.loads(reply) is not None


def test_a_size_before_bytes():
    for length in (0, 0xFC, 0xFD, 0xFFFF, 0x10000):
        assert Reader(with_size(bytes(length))).sized() == bytes(length)
