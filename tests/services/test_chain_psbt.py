"""The simulated chain and the real bitcoind fill in, combine and finalize PSBTs alike."""

import pytest
from embit.psbt import PSBT
from embit.script import Witness
from embit.transaction import Transaction

from tests.services.chain_ground import RpcError
from tests.services.chain_wallet import (
    COLLECTION,
    RESERVE,
    Wallet,
    emptied,
    inputs_of,
    signed,
    sweep,
    txid_of,
    with_high_s,
)

QUORUM = Wallet("wsh(sortedmulti(2,{}))", b"m", b"n", b"o", path="48h/1h/0h/2h")
FEE_SAT = 1000

chain = pytest.fixture(emptied)


def test_a_quorum_signs(funded, chain):
    raw = signed(chain, [funded.coin()], QUORUM.address(2), fee_sat=FEE_SAT)
    chain.mine(1, transactions=[raw])
    coin = (txid_of(raw), 0, funded.VALUE_SAT - FEE_SAT)
    psbt = sweep(chain, [coin], RESERVE.address(1), fee_sat=FEE_SAT, known=QUORUM.descriptor)
    parts = [QUORUM.sign(psbt, signer=signer) for signer in range(3)]
    half = chain.rpc("finalizepsbt", parts[0])
    assert half["complete"] is False
    assert len(PSBT.from_string(half["psbt"]).inputs[0].partial_sigs) == 1
    every = chain.rpc("finalizepsbt", chain.rpc("combinepsbt", parts))
    assert every["complete"] is True
    two = chain.rpc("finalizepsbt", chain.rpc("combinepsbt", [parts[2], parts[1]]))
    assert len(Transaction.from_string(two["hex"]).vin[0].witness.items) == 4
    assert chain.rpc("sendrawtransaction", two["hex"]) == txid_of(every["hex"])


@pytest.mark.parametrize("form", ["sh(wpkh({}))", "sh(wsh(sortedmulti(1,{})))"])
def test_wrapped_scripts(funded, chain, form):
    wallet = Wallet(form, b"w", path="49h/1h/0h")
    raw = signed(chain, [funded.coin()], wallet.address(0), fee_sat=FEE_SAT)
    chain.mine(1, transactions=[raw])
    coin = (txid_of(raw), 0, funded.VALUE_SAT - FEE_SAT)
    psbt = sweep(chain, [coin], RESERVE.address(1), fee_sat=FEE_SAT, known=wallet.descriptor)
    assert PSBT.from_string(psbt).inputs[0].redeem_script is not None
    final = chain.rpc("finalizepsbt", wallet.sign(psbt))
    assert final["complete"] is True
    assert chain.rpc("sendrawtransaction", final["hex"])


def test_the_key_path_of_taproot(funded, chain):
    wallet = Wallet("tr({})", b"q", path="86h/1h/0h")
    raw = signed(chain, [funded.coin()], wallet.address(0), fee_sat=FEE_SAT)
    chain.mine(1, transactions=[raw])
    coin = (txid_of(raw), 0, funded.VALUE_SAT - FEE_SAT)
    for known, fields in ((wallet.descriptor, 1), (COLLECTION.descriptor, 0)):
        text = sweep(chain, [coin], wallet.address(3), fee_sat=FEE_SAT, known=known)
        psbt = PSBT.from_string(text)
        for scope in (psbt.inputs[0], psbt.outputs[0]):
            assert len(scope.taproot_bip32_derivations) == fields
            assert (scope.taproot_internal_key is not None) == bool(fields)
        assert psbt.inputs[0].witness_utxo is not None
        # The signature covers the amount, so nobody needs the whole transaction.
        assert psbt.inputs[0].non_witness_utxo is None
    mixed = chain.rpc("createpsbt", inputs_of(coin, funded.coin()), [{RESERVE.address(1): 1}])
    updated = PSBT.from_string(chain.rpc("utxoupdatepsbt", mixed))
    assert [scope.non_witness_utxo is None for scope in updated.inputs] == [False, False]

    text = sweep(chain, [coin], RESERVE.address(3), fee_sat=FEE_SAT, known=wallet.descriptor)
    part = PSBT.from_string(wallet.sign(text))
    (signature,) = part.inputs[0].final_scriptwitness.items
    part.inputs[0].final_scriptwitness = None
    part.inputs[0].unknown[b"\x13"] = signature[:-1] + bytes((signature[-1] ^ 1,))
    assert chain.rpc("finalizepsbt", part.to_string())["complete"] is False
    part.inputs[0].unknown[b"\x13"] = signature
    kept = PSBT.from_string(chain.rpc("finalizepsbt", part.to_string(), False)["psbt"])
    assert kept.inputs[0].taproot_internal_key is None
    final = chain.rpc("finalizepsbt", part.to_string())
    assert chain.rpc("sendrawtransaction", final["hex"])


