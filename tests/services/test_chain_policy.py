"""The simulated chain and the real bitcoind keep the same transactions out of their mempools."""

from dataclasses import replace

import pytest
from embit.psbt import PSBT
from embit.transaction import Transaction as OtherTransaction

from simulators.services.chain.wire import (
    COINBASE,
    Outpoint,
    Transaction,
    TxIn,
    TxOut,
    read_transaction,
)
from tests.services.chain_wallet import COLLECTION, RESERVE, signed, with_high_s

UNKNOWN = TxIn(Outpoint("11" * 32, 0))
OTHER = TxIn(Outpoint("22" * 32, 0))
PAID = TxOut(10**8, RESERVE.script(0))
MONEY_SAT = 21 * 10**14
KEY = b"\x21\x02" + b"\x33" * 32


def odd(inputs=(UNKNOWN,), outputs=(PAID,), version=2, lock_time=0):
    """A transaction of unknown inputs: it must fail before they are looked for."""
    return Transaction(inputs, outputs, version, lock_time)


@pytest.mark.parametrize(
    ("tx", "reason"),
    [
        (odd(outputs=()), "bad-txns-vout-empty"),
        (odd(inputs=(UNKNOWN, UNKNOWN)), "bad-txns-inputs-duplicate"),
        (odd(inputs=(UNKNOWN, TxIn(COINBASE))), "bad-txns-prevout-null"),
        (odd(inputs=(TxIn(COINBASE, b"\x51\x51"),)), "coinbase"),
        (odd(inputs=(TxIn(COINBASE, b"\x51"),)), "bad-cb-length"),
        (odd(outputs=(TxOut(-1, PAID.script),)), "bad-txns-vout-negative"),
        (odd(outputs=(TxOut(MONEY_SAT + 1, PAID.script),)), "bad-txns-vout-toolarge"),
        (odd(outputs=(TxOut(MONEY_SAT, PAID.script), PAID)), "bad-txns-txouttotal-toolarge"),
        (odd(version=0), "version"),
        (odd(version=4), "version"),
        (odd(version=2**32 - 1), "version"),
        (odd(outputs=(TxOut(0, b"\x6a" + b"\x4d\x08\x02" + bytes(520)),) * 200), "tx-size"),
        (odd(inputs=(TxIn(UNKNOWN.outpoint, b"\x4d\x73\x06" + bytes(1651)),)), "scriptsig-size"),
        (odd(inputs=(TxIn(UNKNOWN.outpoint, b"\x76"),)), "scriptsig-not-pushonly"),
        (odd(inputs=(TxIn(UNKNOWN.outpoint, b"\x02\x01"),)), "scriptsig-not-pushonly"),
        (odd(outputs=(TxOut(10**8, b"\x51"),)), "scriptpubkey"),
        (odd(outputs=(TxOut(10**8, b"\x51" + KEY * 4 + b"\x54\xae"),)), "scriptpubkey"),
        (odd(outputs=(TxOut(1, PAID.script), TxOut(2, PAID.script))), "dust"),
        (odd(outputs=(TxOut(10**8, bytes.fromhex("51024e73")),)), "tx-size-small"),
        (odd(lock_time=400_000_000), "non-final"),
        (odd(lock_time=2**32 - 1), "non-final"),
        (odd(), "missing-inputs"),
        # Standard in all that is looked at before the inputs.
        (odd(inputs=(UNKNOWN, OTHER), version=1), "missing-inputs"),
        (odd(version=3), "missing-inputs"),
        (odd(outputs=(TxOut(10**8, b"\x51" + KEY * 3 + b"\x53\xae"),)), "missing-inputs"),
        (odd(outputs=(TxOut(1, PAID.script), PAID)), "missing-inputs"),
        (odd(outputs=(PAID, TxOut(0, b"\x6a" + b"\x4c\xff" + bytes(255)))), "missing-inputs"),
        (
            odd(inputs=(TxIn(UNKNOWN.outpoint, sequence=2**32 - 1),), lock_time=9**9),
            "missing-inputs",
        ),
    ],
)
def test_what_is_odd_in_itself(funded, tx, reason):
    (would,) = funded.chain.rpc("testmempoolaccept", [tx.raw.hex()])
    assert (would["txid"], would["wtxid"]) == (tx.txid, tx.wtxid)
    assert would["reject-reason"] == reason
    assert would.get("reject-details", reason) == reason


def test_dust_is_known_by_how_it_is_spent(funded):
    """A third of the value would go into spending it at 3 sat/vB."""
    chain, coin = funded.chain, funded.coin()
    for script, least_sat in (
        (COLLECTION.script(0), 294),
        (RESERVE.script(0), 330),
        (bytes.fromhex("a914" + "11" * 20 + "87"), 540),
        (bytes.fromhex("76a914" + "11" * 20 + "88ac"), 546),
        (bytes.fromhex("51024e73"), 240),
    ):
        for value_sat, reason in ((least_sat - 1, "dust"), (least_sat, None)):
            tx = Transaction(
                (TxIn(Outpoint(coin[0], coin[1])),),
                (TxOut(value_sat, script), TxOut(coin[2] - 10**5, RESERVE.script(0))),
            )
            (would,) = chain.rpc("testmempoolaccept", [made_of(chain, tx)])
            assert would.get("reject-reason") == reason, (script.hex(), value_sat)


def test_another_witness_of_what_waits(funded):
    """The id does not cover it, so it is the same sweep."""
    chain = funded.chain
    raw = signed(chain, [funded.coin()], RESERVE.address(0), fee_sat=1000)
    tx = read_transaction(bytes.fromhex(raw))
    signature, key = tx.inputs[0].witness
    changed = replace(tx.inputs[0], witness=(with_high_s(signature), key))
    other = tx.with_inputs((changed,)).raw.hex()
    txid = chain.rpc("sendrawtransaction", raw)
    (would,) = chain.rpc("testmempoolaccept", [other])
    assert would["txid"] == txid
    assert would["reject-reason"] == "txn-same-nonwitness-data-in-mempool"
    assert chain.rpc("sendrawtransaction", other) == txid
    block = chain.rpc("getblock", chain.mine_mempool(), 2)
    assert [tx["hex"] for tx in block["tx"][1:]] == [raw]


def made_of(chain, tx):
    """A transaction of collection coins with its signatures, in hexadecimal."""
    bare = PSBT(OtherTransaction.parse(tx.raw)).to_string()
    known = {"desc": COLLECTION.descriptor, "range": 99}
    updated = chain.rpc("utxoupdatepsbt", bare, [known])
    return chain.rpc("finalizepsbt", COLLECTION.sign(updated))["hex"]
