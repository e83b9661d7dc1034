"""The simulated pool as a process: it earns from a truth file and pays on both chains."""

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from embit.networks import NETWORKS
from embit.script import Script, address_to_scriptpubkey

POOL = (sys.executable, "-m", "simulators.services.pool")
PATIENCE_S = 30.0
BEGAN = datetime.now(UTC) - timedelta(hours=1)
OURS = Script(b"\x00\x14" + b"\x01" * 20).address(NETWORKS["regtest"])
NEXT = Script(b"\x00\x14" + b"\x02" * 20).address(NETWORKS["regtest"])


class Pool:
    """One pool, its truth file and its process."""

    def __init__(self, chain, folder):
        self.chain = chain
        self.folder = folder
        self.truth = folder / "truth.jsonl"
        self.second = 0
        self.process = None
        done = subprocess.run(
            [*POOL, "script", "--key-file", str(folder / "pool.key")],
            capture_output=True,
            text=True,
            check=True,
        )
        self.script_hex = done.stdout.strip()

    def start(self, *more, destinations=(OURS,)):
        command = [
            *POOL,
            *("--truth", self.truth, "--folder", self.folder / "pool"),
            *("--key-file", self.folder / "pool.key", "--node", self.chain.url),
            *("--cookie", self.chain.cookie_file, "--difficulty", "1000000"),
            *("--pay-every-s", "1", "--threshold-sat", "10000", "--fee-permille", "20"),
            *(word for address in destinations for word in ("--destination", address)),
            *more,
        ]
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                list(map(str, command)), stdout=subprocess.PIPE, stderr=log, text=True
            )
        ready = json.loads(self.process.stdout.readline())
        assert (ready["ready"], ready["script"]) == (True, self.script_hex)
        self.url = ready["url"]

    def end(self, number=signal.SIGTERM):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            status = self.process.wait(PATIENCE_S)
            assert status == (0 if number == signal.SIGTERM else -number)
        if self.process is not None:
            self.process.stdout.close()

    def hash(self, ths, seconds):
        """Let the fleet hash, an hour ago."""
        with self.truth.open("a") as file:
            for _ in range(seconds):
                at = (BEGAN + timedelta(seconds=self.second)).isoformat(timespec="milliseconds")
                file.write(json.dumps({"t_s": self.second, "at": at, "hashrate_ths": ths}) + "\n")
                self.second += 1

    def status(self, path, timeout=5):
        try:
            with urllib.request.urlopen(self.url + path, timeout=timeout) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def result(self, path):
        status, body = self.status(path)
        assert status == 200, body
        return json.loads(body)["result"]

    def earned_sat(self, address=OURS):
        earnings = self.result(f"/v1/earnpay/{address}")["earnings"]
        return sum(row["satoshis_net_earned"] for row in earnings)

    def payouts(self, address=OURS):
        return self.result(f"/v1/earnpay/{address}")["payouts"]

    def counted(self):
        """Wait until the truth file is read to its end."""
        with self.truth.open() as file:
            rates = [json.loads(line)["hashrate_ths"] * 10**12 for line in file]
        hashes = sum((a + b) / 2 for a, b in pairwise(rates))
        want = str(int(hashes // 86_400))
        path = f"/v1/user_hashrate/{OURS}"
        eventually(lambda: self.result(path)["hashrate_86400s"] == want, "it reads the truth")

    def log(self):
        return (self.folder / "log").read_text()


def eventually(condition, what):
    end_s = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < end_s, what
        time.sleep(0.05)
    return value


@pytest.fixture
def pool(chain, tmp_path):
    """Not started; with five mature coinbases of 50 BTC."""
    made = Pool(chain, tmp_path)
    chain.mine(5, script_hex=made.script_hex)
    chain.mine(100)
    yield made
    made.end()


simulated = pytest.mark.parametrize("chain", ["simulated"], indirect=True)


def script_hex_of(address):
    return address_to_scriptpubkey(address).data.hex()


def received_sat(chain, address=OURS):
    found = chain.rpc("scantxoutset", "start", [f"raw({script_hex_of(address)})"])
    return int(found["total_amount"] * 10**8)


def paid_by(chain, block_hash, txid):
    block = chain.rpc("getblock", block_hash, 2)
    (found,) = (tx for tx in block["tx"] if tx["txid"] == txid)
    return {o["scriptPubKey"]["hex"]: int(o["value"] * 10**8) for o in found["vout"]}


def waits(chain, txid):
    eventually(lambda: txid in chain.rpc("getrawmempool"), "the node has the payout")


def earned_by(hashes):
    """The satoshis of this file's terms: difficulty 1000000, 3.125 BTC, 20 permille."""
    return hashes * 312_500_000 * 98 // (1_000_000 * 2**32 * 100)


def test_it_pays_what_the_fleet_hashed_less_its_fee(chain, pool):
    """The whole way on both chains, the amount to the satoshi; change goes back to the pool."""
    pool.start()
    assert pool.status("/v1/ping") == (200, b"PONG")
    assert pool.result(f"/v1/earnpay/{OURS}")["earnings"] == []
    pool.hash(1.0, 101)
    pool.counted()
    chain.mine(1)
    (payout,) = eventually(pool.payouts, "it pays")
    sat = earned_by(100 * 10**12)
    (earning,) = pool.result(f"/v1/earnpay/{OURS}")["earnings"]
    assert earning == {
        "block_hash": chain.tip(),
        "ts": earning["ts"],
        "shares_in_window": 100 * 10**12 // 2**32,
        "fees_colected_satoshis": 145_519,
        "satoshis_net_earned": sat,
    }
    txid = payout["on_chain_txid"]
    assert payout == {
        "ts": payout["ts"],
        "on_chain_txid": txid,
        "total_satoshis_net_paid": sat,
        "is_generation_txn": False,
    }
    for row in (earning, payout):
        at = datetime.fromisoformat(row["ts"] + "+00:00")
        assert abs(datetime.now(UTC) - at) < timedelta(minutes=2)
    waits(chain, txid)
    paid = paid_by(chain, chain.mine_mempool(), txid)
    assert paid[script_hex_of(OURS)] == sat == received_sat(chain)
    assert set(paid) == {script_hex_of(OURS), pool.script_hex}
    assert 50 * 10**8 - sum(paid.values()) == 2 * (11 + 68 + 31 + 31)
    assert pool.log() == ""


def test_of_several_addresses_each_is_an_account_in_its_turn(chain, pool):
    pool.start(destinations=(OURS, NEXT))
    for address, count in ((OURS, 1), (NEXT, 1), (OURS, 2)):
        pool.hash(1.0, 21)
        pool.counted()
        chain.mine(1)
        newest = nth_payout(pool, address, count)
        waits(chain, newest["on_chain_txid"])
        chain.mine_mempool()
    for address, count in ((OURS, 2), (NEXT, 1)):
        said = [row["total_satoshis_net_paid"] for row in pool.payouts(address)]
        assert len(said) == count
        assert sum(said) == pool.earned_sat(address) == received_sat(chain, address)
    assert pool.earned_sat(OURS) + pool.earned_sat(NEXT) == earned_by(62 * 10**12)


def nth_payout(pool, address, count):
    """The newest, when there are so many."""
    eventually(lambda: len(pool.payouts(address)) == count, "it pays")
    return pool.payouts(address)[0]


@simulated
def test_killed_at_any_moment_it_pays_each_earning_once(chain, pool):
    for number in range(8):
        pool.start()
        pool.hash(1.0, 11)
        chain.mine(1)
        time.sleep(0.17 * number)
        pool.end(signal.SIGKILL)
        chain.mine_mempool()
    pool.start()
    pool.counted()
    chain.mine(1)
    sat = earned_by((pool.second - 1) * 10**12)
    eventually(lambda: pool.earned_sat() == sat, "it credits what is left")
    eventually(lambda: paid_sat(pool) == sat, "it pays what is left")
    for row in pool.payouts():
        with_mempool = chain.rpc("getrawmempool")
        if row["on_chain_txid"] in with_mempool:
            chain.mine_mempool()
    assert received_sat(chain) == sat


def paid_sat(pool):
    return sum(row["total_satoshis_net_paid"] for row in pool.payouts())


def test_a_payout_that_a_reorganisation_threw_out_comes_back(chain, pool):
    pool.start()
    pool.hash(1.0, 21)
    pool.counted()
    fork = chain.mine(1)[0]
    (payout,) = eventually(pool.payouts, "it pays")
    waits(chain, payout["on_chain_txid"])
    chain.mine_mempool()
    assert received_sat(chain) == earned_by(20 * 10**12)
    chain.mine(2, on=fork)
    assert received_sat(chain) == 0
    waits(chain, payout["on_chain_txid"])
    chain.mine_mempool()
    assert received_sat(chain) == earned_by(20 * 10**12)
    assert len(pool.payouts()) == 1


def test_a_node_that_went_away_is_met_again(chain, pool):
    pool.start()
    pool.hash(1.0, 21)
    pool.counted()
    chain.restart(kill=False)
    chain.mine(1)
    (payout,) = eventually(pool.payouts, "it pays")
    waits(chain, payout["on_chain_txid"])


def test_a_wrong_password_is_said(chain, pool, tmp_path):
    (tmp_path / "wrong").write_text("__cookie__:00")
    pool.start("--cookie", tmp_path / "wrong")
    sentence = f"it does not take the password in {tmp_path / 'wrong'}"
    eventually(lambda: sentence in pool.log(), "it says why")


@simulated
def test_without_coins_it_owes_and_says_so(chain, tmp_path):
    pool = Pool(chain, tmp_path)
    chain.mine(1, script_hex=pool.script_hex)
    try:
        pool.start()
        pool.hash(1.0, 21)
        pool.counted()
        chain.mine(98)
        sentence = f"{earned_by(20 * 10**12)} sat are owed to {OURS}, and the pool has 0 sat"
        eventually(lambda: sentence in pool.log(), "it says what stands in the way")
        time.sleep(1.0)
        assert pool.payouts() == []
        chain.mine(1)
        eventually(pool.payouts, "its coinbase has matured")
        assert pool.log().count("are owed") == 1
    finally:
        pool.end()


@simulated
def test_less_than_the_threshold_waits(chain, pool):
    pool.start("--threshold-sat", "2000000")
    pool.hash(1.0, 21)
    pool.counted()
    chain.mine(1)
    eventually(lambda: pool.earned_sat() == earned_by(20 * 10**12), "it credits")
    time.sleep(2.0)
    assert pool.payouts() == []
    pool.hash(1.0, 20)
    pool.counted()
    chain.mine(1)
    (payout,) = eventually(pool.payouts, "the threshold is reached")
    assert payout["total_satoshis_net_paid"] == earned_by(40 * 10**12)


@simulated
def test_a_late_pool_pays_later_than_due(chain, pool):
    pool.start("--fault", "late:4")
    pool.hash(1.0, 21)
    pool.counted()
    chain.mine(1)
    eventually(pool.earned_sat, "it credits")
    began_s = time.monotonic()
    eventually(pool.payouts, "it pays")
    assert time.monotonic() - began_s > 3.0


@simulated
def test_a_short_pool_sends_less_than_it_says(chain, pool):
    pool.start("--fault", "short:100")
    pool.hash(1.0, 21)
    pool.counted()
    chain.mine(1)
    (payout,) = eventually(pool.payouts, "it pays")
    sat = earned_by(20 * 10**12)
    assert payout["total_satoshis_net_paid"] == sat
    waits(chain, payout["on_chain_txid"])
    chain.mine_mempool()
    assert received_sat(chain) == sat * 9 // 10


@simulated
def test_an_api_that_is_silent_talks_nonsense_or_hangs(chain, tmp_path):
    pool = Pool(chain, tmp_path)
    path = f"/v1/earnpay/{OURS}"
    pool.start("--fault", "silent")
    assert pool.status(path)[0] == 503
    pool.end()
    pool.start("--fault", "garbage")
    status, body = pool.status(path)
    assert status == 200
    with pytest.raises(ValueError, match="decode"):
        json.loads(body)
    pool.end()
    pool.start("--fault", "hang", "--fault", "late:60")
    with pytest.raises(TimeoutError):
        pool.status(path, timeout=1)
    began_s = time.monotonic()
    pool.end()
    assert time.monotonic() - began_s < 10


@simulated
def test_what_the_api_is_asked_and_what_not(chain, pool):
    pool.start()
    pool.hash(1.0, 21)
    pool.counted()
    chain.mine(1)
    eventually(pool.payouts, "it pays")
    rates = pool.result(f"/v1/user_hashrate/{OURS}")
    assert list(rates) == [
        "snap_ts",
        "db_ts",
        *(f"hashrate_{s}s" for s in (60, 300, 600, 1800, 3600, 10800, 43200, 86400)),
        "active_worker_count",
        "lastest_share_ts",
    ]
    assert (rates["hashrate_60s"], rates["active_worker_count"]) == ("0", 0)
    assert rates["lastest_share_ts"] == str(int(BEGAN.timestamp()) + 20)
    today = datetime.now(UTC)
    forms = (
        int(today.timestamp()) - 600,
        (today - timedelta(days=2)).strftime("%Y-%m-%d"),
        (today - timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%S"),
    )
    for start in forms:
        found = pool.result(f"/v1/earnpay/{OURS}/{start}/{int(today.timestamp()) + 60}")
        assert (len(found["earnings"]), len(found["payouts"])) == (1, 1)
    past = pool.result(f"/v1/earnpay/{OURS}/2020-01-01/2021-01-01")
    assert past == {
        "start_ts": "1577836800",
        "end_ts": "1609459200",
        "earnings": [],
        "payouts": [],
    }
    for path, status in (
        (f"/v1/earnpay/{NEXT}", 404),
        (f"/v1/user_hashrate/{NEXT}", 404),
        (f"/v1/earnpay/{OURS}/yesterday", 400),
        (f"/v1/earnpay/{OURS}/{'9' * 400}", 400),
        (f"/v1/earnpay/{OURS}/2026-01-01/%00", 400),
    ):
        found, body = pool.status(path)
        assert (found, list(json.loads(body))) == (status, ["error"])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"--destination": "bcrt1qwrong"}, "is no bitcoin address"),
        ({"--difficulty": "0"}, "is no difficulty"),
        ({"--difficulty": "1e999999999"}, "is no difficulty"),
        ({"--threshold-sat": "1999"}, "is not a whole number 2000 …"),
        ({"--fee-permille": "1000"}, "is not a whole number 0 … 999"),
        ({"--fault": "short:501"}, "is not one of: late:SECONDS"),
        ({"--key-file": "open.key"}, "mend: chmod 600"),
        ({"--port": "busy"}, "is not a whole number"),
    ],
)
def test_wrong_usage_is_status_2_and_one_sentence(tmp_path, change, sentence):
    (tmp_path / "open.key").write_text("11" * 32)
    options = {
        "--truth": tmp_path / "truth.jsonl",
        "--folder": tmp_path / "pool",
        "--key-file": tmp_path / "pool.key",
        "--node": "http://127.0.0.1:1",
        "--cookie": tmp_path / "cookie",
        "--destination": OURS,
        "--difficulty": "1",
        **change,
    }
    if change.get("--key-file"):
        options["--key-file"] = tmp_path / "open.key"
    command = [*POOL, *(str(word) for pair in options.items() for word in pair)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
