"""Logs: what one device says too often is dropped and counted, and so is what cannot be written."""

import errno
import io
import json
import os
import subprocess
import sys

import pytest
import structlog

from controller.log import BURST, WINDOW_S, DeviceRate, LineLogger


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


def said(rate, **entry):
    """What comes through: the entry, or None where it was dropped."""
    try:
        return dict(rate(None, "info", {"event": "miner_read_failed", **entry}))
    except structlog.DropEvent:
        return None


def test_a_device_is_heard_a_few_times_a_minute_and_then_counted():
    clock = Clock()
    rate = DeviceRate(clock)
    heard = [said(rate, miner="m1") for _ in range(BURST + 7)]
    assert [entry is not None for entry in heard] == [True] * BURST + [False] * 7
    clock.now_s += WINDOW_S
    assert said(rate, miner="m1") == {"event": "miner_read_failed", "miner": "m1", "left_out": 7}
    assert "left_out" not in said(rate, miner="m1")


def test_one_loud_device_hides_no_other_and_no_other_event():
    rate = DeviceRate(Clock())
    for _ in range(BURST + 1):
        said(rate, miner="loud")
    assert said(rate, miner="loud") is None
    assert said(rate, miner="quiet") is not None
    assert said(rate, event="miner_driver_failed", miner="loud") is not None


def test_what_is_of_no_device_is_never_dropped():
    rate = DeviceRate(Clock())
    assert all(said(rate, event="tick_failed") is not None for _ in range(1000))


@pytest.mark.parametrize("as_json", [True, False])
def test_both_forms_reach_standard_error(as_json):
    code = (
        "import structlog; from controller import log; "
        f"log.configure(as_json={as_json}); structlog.get_logger().warning('seen', miner='m7')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == ""
    if as_json:
        line = json.loads(run.stderr)
        assert (line["event"], line["level"], line["miner"]) == ("seen", "warning", "m7")
        assert line["timestamp"].endswith("Z")
    else:
        assert "seen" in run.stderr
        assert "m7" in run.stderr


class Full(io.StringIO):
    """A stream on a disk that may be full."""

    is_full = False

    def write(self, text):
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_a_line_that_cannot_be_written_stops_nothing_and_is_counted():
    stream = Full()
    logger = LineLogger(stream)
    logger.info("one")
    stream.is_full = True
    logger.error("two")
    logger.warning("three")
    stream.is_full = False
    logger.info("four")
    logger.info("five")
    assert stream.getvalue() == "one\n2 lines of this log may be lost\nfour\nfive\n"


def test_a_closed_stream_stops_nothing():
    stream = io.StringIO()
    stream.close()
    LineLogger(stream).error("nobody hears")


@pytest.mark.parametrize("as_json", [True, False])
def test_a_process_outlives_who_read_its_log(as_json):
    code = (
        "import structlog, time; from controller import log; "
        f"log.configure(as_json={as_json}); said = structlog.get_logger()\n"
        "for _ in range(3): said.error('seen', miner='m7'); said.info('seen')\n"
        "print('alive', flush=True)"
    )
    reader, writer = os.pipe()
    os.close(reader)
    try:
        run = subprocess.run(
            [sys.executable, "-c", code], check=False, stdout=subprocess.PIPE, stderr=writer
        )
    finally:
        os.close(writer)
    assert run.stdout == b"alive\n"
