"""Keys: whose they are, what they may be used for, and their PEM form.

Ed25519 (RFC 8032). Reading files and making new keys belong to the edges.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

_KEY_BYTES = 32


class Role(StrEnum):
    """What a key may be used for. The classes of orders, and the site's own voice."""

    DISPATCH = "dispatch"
    """Setpoints, heartbeats, orders of class dispatch and their release."""
    EMERGENCY = "emergency"
    LOCKOUT = "lockout"
    SITE = "site"
    """Receipts, confirmations, status and events of a site; never an order."""


class KeyFormatError(ValueError):
    """A key file does not hold what it should; the message says what it should hold."""


def key_id_of(raw_public_key: bytes) -> str:
    """First 16 hex digits of the SHA-256 of the raw 32-byte public key.

    >>> key_id_of(bytes(32))
    '66687aadf862bd77'
    """
    return hashlib.sha256(raw_public_key).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that is trusted here: whose it is and what for. `key` is the raw 32-byte Ed25519
    public key.
    """

    key_id: str
    issuer: str
    roles: frozenset[Role]
    key: bytes

    @classmethod
    def of(cls, key: bytes, *, issuer: str, roles: Iterable[Role]) -> Self:
        """Trust `key` (raw, 32 bytes) as `issuer`'s. Raises KeyFormatError when it is no Ed25519
        key.
        """
        if len(key) != _KEY_BYTES:
            raise KeyFormatError(f"an Ed25519 public key has {_KEY_BYTES} bytes, not {len(key)}")
        return cls(key_id_of(key), issuer, frozenset(roles), key)

    def holds(self, signature: bytes, signed: bytes) -> bool:
        """Tell whether `signature` is this key's over exactly `signed`."""
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(signature, signed)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key and the id that its signatures carry. It never appears in a representation."""

    key_id: str
    private: Ed25519PrivateKey = field(repr=False, compare=False)

    @classmethod
    def of(cls, private: Ed25519PrivateKey) -> Self:
        """Wrap a private key of the cryptography library."""
        return cls(key_id_of(private.public_key().public_bytes_raw()), private)

    @property
    def public_bytes(self) -> bytes:
        """The raw 32-byte public key."""
        return self.private.public_key().public_bytes_raw()


def parse_private_key(pem: bytes) -> SigningKey:
    """Read an unencrypted PKCS #8 PEM with an Ed25519 key. Raises KeyFormatError."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFormatError(f"not an unencrypted PKCS #8 PEM private key: {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFormatError(
            "the private key is not an Ed25519 key; make one with `naryn keys new`"
        )
    return SigningKey.of(key)


def parse_public_key(pem: bytes) -> bytes:
    """Read the raw 32 bytes of an Ed25519 key from a SubjectPublicKeyInfo PEM. Raises
    KeyFormatError.
    """
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFormatError(f"not a PEM public key: {error}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFormatError("the public key is not an Ed25519 key; make one with `naryn keys new`")
    return key.public_bytes_raw()


def private_pem(key: SigningKey) -> bytes:
    """Unencrypted PKCS #8 PEM, as `openssl pkey` reads it."""
    return key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(raw_public_key: bytes) -> bytes:
    """SubjectPublicKeyInfo PEM, as `openssl pkey -pubin` reads it."""
    key = Ed25519PublicKey.from_public_bytes(raw_public_key)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
