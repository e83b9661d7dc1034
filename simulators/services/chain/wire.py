"""Transactions and blocks as bytes: read strictly, written exactly as they were read.

Hashes are strings in the order that people see (reversed hex); amounts are int satoshis.
"""

import struct
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import NamedTuple

ITEMS_MAX = 100_000
HEADER_BYTES = 80
WITNESS_SCALE = 4


class WireError(ValueError):
    """Bytes that are no transaction or block; says what is wrong."""


class Outpoint(NamedTuple):
    """An output of a transaction."""

    txid: str
    vout: int

    def sort_key(self) -> tuple[bytes, int]:
        """Orders outpoints as Bitcoin Core does."""
        return bytes.fromhex(self.txid)[::-1], self.vout


@dataclass(frozen=True)
class TxIn:
    """An input; `witness` is its stack."""

    outpoint: Outpoint
    script_sig: bytes = b""
    sequence: int = 0xFFFFFFFD
    witness: tuple[bytes, ...] = ()


class TxOut(NamedTuple):
    """An output."""

    value_sat: int
    script: bytes

    def to_bytes(self) -> bytes:
        """The output alone, as transactions and PSBTs carry it."""
        return struct.pack("<q", self.value_sat) + with_size(self.script)


@dataclass(frozen=True)
class Transaction:
    """A transaction, signed or not."""

    inputs: tuple[TxIn, ...]
    outputs: tuple[TxOut, ...]
    version: int = 2
    lock_time: int = 0

    @cached_property
    def stripped(self) -> bytes:
        """The bytes without witnesses."""
        return b"".join(
            (
                struct.pack("<I", self.version),
                size_bytes(len(self.inputs)),
                *(_input_bytes(spent) for spent in self.inputs),
                size_bytes(len(self.outputs)),
                *(output.to_bytes() for output in self.outputs),
                struct.pack("<I", self.lock_time),
            )
        )

    @cached_property
    def raw(self) -> bytes:
        """All the bytes."""
        if not self.has_witness:
            return self.stripped
        stacks = b"".join(stack_bytes(spent.witness) for spent in self.inputs)
        return self.stripped[:4] + b"\x00\x01" + self.stripped[4:-4] + stacks + self.stripped[-4:]

    @cached_property
    def txid(self) -> str:
        """The id, which does not cover witnesses."""
        return shown(double_sha256(self.stripped))

    @cached_property
    def wtxid(self) -> str:
        """The hash over everything."""
        return shown(double_sha256(self.raw))

    @property
    def has_witness(self) -> bool:
        """Whether any input has a witness."""
        return any(spent.witness for spent in self.inputs)

    @property
    def weight(self) -> int:
        """Weight units of BIP 141."""
        return len(self.stripped) * (WITNESS_SCALE - 1) + len(self.raw)

    @property
    def virtual_size(self) -> int:
        """A quarter of the weight, rounded up."""
        return -(-self.weight // WITNESS_SCALE)

    @property
    def is_coinbase(self) -> bool:
        """Whether it makes coins."""
        return len(self.inputs) == 1 and self.inputs[0].outpoint == COINBASE

    def with_inputs(self, inputs: tuple[TxIn, ...]) -> "Transaction":
        """The same transaction with other inputs, to sign or to finalize."""
        return replace(self, inputs=inputs)


COINBASE = Outpoint("00" * 32, 0xFFFFFFFF)


@dataclass(frozen=True)
class Block:
    """A block: 80 bytes of header, and transactions of which the first makes coins."""

    header: bytes
    transactions: tuple[Transaction, ...]

    @cached_property
    def hash(self) -> str:
        """The hash of the header."""
        return shown(double_sha256(self.header))

    @cached_property
    def raw(self) -> bytes:
        """All the bytes."""
        count = size_bytes(len(self.transactions))
        return self.header + count + b"".join(tx.raw for tx in self.transactions)

    @property
    def stripped_size(self) -> int:
        """Bytes without witnesses."""
        count = size_bytes(len(self.transactions))
        return HEADER_BYTES + len(count) + sum(len(tx.stripped) for tx in self.transactions)


class Reader:
    """Reads little-endian fields off bytes; raises WireError where they end too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if count > self.left:
            raise WireError(f"ends {count - self.left} bytes too early")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, layout: str) -> int:
        """One integer of a `struct` layout."""
        (value,) = struct.unpack(layout, self.take(struct.calcsize(layout)))
        return int(value)

    def size(self) -> int:
        """A compact size in its shortest form."""
        first = self.take(1)[0]
        if first < 0xFD:
            return first
        value = self.number({0xFD: "<H", 0xFE: "<I", 0xFF: "<Q"}[first])
        if value < {0xFD: 0xFD, 0xFE: 0x1_0000, 0xFF: 0x1_0000_0000}[first]:
            raise WireError("a size is not in its shortest form")
        return value

    def count(self) -> int:
        """How many items follow."""
        value = self.size()
        if value > ITEMS_MAX:
            raise WireError(f"{value} items, at most {ITEMS_MAX} fit")
        return value

    def sized(self) -> bytes:
        """A compact size, and as many bytes."""
        return self.take(self.size())

    def stack(self) -> tuple[bytes, ...]:
        """A witness stack."""
        return tuple(self.sized() for _ in range(self.count()))

    def transaction(self, *, witness: bool = True) -> Transaction:
        """A transaction. Without `witness`, no input at all is not the mark of witnesses."""
        version = self.number("<I")
        inputs_count = self.count()
        marked = witness and inputs_count == 0
        if marked:
            if self.take(1) != b"\x01":
                raise WireError("an unknown kind of transaction")
            inputs_count = self.count()
        inputs = tuple(self._input() for _ in range(inputs_count))
        outputs = tuple(self.output() for _ in range(self.count()))
        if marked:
            inputs = tuple(replace(spent, witness=self.stack()) for spent in inputs)
            if not any(spent.witness for spent in inputs):
                raise WireError("witnesses are announced, and none is there")
        return Transaction(inputs, outputs, version, self.number("<I"))

    def output(self) -> TxOut:
        """An output."""
        return TxOut(self.number("<q"), self.sized())

    def _input(self) -> TxIn:
        outpoint = Outpoint(shown(self.take(32)), self.number("<I"))
        return TxIn(outpoint, self.sized(), self.number("<I"))


def read_transaction(data: bytes, *, witness: bool = True) -> Transaction:
    """The transaction that fills `data`. Raises WireError."""
    reader = Reader(data)
    transaction = reader.transaction(witness=witness)
    if reader.left:
        raise WireError(f"{reader.left} bytes follow the transaction")
    return transaction


def read_block(data: bytes) -> Block:
    """The block that `data` begins with. Raises WireError."""
    reader = Reader(data)
    header = reader.take(HEADER_BYTES)
    return Block(header, tuple(reader.transaction() for _ in range(reader.count())))


def size_bytes(value: int) -> bytes:
    """A compact size."""
    if value < 0xFD:
        return bytes((value,))
    if value <= 0xFFFF:
        return b"\xfd" + struct.pack("<H", value)
    return b"\xfe" + struct.pack("<I", value)


def with_size(data: bytes) -> bytes:
    """Bytes after their own compact size."""
    return size_bytes(len(data)) + data


def stack_bytes(items: tuple[bytes, ...]) -> bytes:
    """A witness stack as bytes."""
    return size_bytes(len(items)) + b"".join(with_size(item) for item in items)


def double_sha256(data: bytes) -> bytes:
    """Bitcoin's hash."""
    return sha256(sha256(data).digest()).digest()


def shown(digest: bytes) -> str:
    """A hash as people see it."""
    return digest[::-1].hex()


def _input_bytes(spent: TxIn) -> bytes:
    return b"".join(
        (
            bytes.fromhex(spent.outpoint.txid)[::-1],
            struct.pack("<I", spent.outpoint.vout),
            with_size(spent.script_sig),
            struct.pack("<I", spent.sequence),
        )
    )
