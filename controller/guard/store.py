"""The guard's files: the ladder that it was given, its latch, and the newest hold.

Each is replaced whole: written beside, synced, renamed. A latch that cannot be read counts as
latched, a ladder or a hold that cannot be read as none.
"""

import os
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from controller.channel.folder import PrivateFolderError, ensure_private
from controller.channel.guard import Ladder, ladder_sha256
from controller.guard.watch import Latch

T = TypeVar("T")

VERSION = 1
_FILE_BYTES_MAX = 32 * 1024 * 1024


class StoreError(Exception):
    """A file of the guard cannot be read or written. Says which, why and how to mend."""


class _LadderFile(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    sha256: str
    ladder: Ladder


class _LatchFile(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    tripped_at: datetime
    start_w: float
    fell: bool = False


class _HoldFile(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    envelope: bytes
    is_ended: bool


class _Version(msgspec.Struct, frozen=True):
    version: int


class Store:
    """The files in one folder of mode 0700."""

    def __init__(self, folder: Path, site_id: str) -> None:
        """Make the folder. Raises StoreError."""
        try:
            ensure_private(folder)
        except PrivateFolderError as error:
            raise StoreError(str(error)) from None
        self._ladder = folder / "ladder"
        self._latch = folder / "latch"
        self._hold = folder / "hold"
        self._site_id = site_id

    def load_ladder(self) -> Ladder | None:
        """The stored ladder; None when there is none yet. Raises StoreError."""
        body = _read(self._ladder)
        if body is None:
            return None
        mend = "it is replaced as soon as `naryn run` gives a new one"
        found = _decode(self._ladder, body, _LadderFile, mend)
        if ladder_sha256(found.ladder) != found.sha256:
            raise StoreError(f"{self._ladder}: its digest does not fit its content; {mend}")
        if found.ladder.site_id != self._site_id:
            raise StoreError(f"{self._ladder}: is of site {found.ladder.site_id!r}; {mend}")
        return found.ladder

    def save_ladder(self, ladder: Ladder) -> None:
        """Raises StoreError."""
        stored = _LadderFile(version=VERSION, sha256=ladder_sha256(ladder), ladder=ladder)
        _write(self._ladder, msgspec.msgpack.encode(stored))

    def load_latch(self) -> Latch | None:
        """The stored latch; None when nothing is latched. Raises StoreError."""
        body = _read(self._latch)
        if body is None:
            return None
        mend = "the guard stays latched; `naryn guard release` ends that and removes it"
        found = _decode(self._latch, body, _LatchFile, mend)
        return Latch(
            tripped_at=found.tripped_at,
            start_w=found.start_w,
            silent_from_s=None,
            fell=found.fell,
        )

    def save_latch(self, latch: Latch) -> None:
        """Raises StoreError."""
        stored = _LatchFile(
            version=VERSION, tripped_at=latch.tripped_at, start_w=latch.start_w, fell=latch.fell
        )
        _write(self._latch, msgspec.msgpack.encode(stored))

    def clear_latch(self) -> None:
        """Raises StoreError."""
        try:
            self._latch.unlink(missing_ok=True)
            _sync(self._latch.parent)
        except OSError as error:
            raise StoreError(f"{self._latch}: cannot be removed: {error.strerror}") from None

    def load_hold(self) -> tuple[bytes, bool] | None:
        """The newest hold's envelope as it came, and whether a person ended it; None when there
        was none yet. Raises StoreError.
        """
        body = _read(self._hold)
        if body is None:
            return None
        mend = "no hold is in force; a new one replaces it"
        found = _decode(self._hold, body, _HoldFile, mend)
        return found.envelope, found.is_ended

    def save_hold(self, envelope: bytes, *, is_ended: bool) -> None:
        """Raises StoreError."""
        stored = _HoldFile(version=VERSION, envelope=envelope, is_ended=is_ended)
        _write(self._hold, msgspec.msgpack.encode(stored))


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            body = file.read(_FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from None
    if len(body) > _FILE_BYTES_MAX:
        raise StoreError(f"{path}: is larger than {_FILE_BYTES_MAX} bytes")
    return body


def _decode(path: Path, body: bytes, shape: type[T], mend: str) -> T:
    try:
        version = msgspec.msgpack.decode(body, type=_Version).version
        if version > VERSION:
            raise StoreError(
                f"{path}: was written by a newer naryn (form {version}, this one knows {VERSION}); "
                f"{mend}"
            )
        return msgspec.msgpack.decode(body, type=shape)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise StoreError(f"{path}: is damaged; {mend}") from None


def _write(path: Path, body: bytes) -> None:
    beside = path.with_name(f"{path.name}.new")
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}") from None


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
