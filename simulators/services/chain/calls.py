"""The calls that a treasury makes of its node."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from simulators.services.chain import answers, spending
from simulators.services.chain.arguments import (
    Parameter,
    hash_text,
    hex_bytes,
    ordered,
    whole_number,
)
from simulators.services.chain.descriptors import Derived, expand
from simulators.services.chain.errors import (
    ADDRESS_OR_KEY,
    DESERIALIZATION,
    METHOD_NOT_FOUND,
    MISC,
    PARAMETER,
    CallError,
)
from simulators.services.chain.kernel import BlockMissing
from simulators.services.chain.node import Node
from simulators.services.chain.wire import Block, Outpoint, WireError, read_block


@dataclass(frozen=True, slots=True)
class Call:
    """A method: what it does with a value for each of its parameters."""

    act: Callable[..., object]
    parameters: tuple[Parameter, ...] = ()


def execute(node: Node, method: str, given: object) -> object:
    """The result of a call. `given`: its arguments, a list or a mapping. Raises CallError."""
    call = CALLS.get(method)
    if call is None:
        raise CallError(METHOD_NOT_FOUND, "Method not found")
    return call.act(node, *ordered(method, call.parameters, given))


def _getblockhash(node: Node, height: object) -> str:
    number = whole_number(height)
    if not 0 <= number <= node.ledger.height:
        raise CallError(PARAMETER, "Block height out of range")
    return node.ledger.hash_at(number)


def _getblockheader(node: Node, block_hash: object, verbose: bool | None) -> object:
    wanted = hash_text(block_hash, "hash")
    try:
        if verbose is False:
            return node.ledger.kernel.header(wanted)[1].hex()
        return answers.header_answer(node.ledger, wanted)
    except KeyError:
        raise CallError(ADDRESS_OR_KEY, "Block not found") from None


def _getblock(node: Node, block_hash: object, verbosity: object) -> object:
    wanted = hash_text(block_hash, "blockhash")
    level = 1 if verbosity is None else verbosity
    level = int(level) if isinstance(level, bool) else whole_number(level)
    if level > 2:
        raise CallError(PARAMETER, "This simulated node knows the verbosities 0, 1 and 2")
    block = _block(node, wanted)
    if level <= 0:
        return block.raw.hex()
    return answers.block_answer(node.ledger, block, details=level == 2)


def _gettxout(node: Node, txid: object, vout: object, include_mempool: bool | None) -> object:
    outpoint = Outpoint(hash_text(txid, "txid"), whole_number(vout, signed=False))
    on_chain_only = include_mempool is False
    coins = node.ledger.coins
    coin = coins.get(outpoint) if on_chain_only else node.mempool.coin(outpoint)
    return None if coin is None else answers.coin_answer(node.ledger, coin)


def _scantxoutset(node: Node, action: str, wanted: list[Any] | None) -> object:
    match action:
        case "status":
            return None
        case "abort":
            return False
        case "start":
            if wanted is None:
                said = "scanobjects argument is required for the start action"
                raise CallError(MISC, said)
            return answers.scan_answer(node.ledger, _by_script(wanted))
    raise CallError(PARAMETER, f"Invalid action '{action}'")


def _getrawmempool(node: Node, verbose: bool | None, sequence: bool | None) -> list[str]:
    if verbose or sequence:
        raise CallError(PARAMETER, "This simulated node answers with transaction ids alone")
    return list(node.mempool.waiting)


def _submitblock(node: Node, data: object, _dummy: object) -> str | None:
    try:
        block = read_block(hex_bytes(data, "hexdata"))
    except (WireError, CallError):
        raise CallError(DESERIALIZATION, "Block decode failed") from None
    verdict = node.submit(block)
    if not verdict.new:
        return "duplicate"
    return verdict.reason if verdict.judged else "inconclusive"


def _utxoupdatepsbt(node: Node, text: str, descriptors: list[Any] | None) -> str:
    return spending.update(node, text, _by_script(descriptors or []))


def _by_script(wanted: list[Any]) -> Mapping[bytes, Derived]:
    return {derived.script: derived for one in wanted for derived in expand(one)}


def _block(node: Node, block_hash: str) -> Block:
    try:
        return node.ledger.kernel.block(block_hash)
    except KeyError:
        raise CallError(ADDRESS_OR_KEY, "Block not found") from None
    except BlockMissing:
        raise CallError(MISC, "Block not available (not fully downloaded)") from None


CALLS: Mapping[str, Call] = {
    "getblockchaininfo": Call(answers.chain_info),
    "getblockhash": Call(_getblockhash, (Parameter("height", "number", needed=True),)),
    "getblockheader": Call(
        _getblockheader,
        (Parameter("blockhash", "string", needed=True), Parameter("verbose", "bool")),
    ),
    "getblock": Call(
        _getblock,
        (Parameter("blockhash", "string", needed=True), Parameter("verbosity|verbose")),
    ),
    "gettxout": Call(
        _gettxout,
        (
            Parameter("txid", "string", needed=True),
            Parameter("n", "number", needed=True),
            Parameter("include_mempool", "bool"),
        ),
    ),
    "scantxoutset": Call(
        _scantxoutset,
        (Parameter("action", "string", needed=True), Parameter("scanobjects", "array")),
    ),
    "getrawmempool": Call(
        _getrawmempool, (Parameter("verbose", "bool"), Parameter("mempool_sequence", "bool"))
    ),
    "testmempoolaccept": Call(
        spending.test_accept,
        (Parameter("rawtxs", "array", needed=True), Parameter("maxfeerate")),
    ),
    "sendrawtransaction": Call(
        spending.send,
        (
            Parameter("hexstring", "string", needed=True),
            Parameter("maxfeerate"),
            Parameter("maxburnamount"),
        ),
    ),
    "submitblock": Call(
        _submitblock, (Parameter("hexdata", "string", needed=True), Parameter("dummy", "string"))
    ),
    "createpsbt": Call(
        spending.create,
        (
            Parameter("inputs", "array", needed=True),
            Parameter("outputs", needed=True),
            Parameter("locktime", "number"),
            Parameter("replaceable", "bool"),
            Parameter("version", "number"),
        ),
    ),
    "utxoupdatepsbt": Call(
        _utxoupdatepsbt,
        (Parameter("psbt", "string", needed=True), Parameter("descriptors", "array")),
    ),
    "combinepsbt": Call(spending.combine, (Parameter("txs", "array", needed=True),)),
    "finalizepsbt": Call(
        spending.finalize,
        (Parameter("psbt", "string", needed=True), Parameter("extract", "bool")),
    ),
}
