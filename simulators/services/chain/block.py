"""Builds regtest blocks: coinbase, witness commitment, merkle root, and the easy proof of work."""

import struct
from collections.abc import Sequence
from itertools import count

from simulators.services.chain.wire import (
    COINBASE,
    Block,
    Transaction,
    TxIn,
    TxOut,
    double_sha256,
)

BITS = 0x207FFFFF
TARGET = 0x7FFFFF << 8 * (0x20 - 3)
HALVING_BLOCKS = 150
SUBSIDY_SAT = 50 * 100_000_000
VERSION = 0x20000000
_COMMITMENT = b"\x6a\x24\xaa\x21\xa9\xed"


def subsidy_sat(height: int) -> int:
    """New coins that a block may make, without fees."""
    return SUBSIDY_SAT >> (height // HALVING_BLOCKS)


def build_block(
    *,
    previous: str,
    height: int,
    time_s: int,
    script: bytes,
    transactions: Sequence[Transaction] = (),
    fees_sat: int = 0,
    mark: bytes = b"",
) -> Block:
    """A block with enough work on top of the block `previous`.

    `height` is its own, `time_s` unix seconds. `script` gets the subsidy and `fees_sat`. `mark`
    (at most 90 bytes) makes it differ from another block of the same height, time and script.
    """
    coinbase = _coinbase(height, script, subsidy_sat(height) + fees_sat, transactions, mark)
    every = (coinbase, *transactions)
    root = merkle_root([bytes.fromhex(tx.txid)[::-1] for tx in every])
    front = struct.pack("<I", VERSION) + bytes.fromhex(previous)[::-1] + root
    front += struct.pack("<II", time_s, BITS)
    for nonce in count():
        header = front + struct.pack("<I", nonce)
        if int.from_bytes(double_sha256(header), "little") <= TARGET:
            return Block(header, every)
    raise AssertionError


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The root over hashes; a row with an odd number of them repeats its last."""
    row = list(leaves)
    while len(row) > 1:
        if len(row) % 2:
            row.append(row[-1])
        row = [double_sha256(left + right) for left, right in zip(row[::2], row[1::2], strict=True)]
    return row[0]


def _coinbase(
    height: int, script: bytes, value_sat: int, transactions: Sequence[Transaction], mark: bytes
) -> Transaction:
    """Pays `script`; commits to the witnesses, which a block needs only when there are any."""
    hashes = [bytes(32), *(bytes.fromhex(tx.wtxid)[::-1] for tx in transactions)]
    commitment = _COMMITMENT + double_sha256(merkle_root(hashes) + bytes(32))
    # Two bytes at least: a coinbase with a shorter script is invalid.
    made = TxIn(COINBASE, _height(height) + b"\x00" + mark, 0xFFFFFFFF, (bytes(32),))
    return Transaction((made,), (TxOut(value_sat, script), TxOut(0, commitment)))


def _height(height: int) -> bytes:
    """The height as BIP 34 wants it: pushed as a script pushes numbers."""
    if height <= 16:
        return bytes((0x50 + height,)) if height else b"\x00"
    number = height.to_bytes((height.bit_length() + 8) // 8, "little")
    return bytes((len(number),)) + number
