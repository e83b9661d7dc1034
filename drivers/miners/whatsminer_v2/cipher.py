"""The cipher of WhatsMiner API version 2. Pure.

    key  = md5crypt(password, salt)        ─▶ AES-256-ECB key = sha256(key)
    sign = md5crypt(key + time, newsalt)   ─▶ "token" inside every encrypted command

Source: MicroBT API manual V2.2 (2025-05-09), "ciphertext". ECB and MD5 are the vendor's choice:
they keep nobody out who listens on the miners' network.
"""

import base64
import binascii
import hashlib
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from drivers.miners.cgminer import ReplyError

with warnings.catch_warnings():
    # passlib looks for the standard library's `crypt`, which is deprecated; it works without, too.
    warnings.simplefilter("ignore", DeprecationWarning)
    from passlib.hash import md5_crypt  # type: ignore[import-untyped]

_SALT = re.compile(r"[./0-9A-Za-z]{1,8}")
_TIME = re.compile(r"[0-9]{1,20}")
_BLOCK_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What an encrypted command needs; neither field is shown in a representation."""

    sign: str
    aes_key: bytes

    def __repr__(self) -> str:
        return "Token(…)"


def derive_token(said: Mapping[str, Any], password: str) -> Token:
    """Derive the token from the content of a reply to `get_token`. Raises ReplyError."""
    salt, newsalt, time = (str(said.get(key)) for key in ("salt", "newsalt", "time"))
    if not (_SALT.fullmatch(salt) and _SALT.fullmatch(newsalt) and _TIME.fullmatch(time)):
        raise ReplyError("salt, newsalt or time is not of the documented form")
    key = _md5_crypt(password, salt)
    return Token(
        sign=_md5_crypt(key + time, newsalt), aes_key=hashlib.sha256(key.encode()).digest()
    )


def seal(token: Token, command: str, parameters: Mapping[str, str]) -> bytes:
    """Return the encrypted form of one command."""
    plain = msgspec.json.encode({"cmd": command, **parameters, "token": token.sign})
    plain += b"\0" * (-len(plain) % _BLOCK_BYTES)
    cipher = _cipher(token).encryptor()
    data = base64.b64encode(cipher.update(plain) + cipher.finalize()).decode()
    return msgspec.json.encode({"enc": 1, "data": data})


def unseal(token: Token, data: str) -> bytes:
    """Return the plain text of an encrypted answer. Raises ReplyError."""
    try:
        sealed = base64.b64decode(data.replace("\n", ""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ReplyError(f"the encrypted answer is not base64: {error}") from error
    if not sealed or len(sealed) % _BLOCK_BYTES:
        raise ReplyError("the encrypted answer is not whole blocks")
    cipher = _cipher(token).decryptor()
    return (cipher.update(sealed) + cipher.finalize()).rstrip(b"\0")


def _md5_crypt(secret: str, salt: str) -> str:
    """Return the last part of `$1$salt$…`."""
    return str(md5_crypt.using(salt=salt).hash(secret)).rpartition("$")[2]


def _cipher(token: Token) -> Cipher[modes.ECB]:
    return Cipher(algorithms.AES(token.aes_key), modes.ECB())  # noqa: S305 - the vendor's protocol
