"""The simulated chain and the real bitcoind refuse alike: arguments of calls, code and words."""

import pytest

from tests.services.chain_ground import RpcError
from tests.services.chain_wallet import COLLECTION, RESERVE

NOWHERE = "11" * 32
ADDRESS = RESERVE.address(0)
MAIN_NETWORK_KEY = (
    "xpub661MyMwAqRbcFtXgS5sYJABqqG9YLmC4Q1Rdap9gSE8NqtwybGhePY2gZ29ESFjqJoCu1Rupje8YtGqsefD265TMg7"
    "usUDFdp6W1EGMcet8"
)
NO_STRING = "JSON value of type {} is not of expected type string"
NO_NUMBER = "JSON value of type {} is not of expected type number"


def wrong_type(position, name, said):
    """Bitcoin Core's words for an argument of another type."""
    return f'Wrong type passed:\n{{\n    "Position {position} ({name})": "{said}"\n}}'


def ranged(value):
    """A scan of a descriptor with a range."""
    return ["start", [{"desc": COLLECTION.descriptor, "range": value}]]


BAD_PARAMETERS = {  # -8
    "getblockhash": [
        ([-1], "Block height out of range"),
        ([10**6], "Block height out of range"),
        ({"height": 0, "more": 1}, "Unknown named parameter more"),
    ],
    "getblockheader": [(["ab"], "hash must be of length 64 (not 2, for 'ab')")],
    "getblock": [(["z" * 64], f"blockhash must be hexadecimal string (not '{'z' * 64}')")],
    "scantxoutset": [
        (["begin"], "Invalid action 'begin'"),
        (["start", [7]], "Scan object needs to be either a string or an object"),
        (["start", [{"range": 7}]], "Descriptor needs to be provided in scan object"),
        (ranged([5, 1]), "Range specified as [begin,end] must not have begin after end"),
        (ranged("5"), "Range must be specified as end or as [begin,end]"),
        (ranged([-1, 5]), "Range should be greater or equal than 0"),
        (ranged(-1), "End of range is too high"),
    ],
    "testmempoolaccept": [([[]], "Array must contain between 1 and 25 transactions.")],
    "createpsbt": [
        ([[], None], "Invalid parameter, output argument must be non-null"),
        ([[{"txid": NOWHERE}], {}], "Invalid parameter, missing vout key"),
        (
            [[{"txid": NOWHERE, "vout": -1}], {}],
            "Invalid parameter, vout cannot be negative",
        ),
        (
            [[{"txid": NOWHERE, "vout": 0, "sequence": -1}], {}],
            "Invalid parameter, sequence number is out of range",
        ),
        (
            [[{"txid": NOWHERE, "vout": 0, "sequence": 0xFFFFFFFF}], {ADDRESS: 1}, 0, True],
            "Invalid parameter combination: Sequence number(s) contradict replaceable option",
        ),
        ([[], [{}]], "Invalid parameter, key-value pair must contain exactly one key"),
        ([[], [5]], "Invalid parameter, key-value pair not an object as expected"),
        (
            [[], [{ADDRESS: 1}, {ADDRESS: 2}]],
            f"Invalid parameter, duplicated address: {ADDRESS}",
        ),
        ([[], {"data": "zz"}], "Data must be hexadecimal string (not 'zz')"),
        ([[], {"data": ""}], "Data must be hexadecimal string (not '')"),
        ([[], [{"data": "aa"}, {"data": "bb"}]], "Invalid parameter, duplicate key: data"),
        ([[], {}, -1], "Invalid parameter, locktime out of range"),
        ([[], {}, 0, True, 9], "Invalid parameter, version out of range(1~3)"),
    ],
    "combinepsbt": [([[]], "Parameter 'txs' cannot be empty")],
}
BAD_TYPES = {  # -3
    "getblockhash": [(["1"], wrong_type(1, "height", NO_NUMBER.format("string")))],
    "getblock": [([NOWHERE, "x"], NO_NUMBER.format("string"))],
    "gettxout": [([NOWHERE, None], wrong_type(2, "n", NO_NUMBER.format("null")))],
    "createpsbt": [
        (
            [5, {}],
            wrong_type(1, "inputs", "JSON value of type number is not of expected type array"),
        ),
        ([[5], {}], "JSON value of type number is not of expected type object"),
        ([[{"vout": 0}], {}], NO_STRING.format("null")),
        ([[], {ADDRESS: "1.000000001"}], "Invalid amount"),
        ([[], {ADDRESS: "01"}], "Invalid amount"),
        ([[], {ADDRESS: " 1"}], "Invalid amount"),
        ([[], {ADDRESS: "1e999999999"}], "Invalid amount"),
        ([[], {ADDRESS: -1}], "Amount out of range"),
        ([[], {ADDRESS: 21_000_001}], "Amount out of range"),
        ([[], {ADDRESS: True}], "Amount is not a number or string"),
    ],
    "combinepsbt": [([[5]], NO_STRING.format("number"))],
}
NOT_FOUND = {  # -5
    "getblockheader": [([NOWHERE], "Block not found")],
    "getblock": [([NOWHERE], "Block not found")],
    "scantxoutset": [
        (["start", ["addr(bc1q)"]], "Address is not valid"),
        (["start", ["raw(zz)"]], "Raw script is not hex"),
        (["start", ["foo(1)"]], "'foo(1)' is not a valid descriptor function"),
        (
            ["start", [COLLECTION.descriptor + "#abc"]],
            "Expected 8 character checksum, not 3 characters",
        ),
        (
            ["start", ["raw(51)#qqqqqqqq"]],
            "Provided checksum 'qqqqqqqq' does not match computed checksum '8lvh9jxk'",
        ),
    ],
    "createpsbt": [([[], {"bcrt1q": 1}], "Invalid Bitcoin address: bcrt1q")],
}
UNREADABLE = {  # -22
    "testmempoolaccept": [
        ([["zz"]], "TX decode failed: zz Make sure the tx has at least one input.")
    ],
    "sendrawtransaction": [
        (["00"], "TX decode failed. Make sure the tx has at least one input."),
        (["00", "x"], "TX decode failed. Make sure the tx has at least one input."),
    ],
    "submitblock": [(["00"], "Block decode failed"), (["zz"], "Block decode failed")],
    "finalizepsbt": [
        (["!"], "TX decode failed invalid base64"),
        (["cHNidP8A"], "TX decode failed No unsigned transaction was provided: iostream error"),
    ],
}
OTHERS = {  # -1
    "getblockhash": [
        ([2**40], "JSON integer out of range"),
        ([1.5], "JSON integer out of range"),
    ],
    "gettxout": [
        ([NOWHERE, -1], "JSON integer out of range"),
        ([NOWHERE, 2**32], "JSON integer out of range"),
    ],
    "scantxoutset": [(["start"], "scanobjects argument is required for the start action")],
}
REFUSALS = [
    pytest.param(method, params, code, message, id=f"{code}-{method}-{number}")
    for code, methods in (
        (-8, BAD_PARAMETERS),
        (-3, BAD_TYPES),
        (-5, NOT_FOUND),
        (-22, UNREADABLE),
        (-1, OTHERS),
    )
    for method, cases in methods.items()
    for number, (params, message) in enumerate(cases)
]


