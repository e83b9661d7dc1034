"""What the one-line diagram draws: the tree of nodes, bounded, each with its bar and its miners.

    plant ─── transformer ─┬─ north   racks have no meter: one is a line in its feeder's box, and
                           └─ south   only while something limits it
Pure.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

from controller.channel.view import FleetView, NodeView
from controller.console.words import power

DRAWN_MAX = 60
"""Nodes that are drawn; the rest is counted where it hangs."""
DEPTH_MAX = 10
_ACROSS_MAX = 4
"""Levels that stand side by side."""
_COLUMN_MAX = 4
"""Nodes that stand below each other; more stand in rows."""
_RACKS_MAX = 4
_OVER_SHARE = 0.01
"""As `naryn top`: a meter this share above the limit is called over it."""
_FULL = 1000
_RATING_CLASSES = frozenset({"plant", "feeder"})

_MINERS = (
    ("running", "running", "ok"),
    ("curtailing", "going down", "busy"),
    ("curtailed", "asleep", "calm"),
    ("restoring", "coming up", "busy"),
    ("deaf", "deaf", "warn"),
    ("stuck", "stuck", "warn"),
    ("unreachable", "not answering", "warn"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Load against rating, in thousandths of the rating; None where it is not known.

    `through`: all that flows, other load included. `mark`: the limit, where it is under the rating.
    """

    load: int | None
    through: int | None
    mark: int | None


class Verdict(NamedTuple):
    """How a node's meter stands to its limit, in words; `tone` as in `words.Said`."""

    tone: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Some miners that do the same."""

    number: int
    word: str
    tone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """One node and what hangs on it.

    `racks`: those below it that something else than their rating limits. `left_out`: nodes below
    it that are not drawn.
    """

    node: NodeView
    bar: Bar
    verdict: Verdict
    miners: tuple[Count, ...]
    hashrate_ths: float | None
    racks: tuple[NodeView, ...]
    children: tuple["Branch", ...]
    left_out: int

    @property
    def is_busbar(self) -> bool:
        """Whether many childless nodes hang on it, so that they stand in rows."""
        return len(self.children) > _COLUMN_MAX and not any(b.children for b in self.children)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The whole diagram. `is_tall`: too deep or too broad for its levels to stand side by side."""

    roots: tuple[Branch, ...]
    is_tall: bool


_Below = Mapping[str | None, list[NodeView]]
"""Node → what hangs on it, racks left out; None → the roots."""


def grow(nodes: Sequence[NodeView], fleet: Iterable[FleetView]) -> Tree:
    """The tree of an image's nodes; one whose parent is not among them counts as a root."""
    known = {node.node_id for node in nodes}
    below: dict[str | None, list[NodeView]] = defaultdict(list)
    racks: dict[str | None, list[NodeView]] = defaultdict(list)
    for node in nodes:
        if node.kind != "rack":
            below[node.parent if node.parent in known else None].append(node)
        elif is_limited(node):
            racks[node.parent].append(node)
    levels = _levels(below)
    shown = frozenset([node.node_id for level in levels for node in level][:DRAWN_MAX])
    fleets = {entry.feeder: entry for entry in fleet}

    def branch(node: NodeView) -> Branch:
        hanging, mine = below.get(node.node_id, []), fleets.get(node.node_id)
        children = tuple(branch(child) for child in hanging if child.node_id in shown)
        return Branch(
            node=node,
            bar=bar(node),
            verdict=verdict(node),
            miners=() if mine is None else counts([mine]),
            hashrate_ths=None if mine is None else mine.hashrate_ths,
            racks=tuple(racks.get(node.node_id, ())[:_RACKS_MAX]),
            children=children,
            left_out=len(hanging) - len(children),
        )

    roots = tuple(branch(node) for node in below[None] if node.node_id in shown)
    broad = any(
        sum(n.node_id in shown for n in hanging) > _COLUMN_MAX for hanging in below.values()
    )
    return Tree(roots=roots, is_tall=broad or len(levels) > _ACROSS_MAX)


def _levels(below: _Below) -> list[list[NodeView]]:
    """The nodes by their distance from the root, no deeper than is drawn."""
    levels: list[list[NodeView]] = []
    level = below.get(None, [])
    while level and len(levels) < DEPTH_MAX:
        levels.append(level)
        level = [child for node in level for child in below.get(node.node_id, [])]
    return levels


def is_limited(node: NodeView) -> bool:
    """Whether something else than its rating limits a node."""
    return node.cap_class not in _RATING_CLASSES


def bar(node: NodeView) -> Bar:
    """A node's bar; nothing is drawn beyond its rating."""

    def share(power_w: float | None) -> int | None:
        if power_w is None or not isfinite(power_w) or node.rating_w <= 0:
            return None
        return round(_FULL * max(0.0, min(1.0, power_w / node.rating_w)))

    mark = share(node.limit_w)
    through = share(node.through_w) if node.kind != "feeder" else None
    return Bar(load=share(node.measured_w), through=through, mark=None if mark == _FULL else mark)


def verdict(node: NodeView) -> Verdict:
    """How a node stands. Bad is over its limit with no command on its way that would mend it."""
    if node.measured_w is None:
        return Verdict("bad", "meter lost")
    gap_w = node.limit_w - node.measured_w
    if gap_w >= 0:
        return Verdict("ok", f"{power(gap_w)} free")
    if node.planned:
        return Verdict("busy", f"{power(-gap_w)} above a limit to come")
    highest_w = (1 + _OVER_SHARE) * max(node.limit_w, node.floor_w)
    if node.measured_w <= highest_w:
        at_floor = node.floor_w > node.limit_w
        return Verdict("ok", "at its floor, above the limit" if at_floor else "at the limit")
    if node.settle_w <= highest_w:
        return Verdict("warn", f"{power(-gap_w)} over, coming down")
    return Verdict("bad", f"OVER by {power(-gap_w)}")


def counts(fleets: Iterable[FleetView]) -> tuple[Count, ...]:
    """Miners by what they do, summed; what none does is left out, but never the running."""
    held = list(fleets)
    found = []
    for field, word, tone in _MINERS:
        number = sum(getattr(fleet, field) for fleet in held)
        if number or field == "running":
            found.append(Count(number=number, word=word, tone=tone if number else "calm"))
    return tuple(found)
