"""The signer signs what pays the reserve, and nothing else: every tampering by itself, refused."""

import copy
import random
from base64 import b64decode, b64encode
from types import SimpleNamespace

import bdkpython as bdk
import pytest
from embit import bip32, ec, script
from embit.descriptor import Descriptor
from embit.networks import NETWORKS
from embit.psbt import PSBT, DerivationPath
from embit.transaction import Transaction, TransactionInput, TransactionOutput

from simulators.services.key_file import KeyFileError
from simulators.services.signer.keys import CollectionKey, new_collection_key, new_reserve
from simulators.services.signer.policy import Policy
from simulators.services.signer.request import REQUEST_BYTES_MAX
from simulators.services.signer.reserve import DescriptorError, Reserve
from simulators.services.signer.sign import FAULTS, Refused, Signed, answer
from tests.e2e.private_material import holds

COIN_SAT = 5_000_000
FEE_SAT = 700


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    collection = new_collection_key(folder / "collection.key", "regtest")
    reserve = new_reserve(folder / "reserve", "regtest")
    policy = Policy(collection, Reserve(reserve, 20), 10_000)
    return SimpleNamespace(folder=folder, collection=collection, reserve=reserve, policy=policy)


def derived(descriptor, index, branch=0):
    return Descriptor.from_string(descriptor).derive(index, branch_index=branch)


def paid(coins, *, outputs=None, reserve, sequence=0xFFFFFFFD, version=2):
    """A request as the treasury makes it; `coins` are derived descriptors."""
    befores = [
        Transaction(
            vin=[TransactionInput(bytes([number]) * 32, 0)],
            vout=[
                TransactionOutput(1_000, script.Script(b"\x6a")),
                TransactionOutput(COIN_SAT, coin.script_pubkey()),
            ],
        )
        for number, coin in enumerate(coins, 1)
    ]
    if outputs is None:
        total_sat = COIN_SAT * len(coins)
        outputs = [TransactionOutput(total_sat - FEE_SAT, derived(reserve, 3).script_pubkey())]
    vin = [TransactionInput(before.txid(), 1, sequence=sequence) for before in befores]
    psbt = PSBT(Transaction(version=version, vin=vin, vout=outputs))
    for scope, before, coin in zip(psbt.inputs, befores, coins, strict=True):
        scope.non_witness_utxo = before
        scope.witness_utxo = before.vout[1]
        key = coin.key
        scope.bip32_derivations[key.get_public_key()] = DerivationPath(
            key.origin.fingerprint, key.origin.derivation
        )
    return psbt


def request(ground, indices=(0, 7), **changes):
    coins = [derived(ground.collection.descriptor, index) for index in indices]
    return paid(coins, reserve=ground.reserve, **changes)


def text(psbt):
    return psbt.to_base64().encode()


def test_what_it_signs_is_whole_and_valid_for_another_implementation(ground):
    asked = request(ground)
    asked.inputs[1].bip32_derivations.clear()
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


def foreign(ground):
    key = bip32.HDKey.from_seed(b"\x07" * 64, version=NETWORKS["regtest"]["xprv"])
    return script.p2wpkh(key)


def to_reserve(ground, value, index=3, branch=0):
    return TransactionOutput(value, derived(ground.reserve, index, branch).script_pubkey())


def other_output(ground):
    psbt = request(ground)
    psbt.outputs[0].script_pubkey = foreign(ground)
    return psbt


def one_more_output(ground):
    outputs = [to_reserve(ground, COIN_SAT), TransactionOutput(1_000, foreign(ground))]
    return request(ground, outputs=outputs)


def change_to_collection(ground):
    back = derived(ground.collection.descriptor, 9, branch=1).script_pubkey()
    outputs = [to_reserve(ground, COIN_SAT), TransactionOutput(COIN_SAT - FEE_SAT, back)]
    return request(ground, outputs=outputs)


