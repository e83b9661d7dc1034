"""The past of charts: the site's own, else what the console saw; asked once for many."""

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest

from controller.channel.frames import ChannelError, RequestRefused
from controller.channel.history import HistoryPage, ReadHistory
from controller.console.past import KEPT, Past, Trace

NOW = datetime(2026, 11, 22, 14, 0, tzinfo=UTC)
NOW_S = NOW.timestamp()


class Site:
    """Answers as it is told to, and counts."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    async def ask(self, body, timeout_s):
        self.asked.append(msgspec.msgpack.decode(body, type=ReadHistory))
        await asyncio.sleep(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        return msgspec.msgpack.encode(self.answer)


class Hand:
    def __init__(self):
        self.now_s = 50.0

    def monotonic_s(self):
        return self.now_s

    def utc(self):
        return NOW


def page(**series):
    return HistoryPage(at_unix_s=[NOW_S - 4, NOW_S - 2], step_s=2.0, series=series)


def past(answer, trace=None, clock=None):
    site = Site(answer)
    return Past(site, trace or Trace(), clock or Hand()), site


ASKED = ReadHistory(span_s=4.0, points=2)


async def test_the_sites_own_past_and_what_the_console_alone_knows():
    trace = Trace()
    trace.note(NOW_S - 3.5, {"treasury/reserve_sat": 7, "plant/measured_w": 1.0})
    trace.note(NOW_S - 2.5, {"treasury/reserve_sat": 8, "plant/measured_w": 2.0})
    found = await past(page(**{"plant/measured_w": [5.0, None]}), trace)[0].read(ASKED)
    assert found.source == "site"
    assert found.series == {"plant/measured_w": [5.0, None], "treasury/reserve_sat": [8, None]}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (RequestRefused("not a known request"), "not a known request"),
        (ChannelError("/s: nobody listens here"), "nobody listens here"),
        ({"type": "done", "detail": "x"}, "cannot be read"),
        (page(x=[1.0]), "differ in length"),
    ],
    ids=["refused", "gone", "another answer", "not whole"],
)
async def test_a_site_that_shows_no_past_leaves_what_the_console_saw(answer, words):
    trace = Trace()
    trace.note(NOW_S - 1.5, {"plant/measured_w": 2.0})
    found = await past(answer, trace)[0].read(ASKED)
    assert found.source == "console"
    assert words in found.note
    assert found.at_unix_s == [NOW_S - 4, NOW_S - 2]
    assert found.series == {"plant/measured_w": [None, 2.0]}


async def test_many_who_ask_the_same_are_one_question_to_the_site():
    clock = Hand()
    reader, site = past(page(), clock=clock)
    await asyncio.gather(*(reader.read(ASKED) for _ in range(20)))
    assert len(site.asked) == 1
    await reader.read(ReadHistory(span_s=60.0, points=2))
    assert len(site.asked) == 2
    clock.now_s += 6
    await reader.read(ReadHistory(span_s=60.0, points=2))
    assert len(site.asked) == 3


def test_a_trace_is_bounded_and_begins_anew_when_the_clock_was_set_back():
    trace = Trace()
    for second in range(KEPT + 100):
        trace.note(NOW_S + second, {"a": second})
    assert trace.series([NOW_S], 1.0) == {"a": [None]}
    assert trace.series([NOW_S + KEPT], 1.0) == {"a": [KEPT]}
    trace.note(NOW_S - 60, {"b": 1})
    assert trace.series([NOW_S - 60, NOW_S], 1.0) == {"b": [1, None]}


def test_satoshis_stay_whole_numbers():
    trace = Trace()
    trace.note(NOW_S, {"treasury/reserve_sat": 2_099_999_999_999_999})
    (value,) = trace.series([NOW_S], 1.0)["treasury/reserve_sat"]
    assert isinstance(value, int)
    assert value == 2_099_999_999_999_999
