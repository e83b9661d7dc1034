"""The forms of Bitcoin Core's answers, as far as they are read. Unknown fields are passed over."""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from controller.money.amounts import NotAnAmount, sat_from_btc
from controller.money.facts import OutPoint, Output, Tx

Height = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Number = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
"""Of an output, or seconds in a header: 32 bits in Bitcoin's own form."""


class InfoReply(msgspec.Struct, frozen=True):
    chain: str
    blocks: Height
    bestblockhash: str
    initialblockdownload: bool


class HeaderReply(msgspec.Struct, frozen=True):
    hash: str
    height: Height
    time: Number


class ScriptReply(msgspec.Struct, frozen=True):
    hex: str


class VoutReply(msgspec.Struct, frozen=True):
    n: Number
    value: Any
    script: ScriptReply = msgspec.field(name="scriptPubKey")


class VinReply(msgspec.Struct, frozen=True):
    txid: str | None = None
    vout: Number | None = None
    coinbase: str | None = None


class TxReply(msgspec.Struct, frozen=True):
    txid: str
    vin: list[VinReply]
    vout: list[VoutReply]


class BlockReply(msgspec.Struct, frozen=True):
    hash: str
    height: Height
    time: Number
    tx: list[TxReply]
    previousblockhash: str = ""


class TxOutReply(msgspec.Struct, frozen=True):
    value: Any
    script: ScriptReply = msgspec.field(name="scriptPubKey")


class UnspentReply(msgspec.Struct, frozen=True):
    txid: str
    vout: Number
    amount: Any
    script: str = msgspec.field(name="scriptPubKey")


class ScanReply(msgspec.Struct, frozen=True):
    success: bool
    height: Height
    bestblock: str
    unspents: list[UnspentReply]


class AcceptReply(msgspec.Struct, frozen=True):
    allowed: bool = False
    reason: str = msgspec.field(name="reject-reason", default="")


class FinalizeReply(msgspec.Struct, frozen=True):
    complete: bool
    hex: str = ""


def instant(unix_s: int) -> datetime:
    """Aware UTC of the seconds that a header claims. Raises ValueError."""
    try:
        return datetime.fromtimestamp(unix_s, UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{unix_s} is no time") from None


def transaction(found: TxReply) -> Tx:
    """A transaction of a block. Raises ValueError for what cannot be one."""
    coinbase = any(entry.coinbase is not None for entry in found.vin)
    outputs = []
    for number, output in enumerate(found.vout):
        if output.n != number:
            raise NotAnAmount(f"{found.txid[:80]}: outputs are not in their order")
        outputs.append(
            Output(script=bytes.fromhex(output.script.hex), sat=sat_from_btc(output.value))
        )
    return Tx(
        txid=found.txid,
        coinbase=coinbase,
        spends=tuple(
            OutPoint(entry.txid, entry.vout)
            for entry in found.vin
            if entry.txid is not None and entry.vout is not None
        ),
        outputs=tuple(outputs),
    )
