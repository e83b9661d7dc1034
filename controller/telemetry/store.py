"""Opens the SQLite files of telemetry: bounded in trust, never in the way of the site.

no file           → made, private
damaged           → StoreDamaged; its owner moves it aside under `<name>.damaged`, and begins anew
newer, or foreign → refused, untouched

Losing such a file loses measurements, never control: so a damaged one is no reason to ask people.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from controller.channel.folder import PrivateFolderError, ensure_private

BUSY_S = 5.0
_LOG_BYTES_MAX = 8 * 1024 * 1024
"""What the write-ahead log keeps of the disk after a checkpoint."""
_BESIDE = ("", "-wal", "-shm")


class StoreError(Exception):
    """A file cannot be used now. Names it, what happened and what to do."""


class StoreDamaged(StoreError):
    """The file's content is broken; `move_aside` clears the place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a file holds. `application_id` tells it from other programs' files."""

    application_id: int
    version: int
    statements: Sequence[str]


def open_store(path: Path, shape: Shape, *, durable: bool) -> sqlite3.Connection:
    """A connection in autocommit mode, usable from one thread at a time. Raises StoreError.

    `durable`: a commit survives the loss of power; otherwise only the death of the process.
    """
    with explained(path):
        ensure_private(path.parent)
        _make_private(path)
        database = _connect(path)
        try:
            # An empty one may be new, or left by a crash in the middle of being made.
            if _is_empty(database):
                _build(database, path, shape)
            else:
                _check(database, path, shape)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            database.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES_MAX}")
        except BaseException:
            database.close()
            raise
    return database


def open_to_read(path: Path, shape: Shape) -> sqlite3.Connection:
    """A connection that changes nothing, while another may write. Raises StoreError."""
    with explained(path):
        if not path.exists():
            raise StoreError(f"{path}: is not there yet; run the site first")
        database = _connect(path)
        try:
            database.execute("PRAGMA query_only = ON")
            _check(database, path, shape)
        except BaseException:
            database.close()
            raise
    return database


@contextlib.contextmanager
def transaction(database: sqlite3.Connection, path: Path) -> Iterator[None]:
    """All of the block's writes, or none. Raises StoreError."""
    with explained(path):
        try:
            database.execute("BEGIN IMMEDIATE")
            yield
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    database.execute("ROLLBACK")
            raise


def move_aside(path: Path) -> None:
    """Clear the place of a damaged file; what was moved aside before goes. Raises StoreError."""
    with explained(path):
        for suffix in _BESIDE:
            aside = Path(f"{damaged_path(path)}{suffix}")
            aside.unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                Path(f"{path}{suffix}").rename(aside)


def damaged_path(path: Path) -> Path:
    """Where `move_aside` puts a file."""
    return path.with_name(path.name + ".damaged")


_MENDS = {
    sqlite3.SQLITE_FULL: "the disk is full; free space where it stands",
    sqlite3.SQLITE_READONLY: "it cannot be written; mend its rights, or how its disk is mounted",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; mend its rights and its folder's",
    sqlite3.SQLITE_BUSY: "another process holds it; end that one",
    sqlite3.SQLITE_IOERR: "its disk does not read or write; look at its space and the kernel's log",
}


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite and the disk say into StoreError."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise StoreDamaged(f"{path}: is damaged: {error}") from error
        mend = _MENDS.get(code)
        raise StoreError(f"{path}: {error}" + (f"; {mend}" if mend else "")) from error
    except PrivateFolderError as error:
        raise StoreError(str(error)) from error
    except OSError as error:
        raise StoreError(f"{error.filename or path}: {error.strerror or error}") from error


def _build(database: sqlite3.Connection, path: Path, shape: Shape) -> None:
    with transaction(database, path):
        database.execute(f"PRAGMA application_id = {shape.application_id}")
        database.execute(f"PRAGMA user_version = {shape.version}")
        for statement in shape.statements:
            database.execute(statement)


def _is_empty(database: sqlite3.Connection) -> bool:
    tables = int(database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    return not tables and _pragma(database, "application_id") == 0


def _check(database: sqlite3.Connection, path: Path, shape: Shape) -> None:
    if _pragma(database, "application_id") != shape.application_id:
        raise StoreError(f"{path}: is a database of another program; move it away")
    version = _pragma(database, "user_version")
    if version != shape.version:
        raise StoreError(
            f"{path}: has schema version {version}, this program knows {shape.version}; "
            "run the program that wrote it, or move the file away"
        )


def _pragma(database: sqlite3.Connection, name: str) -> int:
    return int(database.execute(f"PRAGMA {name}").fetchone()[0])


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_S,
        isolation_level=None,
        check_same_thread=False,
    )


def _make_private(path: Path) -> None:
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
