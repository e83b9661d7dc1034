"""Pools: a real simulated one that pays, is late or short; and interfaces that say anything."""

import json
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from controller.config.treasury import Network
from controller.money.facts import Wallet
from controller.money.ledger import Account
from controller.treasury.descriptors import watch
from controller.treasury.pools.ocean import OceanReader
from controller.treasury.pools.statement import PoolUnusable
from tests.services.treasury_ground import Ground, keys

POOL = (sys.executable, "-m", "simulators.services.pool")
PATIENCE_S = 30.0
DAY = timedelta(days=1)


def address():
    return watch(Wallet.RESERVE, keys().reserve, Network.REGTEST, 30).address(0)


def section(url, **terms):
    words = {"pay_every_s": 1, "grace_s": 1, "threshold_sat": 10_000, "poll_s": 0.2} | terms
    lines = "".join(f"{name} = {value}\n" for name, value in words.items())
    return (
        f'[[pool]]\nid = "p"\nkind = "ocean"\nurl = "{url}"\naddresses = ["{address()}"]\n{lines}'
    )


def asked(ground):
    """Ask every pool now, with a new block behind it, and draw."""
    ground.chain.mine(1)
    for desk in ground.work.parts.pools:
        desk.ask(ground.database)
    ground.follow()
    ground.round()
    (view,) = ground.image.pools
    return view


class Mining:
    """The simulated pool as a process, over a chain where it has coins."""

    def __init__(self, chain, folder, *faults):
        self.chain = chain
        self.truth = folder / "truth.jsonl"
        key = folder / "pool.key"
        script = subprocess.run(
            [*POOL, "script", "--key-file", key], capture_output=True, text=True, check=True
        ).stdout.strip()
        chain.mine(2, script_hex=script)
        chain.mine(100)
        began = datetime.now(UTC) - timedelta(hours=1)
        with self.truth.open("w") as file:
            for second in range(60):
                at = (began + timedelta(seconds=second)).isoformat(timespec="milliseconds")
                file.write(json.dumps({"t_s": second, "at": at, "hashrate_ths": 500}) + "\n")
        command = [
            *POOL,
            *("--truth", self.truth, "--folder", folder / "pool", "--key-file", key),
            *("--node", chain.url, "--cookie", chain.cookie_file, "--difficulty", "1000000"),
            *("--pay-every-s", "1", "--threshold-sat", "10000", "--destination", address()),
            *(word for fault in faults for word in ("--fault", fault)),
        ]
        self.process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.url = json.loads(self.process.stdout.readline())["url"]

    def paid(self):
        deadline_s = time.monotonic() + PATIENCE_S
        while not self.chain.rpc("getrawmempool"):
            assert time.monotonic() < deadline_s, "it never paid"
            time.sleep(0.05)
        self.chain.mine_mempool()

    def close(self):
        self.process.terminate()
        self.process.wait(PATIENCE_S)
        self.process.stdout.close()


@pytest.fixture
def mining(aged_simulated, tmp_path):
    made = []

    def start(*faults):
        made.append(Mining(aged_simulated, tmp_path, *faults))
        return made[0]

    yield start
    for pool in made:
        pool.close()


def test_earned_paid_and_received_agree(mining, aged_simulated, tmp_path):
    pool = mining()
    ground = Ground(aged_simulated, tmp_path, sweep="", more=section(pool.url, grace_s=86_400))
    pool.paid()
    view = asked(ground)
    assert view.error is None
    assert view.paid_sat == view.received_sat == ground.balances()[Account.RESERVE] > 0
    assert view.earned_sat >= view.paid_sat
    assert view.last_paid_at is not None
    assert ground.alarms() == set()
    ground.audit()
    ground.close()


def test_a_pool_that_pays_less_than_it_says(mining, aged_simulated, tmp_path):
    pool = mining("short:100")
    ground = Ground(aged_simulated, tmp_path, sweep="", more=section(pool.url, grace_s=86_400))
    pool.paid()
    view = asked(ground)
    assert view.received_sat < view.paid_sat
    assert ground.alarms() == {"pool_short"}
    ground.close()


def test_a_pool_that_owes_too_long(mining, aged_simulated, tmp_path):
    pool = mining("late:80000")
    ground = Ground(aged_simulated, tmp_path, sweep="", more=section(pool.url))
    deadline_s = time.monotonic() + PATIENCE_S
    while not (asked(ground).earned_sat and ground.alarms() == {"pool_late"}):
        assert time.monotonic() < deadline_s, f"never late: {ground.image.pools}"
        time.sleep(0.2)
    (alarm,) = ground.image.alarms
    assert "are owed, some since" in alarm.detail
    ground.close()


# An interface that says what the test wants


