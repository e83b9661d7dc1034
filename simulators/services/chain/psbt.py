"""Partially signed transactions (BIP 174, version 0): created, updated, combined, finalized.

They are held as the maps of bytes that they are, so nothing that is not understood gets lost.
Understood for finalizing: wpkh, and multi in wsh, both also in sh. Taproot's fields are carried,
not made.
"""

import struct
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from embit.hashes import hash160  # type: ignore[import-untyped]

from simulators.services.chain.descriptors import Derived
from simulators.services.chain.errors import DESERIALIZATION, PARAMETER, CallError
from simulators.services.chain.kernel import script_holds
from simulators.services.chain.policy import is_high_signature
from simulators.services.chain.script import kind, multisig
from simulators.services.chain.wire import (
    Reader,
    Transaction,
    TxIn,
    TxOut,
    WireError,
    read_transaction,
    stack_bytes,
    with_size,
)

MAGIC = b"psbt\xff"
_TX, _VERSION = b"\x00", b"\xfb"
_WHOLE, _OUTPUT, _SIGNATURE, _REDEEM, _WITNESS, _ORIGIN = (bytes((n,)) for n in (0, 1, 2, 4, 5, 6))
_HASH_TYPE, _FINAL_SCRIPT, _FINAL_WITNESS = b"\x03", b"\x07", b"\x08"
_ALONE = {_WHOLE, _OUTPUT, _HASH_TYPE, _REDEEM, _WITNESS, _FINAL_SCRIPT, _FINAL_WITNESS}
_SIGN_ALL = struct.pack("<I", 1)
_OUT_REDEEM, _OUT_WITNESS, _OUT_ORIGIN = b"\x00", b"\x01", b"\x02"

Fields = dict[bytes, bytes]


@dataclass(frozen=True)
class Psbt:
    """The unsigned transaction, and the fields of the whole, of each input, of each output."""

    tx: Transaction
    whole: Fields
    inputs: tuple[Fields, ...]
    outputs: tuple[Fields, ...]

    def to_text(self) -> str:
        """Base64, fields in the order of their keys."""
        first = {_TX: self.tx.stripped, **self.whole}
        maps = (first, *self.inputs, *self.outputs)
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


def update(
    psbt: Psbt,
    known: Mapping[bytes, Derived],
    find: Callable[[str], Transaction | None],
) -> Psbt:
    """Add what `find` and the descriptors know. `known`: by script; `find`: a transaction's id."""
    inputs = []
    for spent, before in zip(psbt.tx.inputs, psbt.inputs, strict=True):
        fields = dict(before)
        if not _is_final(fields):
            previous = find(spent.outpoint.txid)
            if _WHOLE not in fields and previous is not None:
                fields[_WHOLE] = previous.stripped
            output = _spent_output(spent, fields)
            if output is not None:
                _describe(fields, known.get(output.script), (_REDEEM, _WITNESS, _ORIGIN))
                if _is_segwit(output.script, fields):
                    fields.setdefault(_OUTPUT, output.to_bytes())
        inputs.append(fields)
    outputs = [dict(fields) for fields in psbt.outputs]
    for output, fields in zip(psbt.tx.outputs, outputs, strict=True):
        _describe(fields, known.get(output.script), (_OUT_REDEEM, _OUT_WITNESS, _OUT_ORIGIN))
    return replace(psbt, inputs=tuple(inputs), outputs=tuple(outputs))


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


def finalize(psbt: Psbt) -> tuple[Psbt, Transaction | None]:
    """With every input finalized that has its signatures; the transaction when all have."""
    outputs = [_spent_output(*pair) for pair in zip(psbt.tx.inputs, psbt.inputs, strict=True)]
    inputs, signed, complete = [], list(psbt.tx.inputs), True
    for number, fields in enumerate(psbt.inputs):
        done = None
        if all(output is not None for output in outputs):
            spent = [output for output in outputs if output is not None]
            done = _final_input(psbt.tx, number, fields, spent)
        if done is None:
            complete = False
            inputs.append(fields)
        else:
            signed[number] = done
            inputs.append(_final_fields(fields, done, outputs[number]))
    after = replace(psbt, inputs=tuple(inputs))
    return after, psbt.tx.with_inputs(tuple(signed)) if complete else None


