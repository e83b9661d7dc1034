"""JSON-RPC over HTTP as Bitcoin Core speaks it: 1.0 with HTTP errors, 2.0 without; batches."""

import asyncio
import hmac
import json
import secrets
from base64 import b64decode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from simulators.services.chain.errors import (
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE,
    CallError,
)

BODY_BYTES_MAX = 32 * 1024 * 1024
WRONG_PASSWORD_WAIT_S = 0.25
USER = "__cookie__"
_ENCODER = msgspec.json.Encoder(decimal_format="number")
_ASK = {"WWW-Authenticate": 'Basic realm="jsonrpc"'}

Execute = Callable[[str, object], object]


@dataclass(slots=True)
class _Request:
    """What is known of a request so far; an error answers with as much of it."""

    has_id: bool = True
    id: object = None
    version_2: bool = False


def write_cookie(path: Path) -> str:
    """Write a fresh cookie file, readable by its owner alone: the password in it."""
    password = secrets.token_hex(32)
    fresh = path.with_name(f"{path.name}.tmp")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    fresh.write_text(f"{USER}:{password}")
    fresh.replace(path)
    return password


def application(execute: Execute, password: str) -> web.Application:
    """The HTTP server's one path. `execute(method, arguments)` raises CallError."""
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app.router.add_route("*", "/", _handler(execute, password))
    return app


def answer(execute: Execute, body: bytes) -> tuple[int, bytes]:
    """HTTP status and body of the reply to a request's body."""
    try:
        request = json.loads(body.decode("utf-8"), parse_float=Decimal, parse_constant=_no_constant)
        # What cannot be written again, as half a character alone, could not be answered.
        _ENCODER.encode(request)
    except (ValueError, ArithmeticError, RecursionError):
        return 500, _reply(_Request(), None, _error(PARSE, "Parse error"))
    if isinstance(request, list):
        # One state for all of them, as in Core: what names no id of its own gets the one before.
        state = _Request()
        every = [_one(execute, one, state) for one in request]
        replies = [reply for reply in every if reply is not None]
        if request and not replies:
            return 204, b""
        return 200, b"[" + b",".join(reply for _, reply in replies) + b"]"
    if not isinstance(request, dict):
        return 500, _reply(_Request(), None, _error(PARSE, "Top-level object parse error"))
    single = _one(execute, request, _Request())
    return (204, b"") if single is None else single


def _one(execute: Execute, given: object, request: _Request) -> tuple[int, bytes] | None:
    """Status and reply to one request; None to a notification, which is executed all the same."""
    try:
        method, arguments = _parse(given, request)
        result = execute(method, arguments)
        reply = 200, _reply(request, result, None)
    except CallError as error:
        status = {INVALID_REQUEST: 400, METHOD_NOT_FOUND: 404}.get(error.code, 500)
        status = 200 if request.version_2 else status
        reply = status, _reply(request, None, _error(error.code, error.message))
    return None if request.version_2 and not request.has_id else reply


def _parse(given: object, request: _Request) -> tuple[str, object]:
    if not isinstance(given, dict):
        raise CallError(INVALID_REQUEST, "Invalid Request object")
    request.has_id, request.id = "id" in given, given.get("id")
    request.version_2 = False
    match given.get("jsonrpc"):
        case None | "1.0":
            pass
        case "2.0":
            request.version_2 = True
        case str():
            raise CallError(INVALID_REQUEST, "JSON-RPC version not supported")
        case _:
            raise CallError(INVALID_REQUEST, "jsonrpc field must be a string")
    method = given.get("method")
    if method is None:
        raise CallError(INVALID_REQUEST, "Missing method")
    if not isinstance(method, str):
        raise CallError(INVALID_REQUEST, "Method must be a string")
    arguments = given.get("params")
    if arguments is None:
        arguments = []
    if not isinstance(arguments, list | dict):
        raise CallError(INVALID_REQUEST, "Params must be an array or object")
    return method, arguments


def _reply(request: _Request, result: object, error: dict[str, Any] | None) -> bytes:
    """The reply: in 1.0 with both result and error, in 2.0 with the one that there is."""
    reply: dict[str, Any] = {"jsonrpc": "2.0"} if request.version_2 else {}
    if error is None or not request.version_2:
        reply["result"] = result
    if error is not None or not request.version_2:
        reply["error"] = error
    if request.has_id:
        reply["id"] = request.id
    return _ENCODER.encode(reply)


def _error(code: int, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _handler(
    execute: Execute, password: str
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        if request.method != "POST":
            return web.Response(status=405, text="JSONRPC server handles only POST requests")
        given = request.headers.get("Authorization")
        if given is None:
            return web.Response(status=401, headers=_ASK)
        if not _may(given, password):
            await asyncio.sleep(WRONG_PASSWORD_WAIT_S)
            return web.Response(status=401, headers=_ASK)
        status, body = answer(execute, await request.read())
        if not body:
            return web.Response(status=status)
        return web.Response(status=status, body=body + b"\n", content_type="application/json")

    return handle


def _may(given: str, password: str) -> bool:
    scheme, _, token = given.partition(" ")
    try:
        user = b64decode(token.strip(), validate=True)
    except ValueError:
        return False
    return scheme == "Basic" and hmac.compare_digest(user, f"{USER}:{password}".encode())
