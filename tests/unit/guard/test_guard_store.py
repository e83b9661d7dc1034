"""The guard's two files: whole or not at all, and every damage has its sentence."""

from datetime import UTC, datetime

import msgspec
import pytest

from controller.channel.guard import Entry, Ladder
from controller.guard.store import VERSION, Store, StoreError
from controller.guard.watch import Latch

LADDER = Ladder(
    site_id="hpp",
    epoch="e1",
    floor_w=900.0,
    entries=(Entry("m1", "10.0.0.1", "luxos", "Antminer S21", {"rpc": 4028}, 3_500.0),),
)
LATCH = Latch(tripped_at=datetime(2026, 11, 25, 12, tzinfo=UTC), start_w=7_000.0, silent_from_s=5.0)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "guard", "hpp")


def test_what_was_kept_is_found_again(store, tmp_path):
    assert store.load_ladder() is None
    assert store.load_latch() is None
    store.save_ladder(LADDER)
    store.save_latch(LATCH)
    again = Store(tmp_path / "guard", "hpp")
    assert again.load_ladder() == LADDER
    latch = again.load_latch()
    assert (latch.tripped_at, latch.start_w) == (LATCH.tripped_at, LATCH.start_w)
    assert latch.silent_from_s is None, "monotonic seconds mean nothing to another run"
    for path in (tmp_path / "guard").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    again.clear_latch()
    assert store.load_latch() is None


def test_a_damaged_ladder_is_told_and_replaced_by_the_next(store, tmp_path):
    store.save_ladder(LADDER)
    path = tmp_path / "guard" / "ladder"
    whole = path.read_bytes()
    for damaged in (b"", b"\xc1", whole[:-3], whole + b"\0", b"x" * 100):
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match="ladder: is damaged; it is replaced"):
            store.load_ladder()
    path.write_bytes(whole.replace(b"10.0.0.1", b"10.0.0.9"))
    with pytest.raises(StoreError, match="digest does not fit"):
        store.load_ladder()
    store.save_ladder(LADDER)
    assert store.load_ladder() == LADDER


def test_a_file_of_a_newer_version_is_not_guessed_at(store, tmp_path):
    newer = msgspec.msgpack.encode({"version": VERSION + 1, "rungs": []})
    (tmp_path / "guard" / "ladder").write_bytes(newer)
    (tmp_path / "guard" / "latch").write_bytes(newer)
    with pytest.raises(StoreError, match="written by a newer naryn"):
        store.load_ladder()
    with pytest.raises(StoreError, match="the guard stays latched"):
        store.load_latch()


def test_another_sites_ladder_is_refused(store, tmp_path):
    store.save_ladder(LADDER)
    with pytest.raises(StoreError, match="is of site 'hpp'"):
        Store(tmp_path / "guard", "other").load_ladder()


def test_a_file_that_cannot_be_written_says_so(store, tmp_path):
    (tmp_path / "guard" / "ladder.new").mkdir()
    with pytest.raises(StoreError, match="ladder: cannot be written"):
        store.save_ladder(LADDER)
