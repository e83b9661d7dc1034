"""The form of the channel: frames on a stream, and the envelopes inside them.

    ┌──────────────────────┬───────────────────────────────┐
    │ length, 4 bytes, BE  │ one envelope in msgpack       │   at most FRAME_BYTES_MAX
    └──────────────────────┴───────────────────────────────┘

    client ── Subscribe ──► server        server ── Publish ──► every subscriber
    client ── Request ────► server        server ── Reply | Failure, same id ──► that client

A body is one msgpack value whose type this module does not know: requester and handler agree on
it.
"""

import asyncio
import os
from pathlib import Path

import msgspec

FRAME_BYTES_MAX = 1024 * 1024
"""Largest envelope. A frame that announces more is not read."""
DETAIL_CHARS_MAX = 2_000
PATH_BYTES_MAX = 107
"""sun_path of unix(7) holds 108 bytes, the closing NUL among them."""
NO_REQUEST = 0
"""Id of a Failure that concerns the connection and no request; requests count from 1."""
IMAGE_TOPIC = "image"
_LENGTH_BYTES = 4


class ChannelError(Exception):
    """The channel cannot be used, or the other side broke its form. Says what and how to mend."""


class RequestRefused(ChannelError):
    """A request arrived and was refused. A handler raises it; the client's `request` raises it."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Request(msgspec.Struct, frozen=True, tag="request"):
    """Client to server: something is asked. `id` is the client's own count, from 1."""

    id: int
    body: msgspec.Raw


class Reply(msgspec.Struct, frozen=True, tag="reply"):
    """Server to client: the answer to request `id`."""

    id: int
    body: msgspec.Raw


class Failure(msgspec.Struct, frozen=True, tag="failure"):
    """Server to client: request `id` was refused; with NO_REQUEST the connection ends."""

    id: int
    detail: str


class Subscribe(msgspec.Struct, frozen=True, tag="subscribe"):
    """Client to server: send me what is published on `topic`."""

    topic: str


class Publish(msgspec.Struct, frozen=True, tag="publish"):
    """Server to subscriber: the newest of `topic`. Older ones that were not sent are dropped."""

    topic: str
    body: msgspec.Raw


Envelope = Request | Reply | Failure | Subscribe | Publish

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Envelope] = msgspec.msgpack.Decoder(Envelope)


def encode(envelope: Envelope) -> bytes:
    """The whole frame, length first. Raises ChannelError when it is larger than a frame may be."""
    if isinstance(envelope, Failure):
        envelope = Failure(envelope.id, _printable(envelope.detail))
    payload = _encoder.encode(envelope)
    if len(payload) > FRAME_BYTES_MAX:
        raise ChannelError(
            f"a {type(envelope).__name__.lower()} of {len(payload)} bytes does not fit the "
            f"channel; at most {FRAME_BYTES_MAX} are sent in one piece"
        )
    return len(payload).to_bytes(_LENGTH_BYTES, "big") + payload


def _printable(detail: str) -> str:
    """A sentence that certainly fits a frame; a file name may hold what is no Unicode."""
    if len(detail) > DETAIL_CHARS_MAX:
        detail = detail[: DETAIL_CHARS_MAX - 1] + "…"
    return detail.encode("utf-8", "replace").decode("utf-8")


def decode(payload: bytes) -> Envelope:
    """Read one envelope. Raises ChannelError when it is none."""
    try:
        return _decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise ChannelError(f"not an envelope of this channel: {error}") from None
    except RecursionError:
        raise ChannelError("not an envelope of this channel: nested too deep") from None


async def read_frame(reader: asyncio.StreamReader) -> bytes | None:
    """Return the next frame's payload, or None when the stream ended between frames.

    Raises ChannelError when the frame is empty, announces more than FRAME_BYTES_MAX, or is cut.
    Reads no byte of a frame that is too large.
    """
    try:
        head = await reader.readexactly(_LENGTH_BYTES)
    except asyncio.IncompleteReadError as cut:
        if not cut.partial:
            return None
        raise ChannelError("the stream ended inside a frame's length") from None
    length = int.from_bytes(head, "big")
    if not 0 < length <= FRAME_BYTES_MAX:
        raise ChannelError(
            f"a frame of {length} bytes was announced; 1 to {FRAME_BYTES_MAX} are allowed"
        )
    try:
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError as cut:
        raise ChannelError(
            f"the stream ended after {len(cut.partial)} of a frame's {length} bytes"
        ) from None


def check_path(path: Path) -> None:
    """Raise ChannelError when a socket's path is longer than the system takes."""
    size_bytes = len(os.fsencode(path))
    if size_bytes > PATH_BYTES_MAX:
        raise ChannelError(
            f"{path}: the path of a socket is at most {PATH_BYTES_MAX} bytes, this one has "
            f"{size_bytes}; choose a shorter `site.state_dir`"
        )