def _final_input(
    tx: Transaction, number: int, fields: Fields, spent: Sequence[TxOut]
) -> TxIn | None:
    """The input with its script and witness, when they hold."""
    if _is_final(fields):
        witness = Reader(fields.get(_FINAL_WITNESS, b"\x00")).stack()
        done = replace(
            tx.inputs[number], script_sig=fields.get(_FINAL_SCRIPT, b""), witness=witness
        )
    else:
        redeem = fields.get(_REDEEM, b"")
        stack = _witness(redeem or spent[number].script, fields)
        if stack is None:
            return None
        script_sig = with_size(redeem) if redeem else b""
        done = replace(tx.inputs[number], script_sig=script_sig, witness=stack)
    if any(is_high_signature(item) for item in done.witness):
        return None
    inputs = (*tx.inputs[:number], done, *tx.inputs[number + 1 :])
    return done if script_holds(tx.with_inputs(inputs), number, spent) else None


def _witness(script: bytes, fields: Fields) -> tuple[bytes, ...] | None:
    """The stack that satisfies a segwit script with the signatures at hand."""
    signatures = {key[1:]: value for key, value in fields.items() if key[:1] == _SIGNATURE}
    hash_type = fields.get(_HASH_TYPE, _SIGN_ALL)
    if any(value[-1:] != hash_type[:1] for value in signatures.values()):
        return None
    match kind(script):
        case "witness_v0_keyhash":
            mine = [key for key in signatures if hash160(key) == script[2:]]
            return (signatures[mine[0]], mine[0]) if mine else None
        case "witness_v0_scripthash":
            asked = multisig(fields.get(_WITNESS, b""))
            if asked is None:
                return None
            needed, keys = asked
            given = [signatures[key] for key in keys if key in signatures][:needed]
            return (b"", *given, fields[_WITNESS]) if len(given) == needed else None
    return None


def _final_fields(before: Fields, done: TxIn, output: TxOut | None) -> Fields:
    """What stays of an input once it is final."""
    gone = {_SIGNATURE, _REDEEM, _WITNESS, _ORIGIN}
    fields = {key: value for key, value in before.items() if key[:1] not in gone}
    if done.script_sig:
        fields[_FINAL_SCRIPT] = done.script_sig
    if done.witness:
        fields[_FINAL_WITNESS] = stack_bytes(done.witness)
    if done.witness and output is not None:
        fields[_OUTPUT] = output.to_bytes()
    return fields


def _is_final(fields: Fields) -> bool:
    return _FINAL_SCRIPT in fields or _FINAL_WITNESS in fields


def _spent_output(spent: TxIn, fields: Fields) -> TxOut | None:
    """The output that an input spends, as far as its PSBT can prove it."""
    if _WHOLE in fields:
        return read_transaction(fields[_WHOLE]).outputs[spent.outpoint.vout]
    return Reader(fields[_OUTPUT]).output() if _OUTPUT in fields else None


def _describe(fields: Fields, derived: Derived | None, keys: tuple[bytes, bytes, bytes]) -> None:
    """Fill in scripts and key origins. `keys`: of redeem script, witness script and origins."""
    if derived is None:
        return
    redeem, witness, origin = keys
    if derived.redeem_script is not None:
        fields.setdefault(redeem, derived.redeem_script)
    if derived.witness_script is not None:
        fields.setdefault(witness, derived.witness_script)
    for one in derived.origins:
        path = b"".join(struct.pack("<I", step) for step in one.path)
        fields.setdefault(origin + one.key, one.fingerprint + path)


def _is_segwit(script: bytes, fields: Fields) -> bool:
    """Whether it is known to be spent by a witness."""
    inner = fields.get(_REDEEM, b"") if kind(script) == "scripthash" else script
    match kind(inner):
        case "witness_v0_keyhash":
            return True
        case "witness_v0_scripthash":
            return _WITNESS in fields
    return False


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
    if _WHOLE in fields:
        previous = read_transaction(fields[_WHOLE])
        if previous.txid != spent.outpoint.txid:
            raise WireError("Non-witness UTXO does not match outpoint hash")
        if spent.outpoint.vout >= len(previous.outputs):
            raise WireError("Input specifies output index that does not exist")
    for key, take in ((_OUTPUT, Reader.output), (_FINAL_WITNESS, Reader.stack)):
        if key in fields:
            reader = Reader(fields[key])
            take(reader)
            if reader.left:
                raise WireError("Size of value was not the stated size")
    return fields


def _map_bytes(fields: Fields) -> bytes:
    pairs = sorted(fields.items())
    return b"".join(with_size(key) + with_size(value) for key, value in pairs) + b"\x00"
