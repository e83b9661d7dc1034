"""`naryn treasury run` as a process: killed at any moment, ended, asked from the command line."""

import asyncio
import contextlib
import json
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import msgspec
import pytest
from typer.testing import CliRunner

from controller.app.treasury import read_wallets, treasury_channel_path
from controller.channel.client import connect
from controller.channel.treasury import TreasuryImage
from controller.cli.main import app
from controller.config.treasury import load_treasury
from controller.money.facts import Wallet
from controller.money.sweep import Stage
from tests.e2e.private_material import holds
from tests.loopback import free_port
from tests.services.treasury_ground import (
    SWEEP,
    Ground,
    new_keys,
    open_aged,
    payment,
    treasury_text,
)

NARYN = (sys.executable, "-m", "controller.cli.main")
PATIENCE_S = 60.0
KILLS = 5


class Process:
    """A treasury in a process of its own, over `chain`, with a signer in another."""

    def __init__(self, chain, folder, text=None):
        self.chain = chain
        self.folder = folder
        self.keys = new_keys()
        self.port = free_port()
        self.path = folder / "treasury.toml"
        text = text or treasury_text(chain, self.keys, sweep=SWEEP)
        self.path.write_text(text.replace("port = 0", f"port = {self.port}"), "utf-8")
        self.child = None

    def start(self):
        with (self.folder / "log").open("ab") as log:
            command = [*NARYN, "treasury", "run", str(self.path), "--log-json"]
            self.child = subprocess.Popen(command, stdout=log, stderr=log)

    def wait_listening(self):
        path = treasury_channel_path(self.folder / "state")
        self.wait(lambda: self.child.poll() is None and connects(path), "it never listened")

    def kill(self):
        self.child.kill()
        self.child.wait(PATIENCE_S)

    def end(self):
        """Ask it to end; how long that took, in seconds."""
        begun_s = time.monotonic()
        self.child.send_signal(signal.SIGTERM)
        assert self.child.wait(PATIENCE_S) == 0, self.log()
        return time.monotonic() - begun_s

    def ask(self, *words, status=0):
        """What a command prints: on standard output, or why not."""
        done = CliRunner().invoke(app, ["treasury", *words], env={"NARYN_TREASURY": str(self.path)})
        assert done.exit_code == status, done.output
        return done.stdout if status == 0 else done.stderr

    def image(self):
        """What it publishes next."""

        async def seen():
            async with connect(treasury_channel_path(self.folder / "state")) as client:
                body = await anext(client.images())
            return msgspec.msgpack.decode(body, type=TreasuryImage)

        return asyncio.run(seen())

    def log(self):
        """The last of what it logged."""
        return (self.folder / "log").read_text()[-3_000:]

    def wait(self, condition, why):
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline_s, (
                f"{why}: {(self.folder / 'log').read_text()[-3000:]}"
            )
            time.sleep(0.05)


def connects(path):
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.connect(str(path))
        return True
    return False


@contextlib.contextmanager
def signer(process):
    exchange = process.folder / "state" / "exchange"
    (process.folder / "state").mkdir(mode=0o700, exist_ok=True)
    command = [
        *(sys.executable, "-m", "simulators.services.signer"),
        *("--inbox", exchange / "to-sign", "--outbox", exchange / "signed"),
        *("--key-file", process.keys.key_file, "--reserve", process.keys.reserve),
    ]
    child = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        child.terminate()
        child.wait(PATIENCE_S)


@pytest.fixture
def process(aged_simulated, tmp_path):
    made = Process(aged_simulated, tmp_path)
    made.start()
    made.wait_listening()
    yield made
    if made.child.poll() is None:
        made.kill()


@pytest.mark.parametrize("kind", ["simulated", "core"])
def test_killed_at_random_moments_every_coin_is_swept_exactly_once(kind, tmp_path):
    rng = random.Random(kind)
    chain = open_aged(kind, tmp_path / "chain")
    process = Process(chain, tmp_path)
    ground = None
    try:
        with signer(process):
            for _ in range(KILLS):
                process.start()
                process.wait_listening()
                script = first_script(process)
                pays = [(script, rng.randint(10**5, 10**6)) for _ in range(2)]
                chain.mine(1, transactions=[payment(chain, *pays)])
                chain.mine(rng.randint(5, 6))
                time.sleep(rng.uniform(0.0, 1.5))
                process.kill()
                if chain.rpc("getrawmempool"):
                    chain.mine_mempool()
            process.start()
            process.wait_listening()

            def swept():
                if chain.rpc("getrawmempool"):
                    chain.mine_mempool()
                chain.mine(1)
                image = process.image()
                stages = {sweep.stage for sweep in image.sweeps}
                return stages == {"final"} and image.collection.coins == 0

            process.wait(swept, "never all swept")
            assert process.image().alarms == []
            process.end()
        ground = Ground(chain, tmp_path, keys_of=process.keys, path=process.path)
        ground.follow()
        ground.audit()
        sweeps = ground.sweeps()
        coins = [coin for sweep in sweeps for coin in sweep.coins]
        assert len(coins) == len(set(coins)) == 2 * KILLS
        assert {sweep.stage for sweep in sweeps} == {Stage.FINAL}
        confirmed = {
            tx["txid"]
            for height in range(113, chain.height() + 1)
            for tx in chain.rpc("getblock", chain.rpc("getblockhash", height), 2)["tx"]
        }
        for sweep in sweeps:
            assert len({attempt.txid for attempt in sweep.attempts} & confirmed) == 1
    finally:
        if ground is not None:
            ground.close()
        if process.child.poll() is None:
            process.kill()
        chain.close()


