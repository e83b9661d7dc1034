"""The simulated chain and the real bitcoind follow alike: bad blocks, branches, restarts."""

import time

import pytest

from simulators.services.chain.block import build_block
from tests.patience import eventually
from tests.services.chain_ground import ANYONE, RpcError
from tests.services.chain_wallet import COLLECTION, RESERVE, emptied, signed, txid_of

FEE_SAT = 1000


def submit(chain, block):
    """What `submitblock` says; None is yes."""
    return chain.rpc("submitblock", block.raw.hex())


def built(chain, **changes):
    """A block on the tip with something changed."""
    tip = chain.rpc("getblockheader", chain.tip())
    usual = {
        "previous": tip["hash"],
        "height": tip["height"] + 1,
        "time_s": max(int(time.time()), tip["mediantime"] + 1),
        "script": bytes.fromhex(ANYONE),
    }
    return build_block(**{**usual, **changes})


chain = pytest.fixture(emptied)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"time_s": 5}, "time-too-old"),
        ({"time_s": 2**32 - 1}, "time-too-new"),
        ({"height": 7}, "bad-cb-height"),
        ({"fees_sat": 1}, "bad-cb-amount"),
        ({"previous": "11" * 32}, "prev-blk-not-found"),
        ({"mark": bytes(99)}, "bad-cb-length"),
    ],
)
def test_bad_blocks(chain, changes, reason):
    before = chain.tip()
    assert submit(chain, built(chain, **changes)) == reason
    assert chain.tip() == before


def test_of_a_block_that_is_not_kept_the_header_is(chain):
    block = built(chain, height=7)
    submit(chain, block)
    header = chain.rpc("getblockheader", block.hash)
    assert (header["confirmations"], header["nTx"]) == (-1, 0)
    assert chain.rpc("getblockheader", block.hash, False) == block.header.hex()
    with pytest.raises(RpcError) as refused:
        chain.rpc("getblock", block.hash)
    said = (refused.value.code, refused.value.message)
    assert said == (-1, "Block not available (not fully downloaded)")
    assert submit(chain, block) == "duplicate-invalid"
    info = chain.rpc("getblockchaininfo")
    assert info["headers"] == info["blocks"]


def test_a_block_that_was_tampered_with(chain):
    block = chain.block()
    root = bytearray(block.raw)
    root[-1] ^= 1
    assert chain.rpc("submitblock", root.hex()) == "bad-txnmrklroot"
    assert submit(chain, block) is None


def test_a_block_that_was_here_before(chain):
    block = chain.block()
    assert [submit(chain, block), submit(chain, block)] == [None, "duplicate"]


def test_a_bad_signature_in_a_block(funded, chain):
    raw = bytearray.fromhex(signed(chain, [funded.coin()], RESERVE.address(0), fee_sat=FEE_SAT))
    raw[50] ^= 1
    before, blocks = chain.tip(), chain.height()
    block = chain.block(transactions=[raw.hex()])
    reason = submit(chain, block)
    assert reason.startswith("block-script-verify-flag-failed (")
    assert submit(chain, block) == "duplicate-invalid"
    assert submit(chain, chain.block(on=block.hash)) == "bad-prevblk"
    info = chain.rpc("getblockchaininfo")
    assert (chain.tip(), info["blocks"], info["headers"]) == (before, blocks, blocks)
    assert chain.rpc("getblockheader", block.hash)["confirmations"] == -1
    assert "fee" not in chain.rpc("getblock", block.hash, 2)["tx"][1]


def test_a_double_spend_in_a_block(funded, chain):
    coin = funded.coin()
    first = signed(chain, [coin], RESERVE.address(0), fee_sat=FEE_SAT)
    second = signed(chain, [coin], RESERVE.address(1), fee_sat=FEE_SAT)
    both = chain.block(transactions=[first, second])
    assert submit(chain, both) == "bad-txns-inputs-missingorspent"
    chain.mine(1, transactions=[first])
    assert submit(chain, chain.block(transactions=[second])) == "bad-txns-inputs-missingorspent"


