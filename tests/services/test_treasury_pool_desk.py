"""What is kept of a pool's words: an answer replaces its span, and no answer is too much."""

import time
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from controller.money.pools import Earning, Payout, Terms
from controller.treasury.database import Database
from controller.treasury.pools import desk as desks
from controller.treasury.pools.desk import PoolDesk
from controller.treasury.pools.statement import Statement
from controller.treasury.tables import EARNING
from tests.services.treasury_ground import Clock

DAY = timedelta(days=1)
TERMS = Terms(pay_every=DAY, grace=DAY, threshold_sat=0, tolerance_permille=0)
WINDOW = 35 * DAY


class Reader:
    """Says what the test wants of every address."""

    def __init__(self):
        self.said = Statement(earnings=(), payouts=())

    def read(self, address, start, end):
        return self.said


@pytest.fixture
def database(tmp_path):
    opened = Database(tmp_path / "state" / "treasury.db")
    yield opened
    opened.close()


class Pool:
    def __init__(self, database):
        self.database = database
        self.clock = Clock()
        self.now = self.clock.utc()
        self.reader = Reader()
        self.desk = PoolDesk("p", self.reader, {"a": b"S"}, TERMS, 1.0, WINDOW, self.clock)

    def says(self, earnings=(), payouts=()):
        """(days ago, satoshis[, txid]) each; then what people see."""
        self.reader.said = Statement(
            earnings=tuple(
                Earning(key=f"e{days}", at=self.now - days * DAY, sat=sat) for days, sat in earnings
            ),
            payouts=tuple(
                Payout(key=f"p{days}{txid}", at=self.now - days * DAY, sat=sat, txid=txid)
                for days, sat, txid in payouts
            ),
        )
        return self.ask()

    def ask(self):
        self.desk.ask(self.database)
        return self.seen()

    def seen(self):
        with self.database.transaction() as db:
            view, alarms = self.desk.view(db)
        return view, {alarm.kind for alarm in alarms}


@pytest.fixture
def pool(database):
    return Pool(database)


def test_a_corrected_transaction_is_paid_once(pool):
    view, alarms = pool.says([(5, 1000)], [(4, 1000, "aa")])
    assert (view.paid_sat, alarms) == (1000, {"pool_not_received"})
    view, _ = pool.says([(5, 1000)], [(4, 1000, "bb")])
    assert view.paid_sat == 1000


def test_a_payout_that_gets_its_transaction_later_is_paid_once(pool):
    pool.says([(5, 1000)], [(4, 1000, None)])
    view, _ = pool.says([(5, 1000)], [(4, 1000, "aa")])
    assert view.paid_sat == 1000


def test_a_withdrawn_earning_is_not_owed(pool):
    assert pool.says([(5, 1000)])[1] == {"pool_late"}
    view, alarms = pool.says()
    assert (view.earned_sat, alarms) == (0, set())


def test_what_is_older_than_the_span_stays(pool):
    pool.says([(34, 1000), (1, 1)])
    pool.clock.ahead = 2 * DAY
    view, alarms = pool.says([(1, 1), (40, 7)])
    assert (view.earned_sat, alarms) == (1001, {"pool_late"})


def test_what_is_to_come_is_refused(pool):
    pool.says([(5, 1000)])
    view, alarms = pool.says([(5, 1000)], [(-365_000, 1000, "aa")])
    assert (view.paid_sat, "pool_silent" in alarms) == (0, True)
    assert "which is to come" in view.error


def test_more_than_enough_is_refused(pool, monkeypatch):
    monkeypatch.setattr(desks, "ROWS_MAX", 3)
    view, _ = pool.says([(days, 1) for days in range(4)])
    assert (view.earned_sat, "more than 3 rows" in view.error) == (None, True)


def test_only_so_much_is_kept(pool, monkeypatch):
    monkeypatch.setattr(desks, "ROWS_MAX", 3)
    pool.says([(34, 1), (33, 2), (32, 4)])
    pool.clock.ahead = 10 * DAY
    view, _ = pool.says([(1, 8), (2, 16)])
    assert view.earned_sat == 8 + 16 + 4, "the newest"


def test_a_long_answer_holds_nobody_up(pool):
    rows = tuple(
        Earning(key=f"e{n}", at=pool.now - n * timedelta(seconds=1), sat=1)
        for n in range(desks.ROWS_MAX)
    )
    pool.reader.said = Statement(earnings=rows, payouts=())
    since_s = time.monotonic()
    pool.ask()
    pool.ask()
    assert time.monotonic() - since_s < 8, "two answers"
    with pool.database.transaction() as db:
        assert db.execute(select(func.count()).select_from(EARNING)).scalar() == desks.ROWS_MAX


def test_what_is_stored_is_read_once_and_again_when_it_changed(pool, database):
    pool.says([(1, 5)])
    again = Pool(database)
    assert again.seen()[0].earned_sat == 5, "a new process begins with what was stored"
    stored = again.desk._said
    again.seen()
    assert again.desk._said is stored
    assert again.says([(1, 6)])[0].earned_sat == 6
