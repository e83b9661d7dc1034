"""The site's own past: means that are right, bounds that hold, answers that fit."""

import sqlite3
from datetime import timedelta

import msgspec
import pytest

from controller.channel.frames import FRAME_BYTES_MAX
from controller.channel.history import POINTS_MAX, SPAN_S_MAX, ReadHistory
from controller.telemetry import history_rows
from controller.telemetry.history import ROWS_WAITING_MAX, History, HistoryUnanswered
from controller.telemetry.history_rows import HOUR, MINUTE, SECOND, Level
from controller.telemetry.store import StoreError
from tests.unit.telemetry.toy_clock import START, ToyClock
from tests.unit.telemetry.toy_image import image, node


@pytest.fixture
def clock():
    return ToyClock()


@pytest.fixture
def history(tmp_path, clock):
    made = History(tmp_path / "h" / "history.db", clock)
    yield made
    made.close()


def ticks(history, clock, count, load_w=lambda second: 1000.0, every_s=1.0, nodes=("plant",)):
    """So many ticks, `every_s` apart, each with the load of its second since the start."""
    for _ in range(count):
        second = (clock.at - START).total_seconds()
        views = [node(name, measured_w=load_w(second)) for name in nodes]
        history.note(image(at=clock.at, nodes=views, frequency_hz=50.02, hashrate_ths=None))
        clock.go(every_s)
    history.commit()


def asked(history, span_s, points):
    return history.page(ReadHistory(span_s=span_s, points=points))


def test_seconds_are_answered_as_they_were_and_gaps_are_unknown(history, clock):
    ticks(history, clock, 5, load_w=lambda second: 1000.0 + second)
    clock.go(3)
    ticks(history, clock, 2, load_w=lambda second: None)
    page = asked(history, 10, 10)
    assert page.step_s == 1.0
    assert page.at_unix_s == [clock.at.timestamp() - 9 + n for n in range(10)]
    known = [1001.0, 1002.0, 1003.0, 1004.0]
    assert page.series["plant/measured_w"] == [*known, None, None, None, None, None, None]
    assert page.series["plant/limit_w"] == [*[5000.0] * 4, *[None] * 3, 5000.0, 5000.0, None]
    assert page.series["site/frequency_hz"][0] == pytest.approx(50.02, abs=1e-5)
    assert set(page.series["site/hashrate_ths"]) == {None}
    assert all(len(column) == 10 for column in page.series.values())


def test_a_step_is_the_mean_of_what_is_known_in_it(history, clock):
    ticks(history, clock, 40, load_w=lambda second: None if second % 2 else second)
    page = asked(history, 40, 4)
    (first, *_), at = page.series["plant/measured_w"], page.at_unix_s[0] - START.timestamp()
    even = [second for second in range(int(at), int(at) + 10) if second % 2 == 0]
    assert first == pytest.approx(sum(even) / len(even))


