"""Makers of chain facts for tests: short ids that look like what they are."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

from controller.money.facts import Block, Coin, OutPoint, Output, Place, Tx, Wallet

T0 = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
COLLECTION = b"\x00\x14" + b"c" * 20
RESERVE = b"\x00\x20" + b"r" * 32
STRANGER = b"\x00\x14" + b"s" * 20
WATCHED = {
    COLLECTION: Place(wallet=Wallet.COLLECTION, branch=0, index=0),
    RESERVE: Place(wallet=Wallet.RESERVE, branch=0, index=0),
}


def txid(*words):
    return sha256(repr(words).encode()).hexdigest()


def tx(name, *, spends=(), pays=(), coinbase=False):
    """`pays`: pairs of script and satoshis."""
    return Tx(
        txid=txid(name),
        coinbase=coinbase,
        spends=tuple(spends),
        outputs=tuple(Output(script=script, sat=sat) for script, sat in pays),
    )


def block(height, *txs, branch="main"):
    return Block(
        height=height,
        hash=txid("block", height, branch),
        previous=txid("block", height - 1, branch),
        at=T0 + timedelta(minutes=10 * height),
        txs=txs,
    )


def coin(name, sat, *, wallet=Wallet.COLLECTION, height=1, coinbase=False, vout=0):
    script = COLLECTION if wallet is Wallet.COLLECTION else RESERVE
    return Coin(
        outpoint=OutPoint(txid(name), vout),
        place=Place(wallet=wallet, branch=0, index=0),
        script=script,
        sat=sat,
        coinbase=coinbase,
        height=height,
        block_hash=txid("block", height, "main"),
    )
