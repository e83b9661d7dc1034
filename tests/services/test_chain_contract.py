"""The simulated chain and the real bitcoind answer alike: every call's shape, and its refusals.

What deliberately differs, and is tested on neither side beyond its code:

| Where | bitcoind | simulated |
|---|---|---|
| wrong number of arguments (−1) | the call's whole help | its name and parameters in one line |
| why a script fails (mempool) | the interpreter's sentence | "unknown error": the kernel has none |
| bytes that are no PSBT (−22) | the deserialiser's words | ours, the code and beginning alike |
| a descriptor that does not parse (−5) | its parser's words | embit's |
| `getblock` 3, `getrawmempool` verbose | answered | refused (−8) |
| `testmempoolaccept` of several | a package | refused (−8) |
| a descriptor's range | 1 000 000 scripts | 10 000 scripts |
| tr() with scripts in PSBT calls | filled in, finalized | refused (−5), not finalized |
| `warnings` of a build before release | one sentence | none |
"""

from decimal import Decimal

import pytest

from tests.services.chain_wallet import COLLECTION, RESERVE, Funded, bitcoin, signed

HASH, HEX, TEXT, INT, BOOL, AMOUNT, REAL = "hash", "hex", "text", "int", "bool", "amount", "real"
NO_BLOCK = "11" * 32

HEADER = {
    "hash": HASH,
    "confirmations": INT,
    "height": INT,
    "version": INT,
    "versionHex": HEX,
    "merkleroot": HASH,
    "time": INT,
    "mediantime": INT,
    "nonce": INT,
    "bits": HEX,
    "target": HASH,
    "difficulty": REAL,
    "chainwork": HASH,
    "nTx": INT,
    "previousblockhash": HASH,
    "nextblockhash": HASH,
}
SCRIPT = {"asm": TEXT, "desc": TEXT, "hex": HEX, "address": TEXT, "type": TEXT}
TRANSACTION = {
    "txid": HASH,
    "hash": HASH,
    "version": INT,
    "size": INT,
    "vsize": INT,
    "weight": INT,
    "locktime": INT,
    "vin": [
        {
            "txid": HASH,
            "vout": INT,
            "scriptSig": {"asm": TEXT, "hex": TEXT},
            "txinwitness": [HEX],
            "sequence": INT,
        }
    ],
    "vout": [{"value": AMOUNT, "n": INT, "scriptPubKey": SCRIPT}],
    "fee": AMOUNT,
    "hex": HEX,
}


def check_shape(answer, shape):
    """Fields, their order, and their types, all the way down."""
    if isinstance(shape, dict):
        assert list(answer) == list(shape)
        for field, inner in shape.items():
            check_shape(answer[field], inner)
    elif isinstance(shape, list):
        assert answer
        for item in answer:
            check_shape(item, shape[0])
    else:
        assert _is(answer, shape), (answer, shape)


def _is(value, kind):
    match kind:
        case "hash" | "hex":
            bytes.fromhex(value)
            return isinstance(value, str) and (len(value) == 64 or kind == "hex")
        case "text":
            return isinstance(value, str)
        case "int":
            return type(value) is int
        case "bool":
            return type(value) is bool
        case "amount":
            return isinstance(value, Decimal) and value.as_tuple().exponent == -8
        case "real":
            return type(value) in (int, Decimal)
    return False


@pytest.fixture
def spent(funded):
    """A block with one sweep in it: (block hash, the sweep's raw hex)."""
    raw = signed(funded.chain, [funded.coin()], RESERVE.address(0), fee_sat=1000)
    (block,) = funded.chain.mine(1, COLLECTION.script(99).hex(), transactions=[raw])
    funded.chain.mine()
    return block, raw


def test_chain_info(funded):
    info = funded.chain.rpc("getblockchaininfo")
    assert isinstance(info.pop("warnings"), list)
    check_shape(
        info,
        {
            "chain": TEXT,
            "blocks": INT,
            "headers": INT,
            "bestblockhash": HASH,
            "bits": HEX,
            "target": HASH,
            "difficulty": REAL,
            "time": INT,
            "mediantime": INT,
            "verificationprogress": REAL,
            "initialblockdownload": BOOL,
            "chainwork": HASH,
            "size_on_disk": INT,
            "pruned": BOOL,
        },
    )
    assert info["chain"] == "regtest"
    assert info["blocks"] == info["headers"] >= Funded.COINS + 100
    assert info["initialblockdownload"] is False
    assert info["difficulty"] == Decimal("4.656542373906925e-10")
    assert int(info["chainwork"], 16) == 2 * (info["blocks"] + 1)


