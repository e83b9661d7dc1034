"""Sends a stored transaction, and reads from the node's answer what that means."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from controller.treasury.alarms import AlarmKind
from controller.treasury.build import Builder, Fault
from controller.treasury.chain import Chain, NodeRefused
from controller.treasury.psbt_facts import UnreadableTransaction, read_transaction
from controller.treasury.sweep_book import Attempt, Sweep

_MISSING = -25
_REJECTED = -26
_MINED = -27
_FEE_WORDS = ("min relay fee not met", "mempool min fee not met", "mempool full")
_CONFLICT_WORDS = ("insufficient fee", "replacement-failed", "txn-mempool-conflict")


@dataclass(frozen=True, slots=True)
class Sent:
    """The network has it."""


@dataclass(frozen=True, slots=True)
class Waits:
    """It was not taken, for a reason that may pass; `kind` None: none that people must know."""

    kind: AlarmKind | None
    sentence: str


def broadcast(
    chain: Chain,
    builder: Builder,
    sweep: Sweep,
    attempt: Attempt,
    raw: bytes,
    ours: AbstractSet[str],
) -> Sent | Waits | Fault:
    """Judge a stored transaction once more and send it. Again is harmless.

    `ours`: the ids of all our transactions that spend these coins. Raises NotNow, ChainError.
    """
    try:
        facts = read_transaction(raw)
    except UnreadableTransaction as error:
        return Fault(AlarmKind.POLICY_VIOLATION, f"the stored transaction {error}")
    if wrong := builder.judge(sweep, attempt, facts):
        return Fault(AlarmKind.POLICY_VIOLATION, wrong)
    try:
        chain.send(raw, builder.costs.limits.ceiling_sat_kvb)
    except NodeRefused as refused:
        found = meaning(refused)
        return found if found is not None else _conflict(chain, sweep, ours, refused.said)
    return Sent()


def meaning(refused: NodeRefused) -> Sent | Waits | Fault | None:
    """What the node's refusal of a sweep comes to; None: the mempool has another transaction that
    spends its coins. Raises it again where it says nothing of that.
    """
    said = refused.said
    if refused.code == _MINED:
        return Sent()
    if refused.code == _MISSING and "maximum" in said:
        return Fault(AlarmKind.POLICY_VIOLATION, f"the node says: {said}")
    if refused.code == _MISSING:
        # Which of our attempts won, or who else spent the coins, is read from the chain.
        return Waits(None, said)
    if refused.code != _REJECTED:
        raise refused
    if said.startswith(_FEE_WORDS):
        return Waits(AlarmKind.FEE_TOO_LOW, said)
    if said.startswith(_CONFLICT_WORDS):
        return None
    return Waits(AlarmKind.NODE_REFUSES, said)


def _conflict(chain: Chain, sweep: Sweep, ours: AbstractSet[str], said: str) -> Sent | Waits:
    waiting = chain.mempool()
    if waiting & {attempt.txid for attempt in sweep.attempts}:
        return Sent()
    if others := sorted(waiting & ours):
        return Waits(AlarmKind.NODE_REFUSES, f"{others[0]}, of an abandoned sweep, waits there")
    return Waits(AlarmKind.SWEEP_CONFLICT, said)
