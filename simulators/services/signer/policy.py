"""Decides whether a PSBT may be signed: coins of the collection go to the reserve, or nowhere.

Every rule must hold. The first that does not is the refusal, one sentence for people. Amounts are
taken from whole previous transactions whose hash is the coin's own, never from what the PSBT says
about itself: a wrong amount would let a fee of any size be signed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from embit import ec  # type: ignore[import-untyped]
from embit.psbt import PSBT, InputScope  # type: ignore[import-untyped]
from embit.transaction import SIGHASH, TransactionOutput  # type: ignore[import-untyped]

from simulators.services.signer.keys import CollectionKey
from simulators.services.signer.reserve import Reserve

OP_RETURN = 0x6A
SATS_MAX = 2_100_000_000_000_000


@dataclass(frozen=True, slots=True)
class Policy:
    """Whose coins, to whom, and at what fee at most."""

    collection: CollectionKey
    reserve: Reserve
    max_fee_sat: int

    def refusal(self, psbt: PSBT) -> str | None:
        """Return why it must not be signed; None when it may."""
        return next(self._refusals(psbt), None)

    def _refusals(self, psbt: PSBT) -> Iterator[str]:
        coins = [(scope.txid, scope.vout) for scope in psbt.inputs]
        if len(set(coins)) != len(coins):
            yield "an input is listed twice"
        total_sat = 0
        for number, scope in enumerate(psbt.inputs):
            problem = self._input_problem(scope)
            if problem:
                yield f"input {number} {problem}"
                return
            total_sat += previous_output(scope).value
        to_reserve = 0
        for number, scope in enumerate(psbt.outputs):
            if self.reserve.owns(scope.script_pubkey):
                to_reserve += 1
            elif scope.value != 0 or scope.script_pubkey.data[:1] != bytes([OP_RETURN]):
                yield (
                    f"output {number} is none of the first {self.reserve.size} addresses of the "
                    f"reserve, nor an empty OP_RETURN"
                )
        if not to_reserve:
            yield "no output pays the reserve"
        spent_sat = sum(scope.value for scope in psbt.outputs)
        fee_sat = total_sat - spent_sat
        if fee_sat <= 0:
            yield f"it leaves no fee: {total_sat} sat come in, {spent_sat} sat go out"
        if fee_sat > self.max_fee_sat:
            yield f"its fee of {fee_sat} sat is above {self.max_fee_sat} sat"

    def _input_problem(self, scope: InputScope) -> str | None:
        if scope.final_scriptsig is not None or scope.final_scriptwitness is not None:
            return "is final already"
        if scope.sighash_type not in (None, SIGHASH.ALL):
            return f"asks for sighash {scope.sighash_type}; only ALL is signed"
        before = scope.non_witness_utxo
        if before is None:
            return "comes without its previous transaction (non_witness_utxo)"
        if before.txid() != scope.txid or scope.vout >= len(before.vout):
            return "comes with a previous transaction that is not its own"
        coin = previous_output(scope)
        if not 0 <= coin.value <= SATS_MAX:
            return f"has an impossible amount: {coin.value} sat"
        if scope.witness_utxo is not None and scope.witness_utxo != coin:
            return "says of itself (witness_utxo) what its previous transaction does not"
        if own_key(self.collection, scope) is None:
            return (
                "is no coin of this collection, or comes without its derivation; "
                "fill it in with utxoupdatepsbt and the collection's descriptor"
            )
        return None


def previous_output(scope: InputScope) -> TransactionOutput:
    """Return the coin that an input spends, out of its previous transaction."""
    return scope.non_witness_utxo.vout[scope.vout]


def own_key(collection: CollectionKey, scope: InputScope) -> ec.PrivateKey | None:
    """Return the key that signs for an input; None when the coin is not the collection's."""
    if scope.non_witness_utxo is None:
        return None
    script_pubkey = previous_output(scope).script_pubkey
    for path in scope.bip32_derivations.values():
        key = collection.private_key(path.fingerprint, path.derivation, script_pubkey)
        if key is not None:
            return key
    return None
