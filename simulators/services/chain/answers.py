"""The shapes in which Bitcoin Core answers: blocks, headers, transactions, coins."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Raw

from simulators.services.chain.block import BITS, TARGET
from simulators.services.chain.descriptors import Derived
from simulators.services.chain.kernel import BlockMissing, Coin
from simulators.services.chain.ledger import Ledger
from simulators.services.chain.node import Node
from simulators.services.chain.script import address_of, assembly, kind, plain_descriptor
from simulators.services.chain.wire import Block, Outpoint, Transaction, shown

WORK_PER_BLOCK = 2
SYNC_RATE_PER_S = 0.001
Answer = dict[str, Any]


def amount(value_sat: int) -> Raw:
    """Satoshis as bitcoin: a JSON number with 8 places, made of whole numbers."""
    whole, rest = divmod(abs(value_sat), 100_000_000)
    return Raw(f"{'-' if value_sat < 0 else ''}{whole}.{rest:08}".encode())


def difficulty() -> Raw:
    """Of regtest, where it never changes."""
    return _real(0xFFFF / (BITS & 0xFFFFFF) / 256 ** ((BITS >> 24) - 29))


def chain_info(node: Node) -> Answer:
    """`getblockchaininfo`."""
    ledger = node.ledger
    _, header = ledger.kernel.header(ledger.tip)
    time_s = _number(header, 68)
    count = len(ledger.transactions) + 1
    ahead = max(time.time() - time_s, 0.0) * SYNC_RATE_PER_S
    return {
        "chain": "regtest",
        "blocks": ledger.height,
        "headers": ledger.kernel.headers_height,
        "bestblockhash": ledger.tip,
        "bits": f"{BITS:08x}",
        "target": f"{TARGET:064x}",
        "difficulty": difficulty(),
        "time": time_s,
        "mediantime": ledger.median_time_s(ledger.tip),
        "verificationprogress": _real(count / (count + ahead)),
        "initialblockdownload": node.behind,
        "chainwork": _work(ledger.height),
        "size_on_disk": ledger.bytes_on_disk,
        "pruned": False,
        "warnings": [],
    }


def header_answer(ledger: Ledger, block_hash: str) -> Answer:
    """`getblockheader`. A block outside the best chain has -1 confirmations. Raises KeyError."""
    height, header = ledger.kernel.header(block_hash)
    active = ledger.is_active(block_hash, height)
    try:
        count = len(ledger.kernel.block(block_hash).transactions)
    except BlockMissing:
        count = 0
    answer: Answer = {
        "hash": block_hash,
        "confirmations": ledger.height - height + 1 if active else -1,
        "height": height,
        "version": _number(header, 0),
        "versionHex": f"{_number(header, 0):08x}",
        "merkleroot": shown(header[36:68]),
        "time": _number(header, 68),
        "mediantime": ledger.median_time_s(block_hash),
        "nonce": _number(header, 76),
        "bits": f"{_number(header, 72):08x}",
        "target": f"{TARGET:064x}",
        "difficulty": difficulty(),
        "chainwork": _work(height),
        "nTx": count,
    }
    if height > 0:
        answer["previousblockhash"] = shown(header[4:36])
    if active and height < ledger.height:
        answer["nextblockhash"] = ledger.hash_at(height + 1)
    return answer


def block_answer(ledger: Ledger, block: Block, *, details: bool) -> Answer:
    """`getblock` with transaction ids, or with whole transactions."""
    coinbase = block.transactions[0]
    made = coinbase.inputs[0]
    stripped, size = block.stripped_size, len(block.raw)
    transactions: list[Any] = [tx.txid for tx in block.transactions]
    if details:
        spent: list[Sequence[Coin] | None] = [None, *_spent_coins(ledger, block)]
        pairs = zip(block.transactions, spent, strict=True)
        transactions = [transaction_answer(tx, coins) for tx, coins in pairs]
    return {
        **header_answer(ledger, block.hash),
        "strippedsize": stripped,
        "size": size,
        "weight": stripped * 3 + size,
        "coinbase_tx": {
            "version": coinbase.version,
            "locktime": coinbase.lock_time,
            "sequence": made.sequence,
            "coinbase": made.script_sig.hex(),
            **({"witness": made.witness[0].hex()} if made.witness else {}),
        },
        "tx": transactions,
    }


def transaction_answer(tx: Transaction, spent: Sequence[Coin] | None) -> Answer:
    """A transaction inside a block; with the coins that it spends its fee is known."""
    answer: Answer = {
        "txid": tx.txid,
        "hash": tx.wtxid,
        "version": tx.version,
        "size": len(tx.raw),
        "vsize": tx.virtual_size,
        "weight": tx.weight,
        "locktime": tx.lock_time,
        "vin": [_input_answer(tx, number) for number in range(len(tx.inputs))],
        "vout": [
            {
                "value": amount(output.value_sat),
                "n": number,
                "scriptPubKey": script_answer(output.script),
            }
            for number, output in enumerate(tx.outputs)
        ],
    }
    if spent is not None:
        value_in = sum(coin.output.value_sat for coin in spent)
        answer["fee"] = amount(value_in - sum(output.value_sat for output in tx.outputs))
    answer["hex"] = tx.raw.hex()
    return answer


def script_answer(script: bytes) -> Answer:
    """A script of an output."""
    address = address_of(script)
    return {
        "asm": assembly(script),
        "desc": plain_descriptor(script),
        "hex": script.hex(),
        **({} if address is None else {"address": address}),
        "type": kind(script),
    }


def coin_answer(ledger: Ledger, coin: Coin) -> Answer:
    """`gettxout`."""
    return {
        "bestblock": ledger.tip,
        "confirmations": 0 if coin.height is None else ledger.height - coin.height + 1,
        "value": amount(coin.output.value_sat),
        "scriptPubKey": script_answer(coin.output.script),
        "coinbase": coin.coinbase,
    }


def scan_answer(ledger: Ledger, wanted: Mapping[bytes, Derived]) -> Answer:
    """`scantxoutset`: the coins of scripts. `wanted`: by script."""
    found = [pair for pair in ledger.coins.items() if pair[1].output.script in wanted]
    found.sort(key=lambda pair: pair[0].sort_key())
    return {
        "success": True,
        "txouts": len(ledger.coins),
        "height": ledger.height,
        "bestblock": ledger.tip,
        "unspents": [_found(ledger, *pair, wanted[pair[1].output.script]) for pair in found],
        "total_amount": amount(sum(coin.output.value_sat for _, coin in found)),
    }


def _found(ledger: Ledger, outpoint: Outpoint, coin: Coin, derived: Derived) -> Answer:
    height = coin.height or 0
    return {
        "txid": outpoint.txid,
        "vout": outpoint.vout,
        "scriptPubKey": coin.output.script.hex(),
        "desc": derived.text,
        "amount": amount(coin.output.value_sat),
        "coinbase": coin.coinbase,
        "height": height,
        "blockhash": ledger.hash_at(height),
        "confirmations": ledger.height - height + 1,
    }


def _input_answer(tx: Transaction, number: int) -> Answer:
    spent = tx.inputs[number]
    if tx.is_coinbase:
        answer: Answer = {"coinbase": spent.script_sig.hex()}
    else:
        answer = {
            "txid": spent.outpoint.txid,
            "vout": spent.outpoint.vout,
            "scriptSig": {"asm": assembly(spent.script_sig), "hex": spent.script_sig.hex()},
        }
    if spent.witness:
        answer["txinwitness"] = [item.hex() for item in spent.witness]
    return {**answer, "sequence": spent.sequence}


def _spent_coins(ledger: Ledger, block: Block) -> Sequence[Sequence[Coin] | None]:
    """Per transaction after the first; unknown for a block that never was in the best chain."""
    try:
        return ledger.kernel.spent_coins(block.hash)
    except RuntimeError:
        return [None] * (len(block.transactions) - 1)


def _number(header: bytes, at: int) -> int:
    return int.from_bytes(header[at : at + 4], "little")


def _real(value: float) -> Raw:
    """A number with the 16 digits that Core gives it."""
    return Raw(f"{value:.16g}".encode())


def _work(height: int) -> str:
    return f"{WORK_PER_BLOCK * (height + 1):064x}"
