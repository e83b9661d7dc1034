"""Partially signed transactions (BIP 174, version 0): read, written, combined.

They are held as the maps of bytes that they are, so nothing that is not understood gets lost.
"""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from simulators.services.chain.errors import DESERIALIZATION, PARAMETER, CallError
from simulators.services.chain.wire import (
    Reader,
    Transaction,
    TxIn,
    TxOut,
    WireError,
    read_transaction,
    with_size,
)

MAGIC = b"psbt\xff"
_TX, _VERSION = b"\x00", b"\xfb"

Fields = dict[bytes, bytes]


class In:
    """First bytes of the keys of an input's fields."""

    WHOLE, OUTPUT, SIGNATURE, HASH_TYPE = b"\x00", b"\x01", b"\x02", b"\x03"
    REDEEM, WITNESS, ORIGIN, FINAL_SCRIPT, FINAL_WITNESS = (
        b"\x04",
        b"\x05",
        b"\x06",
        b"\x07",
        b"\x08",
    )
    TAP_SIGNATURE, TAP_ORIGIN, TAP_KEY = b"\x13", b"\x16", b"\x17"


class Out:
    """First bytes of the keys of an output's fields."""

    REDEEM, WITNESS, ORIGIN, TAP_KEY, TAP_ORIGIN = b"\x00", b"\x01", b"\x02", b"\x05", b"\x07"


_ALONE = {
    In.WHOLE,
    In.OUTPUT,
    In.HASH_TYPE,
    In.REDEEM,
    In.WITNESS,
    In.FINAL_SCRIPT,
    In.FINAL_WITNESS,
    In.TAP_SIGNATURE,
    In.TAP_KEY,
}
_GONE_WHEN_FINAL = {
    bytes((n,)) for n in (*range(0x02, 0x07), *range(0x0A, 0x0E), *range(0x13, 0x1D))
}


@dataclass(frozen=True)
class Psbt:
    """The unsigned transaction, and the fields of the whole, of each input, of each output."""

    tx: Transaction
    whole: Fields
    inputs: tuple[Fields, ...]
    outputs: tuple[Fields, ...]

    def to_text(self) -> str:
        """Base64, fields in the order of their keys; of a final input only what is still needed."""
        first = {_TX: self.tx.stripped, **self.whole}
        maps = (first, *map(_needed, self.inputs), *self.outputs)
        return b64encode(MAGIC + b"".join(_map_bytes(fields) for fields in maps)).decode("ascii")


def create(tx: Transaction) -> Psbt:
    """A PSBT of which nothing is known but the transaction."""
    return Psbt(tx, {}, tuple({} for _ in tx.inputs), tuple({} for _ in tx.outputs))


def read(text: str) -> Psbt:
    """A PSBT from base64. Raises CallError."""
    try:
        return _read(b64decode(text, validate=True))
    except ValueError as error:
        said = f"{error}: iostream error" if isinstance(error, WireError) else "invalid base64"
        raise CallError(DESERIALIZATION, f"TX decode failed {said}") from None


def combine(every: Sequence[Psbt]) -> Psbt:
    """All that the PSBTs of one transaction know; the first to say it wins. Raises CallError."""
    if len({psbt.tx.txid for psbt in every}) > 1:
        raise CallError(PARAMETER, "PSBTs not compatible (different transactions)")
    return Psbt(
        every[0].tx,
        _union([psbt.whole for psbt in every]),
        tuple(_union(maps) for maps in zip(*(psbt.inputs for psbt in every), strict=True)),
        tuple(_union(maps) for maps in zip(*(psbt.outputs for psbt in every), strict=True)),
    )


def is_final(fields: Fields) -> bool:
    """Whether an input has all that it will ever have."""
    return In.FINAL_SCRIPT in fields or In.FINAL_WITNESS in fields


def spent_output(spent: TxIn, fields: Fields) -> TxOut | None:
    """The output that an input spends, as far as its PSBT knows it."""
    if In.WHOLE in fields:
        return read_transaction(fields[In.WHOLE]).outputs[spent.outpoint.vout]
    return Reader(fields[In.OUTPUT]).output() if In.OUTPUT in fields else None


def _needed(fields: Fields) -> Fields:
    if not is_final(fields):
        return fields
    return {key: value for key, value in fields.items() if key[:1] not in _GONE_WHEN_FINAL}


def _union(maps: Sequence[Fields]) -> Fields:
    return {key: value for fields in reversed(maps) for key, value in fields.items()}


def _read(data: bytes) -> Psbt:
    if data[: len(MAGIC)] != MAGIC:
        raise WireError("Invalid PSBT magic bytes")
    reader = Reader(data[len(MAGIC) :])
    whole = _read_map(reader)
    if _TX not in whole:
        raise WireError("No unsigned transaction was provided")
    if whole.get(_VERSION, bytes(4)) != bytes(4):
        raise WireError("Unsupported version number")
    tx = read_transaction(whole.pop(_TX), witness=False)
    if any(spent.script_sig for spent in tx.inputs):
        raise WireError("Unsigned tx does not have empty scriptSigs and scriptWitnesses.")
    inputs = tuple(_checked(_read_map(reader), spent) for spent in tx.inputs)
    outputs = tuple(_read_map(reader) for _ in tx.outputs)
    if reader.left:
        raise CallError(DESERIALIZATION, "TX decode failed extra data after PSBT")
    return Psbt(tx, whole, inputs, outputs)


def _read_map(reader: Reader) -> Fields:
    fields: Fields = {}
    while key := reader.sized():
        if key in fields:
            raise WireError(f"Duplicate Key {key.hex()}")
        fields[key] = reader.sized()
    return fields


def _checked(fields: Fields, spent: TxIn) -> Fields:
    """The fields of an input, of which those that are read later can be read."""
    for key in fields:
        if key[:1] in _ALONE and len(key) > 1:
            raise WireError(f"Key {key.hex()} is more than one byte type")
    if len(fields.get(In.HASH_TYPE, bytes(4))) != 4:
        raise WireError("Size of value was not the stated size")
    if In.WHOLE in fields:
        previous = read_transaction(fields[In.WHOLE])
        if previous.txid != spent.outpoint.txid:
            raise WireError("Non-witness UTXO does not match outpoint hash")
        if spent.outpoint.vout >= len(previous.outputs):
            raise WireError("Input specifies output index that does not exist")
    for key, take in ((In.OUTPUT, Reader.output), (In.FINAL_WITNESS, Reader.stack)):
        if key in fields:
            reader = Reader(fields[key])
            take(reader)
            if reader.left:
                raise WireError("Size of value was not the stated size")
    return fields


def _map_bytes(fields: Fields) -> bytes:
    pairs = sorted(fields.items())
    return b"".join(with_size(key) + with_size(value) for key, value in pairs) + b"\x00"
