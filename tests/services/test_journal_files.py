"""Files that the journal refuses, closes to others, or brings up to date."""

import asyncio
import os
import stat

import pytest

from controller.power.state import (
    State,
)
from controller.site.journal import Batch, JournalError
from controller.site.journal_schema import STEPS
from tests.services.journal_bench import (
    NOW,
    ROWS,
    STATE,
    child,
    numbered,
    opened,
    raw,
    refused,
    stored_number,
    target,
)


@pytest.fixture
def path(tmp_path):
    tmp_path.chmod(0o700)
    return tmp_path / "journal.db"


# Rights


def test_only_the_user_himself_can_read_it(tmp_path):
    path = tmp_path / "state" / "deep" / "journal.db"
    before = os.umask(0)
    try:
        with opened(path) as journal:
            asyncio.run(journal.commit(Batch(at=NOW)))
            files = sorted(path.parent.iterdir())
            assert [file.name for file in files] == [
                "journal.db",
                "journal.db-shm",
                "journal.db-wal",
            ]
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700
    finally:
        os.umask(before)


def test_a_file_open_to_others_is_closed_to_them(path):
    opened(path).close()
    path.chmod(0o644)
    opened(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_folder_open_to_others_is_refused(path):
    path.parent.chmod(0o750)
    with pytest.raises(JournalError, match="mode 0750 lets others in; mend: chmod 700"):
        opened(path)
    assert not path.exists()


# Versions

MORE = (*STEPS, ("ALTER TABLE target ADD COLUMN note TEXT NOT NULL DEFAULT 'none'",))


async def test_an_older_journal_is_copied_and_brought_up_to_date(path):
    with opened(path) as journal:
        await journal.commit(numbered(1))
    before = path.read_bytes()
    with opened(path, steps=MORE) as journal:
        assert journal._database.execute("SELECT DISTINCT note FROM target").fetchall() == [
            ("none",)
        ]
        assert journal.load().state.decided_s == 1.0
        assert journal._database.execute("PRAGMA user_version").fetchone() == (len(MORE),)
    backup = path.with_name(f"journal.db.v{len(STEPS)}.bak")
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert {file.name for file in path.parent.iterdir()} == {path.name, backup.name}
    assert path.read_bytes() != before
    backup.replace(path)
    assert await stored_number(path) == 1


async def test_a_migration_that_fails_leaves_the_older_journal(path):
    with opened(path) as journal:
        await journal.commit(numbered(1))
    broken = (*STEPS, ("DROP TABLE event", "ALTER TABLE nowhere ADD COLUMN x"))
    with pytest.raises(JournalError, match=r"journal\.db: no such table: nowhere"):
        opened(path, steps=broken)
    assert await stored_number(path) == 1


async def test_a_migration_includes_what_stood_only_in_the_log(path):
    """A crash leaves the last commits in the -wal file: the copy must have them too."""
    with child(path) as process:
        while int(process.stdout.readline()) < 3:
            pass
        process.kill()
        process.stdout.read()
    with opened(path, steps=MORE) as journal:
        number = int(journal.load().blobs["n"])
    assert number >= 3
    path.with_name(f"journal.db.v{len(STEPS)}.bak").replace(path)
    assert await stored_number(path) == number


def test_a_newer_journal_is_refused(path):
    opened(path, steps=MORE).close()
    refused(path, rf"has schema version {len(MORE)}, this program knows up to {len(STEPS)}; run")


async def test_a_field_of_another_version_is_refused_and_not_forgotten(path):
    with opened(path) as journal:
        await journal.commit(Batch(at=NOW, state=STATE, changed_targets={"m1": target()}))
    with raw(path) as database:
        database.execute("""UPDATE target SET value = json_set(value, '$.fuse_w', 1)""")
    with (
        opened(path) as journal,
        pytest.raises(
            JournalError, match="target m1: this program does not know its field `fuse_w"
        ),
    ):
        journal.load()


# Files that are not the journal of this site


def test_another_sites_journal_is_refused(path):
    opened(path, site_id="toktogul").close()
    refused(path, "belongs to site 'toktogul', not to 'kambarata'; mend `site.id` or")


def grown(path):
    """A journal of many pages, all of them in the file."""
    with opened(path) as journal:
        asyncio.run(journal.commit(numbered(1)))
        asyncio.run(journal.commit(Batch(at=NOW, blobs={"big": b"x" * 100_000})))


def overwrite(path, at, data):
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("site = 1\n" * 1000),
    "header gone": lambda path: overwrite(path, 0, b"\0" * 100),
    "second half gone": lambda path: os.truncate(path, path.stat().st_size // 2),
    "a page of noise": lambda path: overwrite(path, 4096 * 4, bytes(range(256)) * 16),
    "the schema's page": lambda path: overwrite(path, 100, b"\xff" * 3000),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_refused_with_what_to_do(path, damage):
    grown(path)
    damage(path)
    refused(path, r"it is damaged; move it away together .* put the last backup in its place")


def test_another_programs_database_is_refused(path):
    with raw(path) as database:
        database.execute("CREATE TABLE bookmarks (url TEXT)")
    path.chmod(0o600)
    refused(path, "is a database of another program; move it away")


BLOBS = {
    "cut": ("UPDATE state SET value = substr(value, 1, 40)", "state state: "),
    "of another type": ("UPDATE target SET value = '[1]'", "target m1: Expected `object`"),
    "a state unknown": (
        "UPDATE target SET value = json_set(value, '$.state', 'asleep')",
        "target m1: Invalid enum value 'asleep'",
    ),
    "no UTF-8": ("UPDATE inventory SET value = x'7bff7d' WHERE position = 1", "inventory row m1: "),
    "no date": (
        "UPDATE meta SET value = 'tuesday' WHERE name = 'created_at'",
        "'tuesday' is no date",
    ),
}


@pytest.mark.parametrize(("statement", "named"), BLOBS.values(), ids=BLOBS)
async def test_content_that_cannot_be_read_is_named(path, statement, named):
    with opened(path) as journal:
        await journal.commit(Batch(at=NOW, state=STATE, changed_targets={"m1": target()}))
        await journal.replace_inventory(ROWS)
    with raw(path) as database:
        database.execute(statement)
    with opened(path) as journal, pytest.raises(JournalError, match="it is damaged") as caught:
        journal.load()
    assert named in str(caught.value)


async def test_a_journal_taken_apart_is_refused(path):
    with child(path) as process:
        process.stdout.readline()
        process.kill()
        process.stdout.read()
    path.unlink()
    with pytest.raises(JournalError, match=r"is missing, but journal\.db-wal is there; put both"):
        opened(path)
    assert not path.exists()


def test_what_an_interrupted_beginning_left_is_no_obstacle(path):
    path.with_name("journal.db.new").write_bytes(b"half")
    with opened(path) as journal:
        assert journal.load().state == State()
    assert [file.name for file in path.parent.iterdir()] == ["journal.db"]
