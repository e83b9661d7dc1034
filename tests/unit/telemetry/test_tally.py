"""What an audit counts: by what is there, never by what was sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.telemetry import readback
from controller.telemetry.readback import Audit, AuditError, Tally
from controller.telemetry.spool import Account, Books


def books(first=101, last=200, waiting=(), dropped=(), rejected=()):
    account = Account(first_seq=first, last_seq=last, unrecorded=9, dropped=0, rejected=0)
    return Books(account=account, waiting=waiting, dropped=dropped, rejected=rejected)


def test_each_number_counts_once_and_being_there_wins():
    tally = Tally(
        books(waiting=[(191, 200)], dropped=[(101, 110)], rejected=[(150, 151)]), newest=None
    )
    assert tally.unseen == 90
    tally.see([*range(105, 150), *range(110, 150), 152, 195, 300, -5])
    assert tally.audit() == Audit(
        written=100,
        found=46,
        lost=38,
        waiting=10,
        dropped=4,
        rejected=2,
        unrecorded=9,
    )
    assert tally.unseen == 44, "lost, dropped and rejected"


def test_only_the_newest_are_looked_for():
    tally = Tally(books(waiting=[(150, 195)]), newest=10)
    tally.see(range(100, 200))
    audit = tally.audit()
    assert (audit.written, audit.found, audit.lost, audit.waiting) == (10, 4, 1, 5)


def test_nothing_written_is_nothing_lost():
    assert Tally(books(first=101, last=100), newest=None).audit().written == 0


def test_more_than_memory_holds_is_refused(monkeypatch):
    monkeypatch.setattr(readback, "NUMBERS_MAX", 99)
    with pytest.raises(AuditError, match="say --newest 99, or less"):
        Tally(books(), newest=None)


@given(
    st.sets(st.integers(95, 205)),
    st.lists(st.tuples(st.integers(95, 205), st.integers(0, 30)), max_size=4),
    st.integers(1, 120),
)
def test_all_are_counted_and_no_more(seen, spans, newest):
    waiting = [(first, first + length) for first, length in spans]
    tally = Tally(books(waiting=waiting), newest)
    tally.see(seen)
    audit = tally.audit()
    asked = set(range(max(101, 201 - newest), 201))
    held = {n for first, last in waiting for n in range(first, last + 1)}
    assert audit.written == len(asked)
    assert audit.waiting == len(asked & held)
    assert audit.found == len(asked & seen - held)
    assert audit.lost == tally.unseen == len(asked - seen - held)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, b'{"error":"unable to parse authentication"}', "token_file"),
        (404, b"404 page not found", "InfluxQL on /query"),
        (200, b"<html>", "InfluxQL on /query"),
        (200, b'{"results":[{"error":"database not found: x"}]}', "database not found: x"),
        (200, b'{"results":[{"series":[{"values":[["x"]]}]}]}', "InfluxQL on /query"),
        (200, b"[" * 100_000, "InfluxQL on /query"),
        (200, b"[]", "InfluxQL on /query"),
    ],
)
def test_what_is_no_answer_is_said(status, body, said):
    with pytest.raises(AuditError, match=said):
        readback._rows("http://db/query", status, body)


def test_an_answer_is_read():
    body = b'{"results":[{"series":[{"values":[[2,17],[1,null]]}]}]}'
    assert readback._rows("http://db/query", 200, body) == [(2, 17), (1, None)]
    assert readback._rows("http://db/query", 200, b'{"results":[{"statement_id":0}]}') == []
