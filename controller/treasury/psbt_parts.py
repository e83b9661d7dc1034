"""Takes from a signer's PSBT what a signer adds, and nothing else (BIP 174, version 0).

Signers write what they like beside their signatures: fields of their own, unknown to us, are no
offence. They are left behind here, so nobody later has to read them.
"""

import base64
import binascii
from collections.abc import Iterator

from controller.treasury.psbt_facts import UnreadableTransaction, counts

_MAGIC = b"psbt\xff"
_UNSIGNED_TX = b"\x00"
_SIGNERS = frozenset({0x02, 0x03, 0x07, 0x08})
"""Types of an input's fields: partial signature, sighash, final script, final witness."""
_END = b"\x00"
_SIZE_BYTES = {0xFD: 2, 0xFE: 4, 0xFF: 8}

_Pair = tuple[bytes, bytes]


def signatures_of(text: str) -> str:
    """The same transaction's PSBT in base64, with its signatures alone.

    Raises UnreadableTransaction.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UnreadableTransaction("is no PSBT: not in base64") from None
    if not data.startswith(_MAGIC):
        raise UnreadableTransaction("is no PSBT: begins otherwise")
    reader = _Reader(data, len(_MAGIC))
    unsigned = dict(reader.map()).get(_UNSIGNED_TX)
    if unsigned is None:
        raise UnreadableTransaction("is no PSBT of version 0: no unsigned transaction in it")
    inputs, outputs = counts(unsigned)
    kept = [_MAGIC, _pair((_UNSIGNED_TX, unsigned)), _END]
    for _ in range(inputs):
        kept += [_pair(pair) for pair in reader.map() if pair[0][0] in _SIGNERS]
        kept.append(_END)
    kept += [_END] * outputs  # nothing that a signer says of them is wanted
    return base64.b64encode(b"".join(kept)).decode("ascii")


class _Reader:
    """Reads key-value maps one after another."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at

    def map(self) -> Iterator[_Pair]:
        """The pairs of the next map; it must be read to its end before another is."""
        while key := self._take(self._size()):
            yield key, self._take(self._size())

    def _size(self) -> int:
        first = self._take(1)[0]
        more = _SIZE_BYTES.get(first)
        return first if more is None else int.from_bytes(self._take(more), "little")

    def _take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) != count:
            raise UnreadableTransaction("is no PSBT: it ends too early")
        self._at += count
        return taken


def _pair(pair: _Pair) -> bytes:
    return b"".join(_compact(len(part)) + part for part in pair)


def _compact(size: int) -> bytes:
    if size < min(_SIZE_BYTES):
        return bytes([size])
    if size <= 0xFFFF:
        return b"\xfd" + size.to_bytes(2, "little")
    return b"\xfe" + size.to_bytes(4, "little")
