"""`python -m simulators` as a process: ready line, truth file, signals, refusals."""

import asyncio
import json
import os
import signal
import socket
import sys

import pytest

from tests.loopback import free_port
from tests.protocols.modbus_client import Client


async def start_serving(*arguments):
    ports = [f"--port={name}={free_port()}" for name in ("rpc", "http", "grpc")]
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "simulators",
        "serve",
        "quiet",
        *ports,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.mark.fixed_ports
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
async def test_serve_says_ready_tells_the_truth_and_ends_cleanly(tmp_path, signal_number):
    truth = tmp_path / "truth.jsonl"
    process = await start_serving("--truth", str(truth))
    try:
        async with asyncio.timeout(60.0):
            ready = json.loads(await process.stdout.readline())
            assert (ready["ready"], ready["miners"]) == (True, 20)
            meter = ready["meters"]["main"]
            streams = await asyncio.open_connection(meter["host"], meter["port"])
            (power_w,) = await Client(*streams).f32(3, 65)
            reader, writer = await asyncio.open_connection("127.11.0.1", ready["ports"]["rpc"])
            writer.write(b'{"command":"version"}')
            assert b"Antminer" in await reader.read()
            # Another process writes the file: there is no event to wait for.
            while not truth.exists() or truth.read_text().count("\n") < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            for open_writer in (writer, streams[1]):
                open_writer.close()
            process.send_signal(signal_number)
            rest, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, rest, errors) == (0, b"", b"")
    lines = [json.loads(line) for line in truth.read_text().splitlines()]
    assert power_w == pytest.approx(lines[0]["feeders"]["main"]["power_w"], rel=0.01)
    assert lines[1]["t_s"] == pytest.approx(lines[0]["t_s"] + 1.0, abs=0.5)


@pytest.mark.fixed_ports
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), b"main: 127.20.1.1:5020 is taken; end what listens there or choose another port"),
        (("--truth", "/proc/no/such"), b"truth file /proc/no/such"),
    ],
    ids=["port", "truth"],
)
async def test_serve_says_plainly_what_it_cannot_have(arguments, says):
    with socket.create_server(("127.20.1.1", 5020)):
        process = await start_serving(*arguments)
        out, errors = await asyncio.wait_for(process.communicate(), 60.0)
    assert process.returncode == 1
    assert out == b""
    assert says in errors
    assert errors.count(b"\n") == 1


async def test_a_scenario_with_mistakes_is_refused_with_all_of_them(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("[scenario]\nname = 3\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "simulators",
        "inventory",
        str(path),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    out, errors = await asyncio.wait_for(process.communicate(), 60.0)
    assert (process.returncode, out) == (2, b"")
    assert errors.count(b"\n") > 5
    assert f"{path}: scenario.name: 3 is wrong; write a text".encode() in errors
