"""The pool's own coins: one key, one script, and payments signed with it.

A payment is a function of the coins, the amount and the target: the same again is the same bytes.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from embit import ec, script  # type: ignore[import-untyped]
from embit.transaction import (  # type: ignore[import-untyped]
    SIGHASH,
    Transaction,
    TransactionInput,
    TransactionOutput,
)

from simulators.services.key_file import KeyFileError, read_key, write_key

FEERATE_SAT_VB = 2
DUST_SAT = 546
COINS_MAX = 200
"""In one payment."""
_SEQUENCE = 0xFFFFFFFD


@dataclass(frozen=True, slots=True)
class Coin:
    """An unspent output of the pool's script; `outpoint` is txid:vout."""

    outpoint: str
    amount_sat: int


@dataclass(frozen=True, slots=True)
class Payment:
    """A signed transaction: hex, its txid and the coins that it spends."""

    raw: str
    txid: str
    spent: tuple[str, ...]


class Wallet:
    """Signs with one key; change comes back to the same script."""

    def __init__(self, key: ec.PrivateKey) -> None:
        self._key = key
        self._script = script.p2wpkh(key)

    @property
    def script_hex(self) -> str:
        """The scriptPubKey that the pool's coinbases must pay."""
        return str(self._script.data.hex())

    @classmethod
    def of_file(cls, path: Path) -> "Wallet":
        """Read the key, or make it on the first start. Raises KeyFileError."""
        if not path.exists():
            write_key(path, secrets.token_bytes(32).hex())
        line = read_key(path)
        try:
            return cls(ec.PrivateKey(bytes.fromhex(line)))
        except Exception:  # noqa: BLE001 - whatever the library says may quote the secret
            raise KeyFileError(f"{path}: is no key of a pool; is it the right file?") from None

    def pay(self, coins: Iterable[Coin], target: script.Script, amount_sat: int) -> Payment | None:
        """Pay `amount_sat` and the fee on top, largest coins first; None when they do not do."""
        chosen: list[Coin] = []
        for coin in sorted(coins, key=lambda coin: (-coin.amount_sat, coin.outpoint))[:COINS_MAX]:
            chosen.append(coin)
            brought_sat = sum(coin.amount_sat for coin in chosen)
            change_sat = brought_sat - amount_sat - self._fee_sat(len(chosen), target)
            if change_sat >= 0:
                outputs = [TransactionOutput(amount_sat, target)]
                if change_sat >= DUST_SAT:
                    outputs.append(TransactionOutput(change_sat, self._script))
                return self._signed(chosen, outputs)
        return None

    def _fee_sat(self, inputs: int, target: script.Script) -> int:
        """For the largest size that a payment with change can have."""
        size_vb = 11 + 68 * inputs + sum(9 + len(s.data) for s in (target, self._script))
        return size_vb * FEERATE_SAT_VB

    def _signed(self, coins: Sequence[Coin], outputs: list[TransactionOutput]) -> Payment:
        vin = []
        for coin in coins:
            txid, _, vout = coin.outpoint.partition(":")
            vin.append(TransactionInput(bytes.fromhex(txid), int(vout), sequence=_SEQUENCE))
        transaction = Transaction(version=2, vin=vin, vout=outputs, locktime=0)
        code = script.p2pkh_from_p2wpkh(self._script)
        public = self._key.get_public_key().sec()
        for number, coin in enumerate(coins):
            digest = transaction.sighash_segwit(number, code, coin.amount_sat)
            signature = self._key.sign(digest).serialize() + bytes([SIGHASH.ALL])
            vin[number].witness = script.Witness([signature, public])
        return Payment(
            transaction.serialize().hex(),
            transaction.txid().hex(),
            tuple(coin.outpoint for coin in coins),
        )


def script_of(address: str) -> script.Script:
    """Return the script that an address stands for. Raises ValueError."""
    try:
        found = script.Script.from_address(address)
    except Exception:  # noqa: BLE001 - the library raises whatever it meets
        found = None
    if found is None:
        raise ValueError(f"{address!r} is no bitcoin address; copy it whole")
    return found
