"""The spool: numbers are given once, what is committed stays, what does not fit is dropped."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time

import pytest

from controller.telemetry import spool as spool_module
from controller.telemetry.keeper import LINES_MAX, Commits, SpoolKeeper
from controller.telemetry.spool import Spool, read_books
from controller.telemetry.store import StoreDamaged, StoreError
from tests.unit.telemetry.toy_clock import ToyClock

NOW_S = 1_795_590_000.7
FIRST = 1_795_590_000_000_001


def lines(count, size=0, begin=0):
    """So many lines; `size` pads each."""
    pad = "x" * size
    return [(f'site,site=toy v={n},t="{pad}"', n) for n in range(begin, begin + count)]


def opened(tmp_path, *, bytes_max=10_000_000, now_unix_s=NOW_S):
    return Spool(tmp_path / "s" / "spool.db", bytes_max=bytes_max, now_unix_s=now_unix_s)


def numbers(batches):
    """The numbers that stand in the lines themselves."""
    return [
        spool_module.seq_of(line) for batch in batches for line in batch.body.split(b"\n") if line
    ]


def test_lines_come_out_as_they_went_in_each_with_the_next_number(tmp_path):
    with opened(tmp_path) as spool:
        spool.append(lines(3))
        spool.append(lines(2, begin=3))
        batches = spool.oldest(100)
        assert numbers(batches) == [FIRST + n for n in range(5)]
        assert [(b.first_seq, b.last_seq) for b in batches] == [
            (FIRST, FIRST + 2),
            (FIRST + 3, FIRST + 4),
        ]
        whole = batches[0].body.split(b"\n")[1].decode()
        assert whole == f'site,site=toy v=1,t="",seq={FIRST + 1}i 1'
        assert spool.waiting == 5
        spool.delivered(batches[:1], now_unix_s=NOW_S)
        assert numbers(spool.oldest(100)) == [FIRST + 3, FIRST + 4]
        assert spool.waiting == 2


def test_the_files_are_private(tmp_path):
    with opened(tmp_path):
        for path in (tmp_path / "s").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o700


def test_a_large_commit_is_cut_into_rows_and_a_request_holds_whole_rows(tmp_path):
    with opened(tmp_path) as spool:
        spool.append(lines(1000, size=1000))
        batches = spool.oldest(10_000)
        assert len(batches) == 5
        assert all(len(batch.body) <= spool_module.ROW_BYTES for batch in batches)
        assert numbers(batches) == list(range(FIRST, FIRST + 1000))
        assert [b.lines for b in batches] == [len(b.body.split(b"\n")) for b in batches]
        two = spool.oldest(batches[0].lines + batches[1].lines)
        assert two == batches[:2]
        assert spool.oldest(1) == batches[:1], "one at least"


def test_the_oldest_are_dropped_when_the_bound_is_reached_and_booked(tmp_path):
    with opened(tmp_path, bytes_max=300_000) as spool:
        spool.append(lines(100, size=1000))
        spool.append(lines(100, size=1000, begin=100))
        assert spool.account.dropped == 0
        spool.append(lines(100, size=1000, begin=200))
        assert spool.account.dropped == 100
        assert numbers(spool.oldest(1000)) == [FIRST + n for n in range(100, 300)]
        spool.append(lines(100, size=1000, begin=300))
        assert spool.waiting == 200
    books = read_books(tmp_path / "s" / "spool.db")
    assert books.dropped == [(FIRST, FIRST + 199)], "ranges that follow each other are one"
    assert books.waiting == [(FIRST + 200, FIRST + 299), (FIRST + 300, FIRST + 399)]
    assert books.account.last_seq == FIRST + 399


def test_a_line_larger_than_the_whole_spool_is_dropped_and_blocks_nothing(tmp_path):
    with opened(tmp_path, bytes_max=10_000) as spool:
        spool.append(lines(1, size=20_000))
        assert (spool.waiting, spool.account.dropped) == (0, 1)
        spool.append(lines(1))
        assert numbers(spool.oldest(9)) == [FIRST + 1]


def test_rejected_lines_are_kept_with_their_reason_up_to_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(spool_module, "REJECTED_MAX", 3)
    with opened(tmp_path) as spool:
        spool.append(lines(6))
        (batch,) = spool.oldest(9)
        bad = [(line, f"no {n}") for n, line in enumerate(batch.body.split(b"\n"))][1:]
        spool.delivered([batch], bad, now_unix_s=NOW_S)
        assert spool.account.rejected == 5
        assert spool.waiting == 0
    with sqlite3.connect(tmp_path / "s" / "spool.db") as database:
        kept = database.execute("SELECT detail, line FROM rejected ORDER BY id").fetchall()
    database.close()
    assert kept == [(detail, line) for line, detail in bad[-3:]]
    assert read_books(tmp_path / "s" / "spool.db").rejected == [(FIRST + 1, FIRST + 5)]


def test_forgotten_ranges_move_the_begin_of_the_account(tmp_path, monkeypatch):
    monkeypatch.setattr(spool_module, "GONE_MAX", 2)
    with opened(tmp_path) as spool:
        for n in range(4):
            spool.append(lines(2))
            (batch,) = spool.oldest(2)
            first = batch.body.split(b"\n")[0]
            spool.delivered([batch], [(first, f"bad {n}")], now_unix_s=NOW_S)
        assert spool.account.first_seq == FIRST + 3
    books = read_books(tmp_path / "s" / "spool.db")
    assert books.rejected == [(FIRST + 4, FIRST + 4), (FIRST + 6, FIRST + 6)]


def test_numbers_go_on_after_a_restart_even_when_all_is_delivered(tmp_path):
    with opened(tmp_path) as spool:
        spool.append(lines(3), unrecorded=7)
        spool.delivered(spool.oldest(9), now_unix_s=NOW_S)
    with opened(tmp_path, now_unix_s=NOW_S + 900) as spool:
        assert spool.account.last_seq == FIRST + 2
        assert spool.account.unrecorded == 7
        spool.append(lines(1))
        assert numbers(spool.oldest(9)) == [FIRST + 3]


def test_a_commit_that_fails_stores_nothing_and_gives_no_number(tmp_path, monkeypatch):
    with opened(tmp_path) as spool:
        spool.append(lines(1))

        def broken(_account):
            raise sqlite3.OperationalError("disk I/O error")

        with monkeypatch.context() as patch:
            patch.setattr(spool, "_store", broken)
            with pytest.raises(StoreError, match="disk I/O error"):
                spool.append(lines(5))
        assert (spool.account.last_seq, spool.waiting) == (FIRST, 1)
        spool.append(lines(2, begin=7))
        assert numbers(spool.oldest(9)) == [FIRST, FIRST + 1, FIRST + 2]


def test_a_newer_or_foreign_file_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "s" / "spool.db"
    opened(tmp_path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 9")
    database.close()
    with pytest.raises(StoreError, match="schema version 9, this program knows 1; run the"):
        opened(tmp_path)
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA application_id = 5")
    database.close()
    with pytest.raises(StoreError, match="of another program; move it away"):
        opened(tmp_path)
    assert path.exists()


def test_an_empty_file_left_by_a_crash_is_begun(tmp_path):
    (tmp_path / "s").mkdir(mode=0o700)
    (tmp_path / "s" / "spool.db").touch(mode=0o600)
    with opened(tmp_path) as spool:
        spool.append(lines(1))
        assert spool.waiting == 1


def keeper_of(tmp_path, **facts):
    return SpoolKeeper(tmp_path / "s" / "spool.db", facts.pop("bytes_max", 10**7), ToyClock())


def test_a_damaged_spool_is_moved_aside_named_and_begun_anew(tmp_path):
    path = tmp_path / "s" / "spool.db"
    (tmp_path / "s").mkdir(mode=0o700)
    path.write_bytes(b"this was a database once" * 400)
    keeper = keeper_of(tmp_path)
    keeper.put(lines(2))
    with pytest.raises(StoreDamaged, match=r"spool\.db: is damaged: file is not a database"):
        keeper.commit()
    assert keeper.damaged
    keeper.commit()
    assert keeper.spool.waiting == 2, "what waited in memory is in the new one"
    aside = tmp_path / "s" / "spool.db.damaged"
    assert aside.read_bytes().startswith(b"this was a database")
    aside.unlink()
    keeper.commit()
    assert not keeper.damaged, "people have looked at it"
    keeper.close()


def test_damage_met_while_running_is_met_in_the_same_way(tmp_path):
    path = tmp_path / "s" / "spool.db"
    keeper = keeper_of(tmp_path)
    keeper.put(lines(500, size=1000))
    keeper.commit()
    before = keeper.spool.account.last_seq
    keeper.close()
    keeper = keeper_of(tmp_path)
    keeper.put(lines(1))
    keeper.commit()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    keeper.close()
    keeper._spool = None
    keeper._clock.go(1)
    keeper.put(lines(3))
    with pytest.raises(StoreDamaged):
        keeper.commit()
    keeper.commit()
    assert keeper.spool.waiting == 3
    assert keeper.spool.account.first_seq > before, "no number is given twice"
    keeper.close()


def test_memory_is_bounded_and_what_has_no_place_is_counted(tmp_path):
    (tmp_path / "s").touch()  # a file where the folder should be
    keeper = keeper_of(tmp_path)
    keeper.put(lines(LINES_MAX + 5))
    with pytest.raises(StoreError, match="is not a folder; move it away"):
        keeper.commit()
    assert keeper.unrecorded == 5
    (tmp_path / "s").unlink()
    keeper.commit()
    assert keeper.unrecorded == 0
    assert keeper.spool.account.unrecorded == 5
    assert keeper.spool.waiting == LINES_MAX
    assert numbers(keeper.spool.oldest(3))[0] == keeper.spool.account.first_seq
    keeper.close()


def test_the_committing_thread_goes_on_after_errors_and_makes_a_last_commit():
    said, calls = [StoreError("disk gone"), RuntimeError("ours")], []

    def commit():
        calls.append(time.monotonic())
        if said:
            raise said.pop(0)

    commits = Commits("toy", commit)
    commits.start()
    time.sleep(1.2)
    assert commits.error == "disk gone"
    time.sleep(1.0)
    assert "RuntimeError('ours')" in commits.error
    commits.end()
    deadline_s = time.monotonic() + 5
    while not commits.ended:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    assert commits.error is None
    assert len(calls) == 3


WRITER = """
import sys
from pathlib import Path
from controller.telemetry.spool import Spool
with Spool(Path(sys.argv[1]), bytes_max=10**8, now_unix_s=1795590000.7) as spool:
    for n in range(10**6):
        spool.append([(f"site,site=toy v={n}", n), (f"node,site=toy v={n}", n)])
        print(spool.account.last_seq, flush=True)
"""


def test_killed_in_the_middle_nothing_committed_is_lost_and_no_number_is_given_twice(tmp_path):
    path = tmp_path / "s" / "spool.db"
    promised = FIRST - 1
    for life in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(20 + 13 * life):
            last = int(child.stdout.readline())
            assert last > promised, "it goes on behind what was promised"
            promised = last
        os.kill(child.pid, signal.SIGKILL)
        rest, _ = child.communicate()
        promised = max([promised, *map(int, rest.split("\n")[:-1])])
    with Spool(path, bytes_max=10**8, now_unix_s=NOW_S) as spool:
        seen = numbers(spool.oldest(10**6))
        assert seen == list(range(FIRST, spool.account.last_seq + 1))
        assert spool.account.last_seq >= promised
