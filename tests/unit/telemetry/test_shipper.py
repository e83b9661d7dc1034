"""Nothing leaves the spool before the database said yes, and one bad line stops no other."""

import random

import pytest

from controller.telemetry import shipper as shipper_module
from controller.telemetry.keeper import SpoolKeeper
from controller.telemetry.shipper import Shipper
from controller.telemetry.spool import seq_of
from controller.telemetry.store import StoreError
from controller.telemetry.verdict import RETRY_AFTER_MAX_S, Reply, Verdict, judge
from tests.patience import eventually
from tests.unit.telemetry.toy_clock import ToyClock

OK = Reply(Verdict.DELIVERED)
GONE = Reply(Verdict.UNREACHED, "connection refused")


class ToyDatabase:
    """Takes lines as the real one does; `bad` says which are not taken, `says` what comes first."""

    def __init__(self, bad=lambda line: False, lines_max=10**9):
        self.bad, self.lines_max = bad, lines_max
        self.says, self.held, self.requests, self.closed = [], {}, [], False

    def post(self, body):
        lines = body.split(b"\n")
        self.requests.append(len(lines))
        if self.says:
            said = self.says.pop(0)
            if said is not OK:
                return said
        if len(lines) > self.lines_max:
            return Reply(Verdict.TOO_LARGE, "too large")
        good = [line for line in lines if not self.bad(line)]
        self.held |= {seq_of(line): line for line in good}
        return OK if len(good) == len(lines) else Reply(Verdict.BAD_LINE, "cannot parse")

    def close(self):
        self.closed = True


@pytest.fixture
def keeper(tmp_path):
    made = SpoolKeeper(tmp_path / "s" / "spool.db", 10**8, ToyClock())
    yield made
    made.close()


def spooled(keeper, count, name="site"):
    keeper.put([(f"{name},site=toy v={n}", n) for n in range(count)])
    keeper.commit()
    return keeper.spool.account


def shipper_to(keeper, database):
    made = Shipper(keeper, database, ToyClock())
    made._jitter = random.Random(3)
    return made


def test_what_is_delivered_leaves_the_spool(keeper):
    account = spooled(keeper, 10)
    database = ToyDatabase()
    shipper = shipper_to(keeper, database)
    assert shipper._once() == 0.0
    assert shipper._once() is None
    assert sorted(database.held) == list(range(account.first_seq, account.last_seq + 1))
    assert keeper.spool.waiting == 0
    assert shipper.waiting_since_s is None


@pytest.mark.parametrize("verdict", [Verdict.UNREACHED, Verdict.BUSY, Verdict.REFUSED])
def test_what_is_not_delivered_stays_and_is_tried_again_ever_later(keeper, verdict):
    spooled(keeper, 10)
    database = ToyDatabase()
    database.says = [Reply(verdict, "why")] * 10
    shipper = shipper_to(keeper, database)
    waits_s = [shipper._once() for _ in range(10)]
    assert keeper.spool.waiting == 10
    assert all(0.5 * 2**n <= w <= 2**n for n, w in enumerate(waits_s[:6]))
    assert all(30 <= wait_s <= 60 for wait_s in waits_s[6:])
    assert len(set(waits_s)) == 10, "they differ, so that many sites do not come at once"
    assert shipper.shipped.verdict is verdict
    assert shipper.waiting_since_s == 1000.0
    assert shipper._once() == 0.0
    assert keeper.spool.waiting == 0
    assert shipper.waiting_since_s is None
    database.says = [GONE]
    spooled(keeper, 1)
    assert shipper._once() <= 1.0, "a success begins the waits anew"


def test_the_database_is_left_alone_as_long_as_it_asks(keeper):
    spooled(keeper, 1)
    database = ToyDatabase()
    database.says = [Reply(Verdict.BUSY, "slow down", 17.0)]
    assert shipper_to(keeper, database)._once() == 17.0


@pytest.mark.parametrize("bad", [{0}, {999}, {3, 4, 500}, set(range(100, 140))])
def test_bad_lines_are_put_aside_and_the_others_delivered(keeper, bad):
    account = spooled(keeper, 1000)
    wrong = {account.first_seq + n for n in bad}
    database = ToyDatabase(bad=lambda line: seq_of(line) in wrong)
    shipper = shipper_to(keeper, database)
    assert shipper._once() == 0.0
    everything = set(range(account.first_seq, account.last_seq + 1))
    assert set(database.held) == everything - wrong
    assert keeper.spool.account.rejected == len(bad)
    assert keeper.spool.waiting == 0


def test_a_whole_measurement_that_is_not_taken_does_not_stop_the_others(keeper):
    spooled(keeper, 200, "miner")
    spooled(keeper, 5, "site")
    database = ToyDatabase(bad=lambda line: line.startswith(b"miner"))
    assert shipper_to(keeper, database)._once() == 0.0
    assert keeper.spool.account.rejected == 200
    assert len(database.held) == 5


