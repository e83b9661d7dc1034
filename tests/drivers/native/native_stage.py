"""A miner that answers as the recorded one did, over any transport, and can be bent."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from drivers.transport.memory import Answer, GrpcAnswer, GrpcQuestion, HttpAnswer, HttpQuestion
from drivers.transport.ports import HttpReply
from simulators.devices import protobuf

CONFIG = {
    "pools": [{"url": "stratum+tcp://pool.example:3333", "user": "w.1", "pass": "x"}],
    "api-listen": True,
    "bitmain-fan-ctrl": False,
    "bitmain-fan-pwm": "100",
    "bitmain-work-mode": "0",
    "bitmain-freq-level": "100",
}
OK = {"STATUS": "S", "Code": 131, "Msg": "API command OK"}
LUXOS_WRITES = {"curtail", "profileset", "atmset"}
MESSAGES = {
    "Login": {1: "eUInGZBQ4yGyKiDe", 2: 3_600},
    "GetMinerDetails": {2: {1: 1, 4: "Antminer S19j Pro"}, 5: {1: "25.05.1-plus"}, 12: 2},
    "GetMinerConfiguration": {3: {1: True, 2: 1, 3: {1: 3_068}}},
    "GetConstraints": {1: {1: {1: {1: 3_068}, 2: {1: 920}, 3: {1: 3_375}}}},
    "PauseMining": {},
    "ResumeMining": {},
    "SetPowerTarget": {1: {1: 2_000}},
}
BRAIINS_WRITES = {"PauseMining", "ResumeMining", "SetPowerTarget"}

BROKEN = {
    "empty": lambda _: b"",
    "garbage": lambda _: b"\xff\xfe\x00 nonsense \x80",
    "null": lambda _: b"null",
    "a list": lambda _: b"[]",
    "a number": lambda _: b"1e999",
    "an empty object": lambda _: b"{}",
    "deep": lambda _: b'{"STATS":' + b"[" * 100_000,
    "half": lambda body: body[: len(body) // 2],
    "all but the end": lambda body: body.rstrip()[:-1],
    "an error": lambda _: b'{"STATUS":[{"STATUS":"E","Code":14,"Msg":"invalid cmd"}]}',
    "10 MB": lambda _: b'{"a":"' + b"x" * 10_000_000 + b'"}',
}


@dataclass
class Device:
    """Answers like the recorded device; the fields bend what it does."""

    replies: dict[str, bytes]
    config: dict[str, Any] = field(default_factory=lambda: dict(CONFIG))
    bend: Callable[[bytes], bytes] = lambda body: body
    bends: Callable[[str], bool] = lambda _: True
    after_s: float = 0.0
    silent: bool = False
    error: type[OSError] | None = None
    status: int = 200
    writes: list[dict[str, Any]] = field(default_factory=list)
    sealed: int = 0
    luxos_writes: list[str] = field(default_factory=list)
    braiins_writes: list[str] = field(default_factory=list)

    def _said(self, name: str, body: bytes) -> bytes | None:
        if self.error is not None and self.bends(name):
            raise self.error
        if self.silent and self.bends(name):
            return None
        return self.bend(body) if self.bends(name) else body

    def tcp(self, host: str, port: int, request: bytes) -> Answer:
        asked = json.loads(request)
        if "enc" in asked:
            self.sealed += 1
            return Answer(body=self._said("enc", json.dumps(OK).encode()), after_s=self.after_s)
        name = asked.get("command") or asked["cmd"]
        if name in LUXOS_WRITES:
            self.luxos_writes.append(asked["parameter"])
        parts = name.split("+")
        body = self.replies[name] if len(parts) == 1 else self._joined(parts)
        return Answer(body=self._said(name, body), after_s=self.after_s)

    def _joined(self, names: list[str]) -> bytes:
        return json.dumps({name: [json.loads(self.replies[name])] for name in names}).encode()

    def http(self, host: str, port: int, question: HttpQuestion) -> HttpAnswer:
        name = question.path.removeprefix("/cgi-bin/").removesuffix(".cgi")
        after_s = self.after_s
        if name == "get_miner_conf":
            body = json.dumps(self.config).encode()
        elif name == "set_miner_conf":
            self.writes.append(json.loads(question.body))
            self.config = self.writes[-1]
            body, after_s = b'{"stats":"success","code":"M000","msg":"OK!"}', after_s + 21.0
        else:
            body = self.replies[name]
        said = self._said(name, body)
        reply = None if said is None else HttpReply(status=self.status, headers={}, body=said)
        return HttpAnswer(reply=reply, after_s=after_s)

    def grpc(self, host: str, port: int, question: GrpcQuestion) -> GrpcAnswer:
        name = question.path.rpartition("/")[2]
        if name in BRAIINS_WRITES:
            self.braiins_writes.append(name)
        said = self._said(name, protobuf.encode(MESSAGES[name]))
        status = {200: 0, 401: 16}.get(self.status, 13)
        message = None if status else said
        return GrpcAnswer(message=message, status=status, after_s=self.after_s)
