"""The node: a ledger and its mempool in one folder, and a miner for what waits."""

import time
from pathlib import Path

from simulators.services.chain.block import build_block
from simulators.services.chain.kernel import Verdict
from simulators.services.chain.ledger import Ledger
from simulators.services.chain.mempool import Mempool
from simulators.services.chain.policy import Refused
from simulators.services.chain.wire import Block, Transaction, WireError, read_transaction

FRESH_S = 24 * 3600
BLOCK_WEIGHT_GOAL = 3_990_000


class Node:
    """A chain that takes blocks and transactions, and makes blocks when it is told to."""

    def __init__(self, folder: Path, coinbase_script: bytes) -> None:
        """Open the folder's chain. Raises WireError or OSError, with a sentence for people."""
        self._waiting_path = folder / "mempool"
        self._coinbase_script = coinbase_script
        self.ledger = Ledger(folder)
        self.mempool = Mempool(self.ledger)
        self._behind = True
        self._load()

    @property
    def behind(self) -> bool:
        """Whether it still downloads the chain, which ends for good with a tip of today."""
        if self._behind:
            _, header = self.ledger.kernel.header(self.ledger.tip)
            self._behind = int.from_bytes(header[68:72], "little") < time.time() - FRESH_S
        return self._behind

    def submit(self, block: Block) -> Verdict:
        """Take a block, and let the mempool follow."""
        verdict, turn = self.ledger.submit(block)
        self.mempool.turn(turn)
        return verdict

    def find(self, txid: str) -> Transaction | None:
        """A transaction of a block or of the mempool."""
        waiting = self.mempool.waiting.get(txid)
        return waiting.transaction if waiting else self.ledger.transactions.get(txid)

    def mine(self) -> str:
        """Put what waits into a block: its hash."""
        chosen, fees_sat, weight = [], 0, 0
        for entry in self.mempool.waiting.values():
            weight += entry.transaction.weight
            if weight > BLOCK_WEIGHT_GOAL:
                break
            chosen.append(entry.transaction)
            fees_sat += entry.fee_sat
        tip = self.ledger.tip
        block = build_block(
            previous=tip,
            height=self.ledger.height + 1,
            time_s=max(int(time.time()), self.ledger.median_time_s(tip) + 1),
            script=self._coinbase_script,
            transactions=chosen,
            fees_sat=fees_sat,
        )
        verdict = self.submit(block)
        if verdict.reason is not None:
            raise AssertionError(f"our own block is bad: {verdict.reason}")
        return block.hash

    def close(self) -> None:
        """Keep the mempool for the next start, as Core does when it is asked to end."""
        waiting = self.mempool.waiting.values()
        lines = [entry.transaction.raw.hex() for entry in waiting]
        self._waiting_path.write_text("".join(f"{line}\n" for line in lines))
        self.ledger.close()

    def _load(self) -> None:
        if not self._waiting_path.exists():
            return
        for line in self._waiting_path.read_text().splitlines():
            try:
                self.mempool.add(read_transaction(bytes.fromhex(line)))
            except Refused:
                continue
            except (WireError, ValueError):
                said = f"{self._waiting_path}: holds no transactions; remove it"
                raise WireError(said) from None
