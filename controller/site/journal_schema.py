"""The journal's database: its tables, how it is opened, checked and brought up to date.

no file         → made beside its place, and moved there when it is whole
older version   → copied to journal.db.v<N>.bak, then migrated step by step
this version    → checked
newer, damaged, foreign, taken apart → refused, untouched
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from controller.channel.folder import PrivateFolderError, ensure_private

Place = Path | Literal[":memory:"]

APPLICATION_ID = 0x4E52_594E
"""PRAGMA application_id ("NRYN"): tells our files from everybody else's."""
BUSY_S = 5.0
"""How long a commit waits for another process that reads a backup from the file."""

Step = tuple[str, ...]
STEPS: tuple[Step, ...] = (
    (
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), value BLOB NOT NULL)",
        "CREATE TABLE target (miner_id TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
        """CREATE TABLE order_log (
             order_id TEXT PRIMARY KEY, updated_at TEXT NOT NULL, value BLOB NOT NULL
           ) WITHOUT ROWID""",
        "CREATE INDEX order_log_by_time ON order_log (updated_at)",
        """CREATE TABLE inventory (
             position INTEGER PRIMARY KEY, miner_id TEXT NOT NULL UNIQUE, value BLOB NOT NULL
           )""",
        """CREATE TABLE event (
             seq INTEGER PRIMARY KEY AUTOINCREMENT,
             at TEXT NOT NULL, kind TEXT NOT NULL, detail TEXT NOT NULL
           )""",
        "CREATE TABLE blob (name TEXT PRIMARY KEY, value BLOB NOT NULL)",
    ),
)
"""Step N brings version N-1 to version N. A change of what the blobs hold is a step as well
(SQLite's own JSON functions can rewrite them). A published step is never changed.
"""


class JournalError(Exception):
    """The journal cannot be used. Names the file, what happened and what to do."""


def open_database(place: Place, steps: Sequence[Step] = STEPS) -> sqlite3.Connection:
    """A checked connection in autocommit mode, usable from any one thread at a time.

    Raises JournalError; a file that is refused is left as it is.
    """
    if place == ":memory:":
        database = sqlite3.connect(place, isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA foreign_keys = ON")
        _build(database, place, steps)
        return database
    path = Path(place)
    with _explained(path):
        ensure_private(path.parent)
        if not _is_there(path):
            _create(path, steps)
        elif path.stat().st_mode & 0o077:
            path.chmod(0o600)
        database = _connect(path)
        try:
            version = _check(database, path, steps)
            _configure(database)
            if version < len(steps):
                _back_up(database, path.with_name(f"{path.name}.v{version}.bak"))
                _migrate(database, path, version, steps)
        except BaseException:
            database.close()
            raise
    return database


@contextlib.contextmanager
def transaction(database: sqlite3.Connection, place: Place) -> Iterator[None]:
    """All of the block's writes, durable when it ends, or none. Raises JournalError."""
    with _explained(place):
        try:
            database.execute("BEGIN IMMEDIATE")
            yield
            database.execute("COMMIT")
        except BaseException as error:
            if database.in_transaction:
                database.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error) and _is_io(error):
                _forget_frames(database)
            raise


def _forget_frames(database: sqlite3.Connection) -> None:
    """Cut off what a failed commit may have left in the write-ahead log.

    When fsync fails after everything was written, the log ends in a whole transaction that was
    never promised; a crash now would bring it back. Should this fail too, the next commit
    overwrites it.
    """
    with contextlib.suppress(sqlite3.Error):
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _is_io(error: sqlite3.Error) -> bool:
    return _primary(error) == sqlite3.SQLITE_IOERR


