"""Requests as the treasury makes them, to be signed or to be spoiled first."""

from embit import bip32, script
from embit.descriptor import Descriptor
from embit.networks import NETWORKS
from embit.psbt import PSBT, DerivationPath
from embit.transaction import Transaction, TransactionInput, TransactionOutput

COIN_SAT = 5_000_000
FEE_SAT = 700


def derived(descriptor, index, branch=0):
    return Descriptor.from_string(descriptor).derive(index, branch_index=branch)


def paid(coins, *, outputs=None, reserve, sequence=0xFFFFFFFD, version=2):
    """A request as the treasury makes it; `coins` are derived descriptors."""
    befores = [
        Transaction(
            vin=[TransactionInput(bytes([number]) * 32, 0)],
            vout=[
                TransactionOutput(1_000, script.Script(b"\x6a")),
                TransactionOutput(COIN_SAT, coin.script_pubkey()),
            ],
        )
        for number, coin in enumerate(coins, 1)
    ]
    if outputs is None:
        total_sat = COIN_SAT * len(coins)
        outputs = [TransactionOutput(total_sat - FEE_SAT, derived(reserve, 3).script_pubkey())]
    vin = [TransactionInput(before.txid(), 1, sequence=sequence) for before in befores]
    psbt = PSBT(Transaction(version=version, vin=vin, vout=outputs))
    for scope, before, coin in zip(psbt.inputs, befores, coins, strict=True):
        scope.non_witness_utxo = before
        scope.witness_utxo = before.vout[1]
        key = coin.key
        scope.bip32_derivations[key.get_public_key()] = DerivationPath(
            key.origin.fingerprint, key.origin.derivation
        )
    return psbt


def request(ground, indices=(0, 7), **changes):
    coins = [derived(ground.collection.descriptor, index) for index in indices]
    return paid(coins, reserve=ground.reserve, **changes)


def text(psbt):
    return psbt.to_base64().encode()


def foreign(ground):
    key = bip32.HDKey.from_seed(b"\x07" * 64, version=NETWORKS["regtest"]["xprv"])
    return script.p2wpkh(key)


def to_reserve(ground, value, index=3, branch=0):
    return TransactionOutput(value, derived(ground.reserve, index, branch).script_pubkey())
