"""Envelopes: what is believed, what is not, and that nothing makes `verify` raise."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from controller.signing import (
    ENVELOPE_BYTES_MAX,
    KeyFormatError,
    PublicKey,
    Rejection,
    RejectionReason,
    Role,
    SigningKey,
    Verified,
    key_id_of,
    pae,
    parse_private_key,
    parse_public_key,
    private_pem,
    public_pem,
    read_unverified,
    sign,
    verify,
)
from tests.unit.controller.seeded_keys import signing_key

TYPE = "application/vnd.naryn.order.v1+json"
PAYLOAD = b'{"cap_w": 4000000}'


def trusted(*signing, role=Role.DISPATCH):
    public = [
        PublicKey.of(k.public_bytes, issuer=f"issuer-{k.key_id[:4]}", roles=[role]) for k in signing
    ]
    return {k.key_id: k for k in public}


ALICE, BOB, MALLORY = map(signing_key, range(1, 4))
KEYS = trusted(ALICE, BOB)
GOOD = json.loads(sign(PAYLOAD, TYPE, [ALICE]))


def changed(**fields):
    return json.dumps({**GOOD, **fields}).encode()


def signature(**fields):
    return changed(signatures=[{**GOOD["signatures"][0], **fields}])


def test_encoding_before_signing_is_the_specifications_own_example():
    # protocol.md, "Test Vectors"
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("http://example.com/HelloWorld", b"hello world") == expected


def test_length_counts_bytes_not_characters():
    assert pae("ж", b"") == b"DSSEv1 2 \xd0\xb6 0 "


def test_signature_is_rfc_8032():
    # RFC 8032 §7.1, TEST 1: key and public key; the signature of our PAE holds under it.
    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    ours = SigningKey.of(Ed25519PrivateKey.from_private_bytes(secret))
    assert ours.public_bytes == public
    empty = bytes.fromhex(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )
    assert PublicKey.of(public, issuer="rfc", roles=[]).holds(empty, b"")


def test_one_signature():
    verified = verify(sign(PAYLOAD, TYPE, [ALICE]), KEYS, TYPE)
    assert verified == Verified(PAYLOAD, (KEYS[ALICE.key_id],))


def test_two_signatures_name_both_signers():
    verified = verify(sign(PAYLOAD, TYPE, [ALICE, BOB]), KEYS, TYPE)
    assert [k.key_id for k in verified.signers] == [ALICE.key_id, BOB.key_id]


def test_same_key_twice_is_one_signer():
    verified = verify(sign(PAYLOAD, TYPE, [ALICE, ALICE]), KEYS, TYPE)
    assert len(verified.signers) == 1


def test_stranger_beside_a_trusted_signer_is_passed_over():
    verified = verify(sign(PAYLOAD, TYPE, [MALLORY, BOB]), KEYS, TYPE)
    assert [k.key_id for k in verified.signers] == [BOB.key_id]


def test_key_id_is_only_a_hint():
    unnamed = {"sig": GOOD["signatures"][0]["sig"]}
    assert isinstance(verify(changed(signatures=[unnamed]), KEYS, TYPE), Verified)


def test_unknown_envelope_fields_are_ignored():
    assert isinstance(verify(changed(future=[1, {"x": None}]), KEYS, TYPE), Verified)


def test_url_safe_base64_is_read_too():
    payload = b"\xfb\xff\xfe" * 3
    envelope = json.loads(sign(payload, TYPE, [ALICE]))
    assert {"+", "/"} & set(envelope["payload"])
    envelope["payload"] = base64.urlsafe_b64encode(payload).decode()
    assert verify(json.dumps(envelope).encode(), KEYS, TYPE).payload == payload


R = RejectionReason
BAD = [
    ("nothing", b"", R.MALFORMED),
    ("empty object", b"{}", R.MALFORMED),
    ("not JSON", b"cap_w=0", R.MALFORMED),
    ("not UTF-8", b'{"payload":"\xff"}', R.MALFORMED),
    ("key not UTF-8", b'{"\xff":1}', R.MALFORMED),
    ("lone surrogate", changed(payloadType="\ud800"), R.MALFORMED),
    ("a list", b"[]", R.MALFORMED),
    ("deep JSON", b'{"x":' + b"[" * 30_000 + b"]" * 30_000 + b"}", R.MALFORMED),
    ("truncated", json.dumps(GOOD).encode()[:-1], R.MALFORMED),
    ("trailing bytes", json.dumps(GOOD).encode() + b"{}", R.MALFORMED),
    ("one byte too many", b" " * (ENVELOPE_BYTES_MAX + 1), R.OVERSIZED),
    (
        "signatures missing",
        json.dumps({k: GOOD[k] for k in ("payload", "payloadType")}).encode(),
        R.MALFORMED,
    ),
    ("signatures null", changed(signatures=None), R.MALFORMED),
    ("signatures empty", changed(signatures=[]), R.UNSIGNED),
    ("nine signatures", changed(signatures=GOOD["signatures"] * 9), R.MALFORMED),
    ("short signature", signature(sig="AAAA"), R.MALFORMED),
    ("signature not base64", signature(sig="!" * 88), R.MALFORMED),
    (
        "payload base64 without padding",
        changed(payload=GOOD["payload"].rstrip("=") + "A"),
        R.MALFORMED,
    ),
    ("payload base64 with a space", changed(payload=" " + GOOD["payload"]), R.MALFORMED),
    ("payload base64 with a newline", changed(payload=GOOD["payload"] + "\n"), R.MALFORMED),
    ("payload base64 of two alphabets", changed(payload="+_+_"), R.MALFORMED),
    ("payload base64 with stray bits", changed(payload="QR=="), R.MALFORMED),
    ("payload base64 not ASCII", changed(payload="жж=="), R.MALFORMED),
    ("payload a number", changed(payload=7), R.MALFORMED),
    ("stranger's key", sign(PAYLOAD, TYPE, [MALLORY]), R.UNKNOWN_KEY),
    (
        "stranger under a trusted key id",
        changed(
            signatures=[
                {
                    **json.loads(sign(PAYLOAD, TYPE, [MALLORY]))["signatures"][0],
                    "keyid": ALICE.key_id,
                }
            ]
        ),
        R.BAD_SIGNATURE,
    ),
    (
        "payload exchanged",
        changed(payload=base64.b64encode(b'{"cap_w": 9}').decode()),
        R.BAD_SIGNATURE,
    ),
    ("type exchanged for another", changed(payloadType="application/json"), R.PAYLOAD_TYPE),
    (
        "no key id, no trusted key",
        changed(
            signatures=[{"sig": json.loads(sign(PAYLOAD, TYPE, [MALLORY]))["signatures"][0]["sig"]}]
        ),
        R.BAD_SIGNATURE,
    ),
]


@pytest.mark.parametrize(("name", "envelope", "reason"), BAD, ids=[row[0] for row in BAD])
def test_bad_envelopes_are_rejected_with_their_reason(name, envelope, reason):
    rejection = verify(envelope, KEYS, TYPE)
    assert isinstance(rejection, Rejection)
    assert rejection.reason is reason
    assert rejection.detail


def test_a_message_of_one_type_is_not_one_of_another():
    envelope = sign(PAYLOAD, "application/vnd.naryn.setpoint.v1+json", [ALICE])
    relabelled = json.dumps({**json.loads(envelope), "payloadType": TYPE}).encode()
    assert verify(relabelled, KEYS, TYPE).reason is R.BAD_SIGNATURE


@given(st.binary(max_size=400))
def test_random_bytes_never_raise(data):
    assert isinstance(verify(data, KEYS, TYPE), Rejection)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {
            "payload": st.text() | json_values,
            "payloadType": st.sampled_from([TYPE, "", "\ud800"]) | json_values,
            "signatures": st.lists(st.fixed_dictionaries({"keyid": st.text(), "sig": st.text()}))
            | json_values,
        }
    )
)
def test_random_envelopes_never_raise(parts):
    assert isinstance(verify(json.dumps(parts).encode(), KEYS, TYPE), Rejection)


@given(st.integers(0, len(json.dumps(GOOD)) - 1), st.integers(1, 255))
def test_a_changed_byte_never_changes_the_payload(position, flip):
    mutated = bytearray(json.dumps(GOOD).encode())
    mutated[position] ^= flip
    outcome = verify(bytes(mutated), KEYS, TYPE)
    assert isinstance(outcome, Rejection) or outcome.payload == PAYLOAD


@given(st.binary(max_size=300), st.text(max_size=40).filter(lambda t: t.isascii()))
def test_what_is_signed_comes_back(payload, kind):
    assert verify(sign(payload, kind, [BOB]), KEYS, kind).payload == payload


def test_reading_without_checking_says_so_in_its_type():
    unverified = read_unverified(sign(PAYLOAD, TYPE, [MALLORY]))
    assert (unverified.payload_type, unverified.payload) == (TYPE, PAYLOAD)
    assert read_unverified(b"x").reason is R.MALFORMED


def test_signing_needs_a_key():
    with pytest.raises(ValueError, match="at least one key"):
        sign(PAYLOAD, TYPE, [])


def test_private_key_never_shows():
    assert private_pem(ALICE).decode().splitlines()[1] not in repr(ALICE)
    assert "private" not in repr(ALICE).lower()


def test_pem_there_and_back():
    assert parse_private_key(private_pem(ALICE)) == ALICE
    assert parse_public_key(public_pem(ALICE.public_bytes)) == ALICE.public_bytes
    assert key_id_of(ALICE.public_bytes) == ALICE.key_id


EC = generate_ec(SECP256R1())
EC_PRIVATE = EC.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
EC_PUBLIC = EC.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    "pem",
    [b"", b"junk", EC_PRIVATE, public_pem(ALICE.public_bytes)],
    ids=["empty", "junk", "another algorithm", "the public half"],
)
def test_wrong_private_key_files_are_named(pem):
    with pytest.raises(KeyFormatError, match="private key"):
        parse_private_key(pem)


@pytest.mark.parametrize(
    "pem",
    [b"", b"junk", EC_PUBLIC, private_pem(ALICE)],
    ids=["empty", "junk", "another algorithm", "the private half"],
)
def test_wrong_public_key_files_are_named(pem):
    with pytest.raises(KeyFormatError, match="public key"):
        parse_public_key(pem)


def test_public_key_of_wrong_length_is_named():
    with pytest.raises(KeyFormatError, match="32 bytes, not 31"):
        PublicKey.of(bytes(31), issuer="x", roles=[])
