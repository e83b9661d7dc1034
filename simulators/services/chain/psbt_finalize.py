"""The finalizer of PSBTs: makes witnesses of signatures, when they are enough and hold.

Understood are wpkh, and multi in wsh, both also in sh, and the key path of tr.
"""

import struct
from collections.abc import Sequence
from dataclasses import replace

from embit.hashes import hash160  # type: ignore[import-untyped]

from simulators.services.chain.kernel import script_holds
from simulators.services.chain.policy import is_high_signature
from simulators.services.chain.psbt import Fields, In, Psbt, is_final, spent_output
from simulators.services.chain.script import kind, multisig
from simulators.services.chain.wire import (
    Reader,
    Transaction,
    TxIn,
    TxOut,
    stack_bytes,
    with_size,
)

_DEFAULT, _ALL = struct.pack("<I", 0), struct.pack("<I", 1)


def finalize(psbt: Psbt) -> tuple[Psbt, Transaction | None]:
    """With every input finalized that has its signatures; the transaction when all have."""
    pairs = list(zip(psbt.tx.inputs, psbt.inputs, strict=True))
    outputs = [spent_output(spent, fields) for spent, fields in pairs]
    spent = [output for output in outputs if output is not None]
    if len(spent) < len(outputs):
        return psbt, None
    inputs, signed, complete = list(psbt.inputs), list(psbt.tx.inputs), True
    for number, fields in enumerate(psbt.inputs):
        done = _final_input(psbt.tx, number, fields, spent)
        if done is None:
            complete = False
        else:
            signed[number] = done
            inputs[number] = _final_fields(fields, done, spent[number])
    after = replace(psbt, inputs=tuple(inputs))
    return after, psbt.tx.with_inputs(tuple(signed)) if complete else None


def _final_input(
    tx: Transaction, number: int, fields: Fields, spent: Sequence[TxOut]
) -> TxIn | None:
    """The input with its script and witness, when they hold."""
    if is_final(fields):
        witness = Reader(fields.get(In.FINAL_WITNESS, b"\x00")).stack()
        script_sig = fields.get(In.FINAL_SCRIPT, b"")
        done = replace(tx.inputs[number], script_sig=script_sig, witness=witness)
        # Like Core, it believes another finalizer when the amount is beyond doubt.
        return done if In.WHOLE in fields or _holds(tx, number, done, spent) else None
    redeem = fields.get(In.REDEEM, b"")
    stack = _witness(redeem or spent[number].script, fields)
    if stack is None:
        return None
    script_sig = with_size(redeem) if redeem else b""
    done = replace(tx.inputs[number], script_sig=script_sig, witness=stack)
    return done if _holds(tx, number, done, spent) else None


def _holds(tx: Transaction, number: int, done: TxIn, spent: Sequence[TxOut]) -> bool:
    """Whether the mempool would take the input."""
    if any(is_high_signature(item) for item in done.witness):
        return False
    inputs = (*tx.inputs[:number], done, *tx.inputs[number + 1 :])
    return script_holds(tx.with_inputs(inputs), number, spent)


def _witness(script: bytes, fields: Fields) -> tuple[bytes, ...] | None:
    """The stack that satisfies a segwit script with the signatures at hand."""
    if kind(script) == "witness_v1_taproot":
        return _key_path(fields)
    signatures = {key[1:]: value for key, value in fields.items() if key[:1] == In.SIGNATURE}
    wanted = fields.get(In.HASH_TYPE, _ALL)
    if any(value[-1:] + bytes(3) != wanted for value in signatures.values()):
        return None
    match kind(script):
        case "witness_v0_keyhash":
            mine = [key for key in signatures if hash160(key) == script[2:]]
            return (signatures[mine[0]], mine[0]) if mine else None
        case "witness_v0_scripthash":
            asked = multisig(fields.get(In.WITNESS, b""))
            if asked is None:
                return None
            needed, keys = asked
            given = [signatures[key] for key in keys if key in signatures][:needed]
            return (b"", *given, fields[In.WITNESS]) if len(given) == needed else None
    return None


def _key_path(fields: Fields) -> tuple[bytes, ...] | None:
    signature = fields.get(In.TAP_SIGNATURE, b"")
    hash_type = signature[64:] + bytes(3) if len(signature) == 65 else _DEFAULT
    fits = len(signature) >= 64 and hash_type == fields.get(In.HASH_TYPE, _DEFAULT)
    return (signature,) if fits else None


def _final_fields(before: Fields, done: TxIn, output: TxOut) -> Fields:
    """An input's fields once it is final; writing them leaves out what is not needed any more."""
    fields = dict(before)
    if done.script_sig:
        fields[In.FINAL_SCRIPT] = done.script_sig
    if done.witness:
        fields[In.FINAL_WITNESS] = stack_bytes(done.witness)
        fields[In.OUTPUT] = output.to_bytes()
    return fields
