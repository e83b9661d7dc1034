"""`treasury.db`: private, one writer, migrated after a copy, and refused when it is not ours."""

import multiprocessing
import shutil
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from controller.money.facts import OutPoint, Wallet
from controller.money.follow import read_block
from controller.money.ledger import Account, LedgerError, replay
from controller.money.sweep import Stage
from controller.treasury import book, events, sweep_book
from controller.treasury.database import MIGRATIONS, Database, DatabaseError, only_writer
from controller.treasury.events import EventKind
from controller.treasury.sweep_book import Attempt, SweepError
from controller.treasury.tables import META, METADATA, SWEEP
from tests.unit.money.money_facts import (
    COLLECTION,
    RESERVE,
    T0,
    WATCHED,
    block,
    coin,
    tx,
    txid,
)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "state"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def path(folder):
    return folder / "treasury.db"


@pytest.fixture
def database(path):
    opened = Database(path)
    yield opened
    opened.close()


def test_a_new_file_is_private_durable_and_whole(database, path):
    assert path.stat().st_mode & 0o777 == 0o600
    with database.transaction() as db:
        pragmas = [
            db.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
        assert pragmas == ["wal", 2, 1]
        context = MigrationContext.configure(db)
        assert compare_metadata(context, METADATA) == [], "the migrations make what tables.py says"


def test_a_folder_open_to_others_is_refused(folder):
    folder.chmod(0o755)
    with pytest.raises(DatabaseError, match="chmod 700"):
        Database(folder / "treasury.db")


def test_what_is_stored_is_there_again(path):
    first = Database(path)
    with first.transaction() as db:
        events.tell(db, T0, EventKind.PEOPLE, "x" * 2_000)
    first.close()
    second = Database(path)
    with second.transaction() as db:
        (event,) = events.newest(db, 5)
    second.close()
    assert (event.at, len(event.text)) == (T0, 1_000)


class Boom(Exception):
    pass


def test_a_transaction_that_fails_leaves_nothing(database):
    def fail():
        with database.transaction() as db:
            events.tell(db, T0, EventKind.PEOPLE, "never")
            raise Boom

    with pytest.raises(Boom):
        fail()
    with database.transaction() as db:
        assert events.newest(db, 5) == []


def later(tmp_path):
    """Migrations with one more step, as a newer program has them."""
    copy = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "versions" / "v0003_more.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        "revision, down_revision = '0003', '0002'\n"
        "def upgrade():\n    op.add_column('sweep', sa.Column('note', sa.Text))\n"
    )
    return copy


def test_an_older_file_is_copied_then_migrated(path, tmp_path):
    old = Database(path)
    with old.transaction() as db:
        events.tell(db, T0, EventKind.PEOPLE, "kept")
    old.close()
    new = Database(path, later(tmp_path))
    with new.transaction() as db:
        assert "note" in {row[1] for row in db.exec_driver_sql("PRAGMA table_info(sweep)")}
        assert events.newest(db, 1)[0].text == "kept"
    new.close()
    backup = path.with_name("treasury.db.0002.bak")
    assert backup.stat().st_mode & 0o777 == 0o600
    shutil.copy(backup, path)
    for left in ("-wal", "-shm"):
        Path(f"{path}{left}").unlink(missing_ok=True)
    again = Database(path)
    with again.transaction() as db:
        assert events.newest(db, 1)[0].text == "kept"
    again.close()


def test_a_file_of_the_first_form_is_brought_up(path, tmp_path):
    first = tmp_path / "first"
    shutil.copytree(MIGRATIONS, first, ignore=shutil.ignore_patterns("__pycache__", "v0002*"))
    old = Database(path, first)
    with old.transaction() as db:
        db.exec_driver_sql(
            "INSERT INTO sweep VALUES"
            " ('a', 'final', 0, '', 't', 't'), ('b', 'stuck', 1, '', 't', 't')"
        )
    old.close()
    new = Database(path)
    with new.transaction() as db:
        rows = db.exec_driver_sql("SELECT sweep_id, was_final FROM sweep").all()
    new.close()
    assert {tuple(row) for row in rows} == {("a", 1), ("b", 0)}


