"""The simulated chain and the real bitcoind take, refuse and replace alike: the whole sweep."""

import pytest
from embit.psbt import PSBT
from embit.transaction import Transaction

from tests.services.chain_ground import RpcError
from tests.services.chain_wallet import (
    COLLECTION,
    RESERVE,
    bitcoin,
    emptied,
    inputs_of,
    signed,
    sweep,
    txid_of,
    with_high_s,
)

FEE_SAT = 1000


chain = pytest.fixture(emptied)


def refusal(chain, *params):
    """What `sendrawtransaction` refuses with; `testmempoolaccept` must say the same."""
    with pytest.raises(RpcError) as refused:
        chain.rpc("sendrawtransaction", *params)
    raw, *rate = params
    (would,) = chain.rpc("testmempoolaccept", [raw], *rate)
    assert would["allowed"] is False
    code, message = refused.value.code, refused.value.message
    match would["reject-reason"]:
        case "missing-inputs":
            assert (code, message) == (-25, "bad-txns-inputs-missingorspent")
            assert "reject-details" not in would
        case "max-fee-exceeded":
            assert code == -25
            assert "reject-details" not in would
        case "txn-already-known":
            assert code == -27
        case reason:
            assert code == -26
            assert message == would["reject-details"]
            assert message.startswith(reason)
    return code, message


def test_a_whole_sweep(funded, chain):
    coins = [funded.coin() for _ in range(3)]
    spent_sat = sum(value_sat for _, _, value_sat in coins)
    inputs = inputs_of(*coins)
    outputs = [{RESERVE.address(7): bitcoin(spent_sat - 40_000)}, {"data": "ab" * 32}]
    created = chain.rpc("createpsbt", inputs, outputs, 0, True)
    known = [COLLECTION.descriptor, {"desc": RESERVE.descriptor, "range": [7, 7]}]
    updated = PSBT.from_string(chain.rpc("utxoupdatepsbt", created, known))
    for scope, (txid, vout, value_sat) in zip(updated.inputs, coins, strict=True):
        assert scope.non_witness_utxo.txid().hex() == txid
        assert scope.non_witness_utxo.vout[vout].value == value_sat
        assert scope.witness_utxo.value == value_sat
        (origin,) = scope.bip32_derivations.values()
        assert origin.fingerprint == COLLECTION.roots[0].my_fingerprint
        assert len(origin.derivation) == 5
    paid, data = updated.outputs
    assert len(paid.bip32_derivations) == 3
    assert paid.witness_script is not None
    assert data.bip32_derivations == {}
    assert updated.tx.vout[1].script_pubkey.data.hex() == "6a20" + "ab" * 32

    partial = COLLECTION.sign(updated.to_string())
    unsigned = chain.rpc("finalizepsbt", updated.to_string())
    assert unsigned == {"psbt": updated.to_string(), "complete": False}
    combined = chain.rpc("combinepsbt", [updated.to_string(), partial])
    kept = chain.rpc("finalizepsbt", combined, False)
    assert list(kept) == ["psbt", "complete"]
    assert kept["complete"] is True
    final = chain.rpc("finalizepsbt", combined)
    assert list(final) == ["hex", "complete"]
    assert chain.rpc("finalizepsbt", kept["psbt"]) == final

    (would,) = chain.rpc("testmempoolaccept", [final["hex"]])
    assert would["allowed"] is True
    # No input has a script of its own, so the id does not change by signing.
    txid = updated.tx.txid().hex()
    assert chain.rpc("sendrawtransaction", final["hex"]) == txid == would["txid"]
    assert chain.rpc("gettxout", coins[0][0], 0) is None
    assert chain.rpc("gettxout", coins[0][0], 0, False)["confirmations"] > 100
    assert chain.rpc("gettxout", txid, 0)["confirmations"] == 0

    chain.mine_mempool()
    arrived = chain.rpc("gettxout", txid, 0)
    assert (arrived["confirmations"], arrived["coinbase"]) == (1, False)
    assert chain.rpc("gettxout", txid, 1) is None
    (coin,) = chain.rpc("scantxoutset", "start", [f"addr({RESERVE.address(7)})"])["unspents"]
    assert (coin["txid"], coin["vout"], coin["confirmations"]) == (txid, 0, 1)
    left = chain.rpc("scantxoutset", "start", [COLLECTION.descriptor])["unspents"]
    assert not {coin["txid"] for coin in left} & {txid for txid, _, _ in coins}


