"""What is shown while rounds go, hang or meet a database that fails."""

import asyncio
import threading
from datetime import timedelta

import pytest

from controller.config.problems import ConfigError
from controller.treasury.loops import Loops, off_loop
from tests.services.treasury_ground import ADDRESSES, Ground


@pytest.fixture
def ground(aged_simulated, tmp_path):
    opened = Ground(aged_simulated, tmp_path)
    yield opened
    opened.close()


def loops_of(ground, **pace):
    return Loops(ground.work, 5.0, audit_every_s=0.0, late_s=10.0, clock=ground.clock, **pace)


def test_before_the_first_round_nothing_is_shown_and_it_is_not_ready(ground):
    loops = loops_of(ground)
    assert loops.image() is None
    assert loops.not_ready() == ["no round is done yet"]


def test_a_round_that_hangs_is_alarmed_and_ages_stay_true(ground):
    loops = loops_of(ground)
    ground.round()
    shown = loops.image()
    assert (shown.alarms, loops.not_ready()) == ([], [])
    ground.clock.ahead = timedelta(seconds=900)
    late = loops.image()
    assert [alarm.alarm_id for alarm in late.alarms] == ["round_late"]
    assert late.at >= shown.at + timedelta(seconds=900)
    assert late.chain.tip_age_s >= 700
    assert loops.not_ready() == ["round_late: for 900 s"]
    ground.round()
    assert loops.image().alarms == []


def test_a_database_that_fails_is_alarmed_over_the_last_image(ground):
    ground.pay(10**6, deep=False)
    seen = ground.image
    with ground.database.transaction() as db:
        size = db.exec_driver_sql("PRAGMA page_size").scalar()
    ground.close()
    path = ground.database.path
    whole = path.read_bytes()
    path.write_bytes(whole[:size] + b"\xff" * (len(whole) - size))
    ground.round(2)
    assert "database_failed" in ground.alarms()
    assert ground.image.collection == seen.collection
    assert "damaged" in str(ground.image.alarms)
    assert loops_of(ground).not_ready()[0].startswith("database_failed: ")
    ground.close()
    path.write_bytes(whole)
    ground.round()
    assert ground.alarms() == set()


def test_fewer_addresses_than_are_in_use_are_refused(ground):
    raw_index = ADDRESSES - 5
    ground.chain.mine(1, transactions=[ground.payment_to_reserve(raw_index)])
    ground.follow()
    assert ground.alarms() == {"addresses_low"}
    text = ground.path.read_text("utf-8").replace(f"addresses = {ADDRESSES}", "addresses = 40")
    ground.path.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as told:
        ground.reopen()
    (problem,) = told.value.problems
    assert (problem.key, str(raw_index + 1) in problem.mend) == ("reserve.addresses", True)


async def test_what_a_thread_raises_is_raised_where_it_is_awaited():
    with pytest.raises(ZeroDivisionError):
        await off_loop(lambda: 1 // 0)
    assert await off_loop(lambda: 7) == 7


async def test_a_thread_that_outlives_its_waiter_does_no_harm():
    go_on, ended = threading.Event(), threading.Event()

    def slow():
        go_on.wait(30)
        ended.set()
        return 7

    waiter = asyncio.create_task(off_loop(slow))
    await asyncio.sleep(0.05)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    go_on.set()
    assert await asyncio.to_thread(ended.wait, 30)
    await asyncio.sleep(0.05)
