"""The updater of PSBTs: fills in spent transactions, scripts and key origins.

Of tr() the key path is filled in, not a tree of scripts.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import replace

from simulators.services.chain.descriptors import Derived
from simulators.services.chain.psbt import Fields, In, Out, Psbt, is_final, spent_output
from simulators.services.chain.script import kind
from simulators.services.chain.wire import Transaction, TxIn

_ANYONE_CAN_PAY = 0x80


def update(
    psbt: Psbt, known: Mapping[bytes, Derived], find: Callable[[str], Transaction | None]
) -> Psbt:
    """Add what `find` and the descriptors know. `known`: by script; `find`: a transaction's id."""
    pairs = zip(psbt.tx.inputs, psbt.inputs, strict=True)
    inputs = [_input(spent, dict(fields), known, find) for spent, fields in pairs]
    if all(
        _proves_amounts(fields, spent) for spent, fields in zip(psbt.tx.inputs, inputs, strict=True)
    ):
        for fields in inputs:
            fields.pop(In.WHOLE, None)
    outputs = [dict(fields) for fields in psbt.outputs]
    for output, fields in zip(psbt.tx.outputs, outputs, strict=True):
        if output.script in known:
            _describe(fields, known[output.script], Out)
    return replace(psbt, inputs=tuple(inputs), outputs=tuple(outputs))


def _input(
    spent: TxIn,
    fields: Fields,
    known: Mapping[bytes, Derived],
    find: Callable[[str], Transaction | None],
) -> Fields:
    previous = find(spent.outpoint.txid)
    if In.WHOLE not in fields and previous is not None:
        fields[In.WHOLE] = previous.stripped
    output = spent_output(spent, fields)
    if output is None or is_final(fields):
        return fields
    if output.script in known:
        _describe(fields, known[output.script], In)
    if _is_segwit(output.script, fields):
        fields.setdefault(In.OUTPUT, output.to_bytes())
    return fields


def _describe(fields: Fields, derived: Derived, keys: type[In] | type[Out]) -> None:
    if derived.redeem_script is not None:
        fields.setdefault(keys.REDEEM, derived.redeem_script)
    if derived.witness_script is not None:
        fields.setdefault(keys.WITNESS, derived.witness_script)
    for one in derived.origins:
        origin = one.fingerprint + b"".join(struct.pack("<I", step) for step in one.path)
        if derived.taproot:
            alone = one.key[1:]
            fields.setdefault(keys.TAP_KEY, alone)
            # No leaf of a tree holds the key.
            fields.setdefault(keys.TAP_ORIGIN + alone, b"\x00" + origin)
        else:
            fields.setdefault(keys.ORIGIN + one.key, origin)


def _is_segwit(script: bytes, fields: Fields) -> bool:
    """Whether it is known to be spent by a witness."""
    inner = fields.get(In.REDEEM, b"") if kind(script) == "scripthash" else script
    match kind(inner):
        case "witness_v0_keyhash" | "witness_v1_taproot":
            return True
        case "witness_v0_scripthash":
            return In.WITNESS in fields
    return False


def _proves_amounts(fields: Fields, spent: TxIn) -> bool:
    """Whether its signature will cover all amounts, so that the whole transaction is not needed."""
    output = spent_output(spent, fields)
    taproot = output is not None and kind(output.script) == "witness_v1_taproot"
    anyone = fields.get(In.HASH_TYPE, b"\x00")[0] & _ANYONE_CAN_PAY
    return taproot and In.OUTPUT in fields and not anyone
