"""What the chain says, as plain values: outpoints, transactions, blocks, the coins that are ours.

Identifiers are hex in the order in which people and the node write them.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Wallet(StrEnum):
    """Whose coins: pools pay into both, sweeps go from the first to the second."""

    COLLECTION = "collection"
    RESERVE = "reserve"


@dataclass(frozen=True, slots=True, order=True)
class OutPoint:
    """One output of one transaction."""

    txid: str
    vout: int

    def __str__(self) -> str:
        """As block explorers write it."""
        return f"{self.txid}:{self.vout}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a transaction pays, and to which script."""

    script: bytes
    sat: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tx:
    """A transaction of a block. `spends` is empty for a coinbase."""

    txid: str
    coinbase: bool
    spends: tuple[OutPoint, ...]
    outputs: tuple[Output, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block of the active chain; `at` is the time its header claims."""

    height: int
    hash: str
    previous: str
    at: datetime
    txs: tuple[Tx, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a watched script comes from: wallet, branch of its descriptor, index."""

    wallet: Wallet
    branch: int
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Coin:
    """An output of ours on the chain, by the block that holds it."""

    outpoint: OutPoint
    place: Place
    script: bytes
    sat: int
    coinbase: bool
    height: int
    block_hash: str

    def confirmations(self, tip_height: int) -> int:
        """How many blocks agree: 1 when its own block is the tip."""
        return tip_height - self.height + 1
