"""The simulated pool in a process of its own, for tests: what it earns from, says and pays."""

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from embit.networks import NETWORKS
from embit.script import Script, address_to_scriptpubkey

from tests.patience import eventually

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


@pytest.fixture
def pool(chain, tmp_path):
    """Not started; with five mature coinbases of 50 BTC."""
    made = Pool(chain, tmp_path)
    chain.mine(5, script_hex=made.script_hex)
    chain.mine(100)
    yield made
    made.end()


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


def paid_sat(pool):
    return sum(row["total_satoshis_net_paid"] for row in pool.payouts())


def nth_payout(pool, address, count):
    """The newest, when there are so many."""
    eventually(lambda: len(pool.payouts(address)) == count, "it pays")
    return pool.payouts(address)[0]
