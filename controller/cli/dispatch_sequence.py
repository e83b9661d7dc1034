"""Sequence numbers of one dispatcher's key, kept in a file beside it, for all its terminals.

Each topic's number is the last plus one, or the present UNIX second where that is larger: a lost
file does not lock the dispatcher out, because nobody sends a message a second for long.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec

FILE_BYTES_MAX = 1 << 20


class SequenceFileError(Exception):
    """The file cannot be used; says which and how to mend it."""


class Sent(msgspec.Struct, forbid_unknown_fields=True):
    """The last message on a topic. `valid_until` is set for setpoints."""

    sequence: int
    valid_until: datetime | None = None


class _Book(msgspec.Struct, forbid_unknown_fields=True):
    topics: dict[str, Sent] = {}


def file_beside(key_file: Path) -> Path:
    """Path of the sequence file that belongs to a private key."""
    return key_file.with_name(f"{key_file.name}.sequence.json")


def take_sequence(
    path: Path, topic: str, now: datetime, *, valid_until: datetime | None = None
) -> int:
    """Use up and return the next sequence of `topic`. Raises SequenceFileError."""
    with _locked(path) as descriptor:
        book = _read(path, descriptor)
        last = book.topics.get(topic, Sent(0)).sequence
        sequence = max(last + 1, int(now.timestamp()))
        book.topics[topic] = Sent(sequence, valid_until)
        _write(descriptor, msgspec.json.format(msgspec.json.encode(book)))
    return sequence


def sent_under(path: Path, prefix: str) -> dict[str, Sent]:
    """What was last sent on each topic that begins with `prefix`, by the rest of its name."""
    if not path.exists():
        return {}
    with _locked(path) as descriptor:
        topics = _read(path, descriptor).topics
    return {
        topic.removeprefix(prefix): sent
        for topic, sent in topics.items()
        if topic.startswith(prefix)
    }


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SequenceFileError(
            f"{path}: cannot keep sequence numbers: {error.strerror}; "
            f"the folder of the key must be writable"
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _read(path: Path, descriptor: int) -> _Book:
    data = os.pread(descriptor, FILE_BYTES_MAX, 0)
    if not data:
        return _Book()
    try:
        return msgspec.json.decode(data, type=_Book)
    except ValueError as error:
        raise SequenceFileError(
            f"{path}: is damaged ({error}); mend: delete it, the numbers go on from the clock"
        ) from None


def _write(descriptor: int, data: bytes) -> None:
    """Overwrite in place: the lock is on this very file, so it must not be replaced."""
    os.pwrite(descriptor, data, 0)
    os.ftruncate(descriptor, len(data))
    os.fsync(descriptor)
