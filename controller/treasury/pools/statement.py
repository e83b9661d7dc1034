"""What a reader of a pool gives, whatever the pool's own words are."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from controller.money.pools import Earning, Payout


class PoolUnusable(Exception):
    """A pool's interface does not answer as it should. Says how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a pool says that one address earned and was paid, in a span of time."""

    earnings: tuple[Earning, ...]
    payouts: tuple[Payout, ...]


class PoolReader(Protocol):
    """Reads one pool; blocks its thread, within a deadline."""

    def read(self, address: str, start: datetime, end: datetime) -> Statement:
        """What is said of `address` between two aware times. Raises PoolUnusable."""
        ...
