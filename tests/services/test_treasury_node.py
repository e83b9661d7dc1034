"""A node that is away, elsewhere, behind, restarted or lying."""

import json
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from controller.config.treasury import Network
from controller.money.facts import OutPoint
from controller.money.sweep import Stage
from controller.treasury.chain import Chain, ChainError, NodeRefused
from controller.treasury.node import look
from tests.services.treasury_ground import Clock, Ground


@pytest.fixture
def ground(aged, tmp_path):
    opened = Ground(aged, tmp_path)
    yield opened
    opened.close()


def test_a_node_goes_away_and_comes_back(ground):
    ground.pay(10**7)
    ground.chain.close()
    ground.round(2)
    assert ground.alarms() == {"node_unreachable"}
    assert ground.image.chain.error is not None
    assert ground.image.collection.mature_sat == 10**7, "what was booked stays in sight"
    ground.chain.start()
    ground.until(Stage.BROADCAST)
    assert ground.alarms() == set()


def test_the_cookie_is_another_after_a_restart(ground):
    ground.pay(10**7)
    ground.until(Stage.BROADCAST)
    before = ground.chain.cookie_file.read_bytes()
    ground.chain.restart(kill=False)
    assert ground.chain.cookie_file.read_bytes() != before
    ground.round()
    assert ground.alarms() == set()


def test_a_killed_node_is_given_the_sweep_again(ground):
    ground.pay(10**7)
    sent = ground.until(Stage.BROADCAST)
    ground.chain.restart(kill=True)
    ground.chain.mine(1)
    ground.round(2)
    assert sent.txid in ground.in_mempool()


def test_no_sweep_is_begun_or_sent_on_a_stale_chain(ground):
    ground.pay(10**7, deep=False)
    ground.clock.ahead = timedelta(days=2)
    ground.chain.mine(6)
    ground.round(3)
    assert ground.alarms() == {"node_stale"}
    assert ground.image.collection.mature_sat == 10**7, "but it is read and booked"
    assert ground.image.sweeps == []
    ground.clock.ahead = timedelta()
    ground.until(Stage.BROADCAST)


def test_another_network_is_not_read(aged, tmp_path):
    ground = Ground(aged, tmp_path)
    chain = Chain(aged.url, aged.cookie_file, timeout_s=5, scan_timeout_s=5)
    state = look(chain, Network.SIGNET, 7200, Clock())
    assert (state.may_read, state.may_send) == (False, False)
    assert [alarm.kind for alarm in state.alarms] == ["wrong_chain"]
    ground.close()


def test_the_node_says_no_with_its_own_code(aged):
    chain = Chain(aged.url, aged.cookie_file, timeout_s=5, scan_timeout_s=5)
    with pytest.raises(NodeRefused) as told:
        chain.send(b"\x00", 1_000)
    assert told.value.code == -22
    assert told.value.said.startswith("TX decode failed"), "the node's own words, nothing before"
    assert chain.block_hash(10_000_000) is None
    assert chain.coin(OutPoint("00" * 32, 0)) is None


# A node that is no node


class Liar(BaseHTTPRequestHandler):
    """Answers every call with what the test put on `server.answer`."""

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        asked = json.loads(self.rfile.read(length))
        answer = self.server.answer
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        if not isinstance(body, bytes):
            body = json.dumps({"result": body, "id": asked["id"], "jsonrpc": "2.0"}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def liar(tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Liar)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    cookie = tmp_path / "cookie"
    cookie.write_text("__cookie__:00")
    port = server.server_address[1]
    server.chain = Chain(f"http://127.0.0.1:{port}", cookie, timeout_s=3, scan_timeout_s=3)
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


HASH = "ab" * 32
INFO = {"chain": "regtest", "blocks": 1, "bestblockhash": HASH, "initialblockdownload": False}
NONSENSE = {
    "not JSON": b"<html>",
    "not an object": b"[]",
    "status 500": (500, b"oops"),
    "status 401": (401, b""),
    "nothing": None,
    "a word": "hello",
    "no height": {k: v for k, v in INFO.items() if k != "blocks"},
    "height as text": INFO | {"blocks": "1"},
    "a height that no chain has": INFO | {"blocks": 2**70},
    "a height below the ground": INFO | {"blocks": -1},
    "height as a fraction": INFO | {"blocks": 1.5},
    "a hash that is none": INFO | {"bestblockhash": "../../etc/passwd"},
    "a hash too short": INFO | {"bestblockhash": "ab"},
    "deep": b"[" * 100_000,
    "long": b" " * (2 * 1024 * 1024),
}


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE)
def test_what_is_not_the_nodes_form_is_told_and_not_believed(liar, answer):
    liar.answer = answer
    state = look(liar.chain, Network.REGTEST, 7200, Clock())
    assert not state.may_read
    (alarm,) = state.alarms
    assert alarm.kind == "node_unreachable"
    assert 0 < len(alarm.detail) < 1_000
    assert alarm.detail.isprintable()


def vout(value, number=0, script="51"):
    return {"n": number, "value": value, "scriptPubKey": {"hex": script}}


def block_with(*outputs, **changes):
    made = {
        "hash": HASH,
        "height": 5,
        "time": 1_700_000_000,
        "previousblockhash": "cd" * 32,
        "tx": [{"txid": "ef" * 32, "vin": [{"coinbase": "00"}], "vout": list(outputs)}],
    }
    return made | changes


@pytest.mark.parametrize(
    "answer",
    [
        block_with(vout(0.123456789)),
        block_with(vout(-1)),
        block_with(vout(22_000_000)),
        block_with(vout("1.0")),
        block_with(vout(1, script="zz")),
        block_with(vout(1, number=1)),
        block_with(vout(1), hash="cd" * 32),
        block_with(vout(1), time=10**18),
        block_with(vout(1), height=2**70),
        block_with(vout(1), tx=[{"txid": 7}]),
    ],
)
def test_a_block_that_cannot_be_is_refused(liar, answer):
    liar.answer = answer
    with pytest.raises(ChainError):
        liar.chain.block(HASH)


def test_text_that_no_file_can_hold_is_refused_or_made_visible(liar):
    liar.answer = "cHNidP8\ud800"
    with pytest.raises(ChainError, match="not a PSBT in base64"):
        liar.chain.combine(["a", "b"])
    liar.answer = [{"allowed": False, "reject-reason": "no\ud800"}]
    assert liar.chain.refusal(b"raw", 1000) == "no?"


def test_amounts_come_exactly(liar):
    liar.answer = block_with(vout(0.1), vout(20999999.9769, number=1))
    (tx,) = liar.chain.block(HASH).txs
    assert [output.sat for output in tx.outputs] == [10_000_000, 2_099_999_997_690_000]


def test_a_node_that_hangs_is_given_up(liar):
    liar.chain._client.timeout = 0.3
    silent = threading.Event()
    liar.RequestHandlerClass = type("Hanging", (Liar,), {"do_POST": lambda _: silent.wait(20)})
    with pytest.raises(ChainError, match="getblockchaininfo"):
        liar.chain.tip()
    silent.set()


def test_without_a_cookie_it_says_which(tmp_path):
    chain = Chain("http://127.0.0.1:1", tmp_path / "none", timeout_s=1, scan_timeout_s=1)
    with pytest.raises(ChainError, match="none: no cookie there; start the node"):
        chain.tip()