def reserve_change_branch(ground):
    return request(ground, outputs=[to_reserve(ground, COIN_SAT * 2 - FEE_SAT, branch=1)])


def beyond_the_range(ground):
    return request(ground, outputs=[to_reserve(ground, COIN_SAT * 2 - FEE_SAT, index=20)])


def burning_return(ground):
    burned = TransactionOutput(1, script.Script(b"\x6a\x01x"))
    return request(ground, outputs=[to_reserve(ground, COIN_SAT * 2 - FEE_SAT), burned])


def only_a_return(ground):
    return request(ground, outputs=[TransactionOutput(0, script.Script(b"\x6a"))])


def fee_too_high(ground):
    return request(ground, outputs=[to_reserve(ground, COIN_SAT * 2 - 10_001)])


def no_fee(ground):
    return request(ground, outputs=[to_reserve(ground, COIN_SAT * 2)])


def more_than_comes_in(ground):
    return request(ground, outputs=[to_reserve(ground, COIN_SAT * 2 + 1)])


def coin_of_another(ground):
    psbt = request(ground)
    stranger = derived(ground.reserve, 0)
    psbt.inputs[1].non_witness_utxo.vout[1].script_pubkey = stranger.script_pubkey()
    psbt.inputs[1].witness_utxo = psbt.inputs[1].non_witness_utxo.vout[1]
    psbt.inputs[1].txid = psbt.inputs[1].non_witness_utxo.txid()
    return psbt


def key_of_another_index(ground):
    psbt = request(ground)
    for path in psbt.inputs[0].bip32_derivations.values():
        path.derivation[-1] += 1
    return psbt


def account_of_another(ground):
    psbt = request(ground)
    for path in psbt.inputs[0].bip32_derivations.values():
        path.derivation[2] += 1
    return psbt


def no_derivation(ground):
    psbt = request(ground)
    psbt.inputs[0].bip32_derivations.clear()
    return psbt


def same_coin_twice(ground):
    psbt = request(ground)
    psbt.inputs[1] = copy.deepcopy(psbt.inputs[0])
    return psbt


def no_previous_transaction(ground):
    psbt = request(ground)
    psbt.inputs[0].non_witness_utxo = None
    return psbt


def another_previous_transaction(ground):
    psbt = request(ground)
    psbt.inputs[0].non_witness_utxo = psbt.inputs[1].non_witness_utxo
    return psbt


def previous_amount_changed(ground):
    psbt = request(ground)
    psbt.inputs[0].non_witness_utxo.vout[1].value -= 9_000
    psbt.inputs[0].witness_utxo = psbt.inputs[0].non_witness_utxo.vout[1]
    return psbt


def no_such_output(ground):
    psbt = request(ground)
    psbt.inputs[0].vout = 2
    return psbt


def witness_amount_lies(ground):
    psbt = request(ground)
    coin = psbt.inputs[0].witness_utxo
    psbt.inputs[0].witness_utxo = TransactionOutput(coin.value - 1, coin.script_pubkey)
    return psbt


def sighash(kind):
    def tampered(ground):
        psbt = request(ground)
        psbt.inputs[1].sighash_type = kind
        return psbt

    tampered.__name__ = f"sighash_{kind:02x}"
    return tampered


def final_already(ground):
    psbt = request(ground)
    psbt.inputs[0].final_scriptwitness = script.Witness([b"\x01"])
    return psbt


