"""Two regtest chains with one face: the simulated one, and the real bitcoind where it was built.

Blocks are built here and given to both by `submitblock`, so nothing depends on a wallet.
"""

import base64
import contextlib
import http.client
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest

from simulators.services.chain.block import build_block
from simulators.services.chain.wire import read_transaction
from tests.loopback import free_port
from tests.patience import eventually

PATIENCE_S = 30.0
ANYONE = "51"
ROOT = Path(__file__).parents[2]


class RpcError(Exception):
    """An error that the node answered."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Chain:
    """What both have in common. `url` and `cookie_file` are all that a program needs.

    Each adds `mine_mempool`: put all that waits into one block, its hash.
    """

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = None

    def rpc(self, method, *params):
        """The result of a call; amounts are Decimal. Raises RpcError."""
        return self.call(method, params)

    def call(self, method, params):
        """The same, with arguments in a list or by name."""
        request = {"method": method, "params": params, "id": 1}
        _, reply = self.post(json.dumps(request))
        if reply["error"] is not None:
            raise RpcError(reply["error"]["code"], reply["error"]["message"])
        return reply["result"]

    def post(self, body, *, authorization=None, method="POST", path="/", parsed=True):
        """Status and body of one HTTP request, with the cookie when nothing else is said."""
        status, _, text = self._request(body, authorization, method, path)
        try:
            return status, json.loads(text, parse_float=Decimal) if parsed else text
        except ValueError:
            return status, text

    def headers(self, body, *, authorization=None):
        """Headers of the answer."""
        return self._request(body, authorization, "POST", "/")[1]

    def _request(self, body, authorization, method, path):
        if authorization is None:
            token = base64.b64encode(self.cookie_file.read_bytes()).decode()
            authorization = f"Basic {token}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            headers = {"Authorization": authorization} if authorization else {}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read().decode()

    def tip(self):
        """Hash of the best chain's last block."""
        return self.rpc("getblockchaininfo")["bestblockhash"]

    def height(self):
        """Height of the best chain's last block."""
        return self.rpc("getblockchaininfo")["blocks"]

    def block(self, *, on=None, script_hex=None, transactions=()):
        """A block, not submitted, on top of `on` (the tip); `transactions` in hexadecimal."""
        header = self.rpc("getblockheader", on or self.tip())
        return build_block(
            previous=header["hash"],
            height=header["height"] + 1,
            time_s=max(int(time.time()), header["mediantime"] + 1),
            script=bytes.fromhex(script_hex or ANYONE),
            transactions=[read_transaction(bytes.fromhex(raw)) for raw in transactions],
            mark=secrets.token_bytes(8),
        )

    def mine(self, n=1, script_hex=None, transactions=(), on=None):
        """Submit `n` blocks on top of `on` (the tip), the first with `transactions`: their hashes.

        They must be accepted; on a branch that is not the best one they are not judged yet.
        """
        hashes = []
        for _ in range(n):
            block = self.block(on=on, script_hex=script_hex, transactions=transactions)
            said = self.rpc("submitblock", block.raw.hex())
            assert said is None or (on is not None and said == "inconclusive"), said
            hashes.append(block.hash)
            on, transactions = on and block.hash, ()
        self.settle()
        return hashes

    def settle(self):
        """Wait until everything that follows the chain has caught up."""

    def start(self):
        """Start the process, and wait until it answers."""
        self._process = self._spawn()
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            assert self._process.poll() is None, f"it ended; see {self.folder}/log"
            with contextlib.suppress(OSError, RpcError, KeyError, TypeError):
                self.rpc("getblockchaininfo")
                return
            assert time.monotonic() < deadline_s, f"it never answered; see {self.folder}/log"
            time.sleep(0.02)

    def restart(self, *, kill=True):
        """Start again over the same folder, after SIGKILL or after asking it to end."""
        self._before_kill()
        self.end(signal.SIGKILL if kill else signal.SIGTERM)
        self.start()

    def close(self):
        """End the process."""
        if self._process is not None and self._process.poll() is None:
            self.end(signal.SIGTERM)

    def end(self, number):
        """Send a signal and wait for the end: the exit status."""
        self._process.send_signal(number)
        return self._process.wait(PATIENCE_S)

    def _before_kill(self):
        pass

    def _popen(self, command):
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)


class SimulatedChain(Chain):
    """The process of `simulators.services.chain`; `options` go to its command line."""

    name = "simulated"

    def __init__(self, folder, *options):
        super().__init__(folder)
        self.cookie_file = folder / ".cookie"
        self._options = options

    def mine_mempool(self):
        before = self.tip()
        self._process.send_signal(signal.SIGUSR1)
        eventually(lambda: self.tip() != before, "it makes a block")
        return self.tip()

    def _spawn(self):
        command = [sys.executable, "-m", "simulators.services.chain", "--rpc-port", str(self.port)]
        return self._popen([*command, "--folder", str(self.folder), *self._options])


class CoreChain(Chain):
    """The real bitcoind, on regtest and without a wallet."""

    name = "core"

    def __init__(self, folder):
        super().__init__(folder)
        self.cookie_file = folder / "regtest" / ".cookie"

    def mine_mempool(self):
        block_hash = self.rpc("generatetodescriptor", 1, f"raw({ANYONE})")[0]
        self.settle()
        return block_hash

    def settle(self):
        height = self.height()

        def follows():
            index = self.rpc("getindexinfo")["txindex"]
            return index["synced"] and index["best_block_height"] == height

        eventually(follows, "the transaction index follows")

    def _before_kill(self):
        # It keeps fresh blocks in memory, and this call writes them out.
        self.rpc("gettxoutsetinfo")

    def _spawn(self):
        return self._popen(
            [
                str(bitcoind()),
                "-regtest",
                f"-datadir={self.folder}",
                "-server",
                f"-rpcport={self.port}",
                "-rpcbind=127.0.0.1",
                "-rpcallowip=127.0.0.1",
                "-disablewallet",
                "-txindex",
                "-listen=0",
                "-connect=0",
                "-dnsseed=0",
                "-printtoconsole=0",
            ]
        )


def bitcoind():
    """The binary that `.ci/bitcoind` built. Missing: a failure in CI, otherwise a skip."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "naryn"
    cache = Path(os.environ.get("NARYN_CACHE") or cache)
    version = next(
        line.removeprefix("version=")
        for line in (ROOT / ".ci" / "bitcoind").read_text().splitlines()
        if line.startswith("version=")
    )
    binary = cache / f"bitcoind-{version}" / "bitcoind"
    if not binary.exists():
        missing = "bitcoind is missing, so nothing ran against it: run .ci/bitcoind"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return binary


def open_chain(name, folder, *options):
    """A started chain: "simulated" or "core". The caller closes it."""
    folder.mkdir(parents=True, exist_ok=True)
    if name == "core":
        bitcoind()
    chain = CoreChain(folder) if name == "core" else SimulatedChain(folder, *options)
    try:
        chain.start()
    except BaseException:
        chain.close()
        raise
    return chain


@pytest.fixture(params=["simulated", "core"])
def chain(request, tmp_path):
    """A fresh chain of each kind."""
    opened = open_chain(request.param, tmp_path / "chain")
    yield opened
    opened.close()
