"""Real databases to write to: InfluxDB 1.6 behind nginx, VictoriaMetrics, and hostile ones.

Every one listens on loopback, on ports that the system chose, with all of its data in a folder of
its own. Where a program is missing a test is skipped, but in continuous integration it fails.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import urllib.parse
import urllib.request

import pytest

from controller.cli.demo.database import NAME, Database
from controller.telemetry.verdict import Address
from tests.loopback import free_port
from tests.patience import eventually

BUCKET = f"{NAME}/autogen"
PATIENCE_S = 20.0


def needed(found, what):
    """Fail in continuous integration, skip elsewhere, when `found` is None."""
    if found is None:
        sentence = f"{what} is missing: run `make services`"
        if os.environ.get("CI"):
            pytest.fail(sentence)
        pytest.skip(sentence)
    return found


def address(url, *, bucket=BUCKET, token=None, timeout_s=5.0):
    """Where lines are written to."""
    return Address(
        url=url, bucket=bucket, org="", token=token, timeout_s=timeout_s, spool_bytes_max=10**8
    )


class Influx:
    """InfluxDB 1.6 behind nginx; its data outlives `kill` and `start`."""

    def __init__(self, folder):
        ports = [free_port() for _ in range(3)]
        self.database = needed(Database.found(folder / "influx", *ports), "InfluxDB or nginx")
        self.url = self.database.url
        self._folder, self._processes = folder, {}

    def start(self):
        """Start what does not run, and make the database."""
        for name, command in self.database.commands.items():
            if name not in self._processes:
                with (self._folder / f"{name}.log").open("ab") as log:
                    self._processes[name] = subprocess.Popen(command, stdout=log, stderr=log)
        eventually(self.database.ready, f"the database answers; see {self._folder}")
        self.database.create()

    def kill(self, name="database"):
        """Kill one of the two, as a power failure would."""
        process = self._processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def query(self, text):
        """Rows of the first series of an InfluxQL answer."""
        (result,) = self.database.query(text)["results"]
        assert "error" not in result, result
        return [row for series in result.get("series", []) for row in series["values"]]

    def numbers(self):
        """Every `seq` that it holds, in order."""
        return sorted(row[1] for row in self.query("SELECT seq FROM /.*/"))

    def close(self):
        for name in list(self._processes):
            self.kill(name)


class Victoria:
    """VictoriaMetrics, which takes /api/v2/write itself and has no /query."""

    def __init__(self, folder):
        program = needed(shutil.which("victoria-metrics"), "VictoriaMetrics")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        with (folder / "victoria.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    program,
                    f"-storageDataPath={folder / 'victoria'}",
                    f"-httpListenAddr=127.0.0.1:{port}",
                    "-retentionPeriod=100y",
                ],
                stdout=log,
                stderr=log,
            )
        eventually(self._answers, "VictoriaMetrics answers")

    def _answers(self):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/health") as reply:
            return reply.status == 200
        return False

    def export(self, match):
        """Every series that `match` selects, as (labels, values)."""
        wait = urllib.request.urlopen(f"{self.url}/internal/force_flush", timeout=5)
        wait.close()
        asked = urllib.parse.urlencode({"match[]": match})
        with urllib.request.urlopen(f"{self.url}/api/v1/export?{asked}", timeout=5) as reply:
            found = [json.loads(line) for line in reply.read().splitlines()]
        return [(one["metric"], one["values"]) for one in found]

    def close(self):
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


class Hostile:
    """Accepts every connection and behaves as `act(connection)` says; counts them."""

    def __init__(self, act):
        self._act = act
        self.accepted = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._held = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._held.append(connection)
            threading.Thread(target=self._meet, args=(connection,), daemon=True).start()

    def _meet(self, connection):
        with contextlib.suppress(OSError):
            self._act(connection)

    def close(self):
        self._listener.close()
        for connection in self._held:
            connection.close()


def never_answers(connection):
    """Read and say nothing."""
    while connection.recv(65_536):
        pass


def says(status, headers="", body=b""):
    """An act that answers every request in the same way."""

    def act(connection):
        while True:
            head = b""
            while b"\r\n\r\n" not in head:
                part = connection.recv(65_536)
                if not part:
                    return
                head += part
            before, _, rest = head.partition(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1])
                for line in before.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            )
            while len(rest) < length:
                rest += connection.recv(65_536)
            answer = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
            connection.sendall(answer.encode() + body)

    return act


def floods(connection):
    """Answer with a body that never ends."""
    connection.recv(65_536)
    connection.sendall(b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"10000\r\n" + b"x" * 65_536 + b"\r\n")


@pytest.fixture
def influx(tmp_path):
    """InfluxDB for one test."""
    made = Influx(tmp_path)
    made.start()
    yield made
    made.close()
