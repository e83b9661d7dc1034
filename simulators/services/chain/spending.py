"""Calls that prepare and send transactions."""

from collections.abc import Iterable, Mapping
from typing import Any

from simulators.services.chain import psbt, psbt_finalize, psbt_update
from simulators.services.chain.answers import amount
from simulators.services.chain.arguments import (
    COIN_SAT,
    amount_sat,
    expect,
    fee_rate_sat_per_kvb,
    hash_text,
    hex_bytes,
    transaction,
    type_name,
    whole_number,
)
from simulators.services.chain.descriptors import Derived
from simulators.services.chain.errors import (
    ADDRESS_OR_KEY,
    ALREADY_IN_CHAIN,
    PARAMETER,
    VERIFY,
    VERIFY_REJECTED,
    CallError,
)
from simulators.services.chain.ledger import is_unspendable
from simulators.services.chain.node import Node
from simulators.services.chain.policy import Refused, fee_sat
from simulators.services.chain.script import operations, script_of
from simulators.services.chain.wire import Outpoint, Transaction, TxIn, TxOut, with_size

FEE_RATE_MAX_SAT_PER_KVB = COIN_SAT // 10
_FINAL, _REPLACEABLE = 0xFFFFFFFF, 0xFFFFFFFD


def test_accept(node: Node, raw_transactions: list[Any], max_fee_rate: object) -> list[Any]:
    """`testmempoolaccept`, of one transaction."""
    if not raw_transactions:
        said = "Array must contain between 1 and 25 transactions."
        raise CallError(PARAMETER, said)
    if len(raw_transactions) > 1:
        said = "This simulated node tests exactly 1 transaction at a time."
        raise CallError(PARAMETER, said)
    rate = _max_fee_rate(max_fee_rate)
    text = expect(raw_transactions[0], "string")
    said = f"TX decode failed: {text} Make sure the tx has at least one input."
    tx = transaction(text, said)
    answer: dict[str, Any] = {"txid": tx.txid, "wtxid": tx.wtxid}
    try:
        fee = node.mempool.test(tx).fee_sat
    except Refused as refused:
        if refused.missing:
            return [answer | {"allowed": False, "reject-reason": "missing-inputs"}]
        why = {"reject-reason": refused.reason, "reject-details": str(refused)}
        return [answer | {"allowed": False, **why}]
    if rate and fee > fee_sat(tx.virtual_size, rate):
        return [answer | {"allowed": False, "reject-reason": "max-fee-exceeded"}]
    fees = {
        "base": amount(fee),
        "effective-feerate": amount(fee * 1000 // tx.virtual_size),
        "effective-includes": [tx.wtxid],
    }
    return [answer | {"allowed": True, "vsize": tx.virtual_size, "fees": fees}]


def send(node: Node, raw: object, max_fee_rate: object, max_burn: object) -> str:
    """`sendrawtransaction`: the id, also when the mempool has it already."""
    burn_sat = 0 if max_burn is None else amount_sat(max_burn)
    tx = transaction(raw, "TX decode failed. Make sure the tx has at least one input.")
    for output in tx.outputs:
        cut_short = None in operations(output.script)
        if output.value_sat > burn_sat and (is_unspendable(output.script) or cut_short):
            said = "Unspendable output exceeds maximum configured by user (maxburnamount)"
            raise CallError(VERIFY, said)
    rate = _max_fee_rate(max_fee_rate)
    outputs = range(len(tx.outputs))
    if any(Outpoint(tx.txid, vout) in node.ledger.coins for vout in outputs):
        raise CallError(ALREADY_IN_CHAIN, "Transaction outputs already in utxo set")
    if tx.txid in node.mempool.waiting:
        return tx.txid
    try:
        if rate and node.mempool.test(tx).fee_sat > fee_sat(tx.virtual_size, rate):
            said = "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)"
            raise CallError(VERIFY, said)
        node.mempool.add(tx)
    except Refused as refused:
        code = VERIFY if refused.missing else VERIFY_REJECTED
        raise CallError(code, str(refused)) from None
    return tx.txid


def create(
    _node: Node,
    inputs: list[Any],
    outputs: object,
    lock_time: object,
    replaceable: bool | None,
    version: object,
) -> str:
    """`createpsbt`."""
    time = 0 if lock_time is None else lock_time
    if not isinstance(time, int) or not 0 <= time <= _FINAL:
        raise CallError(PARAMETER, "Invalid parameter, locktime out of range")
    made = 2 if version is None else whole_number(version)
    if not 1 <= made <= 3:
        raise CallError(PARAMETER, "Invalid parameter, version out of range(1~3)")
    sequence = _REPLACEABLE if replaceable is not False else _FINAL - (time > 0)
    spent = tuple(_input(one, sequence) for one in inputs)
    tx = Transaction(spent, tuple(_outputs(outputs)), made, time)
    if replaceable and spent and all(one.sequence > _REPLACEABLE for one in spent):
        said = "Sequence number(s) contradict replaceable option"
        raise CallError(PARAMETER, f"Invalid parameter combination: {said}")
    return psbt.create(tx).to_text()


def update(node: Node, text: str, known: Mapping[bytes, Derived]) -> str:
    """`utxoupdatepsbt`. `known`: by script."""
    if any(derived.taproot and len(derived.origins) > 1 for derived in known.values()):
        said = "This simulated node does not fill in the scripts of a tr() descriptor"
        raise CallError(ADDRESS_OR_KEY, said)
    return psbt_update.update(psbt.read(text), known, node.find).to_text()


def combine(_node: Node, texts: list[Any]) -> str:
    """`combinepsbt`."""
    if not texts:
        raise CallError(PARAMETER, "Parameter 'txs' cannot be empty")
    return psbt.combine([psbt.read(expect(text, "string")) for text in texts]).to_text()


def finalize(_node: Node, text: str, extract: bool | None) -> dict[str, Any]:
    """`finalizepsbt`."""
    after, tx = psbt_finalize.finalize(psbt.read(text))
    if tx is not None and extract is not False:
        return {"hex": tx.raw.hex(), "complete": True}
    return {"psbt": after.to_text(), "complete": tx is not None}


def _max_fee_rate(value: object) -> int:
    return FEE_RATE_MAX_SAT_PER_KVB if value is None else fee_rate_sat_per_kvb(value)


def _input(given: object, sequence: int) -> TxIn:
    one = expect(given, "object")
    txid = hash_text(one.get("txid"), "txid")
    if type_name(one.get("vout")) != "number":
        raise CallError(PARAMETER, "Invalid parameter, missing vout key")
    vout = whole_number(one["vout"])
    if vout < 0:
        raise CallError(PARAMETER, "Invalid parameter, vout cannot be negative")
    own = one.get("sequence")
    if type_name(own) == "number":
        if not isinstance(own, int) or not 0 <= own <= _FINAL:
            said = "Invalid parameter, sequence number is out of range"
            raise CallError(PARAMETER, said)
        sequence = own
    return TxIn(Outpoint(txid, vout), sequence=sequence)


def _outputs(given: object) -> Iterable[TxOut]:
    seen = set()
    for name, value in _pairs(given):
        script = b"" if name == "data" else script_of(name)
        if script is None:
            raise CallError(ADDRESS_OR_KEY, f"Invalid Bitcoin address: {name}")
        if script in seen:
            said = f"duplicated address: {name}" if script else "duplicate key: data"
            raise CallError(PARAMETER, f"Invalid parameter, {said}")
        seen.add(script)
        if script:
            yield TxOut(amount_sat(value), script)
        else:
            yield TxOut(0, b"\x6a" + _push(hex_bytes(value, "Data")))


def _pairs(given: object) -> Iterable[tuple[str, Any]]:
    if isinstance(given, Mapping):
        yield from given.items()
        return
    if given is None:
        raise CallError(PARAMETER, "Invalid parameter, output argument must be non-null")
    for one in expect(given, "array"):
        if not isinstance(one, Mapping):
            said = "Invalid parameter, key-value pair not an object as expected"
            raise CallError(PARAMETER, said)
        if len(one) != 1:
            said = "Invalid parameter, key-value pair must contain exactly one key"
            raise CallError(PARAMETER, said)
        yield from one.items()


def _push(data: bytes) -> bytes:
    """Data as a script pushes it."""
    if len(data) < 0x4C:
        return with_size(data)
    if len(data) <= 0xFF:
        return b"\x4c" + bytes((len(data),)) + data
    return b"\x4d" + len(data).to_bytes(2, "little") + data