TAMPERED = [
    (other_output, "output 0 is none of the first 20 addresses of the reserve"),
    (one_more_output, "output 1 is none"),
    (change_to_collection, "output 1 is none"),
    (reserve_change_branch, "output 0 is none"),
    (beyond_the_range, "output 0 is none"),
    (burning_return, "output 1 is none"),
    (only_a_return, "no output pays the reserve"),
    (fee_too_high, "its fee of 10001 sat is above 10000 sat"),
    (no_fee, "it leaves no fee"),
    (more_than_comes_in, "it leaves no fee"),
    (coin_of_another, "input 1 is no coin of this collection"),
    (key_of_another_index, "input 0 is no coin of this collection"),
    (account_of_another, "input 0 is no coin of this collection"),
    (no_derivation, "input 0 is no coin of this collection"),
    (same_coin_twice, "an input is listed twice"),
    (no_previous_transaction, "input 0 comes without its previous transaction"),
    (another_previous_transaction, "input 0 comes with a previous transaction that is not"),
    (previous_amount_changed, "input 0 comes with a previous transaction that is not"),
    (no_such_output, "input 0 comes with a previous transaction that is not"),
    (witness_amount_lies, "input 0 says of itself (witness_utxo)"),
    (sighash(0x02), "input 1 asks for sighash 2"),
    (sighash(0x03), "input 1 asks for sighash 3"),
    (sighash(0x81), "input 1 asks for sighash 129"),
    (final_already, "input 0 is final already"),
]


@pytest.mark.parametrize(
    ("tamper", "sentence"), [pytest.param(t, s, id=t.__name__) for t, s in TAMPERED]
)
def test_every_tampering_is_refused(ground, tamper, sentence):
    assert isinstance(answer(text(request(ground)), ground.policy), Signed)
    given = answer(text(tamper(ground)), ground.policy)
    assert isinstance(given, Refused)
    assert given.sentence.startswith(sentence)


def raw(ground, **changes):
    return bytearray(b64decode(text(request(ground, **changes))))


def version_0(ground):
    data = raw(ground)
    data[8:12] = bytes(4)  # magic, key, length of a transaction below 253 bytes, its version
    return bytes(data)


def sequence_0(ground):
    data = raw(ground)
    at = data.index(b"\xfd\xff\xff\xff")
    data[at : at + 4] = bytes(4)
    return bytes(data)


def previous_length_wrong(ground):
    data = raw(ground)
    at = data.index(b"\x01\x00\x5c\x02\x00\x00\x00")
    data[at + 2] += 1
    return bytes(data)


def version_2_psbt(ground):
    return b"psbt\xff" + b"\x01\x04\x09" + b"\xff" * 9 + b"\x01\xfb\x04\x02\x00\x00\x00\x00"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (version_0, "its transaction has a form that is not signed here"),
        (sequence_0, "its transaction has a form that is not signed here"),
        # A byte of the next entry, which is of a random key, becomes the end of this one.
        (previous_length_wrong, ("the request is damaged", "a previous transaction in it")),
        (version_2_psbt, "it is a PSBT of version 2"),
        (lambda ground: bytes(raw(ground)) + b"\x00", "the request is damaged"),
        (lambda ground: bytes(raw(ground))[:-9], "the request is damaged"),
        (lambda _: b"psbt\xff\x01\x00\xff" + b"\xff" * 8, "the request is damaged"),
        (lambda _: b"psbt\xff\x00", "it is no PSBT of version 0"),
        (lambda _: b"", "the request is no PSBT"),
    ],
)
def test_bytes_that_are_no_plain_psbt_are_refused(ground, make, sentence):
    given = answer(b64encode(make(ground)), ground.policy)
    assert isinstance(given, Refused)
    assert given.sentence.startswith(sentence)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"not base64!", "the request is not base64 text"),
        (b"A" * (REQUEST_BYTES_MAX + 1), "the request is larger than 1048576 bytes"),
    ],
)
def test_text_that_is_no_request_is_refused(ground, data, sentence):
    assert answer(data, ground.policy) == Refused(sentence)


