"""Signs a PSBT that the policy lets pass, or misbehaves on purpose: the faults tests ask for.

Signatures are deterministic (RFC 6979): the same request gives the same bytes again.
"""

from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256

from embit import script  # type: ignore[import-untyped]
from embit.psbt import PSBT, InputScope  # type: ignore[import-untyped]
from embit.transaction import SIGHASH, TransactionInput  # type: ignore[import-untyped]

from simulators.services.signer.keys import CollectionKey
from simulators.services.signer.policy import Policy, own_key, previous_output
from simulators.services.signer.request import Unreadable, parse_request

FAULTS = ("other-output", "no-signature", "wrong-sighash", "extra-input", "garbage")
_FOREIGN = script.Script(b"\x00\x14" + sha256(b"a thief").digest()[:20])


@dataclass(frozen=True, slots=True)
class Signed:
    """What comes back: base64 text of the PSBT with partial signatures, not final."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """Why nothing was signed, in one sentence."""

    sentence: str


def answer(data: bytes, policy: Policy, fault: str | None = None) -> Signed | Refused:
    """Read one request, judge it, sign it; `fault` spoils only what would have been signed."""
    try:
        psbt = parse_request(data)
    except Unreadable as error:
        return Refused(str(error))
    refusal = policy.refusal(psbt)
    if refusal:
        return Refused(refusal)
    if fault == "garbage":
        return Signed(sha256(data).hexdigest().encode() * 4)
    _spoil(psbt, fault)
    if fault != "no-signature":
        kind = SIGHASH.NONE if fault == "wrong-sighash" else SIGHASH.ALL
        _sign(psbt, policy.collection, kind)
    return Signed(b64encode(psbt.serialize()) + b"\n")


def _sign(psbt: PSBT, collection: CollectionKey, kind: int) -> None:
    transaction = psbt.tx
    for number, scope in enumerate(psbt.inputs):
        key = own_key(collection, scope)
        if key is None:
            continue
        coin = previous_output(scope)
        code = script.p2pkh_from_p2wpkh(coin.script_pubkey)
        digest = transaction.sighash_segwit(number, code, coin.value, sighash=kind)
        signature = key.sign(digest).serialize() + bytes([kind])
        scope.partial_sigs.clear()
        scope.partial_sigs[key.get_public_key()] = signature


def _spoil(psbt: PSBT, fault: str | None) -> None:
    if fault == "other-output":
        psbt.outputs[0].script_pubkey = _FOREIGN
    elif fault == "wrong-sighash":
        for scope in psbt.inputs:
            scope.sighash_type = SIGHASH.NONE
    elif fault == "extra-input":
        psbt.inputs.append(InputScope({}, vin=TransactionInput(b"\x11" * 32, 0)))
