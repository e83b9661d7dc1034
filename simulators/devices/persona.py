"""One simulated miner as its network sees it, without any IO.

A persona turns a request and the present time into an answer: *what* is sent, and *when*. The very
same object serves real sockets (`simulators.devices.listener`) and in-memory transports under a
virtual clock.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import ClassVar, Literal, get_args

from simulators.physics.miner import MinerPhysics

Fault = Literal["hang", "garbage", "huge", "closed", "liar", "slow"]
"""hang: takes the request and never answers · garbage: random bytes · huge: a reply of 10 MB ·
closed: resets every connection · liar: reports zero hashrate and power while it draws on · slow:
answers 5 s late."""
FAULTS: tuple[str, ...] = get_args(Fault)

SLOW_S = 5.0
GARBAGE_BYTES = 600
HUGE_BYTES = 10_000_000
SHARE_DIFFICULTY = 524_288
"""Pool difficulty in the recorded S19 Pro replies («524K»)."""
HASHES_PER_DIFFICULTY = 2**32
POOL_PASSWORD_FILLER = "x"  # noqa: S105 - pools ignore the password; this is the usual filler
EPOCH_S = 1_760_000_000
"""Wall time (Unix seconds) at which a persona's clock starts, unless another is given."""


class Close(StrEnum):
    """What becomes of the connection after an answer."""

    AFTER_BODY = "after_body"
    KEEP = "keep"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is sent `after_s` from the request; None: nothing is ever sent."""

    body: bytes | None
    after_s: float = 0.0
    close: Close = Close.AFTER_BODY


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One HTTP request; header names in lower case, `query` without the question mark."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def target(self) -> str:
        """Path and query as they stand in the request line."""
        return f"{self.path}?{self.query}" if self.query else self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """`body` None: nothing is ever sent. `raw`: the body is not HTTP at all, send it as it is and
    close."""

    status: int
    body: bytes | None
    headers: Mapping[str, str] = field(default_factory=dict)
    after_s: float = 0.0
    close: Close = Close.KEEP
    raw: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcRequest:
    """One unary call: `/package.Service/Method`, metadata in lower case, and the protobuf
    message."""

    path: str
    metadata: Mapping[str, str]
    message: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcAnswer:
    """`status` is the gRPC code, 0 with a message. `message` None with status 0: nothing is ever
    sent."""

    message: bytes | None
    status: int = 0
    detail: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    after_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """What the firmware says of itself at one moment (a liar says zero), in the physics' units."""

    hashrate_ths: float
    hashrate_1m_ths: float
    hashrate_average_ths: float
    power_w: float
    chip_temperature_c: float
    board_temperature_c: float
    inlet_temperature_c: float
    fan_rpm: int
    elapsed_s: int
    accepted: int
    hashing: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Who a miner is: address, place, physics, identity, and its own random source."""

    host: str
    feeder: str
    miner: MinerPhysics
    mac: str
    serial: str
    rng: random.Random
    epoch_s: int = EPOCH_S


@dataclass(slots=True)
class Pool:
    """One entry of a miner's pool list."""

    url: str
    user: str
    password: str = POOL_PASSWORD_FILLER


def default_pools(unit: Unit) -> list[Pool]:
    """Two pools as a site would set them; the worker is named after the address."""
    worker = "naryn." + unit.host.replace(".", "x")
    return [
        Pool(url="stratum+tcp://pool-a.invalid:3333", user=worker),
        Pool(url="stratum+tcp://pool-b.invalid:3333", user=worker),
    ]


