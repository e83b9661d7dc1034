"""Asks the Bitcoin Core node, and believes the form of nothing that it answers.

Thirteen calls, none of them a wallet's. Every one has a deadline for the whole exchange and a bound
on its reply, and blocks its thread: the treasury's work runs beside the event loop. Amounts arrive
as decimals and leave as whole satoshis.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from bitcoin_core_rpc import BitcoinCoreRpcClient, CookieNotFoundError, FetchError, RpcError

from controller.money.amounts import btc_from_sat, sat_from_btc
from controller.money.facts import Block, OutPoint, Output
from controller.money.policy import SEQUENCE
from controller.treasury.node_forms import (
    AcceptReply,
    BlockReply,
    FinalizeReply,
    HeaderReply,
    InfoReply,
    ScanReply,
    TxOutReply,
    instant,
    transaction,
)

_MIB = 1024 * 1024
_SMALL = _MIB
_LARGE = 64 * _MIB
"""A block with every script written out, or every coin of both wallets."""

_Form = TypeVar("_Form")


class ChainError(Exception):
    """The node cannot be used now. Says what happened and how to mend it."""


class NodeRefused(ChainError):
    """The node answered with an error of its own: `code` and `said` as Bitcoin Core gives them."""

    def __init__(self, call: str, code: int, said: str) -> None:
        super().__init__(f"{call}: {said} ({code})")
        self.code = code
        self.said = said


@dataclass(frozen=True, slots=True, kw_only=True)
class Tip:
    """What the node says of its best chain."""

    network: str
    height: int
    hash: str
    syncing: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """The node's own set of unspent coins that pay to the scanned descriptors, at one block."""

    height: int
    hash: str
    coins: Mapping[OutPoint, Output]


