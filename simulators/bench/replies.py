"""What the C peer answers: replies of the simulated miners themselves, taken once.

The peer is for speed and knows no firmware; what it says has the form and size of the simulated
devices' replies, which follow recorded ones.
"""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import md5
from struct import pack as packed

from h2.connection import H2Connection
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from simulators.devices import protobuf
from simulators.devices.antminer import VENDOR_LOGIN
from simulators.devices.digest import fields_of
from simulators.devices.fleet import build_fleet
from simulators.devices.grpc_wire import GrpcSession
from simulators.devices.http_wire import write_answer
from simulators.devices.persona import GrpcRequest, HttpRequest, Persona

FIRMWARES: Mapping[str, int] = {
    "antminer-stock": 1,
    "luxos": 2,
    "whatsminer-v2": 3,
    "braiins": 4,
}
"""Firmware → second octet of its miners' addresses."""
DATABASE = 0
"""The same for 127.0.0.1, where lines of telemetry are taken."""

_MODELS = {
    "antminer-stock": "Antminer S19 Pro",
    "luxos": "Antminer S19k Pro",
    "whatsminer-v2": "WhatsMiner M50S",
    "braiins": "Antminer S19j Pro",
}
_COMMANDS = (
    *("version", "summary", "stats", "devs", "edevs", "devdetails", "pools", "config", "power"),
    *("temps", "fans", "profiles", "groups", "tempctrl", "atm", "limits", "events", "session"),
    *("logon", "tempctrl", "tunerstatus", "status", "get_version", "get_error_code", "get_psu"),
    *("get_miner_info", "get_token"),
)
_PAGES = ("get_miner_conf", "get_system_info")
_NOW_S = 100.0
_BRAIINS = "/braiins.bos.v1."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    feeder: str = "f1"
    firmware: str
    model: str
    count: int = 1
    first_host: str
    under_report_percent: float = 0.0
    deaf_count: int = 0
    deaf_percent: float = 0.0


def pack() -> bytes:
    """All replies in the form that the peer reads."""
    return b"".join(f"{name} {len(body)}\n".encode() + body for name, body in _replies())


def _replies() -> Iterator[tuple[str, bytes]]:
    yield f"{DATABASE}.http._api_v2_write", _plain(204)
    groups = [
        _Group(firmware=name, model=_MODELS[name], first_host=f"127.{number}.0.1")
        for name, number in FIRMWARES.items()
    ]
    for miner in build_fleet(groups, rng=random.Random(1)).values():
        number = FIRMWARES[miner.firmware]
        for name in dict.fromkeys(_COMMANDS):
            body = _rpc(miner, name)
            if not _is_unknown(body):
                yield f"{number}.rpc.{name}", body
        yield f"{number}.rpc.unknown", _rpc(miner, "unknown")
        yield f"{number}.rpc.act", _taken(miner)
        if miner.firmware == "antminer-stock":
            yield from _pages(miner, number)
        if miner.firmware == "braiins":
            yield from _calls(miner, number)


def _rpc(miner: Persona, command: str) -> bytes:
    key = "cmd" if miner.firmware == "whatsminer-v2" else "command"
    answer = miner.tcp("rpc", json.dumps({key: command}).encode(), _NOW_S)
    return (answer.body if answer is not None else None) or b""


def _is_unknown(body: bytes) -> bool:
    return not body or b"nvalid command" in body or b"invalid cmd" in body


def _taken(miner: Persona) -> bytes:
    """A command was taken. Whatever Whatsminer would say in cipher is left out: nobody reads it."""
    if miner.firmware == "whatsminer-v2":
        return b'{"STATUS":"S","When":1760000100,"Code":131,"Msg":"API command OK"}'
    return (
        b'{"STATUS":[{"STATUS":"S","When":1760000100,"Code":1,"Msg":"OK",'
        b'"Description":"simulated"}],"id":1}\0'
    )


def _pages(miner: Persona, number: int) -> Iterator[tuple[str, bytes]]:
    """The CGI pages: the challenge, and what stands behind it."""
    path = f"/cgi-bin/{_PAGES[0]}.cgi"
    challenge = miner.http("http", HttpRequest(method="GET", path=path), _NOW_S)
    yield f"{number}.http.challenge", write_answer(challenge)
    asked = fields_of(challenge.headers["WWW-Authenticate"])
    for page in _PAGES:
        path = f"/cgi-bin/{page}.cgi"
        headers = {"authorization": _authorization(asked, path)}
        answer = miner.http("http", HttpRequest(method="GET", path=path, headers=headers), _NOW_S)
        yield f"{number}.http.{path.replace('/', '_')}", write_answer(answer)
    yield f"{number}.http.unknown", _plain(404)
    done = b'{"stats":"success","code":"M000","msg":"OK!"}'
    yield f"{number}.http.act", _plain(200, done)


def _calls(miner: Persona, number: int) -> Iterator[tuple[str, bytes]]:
    """gRPC: how each call is known, and its answer as the whole of one connection."""
    login = protobuf.encode({1: "root", 2: "root"})
    path = f"{_BRAIINS}AuthenticationService/Login"
    request = GrpcRequest(path=path, metadata={}, message=login)
    token = miner.grpc(request, _NOW_S).metadata["authorization"]
    pause = GrpcRequest(
        path=f"{_BRAIINS}ActionsService/PauseMining",
        metadata={"authorization": token},
        message=b"",
    )
    coder = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
    for call in (request, pause):
        method = call.path.rpartition("/")[2]
        yield f"{number}.call.{method}", coder.encode(call.path.encode())
        yield f"{number}.grpc.{method}", _answered(miner, call)


def _answered(miner: Persona, call: GrpcRequest) -> bytes:
    client, session = H2Connection(), GrpcSession()
    client.initiate_connection()
    head = {":method": "POST", ":scheme": "http", ":path": call.path, ":authority": "m"}
    client.send_headers(1, list(head.items()))
    client.send_data(1, packed(">BI", 0, len(call.message)) + call.message, end_stream=True)
    ((stream, _),) = session.receive(client.data_to_send())
    session.answer(stream, miner.grpc(call, _NOW_S))
    return session.bytes_to_send()


def _authorization(asked: Mapping[str, str], path: str) -> str:
    user, password = VENDOR_LOGIN
    secret = _md5(f"{user}:{asked['realm']}:{password}")
    proof = _md5(f"{secret}:{asked['nonce']}:00000001:00:auth:{_md5(f'GET:{path}')}")
    return (
        f'Digest username="{user}", realm="{asked["realm"]}", nonce="{asked["nonce"]}", '
        f'uri="{path}", qop=auth, nc=00000001, cnonce="00", response="{proof}"'
    )


def _md5(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()


def _plain(status: int, body: bytes = b"") -> bytes:
    length = "" if status == 204 else f"Content-Length: {len(body)}\r\n"
    head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\n{length}Connection: close"
    return f"{head}\r\n\r\n".encode() + body
