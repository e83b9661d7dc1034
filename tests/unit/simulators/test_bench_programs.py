"""The C peer and the raw clients: what they answer, what they count, and how they fail."""

import json
import os
import socket
import struct
import subprocess
import sys
from contextlib import contextmanager

import pytest
from h2.connection import H2Connection
from h2.events import DataReceived

from simulators.bench import build
from simulators.bench.replies import FIRMWARES, pack

RECORDED_BYTES = {"1.rpc.stats": 2501, "2.rpc.summary": 1066, "3.rpc.summary": 751}
"""Sizes of the recorded replies, as stored in tests/fixtures/miners."""


@contextmanager
def peer(*words):
    """The running peer: its ports, and a way to tell it something and read a line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "simulators.bench", "peer", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        ports = json.loads(process.stdout.readline())

        def tell(words):
            process.stdin.write(f"{words}\n")
            process.stdin.flush()
            speaks = words in {"report", "usual-ports"}
            return json.loads(process.stdout.readline()) if speaks else None

        yield ports, tell
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def running():
    with peer() as (ports, tell):
        yield ports, tell


def ask(port, host, request, *, timeout_s=10.0):
    """Everything that the peer says until it closes."""
    with socket.create_connection((host, port), timeout=timeout_s) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def decoded(body):
    return json.loads(body.rstrip(b"\0"))


def test_each_firmware_answers_at_its_own_addresses(running):
    port = running[0]["rpc_port"]
    stats = decoded(ask(port, "127.1.0.7", b'{"command": "stats"}'))
    assert stats["STATS"][0]["Type"] == "Antminer S19 Pro"
    assert decoded(ask(port, "127.3.200.1", b'{"cmd":"status"}'))["STATUS"] == "S"
    joined = decoded(ask(port, "127.2.0.0", b'{"command":"summary+power"}\n'))
    assert set(joined) == {"summary", "power", "id"}
    assert joined["summary"][0]["SUMMARY"]


@pytest.mark.parametrize(("name", "size"), RECORDED_BYTES.items())
def test_replies_are_as_large_as_recorded_ones(name, size):
    packed = pack()
    said = int(packed[packed.index(f"{name} ".encode()) :].split(b"\n", 1)[0].split()[1])
    assert 0.6 * size < said < 1.6 * size


def test_pages_want_a_login_first(running):
    port = running[0]["http_port"]
    request = b"GET /cgi-bin/get_miner_conf.cgi HTTP/1.1\r\nHost: m\r\n%s\r\n"
    assert ask(port, "127.1.0.1", request % b"").startswith(b"HTTP/1.1 401")
    said = ask(port, "127.1.0.1", request % b'Authorization: Digest username="root"\r\n')
    assert said.startswith(b"HTTP/1.1 200")
    assert decoded(said.split(b"\r\n\r\n")[1])["bitmain-work-mode"] == "0"


def test_lines_are_taken_whole_however_long(running):
    head = b"POST /api/v2/write?bucket=b HTTP/1.1\r\nHost: d\r\nContent-Length: 300000\r\n\r\n"
    said = ask(running[0]["http_port"], "127.0.0.1", head + b"x" * 300_000)
    assert said.startswith(b"HTTP/1.1 204")


def test_faults_hang_garbage_and_ten_megabytes(running):
    ports, tell = running
    port, before = ports["rpc_port"], tell("report")
    with pytest.raises(TimeoutError):
        ask(port, "127.11.0.1", b'{"command":"stats"}', timeout_s=0.3)
    assert len(ask(port, "127.21.0.1", b'{"command":"stats"}')) == 600
    for _ in range(2):
        assert len(ask(port, "127.31.0.1", b'{"command":"stats"}')) == 10_000_000
    report = tell("report")
    assert report["asked_garbage"] - before["asked_garbage"] == 1
    assert report["asked_huge"] - before["asked_huge"] == 2


def test_some_are_well_until_they_are_commanded(running):
    ports, tell = running
    tell("clear")
    port, order = ports["rpc_port"], b'{"command":"curtail","parameter":"1,sleep"}'
    for kind in (4, 5, 6):
        assert decoded(ask(port, f"127.{kind}2.3.{kind}", b'{"command":"summary"}'))["SUMMARY"]
    assert tell("report")["miners_acted"] == 0
    with pytest.raises(TimeoutError):
        ask(port, "127.42.3.4", order, timeout_s=0.3)
    assert len(ask(port, "127.52.3.5", order)) == 600
    assert len(ask(port, "127.62.3.6", order)) == 10_000_000
    assert tell("report")["by_firmware"]["2"]["miners_acted"] == 3, "each has its command"


def test_the_moment_of_each_command_is_kept(running):
    ports, tell = running
    tell("clear")
    request = b'{"command":"curtail","parameter":"1,sleep"}'
    for number in (1, 2, 2):
        assert ask(ports["rpc_port"], f"127.2.0.{number}", request)
    report = tell("report")
    assert report["miners_acted"] == 2, "the second command of one miner is none of its own"
    assert report["acts"] >= 3
    assert 0 < report["first_ns"] <= report["median_ns"] <= report["last_ns"]
    by_firmware = {n: said["miners_acted"] for n, said in report["by_firmware"].items()}
    assert by_firmware == {str(n): 2 if n == 2 else 0 for n in range(1, 10)}
    assert report["by_firmware"]["2"]["last_ns"] == report["last_ns"]
    tell("clear")
    assert tell("report")["last_ns"] is None


def test_grpc_has_a_login_and_a_pause_and_no_more(running):
    ports, tell = running
    tell("clear")

    def messages(method, message=b""):
        """What a call is answered by; nothing when the connection is closed."""
        client = H2Connection()
        client.initiate_connection()
        path = f"/braiins.bos.v1.{method}"
        head = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "m"}
        client.send_headers(1, head.items())
        client.send_data(1, struct.pack(">BI", 0, len(message)) + message, end_stream=True)
        said = ask(ports["http_port"], "127.4.1.2", client.data_to_send())
        return [e.data for e in client.receive_data(said) if isinstance(e, DataReceived)]

    (session,) = messages("AuthenticationService/Login")
    assert len(session) > 32, "a token"
    assert tell("report")["miners_acted"] == 0
    assert len(messages("ActionsService/PauseMining")) == 1
    assert tell("report")["by_firmware"]["4"]["miners_acted"] == 1
    assert messages("ActionsService/Reboot") == []


@pytest.mark.fixed_ports
def test_usual_ports_are_had_or_the_reason_is_said():
    with peer() as (ports, tell):
        said = tell("usual-ports")["refused"]
        if said is None:
            assert decoded(ask(4028, "127.2.0.9", b'{"command":"summary"}'))["SUMMARY"]
        else:
            assert said.startswith("ports 4028 and 80: ")
        assert ask(ports["rpc_port"], "127.2.0.9", b'{"command":"summary"}'), "its own go on"


def test_the_end_of_standard_input_ends_the_peer():
    process = subprocess.run(
        [sys.executable, "-m", "simulators.bench", "peer"],
        input=b"",
        capture_output=True,
        check=False,
    )
    assert process.returncode == 0
    assert b"rpc_port" in process.stdout


def client(*words, plan=""):
    ran = subprocess.run(
        [sys.executable, "-m", "simulators.bench", *map(str, words)],
        input=plan,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_raw_poll_polls_what_the_plan_says(running):
    ports, tell = running
    before = tell("report")
    plan = '1\t40\t2\t{"command":"stats"}\n3\t30\t1\t{"cmd":"status"}\t{"cmd":"summary"}\n'
    words = ("raw-poll", "--port", ports["rpc_port"], "--seconds", 0.2, "--in-flight", 20)
    said = client(*words, plan=plan)
    assert said["polls"] > 0
    assert said["failed"] == 0
    assert said["connections"] > said["polls"], "two of a Whatsminer"
    assert said["cpu_us_per_poll"] > 0.0
    assert tell("report")["answered"] - before["answered"] >= said["polls"]


def test_raw_fanout_reaches_every_miner(running):
    ports, tell = running
    tell("clear")
    said = client("raw-fanout", "--port", ports["rpc_port"], "--miners", 300)
    report = tell("report")
    assert (said["sent"], said["answered"], said["failed"]) == (300, 300, 0)
    assert report["miners_acted"] == 300
    assert said["go_ns"] <= report["first_ns"]
    assert said["busy_percent"] > 0.0


def test_a_changed_source_is_compiled_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for source in build.SOURCES.glob("*.[ch]"):
        (tmp_path / source.name).write_bytes(source.read_bytes())
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    first = build.program("raw_fanout")
    assert os.access(first, os.X_OK)
    assert build.program("raw_fanout") == first
    (tmp_path / "common.h").write_text((tmp_path / "common.h").read_text() + "\n")
    assert build.program("raw_fanout") != first


def test_without_a_compiler_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(build.BuildError, match="apt install gcc"):
        build.program("peer")


def test_a_broken_source_is_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "peer.c").write_text("int main(void) { return wrong; }\n")
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    with pytest.raises(build.BuildError, match="wrong"):
        build.program("peer")


def test_the_numbers_of_firmwares_fit_both_sides():
    from controller.cli.bench.peer import KINDS  # noqa: PLC0415 - only this test knows both

    assert dict(FIRMWARES) == KINDS
