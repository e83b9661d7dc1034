"""The C peer and the raw client of the benchmarks, started as processes of their own.

The peer keeps to one core and the client to another where there are two, so that neither pays for
the other.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

READY_S = 60.0
"""A first start compiles."""
BUSY_PERCENT_MIN = 95.0
"""A raw client with less to do was waiting for the peer: then its figure is the peer's."""

KINDS = {"antminer-stock": 1, "luxos": 2, "whatsminer-v2": 3, "braiins": 4}
"""Firmware → second octet of its miners' addresses."""
HUNG, GARBAGE, HUGE = 10, 20, 30
"""Added to that octet: a miner that hangs, that answers garbage, that answers 10 MB."""
MINERS_MAX = 65_536


class PeerError(Exception):
    """The peer or the raw client cannot be had; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One firmware's part of a raw run: its miners, its weight, and the requests of one poll."""

    firmware: str
    count: int
    weight: int
    requests: Sequence[bytes]

    def line(self) -> bytes:
        """As the raw client reads it."""
        numbers = f"{KINDS[self.firmware]}\t{self.count}\t{self.weight}".encode()
        return b"\t".join((numbers, *self.requests)) + b"\n"


def host(firmware: str, index: int, fault: int = 0) -> str:
    """Address of one miner of the peer; `fault`: HUNG, GARBAGE or HUGE, 0 when it is well."""
    return f"127.{KINDS[firmware] + fault}.{index >> 8}.{index & 255}"


class Peer:
    """The running peer: a context manager that ends it, by its pid."""

    def __init__(self, core: int | None) -> None:
        pinned = () if core is None else ("--core", str(core))
        self._process = subprocess.Popen(  # noqa: S603 - our own
            [sys.executable, "-m", "simulators.bench", "peer", *pinned],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        ports = self._line()
        self.rpc_port = int(ports["rpc_port"])
        self.http_port = int(ports["http_port"])

    @property
    def ports(self) -> dict[str, int]:
        """Its ports by service, as an inventory has them; gRPC shares that of HTTP.

        Of gRPC it knows login and pause: any other question ends as a closed connection.
        """
        return {"rpc": self.rpc_port, "http": self.http_port, "grpc": self.http_port}

    def latency(self, latency_ms: float) -> None:
        """From now on an answer takes so long."""
        self._tell(f"latency {latency_ms}")

    def clear(self) -> None:
        """Forget when commands came."""
        self._tell("clear")

    def usual_ports(self) -> str | None:
        """Answer on 4028 and 80 as well; returns why that cannot be, None when it can."""
        self._tell("usual-ports")
        refused: str | None = self._line()["refused"]
        return refused

    def report(self) -> dict[str, Any]:
        """What it did since its start: connections accepted, requests answered, …"""
        self._tell("report")
        return self._line()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def _tell(self, words: str) -> None:
        assert self._process.stdin is not None, "started with a pipe"  # noqa: S101
        self._process.stdin.write(f"{words}\n".encode())
        self._process.stdin.flush()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None, "started with a pipe"  # noqa: S101
        line = self._process.stdout.readline()
        if not line:
            _, said = self._process.communicate(timeout=READY_S)
            raise PeerError(said.decode(errors="replace").strip() or "the peer ended by itself")
        found: dict[str, Any] = json.loads(line)
        return found


def raw_poll(peer: Peer, shares: Sequence[Share], seconds: float, core: int | None) -> Any:
    """Poll flat out with the C client; what it printed. Raises PeerError."""
    words = ["raw-poll", "--port", str(peer.rpc_port), "--seconds", str(seconds)]
    plan = b"".join(share.line() for share in shares)
    return _raw(words, core, READY_S + seconds, plan)


def raw_fanout(peer: Peer, miners: int, core: int | None) -> Any:
    """Command that many miners once with the C client; what it printed. Raises PeerError."""
    words = ["raw-fanout", "--port", str(peer.rpc_port), "--miners", str(miners)]
    return _raw(words, core, READY_S, b"")


def _raw(words: list[str], core: int | None, within_s: float, given: bytes) -> Any:
    command = [sys.executable, "-m", "simulators.bench", *words]
    command += [] if core is None else ["--core", str(core)]
    ran = subprocess.run(  # noqa: S603 - our own
        command, check=False, capture_output=True, input=given, timeout=within_s
    )
    if ran.returncode != 0:
        raise PeerError(ran.stderr.decode(errors="replace").strip())
    return json.loads(ran.stdout)
