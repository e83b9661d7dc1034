"""The pool's bitcoin node: three calls of its JSON-RPC, bounded in time and size."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from simulators.services.pool.wallet import Coin

REPLY_BYTES_MAX = 16_777_216
COOKIE_BYTES_MAX = 512
TIMEOUT_S = 20.0
COINBASE_DEPTH = 100
"""Confirmations from which the next block may spend a coinbase."""
ALREADY_MINED = -27
SATS_PER_BTC = 100_000_000

_T = TypeVar("_T")


class NodeAway(Exception):
    """The node cannot be asked now; the message says why."""


class NodeRefused(Exception):
    """The node answered with an error: its number and its words."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code


@dataclass(frozen=True, slots=True)
class Node:
    """One node; the cookie is read before each call, since a restart of the node renews it."""

    url: str
    cookie_file: Path

    async def tip(self) -> str:
        """Return the hash of the best block. Raises NodeAway, NodeRefused."""
        return await self._ask(lambda found: str(found["bestblockhash"]), "getblockchaininfo")

    async def coins(self, script_hex: str) -> list[Coin]:
        """Return what may be spent in the next block. Raises NodeAway, NodeRefused."""
        wanted = [{"desc": f"raw({script_hex})"}]
        return await self._ask(_spendable, "scantxoutset", "start", wanted)

    async def send(self, raw: str) -> None:
        """Send a transaction, or send it again. Raises NodeAway, NodeRefused."""
        try:
            await self._ask(str, "sendrawtransaction", raw)
        except NodeRefused as error:
            if error.code != ALREADY_MINED:
                raise

    async def _ask(self, take: Callable[[Any], _T], method: str, *params: object) -> _T:
        """Call a method and `take` what is wanted from its result."""
        body = json.dumps({"jsonrpc": "1.0", "id": 0, "method": method, "params": params})
        try:
            answer = json.loads(await self._post(body.encode()), parse_float=Decimal)
            error = answer["error"]
            if error is None:
                return take(answer["result"])
            refusal = NodeRefused(int(error["code"]), str(error["message"]))
        except (OSError, aiohttp.ClientError) as trouble:
            why = str(trouble) or "does not answer in time"
            raise NodeAway(f"node {self.url}: {why}") from None
        except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError):
            raise NodeAway(f"node {self.url}: its answer to {method} cannot be read") from None
        raise refusal

    async def _post(self, body: bytes) -> bytes:
        headers = {"Authorization": f"Basic {b64encode(self._cookie()).decode()}"}
        data = bytearray()
        # A connection of its own for each call: a restarted node leaves no dead one behind.
        async with (
            asyncio.timeout(TIMEOUT_S),
            aiohttp.ClientSession(headers=headers) as session,
            session.post(self.url, data=body) as reply,
        ):
            if reply.status == HTTPStatus.UNAUTHORIZED:
                raise PermissionError(f"it does not take the password in {self.cookie_file}")
            async for chunk in reply.content.iter_any():
                data += chunk
                if len(data) > REPLY_BYTES_MAX:
                    raise ValueError("reply is too large")
        return bytes(data)

    def _cookie(self) -> bytes:
        with self.cookie_file.open("rb") as file:
            return file.read(COOKIE_BYTES_MAX).strip()


def _spendable(found: Any) -> list[Coin]:
    return [
        Coin(f"{coin['txid']}:{coin['vout']}", int(coin["amount"] * SATS_PER_BTC))
        for coin in found["unspents"]
        if not coin["coinbase"] or found["height"] - coin["height"] + 1 >= COINBASE_DEPTH
    ]