def test_a_bad_signature(funded, chain):
    raw = Transaction.from_string(
        signed(chain, [funded.coin()], RESERVE.address(1), fee_sat=FEE_SAT)
    )
    raw.vout[0].value -= 1
    code, message = refusal(chain, raw.to_string())
    assert code == -26
    assert message.startswith("mempool-script-verify-flag-failed (")
    where = f"input 0 of {raw.txid().hex()} (wtxid "
    assert where in message
    assert message.endswith(f"spending {raw.vin[0].txid.hex()}:0")


def test_a_high_signature_is_valid_and_not_relayed(funded, chain):
    """An HSM makes one half of the time."""
    raw = Transaction.from_string(
        signed(chain, [funded.coin()], RESERVE.address(1), fee_sat=FEE_SAT)
    )
    items = raw.vin[0].witness.items
    items[0] = with_high_s(items[0])
    code, message = refusal(chain, raw.to_string())
    assert code == -26
    assert message.startswith(
        "mempool-script-verify-flag-failed "
        "(Non-canonical signature: S value is unnecessarily high), input 0 of "
    )
    chain.mine(1, transactions=[raw.to_string()])
    assert chain.rpc("gettxout", raw.txid().hex(), 0)["confirmations"] == 1


def test_double_spends_and_replacements(funded, chain):
    coin = funded.coin()
    first = signed(chain, [coin], RESERVE.address(1), fee_sat=FEE_SAT)
    less = signed(chain, [coin], RESERVE.address(2), fee_sat=FEE_SAT - 1)
    little = signed(chain, [coin], RESERVE.address(2), fee_sat=FEE_SAT + 12)
    enough = signed(chain, [coin], RESERVE.address(2), fee_sat=FEE_SAT + 13)
    chain.rpc("sendrawtransaction", first)
    reject = "insufficient fee, rejecting replacement"
    why = "less fees than conflicting txs; 0.00000999 < 0.00001"
    assert refusal(chain, less) == (-26, f"{reject} {txid_of(less)}, {why}")
    why = "not enough additional fees to relay; 0.00000012 < 0.00000013"
    assert refusal(chain, little) == (-26, f"{reject} {txid_of(little)}, {why}")
    assert chain.rpc("sendrawtransaction", enough) == txid_of(enough)
    assert chain.rpc("getrawmempool") == [txid_of(enough)]
    chain.mine_mempool()
    assert refusal(chain, first) == (-25, "bad-txns-inputs-missingorspent")


def test_a_replacement_needs_no_mark_and_takes_children_with_it(funded, chain):
    coin = funded.coin()
    parent = signed(chain, [coin], COLLECTION.address(30), fee_sat=FEE_SAT, sequence=0xFFFFFFFE)
    txid = chain.rpc("sendrawtransaction", parent)
    rest = (txid, 0, funded.VALUE_SAT - FEE_SAT)
    child = signed(chain, [rest], RESERVE.address(1), fee_sat=FEE_SAT)
    chain.rpc("sendrawtransaction", child)
    assert sorted(chain.rpc("getrawmempool")) == sorted([txid, txid_of(child)])
    same = signed(chain, [coin], RESERVE.address(2), fee_sat=2 * FEE_SAT - 1)
    code, message = refusal(chain, same)
    assert code == -26
    assert message.endswith("less fees than conflicting txs; 0.00001999 < 0.00002")
    bigger = signed(chain, [coin], RESERVE.address(2), fee_sat=3 * FEE_SAT)
    assert chain.rpc("sendrawtransaction", bigger) == txid_of(bigger)
    assert chain.rpc("getrawmempool") == [txid_of(bigger)]


def test_a_bigger_transaction_of_a_lower_rate_replaces_nothing(funded, chain):
    coins = [funded.coin() for _ in range(3)]
    small = signed(chain, coins[:1], RESERVE.address(1), fee_sat=FEE_SAT)
    chain.rpc("sendrawtransaction", small)
    large = signed(chain, coins, RESERVE.address(2), fee_sat=FEE_SAT + 100)
    assert refusal(chain, large) == (
        -26,
        "replacement-failed, insufficient feerate: does not improve feerate diagram",
    )


