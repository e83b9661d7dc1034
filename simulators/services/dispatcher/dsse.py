"""DSSE v1 envelopes in JSON with Ed25519, from the specification (secure-systems-lab/dsse)."""

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ENVELOPE_BYTES_MAX = 65_536


@dataclass(frozen=True, slots=True)
class Opened:
    """What an envelope holds. `verified`: None when there was no key to check it with."""

    payload_type: str
    body: Mapping[str, Any]
    verified: bool | None


def key_id(public_key: Ed25519PublicKey) -> str:
    """First 16 hex digits of the SHA-256 of the raw public key."""
    return hashlib.sha256(public_key.public_bytes_raw()).hexdigest()[:16]


def signed_bytes(payload_type: str, payload: bytes) -> bytes:
    """What the signature is made over: the pre-authentication encoding."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def close_envelope(
    body: Mapping[str, Any], payload_type: str, keys: Sequence[Ed25519PrivateKey]
) -> bytes:
    """Write `body` as JSON and sign it with every key."""
    payload = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    to_sign = signed_bytes(payload_type, payload)
    signatures = [
        {
            "keyid": key_id(key.public_key()),
            "sig": b64encode(key.sign(to_sign)).decode("ascii"),
        }
        for key in keys
    ]
    envelope = {
        "payloadType": payload_type,
        "payload": b64encode(payload).decode("ascii"),
        "signatures": signatures,
    }
    return json.dumps(envelope).encode("ascii")


def open_envelope(data: bytes, key: Ed25519PublicKey | None) -> Opened:
    """Read an envelope and, with `key`, say whether that key signed it. Raises ValueError."""
    if len(data) > ENVELOPE_BYTES_MAX:
        raise ValueError(f"envelope of {len(data)} bytes")
    try:
        envelope = json.loads(data)
        payload_type = str(envelope["payloadType"])
        payload = b64decode(envelope["payload"], validate=True)
        signatures = [b64decode(item["sig"], validate=True) for item in envelope["signatures"]]
        body = json.loads(payload)
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not a DSSE envelope: {error!r}") from None
    if not isinstance(body, dict):
        raise ValueError("the payload is no JSON object")  # noqa: TRY004 - one error for hearers
    verified = None
    if key is not None:
        to_check = signed_bytes(payload_type, payload)
        verified = any(_holds(key, signature, to_check) for signature in signatures)
    return Opened(payload_type, body, verified)


def _holds(key: Ed25519PublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True
