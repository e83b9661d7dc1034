"""`naryn run` with a database: it ships, survives kill -9, ends in time, answers for its past."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time

import msgspec
import pytest

from controller.app.site import check_site
from controller.app.telemetry import database_address, spool_path
from controller.channel.client import connect
from controller.channel.frames import ChannelError, RequestRefused
from controller.channel.history import HistoryPage, ReadHistory
from controller.channel.view import ListMiners, MinersPage, SiteImage
from controller.config.load import load
from controller.config.problems import ConfigError
from controller.telemetry.readback import audit as read_back
from tests.loopback import free_port
from tests.patience import eventually
from tests.services.databases import Hostile, never_answers

pytestmark = pytest.mark.timeout(240)
NARYN = [sys.executable, "-m", "controller.cli.main"]

SITE = """
[site]
id = "toy"
clock = "host"

[control]
ramp_up_mw_per_min = 1
ramp_down_mw_per_min = 1

[[node]]
id = "plant"
kind = "plant"
rating_kw = 100

[[node]]
id = "f1"
kind = "feeder"
parent = "plant"
meter = "m1"
rating_kw = 100

[[meter]]
id = "m1"
map = "eastron-sdm630"
host = "127.0.0.1"
port = {port}

[health]
port = 0
"""
TELEMETRY = """
[telemetry]
url = "{url}"
bucket = "naryn/autogen"
timeout_s = 2
spool_mb = 1
"""


class Site:
    """A site's folder and its running process. A meter that is not there is all it has."""

    def __init__(self, folder, url=None):
        self.folder = folder
        text = SITE.format(port=free_port())
        (folder / "site.toml").write_text(text + (TELEMETRY.format(url=url) if url else ""))
        self.socket = folder / "state" / "run" / "site.sock"
        self.process = None

    def run(self):
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*NARYN, "run", "site.toml"], cwd=self.folder, stderr=log
            )
        eventually(self.image, f"the site shows itself: {self.said()}", within_s=60)

    def said(self):
        return (self.folder / "log").read_text()

    def image(self):
        """The next image; None while nobody answers."""
        assert self.process.poll() is None, self.said()

        async def look():
            async with connect(self.socket) as client:
                body = await anext(client.images())
                return msgspec.msgpack.decode(body, type=SiteImage)

        try:
            return asyncio.run(look())
        except ChannelError:
            return None

    def alarm(self, alarm_id):
        """The alarm of this id if it stands."""
        return next((a for a in self.image().alarms if a.alarm_id == alarm_id), None)

    def naryn(self, *words):
        return subprocess.run(
            [*NARYN, *words],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.folder,
            timeout=30,
        )

    def audit(self):
        """What `naryn telemetry audit` counts."""
        config = load(self.folder / "site.toml")
        address = database_address(config)
        return asyncio.run(read_back(spool_path(config), address, "toy"))

    def asked(self, question, answer):
        """Ask over the channel."""

        async def ask():
            async with connect(self.socket) as client:
                return await client.request(msgspec.msgpack.encode(question), 5.0)

        return msgspec.msgpack.decode(asyncio.run(ask()), type=answer)

    def end(self, number=signal.SIGTERM):
        """End it; returns its exit status and how long that took."""
        begun_s = time.monotonic()
        os.kill(self.process.pid, number)
        status = self.process.wait(20)
        self.process = None
        return status, time.monotonic() - begun_s


@pytest.fixture
def site_of(tmp_path):
    made = []

    def make(url=None):
        (tmp_path / "site").mkdir()
        made.append(Site(tmp_path / "site", url))
        return made[0]

    yield make
    if made and made[0].process is not None:
        made[0].process.kill()
        made[0].process.wait()


def test_a_running_site_is_in_the_database_and_nothing_of_it_is_lost(influx, site_of):
    site = site_of(influx.url)
    site.run()
    names = {"site", "node", "meter", "fleet", "alarm", "event"}
    eventually(lambda: names <= set(measurements(influx)), "every measurement is there")
    asked = "SELECT limit_w, reason FROM node WHERE node = 'plant' LIMIT 1"
    ((_, limit_w, reason),) = eventually(lambda: influx.query(asked), "the plant is there")
    assert (limit_w, reason) == (100_000.0, "rating of plant")
    eventually(lambda: site.audit().found > 10, "the first lines have left the spool")
    influx.kill()
    time.sleep(3.0)
    os.kill(site.process.pid, signal.SIGKILL)
    site.process.wait()
    waiting = site.naryn("telemetry", "audit", "site.toml", "--json")
    assert waiting.returncode == 1, "an audit needs the database"
    assert "/query" in waiting.stderr
    assert "Traceback" not in waiting.stderr
    site.run()
    influx.start()
    eventually(lambda: site.audit().waiting == 0, "all is shipped")
    status, took_s = site.end()
    assert status == 0, site.said()
    assert took_s < 5.0
    audit = site.audit()
    assert audit.lost == audit.dropped == audit.rejected == audit.unrecorded == 0
    # The last second is shipped by the next run where the machine has no time for it.
    assert audit.written == audit.found + audit.waiting
    assert audit.found > 20
    told = site.naryn("telemetry", "audit", "site.toml")
    assert (told.returncode, told.stderr) == (0, ""), told
    assert f"{audit.written}  lines committed to the spool" in told.stdout
    influx.database.query("DELETE FROM site")
    found = site.naryn("telemetry", "audit", "site.toml", "--json")
    assert found.returncode == 1
    assert json.loads(found.stdout)["lost"] > 5
    newest = site.naryn("telemetry", "audit", "site.toml", "--newest", "4", "--json")
    assert json.loads(newest.stdout)["written"] == 4


