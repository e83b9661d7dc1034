"""Takes in what the signer sent back: hostile until every rule holds for what it became."""

from controller.money.policy import Facts
from controller.treasury.alarms import AlarmKind
from controller.treasury.build import Builder, Fault
from controller.treasury.chain import Chain, NodeRefused
from controller.treasury.psbt_facts import UnreadableTransaction, read_psbt, read_transaction
from controller.treasury.psbt_parts import signatures_of
from controller.treasury.sweep_book import Attempt, Sweep

_FORM_ERRORS = {-22, -8, -3, -25}
"""What the node says of a PSBT that it cannot read, or that is about another transaction."""
_PASSES = (
    "txn-already-in-mempool",
    "txn-already-known",
    "min relay fee not met",
    "mempool min fee not met",
    "mempool full",
    "insufficient fee",
    "replacement-failed",
    "non-final",
    "missing-inputs",
    "txn-mempool-conflict",
    "too-large-cluster",
    "too-long-mempool-chain",
)
"""Why a mempool may refuse a transaction that is right: it is kept, and sent again."""


def take_in(
    chain: Chain, builder: Builder, sweep: Sweep, attempt: Attempt, psbt: str
) -> bytes | Fault:
    """The whole signed transaction from the signer's PSBT, judged by every rule, or the fault.

    Raises NotNow, ChainError.
    """
    try:
        return _taken_in(chain, builder, sweep, attempt, psbt)
    except UnreadableTransaction as error:
        return Fault(AlarmKind.SIGNER_HOSTILE, f"what came back {error}")
    except _Hostile as hostile:
        return Fault(AlarmKind.SIGNER_HOSTILE, str(hostile))


class _Hostile(Exception):
    """What came back must not go out."""


def _taken_in(chain: Chain, builder: Builder, sweep: Sweep, attempt: Attempt, psbt: str) -> bytes:
    psbt = signatures_of(psbt)
    theirs = read_psbt(psbt)
    if theirs.txid != attempt.txid:
        raise _Hostile(f"is transaction {theirs.txid}, not {attempt.txid} as was given out")
    try:
        combined = chain.combine([attempt.psbt, psbt])
        _judge(builder, sweep, attempt, read_psbt(combined))
        raw = chain.finalize(combined)
    except NodeRefused as refused:
        if refused.code not in _FORM_ERRORS:
            raise
        raise _Hostile(f"the node cannot combine it with ours: {refused.said}") from None
    if raw is None:
        raise _Hostile("good signatures are missing")
    _judge(builder, sweep, attempt, read_transaction(raw))
    refusal = chain.refusal(raw, builder.costs.limits.ceiling_sat_kvb)
    if refusal is not None and not refusal.startswith(_PASSES):
        raise _Hostile(f"the node's mempool would refuse it: {refusal}")
    return raw


def _judge(builder: Builder, sweep: Sweep, attempt: Attempt, facts: Facts) -> None:
    if wrong := builder.judge(sweep, attempt, facts):
        raise _Hostile(wrong)
