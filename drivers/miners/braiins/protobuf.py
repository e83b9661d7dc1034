"""As much of the protobuf wire format as this driver's few messages need, by field number. Pure.

Written by hand: betterproto comes with pyasic only, and its generated classes live inside pyasic,
which no native driver imports. Form: https://protobuf.dev/programming-guides/encoding/.

A message is hostile until it is parsed here: `ReplyError` is the only exception, nothing recurses,
and the work is bounded by the length that the transport let through.
"""

from collections.abc import Mapping

from drivers.miners.cgminer import ReplyError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VARINT_BYTES_MAX = 10
_UINT64_MAX = 2**64 - 1

Fields = Mapping[int, int | bytes]
"""Field number → number or bytes; a fixed-width field is its bytes. The last one counts."""


def encode(fields: Mapping[int, int | str | bytes]) -> bytes:
    """Encode one message; `bytes` is a message or bytes field. Numbers are unsigned.

    Zero and empty text are left out, as proto3 does; an empty message stays.
    """
    out = bytearray()
    for number, value in fields.items():
        if isinstance(value, int):
            if value:
                out += _encode_varint(number << 3 | _VARINT) + _encode_varint(value)
        elif value or isinstance(value, bytes):
            data = value.encode() if isinstance(value, str) else value
            out += _encode_varint(number << 3 | _BYTES) + _encode_varint(len(data)) + data
    return bytes(out)


def decode(data: bytes) -> Fields:
    """Decode one message. Raises ReplyError for bytes that are none."""
    fields: dict[int, int | bytes] = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise ReplyError("not protobuf: field number 0")
        if wire_type == _VARINT:
            fields[number], at = _varint(data, at)
            continue
        if wire_type == _BYTES:
            size, at = _varint(data, at)
        elif wire_type in {_FIXED64, _FIXED32}:
            size = 8 if wire_type == _FIXED64 else 4
        else:
            raise ReplyError(f"not protobuf: wire type {wire_type}")
        if size > len(data) - at:
            raise ReplyError("not protobuf: a field is cut off")
        fields[number] = data[at : at + size]
        at += size
    return fields


def message_at(fields: Fields, *path: int) -> Fields | None:
    """Decode the message that lies at the end of `path`; None where a field is missing.

    Raises ReplyError for a field on the way that is no message.
    """
    for number in path:
        inner = fields.get(number)
        if inner is None:
            return None
        if isinstance(inner, int):
            raise ReplyError(f"field {number} is a number and no message")
        fields = decode(inner)
    return fields


def number_at(fields: Fields, number: int) -> int | None:
    """Return an unsigned number; None where the field is missing. Raises ReplyError."""
    value = fields.get(number)
    if isinstance(value, bytes):
        raise ReplyError(f"field {number} is no number")
    return value


def text_at(fields: Fields, number: int) -> str | None:
    """Return a text as it is; None where the field is missing. Raises ReplyError."""
    value = fields.get(number)
    if value is None:
        return None
    if isinstance(value, int):
        raise ReplyError(f"field {number} is no text")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise ReplyError(f"field {number} is no text: {error.reason}") from error


def _encode_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(data[at : at + _VARINT_BYTES_MAX]):
        value |= (byte & 0x7F) << (7 * index)
        if not byte & 0x80:
            return value & _UINT64_MAX, at + index + 1
    raise ReplyError("not protobuf: a number is cut off or too long")
