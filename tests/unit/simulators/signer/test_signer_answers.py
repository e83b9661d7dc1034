"""What the signer signs is whole and valid, always the same, and spoiled by a fault only."""

import bdkpython as bdk
import pytest
from embit import script
from embit.psbt import PSBT
from embit.transaction import TransactionOutput

from simulators.services.signer.keys import CollectionKey
from simulators.services.signer.policy import Policy
from simulators.services.signer.reserve import Reserve
from simulators.services.signer.sign import FAULTS, Signed, answer
from tests.unit.simulators.signer.signer_requests import (
    COIN_SAT,
    FEE_SAT,
    derived,
    paid,
    request,
    text,
)


def test_what_it_signs_is_whole_and_valid_for_another_implementation(ground):
    change = derived(ground.collection.descriptor, 4, branch=1)
    asked = paid(
        [derived(ground.collection.descriptor, 0), change],
        reserve=ground.reserve,
        outputs=[
            TransactionOutput(2 * COIN_SAT - FEE_SAT, derived(ground.reserve, 19).script_pubkey()),
            TransactionOutput(0, script.Script(b"\x6a\x20" + b"\xab" * 32)),
        ],
    )
    given = answer(text(asked), ground.policy)
    assert isinstance(given, Signed)
    signed = PSBT.from_base64(given.text.decode().strip())
    assert [len(scope.partial_sigs) for scope in signed.inputs] == [1, 1]
    assert all(scope.final_scriptwitness is None for scope in signed.inputs)
    before = bdk.Psbt(text(asked).decode())
    after = bdk.Psbt(given.text.decode().strip())
    assert after.extract_tx_unchecked_fee_rate().compute_txid() == (
        before.extract_tx_unchecked_fee_rate().compute_txid()
    )
    assert after.fee() == FEE_SAT
    final = after.finalize()
    assert (final.could_finalize, final.errors) == (True, None)


def test_the_same_request_gives_the_same_signature(ground):
    first, again = (answer(text(request(ground)), ground.policy) for _ in range(2))
    reread = CollectionKey.of_file(ground.folder / "collection.key")
    other = Policy(reread, Reserve(ground.reserve, 20), 10_000)
    assert first == again == answer(text(request(ground)), other)
    assert isinstance(first, Signed)


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_makes_an_answer_that_must_not_pass(ground, fault):
    asked = request(ground)
    given = answer(text(asked), ground.policy, fault)
    assert isinstance(given, Signed)
    if fault == "garbage":
        assert not given.text.startswith(b"cHNidP")
        return
    back = PSBT.from_base64(given.text.decode().strip())
    same_outputs = [o.script_pubkey.data for o in back.outputs] == [
        o.script_pubkey.data for o in asked.outputs
    ]
    endings = [s[-1] for scope in back.inputs for s in scope.partial_sigs.values()]
    seen = (same_outputs, len(back.inputs) - len(asked.inputs), endings)
    assert (
        seen
        == {
            "other-output": (False, 0, [1, 1]),
            "no-signature": (True, 0, []),
            "wrong-sighash": (True, 0, [2, 2]),
            "extra-input": (True, 1, [1, 1]),
        }[fault]
    )
