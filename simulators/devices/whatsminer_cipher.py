"""What MicroBT's API 2 makes of a password: md5crypt, token sign and AES key (WhatsMiner API manual
V2.0.5).

key   = md5crypt(password, salt)            only the digest, without «$1$salt$»
sign  = md5crypt(key + time, newsalt)       likewise; sent along as the token
aes   = sha256(key), ECB, zero padding, base64
"""

import base64
import binascii
from hashlib import md5, sha256

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ROUNDS = 1000
_ORDER = ((0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5))
BLOCK_BYTES = 16


def _digest(data: bytes) -> bytes:
    return md5(data, usedforsecurity=False).digest()


def _letters(value: int, count: int) -> str:
    return "".join(_ALPHABET[(value >> (6 * index)) & 0x3F] for index in range(count))


def md5crypt(password: str, salt: str) -> str:
    """Digest part of the Unix «$1$» hash: 22 letters of ./0-9A-Za-z. The salt counts up to eight
    characters.

    >>> md5crypt("admin", "BQ5hoXV9")
    'RxmaDUO33TS7O26yeMHZ81'
    """
    word, spice = password.encode(), salt.encode()[:8]
    inner = _digest(word + spice + word)
    start = word + b"$1$" + spice + (inner * (len(word) // 16 + 1))[: len(word)]
    bits = len(word)
    while bits:
        start += b"\0" if bits & 1 else word[:1]
        bits >>= 1
    final = _digest(start)
    for turn in range(_ROUNDS):
        mixed = word if turn & 1 else final
        if turn % 3:
            mixed += spice
        if turn % 7:
            mixed += word
        final = _digest(mixed + (final if turn & 1 else word))
    groups = (_letters(final[a] << 16 | final[b] << 8 | final[c], 4) for a, b, c in _ORDER)
    return "".join(groups) + _letters(final[11], 2)


def sign_of(key: str, time: str, newsalt: str) -> str:
    """Token that proves the password."""
    return md5crypt(key + time, newsalt)


def encrypt(key: str, text: bytes) -> str:
    """Base64 of the ciphertext."""
    padded = text + b"\0" * (-len(text) % BLOCK_BYTES)
    encryptor = _cipher(key).encryptor()
    return base64.b64encode(encryptor.update(padded) + encryptor.finalize()).decode()


def decrypt(key: str, data: str) -> bytes:
    """Plain bytes without the padding. Raises ValueError for bad base64 or broken blocks."""
    try:
        ciphertext = base64.b64decode(data, validate=False)
    except binascii.Error as problem:
        raise ValueError("not base64") from problem
    if not ciphertext or len(ciphertext) % BLOCK_BYTES:
        raise ValueError("not whole AES blocks")
    decryptor = _cipher(key).decryptor()
    return (decryptor.update(ciphertext) + decryptor.finalize()).rstrip(b"\0")


def _cipher(key: str) -> Cipher[modes.ECB]:
    return Cipher(algorithms.AES(sha256(key.encode()).digest()), modes.ECB())  # noqa: S305 - the vendor's choice
