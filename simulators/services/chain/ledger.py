"""The best chain as a ledger: unspent outputs, every transaction, and what a reorganisation undid.

The blocks stand in one file, in the order of their coming, and are replayed at the start: so a
killed process loses none, and the branch that came first stays the first.
"""

import fcntl
import shutil
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from simulators.services.chain.kernel import Coin, Kernel, Verdict
from simulators.services.chain.wire import Block, Outpoint, Transaction, WireError, read_block

BLOCK_BYTES_MAX = 4_000_000
SCRIPT_BYTES_MAX = 10_000
MEDIAN_BLOCKS = 11
_SIZE = struct.Struct("<I")
# Emptied at every start, so by a name that nobody else will have in the folder.
_SCRATCH = ".simulated-chain-scratch"


@dataclass(slots=True)
class Turn:
    """How the best chain moved: blocks that left it, tip first, and blocks that joined it."""

    left: list[Block] = field(default_factory=list)
    joined: list[Block] = field(default_factory=list)


class Ledger:
    """The chain of a folder. One process at a time may have it open."""

    def __init__(self, folder: Path) -> None:
        """Open or begin the chain.

        Raises WireError when its file holds no blocks of ours, BlockingIOError when another
        process has it open.
        """
        self._path = folder / "blocks"
        self._lock = _locked(folder)
        scratch = folder / _SCRATCH
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        self.kernel = Kernel(scratch)
        self.coins: dict[Outpoint, Coin] = {}
        self.transactions: dict[str, Transaction] = {}
        """Of all blocks that ever were in the best chain, as Core's transaction index has them."""
        self._active = [self.kernel.hash_at(0)]
        self._replay()
        # A write is with the system once it returned: killing the process does not undo it.
        self._file = self._path.open("ab", buffering=0)

    def close(self) -> None:
        """Let the folder go."""
        self._file.close()
        self._lock.close()

    @property
    def height(self) -> int:
        """Height of the tip; 0 is the genesis block."""
        return len(self._active) - 1

    @property
    def tip(self) -> str:
        """Hash of the best chain's last block."""
        return self._active[-1]

    @property
    def bytes_on_disk(self) -> int:
        """Size of the block file."""
        return self._path.stat().st_size

    def hash_at(self, height: int) -> str:
        """Hash of the block at a height from 0 to `self.height`."""
        return self._active[height]

    def is_active(self, block_hash: str, height: int) -> bool:
        """Whether the block stands in the best chain."""
        return height < len(self._active) and self._active[height] == block_hash

    def median_time_s(self, block_hash: str) -> int:
        """Median of the times of a block and ten before it: unix seconds."""
        times = []
        for _ in range(MEDIAN_BLOCKS):
            height, header = self.kernel.header(block_hash)
            times.append(int.from_bytes(header[68:72], "little"))
            if height == 0:
                break
            block_hash = header[4:36][::-1].hex()
        return sorted(times)[len(times) // 2]

    def submit(self, block: Block) -> tuple[Verdict, Turn]:
        """Take a block, and say how the best chain moved."""
        verdict = self.kernel.submit(block)
        if verdict.new and verdict.reason is None:
            self._file.write(_SIZE.pack(len(block.raw)) + block.raw)
        return verdict, self._follow()

    def _replay(self) -> None:
        if not self._path.exists():
            return
        whole = 0
        with self._path.open("r+b") as file:
            while len(front := file.read(_SIZE.size)) == _SIZE.size:
                (size,) = _SIZE.unpack(front)
                data = file.read(min(size, BLOCK_BYTES_MAX + 1))
                if len(data) < size <= BLOCK_BYTES_MAX:
                    break
                try:
                    sound = self.kernel.submit(read_block(data)).reason is None
                except WireError:
                    sound = False
                if not sound:
                    said = f"{self._path}: no block of ours at byte {whole}; remove the folder"
                    raise WireError(said)
                whole += _SIZE.size + size
            # What a killed process had begun to write was acknowledged to nobody.
            file.truncate(whole)
        self._follow()

    def _follow(self) -> Turn:
        """Bring the ledger to the kernel's best chain."""
        turn = Turn()
        while self.height > self.kernel.height or self.tip != self.kernel.hash_at(self.height):
            turn.left.append(self._disconnect())
        while self.height < self.kernel.height:
            turn.joined.append(self._connect(self.kernel.hash_at(self.height + 1)))
        return turn

    def _connect(self, block_hash: str) -> Block:
        block = self.kernel.block(block_hash)
        self._active.append(block_hash)
        for tx in block.transactions:
            self.transactions[tx.txid] = tx
            if not tx.is_coinbase:
                for spent in tx.inputs:
                    del self.coins[spent.outpoint]
            for vout, output in enumerate(tx.outputs):
                if not is_unspendable(output.script):
                    self.coins[Outpoint(tx.txid, vout)] = Coin(output, self.height, tx.is_coinbase)
        return block

    def _disconnect(self) -> Block:
        block = self.kernel.block(self.tip)
        undo = [[], *self.kernel.spent_coins(self.tip)]
        self._active.pop()
        for tx, coins in zip(reversed(block.transactions), reversed(undo), strict=True):
            for vout in range(len(tx.outputs)):
                self.coins.pop(Outpoint(tx.txid, vout), None)
            if not tx.is_coinbase:
                for spent, coin in zip(tx.inputs, coins, strict=True):
                    self.coins[spent.outpoint] = coin
        return block


def _locked(folder: Path) -> TextIO:
    """The folder's lock, held for as long as the file is open, however the process ends."""
    lock = (folder / ".lock").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        said = f"{folder}: another process has this chain open; end it, or take another folder"
        raise BlockingIOError(said) from None
    return lock


def is_unspendable(script: bytes) -> bool:
    """Whether nobody can ever spend it, so that it is no coin."""
    return script[:1] == b"\x6a" or len(script) > SCRIPT_BYTES_MAX
