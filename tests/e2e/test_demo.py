"""The demonstration as a newcomer runs it: it happens, it ends, and it leaves nothing behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.private_material import forms_of, in_folder, in_process
from tests.loopback import listens

pytestmark = [pytest.mark.fixed_ports]

NARYN = [sys.executable, "-m", "controller.cli.main", "demo"]
PORTS = [
    *(("127.0.0.1", port) for port in (8440, 8441, 8442, 8443, 18086, 18088, 18090, 18443, 18830)),
    ("127.10.0.1", 4028),
    ("127.10.0.1", 8081),
    ("127.20.0.1", 5020),
]


def of_folder(folder: Path) -> list[str]:
    """Command lines of the living processes that name the folder, this one's parents aside."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(folder) in line and "pytest" not in line:
                found.append(line)
    return found


@pytest.mark.timeout(500)
def test_the_whole_evening_happens(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with subprocess.Popen(
        [*NARYN, "--for", "4m", "--json", "--keep", folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        time.sleep(150)
        assert demo.poll() is None, demo.communicate()
        secret = (folder / "signer" / "collection.key").read_text().strip()
        forms = forms_of(secret)
        living = processes_of(folder)
        keepers = {name for pid, name in living.items() if in_process(pid, forms)}
        said, errors = demo.communicate(timeout=250)
    told = json.loads(said)
    assert told["missed"] == []
    assert demo.returncode == 0, errors
    first, last = told["orders"]
    assert (first["confirmation"], first["shortfall_w"]) == ("VERIFIED", 0)
    assert first["receipts"] == ["RECEIVED", "ACCEPTED", "VERIFIED", "RELEASED"]
    assert first["delivered_kwh"] > 0
    assert last["receipts"] == ["RECEIVED", "ACCEPTED_PARTIAL", "FAILED"]
    assert last["shortfall_w"] > 10_000
    assert told["planned_peak"]["at_begin_w"] <= 1.01 * told["planned_peak"]["cap_w"]
    assert told["over_limit_s"] == 0
    assert {"run", "skipped"} == set(told["ticks"])
    assert "order_failed:evening-2" in {alarm["id"] for alarm in told["alarms"]}
    assert told["points"]["lost"] == 0
    assert told["points"]["written"] > 5_000
    assert told["sweeps"], "a reward reached the reserve"
    for sweep in told["sweeps"]:
        assert len(sweep["txid"]) == 64
        assert sweep["amount_sat"] > 100_000 > sweep["fee_sat"] > 0
        assert sweep["confirmations"] >= 1
    assert told["reserve"]["chain_sat"] == told["reserve"]["ledger_sat"]
    assert told["reserve"]["chain_sat"] >= sum(sweep["amount_sat"] for sweep in told["sweeps"])
    assert of_folder(folder) == []
    assert not any(listens(*place) for place in PORTS)

    services = {
        "controller",
        "guard",
        "treasury",
        "console",
        "signer",
        "pool",
        "chain",
        "broker",
        "plant",
    }
    assert services <= set(living.values())
    assert keepers == set(), "no process shows a key in its words, environment or open files"
    assert in_folder(folder, forms) - {"pool/pool.key"} == {"signer/collection.key"}


def processes_of(folder: Path) -> dict[int, str]:
    """Living processes of the demonstration by pid, named by the log that they write."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                log = (entry / "fd" / "2").readlink()
            except OSError:
                continue
            if log.parent == folder:
                found[int(entry.name)] = log.stem
    return found


def test_ctrl_c_ends_every_process_and_frees_every_port(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with subprocess.Popen(
        [*NARYN, "--keep", folder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as demo:
        deadline_s = time.monotonic() + 60
        while not all(listens(*place) for place in PORTS):
            assert demo.poll() is None
            assert time.monotonic() < deadline_s
            time.sleep(0.2)
        demo.send_signal(signal.SIGINT)
        told, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert "Traceback" not in told
    assert of_folder(folder) == []
    assert not any(listens(*place) for place in PORTS)


def test_a_taken_port_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with socket.socket() as taken:
        taken.bind(("127.20.0.1", 5020))
        taken.listen()
        run = subprocess.run(
            [*NARYN, "--for", "10s", "--keep", folder],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert run.returncode == 1
    assert "127.20.0.1:5020" in run.stderr
    assert "Traceback" not in run.stderr
    assert of_folder(folder) == []