def test_fees(funded, chain):
    coin = funded.coin()
    too_much = "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)"
    high = signed(chain, [coin], RESERVE.address(1), fee_sat=2_000_000)
    assert refusal(chain, high) == (-25, too_much)
    usual = signed(chain, [coin], RESERVE.address(1), fee_sat=FEE_SAT)
    assert refusal(chain, usual, "0.00008188") == (-25, too_much)
    low = signed(chain, [coin], RESERVE.address(1), fee_sat=12)
    assert refusal(chain, low) == (-26, "min relay fee not met, 12 < 13")
    for rate, code, message in (
        ("1", -8, "Fee rates larger than or equal to 1BTC/kvB are not accepted"),
        (-1, -3, "Amount out of range"),
        ("x", -3, "Invalid amount"),
    ):
        with pytest.raises(RpcError) as refused:
            chain.rpc("sendrawtransaction", usual, rate)
        assert (refused.value.code, refused.value.message) == (code, message)
    assert chain.rpc("sendrawtransaction", usual, "0.00008189") == txid_of(usual)
    assert chain.rpc("sendrawtransaction", high, 0) == txid_of(high)


def test_dust(funded, chain):
    coin = funded.coin()
    dusty = signed(chain, [coin], RESERVE.address(1), fee_sat=funded.VALUE_SAT - 329)
    assert refusal(chain, dusty, 0) == (-26, "dust, tx with dust output must be 0-fee")
    clean = signed(chain, [coin], RESERVE.address(1), fee_sat=funded.VALUE_SAT - 330)
    assert chain.rpc("testmempoolaccept", [clean], 0)[0]["allowed"] is True


def test_coins_are_not_burnt_by_accident(funded, chain):
    raw = Transaction.from_string(
        signed(chain, [funded.coin()], RESERVE.address(1), fee_sat=FEE_SAT)
    )
    raw.vout[0].script_pubkey.data = b"\x6a"
    with pytest.raises(RpcError, match="Unspendable output exceeds maximum") as refused:
        chain.rpc("sendrawtransaction", raw.to_string())
    assert refused.value.code == -25


def test_sending_again(funded, chain):
    raw = signed(chain, [funded.coin()], RESERVE.address(1), fee_sat=FEE_SAT)
    txid = chain.rpc("sendrawtransaction", raw)
    assert chain.rpc("sendrawtransaction", raw) == txid
    (would,) = chain.rpc("testmempoolaccept", [raw])
    assert would["reject-reason"] == would["reject-details"] == "txn-already-in-mempool"
    chain.mine_mempool()
    assert refusal(chain, raw) == (-27, "Transaction outputs already in utxo set")
    (would,) = chain.rpc("testmempoolaccept", [raw])
    assert would["reject-reason"] == "txn-already-known"


def test_sending_again_when_the_coins_have_moved_on(funded, chain):
    """A sweep whose one output is spent is as unknown as one that never was."""
    raw = signed(chain, [funded.coin()], COLLECTION.address(31), fee_sat=FEE_SAT)
    coin = (txid_of(raw), 0, funded.VALUE_SAT - FEE_SAT)
    chain.mine(1, transactions=[raw])
    chain.mine(1, transactions=[signed(chain, [coin], RESERVE.address(1), fee_sat=FEE_SAT)])
    assert refusal(chain, raw) == (-25, "bad-txns-inputs-missingorspent")


def test_lock_times(funded, chain):
    psbt = PSBT.from_string(sweep(chain, [funded.coin()], RESERVE.address(1), fee_sat=FEE_SAT))
    psbt.locktime = chain.height() + 1
    early = chain.rpc("finalizepsbt", COLLECTION.sign(psbt.to_string()))["hex"]
    assert refusal(chain, early) == (-26, "non-final")
    chain.mine()
    assert chain.rpc("sendrawtransaction", early) == txid_of(early)


def test_relative_lock_times(funded, chain):
    raw = signed(chain, [funded.coin()], COLLECTION.address(32), fee_sat=FEE_SAT)
    chain.mine(1, transactions=[raw])
    coin = (txid_of(raw), 0, funded.VALUE_SAT - FEE_SAT)
    options = {"fee_sat": FEE_SAT, "sequence": 3}
    waiting = signed(chain, [coin], RESERVE.address(1), **options)
    chain.mine()
    assert refusal(chain, waiting) == (-26, "non-BIP68-final")
    chain.mine()
    assert chain.rpc("sendrawtransaction", waiting) == txid_of(waiting)


def test_more_out_than_in(funded, chain):
    txid, vout, value_sat = funded.coin()
    raw = signed(chain, [(txid, vout, value_sat + 1000)], RESERVE.address(1), fee_sat=1)
    assert refusal(chain, raw) == (
        -26,
        "bad-txns-in-belowout, value in (50.00) < value out (50.00000999)",
    )
