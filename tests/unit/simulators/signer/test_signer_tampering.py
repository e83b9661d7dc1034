"""The signer signs what pays the reserve, and nothing else: every tampering by itself, refused."""

import copy

import pytest
from embit import script
from embit.transaction import TransactionOutput

from simulators.services.signer.sign import Refused, Signed, answer
from tests.unit.simulators.signer.signer_requests import (
    COIN_SAT,
    FEE_SAT,
    derived,
    foreign,
    request,
    text,
    to_reserve,
)


def other_output(ground):
    psbt = request(ground)
    psbt.outputs[0].script_pubkey = foreign(ground)
    return psbt


def one_more_output(ground):
    outputs = [to_reserve(ground, COIN_SAT), TransactionOutput(1_000, foreign(ground))]
    return request(ground, outputs=outputs)


def change_to_collection(ground):
    back = derived(ground.collection.descriptor, 9, branch=1).script_pubkey()
    outputs = [to_reserve(ground, COIN_SAT), TransactionOutput(COIN_SAT - FEE_SAT, back)]
    return request(ground, outputs=outputs)


def reserve_change_branch(ground):
    return request(ground, outputs=[to_reserve(ground, COIN_SAT * 2 - FEE_SAT, branch=1)])


def beyond_the_range(ground):
    return request(ground, outputs=[to_reserve(ground, COIN_SAT * 2 - FEE_SAT, index=20)])


def burning_return(ground):
    burned = TransactionOutput(1, script.Script(b"\x6a\x01x"))
    return request(ground, outputs=[to_reserve(ground, COIN_SAT * 2 - FEE_SAT), burned])


def only_a_return(ground):
    return request(ground, outputs=[TransactionOutput(0, script.Script(b"\x6a"))])


def fee_too_high(ground):
    return request(ground, outputs=[to_reserve(ground, COIN_SAT * 2 - 10_001)])


def no_fee(ground):
    return request(ground, outputs=[to_reserve(ground, COIN_SAT * 2)])


def more_than_comes_in(ground):
    return request(ground, outputs=[to_reserve(ground, COIN_SAT * 2 + 1)])


def coin_of_another(ground):
    psbt = request(ground)
    stranger = derived(ground.reserve, 0)
    psbt.inputs[1].non_witness_utxo.vout[1].script_pubkey = stranger.script_pubkey()
    psbt.inputs[1].witness_utxo = psbt.inputs[1].non_witness_utxo.vout[1]
    psbt.inputs[1].txid = psbt.inputs[1].non_witness_utxo.txid()
    return psbt


def key_of_another_index(ground):
    psbt = request(ground)
    for path in psbt.inputs[0].bip32_derivations.values():
        path.derivation[-1] += 1
    return psbt


def account_of_another(ground):
    psbt = request(ground)
    for path in psbt.inputs[0].bip32_derivations.values():
        path.derivation[2] += 1
    return psbt


def no_derivation(ground):
    psbt = request(ground)
    psbt.inputs[0].bip32_derivations.clear()
    return psbt


def same_coin_twice(ground):
    psbt = request(ground)
    psbt.inputs[1] = copy.deepcopy(psbt.inputs[0])
    return psbt


def no_previous_transaction(ground):
    psbt = request(ground)
    psbt.inputs[0].non_witness_utxo = None
    return psbt


def another_previous_transaction(ground):
    psbt = request(ground)
    psbt.inputs[0].non_witness_utxo = psbt.inputs[1].non_witness_utxo
    return psbt


def previous_amount_changed(ground):
    psbt = request(ground)
    psbt.inputs[0].non_witness_utxo.vout[1].value -= 9_000
    psbt.inputs[0].witness_utxo = psbt.inputs[0].non_witness_utxo.vout[1]
    return psbt


def no_such_output(ground):
    psbt = request(ground)
    psbt.inputs[0].vout = 2
    return psbt


def witness_amount_lies(ground):
    psbt = request(ground)
    coin = psbt.inputs[0].witness_utxo
    psbt.inputs[0].witness_utxo = TransactionOutput(coin.value - 1, coin.script_pubkey)
    return psbt


def sighash(kind):
    def tampered(ground):
        psbt = request(ground)
        psbt.inputs[1].sighash_type = kind
        return psbt

    tampered.__name__ = f"sighash_{kind:02x}"
    return tampered


def final_already(ground):
    psbt = request(ground)
    psbt.inputs[0].final_scriptwitness = script.Witness([b"\x01"])
    return psbt


TAMPERED = [
    (other_output, "output 0 is none of the first 20 addresses of the reserve"),
    (one_more_output, "output 1 is none"),
    (change_to_collection, "output 1 is none"),
    (reserve_change_branch, "output 0 is none"),
    (beyond_the_range, "output 0 is none"),
    (burning_return, "output 1 is none"),
    (only_a_return, "no output pays the reserve"),
    (fee_too_high, "its fee of 10001 sat is above 10000 sat"),
    (no_fee, "it leaves no fee"),
    (more_than_comes_in, "it leaves no fee"),
    (coin_of_another, "input 1 is no coin of this collection"),
    (key_of_another_index, "input 0 is no coin of this collection"),
    (account_of_another, "input 0 is no coin of this collection"),
    (no_derivation, "input 0 is no coin of this collection"),
    (same_coin_twice, "an input is listed twice"),
    (no_previous_transaction, "input 0 comes without its previous transaction"),
    (another_previous_transaction, "input 0 comes with a previous transaction that is not"),
    (previous_amount_changed, "input 0 comes with a previous transaction that is not"),
    (no_such_output, "input 0 comes with a previous transaction that is not"),
    (witness_amount_lies, "input 0 says of itself (witness_utxo)"),
    (sighash(0x02), "input 1 asks for sighash 2"),
    (sighash(0x03), "input 1 asks for sighash 3"),
    (sighash(0x81), "input 1 asks for sighash 129"),
    (final_already, "input 0 is final already"),
]


@pytest.mark.parametrize(
    ("tamper", "sentence"), [pytest.param(t, s, id=t.__name__) for t, s in TAMPERED]
)
def test_every_tampering_is_refused(ground, tamper, sentence):
    assert isinstance(answer(text(request(ground)), ground.policy), Signed)
    given = answer(text(tamper(ground)), ground.policy)
    assert isinstance(given, Refused)
    assert given.sentence.startswith(sentence)


def test_a_fault_is_for_good_requests_only(ground):
    assert isinstance(answer(text(other_output(ground)), ground.policy, "garbage"), Refused)