def measurements(influx):
    return [row[0] for row in influx.query("SHOW MEASUREMENTS")]


def test_ended_it_keeps_what_it_held(influx, site_of):
    site = site_of(influx.url)
    site.run()
    eventually(lambda: site.audit().found > 5, "lines are in the database")
    influx.kill()
    time.sleep(2.0)
    status, took_s = site.end()
    assert (status, took_s < 5.0) == (0, True), site.said()
    influx.start()
    audit = site.audit()
    assert audit.waiting > 5
    assert audit.lost == 0
    last = influx.query("SELECT last(ticks_run) FROM site")[0][1]
    site.run()
    eventually(lambda: site.audit().waiting == 0, "the next run ships what the last one kept")
    ticks = [row[1] for row in influx.query("SELECT ticks_run FROM site")]
    assert last + 1 in ticks
    assert site.audit().lost == 0


def test_a_database_that_hangs_and_a_disk_that_is_full_hold_no_tick(site_of):
    hostile = Hostile(never_answers)
    try:
        site = site_of(hostile.url)
        (site.folder / "state").mkdir(mode=0o700)
        (site.folder / "state" / "spool").write_text("a file where the folder should be")
        site.run()
        alarm = eventually(lambda: site.alarm("telemetry_spool"), "the alarm stands")
        assert alarm.detail.endswith("is not a folder; move it away")
        (site.folder / "state" / "spool").unlink()
        eventually(lambda: hostile.accepted, "the database is tried")
        eventually(lambda: site.alarm("telemetry_spool") is None, "the alarm ends")
        before = site.image().tick.run
        time.sleep(3.0)
        tick = site.image().tick
        assert tick.run >= before + 3
        assert (tick.skipped, tick.failed) == (0, 0), site.said()
        status, took_s = site.end()
        assert (status, took_s < 5.0) == (0, True), site.said()
    finally:
        hostile.close()


def test_the_past_is_answered_beside_acts_and_without_a_database(site_of):
    site = site_of()
    site.run()
    time.sleep(3.0)
    page = site.asked(ReadHistory(span_s=10.0, points=10), HistoryPage)
    assert len(page.at_unix_s) == 10
    assert 100_000.0 in page.series["plant/limit_w"]
    assert set(page.series["plant/measured_w"]) == {None}, "no meter, no value"
    assert site.asked(ListMiners(by="test"), MinersPage).total == 0
    with pytest.raises(RequestRefused, match="points must be 1 to 1000"):
        site.asked(ReadHistory(span_s=10.0, points=0), HistoryPage)
    with pytest.raises(RequestRefused, match="not a known request"):
        site.asked({"type": "history", "span_s": "long"}, HistoryPage)
    with pytest.raises(RequestRefused, match="not a known request"):
        site.asked([1, 2], HistoryPage)
    assert not (site.folder / "state" / "spool").exists()
    done = site.naryn("telemetry", "audit", "site.toml")
    assert done.returncode == 2
    assert "has no [telemetry]" in done.stderr


def test_without_its_token_a_site_does_not_start(site_of):
    site = site_of("http://127.0.0.1:1")
    with (site.folder / "site.toml").open("a") as file:
        file.write('token_file = "token"\n')
    for words in (("run",), ("telemetry", "audit")):
        done = site.naryn(*words, "site.toml")
        assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
        assert "telemetry.token_file" in done.stderr


@pytest.mark.parametrize(
    ("mode", "token", "said"),
    [
        (0o644, "secret", "chmod 600"),
        (0o600, "two words\nand lines", "one token of printable ASCII"),
        (0o600, "", "one token of printable ASCII"),
        (None, "", "cannot be read"),
    ],
)
def test_a_token_that_cannot_be_used_is_found_by_a_check(site_of, mode, token, said):
    site = site_of("http://127.0.0.1:1")
    with (site.folder / "site.toml").open("a") as file:
        file.write('token_file = "token"\n')
    if mode is not None:
        (site.folder / "token").write_text(token)
        (site.folder / "token").chmod(mode)
    with pytest.raises(ConfigError, match=re.escape(said)) as error:
        check_site(load(site.folder / "site.toml"))
    assert "telemetry.token_file" in str(error.value)
