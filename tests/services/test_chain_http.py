"""The simulated chain and the real bitcoind speak JSON-RPC alike: HTTP, errors, batches, cookie."""

import base64
import json
import stat

import pytest

GENESIS = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"
PARSE_ERROR = {"result": None, "error": {"code": -32700, "message": "Parse error"}, "id": None}


def asked(**request):
    """A request for the genesis block's hash, with something changed."""
    return json.dumps({"method": "getblockhash", "params": [0], **request})


def failed(code, message):
    """An error, as replies carry it."""
    return {"code": code, "message": message}


def test_the_cookie_is_its_owners_alone(funded):
    cookie = funded.chain.cookie_file
    user, _, password = cookie.read_text().partition(":")
    assert user == "__cookie__"
    assert len(bytes.fromhex(password)) == 32
    assert stat.S_IMODE(cookie.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "authorization",
    [
        "Basic " + base64.b64encode(b"__cookie__:" + b"0" * 64).decode(),
        "Basic " + base64.b64encode(b"nobody").decode(),
        "Basic !!",
        "Basic",
        "Bearer x",
        "",
    ],
)
def test_a_wrong_password(funded, authorization):
    assert funded.chain.post(asked(), authorization=authorization) == (401, "")


def test_who_is_refused_is_told_how_to_ask(funded):
    headers = funded.chain.headers(asked(), authorization="")
    assert headers["WWW-Authenticate"] == 'Basic realm="jsonrpc"'
    assert funded.chain.headers(asked())["Content-Type"] == "application/json"


def test_only_post(funded):
    answer = funded.chain.post(None, method="GET")
    assert answer == (405, "JSONRPC server handles only POST requests")


def test_only_one_path(funded):
    assert funded.chain.post(asked(), path="/nowhere")[0] == 404


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        '{"method": "getblockhash", "params": [NaN]}',
        b'{"method": "\xff"}',
        '{"method": "getblockhash", "params": [0], "id": "\\ud800"}',
        "[" * 100_000,
        "[" * 100_000 + "]" * 100_000,
    ],
)
def test_what_is_no_json(funded, body):
    assert funded.chain.post(body) == (500, PARSE_ERROR)


@pytest.mark.parametrize("body", ["7", '"text"', "true"])
def test_what_is_no_request(funded, body):
    status, reply = funded.chain.post(body)
    assert status == 500
    assert reply["error"] == failed(-32700, "Top-level object parse error")


@pytest.mark.parametrize(
    ("request_", "status", "reply"),
    [
        ({}, 200, {"result": GENESIS, "error": None}),
        ({"id": 7}, 200, {"result": GENESIS, "error": None, "id": 7}),
        ({"id": None}, 200, {"result": GENESIS, "error": None, "id": None}),
        ({"id": [{"a": 1.5}]}, 200, {"result": GENESIS, "error": None, "id": [{"a": 1.5}]}),
        ({"id": 1, "jsonrpc": "1.0"}, 200, {"result": GENESIS, "error": None, "id": 1}),
        ({"id": 1, "jsonrpc": "2.0"}, 200, {"jsonrpc": "2.0", "result": GENESIS, "id": 1}),
        ({"id": 1, "params": {"height": 0}}, 200, {"result": GENESIS, "error": None, "id": 1}),
    ],
)
def test_replies(funded, request_, status, reply):
    got = funded.chain.post(asked(**request_))
    assert got == (status, reply)
    assert list(got[1]) == list(reply)


@pytest.mark.parametrize(
    ("request_", "status", "error"),
    [
        ({"method": "nothing"}, 404, failed(-32601, "Method not found")),
        ({"params": [-1]}, 500, failed(-8, "Block height out of range")),
        ({"params": 7}, 400, failed(-32600, "Params must be an array or object")),
        ({"method": 7}, 400, failed(-32600, "Method must be a string")),
        ({"method": None}, 400, failed(-32600, "Missing method")),
        ({"jsonrpc": "3.0"}, 400, failed(-32600, "JSON-RPC version not supported")),
        ({"jsonrpc": 2}, 400, failed(-32600, "jsonrpc field must be a string")),
    ],
)
def test_errors_of_version_1_are_errors_of_http(funded, request_, status, error):
    got = funded.chain.post(asked(id=1, **request_))
    assert got == (status, {"result": None, "error": error, "id": 1})


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"method": "nothing"}, failed(-32601, "Method not found")),
        ({"params": [-1]}, failed(-8, "Block height out of range")),
    ],
)
def test_errors_of_version_2_are_not(funded, request_, error):
    got = funded.chain.post(asked(id=1, jsonrpc="2.0", **request_))
    assert got == (200, {"jsonrpc": "2.0", "error": error, "id": 1})


def test_a_notification_is_done_and_not_answered(funded):
    before = funded.chain.tip()
    block = funded.chain.block().raw.hex()
    said = funded.chain.post(asked(jsonrpc="2.0", method="submitblock", params=[block]))
    assert said == (204, "")
    assert funded.chain.tip() != before


def test_batches(funded):
    requests = [
        {"id": 1, "method": "getblockhash", "params": [0]},
        {"id": 2, "jsonrpc": "2.0", "method": "nothing"},
        {"jsonrpc": "2.0", "method": "getblockhash", "params": [0]},
        {"id": 3, "method": 7},
        5,
    ]
    assert funded.chain.post(json.dumps(requests)) == (
        200,
        [
            {"result": GENESIS, "error": None, "id": 1},
            {"jsonrpc": "2.0", "error": failed(-32601, "Method not found"), "id": 2},
            {"result": None, "error": failed(-32600, "Method must be a string"), "id": 3},
            {"result": None, "error": failed(-32600, "Invalid Request object"), "id": 3},
        ],
    )
    assert funded.chain.post("[]") == (200, [])
    silent = [{"jsonrpc": "2.0", "method": "getblockhash", "params": [0]}]
    assert funded.chain.post(json.dumps(silent)) == (204, "")


def test_amounts_are_written_with_eight_places(funded):
    txid, vout, _ = funded.coin()
    _, text = funded.chain.post(asked(method="gettxout", params=[txid, vout]), parsed=False)
    assert '"value":50.00000000,' in text
    _, text = funded.chain.post(asked(method="getblockchaininfo", params=[]), parsed=False)
    assert '"difficulty":4.656542373906925e-10,' in text