def _primary(error: sqlite3.Error) -> int:
    """The primary code: the lowest byte of SQLite's extended result codes."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


_MENDS = {
    sqlite3.SQLITE_FULL: "the disk is full; free space where it stands",
    sqlite3.SQLITE_READONLY: "it cannot be written; mend its rights, or how its disk is mounted",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; mend its rights",
    sqlite3.SQLITE_PERM: "it cannot be opened; mend its rights",
    sqlite3.SQLITE_BUSY: "another process holds it; end that one",
    sqlite3.SQLITE_LOCKED: "another process holds it; end that one",
    sqlite3.SQLITE_IOERR: "its disk does not read or write; look at the disk and the kernel's log",
}
_DAMAGED = (
    "it is damaged; move it away together with its -wal and -shm files, then put the last backup "
    "in its place or start without one (the site then begins in observe)"
)


@contextlib.contextmanager
def _explained(place: Place) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        code = _primary(error)
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise JournalError(f"{place}: {_DAMAGED} ({error})") from error
        mend = _MENDS.get(code)
        raise JournalError(f"{place}: {error}" + (f"; {mend}" if mend else "")) from error
    except PrivateFolderError as error:
        raise JournalError(str(error)) from error
    except OSError as error:
        raise JournalError(f"{error.filename or place}: {error.strerror or error}") from error


def damaged(place: Place, what: str) -> JournalError:
    """The error for content that cannot be read although the database itself is whole."""
    return JournalError(f"{place}: {_DAMAGED} ({what})")


def _is_there(path: Path) -> bool:
    if path.exists():
        return True
    wal = path.with_name(path.name + "-wal")
    if wal.exists():
        # SQLite would play this log into whatever database comes to stand beside it.
        raise JournalError(
            f"{path}: is missing, but {wal.name} is there; put both back, or move that one away"
        )
    return False


def _connect(path: Path) -> sqlite3.Connection:
    # mode=rw: a missing file is an error here, never a new and empty journal.
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_S,
        isolation_level=None,
        check_same_thread=False,
    )


def _configure(database: sqlite3.Connection) -> None:
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        database.execute(f"PRAGMA {pragma}")


def _check(database: sqlite3.Connection, path: Path, steps: Sequence[Step]) -> int:
    """Return the schema version. Raises JournalError when the file is not one of ours, or bad."""
    if path.stat().st_size == 0:
        raise damaged(path, "it is empty")
    if _pragma(database, "application_id") != APPLICATION_ID:
        raise JournalError(f"{path}: is a database of another program; move it away")
    found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise damaged(path, found)
    version = _pragma(database, "user_version")
    if version > len(steps):
        raise JournalError(
            f"{path}: has schema version {version}, this program knows up to {len(steps)}; "
            f"run the newer program, or put back {path.name}.v{len(steps)}.bak"
        )
    return version


def _pragma(database: sqlite3.Connection, name: str) -> int:
    return int(database.execute(f"PRAGMA {name}").fetchone()[0])


def _create(path: Path, steps: Sequence[Step]) -> None:
    """Make the file beside its place: a crash leaves none at all, never half of one."""
    beside = path.with_name(path.name + ".new")
    for left in (beside, beside.with_name(beside.name + "-journal")):
        left.unlink(missing_ok=True)
    _make_private(beside)
    with contextlib.closing(_connect(beside)) as database:
        _build(database, beside, steps)
    _put(beside, path)


def _build(database: sqlite3.Connection, place: Place, steps: Sequence[Step]) -> None:
    database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    _migrate(database, place, 0, steps)


def _migrate(
    database: sqlite3.Connection, place: Place, version: int, steps: Sequence[Step]
) -> None:
    """Bring `version` to the newest in one transaction: all steps or none."""
    with transaction(database, place):
        for step in steps[version:]:
            for statement in step:
                database.execute(statement)
        database.execute(f"PRAGMA user_version = {len(steps)}")


def _back_up(database: sqlite3.Connection, backup: Path) -> None:
    """A whole copy under `backup`, made beside it first."""
    beside = backup.with_name(backup.name + ".new")
    beside.unlink(missing_ok=True)
    _make_private(beside)
    with contextlib.closing(_connect(beside)) as copy:
        database.backup(copy)
        # One file without a log beside it: it can be moved by hand.
        copy.execute("PRAGMA journal_mode = DELETE")
    _put(beside, backup)


def _make_private(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _put(beside: Path, path: Path) -> None:
    """Move a finished file to its place, durably."""
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