def test_a_signature_over_something_else_does_not_finalize(funded, chain):
    """Signed for one destination, and put under the PSBT of another."""
    coin = funded.coin()
    psbt = sweep(chain, [coin], RESERVE.address(1), fee_sat=FEE_SAT)
    other = sweep(chain, [coin], RESERVE.address(2), fee_sat=FEE_SAT)
    with pytest.raises(RpcError, match="PSBTs not compatible") as refused:
        chain.rpc("combinepsbt", [psbt, COLLECTION.sign(other)])
    assert refused.value.code == -8
    mixed = PSBT.from_string(psbt)
    mixed.inputs[0].partial_sigs = PSBT.from_string(COLLECTION.sign(other)).inputs[0].partial_sigs
    assert chain.rpc("finalizepsbt", mixed.to_string())["complete"] is False


@pytest.mark.parametrize("change", ["high", "for no output"])
def test_a_signature_that_would_not_be_relayed_does_not_finalize(funded, chain, change):
    psbt = sweep(chain, [funded.coin()], RESERVE.address(1), fee_sat=FEE_SAT)
    part = PSBT.from_string(psbt)
    part.sign_with(COLLECTION.roots[0], sighash=2 if change == "for no output" else 1)
    ((key, signature),) = part.inputs[0].partial_sigs.items()
    if change == "high":
        part.inputs[0].partial_sigs[key] = with_high_s(signature)
    answer = chain.rpc("finalizepsbt", part.to_string())
    assert answer["complete"] is False
    assert PSBT.from_string(answer["psbt"]).inputs[0].final_scriptwitness is None


def test_another_finalizer_is_believed_when_the_amount_is_sure(funded, chain):
    """So whoever sends must look at the transaction himself."""
    psbt = PSBT.from_string(sweep(chain, [funded.coin()], RESERVE.address(1), fee_sat=FEE_SAT))
    psbt.inputs[0].final_scriptwitness = Witness([b"no signature", b"no key"])
    believed = chain.rpc("finalizepsbt", psbt.to_string())
    assert believed["complete"] is True
    assert chain.rpc("testmempoolaccept", [believed["hex"]])[0]["allowed"] is False
    psbt.inputs[0].non_witness_utxo = None
    assert chain.rpc("finalizepsbt", psbt.to_string())["complete"] is False


def test_a_psbt_about_another_coin_is_refused(funded, chain):
    """The previous transaction inside must be the one that is spent."""
    one, two = funded.coin(), funded.coin()
    psbt = PSBT.from_string(sweep(chain, [one], RESERVE.address(1), fee_sat=FEE_SAT))
    other = PSBT.from_string(sweep(chain, [two], RESERVE.address(1), fee_sat=FEE_SAT))
    psbt.inputs[0].non_witness_utxo = other.inputs[0].non_witness_utxo
    for method, params in (
        ("finalizepsbt", [psbt.to_string()]),
        ("utxoupdatepsbt", [psbt.to_string()]),
        ("combinepsbt", [[psbt.to_string()]]),
    ):
        with pytest.raises(RpcError) as refused:
            chain.rpc(method, *params)
        said = "TX decode failed Non-witness UTXO does not match outpoint hash: iostream error"
        assert (refused.value.code, refused.value.message) == (-22, said)
