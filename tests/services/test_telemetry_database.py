"""Spool, shipper and audit against real databases, which are killed, full, wrong and hostile."""

import asyncio
import time
from dataclasses import replace

import pytest

from controller.clock import SystemClock
from controller.telemetry.influx import InfluxWriter
from controller.telemetry.keeper import Commits, SpoolKeeper
from controller.telemetry.lines import seq_of
from controller.telemetry.readback import AuditError, audit
from controller.telemetry.shipper import Shipper
from controller.telemetry.verdict import Verdict
from tests.patience import eventually
from tests.services.databases import Hostile, Victoria, address, floods, never_answers, says

pytestmark = pytest.mark.timeout(60)


class Line:
    """A running way from memory to a database, fed with lines of two measurements."""

    def __init__(self, folder, where):
        self.path = folder / "spool" / "spool.db"
        self.where = where
        self.keeper = SpoolKeeper(self.path, where.spool_bytes_max, SystemClock())
        self.commits = Commits("spool", self.keeper.commit)
        self.shipper = Shipper(self.keeper, InfluxWriter(where), SystemClock())
        self.made = 0

    def __enter__(self):
        self.commits.start()
        self.shipper.start()
        return self

    def put(self, count):
        """So many new lines."""
        at_ns = time.time_ns()
        for n in range(count):
            name = ("site,site=toy", "node,site=toy,node=plant")[n % 2]
            self.keeper.put([(f"{name} limit_w={self.made}", at_ns + n)])
            self.made += 1

    def put_for(self, seconds):
        """Lines, as a site makes them, for so long."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self.put(20)
            time.sleep(0.05)

    def committed(self):
        """All that was put in has its number."""
        spool = self.keeper.spool
        account = None if spool is None else spool.account
        return account is not None and account.last_seq - account.first_seq + 1 == self.made

    def drained(self):
        """All is committed, and the database has it."""
        return self.committed() and not self.keeper.spool.waiting

    def drain(self, within_s=20.0):
        eventually(self.drained, "the spool is empty", within_s)

    def audit(self, newest=None):
        return asyncio.run(audit(self.path, self.where, "toy", newest))

    def __exit__(self, *_):
        self.commits.end()
        eventually(lambda: self.commits.ended, "the last commit")
        self.shipper.end()
        eventually(lambda: self.shipper.ended, "the shipper ends")
        self.keeper.close()


def quick(monkeypatch):
    """Waits of tests are short."""
    monkeypatch.setattr("controller.telemetry.shipper._LONGEST_WAIT_S", 0.5)


def test_every_line_arrives_exactly_as_it_was_made(influx, tmp_path):
    with Line(tmp_path, address(influx.url)) as line:
        line.put(12_000)
        line.drain()
        account = line.keeper.spool.account
        assert influx.numbers() == list(range(account.first_seq, account.last_seq + 1))
        found = line.audit()
        assert (found.written, found.found, found.lost, found.waiting) == (12_000, 12_000, 0, 0)
        assert influx.query("SELECT limit_w FROM site ORDER BY time LIMIT 1")[0][1] == 0.0


def test_killed_and_away_for_seconds_the_database_misses_nothing(influx, tmp_path, monkeypatch):
    quick(monkeypatch)
    with Line(tmp_path, address(influx.url)) as line:
        line.put_for(1.5)
        eventually(lambda: line.keeper.spool and not line.keeper.spool.waiting, "first lines")
        influx.kill()
        line.put_for(5.0)
        assert line.keeper.spool.waiting > 500
        assert line.shipper.shipped.verdict is Verdict.BUSY, "nginx says 502"
        influx.start()
        line.put_for(1.0)
        line.drain()
        assert line.audit().lost == 0
        assert line.audit().found == line.made
    assert len(influx.numbers()) == line.made


def test_unreached_it_keeps_everything(influx, tmp_path, monkeypatch):
    quick(monkeypatch)
    with Line(tmp_path, address(influx.url)) as line:
        influx.kill("database-door")
        line.put_for(1.5)
        eventually(lambda: line.shipper.shipped is not None, "a try")
        assert line.shipper.shipped.verdict is Verdict.UNREACHED
        assert "refused" in line.shipper.shipped.detail
        eventually(lambda: line.keeper.spool.waiting == line.made, "all is committed")
        assert line.audit().waiting == line.made
        influx.start()
        line.drain()
        assert line.audit().lost == 0
        influx.kill("database-door")
        with pytest.raises(AuditError, match="Cannot connect"):
            line.audit()


def test_what_a_full_spool_drops_is_counted_as_dropped_and_not_as_lost(
    influx, tmp_path, monkeypatch
):
    quick(monkeypatch)
    where = replace(address(influx.url), spool_bytes_max=60_000)
    with Line(tmp_path, where) as line:
        influx.kill()
        for _ in range(4):
            line.put(500)
            eventually(line.committed, "all is committed")
        assert line.keeper.spool.account.dropped > 500
        influx.start()
        line.drain()
        found = line.audit()
        assert found.written == found.found + found.dropped == 2000
        assert (found.lost, found.dropped) == (0, line.keeper.spool.account.dropped)
        assert len(influx.numbers()) == found.found


def test_a_missing_database_is_refused_named_and_waited_for(influx, tmp_path, monkeypatch):
    quick(monkeypatch)
    where = address(influx.url, bucket="later/autogen")
    with Line(tmp_path, where) as line:
        line.put(10)
        eventually(lambda: line.shipper.shipped is not None, "a try")
        assert line.shipper.shipped.verdict is Verdict.REFUSED
        assert 'database not found: "later"' in line.shipper.shipped.detail
        assert "create it" in line.shipper.shipped.detail
        assert line.keeper.spool.waiting == 10
        influx.database.query("CREATE DATABASE later")
        line.drain()
        assert line.audit().found == 10
        influx.database.query("DROP DATABASE later")
        with pytest.raises(AuditError, match="database not found: later"):
            line.audit()


def test_one_bad_line_is_put_aside_and_no_other(influx, tmp_path):
    with Line(tmp_path, address(influx.url)) as line:
        line.put(500)
        now_ns = time.time_ns()
        line.keeper.put([("site,site=toy limit_w=", now_ns)])
        line.keeper.put([('node,site=toy limit_w="of another kind"', now_ns)])
        line.put(500)
        eventually(lambda: line.keeper.spool and line.keeper.spool.account.rejected, "rejected")
        line.made += 2
        line.drain()
        found = line.audit()
        assert (found.found, found.rejected, found.lost) == (1000, 2, 0)


def test_an_audit_counts_what_the_database_lost_and_nothing_else(influx, tmp_path):
    with Line(tmp_path, address(influx.url)) as line:
        line.put(3000)
        line.drain()
        first = line.keeper.spool.account.first_seq
        times = {seq: at for at, seq in influx.query("SELECT seq FROM site")}
        for seq in (first, first + 1000, first + 2998):
            influx.database.query(f"DELETE FROM site WHERE time = '{times[seq]}'")
        assert len(influx.numbers()) == 2997, "the database forgot three"
        found = line.audit()
        assert (found.written, found.found, found.lost) == (3000, 2997, 3)
        assert line.audit(newest=500).lost == 1
        assert line.audit(newest=500).written == 500


def test_an_audit_reads_page_by_page(influx, tmp_path, monkeypatch):
    monkeypatch.setattr("controller.telemetry.readback._ROWS_MAX", 100)
    with Line(tmp_path, address(influx.url)) as line:
        line.put(1999)
        line.drain()
        assert line.audit().found == 1999
        first = line.keeper.spool.account.first_seq
        times = {seq: at for at, seq in influx.query("SELECT seq FROM node")}
        influx.database.query(f"DELETE FROM node WHERE time = '{times[first + 1]}'")
        assert line.audit().lost == 1


def test_victoria_metrics_takes_the_same_lines_and_an_audit_says_why_it_cannot(tmp_path):
    victoria = Victoria(tmp_path)
    try:
        with Line(tmp_path, address(victoria.url)) as line:
            line.put(2000)
            line.drain()
            account = line.keeper.spool.account
            eventually(lambda: len(held(victoria)) == 2000, "all are exported")
            assert held(victoria) == list(range(account.first_seq, account.last_seq + 1))
            with pytest.raises(AuditError, match="InfluxQL on /query"):
                line.audit()
    finally:
        victoria.close()


def held(victoria):
    series = victoria.export('{__name__=~"(site|node)_seq"}')
    return sorted(int(value) for _, values in series for value in values)


@pytest.mark.parametrize(
    ("act", "verdict", "said"),
    [
        (never_answers, Verdict.UNREACHED, "timed out"),
        (floods, Verdict.BUSY, "HTTP 500"),
        (says(401, body=b'{"message":"unauthorized access"}'), Verdict.REFUSED, "token_file"),
        (says(302, "Location: http://127.0.0.1:1/\r\n"), Verdict.REFUSED, "telemetry.url"),
        (says(429, "Retry-After: 2\r\n"), Verdict.BUSY, "HTTP 429"),
        (says(500, body=b"\xff\xfe not text"), Verdict.BUSY, "not text"),
        (lambda connection: connection.sendall(b"SSH-2.0-x\r\n" * 9), Verdict.UNREACHED, ""),
        (lambda connection: connection.close(), Verdict.UNREACHED, ""),
    ],
    ids=["hangs", "floods", "401", "302", "429", "no-text", "no-http", "closes"],
)
def test_a_hostile_database_costs_its_own_time_and_no_line(tmp_path, act, verdict, said):
    hostile = Hostile(act)
    try:
        writer = InfluxWriter(address(hostile.url, timeout_s=0.5))
        begun_s = time.monotonic()
        reply = writer.post(b"site,site=toy limit_w=1,seq=1i 1")
        assert time.monotonic() - begun_s < 4.0
        assert reply.verdict is verdict
        assert said in reply.detail
        assert len(reply.detail) < 500
        writer.close()
    finally:
        hostile.close()


def test_a_database_that_does_not_read_is_given_up(tmp_path):
    hostile = Hostile(lambda _connection: time.sleep(10))
    try:
        writer = InfluxWriter(address(hostile.url, timeout_s=0.5))
        begun_s = time.monotonic()
        reply = writer.post(b"\n".join([b"site,site=toy limit_w=1,seq=1i 1"] * 300_000))
        assert time.monotonic() - begun_s < 4.0
        assert reply.verdict is Verdict.UNREACHED
        writer.close()
    finally:
        hostile.close()


def test_it_waits_as_long_as_it_is_asked_to(tmp_path):
    hostile = Hostile(says(429, "Retry-After: 2\r\n"))
    try:
        with Line(tmp_path, address(hostile.url)) as line:
            line.put(10)
            eventually(lambda: line.shipper.shipped is not None, "a try")
            time.sleep(1.5)
            assert line.shipper._failures == 1, "not asked again yet"
            eventually(lambda: line.shipper._failures == 2, "asked again")
            assert line.keeper.spool.waiting == 10
    finally:
        hostile.close()


def test_the_token_goes_along_and_is_never_shown(tmp_path):
    heard = []

    def act(connection):
        heard.append(connection.recv(65_536))
        connection.sendall(b"HTTP/1.1 204 X\r\n\r\n")

    hostile = Hostile(act)
    try:
        where = address(hostile.url, token="s3cret-t0ken")
        assert "s3cret" not in repr(where)
        writer = InfluxWriter(where)
        assert writer.post(b"site v=1,seq=1i 1").verdict is Verdict.DELIVERED
        writer.close()
    finally:
        hostile.close()
    request = heard[0].decode()
    assert request.startswith("POST /api/v2/write?org=&bucket=naryn%2Fautogen&precision=ns ")
    assert "Authorization: Token s3cret-t0ken\r\n" in request
    assert "gzip" not in request.lower().replace("accept-encoding", "")
    assert seq_of(b"site v=1,seq=1i 1") == 1
