"""Reads a PSBT that somebody wants signed. It is hostile until it is proved otherwise.

The library that parses it is known to write some transactions otherwise than it read them (version
0, sequence 0) and to overlook a wrong length. What is signed must be what was asked, so the
transactions are cut out of the file by our own few lines as well, and the two must agree to the
byte.
"""

import binascii
from base64 import b64decode
from collections.abc import Mapping
from io import BytesIO

from embit import compact  # type: ignore[import-untyped]
from embit.psbt import PSBT  # type: ignore[import-untyped]

REQUEST_BYTES_MAX = 1_048_576
ENTRIES_MAX = 64
"""In one map of the file; a plain request has a handful."""
_MAGIC = b"psbt\xff"
_UNSIGNED_TX = b"\x00"
_PREVIOUS_TX = b"\x00"
_VERSION = b"\xfb"
_OF_VERSION_2 = range(0x02, 0x07)


class Unreadable(ValueError):
    """Not a PSBT that this signer takes; says what is wrong with it."""


def parse_request(data: bytes) -> PSBT:
    """Read base64 text of a version 0 PSBT. Raises Unreadable."""
    if len(data) > REQUEST_BYTES_MAX:
        raise Unreadable(f"the request is larger than {REQUEST_BYTES_MAX} bytes")
    try:
        raw = b64decode(data.strip(), validate=True)
    except binascii.Error:
        raise Unreadable("the request is not base64 text") from None
    if not raw.startswith(_MAGIC):
        raise Unreadable("the request is no PSBT")
    stream = BytesIO(raw[len(_MAGIC) :])
    unsigned = _unsigned_transaction(_map(stream))
    try:
        psbt = PSBT.parse(raw)
        same = bool(psbt.tx.serialize() == unsigned)
    except Exception:  # noqa: BLE001 - the library raises whatever it meets in hostile bytes
        raise Unreadable("the request is damaged: it is no whole PSBT") from None
    if not same or not psbt.inputs or not psbt.outputs:
        raise Unreadable("its transaction has a form that is not signed here")
    for scope in psbt.inputs:
        previous = _map(stream).get(_PREVIOUS_TX)
        if previous is not None and scope.non_witness_utxo.serialize() != previous:
            raise Unreadable("a previous transaction in it has a form that is not read here")
    return psbt


def _unsigned_transaction(found: Mapping[bytes, bytes]) -> bytes:
    """Take the transaction out of the global map."""
    if any(len(key) == 1 and key[0] in _OF_VERSION_2 for key in found):
        raise Unreadable("it is a PSBT of version 2; send version 0")
    if int.from_bytes(found.get(_VERSION, b""), "little") != 0 or _UNSIGNED_TX not in found:
        raise Unreadable("it is no PSBT of version 0")
    return found[_UNSIGNED_TX]


def _map(stream: BytesIO) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    while key := _string(stream):
        if key in found or len(found) == ENTRIES_MAX:
            raise Unreadable("the request is damaged: it repeats itself or is too long")
        found[key] = _string(stream)
    return found


def _string(stream: BytesIO) -> bytes:
    try:
        length = compact.read_from(stream)
    except RuntimeError:
        raise Unreadable("the request is damaged: it ends too early") from None
    data = stream.read(min(length, REQUEST_BYTES_MAX))
    if len(data) != length:
        raise Unreadable("the request is damaged: it ends too early")
    return data