def test_a_migration_that_fails_leaves_the_old_file(path, tmp_path):
    Database(path).close()
    broken = later(tmp_path)
    step = broken / "versions" / "v0003_more.py"
    step.write_text(step.read_text() + "    op.execute('DELETE FROM nowhere')\n")
    with pytest.raises(DatabaseError, match="nowhere"):
        Database(path, broken)
    same = Database(path)
    with same.transaction() as db:
        assert "note" not in {row[1] for row in db.exec_driver_sql("PRAGMA table_info(sweep)")}
    same.close()


def test_a_newer_file_is_refused_untouched(path, tmp_path):
    Database(path, later(tmp_path)).close()
    before = path.read_bytes()
    with pytest.raises(DatabaseError, match=r"'0003'.*run the newer program"):
        Database(path)
    assert path.read_bytes() == before


def test_another_programs_file_is_refused(path):
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    with pytest.raises(DatabaseError, match="another program"):
        Database(path)


def test_a_damaged_file_is_refused(path):
    path.write_bytes(b"\x00garbage" * 1_000)
    with pytest.raises(DatabaseError, match="damaged"):
        Database(path)


def test_it_belongs_to_one_treasury(database):
    database.belong_to({"treasury": "a", "reserve": "62gqvwhh"})
    database.belong_to({"treasury": "a", "reserve": "62gqvwhh"})
    with pytest.raises(DatabaseError, match=r"begun with reserve '62gqvwhh'.*says 'xxxxxxxx'"):
        database.belong_to({"treasury": "a", "reserve": "xxxxxxxx"})
    with database.transaction() as db:
        assert dict(db.execute(select(META)).all())["reserve"] == "62gqvwhh"


def _try_to_write(state_dir, queue):
    try:
        with only_writer(state_dir):
            queue.put("wrote")
    except DatabaseError as error:
        queue.put(str(error))


def test_there_is_one_writer(folder):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    with only_writer(folder):
        other = context.Process(target=_try_to_write, args=(folder, queue))
        other.start()
        said = queue.get(timeout=30)
        other.join(30)
    assert "runs this treasury already" in said
    with only_writer(folder):
        pass


# The book


def read(db, at, *txs, branch="main", sweeps=()):
    made = block(at, *txs, branch=branch)
    book.connect(db, made, read_block(made, WATCHED, book.unspent(db), set(sweeps)))
    return made


PAYOUT = tx("payout", pays=[(COLLECTION, 700), (COLLECTION, 300)], coinbase=True)
POINTS = (OutPoint(PAYOUT.txid, 0), OutPoint(PAYOUT.txid, 1))
SWEEP_TX = tx("sweep", spends=POINTS, pays=[(RESERVE, 950)])


def test_a_block_is_read_taken_back_and_read_again(database):
    with database.transaction() as db:
        read(db, 1, PAYOUT)
        read(db, 2, SWEEP_TX, sweeps=[SWEEP_TX.txid])
        assert book.spenders(db, POINTS) == dict.fromkeys(POINTS, (SWEEP_TX.txid, 2))
        assert [c.sat for c in book.unspent_at(db, 1).values()] == [700, 300]
        assert [c.sat for c in book.unspent(db).values()] == [950]
        after = book.balances(db)
        for _ in range(3):
            assert len(book.disconnect(db)) == 1
            assert book.spenders(db, POINTS) == dict.fromkeys(POINTS, None)
            assert book.verify(db)[Account.RESERVE] == 0
            read(db, 2, SWEEP_TX, sweeps=[SWEEP_TX.txid])
        assert book.balances(db) == after
        assert len(book.entries(db)) == 2 + 3 * 2
        assert replay(entry for _, entry in book.entries(db)) == book.verify(db)


def test_back_to_nothing(database):
    with database.transaction() as db:
        read(db, 1, PAYOUT)
        read(db, 2, SWEEP_TX, sweeps=[SWEEP_TX.txid])
        book.disconnect(db)
        book.disconnect(db)
        assert book.cursor(db) is None
        assert book.unspent(db) == {}
        assert set(book.balances(db).values()) == {0}
        assert book.disconnect(db) == []


