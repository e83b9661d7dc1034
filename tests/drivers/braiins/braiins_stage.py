"""The simulated Braiins miner behind the in-memory transports, on the virtual loop's clock."""

import asyncio
from dataclasses import dataclass, field

from drivers.transport.memory import Answer, GrpcAnswer, GrpcQuestion
from simulators.devices.persona import GrpcRequest
from tests.protocols.simulated_fleet import braiins_of

LIVE = "summary+temps+fans+tunerstatus"
BEGIN_S = 1_000.0
"""Where the virtual loop's time begins."""


@dataclass
class Stage:
    """One simulated miner whose clock is the loop's; `says` puts another answer in its place.

    `asked` names what came in: joined commands of 4028 and gRPC methods.
    """

    says: dict[str, GrpcAnswer | type[OSError]] = field(default_factory=dict)
    tcp_says: bytes | None = None
    latency_s: float = 0.0
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.world, self.persona = braiins_of()

    def now_s(self) -> float:
        now_s = asyncio.get_running_loop().time() - BEGIN_S + 120.0
        self.world.advance(now_s - self.world.now_s)
        return self.world.now_s

    def tcp(self, host: str, port: int, request: bytes) -> Answer:
        assert (host, port) == ("127.9.0.1", 4028)
        self.asked.append(request.decode().removeprefix('{"command":"').removesuffix('"}'))
        now_s = self.now_s()
        if self.tcp_says is not None:
            return Answer(body=self.tcp_says, after_s=self.latency_s)
        answer = self.persona.tcp("rpc", request, now_s)
        return Answer(body=answer.body, after_s=self.latency_s)

    def grpc(self, host: str, port: int, asked: GrpcQuestion) -> GrpcAnswer:
        assert (host, port) == ("127.9.0.1", 50051)
        method = asked.path.rpartition("/")[2]
        self.asked.append(method)
        now_s = self.now_s()
        other = self.says.get(method)
        if isinstance(other, GrpcAnswer):
            return other
        if other is not None:
            raise other
        request = GrpcRequest(path=asked.path, metadata=asked.metadata, message=asked.message)
        said = self.persona.grpc(request, now_s)
        return GrpcAnswer(
            message=said.message, status=said.status, text=said.detail, after_s=self.latency_s
        )

    def configure(self, tuner: bytes) -> None:
        message = b"\x1a" + bytes([len(tuner)]) + tuner
        self.says["GetMinerConfiguration"] = GrpcAnswer(message=message)


DEAD: dict[str, tuple[GrpcAnswer | type[OSError], str]] = {
    "refused": (ConnectionRefusedError, "unreachable"),
    "out of order": (GrpcAnswer(message=None, status=8, text="busy"), "busy"),
    "no such method": (GrpcAnswer(message=None, status=12), "unsupported"),
    "said no": (GrpcAnswer(message=None, status=9, text="not now"), "device_refused"),
}
UNCERTAIN: dict[str, GrpcAnswer | type[OSError]] = {
    "hangs up": ConnectionResetError,
    "silent": GrpcAnswer(message=None),
    "internal error": GrpcAnswer(message=None, status=13),
    "garbage": GrpcAnswer(message=b"\xff" * 600),
    "10 MB": GrpcAnswer(message=b"A" * 10_000_000),
}