def test_minutes_and_hours_are_means_and_answer_for_long_spans(history, clock):
    for _ in range(109):
        ticks(history, clock, 100, load_w=lambda second: float(second // 60))
    minute = asked(history, 3600, 60)
    assert minute.step_s == 60.0
    first = (minute.at_unix_s[0] - START.timestamp()) / 60
    assert minute.series["plant/measured_w"] == [first + n for n in range(60)]
    hour = asked(history, 3 * 3600, 3)
    assert hour.step_s == 3600.0
    assert hour.series["plant/measured_w"] == [
        sum(range(60, 120)) / 60,
        sum(range(120, 180)) / 60,
        # The hour that runs: one whole minute, and two thirds of the next by its seconds.
        pytest.approx((180 * 60 + 181 * 40) / 100),
    ]


def test_rows_are_forgotten_by_age_and_by_size(history, clock, monkeypatch):
    levels = (
        Level("second", 1, 100, 10**9),
        Level("minute", 60, 86_400, 60 * (20 + 24)),
        Level("hour", 3600, 86_400, 10**9),
    )
    monkeypatch.setattr(history_rows, "LEVELS", levels)
    ticks(history, clock, 600)
    clock.go(40 * 60)
    ticks(history, clock, 600)
    with sqlite3.connect(history.path) as database:
        (oldest,) = database.execute("SELECT min(at_s) FROM second").fetchone()
        (minutes,) = database.execute("SELECT count(*) FROM minute").fetchone()
    database.close()
    assert clock.at.timestamp() - oldest <= 101
    assert minutes == 20, "the pause has none"
    levels = (levels[0], Level("minute", 60, 86_400, 5 * (20 + 24)), levels[2])
    monkeypatch.setattr(history_rows, "LEVELS", levels)
    history.commit()
    with sqlite3.connect(history.path) as database:
        (kept,) = database.execute("SELECT count(*) FROM minute").fetchone()
    database.close()
    assert kept <= 5


def test_a_wrong_clock_leaves_no_future_behind(history, clock):
    ticks(history, clock, 120)
    right = clock.at
    clock.at += timedelta(days=900)
    ticks(history, clock, 120)
    clock.at = right
    ticks(history, clock, 120)
    with sqlite3.connect(history.path) as database:
        found = database.execute("SELECT max(at_s) FROM second").fetchone()
        minutes = database.execute("SELECT count(*) FROM minute").fetchone()
    database.close()
    assert found[0] < clock.at.timestamp() + 1
    # The wrong clock let the first two minutes be forgotten; those that came then are made.
    assert minutes[0] >= 2


def test_a_tree_that_changed_answers_with_its_newest_names(history, clock):
    ticks(history, clock, 5, nodes=("plant", "old"))
    ticks(history, clock, 5, nodes=("plant", "new"))
    page = asked(history, 11, 11)
    assert "old/limit_w" not in page.series
    assert page.series["new/limit_w"] == [None] * 5 + [5000.0] * 5 + [None]
    assert page.series["plant/limit_w"] == [5000.0] * 10 + [None]


def test_after_a_restart_the_past_is_still_there(history, clock, tmp_path):
    ticks(history, clock, 90)
    history.close()
    clock.go(30)
    again = History(tmp_path / "h" / "history.db", clock)
    ticks(again, clock, 30)
    page = again.page(ReadHistory(span_s=180.0, points=3))
    assert page.series["plant/measured_w"] == [1000.0] * 2 + [1000.0]
    again.close()


@pytest.mark.parametrize("nodes", [10, 500, 2000])
def test_an_answer_fits_into_a_frame_whatever_the_tree(history, clock, nodes):
    ticks(history, clock, 130, nodes=[f"{'n' * 58}{n:06}" for n in range(nodes)])
    page = asked(history, 120, POINTS_MAX)
    assert len(msgspec.msgpack.encode(page)) < FRAME_BYTES_MAX - 4096
    assert len(page.at_unix_s) == (120 if nodes < 500 else len(page.series["site/frequency_hz"]))
    assert len(page.at_unix_s) >= 8
    assert len(page.series) == 3 * nodes + 2


@pytest.mark.parametrize(
    ("span_s", "points"),
    [(0.0, 10), (-5.0, 10), (float("nan"), 10), (SPAN_S_MAX * 1.1, 10), (10.0, 0), (10.0, 1001)],
)
def test_questions_out_of_bounds_are_refused(history, clock, span_s, points):
    ticks(history, clock, 1)
    with pytest.raises(HistoryUnanswered, match="must be"):
        asked(history, span_s, points)


def test_before_the_first_commit_it_says_so(history):
    with pytest.raises(StoreError, match=r"history\.db: is not there yet; run the site first"):
        asked(history, 10, 10)


def test_an_empty_history_answers_with_nothing_known(history):
    history.commit()
    page = asked(history, 10, 10)
    assert (len(page.at_unix_s), page.series) == (10, {})


def test_memory_is_bounded_while_the_disk_is_away(history, clock, tmp_path):
    (tmp_path / "h").touch()
    for _ in range(3):
        with pytest.raises(StoreError):
            ticks(history, clock, ROWS_WAITING_MAX)
    (tmp_path / "h").unlink()
    history.commit()
    page = asked(history, ROWS_WAITING_MAX + 1, ROWS_WAITING_MAX + 1)
    known = [it for it in page.series["plant/limit_w"] if it is not None]
    assert ROWS_WAITING_MAX // 2 <= len(known) <= ROWS_WAITING_MAX
    assert page.series["plant/limit_w"][-2] == 5000.0, "the newest are kept"


def test_a_damaged_history_is_moved_aside_and_begun_anew(history, clock, tmp_path):
    (tmp_path / "h").mkdir(mode=0o700)
    history.path.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match="damaged"):
        ticks(history, clock, 3)
    ticks(history, clock, 3)
    assert history.damaged
    assert asked(history, 3, 3).series["plant/limit_w"][0] == 5000.0


def test_levels_are_whole_multiples():
    assert MINUTE.step_s == 60 * SECOND.step_s
    assert HOUR.step_s == 60 * MINUTE.step_s
