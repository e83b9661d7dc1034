"""What the node's answers to a sweep mean, one by one, as Bitcoin Core words them."""

import pytest

from controller.treasury.alarms import AlarmKind
from controller.treasury.broadcast import Sent, Waits, meaning
from controller.treasury.build import Fault
from controller.treasury.chain import NodeRefused
from controller.treasury.signature import _PASSES

MINED = (-27, "Transaction outputs already in utxo set")
GONE = (-25, "bad-txns-inputs-missingorspent")
DEAR = (-25, "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)")
REPLACES = (
    -26,
    "insufficient fee, rejecting replacement 12ab; new feerate 0.00 BTC/kvB <= old feerate 0.00",
)
TRIED = (-26, "replacement-failed, insufficient feerate: does not improve feerate diagram")
CHEAP = (-26, "min relay fee not met, 10 < 122")
FULL = (-26, "mempool min fee not met, 122 < 1220")
ODD = (-26, "scriptpubkey")
CASES = {
    "mined": (MINED, Sent()),
    "gone": (GONE, Waits(None, GONE[1])),
    "too dear": (DEAR, Fault(AlarmKind.POLICY_VIOLATION, f"the node says: {DEAR[1]}")),
    "another spends the coins": (REPLACES, None),
    "another, and Core tried": (TRIED, None),
    "below relay": (CHEAP, Waits(AlarmKind.FEE_TOO_LOW, CHEAP[1])),
    "mempool full": (FULL, Waits(AlarmKind.FEE_TOO_LOW, FULL[1])),
    "anything else": (ODD, Waits(AlarmKind.NODE_REFUSES, ODD[1])),
}


@pytest.mark.parametrize(("refused", "means"), CASES.values(), ids=CASES)
def test_an_answer_to_sending(refused, means):
    assert meaning(NodeRefused("sendrawtransaction", *refused)) == means


@pytest.mark.parametrize("code", [-22, -1, -32601])
def test_what_says_nothing_of_the_sweep_is_raised(code):
    refused = NodeRefused("sendrawtransaction", code, "x")
    with pytest.raises(NodeRefused):
        meaning(refused)


@pytest.mark.parametrize(
    ("reason", "is_kept"),
    [
        ("txn-already-in-mempool", True),
        ("min relay fee not met", True),
        ("missing-inputs", True),
        ("mempool-script-verify-flag-failed (Signature must be zero)", False),
        ("mandatory-script-verify-flag-failed (Script evaluated without error)", False),
        ("max-fee-exceeded", False),
        ("dust", False),
    ],
)
def test_a_signed_transaction_is_kept_or_hostile(reason, is_kept):
    assert reason.startswith(_PASSES) == is_kept
