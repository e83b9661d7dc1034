"""Requests cover every wanted signal once, split nothing, and keep the device's limits."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.contract.quantities import Signal
from drivers.meters.map import (
    MappedSignal,
    MapStatus,
    RatioSource,
    RegisterMap,
    ValueType,
    WordOrder,
)
from drivers.meters.plan import plan_pieces, plan_reads

SIGNALS = list(Signal)


def a_map(
    places: list[tuple[int, str] | tuple[int, str, str]],
    *,
    gap: int = 0,
    most: int = 125,
    forbidden: tuple[tuple[int, int], ...] = (),
) -> RegisterMap:
    """Signals in their enum's order at (address, type[, group])."""
    signals = tuple(
        MappedSignal(
            signal=SIGNALS[i],
            address=place[0],
            type=ValueType(place[1]),
            word_order=WordOrder.ABCD,
            gain=1.0,
            offset=0.0,
            plausible=(-1e300, 1e300),
            group=place[2] if len(place) == 3 else None,
        )
        for i, place in enumerate(places)
    )
    return RegisterMap(
        product="x",
        vendor="x",
        model="x",
        manual="x",
        function=3,
        signals=signals,
        words_per_request_max=most,
        gap_words_max=gap,
        forbidden=forbidden,
        pause_s=0.0,
        update_s=None,
        frozen_after_s=None,
        ratios=RatioSource.METER,
        status=MapStatus(vendor_page="x", code=None, verified_by=None, verified_on=None),
        golden=(),
    )


def drawn(register_map: RegisterMap, wanted: set[Signal] | None = None) -> str:
    """Requests as pictures: █ a wanted word, ░ one that is only read along."""
    names = {one.signal for one in register_map.signals} if wanted is None else wanted
    pictures = []
    for block in plan_reads(register_map, names):
        row = ["░"] * block.count
        for one in block.signals:
            for word in range(one.address, one.end):
                row[word - block.address] = "█"
        pictures.append(f"{block.address}:{''.join(row)}")
    return " ".join(pictures)


def test_neighbours_are_read_together() -> None:
    assert drawn(a_map([(0, "f32"), (2, "f32"), (4, "u16")])) == "0:█████"


def test_a_gap_is_read_only_where_the_map_allows_it() -> None:
    places: list[tuple[int, str] | tuple[int, str, str]] = [(0, "f32"), (4, "f32"), (9, "u16")]
    assert drawn(a_map(places)) == "0:██ 4:██ 9:█"
    assert drawn(a_map(places, gap=2)) == "0:██░░██ 9:█"
    assert drawn(a_map(places, gap=3)) == "0:██░░██░░░█"


def test_a_forbidden_gap_parts_what_would_be_joined() -> None:
    places: list[tuple[int, str] | tuple[int, str, str]] = [(0, "f32"), (4, "f32")]
    assert drawn(a_map(places, gap=9, forbidden=((2, 2),))) == "0:██ 4:██"
    assert drawn(a_map(places, gap=9, forbidden=((3, 3),))) == "0:██ 4:██"
    assert drawn(a_map(places, gap=9, forbidden=((6, 9),))) == "0:██░░██"


def test_a_request_is_no_longer_than_the_device_takes() -> None:
    assert drawn(a_map([(0, "f32"), (2, "f32"), (4, "f32")], most=5)) == "0:████ 4:██"
    assert drawn(a_map([(0, "f64"), (4, "f64")], most=4)) == "0:████ 4:████"


def test_only_what_is_wanted_is_read() -> None:
    three = a_map([(0, "f32"), (2, "f32"), (4, "f32")])
    assert drawn(three, {SIGNALS[1]}) == "2:██"
    assert drawn(three, {SIGNALS[0], SIGNALS[2]}) == "0:██ 4:██"


def test_a_group_is_read_whole() -> None:
    grouped = a_map([(0, "f32", "g"), (2, "f32"), (6, "f32", "g")])
    assert drawn(grouped, {SIGNALS[0]}) == "0:██░░░░░░"
    assert drawn(grouped) == "0:████░░██"


def test_two_bits_of_one_word_are_one_request() -> None:
    bits = a_map([(7, "u16"), (7, "u16")])
    assert drawn(bits) == "7:█"
    assert len(plan_reads(bits, set(SIGNALS))[0].signals) == 2


@st.composite
def maps(draw: st.DrawFn) -> tuple[RegisterMap, set[Signal]]:
    address, places = draw(st.integers(0, 50)), []
    for _ in range(draw(st.integers(1, 12))):
        value_type = draw(st.sampled_from(list(ValueType)))
        places.append((address, value_type.value))
        address += value_type.words + draw(st.integers(0, 12))
    gaps = draw(st.lists(st.integers(0, address), max_size=3))
    taken = {a + i for a, t in places for i in range(ValueType(t).words)}
    one = a_map(
        list(places),
        gap=draw(st.integers(0, 20)),
        most=draw(st.integers(4, 30)),
        forbidden=tuple((gap, gap) for gap in gaps if gap not in taken),
    )
    wanted = draw(st.sets(st.sampled_from([m.signal for m in one.signals]), min_size=1))
    return one, wanted


@settings(deadline=None)
@given(maps())
def test_every_plan_keeps_the_rules(drawn_map: tuple[RegisterMap, set[Signal]]) -> None:
    register_map, wanted = drawn_map
    blocks = plan_reads(register_map, wanted)
    read = [mapped.signal for block in blocks for mapped in block.signals]
    assert sorted(read) == sorted(wanted)
    for block in blocks:
        assert 1 <= block.count <= register_map.words_per_request_max
        words = range(block.address, block.end)
        for first, last in register_map.forbidden:
            assert first not in words
            assert last not in words
        for mapped in block.signals:
            assert mapped.address in words
            assert mapped.end - 1 in words
            numbered = block.words_of(mapped, tuple(words))
            assert numbered == tuple(range(mapped.address, mapped.end))
        inner = sorted(block.signals, key=lambda one: one.address)
        for left, right in pairwise(inner):
            assert right.address - left.end <= register_map.gap_words_max
    assert len(blocks) <= len(plan_pieces(register_map, wanted)) == len(wanted)