class Voice(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.paths.append(self.path)
        status, body = self.server.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class VoiceServer(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """Who asked has gone, as a test wanted."""
        assert isinstance(sys.exception(), ConnectionError)


@pytest.fixture
def voice():
    server = VoiceServer(("127.0.0.1", 0), Voice)
    server.paths = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


def says(server, earnings=(), payouts=(), *, bare=False):
    said = {"earnings": list(earnings), "payouts": list(payouts)}
    server.answer = 200, json.dumps(said if bare else {"result": said}).encode()


def stamp(**ago):
    """A time of the interface, so long ago."""
    return (datetime.now(UTC) - timedelta(**ago)).strftime("%Y-%m-%dT%H:%M:%S")


def read(server):
    now = datetime(2026, 11, 20, tzinfo=UTC)
    return OceanReader(server.url + "/", 3).read("bc1qx", now - DAY, now)


TXID = "ab" * 32
EARNED = {"ts": "2026-11-19T10:00:00", "satoshis_net_earned": 5, "block_hash": "00ff", "more": 1}
PAID = {"ts": "1763546400", "total_satoshis_net_paid": 5, "on_chain_txid": TXID}


@pytest.mark.parametrize("bare", [True, False])
def test_the_known_form_is_read(voice, bare):
    says(
        voice,
        [EARNED, EARNED | {"ts": 1763546400}],
        [PAID, PAID | {"on_chain_txid": None}],
        bare=bare,
    )
    found = read(voice)
    assert voice.paths == ["/v1/earnpay/bc1qx/1795046400/1795132800"]
    assert [e.at for e in found.earnings] == [
        datetime(2026, 11, 19, 10, tzinfo=UTC),
        datetime(2025, 11, 19, 10, tzinfo=UTC),
    ]
    assert [(p.sat, p.txid) for p in found.payouts] == [(5, TXID), (5, None)]
    keys_seen = {row.key for row in (*found.earnings, *found.payouts)}
    assert len(keys_seen) == 4


NONSENSE = {
    "status": (503, b"{}"),
    "redirect": (302, b""),
    "not JSON": (200, b"<html>"),
    "a list": (200, b"[]"),
    "null": (200, b'{"result": null}'),
    "no payouts": (200, b'{"earnings": []}'),
    "deep": (200, b"[" * 100_000),
    "long": (200, b" " * (9 * 1024 * 1024)),
    "rows": (200, json.dumps({"earnings": [EARNED] * 5_001, "payouts": []}).encode()),
}
ROWS = {
    "a fraction of a satoshi": ({"satoshis_net_earned": 0.5}, {}),
    "money as text": ({"satoshis_net_earned": "5"}, {}),
    "below zero": ({"satoshis_net_earned": -5}, {}),
    "more than there is": ({}, {"total_satoshis_net_paid": 21 * 10**15}),
    "no time": ({"ts": "yesterday"}, {}),
    "no time at all": ({"ts": 10**30}, {}),
    "an id that is none": ({}, {"on_chain_txid": "../x"}),
    "an id in capitals": ({}, {"on_chain_txid": "AB" * 32}),
}


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE)
def test_what_is_not_the_form_is_told(voice, answer):
    voice.answer = answer
    with pytest.raises(PoolUnusable) as told:
        read(voice)
    assert len(str(told.value)) < 600


@pytest.mark.parametrize(("earned", "paid"), ROWS.values(), ids=ROWS)
def test_a_row_that_cannot_be_spoils_the_answer(voice, earned, paid):
    says(voice, [EARNED | earned], [PAID | paid])
    with pytest.raises(PoolUnusable, match="not the known form"):
        read(voice)


def test_a_pool_that_hangs_is_given_up(voice):
    silent = threading.Event()
    voice.RequestHandlerClass = type("Hanging", (Voice,), {"do_GET": lambda _: silent.wait(20)})
    now = datetime.now(UTC)
    with pytest.raises(PoolUnusable):
        OceanReader(voice.url, 0.3).read("bc1qx", now - DAY, now)
    silent.set()


def test_silence_is_alarmed_and_what_was_said_before_stays(voice, aged_simulated, tmp_path):
    ground = Ground(aged_simulated, tmp_path, sweep="", more=section(voice.url, grace_s=86_400))
    ground.round()
    (view,) = ground.image.pools
    assert (view.earned_sat, view.paid_sat, view.error) == (None, None, None), "not asked yet"
    at = stamp(minutes=1)
    says(voice, [EARNED | {"ts": at}], [])
    assert asked(ground).earned_sat == 5
    assert asked(ground).earned_sat == 5, "the same again is the same"
    voice.answer = 503, b""
    view = asked(ground)
    assert (view.earned_sat, "HTTP status 503" in view.error) == (5, True)
    assert ground.alarms() == {"pool_silent"}
    says(voice, [EARNED | {"ts": at}], [])
    asked(ground)
    assert ground.alarms() == set()
    ground.close()


def test_a_payout_that_the_chain_does_not_know_is_critical(voice, aged_simulated, tmp_path):
    ground = Ground(aged_simulated, tmp_path, sweep="", more=section(voice.url))
    says(voice, [], [PAID | {"ts": stamp(minutes=1)}])
    assert asked(ground).paid_sat == 5
    assert ground.alarms() == {"pool_not_received"}
    (alarm,) = ground.image.alarms
    assert (alarm.severity, TXID in alarm.detail) == ("critical", True)
    ground.close()
