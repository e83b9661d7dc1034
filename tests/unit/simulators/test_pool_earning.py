"""What the fleet hashed becomes satoshis: exactly, once, and whatever the file does meanwhile."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.scenario_file import load_scenario, scenario_path
from simulators.serve import TruthFile
from simulators.services.pool import intake
from simulators.services.pool.book import Book
from simulators.services.pool.earning import Carried, Terms
from simulators.services.pool.intake import Hashrate, Intake
from simulators.services.pool.truth import (
    LINE_BYTES_MAX,
    READ_BYTES_MAX,
    Sample,
    TruthTail,
    hashes_between,
    parse_sample,
)
from simulators.world import World

START = datetime(2026, 11, 25, 6, tzinfo=UTC)
PETAHASH_HS = 10**15
FOUNDRY = Terms(Fraction(21_448_277_761_059), 625_000_000, 0)
"""The method statement that Foundry filed with the SEC: 1 PH/s for a day earns 0.0058619 BTC."""


def test_a_petahash_day_earns_what_foundry_says_it_does():
    credit, carried = FOUNDRY.credit(PETAHASH_HS * 86_400, Carried())
    assert credit.net_sat == 586_194
    assert f"{credit.net_sat / 1e8:.7f}" == "0.0058619"
    assert 0 <= carried.net_sat < 1


def test_the_fee_is_taken_off_and_named():
    terms = Terms(FOUNDRY.difficulty, FOUNDRY.subsidy_sat, 20)
    credit, carried = terms.credit(PETAHASH_HS * 86_400, Carried())
    whole = Fraction(PETAHASH_HS * 86_400 * 625_000_000) / (FOUNDRY.difficulty * 2**32)
    assert credit.net_sat + carried.net_sat == whole * 98 / 100
    assert credit.fee_sat + carried.fee_sat == whole * 2 / 100
    assert (credit.net_sat, credit.fee_sat) == (574_470, 11_723)


@given(
    parts=st.lists(st.integers(0, 10**19), max_size=40),
    difficulty=st.fractions(Fraction(1, 10**6), 10**15),
    fee_permille=st.integers(0, 999),
)
def test_many_small_credits_come_to_one_large_one(parts, difficulty, fee_permille):
    terms = Terms(difficulty, 312_500_000, fee_permille)
    carried, net_sat, fee_sat = Carried(), 0, 0
    for hashes in parts:
        credit, carried = terms.credit(hashes, carried)
        net_sat, fee_sat = net_sat + credit.net_sat, fee_sat + credit.fee_sat
        assert 0 <= carried.net_sat < 1
        assert 0 <= carried.fee_sat < 1
    at_once, rest = terms.credit(sum(parts), Carried())
    assert (net_sat, fee_sat, carried) == (at_once.net_sat, at_once.fee_sat, rest)


def line(t_s, ths, *, start=START):
    at = (start + timedelta(seconds=t_s)).isoformat(timespec="milliseconds")
    return json.dumps({"t_s": t_s, "at": at, "mining_w": 5.5, "hashrate_ths": ths}) + "\n"


def sample(t_s, ths, *, start=START):
    return parse_sample(line(t_s, ths, start=start).encode())


def test_a_line_is_read_exactly():
    assert sample(1.001, 24_000.1) == Sample(
        START + timedelta(milliseconds=1001), 1001, 24_000_100_000_000_000
    )


def test_it_reads_what_the_simulated_plant_writes(tmp_path):
    world = World(load_scenario(scenario_path("quiet")), start_utc=START)
    path = tmp_path / "truth.jsonl"
    written = TruthFile(path)
    for second in range(1, 4):
        world.step_to(float(second))
        written.append(world.truth())
    written.close()
    tail = TruthTail(path)
    seen, _ = tail.read()
    tail.close()
    ths = Decimal(str(world.truth()["hashrate_ths"]))
    assert (len(seen), tail.unreadable) == (3, 0)
    assert seen[-1].hashrate_hs == ths * 10**12 > 10**15
    assert hashes_between(*seen[1:]) > 10**15


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "no json",
        "[" * 100_000,
        '{"t_s": 1, "hashrate_ths": 1}',
        '{"t_s": 1, "at": "2026-11-25T06:00:00", "hashrate_ths": 1}',
        '{"t_s": 1, "at": 5, "hashrate_ths": 1}',
        '{"t_s": 1, "at": "2026-11-25T06:00:00Z", "hashrate_ths": null}',
        '{"t_s": 1, "at": "2026-11-25T06:00:00Z", "hashrate_ths": true}',
        '{"t_s": 1, "at": "2026-11-25T06:00:00Z", "hashrate_ths": "1"}',
        '{"t_s": 1, "at": "2026-11-25T06:00:00Z", "hashrate_ths": -1}',
        '{"t_s": 1, "at": "2026-11-25T06:00:00Z", "hashrate_ths": NaN}',
        '{"t_s": 1, "at": "2026-11-25T06:00:00Z", "hashrate_ths": Infinity}',
        '{"t_s": 1, "at": "2026-11-25T06:00:00Z", "hashrate_ths": 1e999999}',
        '{"t_s": 1, "at": "2026-11-25T06:00:00Z", "hashrate_ths": 1e99999999999999999999}',
        '{"t_s": 1, "at": "2026-11-25T06:00:00Z", "hashrate_ths": %s}' % ("9" * 5_000),
        '{"t_s": -1, "at": "2026-11-25T06:00:00Z", "hashrate_ths": 1}',
    ],
)
def test_what_is_no_line_is_left_out(text):
    assert parse_sample(text.encode()) is None


def test_next_to_nothing_is_nothing():
    tiny = '{"t_s": 1, "at": "2026-11-25T06:00:00Z", "hashrate_ths": 1e-999999}'
    assert parse_sample(tiny.encode()).hashrate_hs == 0


@pytest.mark.parametrize(
    ("before", "after", "hashes"),
    [
        (sample(0, 100), sample(1, 100), 100 * 10**12),
        (sample(0, 100), sample(1, 300), 200 * 10**12),
        (sample(5, 0.1), sample(5.2, 0.1), 2 * 10**10),
        (sample(0, 100), sample(10, 100), 1000 * 10**12),
        (sample(0, 100), sample(10.001, 100), 0),
        (sample(5, 100), sample(5, 100), 0),
        (sample(5, 100), sample(4, 100), 0),
        (sample(5, 100), sample(6, 100, start=START + timedelta(hours=1)), 0),
        (sample(5, 100), sample(6, 100, start=START - timedelta(hours=1)), 0),
    ],
)
def test_only_lines_of_one_run_are_joined(before, after, hashes):
    assert hashes_between(before, after) == hashes


def test_a_torn_line_is_read_when_it_is_whole(tmp_path):
    path = tmp_path / "truth.jsonl"
    tail = TruthTail(path)
    assert tail.read() == ([], False)
    whole = line(0, 10) + line(1, 10)
    seen = []
    with path.open("a") as file:
        for character in whole:
            file.write(character)
            file.flush()
            seen += tail.read()[0]
    assert seen == [sample(0, 10), sample(1, 10)]
    tail.close()


def test_a_file_that_was_cut_or_replaced_is_read_anew(tmp_path):
    path = tmp_path / "truth.jsonl"
    path.write_text(line(0, 10) + line(1, 10) + '{"half')
    tail = TruthTail(path)
    assert len(tail.read()[0]) == 2
    path.write_text(line(2, 10))
    assert tail.read()[0] == [sample(2, 10)]
    (tmp_path / "new").write_text(line(3, 10) * 5)
    (tmp_path / "new").replace(path)
    assert tail.read()[0] == [sample(3, 10)] * 5
    path.unlink()
    assert tail.read() == ([], False)
    path.write_text(line(4, 10))
    assert tail.read()[0] == [sample(4, 10)]
    assert tail.unreadable == 0
    tail.close()


def test_a_line_without_end_costs_no_memory_and_no_neighbour(tmp_path):
    path = tmp_path / "truth.jsonl"
    path.write_bytes(b"x" * (3 * LINE_BYTES_MAX + 5) + b"\n" + line(1, 10).encode() + b"bad\n")
    tail = TruthTail(path)
    seen, more = [], True
    while more:
        found, more = tail.read()
        seen += found
        assert len(tail._partial) <= READ_BYTES_MAX
    assert seen == [sample(1, 10)]
    assert tail.unreadable == 2
    tail.close()


class Ground:
    """A book and a truth file, opened and reopened."""

    def __init__(self, folder):
        self.folder = folder
        self.path = folder / "truth.jsonl"
        self.open()

    def open(self):
        self.book = Book(self.folder / "pool")
        self.tail = TruthTail(self.path)
        self.hashrate = Hashrate()
        self.intake = Intake(self.tail, self.book, self.hashrate)

    def close(self):
        self.book.close()
        self.tail.close()

    def write(self, text):
        with self.path.open("a") as file:
            file.write(text)

    def take(self):
        while self.intake.take():
            pass

    def credited(self, block):
        self.book.credit(block, START, "us", FOUNDRY)
        rows = self.book.earnings("us", START, START)
        return sum(row.hashes for row in rows), sum(row.net_sat for row in rows)


@pytest.fixture
def ground(tmp_path):
    made = Ground(tmp_path)
    yield made
    made.close()


def test_nothing_is_counted_twice_whatever_is_restarted(ground):
    """Book and file are reopened after every second line; the sum is that of one sitting."""
    for second in range(0, 60, 2):
        ground.write(line(second, 1000.0) + line(second + 1, 1000.0))
        ground.take()
        ground.close()
        ground.open()
        ground.take()
    assert ground.credited("b1") == (59 * PETAHASH_HS, 59 * 586_194 // 86_400)
    assert ground.credited("b1")[0] == 59 * PETAHASH_HS
    ground.close()
    ground.open()
    ground.take()
    ground.write(line(60, 1000.0))
    ground.take()
    assert ground.credited("b2") == (60 * PETAHASH_HS, 60 * 586_194 // 86_400)


def test_less_than_a_satoshi_waits_for_more(ground):
    ground.write("".join(line(second, 0.1) for second in range(3)))
    ground.take()
    assert ground.credited("b1") == (0, 0)
    ground.write("".join(line(second, 1000.0) for second in range(3, 12)))
    ground.take()
    hashes, net_sat = ground.credited("b2")
    assert hashes == 2 * 10**11 + (1000_1 * 10**11) // 2 + 8 * PETAHASH_HS
    assert net_sat == int(Fraction(hashes * 625_000_000) / (FOUNDRY.difficulty * 2**32))


def test_a_block_that_comes_back_after_a_reorganisation_is_credited_once(ground):
    ground.write(line(0, 1000.0) + line(1, 1000.0))
    ground.take()
    assert ground.credited("b1") == (PETAHASH_HS, 6)
    ground.write(line(2, 1000.0))
    ground.take()
    assert ground.credited("other")[0] == 2 * PETAHASH_HS
    ground.write(line(3, 1000.0))
    ground.take()
    assert ground.credited("b1")[0] == 2 * PETAHASH_HS
    assert ground.credited("b2")[0] == 3 * PETAHASH_HS


def test_windows_of_the_hashrate(ground):
    ground.write("".join(line(second, 50.0) for second in range(101)))
    ground.take()
    now = START + timedelta(seconds=100)
    assert ground.hashrate.over(60, now) == 50 * 10**12
    assert ground.hashrate.over(300, now) == 50 * 10**12 * 100 // 300
    assert ground.hashrate.over(60, now + timedelta(seconds=30)) == 25 * 10**12
    assert ground.hashrate.over(60, now + timedelta(hours=1)) == 0
    assert ground.hashrate.last_share_at() == now
    ground.close()
    ground.open()
    assert (ground.hashrate.over(60, now), ground.hashrate.last_share_at()) == (0, None)
    ground.take()
    assert ground.hashrate.over(60, now) == 50 * 10**12


def test_windows_hold_when_old_lines_are_forgotten(monkeypatch):
    monkeypatch.setattr(intake, "KEPT_S", 100)
    monkeypatch.setattr(intake, "TRIMMED_AT", 200)
    hashrate = Hashrate()
    for second in range(1_000):
        hashrate.add(sample(second, 50.0), 50 * 10**12)
        now = START + timedelta(seconds=second)
        assert hashrate.over(60, now) == 50 * 10**12 * min(second + 1, 60) // 60
        assert len(hashrate._at_s) <= 200


def test_a_second_pool_in_one_folder_is_refused(ground):
    with pytest.raises(OSError, match="another pool works here"):
        Book(ground.folder / "pool")
