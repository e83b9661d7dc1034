"""Killed, full, read-only: what the journal promised is there, and nothing else."""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from controller.power.state import State
from controller.site.journal import Batch, JournalError
from tests.services.journal_bench import (
    NOW,
    PATIENCE_S,
    ROOT,
    STATE,
    child,
    opened,
    refused,
    stored_number,
    without_privilege,
)


@pytest.fixture
def path(tmp_path):
    tmp_path.chmod(0o700)
    return tmp_path / "journal.db"


@pytest.mark.parametrize("after", [1, 2, 7, 40])
async def test_killed_between_or_in_commits_loses_nothing_promised(path, after):
    with child(path) as process:
        promised = 0
        while promised < after:
            promised = int(process.stdout.readline())
        process.kill()
        promised = max([promised, *map(int, process.stdout.read().split())])
    assert await stored_number(path) in {promised, promised + 1}


INSIDE = [1, 30, 300, 2_500]


@pytest.mark.parametrize("kill_at", INSIDE)
async def test_killed_inside_a_commit_stores_none_of_it(path, kill_at):
    with child(path, kill_at=kill_at) as process:
        promised = [int(line) for line in process.stdout]
        assert process.wait(PATIENCE_S) == -signal.SIGKILL
    assert promised == [1, 2, 3, 4]
    assert await stored_number(path) == 4


@pytest.mark.parametrize("statement", ["BEGIN", "INSERT INTO event", "COMMIT"])
async def test_killed_before_a_statement_stores_none_of_its_batch(path, statement):
    with child(path, kill_statement=statement) as process:
        promised = [int(line) for line in process.stdout]
        assert process.wait(PATIENCE_S) == -signal.SIGKILL
    assert promised == [1, 2, 3, 4]
    assert await stored_number(path) == 4


# Disks that fail


async def test_a_full_database_stores_nothing_of_the_batch_and_works_again_later(path):
    with opened(path) as journal:
        await journal.commit(Batch(at=NOW, blobs={"a": b"1"}))
        pages = journal._database.execute("PRAGMA page_count").fetchone()[0]
        journal._database.execute(f"PRAGMA max_page_count = {pages}")
        big = Batch(at=NOW, state=STATE, blobs={"a": b"2", "big": b"x" * 10**6})
        with pytest.raises(JournalError, match=r"journal\.db: .*full; free space"):
            await journal.commit(big)
        assert (journal.load().blobs, journal.load().state) == ({"a": b"1"}, State())
        journal._database.execute(f"PRAGMA max_page_count = {pages + 1000}")
        await journal.commit(big)
        assert journal.load().state.armed == STATE.armed


NO_ROOM = """
import asyncio, resource, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.services.journal_bench import NOW, opened
from controller.site.journal import Batch, JournalError

async def main(path):
    with opened(path) as journal:
        await journal.commit(Batch(at=NOW, blobs={{"a": b"1"}}))
        size = path.with_name(path.name + "-wal").stat().st_size
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50_000, hard))
        try:
            await journal.commit(Batch(at=NOW, blobs={{"a": b"2", "big": b"x" * 10**6}}))
        except JournalError as error:
            print(error)
        print(journal.load().blobs)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        await journal.commit(Batch(at=NOW, blobs={{"b": b"3"}}))
    with opened(path) as journal:
        print(journal.load().blobs)

asyncio.run(main(Path(sys.argv[1])))
"""


def test_a_write_that_the_system_refuses_stores_nothing_of_the_batch(path):
    code = NO_ROOM.format(root=str(ROOT))
    said = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
        timeout=PATIENCE_S,
    ).stdout.splitlines()
    assert said[0].startswith(f"{path}: disk I/O error; its disk does not read or write")
    assert said[1:] == ["{'a': b'1'}", "{'a': b'1', 'b': b'3'}"]


async def test_a_journal_that_turns_read_only_says_so(path):
    with opened(path) as journal:
        journal._database.execute("PRAGMA query_only = ON")
        with pytest.raises(JournalError, match=r"journal\.db: .*readonly.*cannot be written"):
            await journal.commit(Batch(at=NOW, blobs={"a": b""}))


@pytest.fixture
def open_folder(tmp_path_factory):
    """A folder whose parents let nobody through, as /tmp does."""
    with tempfile.TemporaryDirectory(prefix="nr-") as made:
        yield Path(made)


def test_a_read_only_file_is_refused_with_its_name(open_folder):
    path = open_folder / "journal.db"
    opened(path).close()
    path.chmod(0o400)
    with without_privilege(path, open_folder):
        refused(path, r"journal\.db: .*readonly database; it cannot be written")


def test_a_folder_that_cannot_be_written_is_named(open_folder):
    open_folder.chmod(0o500)
    with without_privilege(open_folder), pytest.raises(JournalError, match=r"Permission denied"):
        opened(open_folder / "journal.db")
