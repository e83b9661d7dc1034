"""The simulated chain as a process: what it makes by itself, how it ends, what it refuses."""

import json
import signal
import socket
import subprocess
import sys
from decimal import Decimal

import pytest

from tests.patience import eventually
from tests.services.chain_ground import ROOT, SimulatedChain, open_chain
from tests.services.chain_wallet import COLLECTION, RESERVE, signed

PAYEE = COLLECTION.script(0).hex()
COMMAND = [sys.executable, "-m", "simulators.services.chain"]


@pytest.fixture
def start(tmp_path):
    """Starts simulated chains over one folder, and ends them."""
    started = []

    def one(*options):
        started.append(open_chain("simulated", tmp_path / "chain", *options))
        return started[-1]

    yield one
    for chain in started:
        chain.close()


def run(*options):
    """The command to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, options)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_it_says_where_it_listens(start):
    chain = start("--premine", "3")
    line = json.loads((chain.folder / "log").read_text())
    assert line == {
        "ready": True,
        "url": chain.url,
        "cookie_file": str(chain.cookie_file),
        "height": 3,
        "tip": chain.tip(),
    }


def test_blocks_are_made_in_a_new_folder_only(start):
    chain = start("--premine", "5", "--pay-coinbase-to", PAYEE)
    found = chain.rpc("scantxoutset", "start", [f"raw({PAYEE})"])
    assert (chain.height(), found["total_amount"]) == (5, Decimal(250))
    tip = chain.tip()
    chain.restart(kill=False)
    assert chain.tip() == tip


def test_a_signal_makes_a_block_of_what_waits(start):
    chain = start("--premine", "101", "--pay-coinbase-to", PAYEE)
    first = chain.rpc("getblock", chain.rpc("getblockhash", 1))["tx"][0]
    raw = signed(chain, [(first, 0, 50 * 10**8)], COLLECTION.address(1), fee_sat=500)
    txid = chain.rpc("sendrawtransaction", raw)
    rest = (txid, 0, 50 * 10**8 - 500)
    last = signed(chain, [rest], RESERVE.address(0), fee_sat=700)
    chain.rpc("sendrawtransaction", last)
    block = chain.rpc("getblock", chain.mine_mempool(), 2)
    made, *others = block["tx"]
    assert [tx["hex"] for tx in others] == [raw, last]
    assert made["vout"][0]["value"] == Decimal("50.00001200")
    assert made["vout"][0]["scriptPubKey"]["hex"] == PAYEE
    assert chain.rpc("getrawmempool") == []


def test_blocks_come_by_themselves(start):
    chain = start("--block-every-s", "0.1")
    eventually(lambda: chain.height() >= 3, "blocks come")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_it_is_asked(start, number):
    chain = start()
    assert chain.end(number) == 0
    assert not chain.cookie_file.exists()


def test_the_cookie_goes_where_it_is_told(tmp_path):
    chain = SimulatedChain(tmp_path, "--cookie", str(tmp_path / "mine"))
    chain.cookie_file = tmp_path / "mine"
    chain.start()
    assert chain.height() == 0
    assert not (tmp_path / ".cookie").exists()
    chain.close()


def test_a_block_that_was_half_written_is_forgotten(start):
    chain = start("--premine", "4")
    tip = chain.tip()
    chain.end(signal.SIGKILL)
    blocks = chain.folder / "blocks"
    size = blocks.stat().st_size
    whole = blocks.read_bytes()
    for torn in (whole[:100], whole[:3]):
        blocks.write_bytes(whole + torn)
        chain.start()
        assert chain.tip() == tip
        assert blocks.stat().st_size == size
        chain.end(signal.SIGKILL)
    blocks.write_bytes(whole[:-1])
    chain.start()
    assert chain.height() == 3
    chain.mine()
    chain.restart()
    assert chain.height() == 4


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("blocks", b"\xff\xff\xff\xff" + bytes(4_000_001)),
        ("blocks", b"\x04\x00\x00\x00abcd"),
        ("mempool", b"these are no transactions\n"),
        ("mempool", b"00ff\n"),
    ],
)
def test_a_file_that_is_not_its_own_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    ended = run("--rpc-port", 1, "--folder", tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"{tmp_path / name}: ")
    assert ended.stderr.count("\n") == 1
    assert (tmp_path / name).read_bytes() == content


def test_one_process_has_a_folder(start):
    chain = start("--premine", "2")
    ended = run("--rpc-port", SimulatedChain(chain.folder).port, "--folder", chain.folder)
    assert ended.returncode == 1
    assert "another process has this chain open" in ended.stderr
    assert chain.height() == 2


def test_a_port_that_is_taken(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = run("--rpc-port", taken.getsockname()[1], "--folder", tmp_path)
    assert ended.returncode == 1
    assert "address already in use" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "options",
    [
        ["--rpc-port", "0"],
        ["--rpc-port", "x"],
        ["--rpc-port", "1", "--premine", "-1"],
        ["--rpc-port", "1", "--block-every-s", "0"],
        ["--rpc-port", "1", "--block-every-s", "nan"],
        ["--rpc-port", "1", "--pay-coinbase-to", "zz"],
        ["--rpc-port", "1", "--pay-coinbase-to", ""],
    ],
)
def test_wrong_usage(tmp_path, options):
    ended = run(*options, "--folder", tmp_path / "new")
    assert ended.returncode == 2
    assert f"argument {options[-2]}: " in ended.stderr
    assert not (tmp_path / "new").exists()


def test_it_is_no_judge_of_itself():
    """The treasury reads every PSBT a second time with bdkpython: nothing here may know it."""
    program = (
        "import sys, simulators.services.chain.__main__\n"
        "print(sorted({'bdkpython', 'bitcoin_core_rpc', 'controller', 'drivers'} & {*sys.modules}))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stdout == "[]\n"