@pytest.mark.parametrize(("method", "params", "code", "message"), REFUSALS)
def test_refusals(funded, method, params, code, message):
    with pytest.raises(RpcError) as refused:
        funded.chain.call(method, params)
    assert (refused.value.code, refused.value.message) == (code, message)


@pytest.mark.parametrize(
    ("method", "params"), [("getblockhash", []), ("getblockhash", [1, 2]), ("combinepsbt", [])]
)
def test_the_number_of_arguments(funded, method, params):
    with pytest.raises(RpcError) as refused:
        funded.chain.call(method, params)
    assert refused.value.code == -1
    assert refused.value.message.splitlines()[0].startswith(method)


@pytest.mark.parametrize("method", ["getrawtransactions", "", "help me", "GETBLOCK"])
def test_an_unknown_method(funded, method):
    with pytest.raises(RpcError) as refused:
        funded.chain.rpc(method)
    assert (refused.value.code, refused.value.message) == (-32601, "Method not found")


@pytest.mark.parametrize(
    "descriptor",
    [
        "wpkh(xx)",
        "wpkh(",
        "wpkh(" + "02" * 33 + ",)",
        COLLECTION.descriptor[:-1],
        "wsh(sortedmulti(4,02" + "11" * 32 + "))",
        f"wpkh({MAIN_NETWORK_KEY}/*)",
    ],
)
def test_a_descriptor_that_is_none(funded, descriptor):
    with pytest.raises(RpcError) as refused:
        funded.chain.rpc("scantxoutset", "start", [descriptor])
    assert refused.value.code == -5


@pytest.mark.parametrize(
    "params",
    [
        ["getblock", {"blockhash": None, "verbosity": 0}],
        ["getblock", {"blockhash": None, "verbose": False}],
        ["getblockheader", {"verbose": False, "blockhash": None}],
    ],
)
def test_arguments_by_name(funded, params):
    method, named = params
    tip = funded.chain.tip()
    answer = funded.chain.call(method, {**named, "blockhash": tip})
    assert answer == funded.chain.rpc(method, tip, False)
