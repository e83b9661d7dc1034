"""Which registers to read together. Pure.

    wanted      ▓▓▓▓  ▓▓ ▓▓▓▓             ▓▓
    gap ≤ g     └─────one request────┘    └┘ the next: its gap is too wide, forbidden,
                                             or the request would be too long

A value is never split, nor is a group; registers nobody wants are read only to fill a gap.
"""

from collections.abc import Collection
from dataclasses import dataclass

from drivers.contract.quantities import Signal
from drivers.meters.map import MappedSignal, RegisterMap


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBlock:
    """One request: `count` words from wire address `address`, and the signals found in them."""

    address: int
    count: int
    signals: tuple[MappedSignal, ...]

    @property
    def end(self) -> int:
        """The wire address after the last word."""
        return self.address + self.count

    def words_of(self, mapped: MappedSignal, words: tuple[int, ...]) -> tuple[int, ...]:
        """A signal's own words among those of the whole block."""
        first = mapped.address - self.address
        return words[first : first + mapped.type.words]


def plan_reads(register_map: RegisterMap, wanted: Collection[Signal]) -> tuple[ReadBlock, ...]:
    """Fewest requests that read every wanted signal of the map exactly once, by address."""
    blocks: list[ReadBlock] = []
    for piece in plan_pieces(register_map, wanted):
        if blocks and _may_join(register_map, blocks[-1], piece):
            blocks[-1] = _joined(blocks[-1], piece)
        else:
            blocks.append(piece)
    return tuple(blocks)


def plan_pieces(register_map: RegisterMap, wanted: Collection[Signal]) -> tuple[ReadBlock, ...]:
    """The same with nothing joined: one request a value or group.

    For a device that refuses a joined request because it has no registers in the gap.
    """
    spans: dict[tuple[int, int], list[MappedSignal]] = {}
    for mapped in register_map.signals:
        if mapped.signal in wanted:
            spans.setdefault(_span(register_map, mapped), []).append(mapped)
    return tuple(
        ReadBlock(address=first, count=end - first, signals=tuple(spans[first, end]))
        for first, end in sorted(spans)
    )


def _span(register_map: RegisterMap, mapped: MappedSignal) -> tuple[int, int]:
    """What must be read whole to have this signal: its words, or all of its group."""
    if mapped.group is None:
        return mapped.address, mapped.end
    members = [one for one in register_map.signals if one.group == mapped.group]
    return min(one.address for one in members), max(one.end for one in members)


def _may_join(register_map: RegisterMap, block: ReadBlock, piece: ReadBlock) -> bool:
    gap = range(block.end, piece.address)
    return (
        len(gap) <= register_map.gap_words_max
        and max(block.end, piece.end) - block.address <= register_map.words_per_request_max
        and not any(
            first < gap.stop and last >= gap.start for first, last in register_map.forbidden if gap
        )
    )


def _joined(block: ReadBlock, piece: ReadBlock) -> ReadBlock:
    return ReadBlock(
        address=block.address,
        count=max(block.end, piece.end) - block.address,
        signals=block.signals + piece.signals,
    )
