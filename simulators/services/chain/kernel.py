"""Bitcoin Core's own consensus code, in this process: which blocks hold, and which chain is best.

The library says that a block was taken, not whether it is valid, and never why not: both stand in
its log, as the words that Core answers to `submitblock`, and are read from there.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pbk  # type: ignore[import-untyped]
from pbk.script import PrecomputedTransactionData  # type: ignore[import-untyped]
from pbk.util.exc import ProcessBlockException  # type: ignore[import-untyped]

from simulators.services.chain.wire import Block, Transaction, TxOut, read_block

_CHECKED = re.compile(r"BlockChecked: block hash=([0-9a-f]{64}) state=(.*)")


@dataclass(frozen=True, slots=True)
class Coin:
    """An unspent output and where it comes from; `height` None while its transaction waits."""

    output: TxOut
    height: int | None
    coinbase: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a block. `reason` None: it is valid, or on a branch that nobody judged yet.

    `judged` is false on such a branch. `new` is false for a block that was here before.
    """

    new: bool
    judged: bool
    reason: str | None


class BlockMissing(Exception):
    """The header of a block was sound and the rest was not, so only the header was kept."""


class Kernel:
    """Validates blocks and holds them below `folder`; forgets everything with the process."""

    def __init__(self, folder: Path) -> None:
        """Start with the genesis block. `folder` must be empty or missing."""
        self._verdicts: dict[str, str] = {}
        pbk.logging_set_options(pbk.LoggingOptions(log_timestamps=False))
        pbk.enable_log_category(pbk.LogCategory.VALIDATION)
        self._log = pbk.LoggingConnection(cb=self._hear)
        options = pbk.ContextOptions()
        options.set_chainparams(pbk.ChainParameters(pbk.ChainType.REGTEST))
        # Without listeners the library does not even log what it thinks of a block.
        options.set_validation_interface(pbk.ValidationInterfaceCallbacks())
        chainman_options = pbk.ChainstateManagerOptions(
            pbk.Context(options), str(folder), str(folder / "blocks")
        )
        chainman_options.update_block_tree_db_in_memory(True)
        chainman_options.update_chainstate_db_in_memory(True)
        self._chainman = pbk.ChainstateManager(chainman_options)
        self._chain = self._chainman.get_active_chain()

    def submit(self, block: Block) -> Verdict:
        """Validate a block and everything that it makes the best chain."""
        self._verdicts.clear()
        try:
            new = self._chainman.process_block(pbk.Block(block.raw))
            accepted = True
        except ProcessBlockException:
            new, accepted = False, False
        said = self._verdicts.get(block.hash)
        if said is None and not accepted:
            said = "rejected"
        reason = None if said in (None, "Valid") else said.partition(", ")[0]
        return Verdict(new or not accepted, said is not None, reason)

    @property
    def height(self) -> int:
        """Height of the best chain's tip."""
        return int(self._chain.height)

    @property
    def headers_height(self) -> int:
        """Height of the header with the most work, valid block or not."""
        return int(self._chainman.best_entry.height)

    def hash_at(self, height: int) -> str:
        """Hash of the best chain's block at a height from 0 to `self.height`."""
        return str(self._chain.block_tree_entries[height].block_hash)

    def block(self, block_hash: str) -> Block:
        """A block that was kept, of whatever branch. Raises KeyError, and BlockMissing."""
        try:
            found = self._chainman.blocks[self._entry(block_hash)]
        except RuntimeError:
            raise BlockMissing(block_hash) from None
        return read_block(bytes(found))

    def header(self, block_hash: str) -> tuple[int, bytes]:
        """Height and header of a block, of whatever branch. Raises KeyError."""
        entry = self._entry(block_hash)
        return int(entry.height), bytes(entry.block_header)

    def spent_coins(self, block_hash: str) -> list[list[Coin]]:
        """Coins that a connected block spends, per transaction after the first."""
        height, _ = self.header(block_hash)
        if height == 0:
            return []
        undo = self._chainman.block_spent_outputs[self._entry(block_hash)]
        return [[_coin(coin) for coin in spent.coins] for spent in undo.transactions]

    def _entry(self, block_hash: str) -> Any:
        return self._chainman.block_tree_entries[pbk.BlockHash(bytes.fromhex(block_hash)[::-1])]

    def _hear(self, line: str) -> None:
        checked = _CHECKED.search(line)
        if checked:
            self._verdicts[checked[1]] = checked[2].strip()


def script_holds(transaction: Transaction, index: int, spent: Sequence[TxOut]) -> bool:
    """Whether an input may spend its output by consensus. `spent`: the outputs of all inputs."""
    outputs = [pbk.TransactionOutput(pbk.ScriptPubkey(out.script), out.value_sat) for out in spent]
    parsed = pbk.Transaction(transaction.raw)
    held = pbk.ScriptPubkey(spent[index].script).verify(
        spent[index].value_sat,
        parsed,
        PrecomputedTransactionData(parsed, outputs),
        index,
        pbk.ScriptVerificationFlags.ALL,
    )
    return bool(held)


def _coin(coin: Any) -> Coin:
    output = TxOut(int(coin.output.amount), bytes(coin.output.script_pubkey))
    return Coin(output, int(coin.confirmation_height), bool(coin.is_coinbase))
