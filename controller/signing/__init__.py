"""Signed envelopes and the keys that they are checked with. Pure."""

from controller.signing.envelope import (
    ENVELOPE_BYTES_MAX,
    SIGNATURES_MAX,
    Rejection,
    RejectionReason,
    Unverified,
    Verified,
    pae,
    read_unverified,
    sign,
    verify,
)
from controller.signing.keys import (
    KeyFormatError,
    PublicKey,
    Role,
    SigningKey,
    key_id_of,
    parse_private_key,
    parse_public_key,
    private_pem,
    public_pem,
)

__all__ = [
    "ENVELOPE_BYTES_MAX",
    "SIGNATURES_MAX",
    "KeyFormatError",
    "PublicKey",
    "Rejection",
    "RejectionReason",
    "Role",
    "SigningKey",
    "Unverified",
    "Verified",
    "key_id_of",
    "pae",
    "parse_private_key",
    "parse_public_key",
    "private_pem",
    "public_pem",
    "read_unverified",
    "sign",
    "verify",
]