def test_a_block_evicts_what_it_conflicts_with(funded, chain):
    coin = funded.coin()
    waiting = signed(chain, [coin], COLLECTION.address(40), fee_sat=FEE_SAT)
    txid = chain.rpc("sendrawtransaction", waiting)
    rest = (txid, 0, funded.VALUE_SAT - FEE_SAT)
    chain.rpc("sendrawtransaction", signed(chain, [rest], RESERVE.address(0), fee_sat=FEE_SAT))
    mined = signed(chain, [coin], RESERVE.address(1), fee_sat=FEE_SAT)
    chain.mine(1, transactions=[mined])
    assert chain.rpc("getrawmempool") == []
    with pytest.raises(RpcError) as refused:
        chain.rpc("sendrawtransaction", waiting)
    assert (refused.value.code, refused.value.message) == (-25, "bad-txns-inputs-missingorspent")


def test_an_early_coin_waits_for_its_hundredth_block(chain):
    (block,) = chain.mine(1, COLLECTION.script(50).hex())
    made = chain.rpc("getblock", block, 2)["tx"][0]
    coin = (made["txid"], 0, int(made["vout"][0]["value"] * 10**8))
    chain.mine(98)
    raw = signed(chain, [coin], RESERVE.address(0), fee_sat=FEE_SAT)
    early = "bad-txns-premature-spend-of-coinbase"
    said = f"{early}, tried to spend coinbase at depth 99"
    with pytest.raises(RpcError) as refused:
        chain.rpc("sendrawtransaction", raw)
    assert (refused.value.code, refused.value.message) == (-26, said)
    (would,) = chain.rpc("testmempoolaccept", [raw])
    assert (would["reject-reason"], would["reject-details"]) == (early, said)
    assert submit(chain, chain.block(transactions=[raw])) == early
    (last,) = chain.mine()
    assert chain.rpc("gettxout", coin[0], 0)["confirmations"] == 100
    assert chain.rpc("sendrawtransaction", raw) == txid_of(raw)
    # The block that made the coin goes, and with it all that came of it.
    parent = chain.rpc("getblockheader", block)["previousblockhash"]
    chain.mine(101, on=parent)
    assert chain.rpc("getblockheader", last)["confirmations"] == -1
    assert chain.rpc("getrawmempool") == []
    assert chain.rpc("gettxout", coin[0], 0) is None
    with pytest.raises(RpcError) as refused:
        chain.rpc("sendrawtransaction", raw)
    assert (refused.value.code, refused.value.message) == (-25, "bad-txns-inputs-missingorspent")


def test_a_sweep_comes_back_out_of_a_block(funded, chain):
    raw = signed(chain, [funded.coin()], RESERVE.address(0), fee_sat=FEE_SAT)
    fork = chain.tip()
    txid = chain.rpc("sendrawtransaction", raw)
    lost = chain.mine_mempool()
    assert chain.rpc("gettxout", txid, 0)["confirmations"] == 1
    (beside,) = chain.mine(1, on=fork)
    assert chain.tip() == lost, "of two branches alike the first one stays"
    (new,) = chain.mine(1, on=beside)
    assert chain.tip() == new
    assert chain.rpc("getrawmempool") == [txid]
    assert chain.rpc("gettxout", txid, 0)["confirmations"] == 0
    assert chain.rpc("gettxout", txid, 0, False) is None
    assert chain.rpc("getblockheader", lost)["confirmations"] == -1
    assert txid in chain.rpc("getblock", lost)["tx"]
    assert chain.rpc("sendrawtransaction", raw) == txid
    chain.mine_mempool()
    assert chain.rpc("gettxout", txid, 0)["confirmations"] == 1