def test_a_chain_without_blocks_is_behind(chain):
    info = chain.rpc("getblockchaininfo")
    assert (info["blocks"], info["initialblockdownload"]) == (0, True)
    chain.mine()
    assert chain.rpc("getblockchaininfo")["initialblockdownload"] is False


def test_headers(funded, spent):
    chain, (block, _) = funded.chain, spent
    header = chain.rpc("getblockheader", block)
    check_shape(header, HEADER)
    assert header["confirmations"] == 2
    assert chain.rpc("getblockhash", header["height"]) == block
    assert len(chain.rpc("getblockheader", block, False)) == 160
    tip = chain.rpc("getblockheader", chain.tip())
    assert list(tip) == [field for field in HEADER if field != "nextblockhash"]
    genesis = chain.rpc("getblockheader", chain.rpc("getblockhash", 0))
    assert list(genesis) == [field for field in HEADER if field != "previousblockhash"]
    assert genesis["hash"] == "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"


def test_blocks(funded, spent):
    chain, (block, raw) = funded.chain, spent
    plain = chain.rpc("getblock", block)
    sizes = {"strippedsize": INT, "size": INT, "weight": INT}
    coinbase = {"version": INT, "locktime": INT, "sequence": INT, "coinbase": HEX, "witness": HEX}
    check_shape(plain, {**HEADER, **sizes, "coinbase_tx": coinbase, "tx": [HASH]})
    full = chain.rpc("getblock", block, 2)
    made, sweep_answer = full.pop("tx")
    assert [made["txid"], sweep_answer["txid"]] == plain.pop("tx")
    assert full == plain
    check_shape(sweep_answer, TRANSACTION)
    assert sweep_answer["hex"] == raw
    assert sweep_answer["fee"] == Decimal("0.00001000")
    assert sweep_answer["vout"][0]["scriptPubKey"]["address"] == RESERVE.address(0)
    assert list(made) == [field for field in TRANSACTION if field != "fee"]
    assert list(made["vin"][0]) == ["coinbase", "txinwitness", "sequence"]
    whole = chain.rpc("getblock", block, 0)
    assert raw in whole
    assert len(whole) == 2 * plain["size"]
    assert chain.rpc("getblock", block, False) == whole
    assert chain.rpc("getblock", block, True)["tx"] == [made["txid"], sweep_answer["txid"]]


def test_the_genesis_block(funded):
    block = funded.chain.rpc("getblock", funded.chain.rpc("getblockhash", 0), 2)
    (output,) = block["tx"][0]["vout"]
    assert list(output["scriptPubKey"]) == ["asm", "desc", "hex", "type"]
    assert output["scriptPubKey"]["type"] == "pubkey"
    assert output["scriptPubKey"]["desc"].startswith("pk(04678afdb0fe")
    txid = block["tx"][0]["txid"]
    assert funded.chain.rpc("gettxout", txid, 0) is None


@pytest.mark.parametrize(
    ("script", "kind", "asm", "desc"),
    [
        ("6a04deadbeef", "nulldata", "OP_RETURN -1874767326", "raw(6a04deadbeef)#"),
        ("51024e73", "anchor", "1 29518", "addr(bcrt1pfeesnyr2tx)#"),
        ("5120" + "33" * 32, "witness_v1_taproot", "1 " + "33" * 32, f"rawtr({'33' * 32})#"),
        ("6020" + "22" * 32, "witness_unknown", "16 " + "22" * 32, "addr(bcrt1syg3zyg"),
        ("0010" + "22" * 16, "nonstandard", "0 " + "22" * 16, "raw(0010"),
        ("21" + "02" * 33 + "ac", "pubkey", "02" * 33 + " OP_CHECKSIG", "pk(02"),
        (
            "5121" + "02" * 33 + "21" + "03" * 33 + "52ae",
            "multisig",
            f"1 {'02' * 33} {'03' * 33} 2 OP_CHECKMULTISIG",
            "multi(1,02",
        ),
        ("a914" + "11" * 20 + "87", "scripthash", f"OP_HASH160 {'11' * 20} OP_EQUAL", "addr(2Mto"),
        (
            "76a914" + "11" * 20 + "88ac",
            "pubkeyhash",
            f"OP_DUP OP_HASH160 {'11' * 20} OP_EQUALVERIFY OP_CHECKSIG",
            "addr(mh5CE8",
        ),
        (
            "4f50b1babb",
            "nonstandard",
            "-1 OP_RESERVED OP_CHECKLOCKTIMEVERIFY OP_CHECKSIGADD OP_UNKNOWN",
            "raw(4f50",
        ),
        ("0014", "nonstandard", "0 [error]", "raw(0014)#"),
        ("4e01", "nonstandard", "[error]", "raw(4e01)#"),
    ],
)
def test_scripts(funded, script, kind, asm, desc):
    (block,) = funded.chain.mine(1, script)
    answer = funded.chain.rpc("getblock", block, 2)["tx"][0]["vout"][0]["scriptPubKey"]
    assert answer["type"] == kind
    assert answer["asm"] == asm
    assert answer["desc"].startswith(desc)
    assert answer["hex"] == script


