"""Which order the page shows first, and how far it has come. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.channel.view import OrderView
from controller.console.words import countdown

IN_FORCE = frozenset({"waiting", "delivering", "verified", "failed"})
_OTHERS_MAX = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One order as a card.

    `done`: how much of the asked drop is there, in thousandths; None where that is not known or
    nothing was to drop. `due`: what is awaited, and `left` how long that still takes.
    """

    order: OrderView
    done: int | None
    due: str
    left: str | None
    shortfall_w: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The order that matters most and some others, the newest first; None: there was none."""

    lead: Progress | None
    others: tuple[OrderView, ...]


def choose(orders: Sequence[OrderView], now: datetime) -> Desk:
    """The newest order in force; without one, the newest that ended. `orders`: the oldest first."""
    newest = list(reversed(orders))
    if not newest:
        return Desk(lead=None, others=())
    lead = next((order for order in newest if order.stage in IN_FORCE), newest[0])
    others = [order for order in newest if order is not lead]
    others.sort(key=lambda order: order.stage not in IN_FORCE)
    return Desk(lead=_progress(lead, now), others=tuple(others[:_OTHERS_MAX]))


def _progress(order: OrderView, now: datetime) -> Progress:
    due, at = _due(order)
    left = None if at is None else countdown((at - now).total_seconds())
    short_w = order.shortfall_w if order.stage in {"delivering", "failed"} else None
    return Progress(order=order, done=_done(order), due=due, left=left, shortfall_w=short_w)


def _due(order: OrderView) -> tuple[str, datetime | None]:
    """What comes next of an order, and when."""
    begins = order.valid_from
    if order.stage == "waiting" and begins is not None:
        return "begins", begins
    if order.stage == "delivering" and begins is not None:
        return "due", max(begins, order.received_at) + timedelta(seconds=order.within_s)
    if order.stage in IN_FORCE:
        return "ends", order.valid_until
    return "", None


def _done(order: OrderView) -> int | None:
    if order.baseline_w is None or order.measured_w is None:
        return None
    drop_w = order.baseline_w - order.cap_w
    if drop_w <= 0:
        return None
    return max(0, min(1000, round(1000 * (order.baseline_w - order.measured_w) / drop_w)))