class Chain:
    """One node. `timeout_s` bounds each call, `scan_timeout_s` the search of all unspent coins.

    Every method raises ChainError; NodeRefused, which is one, when the node itself said no.
    """

    def __init__(
        self, url: str, cookie_file: Path, *, timeout_s: float, scan_timeout_s: float
    ) -> None:
        self._client = BitcoinCoreRpcClient(url, cookie_path=cookie_file, timeout=timeout_s)
        self._url = url
        self._scan_timeout_s = scan_timeout_s

    def tip(self) -> Tip:
        """The best block and the state of the node."""
        info = self._ask("getblockchaininfo", (), InfoReply)
        return Tip(
            network=_short(info.chain),
            height=info.blocks,
            hash=_hash(info.bestblockhash),
            syncing=info.initialblockdownload,
        )

    def block_hash(self, height: int) -> str | None:
        """The active chain's block at `height`; None above its tip."""
        try:
            return _hash(self._ask("getblockhash", (height,), str))
        except NodeRefused as refused:
            if refused.code == _INVALID_PARAMETER:
                return None
            raise

    def header_at(self, block_hash: str) -> datetime:
        """The time that a block's header claims."""
        found = self._ask("getblockheader", (block_hash, True), HeaderReply)
        try:
            return instant(found.time)
        except ValueError as error:
            raise ChainError(f"getblockheader {block_hash}: {error}") from None

    def block(self, block_hash: str) -> Block:
        """A whole block of the node's."""
        found = self._ask("getblock", (block_hash, 2), BlockReply, bytes_max=_LARGE)
        if found.hash != block_hash:
            raise ChainError(f"getblock: asked for {block_hash}, got {found.hash[:80]}")
        try:
            return Block(
                height=found.height,
                hash=found.hash,
                previous=found.previousblockhash,
                at=instant(found.time),
                txs=tuple(transaction(tx) for tx in found.tx),
            )
        except ValueError as error:
            raise ChainError(f"getblock {block_hash}: {error}") from None

    def coin(self, outpoint: OutPoint) -> Output | None:
        """An unspent output by the chain alone, the mempool left aside; None: spent or unknown."""
        params = (outpoint.txid, outpoint.vout, False)
        found: TxOutReply | None = self._ask("gettxout", params, _OPTIONAL_TXOUT)
        if found is None:
            return None
        try:
            return Output(script=bytes.fromhex(found.script.hex), sat=sat_from_btc(found.value))
        except ValueError as error:
            raise ChainError(f"gettxout {outpoint}: {error}") from None

    def scan(self, descriptors: Mapping[str, int | None]) -> Scan:
        """Search all unspent coins for these descriptors (how many addresses of each; None: it
        has one only). Takes minutes on the main network.
        """
        found = self._ask(
            "scantxoutset",
            ("start", _ranged(descriptors)),
            ScanReply,
            bytes_max=_LARGE,
            timeout_s=self._scan_timeout_s,
        )
        if not found.success:
            raise ChainError("scantxoutset: the node did not finish its search")
        try:
            coins = {
                OutPoint(entry.txid, entry.vout): Output(
                    script=bytes.fromhex(entry.script), sat=sat_from_btc(entry.amount)
                )
                for entry in found.unspents
            }
        except ValueError as error:
            raise ChainError(f"scantxoutset: {error}") from None
        return Scan(height=found.height, hash=_hash(found.bestblock), coins=coins)

    def create_psbt(self, spends: Sequence[OutPoint], address: str, sat: int) -> str:
        """An empty PSBT that spends these coins, in this order, to one address."""
        inputs = [{"txid": p.txid, "vout": p.vout, "sequence": SEQUENCE} for p in spends]
        outputs = [{address: btc_from_sat(sat)}]
        return self._psbt("createpsbt", (inputs, outputs, 0))

    def update_psbt(self, psbt: str, descriptors: Mapping[str, int | None]) -> str:
        """The same PSBT with previous transactions, scripts and key origins filled in."""
        return self._psbt("utxoupdatepsbt", (psbt, _ranged(descriptors)))

    def combine(self, psbts: Sequence[str]) -> str:
        """One PSBT with everything that these know of the same transaction."""
        return self._psbt("combinepsbt", (list(psbts),))

    def finalize(self, psbt: str) -> bytes | None:
        """The whole signed transaction; None while signatures are missing."""
        found = self._ask("finalizepsbt", (psbt, True), FinalizeReply, bytes_max=_LARGE)
        if not found.complete:
            return None
        try:
            return bytes.fromhex(found.hex)
        except ValueError:
            raise ChainError("finalizepsbt: the node's transaction is not in hex") from None

    def refusal(self, raw: bytes, max_sat_kvb: int) -> str | None:
        """Why the node's mempool would not take a transaction; None: it would."""
        params = ([raw.hex()], btc_from_sat(max_sat_kvb))
        (found,) = self._ask("testmempoolaccept", params, tuple[AcceptReply])
        return None if found.allowed else _short(found.reason) or "no reason given"

    def send(self, raw: bytes, max_sat_kvb: int) -> str:
        """Hand a transaction to the network and return its id. Again is harmless."""
        return self._ask("sendrawtransaction", (raw.hex(), btc_from_sat(max_sat_kvb)), str)

    def mempool(self) -> frozenset[str]:
        """The ids of all transactions that wait in the node."""
        return self._ask("getrawmempool", (), frozenset[str], bytes_max=_LARGE)

    def _psbt(self, call: str, params: Sequence[Any]) -> str:
        text = self._ask(call, params, str, bytes_max=_LARGE)
        if not text.isascii():
            raise ChainError(f"{self._url}: {call}: not a PSBT in base64")
        return text

    def _ask(
        self,
        call: str,
        params: Sequence[Any],
        form: type[_Form],
        *,
        bytes_max: int = _SMALL,
        timeout_s: float | None = None,
    ) -> _Form:
        try:
            reply = self._client.call(
                call, list(params), request_timeout=timeout_s, max_body_size=bytes_max
            )
            return msgspec.convert(reply, form)
        except RpcError as error:
            if error.code == _WARMING_UP:
                raise ChainError(f"{self._url}: the node is starting: {_short(error)}") from None
            # The library puts the call and the address before the node's own words.
            said = str(error.args[0]).removeprefix(f"{call} at {self._client.url}: ")
            raise NodeRefused(call, error.code, _short(said)) from None
        except CookieNotFoundError:
            raise ChainError(
                f"{self._client.cookie_path}: no cookie there; start the node, or mend "
                "`node.cookie_file`"
            ) from None
        except FetchError as error:
            raise ChainError(f"{self._url}: {call}: {_short(error)}") from None
        except msgspec.ValidationError as error:
            raise ChainError(f"{self._url}: {call}: not the node's form: {error}") from None


_OPTIONAL_TXOUT: Any = TxOutReply | None
_INVALID_PARAMETER = -8
_WARMING_UP = -28
_SAID_MAX = 300
_HASH_CHARS = 64


def _ranged(descriptors: Mapping[str, int | None]) -> list[Any]:
    return [
        text if count is None else {"desc": text, "range": [0, count - 1]}
        for text, count in descriptors.items()
    ]


def _short(said: object) -> str:
    return "".join(c if c.isprintable() else "?" for c in str(said)[:_SAID_MAX])


def _hash(text: str) -> str:
    if len(text) != _HASH_CHARS or not set(text) <= set("0123456789abcdef"):
        raise ChainError(f"{text[:80]!r} is no block hash")
    return text
