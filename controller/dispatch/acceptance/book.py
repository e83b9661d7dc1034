"""The last sequence heard of each issuer on each topic: what makes a replay visible.

A plain value. The journal stores it (`to_json`, `from_json`) before anything acts on the verdict
that came with it, so a restart forgets nothing. It grows with trusted issuers and configured nodes
only: messages of others never reach it.
"""

from typing import Self

import msgspec


class Entry(msgspec.Struct, frozen=True):
    """The newest message of one stream: its payload's SHA-256 (hex) and what became of it.

    `verdict` is "ACCEPTED" or the reason of its rejection.
    """

    sequence: int
    payload_sha256: str
    verdict: str


class SequenceBook(msgspec.Struct, frozen=True):
    """Entries by issuer and topic. Never changed: `with_entry` returns a new book."""

    streams: dict[str, dict[str, Entry]] = {}

    def find(self, issuer: str, topic: str) -> Entry | None:
        """The newest message of `issuer` on `topic`; None when there was none."""
        return self.streams.get(issuer, {}).get(topic)

    def with_entry(self, issuer: str, topic: str, entry: Entry) -> Self:
        """Return the book in which `entry` is the newest of its stream."""
        stream = {**self.streams.get(issuer, {}), topic: entry}
        return type(self)({**self.streams, issuer: stream})

    def to_json(self) -> bytes:
        """Bytes for the journal."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read `to_json`'s bytes. Raises ValueError when they are damaged."""
        return msgspec.json.decode(data, type=cls)