def test_the_longer_branch_holds_another_transaction(funded, chain):
    coin = funded.coin()
    first = signed(chain, [coin], RESERVE.address(0), fee_sat=FEE_SAT)
    second = signed(chain, [coin], RESERVE.address(1), fee_sat=2 * FEE_SAT)
    fork = chain.tip()
    chain.rpc("sendrawtransaction", first)
    chain.mine_mempool()
    beside, _ = chain.mine(2, on=fork, transactions=[second])
    assert txid_of(second) in chain.rpc("getblock", beside)["tx"]
    assert chain.rpc("getrawmempool") == []
    assert chain.rpc("gettxout", txid_of(first), 0) is None
    assert chain.rpc("gettxout", txid_of(second), 0)["confirmations"] == 2
    with pytest.raises(RpcError) as refused:
        chain.rpc("sendrawtransaction", first)
    assert (refused.value.code, refused.value.message) == (-25, "bad-txns-inputs-missingorspent")


def test_a_branch_with_a_bad_block_is_left_again(funded, chain):
    raw = bytearray.fromhex(signed(chain, [funded.coin()], RESERVE.address(0), fee_sat=FEE_SAT))
    raw[50] ^= 1
    fork = chain.tip()
    (kept,) = chain.mine()
    bad = chain.block(on=fork, transactions=[raw.hex()])
    assert submit(chain, bad) == "inconclusive"
    assert submit(chain, chain.block(on=bad.hash)) == "inconclusive"
    assert chain.tip() == kept
    assert submit(chain, chain.block(on=bad.hash)) == "bad-prevblk"
    assert submit(chain, chain.block()) is None


@pytest.mark.parametrize("kill", [True, False])
def test_a_restart(funded, chain, kill):
    sent = signed(chain, [funded.coin()], RESERVE.address(20 + kill), fee_sat=FEE_SAT)
    chain.mine(1, transactions=[sent])
    waiting = signed(chain, [funded.coin()], RESERVE.address(0), fee_sat=FEE_SAT)
    txid = chain.rpc("sendrawtransaction", waiting)
    beside = chain.mine(1, on=chain.rpc("getblockhash", chain.height() - 1))[0]
    before = chain.rpc("getblockchaininfo")
    scan = ("scantxoutset", "start", [f"addr({RESERVE.address(20 + kill)})"])
    found = chain.rpc(*scan)
    password = chain.cookie_file.read_bytes()
    chain.restart(kill=kill)
    after = chain.rpc("getblockchaininfo")
    for field in ("bestblockhash", "blocks", "chainwork", "mediantime", "initialblockdownload"):
        assert after[field] == before[field]
    assert chain.rpc(*scan) == found
    assert len(found["unspents"]) == 1
    assert chain.rpc("getblockheader", beside)["confirmations"] == -1
    assert chain.cookie_file.read_bytes() != password
    # What waits is written down by who is asked to end; it can be sent again in any case.
    eventually(lambda: kill or chain.rpc("getrawmempool") == [txid], "the mempool is back")
    assert chain.rpc("sendrawtransaction", waiting) == txid
    with pytest.raises(RpcError, match="already in utxo set"):
        chain.rpc("sendrawtransaction", sent)
    chain.mine_mempool()
    assert chain.rpc("gettxout", txid, 0)["confirmations"] == 1


def test_killed_in_the_middle_of_a_reorganisation(funded, chain):
    """After each block of the branch that wins: the ledger is that of the chain it stands on."""
    raw = signed(chain, [funded.coin()], RESERVE.address(30), fee_sat=FEE_SAT)
    fork = chain.tip()
    chain.mine(2, transactions=[raw])
    scan = ("scantxoutset", "start", [f"addr({RESERVE.address(30)})"])
    on = fork
    for expected in (1, 1, 0):
        (on,) = chain.mine(1, on=on)
        chain.restart(kill=True)
        assert len(chain.rpc(*scan)["unspents"]) == expected
    assert chain.tip() == on
    assert chain.rpc("sendrawtransaction", raw) == txid_of(raw)