def test_no_flipped_byte_is_signed_as_something_else(ground):
    """What comes back signed spends the very transaction that the other implementation reads."""
    whole = b64decode(text(request(ground)))
    numbers = random.Random(7)
    outcomes = set()
    for _ in range(300):
        data = bytearray(whole)
        data[numbers.randrange(len(data))] ^= 1 << numbers.randrange(8)
        given = answer(b64encode(bytes(data)), ground.policy)
        outcomes.add(type(given))
        if isinstance(given, Signed):
            asked = bdk.Psbt(b64encode(bytes(data)).decode())
            back = bdk.Psbt(given.text.decode().strip())
            assert back.extract_tx_unchecked_fee_rate().compute_txid() == (
                asked.extract_tx_unchecked_fee_rate().compute_txid()
            )
    assert outcomes == {Signed, Refused}


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


def test_a_fault_is_for_good_requests_only(ground):
    assert isinstance(answer(text(other_output(ground)), ground.policy, "garbage"), Refused)


def test_the_reserve_descriptor_is_checked(ground):
    body, _, right = ground.reserve.partition("#")
    key = bip32.HDKey.from_seed(b"\x07" * 64, version=NETWORKS["regtest"]["xprv"])
    private = f"wpkh({key.to_base58()}/<0;1>/*)"
    for text_, sentence in (
        (body, "the reserve descriptor's checksum is missing"),
        (f"{body}#{right[:-1]}x", "the reserve descriptor's checksum is"),
        (body.replace("2,", "3,", 1) + "#" + right, "the reserve descriptor's checksum is"),
        (private, "the reserve descriptor holds a private key"),
        ("wsh(nonsense)", "the reserve descriptor cannot be read"),
        ("x" * 9_000, "the reserve descriptor has 9000 characters"),
    ):
        with pytest.raises(DescriptorError) as caught:
            Reserve(text_, 20)
        assert str(caught.value).startswith(sentence)
        assert key.to_base58() not in str(caught.value)


def test_keys_are_files_of_their_owner_alone(ground, tmp_path):
    path = tmp_path / "collection.key"
    made = new_collection_key(path, "regtest")
    assert path.stat().st_mode & 0o777 == 0o600
    assert holds(made.descriptor.encode(), ()) is None
    with pytest.raises(KeyFileError, match="exists and is not overwritten"):
        new_collection_key(path, "regtest")
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="mend: chmod 600"):
        CollectionKey.of_file(path)
    path.chmod(0o600)
    assert CollectionKey.of_file(path).descriptor == made.descriptor
    secret = path.read_text().strip()
    path.write_text(secret[:-1] + "\n")
    with pytest.raises(KeyFileError) as caught:
        CollectionKey.of_file(path)
    assert secret[:20] not in str(caught.value)
    (tmp_path / "link.key").symlink_to(path)
    with pytest.raises(KeyFileError, match="cannot be read"):
        CollectionKey.of_file(tmp_path / "link.key")


def test_descriptors_read_alike_in_another_implementation(ground):
    for descriptor, index in ((ground.collection.descriptor, 5), (ground.reserve, 11)):
        kind = bdk.NetworkKind.TEST
        receive, change = bdk.Descriptor(descriptor, kind).to_single_descriptors()
        for branch, single in enumerate((receive, change)):
            theirs = single.derive_address(index, bdk.Network.REGTEST)
            ours = derived(descriptor, index, branch).address(NETWORKS["regtest"])
            assert str(theirs) == ours
    main = new_collection_key(ground.folder / "main.key", "main").descriptor
    assert "/84h/0h/0h]xpub" in main


def test_it_never_uses_a_private_key_that_does_not_fit_the_coin(ground):
    key = ground.collection
    path = bip32.parse_path("m/84h/1h/0h/0/0")
    own = derived(key.descriptor, 0).script_pubkey()
    assert isinstance(key.private_key(key.fingerprint, path, own), ec.PrivateKey)
    assert key.private_key(key.fingerprint, path, foreign(ground)) is None
    assert key.private_key(bytes(4), path, own) is None
    for wrong in ("m/84h/1h/0h/0", "m/84h/1h/0h/2/0", "m/84h/1h/0h/0/0h", "m", "m/0/0"):
        assert key.private_key(key.fingerprint, bip32.parse_path(wrong), own) is None
