"""`treasury.db`: who may write it, how it is opened, checked, copied and brought up to date.

no file         → made by all migrations, in one transaction
older revision  → copied to treasury.db.<revision>.bak, then migrated
this revision   → checked
newer, damaged, foreign, another treasury's → refused, untouched
"""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, insert, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from controller.channel.folder import PrivateFolderError, ensure_private
from controller.treasury.tables import META

MIGRATIONS = Path(__file__).with_name("migrations")
APPLICATION_ID = 0x4E52_5954
"""PRAGMA application_id ("NRYT"): tells our files from everybody else's."""
_BUSY_S = 10.0


class DatabaseError(Exception):
    """The treasury's database cannot be used. Names the file, what happened and what to do."""


@contextlib.contextmanager
def only_writer(state_dir: Path) -> Iterator[None]:
    """The right to write in `state_dir` while the context is entered. Raises DatabaseError.

    flock(2) on `<state_dir>/run/lock`; the system takes it back when its holder dies.
    """
    path = state_dir / "run" / "lock"
    with _explained(path):
        ensure_private(state_dir)
        ensure_private(path.parent)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DatabaseError(
                f"{path}: another process runs this treasury already; end it first, or give this "
                "one a `treasury.state_dir` of its own"
            ) from None
        yield
    finally:
        os.close(descriptor)


class Database:
    """An open database. Usable from several threads; they write one after another."""

    def __init__(self, path: Path, migrations: Path = MIGRATIONS) -> None:
        """Open, check and migrate. Raises DatabaseError."""
        self.path = path
        with _explained(path):
            ensure_private(path.parent)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            os.fchmod(descriptor, 0o600)
            os.close(descriptor)
            self._engine = _engine(path)
            try:
                _bring_up(path, self._engine, migrations)
            except BaseException:
                self._engine.dispose()
                raise

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """All of the block's writes, durable when it ends, or none. Raises DatabaseError."""
        with _explained(self.path), self._engine.begin() as connection:
            yield connection

    def belong_to(self, identity: dict[str, str]) -> None:
        """Make it this treasury's at first, and refuse it ever after if it is another's.

        `identity`: names and what they must be. Raises DatabaseError.
        """
        with self.transaction() as db:
            stored = {row.name: row.value for row in db.execute(select(META))}
            for name, value in identity.items():
                if name not in stored:
                    db.execute(insert(META).values(name=name, value=value))
                elif stored[name] != value:
                    raise DatabaseError(
                        f"{self.path}: was begun with {name} {stored[name]!r}, the configuration "
                        f"says {value!r}; mend treasury.toml, or give the new one a "
                        "`treasury.state_dir` of its own"
                    )


def _engine(path: Path) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}", connect_args={"timeout": _BUSY_S}, hide_parameters=True
    )

    # The driver's own transactions leave DDL outside; with them off, BEGIN is ours.
    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _bring_up(path: Path, engine: Engine, migrations: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    with engine.begin() as connection:
        revision = _checked(path, connection, script)
        if revision == script.get_current_head():
            return
        if revision is not None:
            # The copy is made through a second connection: this one holds the write lock, so
            # nothing changes meanwhile.
            _back_up(path, path.with_name(f"{path.name}.{revision}.bak"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")


def _checked(path: Path, connection: Connection, script: ScriptDirectory) -> str | None:
    """The revision of the file; None: it is empty. Raises DatabaseError."""
    tables = {row[0] for row in connection.exec_driver_sql("SELECT name FROM sqlite_master")}
    if not tables:
        return None
    if connection.exec_driver_sql("PRAGMA application_id").scalar() != APPLICATION_ID:
        raise DatabaseError(f"{path}: is a database of another program; move it away")
    found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if found != "ok":
        raise DatabaseError(f"{path}: {_DAMAGED} ({found})")
    revision = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    known = {step.revision for step in script.walk_revisions()}
    if revision not in known:
        raise DatabaseError(
            f"{path}: has schema revision {revision!r}, this program knows up to "
            f"{script.get_current_head()}; run the newer program, or put back a .bak file"
        )
    return str(revision)


def _back_up(path: Path, backup: Path) -> None:
    """A whole copy, made beside its place first, then moved there durably."""
    beside = backup.with_name(backup.name + ".new")
    beside.unlink(missing_ok=True)
    os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with (
        contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as source,
        contextlib.closing(sqlite3.connect(beside)) as copy,
    ):
        source.backup(copy)
        # One file without a log beside it: it can be moved by hand.
        copy.execute("PRAGMA journal_mode = DELETE")
    beside.replace(backup)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


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
    "it is damaged; move it away together with its -wal and -shm files and put the last backup in "
    "its place: what happened since is read from the chain again"
)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise DatabaseError(f"{path}: {_DAMAGED} ({cause})") from error
        mend = _MENDS.get(code)
        raise DatabaseError(f"{path}: {cause}" + (f"; {mend}" if mend else "")) from error
    except SQLAlchemyError as error:
        raise DatabaseError(f"{path}: {error}") from error
    except PrivateFolderError as error:
        mended = str(error).replace("site.state_dir", "treasury.state_dir")
        raise DatabaseError(mended) from error
    except OSError as error:
        raise DatabaseError(f"{error.filename or path}: {error.strerror or error}") from error