def test_a_database_that_takes_nothing_is_at_fault_and_no_line_is_put_aside(keeper):
    spooled(keeper, 3000)
    database = ToyDatabase(bad=lambda line: True)
    shipper = shipper_to(keeper, database)
    assert shipper._once() > 0
    assert shipper.shipped.verdict is Verdict.REFUSED
    assert "takes none of our lines" in shipper.shipped.detail
    assert keeper.spool.account.rejected == 0
    assert keeper.spool.waiting == 3000
    assert len(database.requests) < 30
    database.bad = lambda line: False
    assert shipper._once() == 0.0
    assert len(database.held) == 3000


def test_trouble_in_the_middle_of_a_search_keeps_everything(keeper):
    account = spooled(keeper, 100)
    database = ToyDatabase(bad=lambda line: seq_of(line) == account.first_seq + 50)
    database.says = [OK, OK, OK, GONE]
    shipper = shipper_to(keeper, database)
    assert shipper._once() > 0
    assert (keeper.spool.waiting, keeper.spool.account.rejected) == (100, 0)
    assert shipper._once() == 0.0
    assert (keeper.spool.waiting, keeper.spool.account.rejected) == (0, 1)


def test_what_is_too_large_is_halved(keeper, monkeypatch):
    monkeypatch.setattr(shipper_module, "LINES_MAX", 400)
    account = spooled(keeper, 1000)
    database = ToyDatabase(lines_max=300)
    shipper = shipper_to(keeper, database)
    while shipper._once() is not None:
        pass
    assert len(database.held) == 1000
    assert keeper.spool.account.rejected == 0
    assert keeper.spool.account.last_seq == account.last_seq
    assert database.requests[0] > 300


def test_a_spool_that_cannot_be_read_is_tried_again(keeper, monkeypatch):
    spooled(keeper, 1)
    shipper = shipper_to(keeper, ToyDatabase())

    def broken(_act):
        raise StoreError("disk gone")

    with monkeypatch.context() as patch:
        patch.setattr(keeper, "use", broken)
        assert shipper._once() == 1.0
    assert shipper._once() == 0.0


def test_the_thread_ships_ends_and_closes(keeper):
    database = ToyDatabase()
    shipper = shipper_to(keeper, database)
    shipper.start()
    spooled(keeper, 10)
    eventually(lambda: len(database.held) == 10, "the first ten are held")
    spooled(keeper, 10)
    eventually(lambda: len(database.held) == 20, "the others are held")
    database.says = [GONE] * 1000
    spooled(keeper, 1)
    eventually(lambda: shipper.shipped.verdict is Verdict.UNREACHED, "it is unreached")
    shipper.end()
    eventually(lambda: shipper.ended, "it ends")
    assert database.closed
    assert keeper.spool.waiting == 1


def test_told_to_end_it_delivers_what_it_can(keeper):
    database = ToyDatabase()
    shipper = shipper_to(keeper, database)
    spooled(keeper, 9000)
    shipper.end()
    shipper.start()
    eventually(lambda: shipper.ended, "it ends")
    assert len(database.held) == 9000


@pytest.mark.parametrize(
    ("status", "verdict", "mend"),
    [
        (301, Verdict.REFUSED, "telemetry.url"),
        (400, Verdict.BAD_LINE, ""),
        (401, Verdict.REFUSED, "telemetry.token_file"),
        (403, Verdict.REFUSED, "may not write there"),
        (404, Verdict.REFUSED, "telemetry.bucket"),
        (408, Verdict.BUSY, ""),
        (413, Verdict.TOO_LARGE, ""),
        (418, Verdict.REFUSED, "telemetry.url"),
        (422, Verdict.BAD_LINE, ""),
        (429, Verdict.BUSY, ""),
        (500, Verdict.BUSY, ""),
        (503, Verdict.BUSY, ""),
    ],
)
def test_an_answer_means_one_thing(status, verdict, mend):
    reply = judge(status, {}, "")
    assert reply.verdict is verdict
    assert reply.detail.startswith(f"HTTP {status}")
    assert mend in reply.detail


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"error":"database not found"}', "database not found"),
        ('{"code":"x","message":"bucket not found"}', "bucket not found"),
        ("<html>\n  <b>no</b>\n</html>", "<html> <b>no</b> </html>"),
        ("x" * 5000, "x" * 300),
        ("[" * 5000, "[" * 300),
        ("[1]", "[1]"),
    ],
)
def test_its_own_words_are_shown_short(body, said):
    assert judge(500, {}, body).detail == f"HTTP 500: {said}"


@pytest.mark.parametrize(
    ("wish", "wait_s"),
    [
        ("5", 5.0),
        ("2.5", 2.5),
        ("1e9", RETRY_AFTER_MAX_S),
        ("-3", None),
        ("nan", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("", None),
    ],
)
def test_how_long_to_wait_is_bounded(wish, wait_s):
    assert judge(429, {"Retry-After": wish}, "").retry_after_s == wait_s
