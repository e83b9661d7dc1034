"""Signed envelopes: who said exactly these bytes.

Envelopes are DSSE v1.0.2 in JSON (github.com/secure-systems-lab/dsse, protocol.md and
envelope.md), the signature algorithm is Ed25519 (RFC 8032). What is signed is the
pre-authentication encoding

    PAE(type, body) = "DSSEv1" SP len(type) SP type SP len(body) SP body

so a message of one type can never be passed off as another. The payload is returned only after a
signature over these very bytes holds; nobody parses it before. Files, passwords and randomness
are none of this module's business.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from controller.signing.keys import PublicKey, SigningKey

ENVELOPE_BYTES_MAX = 65_536
"""A dispatcher's message is under 2 KiB; what is larger is not read."""
SIGNATURES_MAX = 8
_PAE_HEAD = b"DSSEv1"
_SIGNATURE_BYTES = 64


class RejectionReason(StrEnum):
    """Why an envelope was not believed. Stable: messages and journals carry these words."""

    OVERSIZED = "OVERSIZED"
    MALFORMED = "MALFORMED"
    PAYLOAD_TYPE = "PAYLOAD_TYPE"
    UNSIGNED = "UNSIGNED"
    UNKNOWN_KEY = "UNKNOWN_KEY"
    BAD_SIGNATURE = "BAD_SIGNATURE"


@dataclass(frozen=True, slots=True)
class Verified:
    """The payload, and every trusted key whose signature over it holds (at least one, each
    once).
    """

    payload: bytes
    signers: tuple[PublicKey, ...]


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an envelope was not believed; `detail` is for people."""

    reason: RejectionReason
    detail: str


@dataclass(frozen=True, slots=True)
class Unverified:
    """What an envelope says, whoever wrote it. To be shown, never to be acted on."""

    payload_type: str
    payload: bytes


class _Signature(msgspec.Struct, frozen=True):
    sig: str
    keyid: str = ""


class _Envelope(msgspec.Struct, frozen=True, rename="camel"):
    """DSSE envelope. Unknown fields are ignored because envelope.md says that consumers must."""

    payload: str
    payload_type: str
    signatures: list[_Signature]


_ENVELOPE = msgspec.json.Decoder(_Envelope)


def pae(payload_type: str, payload: bytes) -> bytes:
    """Bytes that are signed: DSSE pre-authentication encoding.

    >>> pae("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    kind = payload_type.encode()
    return b" ".join((_PAE_HEAD, b"%d" % len(kind), kind, b"%d" % len(payload), payload))


def sign(payload: bytes, payload_type: str, private_keys: Sequence[SigningKey]) -> bytes:
    """Return the JSON envelope of `payload`, signed by each of `private_keys` (at least one)."""
    if not private_keys:
        raise ValueError("an envelope needs at least one key to sign with")
    signed = pae(payload_type, payload)
    signatures = [
        _Signature(sig=_to_base64(key.private.sign(signed)), keyid=key.key_id)
        for key in private_keys
    ]
    envelope = _Envelope(
        payload=_to_base64(payload), payload_type=payload_type, signatures=signatures
    )
    return msgspec.json.encode(envelope)


def verify(
    envelope: bytes, keys: Mapping[str, PublicKey], payload_type: str
) -> Verified | Rejection:
    """Check an envelope against the trusted `keys` (by key id) and the one payload type wanted
    here.

    Never raises, whatever the bytes. As DSSE says, a signature that does not hold is passed over
    and the key id only narrows the search; a signature without key id is tried against every key.
    """
    opened = _open(envelope)
    if isinstance(opened, Rejection):
        return opened
    payload, kind, signatures = opened
    if kind != payload_type:
        return Rejection(
            RejectionReason.PAYLOAD_TYPE, f"payloadType is {kind[:80]!r}, not {payload_type!r}"
        )
    if not signatures:
        return Rejection(RejectionReason.UNSIGNED, "signatures is empty")
    signed = pae(kind, payload)
    signers: dict[str, PublicKey] = {}
    candidate_seen = False
    for key_id, signature in signatures:
        candidates = (
            list(keys.values()) if key_id == "" else [keys[key_id]] if key_id in keys else []
        )
        candidate_seen = candidate_seen or bool(candidates)
        signers |= {key.key_id: key for key in candidates if key.holds(signature, signed)}
    if signers:
        return Verified(payload, tuple(signers.values()))
    if candidate_seen:
        return Rejection(RejectionReason.BAD_SIGNATURE, "no signature holds over this payload")
    named = ", ".join(repr(key_id[:32]) for key_id, _ in signatures)
    return Rejection(RejectionReason.UNKNOWN_KEY, f"signed by keys not trusted here: {named}")


def read_unverified(envelope: bytes) -> Unverified | Rejection:
    """Read an envelope without asking who signed it: for showing what was said, nothing else."""
    opened = _open(envelope)
    if isinstance(opened, Rejection):
        return opened
    return Unverified(opened[1], opened[0])


def _open(envelope: bytes) -> tuple[bytes, str, list[tuple[str, bytes]]] | Rejection:
    """Parse the envelope: payload, its type, and (key id, signature) pairs."""
    if len(envelope) > ENVELOPE_BYTES_MAX:
        return Rejection(
            RejectionReason.OVERSIZED,
            f"{len(envelope)} bytes; at most {ENVELOPE_BYTES_MAX} are read",
        )
    try:
        parsed = _ENVELOPE.decode(envelope)
        payload = _from_base64(parsed.payload)
        signatures = [(item.keyid, _from_base64(item.sig)) for item in parsed.signatures]
        parsed.payload_type.encode()  # a lone surrogate parses as JSON but has no UTF-8
    # Nesting deeper than the interpreter's stack raises RecursionError, invalid UTF-8 a ValueError.
    except (ValueError, RecursionError) as error:
        return Rejection(RejectionReason.MALFORMED, f"not a DSSE envelope: {error}")
    if len(signatures) > SIGNATURES_MAX:
        return Rejection(
            RejectionReason.MALFORMED,
            f"{len(signatures)} signatures; at most {SIGNATURES_MAX} are read",
        )
    for key_id, signature in signatures:
        if len(signature) != _SIGNATURE_BYTES:
            detail = f"signature of key {key_id[:32]!r} has {len(signature)} bytes, not 64"
            return Rejection(RejectionReason.MALFORMED, detail)
    return payload, parsed.payload_type, signatures


def _to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _from_base64(text: str) -> bytes:
    """Decode canonical, padded base64 of one alphabet: standard or URL-safe (DSSE: both must be
    read).
    """
    alphabet = b"-_" if "-" in text or "_" in text else b"+/"
    try:
        data = base64.b64decode(text.encode("ascii"), altchars=alphabet, validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError("base64 is not well-formed") from None
    # Stray bits behind the last byte would let two texts mean one payload.
    if base64.b64encode(data, altchars=alphabet).decode() != text:
        raise ValueError("base64 is not canonical")
    return data
