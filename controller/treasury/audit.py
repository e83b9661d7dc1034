"""Holds the book against the node's own set of unspent coins, to the satoshi and coin by coin."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from controller.money.facts import Coin, OutPoint, Output, Wallet
from controller.treasury import book
from controller.treasury.alarms import Alarm, AlarmKind
from controller.treasury.chain import Chain, ChainError
from controller.treasury.database import Database
from controller.treasury.descriptors import WatchedWallet

_NAMED_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One comparison, at one block. Sums of the reserve in satoshis; `differences`: sentences."""

    height: int
    block_hash: str
    book_sat: int
    chain_sat: int
    differences: tuple[str, ...]


class Audit:
    """Compares both wallets; blocks its thread for as long as the node searches."""

    def __init__(self, chain: Chain, database: Database, wallets: Iterable[WatchedWallet]) -> None:
        self._chain = chain
        self._database = database
        self._wallets = tuple(wallets)
        self._descriptors = {
            branch: wallet.addresses if wallet.is_ranged else None
            for wallet in self._wallets
            for branch in wallet.branches
        }
        self.finding: Finding | None = None
        """The last comparison; None before the first."""
        self.alarms: tuple[Alarm, ...] = ()

    def compare(self) -> None:
        """Compare once. What cannot be compared now stays as it was; nothing is raised but
        DatabaseError.
        """
        try:
            scan = self._chain.scan(self._descriptors)
        except ChainError as error:
            self.alarms = (Alarm(kind=AlarmKind.AUDIT_FAILED, detail=str(error)),)
            return
        with self._database.transaction() as db:
            if book.hash_at(db, scan.height) != scan.hash:
                return  # not read yet, or not on the chain any more: the next time
            ours = book.unspent_at(db, scan.height)
        reserve = {script for w in self._wallets for script in _scripts(w, Wallet.RESERVE)}
        self.finding = Finding(
            height=scan.height,
            block_hash=scan.hash,
            book_sat=sum(c.sat for c in ours.values() if c.place.wallet is Wallet.RESERVE),
            chain_sat=sum(c.sat for c in scan.coins.values() if c.script in reserve),
            differences=tuple(_differences(ours, scan.coins)),
        )
        self.alarms = tuple(self._differs(self.finding))

    def _differs(self, finding: Finding) -> Iterator[Alarm]:
        if finding.differences:
            named = "; ".join(finding.differences[:_NAMED_MAX])
            detail = f"at block {finding.height}: {named}"
            yield Alarm(kind=AlarmKind.BOOK_DIFFERS, detail=detail)


def _scripts(watched: WatchedWallet, wallet: Wallet) -> Iterator[bytes]:
    return (script for script, place in watched.scripts.items() if place.wallet is wallet)


def _differences(ours: Mapping[OutPoint, Coin], theirs: Mapping[OutPoint, Output]) -> Iterator[str]:
    theirs = {
        outpoint: coin for outpoint, coin in theirs.items() if coin.sat
    }  # a coin of 0 sat is no money
    for outpoint in sorted(ours.keys() | theirs.keys()):
        mine, other = ours.get(outpoint), theirs.get(outpoint)
        if mine is None and other is not None:
            yield f"the node holds {other.sat} sat at {outpoint}, the book does not"
        elif mine is not None and other is None:
            yield f"the book holds {mine.sat} sat at {outpoint}, the node does not"
        elif (
            mine is not None
            and other is not None
            and (mine.sat, mine.script)
            != (
                other.sat,
                other.script,
            )
        ):
            yield f"{outpoint}: the book says {mine.sat} sat, the node {other.sat} sat"
