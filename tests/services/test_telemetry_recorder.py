"""Whatever happens to disk and database, a call from tick or poll is short and raises nothing."""

import asyncio
import contextlib
import random
import resource
import threading
import time

import pytest

from controller.cli.scenario.virtual_time import run_virtual
from controller.clock import SystemClock
from controller.site.poll import MinerPoll, PollPace
from controller.site.slots import MinerSlots
from controller.telemetry.history import History
from controller.telemetry.influx import InfluxWriter
from controller.telemetry.keeper import LINES_MAX, SpoolKeeper
from controller.telemetry.outlet import Outlet
from controller.telemetry.recorder import Recorder
from controller.telemetry.series import MinerSeries, SiteSeries
from controller.telemetry.spool import Spool, read_books
from tests.patience import eventually
from tests.services.databases import Hostile, address, never_answers
from tests.services.site_ground import Ground as SiteGround
from tests.unit.telemetry.test_series import KNOWN, reading
from tests.unit.telemetry.toy_image import alarm, event, image, node

pytestmark = pytest.mark.timeout(60)
CALL_S = 0.25
"""No call of a small site comes near this, but on a machine that does something else as well."""


class Ground:
    """A recorder with everything real, in a folder."""

    def __init__(self, folder, url="http://127.0.0.1:1"):
        self.clock = SystemClock()
        self.folder = folder
        self.spool = folder / "spool" / "spool.db"
        self.keeper = SpoolKeeper(self.spool, 10**7, self.clock)
        writer = InfluxWriter(address(url, timeout_s=0.5))
        history = History(folder / "history" / "history.db", self.clock)
        self.recorder = Recorder(
            self.clock,
            SiteSeries("toy"),
            MinerSeries("toy", {"m1": KNOWN}),
            history,
            Outlet(self.keeper, writer, self.clock),
        )
        self.longest_s = 0.0

    def tick(self, count=1, **facts):
        for _ in range(count):
            begun_s = time.monotonic()
            self.recorder.saw(image(self.clock.utc(), **facts))
            self.recorder.heard(reading(begun_s=begun_s, taken_s=begun_s))
            self.recorder.alarms()
            self.longest_s = max(self.longest_s, time.monotonic() - begun_s)

    async def ticks_for(self, seconds):
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self.tick()
            await asyncio.sleep(0.05)

    def standing(self):
        return {alarm.alarm_id: alarm for alarm in self.recorder.alarms()}


async def test_ended_it_has_committed_all_and_waited_for_no_database(tmp_path):
    hostile = Hostile(never_answers)
    try:
        ground = Ground(tmp_path, hostile.url)
        async with ground.recorder:
            await ground.ticks_for(1.5)
            ground.tick(3)
            begun_s = time.monotonic()
        assert time.monotonic() - begun_s < 3.0
    finally:
        hostile.close()
    account = read_books(ground.spool).account
    assert account.last_seq - account.first_seq + 1 > 20
    with contextlib.closing(Spool(ground.spool, bytes_max=10**7, now_unix_s=0.0)) as spool:
        bodies = b"\n".join(batch.body for batch in spool.oldest(10**6))
    ticks = bodies.count(b"\nsite,") + bodies.startswith(b"site,")
    assert bodies.count(b"\nminer,") == ticks
    assert ground.longest_s < CALL_S


async def test_a_database_that_hangs_is_an_alarm_and_holds_no_call(tmp_path, monkeypatch):
    monkeypatch.setattr("controller.telemetry.alarms.OVERDUE_S", 1.0)
    hostile = Hostile(never_answers)
    try:
        ground = Ground(tmp_path, hostile.url)
        async with ground.recorder:
            await ground.ticks_for(3.5)
            assert "timed out" in ground.standing()["telemetry_unreached"].detail
        assert ground.longest_s < CALL_S
    finally:
        hostile.close()


async def test_a_disk_that_hangs_holds_neither_a_call_nor_the_end(tmp_path, monkeypatch):
    stuck = threading.Event()

    def hangs(*_, **__):
        stuck.wait(30)

    monkeypatch.setattr(Spool, "append", hangs)
    ground = Ground(tmp_path)
    async with ground.recorder:
        await ground.ticks_for(2.5)
        begun_s = time.monotonic()
    assert time.monotonic() - begun_s < 4.0
    assert ground.longest_s < CALL_S
    stuck.set()


async def test_a_full_disk_is_said_and_costs_only_what_has_no_place_in_memory(tmp_path):
    ground = Ground(tmp_path)
    many = [node(f"n{n}", reason="x" * 400) for n in range(200)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with ground.recorder:
        ground.tick()
        await until(lambda: ground.keeper.spool and ground.keeper.spool.waiting)
        before = ground.keeper.spool.account.last_seq
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        try:
            ground.tick(10, nodes=many)
            await until(lambda: {"telemetry_spool", "history_failed"} & ground.standing().keys())
            assert "spool.db" in ground.standing()["telemetry_spool"].detail
            assert ground.keeper.spool.account.last_seq == before, "no number was given"
            await ground.ticks_for(1.0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await until(lambda: "telemetry_spool" not in ground.standing())
        await until(lambda: ground.keeper.spool.account.last_seq > before + 2000)
        assert ground.keeper.spool.account.unrecorded == 0
    assert ground.longest_s < CALL_S


async def until(condition):
    await asyncio.to_thread(eventually, condition, "it comes to pass")


async def test_memory_that_is_full_drops_counts_and_says_so(tmp_path):
    (tmp_path / "spool").touch()
    ground = Ground(tmp_path)
    many = [node(f"n{n}") for n in range(2000)]
    async with ground.recorder:
        ground.recorder.alarms()
        ground.tick(LINES_MAX // 2000 + 2, nodes=many)
        assert ground.keeper.unrecorded > 0
        assert "telemetry_dropped" in ground.standing()
        await until(lambda: "telemetry_spool" in ground.standing())
        (tmp_path / "spool").unlink()
        await until(lambda: ground.keeper.spool and ground.keeper.spool.account.unrecorded > 0)


def test_the_poll_tells_of_every_reading_and_the_tick_shows_the_alarms_of_others():
    async def story():
        ground = SiteGround(miners=3)
        heard = []
        pace = PollPace(period_s=10, order_period_s=2, reads_max=8)
        ground.miners["m01"].silent = True
        poll = MinerPoll(
            ground.miners, MinerSlots(), ground.clock, pace, random.Random(1), heard.append
        )
        task = asyncio.create_task(poll.run())
        await asyncio.sleep(5.0)
        task.cancel()
        assert sorted(reading.miner_id for reading in heard) == ["m00", "m02"]
        ground.ticker._side_alarms = lambda: [alarm("telemetry_refused")]
        await ground.tick()
        shown = [it.alarm_id for it in ground.images[-1].alarms]
        assert shown[-1] == "telemetry_refused"

    run_virtual(story())


async def test_a_fault_of_our_own_reaches_neither_tick_nor_poll(tmp_path, capsys):
    ground = Ground(tmp_path)
    async with ground.recorder:
        ground.recorder.saw(None)
        ground.recorder.heard(None)
        ground.recorder.saw(image(orders=[None]))
        ground.tick(events=[event("after it")])
    assert capsys.readouterr().out.count("telemetry_failed") == 1
    assert read_books(ground.spool).waiting
