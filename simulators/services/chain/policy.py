"""What the mempool refuses before it looks at scripts: one transaction, its coins, the next block.

Bitcoin Core's rules, reasons and words, as far as a sweep can meet them. Left out: counting
signature operations, chains and packages of unconfirmed transactions with their limits, versions
above 2's own rules, and the finer rules about witness stacks.
"""

from collections.abc import Mapping

from simulators.services.chain.kernel import Coin
from simulators.services.chain.ledger import Ledger, is_unspendable
from simulators.services.chain.script import kind, multisig, operations, witness_program
from simulators.services.chain.wire import COINBASE, Outpoint, Transaction, TxOut, with_size

MONEY_MAX_SAT = 21_000_000 * 100_000_000
MATURITY_BLOCKS = 100
RELAY_SAT_PER_KVB = 100
DUST_SAT_PER_KVB = 3_000
WEIGHT_MAX = 400_000
BLOCK_WEIGHT_MAX = 4_000_000
STRIPPED_BYTES_MIN = 65
SCRIPT_SIG_BYTES_MAX = 1_650
HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_LOCK_TIME_IS_TIME = 500_000_000
_FINAL = 0xFFFFFFFF
_BIP68_OFF, _BIP68_TIME, _BIP68_VALUE = 1 << 31, 1 << 22, 0xFFFF


class Refused(Exception):
    """A transaction that may not enter: Bitcoin Core's reason, and its details where it has some.

    `missing`: its inputs are unknown or spent, which Core tells apart from all else.
    """

    def __init__(self, reason: str, details: str = "", *, missing: bool = False) -> None:
        super().__init__(f"{reason}, {details}" if details else reason)
        self.reason = reason
        self.missing = missing