def test_a_book_that_was_changed_by_hand_is_found(database):
    with database.transaction() as db:
        read(db, 1, PAYOUT)
    for statement, said in (
        ("UPDATE posting SET amount_sat = amount_sat + 1 WHERE line = 0", "sum to 1 sat"),
        ("UPDATE coin SET sat = 1 WHERE vout = 0", "the coins hold 301 sat"),
    ):
        with pytest.raises(LedgerError, match=said):
            _verify_after(database, statement)


def _verify_after(database, statement):
    with database.transaction() as db:
        db.exec_driver_sql(statement)
        book.verify(db)


def test_foreign_spends_stand_until_they_are_acknowledged(database):
    thief = tx("thief", spends=POINTS[:1], pays=[(RESERVE, 1)])
    with database.transaction() as db:
        read(db, 1, PAYOUT)
        read(db, 2, thief)
        assert [entry.txid for _, entry in book.unacknowledged(db)] == [thief.txid]
        book.disconnect(db)
        assert book.unacknowledged(db) == []
        read(db, 2, thief, branch="b")
        assert book.acknowledge(db) == 1
        assert book.unacknowledged(db) == []
        assert book.acknowledge(db) == 0


# Sweeps


def begun(db, name="s1", index=0):
    coins = [coin(1, 700), coin(2, 300)]
    sweep_book.begin(db, name, index, coins, T0)
    return coins


def attempt(number=1, **changes):
    made = {"txid": txid("s"), "amount_sat": 950, "fee_sat": 50, "vsize": 200, "psbt": "cHNidA=="}
    return Attempt(number=number, created_at=T0, **(made | changes))


def test_a_coin_is_held_by_one_sweep_and_a_destination_used_once(database):
    with database.transaction() as db:
        begun(db)
    with pytest.raises(DatabaseError, match="UNIQUE"), database.transaction() as db:
        begun(db, "s2", 1)
    with pytest.raises(DatabaseError, match="UNIQUE"), database.transaction() as db:
        sweep_book.begin(db, "s2", 0, [coin(3, 1)], T0)
    with database.transaction() as db:
        assert [s.sweep_id for s in sweep_book.sweeps(db)] == ["s1"]
        assert sweep_book.next_index(db, Wallet.RESERVE) == 1
        sweep_book.move(db, "s1", Stage.BLOCKED, T0, "why")
        sweep_book.move(db, "s1", Stage.ABANDONED, T0)
        begun(db, "s2", 1)
        assert len(sweep_book.held(db)) == 2


def test_a_stage_is_never_jumped(database):
    with database.transaction() as db:
        begun(db)
        with pytest.raises(SweepError, match="does not go from proposed to broadcast"):
            sweep_book.move(db, "s1", Stage.BROADCAST, T0)


def test_an_attempt_is_stored_once(database):
    with database.transaction() as db:
        begun(db)
        sweep_book.add_attempt(db, "s1", attempt())
        sweep_book.add_attempt(db, "s1", attempt(txid=txid("other")))
        sweep_book.store_raw(db, "s1", 1, b"raw")
        found = sweep_book.find(db, "s1")
        assert [(a.txid, a.raw) for a in found.attempts] == [(txid("s"), b"raw")]
        assert sweep_book.attempt_txids(db) == {txid("s")}
        assert sweep_book.find(db, "none") is None


def test_amounts_beyond_32_bits_are_kept(database):
    sat = 20_999_999 * 10**8
    with database.transaction() as db:
        read(db, 1, tx("all", pays=[(RESERVE, sat)]))
        assert book.verify(db)[Account.RESERVE] == sat


def test_an_integrity_error_is_told_as_the_databases(database):
    with pytest.raises(DatabaseError) as told, database.transaction() as db:
        db.execute(SWEEP.insert().values(sweep_id="x"))
    assert isinstance(told.value.__cause__, IntegrityError)
    assert str(database.path) in str(told.value)
