"""Reads PSBTs and signed transactions with bdkpython: the second opinion beside the node's.

What it reads comes from signers, who may be hostile: sizes are bounded by the caller, and what
cannot be read is refused with a sentence. Nothing here judges; controller/money/policy.py does.
"""

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
    try:
        psbt = bdk.Psbt(text)
        unsigned = psbt.extract_tx_unchecked_fee_rate()
        maps = psbt.input()
    except (bdk.PsbtParseError, bdk.ExtractTxError, bdk.InternalError) as error:
        raise UnreadableTransaction(f"is no PSBT: {str(error)[:200]}") from None
    inputs = unsigned.input()
    if len(inputs) != len(maps):
        raise UnreadableTransaction(f"has {len(inputs)} inputs and {len(maps)} maps for them")
    return Facts(
        txid=str(unsigned.compute_txid()),
        version=unsigned.version(),
        locktime=unsigned.lock_time(),
        inputs=tuple(_psbt_input(*pair) for pair in zip(inputs, maps, strict=True)),
        outputs=_outputs(unsigned),
    )


def read_transaction(raw: bytes) -> Facts:
    """The facts of a whole signed transaction. Raises UnreadableTransaction."""
    try:
        tx = bdk.Transaction(raw)
    except (bdk.TransactionError, bdk.InternalError) as error:
        raise UnreadableTransaction(f"is no transaction: {str(error)[:200]}") from None
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
