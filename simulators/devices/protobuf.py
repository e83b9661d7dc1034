"""As much of the protobuf wire format as unary calls need: messages by field number, without
generated classes.

    encode({1: 3500, 2: "text", 3: [{1: 1.5}, {1: 2.5}]})

Zero numbers, False and empty text are left out (proto3 has no presence for them); an empty message
stays, so that a reader sees it was set.
"""

from collections.abc import Mapping, Sequence
from struct import pack

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
VARINT_BYTES_MAX = 10


class MessageError(ValueError):
    """The bytes are no message, or not the one that was expected."""


def encode(fields: Mapping[int, object]) -> bytes:
    """Encode one message. Raises TypeError for a value that has no place on the wire."""
    return b"".join(_field(number, value) for number, value in sorted(fields.items()))


def decode(data: bytes) -> dict[int, int | bytes]:
    """Decode one message: number → varint or bytes, the last one of a number counts.

    Fixed-width fields come as bytes. Raises MessageError where the bytes are not a message.
    """
    fields: dict[int, int | bytes] = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == VARINT:
            fields[number], at = _varint(data, at)
            continue
        if wire_type == BYTES:
            size, at = _varint(data, at)
        elif wire_type in {FIXED64, FIXED32}:
            size = 8 if wire_type == FIXED64 else 4
        else:
            raise MessageError(f"wire type {wire_type} is not known")
        if at + size > len(data):
            raise MessageError("message is cut off")
        fields[number] = data[at : at + size]
        at += size
    return fields


def message_at(data: bytes, number: int) -> dict[int, int | bytes]:
    """Decode the message in one field of a message; empty when the field is missing. Raises
    ValueError."""
    inner = decode(data).get(number, b"")
    if isinstance(inner, int):
        raise MessageError(f"field {number} is no message")
    return decode(inner)


def text_at(fields: Mapping[int, int | bytes], number: int) -> str:
    """Text of one field, "" when it is missing. Raises MessageError."""
    value = fields.get(number, b"")
    if isinstance(value, int):
        raise MessageError(f"field {number} is no text")
    return value.decode()


def number_at(fields: Mapping[int, int | bytes], number: int) -> int:
    """Unsigned number of one field, 0 when it is missing. Raises MessageError."""
    value = fields.get(number, 0)
    if isinstance(value, bytes):
        raise MessageError(f"field {number} is no number")
    return value


def _field(number: int, value: object) -> bytes:
    match value:
        case bool() | int():
            if not value:
                return b""
            return _bytes_of(number << 3 | VARINT) + _bytes_of(int(value))
        case float():
            return _bytes_of(number << 3 | FIXED64) + pack("<d", value) if value else b""
        case str():
            return _sized(number, value.encode()) if value else b""
        case Mapping():
            return _sized(number, encode(value))
        case Sequence():
            return b"".join(_field(number, item) for item in value)
    raise TypeError(f"field {number}: {type(value).__name__} has no place on the wire")


def _sized(number: int, data: bytes) -> bytes:
    return _bytes_of(number << 3 | BYTES) + _bytes_of(len(data)) + data


def _bytes_of(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(data[at : at + VARINT_BYTES_MAX]):
        value |= (byte & 0x7F) << (7 * index)
        if not byte & 0x80:
            return value, at + index + 1
    raise MessageError("number is cut off or too long")