def test_coins(funded):
    chain, (txid, vout, _) = funded.chain, funded.coin()
    coin = chain.rpc("gettxout", txid, vout)
    shape = {
        "bestblock": HASH,
        "confirmations": INT,
        "value": AMOUNT,
        "scriptPubKey": SCRIPT,
        "coinbase": BOOL,
    }
    check_shape(coin, shape)
    assert coin["bestblock"] == chain.tip()
    assert (coin["value"], coin["coinbase"]) == (Decimal(50), True)
    assert chain.rpc("gettxout", txid, 7) is None
    assert chain.rpc("gettxout", NO_BLOCK, 0) is None


def test_scans(funded):
    chain = funded.chain
    found = chain.rpc("scantxoutset", "start", [COLLECTION.descriptor])
    unspent = {
        "txid": HASH,
        "vout": INT,
        "scriptPubKey": HEX,
        "desc": TEXT,
        "amount": AMOUNT,
        "coinbase": BOOL,
        "height": INT,
        "blockhash": HASH,
        "confirmations": INT,
    }
    shape = {
        "success": BOOL,
        "txouts": INT,
        "height": INT,
        "bestblock": HASH,
        "unspents": [unspent],
        "total_amount": AMOUNT,
    }
    check_shape(found, shape)
    coins = found["unspents"]
    keys = [(bytes.fromhex(coin["txid"])[::-1], coin["vout"]) for coin in coins]
    assert keys == sorted(keys)
    assert found["total_amount"] == sum(coin["amount"] for coin in coins)
    assert found["bestblock"] == chain.tip()
    for coin in coins:
        assert chain.rpc("getblockhash", coin["height"]) == coin["blockhash"]
        assert coin["confirmations"] == found["height"] - coin["height"] + 1
        assert coin["desc"].startswith("wpkh([2f7341f7/84h/1h/0h/0/")
    some = {"desc": COLLECTION.descriptor, "range": [3, 4]}
    scripts = {COLLECTION.script(3).hex(), COLLECTION.script(4).hex()}
    narrow = chain.rpc("scantxoutset", "start", [some])["unspents"]
    assert {coin["scriptPubKey"] for coin in narrow} <= scripts
    again = [f"addr({COLLECTION.address(3)})", f"raw({COLLECTION.script(4).hex()})"]
    alone = chain.rpc("scantxoutset", "start", again)["unspents"]
    assert [c["txid"] for c in alone] == [c["txid"] for c in narrow]
    assert {coin["desc"].partition("(")[0] for coin in alone} <= {"addr"}
    assert chain.rpc("scantxoutset", "status") is None
    assert chain.rpc("scantxoutset", "abort") is False


def test_a_scan_names_the_keys_of_a_quorum_in_their_order(funded):
    funded.chain.mine(1, RESERVE.script(5).hex())
    one = {"desc": RESERVE.descriptor, "range": [5, 5]}
    (coin,) = funded.chain.rpc("scantxoutset", "start", [one])["unspents"]
    keys = [part.partition("]")[2] for part in coin["desc"].partition("#")[0][:-2].split(",")[1:]]
    assert coin["desc"].startswith("wsh(multi(2,[")
    assert keys == sorted(keys)
    assert len(keys) == 3


def test_the_mempool_and_what_it_would_take(funded):
    chain = funded.chain
    raw = signed(chain, [funded.coin()], RESERVE.address(1), fee_sat=2000)
    (would,) = chain.rpc("testmempoolaccept", [raw])
    fees = {"base": AMOUNT, "effective-feerate": AMOUNT, "effective-includes": [HASH]}
    shape = {"txid": HASH, "wtxid": HASH, "allowed": BOOL, "vsize": INT, "fees": fees}
    check_shape(would, shape)
    assert would["fees"]["base"] == Decimal("0.00002000")
    # A signature is now and then a byte shorter, and the rate that much higher.
    assert would["vsize"] in {121, 122}
    rate = Decimal(bitcoin(2000 * 1000 // would["vsize"]))
    assert would["fees"]["effective-feerate"] == rate
    assert chain.rpc("getrawmempool") == []
    assert chain.rpc("sendrawtransaction", raw) == would["txid"]
    assert chain.rpc("getrawmempool") == [would["txid"]]
    chain.mine(1, transactions=[raw])
    assert chain.rpc("getrawmempool") == []
