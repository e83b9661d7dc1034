"""Words become values, or a sentence; never a wrong number, never an exception."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.contract.quantities import Signal
from drivers.meters.decode import TransformerRatios, Unusable, decode, raw_bytes
from drivers.meters.map import UNIT_FACTORS, MappedSignal, ValueType, WordOrder, unit_ending

WIDE = (-1e300, 1e300)
ALL_ONES = 0xFFFF


def mapped(value_type: str, order: str = "ABCD", **changed: object) -> MappedSignal:
    shape = {
        "signal": Signal.POWER_W,
        "address": 0,
        "type": ValueType(value_type),
        "word_order": WordOrder(order),
        "gain": 1.0,
        "offset": 0.0,
        "plausible": WIDE,
    }
    return MappedSignal(**(shape | changed))  # type: ignore[arg-type]


#  type   order   words                              value
WORDS = [
    ("u16", "ABCD", "FFFE", 65534),
    ("i16", "ABCD", "FFFE", -2),
    ("u16", "BADC", "3412", 0x1234),
    ("u32", "ABCD", "0001 0002", 65538),
    ("u32", "CDAB", "0002 0001", 65538),
    ("u32", "BADC", "0100 0200", 65538),
    ("u32", "DCBA", "0200 0100", 65538),
    ("i32", "ABCD", "FFFF FFFF", -1),
    ("i32", "CDAB", "0000 8000", -(2**31)),
    ("u64", "ABCD", "0000 0000 0001 0000", 65536),
    ("u64", "CDAB", "0000 0001 0000 0000", 65536),
    ("i64", "ABCD", "FFFF FFFF FFFF FFFE", -2),
    ("f32", "ABCD", "4248 0000", 50.0),
    ("f32", "CDAB", "0000 4248", 50.0),
    ("f32", "ABCD", "8000 0000", 0.0),
    ("f32", "ABCD", "0000 0001", 2.0**-149),
    ("f64", "ABCD", "4049 0000 0000 0000", 50.0),
    ("f64", "CDAB", "0000 0000 0000 4049", 50.0),
]


@pytest.mark.parametrize(("value_type", "order", "words", "value"), WORDS)
def test_words_to_value(value_type: str, order: str, words: str, value: float) -> None:
    one = mapped(value_type, order)
    assert decode(one, [int(word, 16) for word in words.split()]) == value


@pytest.mark.parametrize(
    ("value_type", "words", "why"),
    [
        ("f32", "7FC0 0000", "power_w: not available (the device sent nan)"),
        ("f32", "FFFF FFFF", "power_w: not available (the device sent nan)"),
        ("f32", "FF80 0000", "power_w: not available (the device sent -inf)"),
        ("f64", "7FF8 0000 0000 0000", "power_w: not available (the device sent nan)"),
        ("i16", "8000", "power_w: not available (the device sent 0x8000)"),
        ("u32", "FFFF FFFF", "power_w: not available (the device sent 0xFFFFFFFF)"),
        ("u16", "0BB9", "power_w: 3001 is outside the plausible range -3000 to 3000"),
        ("i16", "F447", "power_w: -3001 is outside the plausible range -3000 to 3000"),
    ],
)
def test_no_good_value_is_a_sentence(value_type: str, words: str, why: str) -> None:
    sentinels = frozenset({0x8000} if value_type == "i16" else {0xFFFFFFFF})
    if value_type.startswith("f"):
        sentinels = frozenset()
    one = mapped(value_type, not_available=sentinels, plausible=(-3000.0, 3000.0))
    assert decode(one, [int(word, 16) for word in words.split()]) == Unusable(why)


def test_zero_watts_is_zero_watts() -> None:
    assert decode(mapped("f32", plausible=(-1.0, 1.0)), [0, 0]) == 0.0


@pytest.mark.parametrize(
    ("bit", "word", "value"), [(0, 1, 1), (0, 0xFFFE, 0), (15, 0x8000, 1), (15, 0x7FFF, 0)]
)
def test_a_bit_of_a_word(bit: int, word: int, value: float) -> None:
    breaker = mapped("u16", signal=Signal.UNIT1_BREAKER_CLOSED, bit=bit, plausible=(0.0, 1.0))
    assert decode(breaker, [word]) == value


@pytest.mark.parametrize(
    ("signal", "factor"),
    [
        (Signal.POWER_W, 40 * 60),
        (Signal.ENERGY_IMPORT_WH, 40 * 60),
        (Signal.CURRENT_L1_A, 40),
        (Signal.VOLTAGE_L1_V, 60),
        (Signal.FREQUENCY_HZ, 1),
        (Signal.NET_HEAD_M, 1),
    ],
)
def test_transformer_ratios(signal: Signal, factor: float) -> None:
    ratios = TransformerRatios(current=40.0, voltage=60.0)
    assert decode(mapped("u16", signal=signal), [3], ratios) == 3 * factor


def test_every_signal_ends_in_a_unit() -> None:
    assert {unit_ending(signal) for signal in Signal} <= set(UNIT_FACTORS)
    assert unit_ending(Signal.RESERVOIR_VOLUME_M3) == "m3"
    assert unit_ending(Signal.UNIT1_BREAKER_CLOSED) == "closed"


word_lists = st.lists(st.integers(0, ALL_ONES), min_size=4, max_size=4)


@settings(deadline=None)
@given(
    st.sampled_from(list(ValueType)),
    st.sampled_from(list(WordOrder)),
    word_lists,
    st.floats(-1e12, 1e12),
    st.floats(-1e12, 1e12),
)
def test_any_words_decode_to_a_plausible_number_or_a_sentence(
    value_type: ValueType, order: WordOrder, words: list[int], gain: float, offset: float
) -> None:
    one = mapped(value_type, order, gain=gain, offset=offset, plausible=(-1e6, 1e6))
    found = decode(one, words[: value_type.words], TransformerRatios(current=1e5, voltage=1e5))
    if isinstance(found, Unusable):
        assert found.why.startswith("power_w: ")
    else:
        assert -1e6 <= found <= 1e6


@settings(deadline=None)
@given(st.sampled_from(list(WordOrder)), st.binary(min_size=8, max_size=8))
def test_orders_are_rearrangements_of_the_same_bytes(order: WordOrder, sent: bytes) -> None:
    words = struct.unpack(">4H", sent)
    assert raw_bytes(struct.unpack(">4H", raw_bytes(words, order)), order) == sent