class Persona(ABC):
    """Common half: faults, the clock, and the view of the physics. Firmwares implement `_tcp` and
    its kin.

    `services` names the ports at which the device listens; a connection to any other is refused.
    """

    firmware: ClassVar[str]
    services: ClassVar[frozenset[str]]

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.host = unit.host
        self.feeder = unit.feeder
        self.miner = unit.miner
        self.model = unit.miner.rating.model
        self.mac = unit.mac
        self.serial = unit.serial
        self.persistent_writes = 0
        """Writes to the device's flash, as of the last request."""
        self.fault: Fault | None = None
        self._boots_until_s = float("-inf")

    def set_fault(self, name: str | None) -> None:
        """Misbehave from now on (one of `FAULTS`), or behave again. Raises ValueError for another
        name."""
        for fault in get_args(Fault):
            if name == fault:
                self.fault = fault
                return
        if name is not None:
            raise ValueError(f"fault {name!r} is not known; use one of: {', '.join(FAULTS)}")
        self.fault = None

    def accepts(self, port_name: str, now_s: float) -> bool:
        """Whether a connection to this port is taken; otherwise it is refused or reset."""
        return (
            port_name in self.services
            and self.fault != "closed"
            and now_s >= self._boots_until_s
            and self._listens(port_name, now_s)
        )

    def tcp(self, port_name: str, request: bytes, now_s: float) -> Answer | None:
        """Answer a request of a plain TCP service; None: the request is not whole yet."""
        if not self.accepts(port_name, now_s):
            return Answer(None, close=Close.RESET)
        match self.fault:
            case "hang":
                return Answer(None, close=Close.KEEP)
            case "garbage":
                return Answer(self.unit.rng.randbytes(GARBAGE_BYTES))
            case "huge":
                return Answer(_huge())
        answer = self._tcp(request, now_s)
        if answer is not None and self.fault == "slow":
            return replace(answer, after_s=answer.after_s + SLOW_S)
        return answer

    def http(self, port_name: str, request: HttpRequest, now_s: float) -> HttpAnswer:
        """Answer a request of a web service."""
        if not self.accepts(port_name, now_s):
            return HttpAnswer(status=0, body=None, close=Close.RESET)
        match self.fault:
            case "hang":
                return HttpAnswer(status=0, body=None)
            case "garbage":
                return HttpAnswer(status=0, body=self.unit.rng.randbytes(GARBAGE_BYTES), raw=True)
            case "huge":
                return HttpAnswer(status=200, body=_huge())
        answer = self._http(request, now_s)
        if self.fault == "slow":
            return replace(answer, after_s=answer.after_s + SLOW_S)
        return answer

    def grpc(self, request: GrpcRequest, now_s: float) -> GrpcAnswer:
        """Answer a unary gRPC call. Garbage is a message that is no protobuf; huge exceeds any sane
        limit."""
        match self.fault:
            case "hang":
                return GrpcAnswer(message=None)
            case "garbage":
                return GrpcAnswer(message=self.unit.rng.randbytes(GARBAGE_BYTES))
            case "huge":
                return GrpcAnswer(message=_huge())
        answer = self._grpc(request, now_s)
        if self.fault == "slow":
            return replace(answer, after_s=answer.after_s + SLOW_S)
        return answer

    def telemetry(self, now_s: float) -> Telemetry:
        """The firmware's own view of the physics."""
        miner = self.miner
        truthful = 0.0 if self.fault == "liar" else 1.0
        hashes = miner.work_th * 1e12
        return Telemetry(
            hashrate_ths=miner.hashrate_ths * truthful,
            hashrate_1m_ths=miner.hashrate_1m_ths * truthful,
            hashrate_average_ths=miner.hashrate_average_ths(now_s) * truthful,
            power_w=miner.reported_power_w * truthful,
            chip_temperature_c=miner.chip_temperature_c,
            board_temperature_c=miner.board_temperature_c,
            inlet_temperature_c=miner.ambient_c,
            fan_rpm=miner.fan_rpm,
            elapsed_s=int(miner.elapsed_s(now_s)),
            accepted=int(hashes / (SHARE_DIFFICULTY * HASHES_PER_DIFFICULTY)),
            hashing=miner.level > 0.0 and truthful > 0.0,
        )

    def unix_s(self, now_s: float) -> int:
        """Wall time of the device's own clock, Unix seconds."""
        return self.unit.epoch_s + int(now_s)

    def reboot(self, now_s: float, *, wakes: bool = False) -> None:
        """Restart the control board: nothing listens until it is up. Deaf: nothing happens.

        `wakes`: the firmware does not remember that it was asleep.
        """
        if self.miner.deaf:
            return
        boot_s = self.miner.timings.boot_s
        self._boots_until_s = now_s + boot_s
        self.miner.restart(now_s, pause_s=boot_s, wakes=wakes)

    def _listens(self, _port_name: str, _now_s: float) -> bool:
        """Whether the service runs; firmwares that restart one say so."""
        return True

    @abstractmethod
    def _tcp(self, request: bytes, now_s: float) -> Answer | None:
        """Answer on the cgminer port."""

    @abstractmethod
    def _http(self, request: HttpRequest, now_s: float) -> HttpAnswer:
        """Answer on the web port."""

    def _grpc(self, request: GrpcRequest, _now_s: float) -> GrpcAnswer:
        """Answer a call; most firmwares know no gRPC."""
        return GrpcAnswer(message=None, status=12, detail=f"no method {request.path}")


def _huge() -> bytes:
    """10 MB that begin like a reply."""
    return b'{"STATUS":[{"STATUS":"S","Msg":"' + b"A" * HUGE_BYTES
