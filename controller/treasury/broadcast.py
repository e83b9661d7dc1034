"""Sends a stored transaction, and reads from the node's answer what that means."""

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
_CONFLICT_WORDS = ("insufficient fee", "txn-mempool-conflict")


@dataclass(frozen=True, slots=True)
class Sent:
    """The network has it."""


@dataclass(frozen=True, slots=True)
class Waits:
    """It was not taken, for a reason that may pass; `kind` None: none that people must know."""

    kind: AlarmKind | None
    sentence: str


def broadcast(
    chain: Chain, builder: Builder, sweep: Sweep, attempt: Attempt, raw: bytes
) -> Sent | Waits | Fault:
    """Judge a stored transaction once more and send it. Again is harmless.

    Raises NotNow, ChainError.
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
        signed = sum(one.raw is not None for one in sweep.attempts)
        return meaning(refused, only_one=signed == 1)
    return Sent()


def meaning(refused: NodeRefused, *, only_one: bool) -> Sent | Waits | Fault:
    """What the node's refusal of a sweep comes to. Raises it again where it says nothing of that.

    `only_one`: no other attempt of the sweep was ever signed that could be in the mempool.
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
        return Waits(AlarmKind.SWEEP_CONFLICT, said) if only_one else Sent()
    return Waits(AlarmKind.NODE_REFUSES, said)
