"""Reads PSBTs and signed transactions with bdkpython: the second opinion beside the node's.

What it reads comes from signers, who may be hostile: sizes are bounded by the caller, and what
cannot be read is refused with a sentence, whatever the library raises for it. Nothing here judges;
controller/money/policy.py does.
"""

from collections.abc import Callable
from typing import TypeVar

import bdkpython as bdk  # type: ignore[import-untyped]

from controller.money.facts import OutPoint, Output
from controller.money.policy import SIGHASH_ALL, Facts, Input

_DER = 0x30
_SIGNATURE_BYTES = range(9, 74)
_SIGHASHES = {"SIGHASH_ALL": SIGHASH_ALL}
_UNKNOWN_SIGHASH = 0
"""Stands for every kind that is named and is not ALL."""


class UnreadableTransaction(Exception):
    """What was given is no PSBT or transaction that can be read."""


def read_psbt(text: str) -> Facts:
    """The facts of a PSBT in base64. Raises UnreadableTransaction."""
    return _read("PSBT", lambda: _psbt(text))


def read_transaction(raw: bytes) -> Facts:
    """The facts of a whole signed transaction. Raises UnreadableTransaction."""
    return _read("transaction", lambda: _transaction(raw))


def counts(raw: bytes) -> tuple[int, int]:
    """How many inputs and outputs a transaction has. Raises UnreadableTransaction."""
    return _read("transaction", lambda: _counts(bdk.Transaction(raw)))


_Result = TypeVar("_Result")


def _read(what: str, read: Callable[[], _Result]) -> _Result:
    try:
        return read()
    except UnreadableTransaction:
        raise
    except Exception as error:  # noqa: BLE001 - a library that reads what enemies wrote
        raise UnreadableTransaction(f"is no {what} that can be read: {_said(error)}") from None


def _said(error: Exception) -> str:
    return "".join(c if c.isprintable() else "?" for c in str(error)[:200])


def _psbt(text: str) -> Facts:
    psbt = bdk.Psbt(text)
    unsigned = psbt.extract_tx_unchecked_fee_rate()
    inputs, maps = unsigned.input(), psbt.input()
    if len(inputs) != len(maps):
        raise UnreadableTransaction(f"has {len(inputs)} inputs and {len(maps)} maps for them")
    return Facts(
        txid=str(unsigned.compute_txid()),
        version=unsigned.version(),
        locktime=unsigned.lock_time(),
        inputs=tuple(_psbt_input(*pair) for pair in zip(inputs, maps, strict=True)),
        outputs=_outputs(unsigned),
    )


def _transaction(raw: bytes) -> Facts:
    tx = bdk.Transaction(raw)
    return Facts(
        txid=str(tx.compute_txid()),
        version=tx.version(),
        locktime=tx.lock_time(),
        inputs=tuple(
            Input(
                outpoint=_outpoint(entry),
                sequence=entry.sequence,
                sighashes=_used(entry.witness),
                signed=bool(entry.witness),
            )
            for entry in tx.input()
        ),
        outputs=_outputs(tx),
        vsize=tx.vsize(),
    )


def _counts(tx: bdk.Transaction) -> tuple[int, int]:
    return len(tx.input()), len(tx.output())


def _psbt_input(spent: bdk.TxIn, entry: bdk.Input) -> Input:
    outpoint = _outpoint(spent)
    claimed = []
    if entry.witness_utxo is not None:
        claimed.append(_output(entry.witness_utxo))
    previous = entry.non_witness_utxo
    if previous is not None:
        outputs = previous.output()
        if outpoint.vout < len(outputs):
            claimed.append(_output(outputs[outpoint.vout]))
    named = set()
    if entry.sighash_type is not None:
        named.add(_SIGHASHES.get(entry.sighash_type, _UNKNOWN_SIGHASH))
    named |= {signature[-1] for signature in entry.partial_sigs.values() if signature}
    final = entry.final_script_witness or []
    return Input(
        outpoint=outpoint,
        sequence=spent.sequence,
        sighashes=frozenset(named) | _used(final),
        previous_txid=None if previous is None else str(previous.compute_txid()),
        claimed=tuple(claimed),
        signed=bool(entry.partial_sigs) or bool(final),
    )


def _used(witness: list[bytes]) -> frozenset[int]:
    """The kinds of the ECDSA signatures in a witness: the byte behind each."""
    return frozenset(
        item[-1] for item in witness if len(item) in _SIGNATURE_BYTES and item[0] == _DER
    )


def _outputs(tx: bdk.Transaction) -> tuple[Output, ...]:
    return tuple(_output(output) for output in tx.output())


def _output(output: bdk.TxOut) -> Output:
    return Output(script=output.script_pubkey.to_bytes(), sat=output.value.to_sat())


def _outpoint(entry: bdk.TxIn) -> OutPoint:
    return OutPoint(str(entry.previous_output.txid), entry.previous_output.vout)