def first_script(process):
    return read_wallets(load_treasury(process.path))[Wallet.COLLECTION].script(0).hex()


def page(process, name):
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{process.port}/{name}", timeout=PATIENCE_S
        ) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_the_health_pages_say_whether_it_does_its_work(process):
    assert page(process, "healthz") == (200, {"process": "treasury", "alive": True})
    process.wait(lambda: page(process, "readyz")[0] == 200, "never ready")
    process.chain.close()
    process.wait(lambda: page(process, "readyz")[0] == 503, "always ready")
    (reason,) = page(process, "readyz")[1]["reasons"]
    assert reason.startswith("node_unreachable: ")
    process.chain.start()
    process.wait(lambda: page(process, "readyz")[0] == 200, "never ready again")


def test_it_ends_at_once_even_while_the_node_hangs(process):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        assert process.end() < 10.0
        text = process.path.read_text("utf-8").replace(
            process.chain.url, f"http://127.0.0.1:{port}"
        )
        process.path.write_text(text, "utf-8")
        process.start()
        process.wait_listening()
        silent.settimeout(PATIENCE_S)
        asked, _ = silent.accept()
        with asked:
            assert process.end() < 10.0


def test_a_second_one_is_refused(process):
    again = subprocess.run(
        [*NARYN, "treasury", "run", str(process.path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert again.returncode == 1
    assert "another process runs this treasury already" in again.stderr
    assert again.stderr.count("\n") == 1


def test_the_command_line(process):
    said = process.ask("address", "ocean")
    given = json.loads(process.ask("address", "ocean", "--json"))
    assert said.startswith(given["address"] + "  (reserve 0, for ocean)")
    other = json.loads(process.ask("address", "luxor", "--json"))
    assert (given["index"], other["index"]) == (0, 1)
    collected = json.loads(process.ask("address", "ocean", "--wallet", "collection", "--json"))
    assert collected["wallet"] == "collection"
    assert "a purpose is one word" in process.ask("address", "two words", status=1)

    chain = process.chain
    raw = payment(chain, (first_script(process), 10**6))
    chain.mine(1, transactions=[raw])
    process.wait(lambda: process.image().collection.coins == 1, "never booked")
    book = json.loads(process.ask("ledger", "--json"))
    assert [line["amount_sat"] for line in book["entries"][0]["postings"]] == [10**6, -(10**6)]
    assert book["balances"]["Assets:Collection"] == 10**6
    assert f"{10**6:>20}" in process.ask("ledger")
    shown = process.ask("status")
    assert json.loads(process.ask("status", "--json"))["treasury_id"] == "test"
    assert "0.01000000 maturing, 1 coins" in shown
    assert "there is no sweep 'x'" in process.ask("retry", "x", status=1)
    assert "there is no sweep 'x'" in process.ask("abandon", "x", status=1)
    assert "0 spends" in process.ask("acknowledge")

    process.end()
    told = process.ask("status", status=1)
    assert "nobody listens here; does `naryn treasury run` run?" in told


def test_check_asks_nobody(aged_simulated, tmp_path):
    process = Process(aged_simulated, tmp_path)
    aged_simulated.close()
    done = process.ask("check", str(process.path))
    assert "in order, network regtest" in done
    assert done.count("bcrt1q") == 6
    process.path.write_text(process.path.read_text().replace("every_s", "evry_s"))
    told = process.ask("check", str(process.path), status=2)
    assert "sweep.evry_s = 0: is not a known key" in told


def test_a_book_that_was_changed_by_hand_is_not_worked_with(aged_simulated, tmp_path):
    ground = Ground(aged_simulated, tmp_path, fresh_keys=True)
    ground.pay(10**6)
    with ground.database.transaction() as db:
        db.exec_driver_sql("UPDATE posting SET amount_sat = amount_sat + 1")
    ground.close()
    told = subprocess.run(
        [*NARYN, "treasury", "run", str(ground.path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert told.returncode == 1
    assert "the book does not hold" in told.stderr


def test_no_key_and_no_cookie_is_written_anywhere(process, tmp_path):
    process.end()
    cookie = process.chain.cookie_file.read_bytes().partition(b":")[2]
    places = [tmp_path / "log", *(tmp_path / "state").rglob("*")]
    texts = [place.read_bytes() for place in places if place.is_file()]
    assert sum(map(len, texts)) > 1_000
    for text in texts:
        assert cookie not in text
        assert holds(text, ()) is None