def fee_sat(virtual_bytes: int, sat_per_kvb: int) -> int:
    """The fee of a size at a rate, rounded up."""
    return -(-virtual_bytes * sat_per_kvb // 1000)


def check_alone(tx: Transaction) -> None:
    """What can be said without the chain. Raises Refused."""
    _check_consensus(tx)
    if tx.is_coinbase:
        raise Refused("coinbase")
    if not 1 <= tx.version <= 3:
        raise Refused("version")
    if tx.weight > WEIGHT_MAX:
        raise Refused("tx-size")
    for spent in tx.inputs:
        if len(spent.script_sig) > SCRIPT_SIG_BYTES_MAX:
            raise Refused("scriptsig-size")
        if any(step is None or step[0] > 0x60 for step in operations(spent.script_sig)):
            raise Refused("scriptsig-not-pushonly")
    for output in tx.outputs:
        if kind(output.script) == "nonstandard" or not _is_small_multisig(output.script):
            raise Refused("scriptpubkey")
    if sum(is_dust(output) for output in tx.outputs) > 1:
        raise Refused("dust")
    if len(tx.stripped) < STRIPPED_BYTES_MIN:
        raise Refused("tx-size-small")


def check_final(tx: Transaction, ledger: Ledger) -> None:
    """Whether its lock time lets it into the next block. Raises Refused."""
    if tx.lock_time == 0 or all(spent.sequence == _FINAL for spent in tx.inputs):
        return
    by_height = tx.lock_time < _LOCK_TIME_IS_TIME
    now = ledger.height + 1 if by_height else ledger.median_time_s(ledger.tip)
    if tx.lock_time >= now:
        raise Refused("non-final")


def check_coins(tx: Transaction, coins: Mapping[Outpoint, Coin], ledger: Ledger) -> int:
    """Whether its coins may go into the next block: the fee. Raises Refused."""
    if tx.version >= 2:
        for spent in tx.inputs:
            _check_relative(spent.sequence, coins[spent.outpoint], ledger)
    for coin in coins.values():
        depth = 0 if coin.height is None else ledger.height + 1 - coin.height
        if coin.coinbase and depth < MATURITY_BLOCKS:
            raise Refused(
                "bad-txns-premature-spend-of-coinbase",
                f"tried to spend coinbase at depth {depth}",
            )
    value_in = sum(coin.output.value_sat for coin in coins.values())
    value_out = sum(output.value_sat for output in tx.outputs)
    if value_in < value_out:
        raise Refused(
            "bad-txns-in-belowout", f"value in ({money(value_in)}) < value out ({money(value_out)})"
        )
    return value_in - value_out


def check_fee(tx: Transaction, fee: int, *, relay: bool) -> None:
    """Whether it pays for being relayed; out of a block it need not. Raises Refused."""
    if fee and any(is_dust(output) for output in tx.outputs):
        raise Refused("dust", "tx with dust output must be 0-fee")
    floor = fee_sat(tx.virtual_size, RELAY_SAT_PER_KVB)
    if relay and fee < floor:
        raise Refused("min relay fee not met", f"{fee} < {floor}")


def check_signatures_low(tx: Transaction) -> None:
    """Whether signatures have the lower of two values: no rule of consensus. Raises Refused."""
    for number, spent in enumerate(tx.inputs):
        pushed = [step[1] for step in operations(spent.script_sig) if step is not None]
        if any(is_high_signature(item) for item in (*spent.witness, *pushed)):
            raise Refused(
                "mempool-script-verify-flag-failed "
                "(Non-canonical signature: S value is unnecessarily high)",
                where(tx, number),
            )


def is_high_signature(item: bytes) -> bool:
    """Whether bytes are a signature in DER, hash type behind, with the higher of two values."""
    if not 9 <= len(item) <= 73 or item[0] != 0x30 or item[1] != len(item) - 3 or item[2] != 2:
        return False
    second = 4 + item[3]
    if second + 2 > len(item) or item[second] != 2 or second + 3 + item[second + 1] != len(item):
        return False
    return int.from_bytes(item[second + 2 : -1], "big") > HALF_ORDER


def where(tx: Transaction, number: int) -> str:
    """Which input it is about."""
    txid, vout = tx.inputs[number].outpoint
    return f"input {number} of {tx.txid} (wtxid {tx.wtxid}), spending {txid}:{vout}"


def is_dust(output: TxOut) -> bool:
    """Whether spending an output would cost more than a third of it at the dust rate."""
    if is_unspendable(output.script):
        return False
    spending = 67 if witness_program(output.script) else 148
    size = 8 + len(with_size(output.script)) + spending
    return output.value_sat < fee_sat(size, DUST_SAT_PER_KVB)


def money(value_sat: int) -> str:
    """Bitcoin with at least two places, as Core writes them in sentences."""
    whole, rest = divmod(value_sat, 100_000_000)
    places = f"{rest:08}".rstrip("0")
    return f"{whole}.{places:0<2}"


def _check_consensus(tx: Transaction) -> None:
    if not tx.inputs:
        raise Refused("bad-txns-vin-empty")
    if not tx.outputs:
        raise Refused("bad-txns-vout-empty")
    if len(tx.stripped) * 4 > BLOCK_WEIGHT_MAX:
        raise Refused("bad-txns-oversize")
    for output in tx.outputs:
        if output.value_sat < 0:
            raise Refused("bad-txns-vout-negative")
        if output.value_sat > MONEY_MAX_SAT:
            raise Refused("bad-txns-vout-toolarge")
    if sum(output.value_sat for output in tx.outputs) > MONEY_MAX_SAT:
        raise Refused("bad-txns-txouttotal-toolarge")
    if len({spent.outpoint for spent in tx.inputs}) < len(tx.inputs):
        raise Refused("bad-txns-inputs-duplicate")
    if tx.is_coinbase and not 2 <= len(tx.inputs[0].script_sig) <= 100:
        raise Refused("bad-cb-length")
    if not tx.is_coinbase and any(spent.outpoint == COINBASE for spent in tx.inputs):
        raise Refused("bad-txns-prevout-null")


def _is_small_multisig(script: bytes) -> bool:
    found = multisig(script)
    return found is None or len(found[1]) <= 3


def _check_relative(sequence: int, coin: Coin, ledger: Ledger) -> None:
    """Relative lock times of BIP 68, for the next block."""
    if sequence & _BIP68_OFF:
        return
    height = ledger.height + 1 if coin.height is None else coin.height
    value = sequence & _BIP68_VALUE
    if sequence & _BIP68_TIME:
        since_s = ledger.median_time_s(ledger.hash_at(max(height - 1, 0)))
        early = since_s + (value << 9) - 1 >= ledger.median_time_s(ledger.tip)
    else:
        early = height + value - 1 >= ledger.height + 1
    if early:
        raise Refused("non-BIP68-final")
