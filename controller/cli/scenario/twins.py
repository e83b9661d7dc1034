"""A simulated world behind the in-memory transports, in place of sockets."""

import struct

from controller.cli.scenario.virtual_time import VirtualClock
from drivers.contract.errors import Unreachable
from drivers.miners.pyasic_any.messages import Target
from drivers.miners.pyasic_any.port import Heard, MemoryPyasic
from drivers.transport.memory import (
    Answer,
    GrpcAnswer,
    GrpcQuestion,
    HttpAnswer,
    HttpQuestion,
    MemoryGrpc,
    MemoryHttp,
    MemoryModbus,
    MemoryTcpJson,
    RegistersAnswer,
    RegistersQuestion,
)
from drivers.transport.ports import HttpReply
from simulators.devices.persona import Close, GrpcRequest, HttpRequest, Persona
from simulators.world import World

_RPC, _HTTP, _GRPC = "rpc", "http", "grpc"
_LATENCY_S = 0.01


class Twins:
    """The world's devices as a site's transports. Every request sees the world as it is then."""

    def __init__(self, world: World, clock: VirtualClock) -> None:
        self._world = world
        self._clock = clock
        self._meters = {(m.setup.host, m.setup.port): m for m in world.meters.values()}
        self.tcp = MemoryTcpJson(self._tcp)
        self.http = MemoryHttp(self._http)
        self.grpc = MemoryGrpc(self._grpc)
        self.modbus = MemoryModbus(self._modbus)
        self.pyasic = MemoryPyasic(_nobody, _nobody)

    def _persona(self, host: str, port_name: str) -> Persona:
        persona = self._world.miners.get(host)
        if persona is None or not persona.accepts(port_name, self._clock.monotonic_s()):
            raise ConnectionRefusedError(f"{host} refuses {port_name}")
        return persona

    def _tcp(self, host: str, _port: int, request: bytes) -> Answer:
        persona = self._persona(host, _RPC)
        answer = persona.tcp(_RPC, request, self._clock.monotonic_s())
        if answer is None:
            return Answer(body=None)
        if answer.close is Close.RESET:
            raise ConnectionResetError(f"{host} hangs up")
        return Answer(body=answer.body, after_s=_LATENCY_S + answer.after_s)

    def _http(self, host: str, _port: int, asked: HttpQuestion) -> HttpAnswer:
        path, _, query = asked.path.partition("?")
        request = HttpRequest(
            method=asked.method,
            path=path,
            query=query,
            headers=asked.headers,
            body=asked.body,
        )
        persona = self._persona(host, _HTTP)
        answer = persona.http(_HTTP, request, self._clock.monotonic_s())
        if answer.close is Close.RESET:
            raise ConnectionResetError(f"{host} hangs up")
        after_s = _LATENCY_S + answer.after_s
        if answer.body is None:
            return HttpAnswer(reply=None, after_s=after_s)
        headers = {name.lower(): value for name, value in answer.headers.items()}
        reply = HttpReply(status=answer.status, headers=headers, body=answer.body)
        return HttpAnswer(reply=reply, after_s=after_s)

    def _grpc(self, host: str, _port: int, asked: GrpcQuestion) -> GrpcAnswer:
        request = GrpcRequest(path=asked.path, metadata=asked.metadata, message=asked.message)
        persona = self._persona(host, _GRPC)
        answer = persona.grpc(request, self._clock.monotonic_s())
        return GrpcAnswer(
            message=answer.message,
            status=answer.status,
            text=answer.detail,
            after_s=_LATENCY_S + answer.after_s,
        )

    def _modbus(self, host: str, port: int, asked: RegistersQuestion) -> RegistersAnswer:
        meter = self._meters.get((host, port))
        if meter is None:
            raise ConnectionRefusedError(f"no meter at {host}:{port}")
        pdu = struct.pack(">BHH", asked.function, asked.address, asked.count)
        served = meter.answer(asked.unit_id, pdu, self._clock.monotonic_s())
        if served.drop:
            raise ConnectionResetError(f"{host}:{port} hangs up")
        after_s = _LATENCY_S + served.delay_s
        if served.pdu is None or served.wrong_transaction:
            return RegistersAnswer(words=None, after_s=after_s)
        if served.pdu[0] & 0x80:
            return RegistersAnswer(words=None, exception_code=served.pdu[1], after_s=after_s)
        words = struct.unpack(f">{asked.count}H", served.pdu[2:])
        return RegistersAnswer(words=words, after_s=after_s)


def _nobody(target: Target, *_: object) -> Heard:
    """Every simulated firmware has a driver of its own."""
    detail = f"no simulated miner is driven by pyasic, but {target.firmware!r} is"
    raise Unreachable(target.device, "pyasic", detail, connected=False)
