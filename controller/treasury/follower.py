"""Reads the chain block by block and keeps the book in step, back through reorganisations too.

Where we stand, the coins and the entries change in one transaction, so a crash anywhere leaves a
block read or not read. What the node calls its chain is walked back to the last block in common,
but never deeper than REORG_MAX: a node that lost its data must not make us reverse the book.
"""

from controller.clock import SiteClock
from controller.money.amounts import btc_text
from controller.money.facts import Block
from controller.money.follow import read_block
from controller.money.ledger import ACCOUNT_OF, Entry, EntryKind
from controller.treasury import book, sweep_book
from controller.treasury.chain import Chain, ChainError
from controller.treasury.database import Database
from controller.treasury.descriptors import WatchedWallet
from controller.treasury.events import EventKind, tell

REORG_MAX = 100
BLOCKS_A_ROUND = 20
"""So that a first synchronisation does not keep everything else waiting."""


class OtherChain(ChainError):
    """The node's chain parts from ours so far back that people must look."""


class Follower:
    """Follows one node for both wallets, from `from_height` on."""

    def __init__(
        self,
        chain: Chain,
        database: Database,
        wallets: tuple[WatchedWallet, ...],
        from_height: int,
        clock: SiteClock,
    ) -> None:
        self._chain = chain
        self._database = database
        self._scripts = {script: place for w in wallets for script, place in w.scripts.items()}
        self._from_height = from_height
        self._clock = clock

    def follow(self) -> bool:
        """Read what is new; True when we stand at the node's tip. Raises ChainError, DatabaseError.

        OtherChain is a ChainError: nothing was read.
        """
        return any(not self._step() for _ in range(BLOCKS_A_ROUND))

    def _step(self) -> bool:
        """Connect or disconnect one block; False when there is nothing to do."""
        with self._database.transaction() as db:
            at = book.cursor(db)
        if at is not None and self._chain.block_hash(at.height) != at.hash:
            self._check_depth(at)
            self._step_back()
            return True
        height = self._from_height if at is None else at.height + 1
        block_hash = self._chain.block_hash(height)
        if block_hash is None:
            return False
        block = self._chain.block(block_hash)
        if block.height != height:
            raise ChainError(f"getblock: {block_hash} has height {block.height}, not {height}")
        if at is None or block.previous == at.hash:
            self._connect(block)
        elif [self._chain.block_hash(h) for h in (at.height, height)] == [at.hash, block_hash]:
            raise ChainError(
                f"getblock: {block_hash} does not follow {at.hash}, which the node itself names "
                "before it"
            )
        return True  # where it was not connected, the chain moved between two questions

    def _connect(self, block: Block) -> None:
        with self._database.transaction() as db:
            reading = read_block(
                block, self._scripts, book.unspent(db), sweep_book.attempt_txids(db)
            )
            book.connect(db, block, reading)
            for entry in reading.entries:
                tell(db, self._clock.utc(), _EVENT_OF[entry.kind], _sentence(entry))

    def _step_back(self) -> None:
        with self._database.transaction() as db:
            at = book.cursor(db)
            reversed_entries = book.disconnect(db)
            if at is not None and reversed_entries:
                text = f"block {at.height} left the chain; {len(reversed_entries)} entries reversed"
                tell(db, self._clock.utc(), EventKind.REORG, text)

    def _check_depth(self, at: book.Cursor) -> None:
        with self._database.transaction() as db:
            deep = book.hash_at(db, at.height - REORG_MAX)
        if deep is not None and self._chain.block_hash(at.height - REORG_MAX) != deep:
            raise OtherChain(
                f"the node's chain is another one for more than {REORG_MAX} blocks below "
                f"{at.height}"
            )


_EVENT_OF = {
    EntryKind.RECEIPT: EventKind.RECEIPT,
    EntryKind.SWEEP: EventKind.SWEEP,
    EntryKind.FOREIGN: EventKind.FOREIGN,
    EntryKind.CUSTODIANS: EventKind.PEOPLE,
}


def _sentence(entry: Entry) -> str:
    moved = {
        wallet: sum(line.amount_sat for line in entry.postings if line.account is account)
        for wallet, account in ACCOUNT_OF.items()
    }
    changes = ", ".join(
        f"{wallet} {'+' if sat > 0 else ''}{btc_text(sat)} BTC"
        for wallet, sat in moved.items()
        if sat
    )
    return f"{entry.kind} in block {entry.height}: {changes} ({entry.txid})"
