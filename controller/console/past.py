"""The past that charts show: what the site kept, else what this console saw since it started.

The site is asked one question at a time, and the same one at most once in some seconds, whatever
number of browsers ask.
"""

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping

import msgspec

from controller.channel.frames import ChannelError
from controller.channel.history import HistoryPage, ReadHistory
from controller.channel.treasury import TreasuryImage
from controller.channel.view import NodeView, SiteImage
from controller.clock import SiteClock
from controller.console.watch import Seen, Watch

KEPT = 3_700
"""Points kept here: an hour at one a second, and some."""
ANSWER_S = 5.0
SAME_S = 5.0
"""How long an answer serves others who ask the same."""

Points = Mapping[str, float | None]
"""Series name → value. Satoshis are whole numbers."""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """A page of history, where it comes from (`site` or `console`), and why not from the site."""

    source: str
    note: str
    at_unix_s: list[float]
    step_s: float
    series: dict[str, list[float | None]]


def points(site: Seen[SiteImage], treasury: Seen[TreasuryImage] | None) -> dict[str, float | None]:
    """What charts take of the images; nothing of a process that is silent."""
    found: dict[str, float | None] = {}
    if site.image is not None and site.fault is None:
        image = site.image
        if (root := _root(image)) is not None:
            found[f"{root.node_id}/measured_w"] = root.measured_w
            found[f"{root.node_id}/limit_w"] = root.limit_w
        found["site/frequency_hz"] = frequency_hz(image)
        found["site/hashrate_ths"] = hashrate_ths(image)
    if treasury is not None and treasury.image is not None and treasury.fault is None:
        found["treasury/reserve_sat"] = treasury.image.reserve.ledger_sat
    return found


def _root(image: SiteImage) -> NodeView | None:
    return next((node for node in image.nodes if node.parent is None), None)


def frequency_hz(image: SiteImage) -> float | None:
    """The grid's frequency by the first meter that gives one, in Hz."""
    return next(
        (m.signals["frequency_hz"] for m in image.meters if "frequency_hz" in m.signals), None
    )


def hashrate_ths(image: SiteImage) -> float | None:
    """The hashrate of all feeders that know theirs, in TH/s; None while none does."""
    known = [fleet.hashrate_ths for fleet in image.fleet if fleet.hashrate_ths is not None]
    return sum(known) if known else None


class Trace:
    """What this console saw, the newest KEPT points."""

    def __init__(self) -> None:
        self._at_unix_s: deque[float] = deque(maxlen=KEPT)
        self._points: deque[Points] = deque(maxlen=KEPT)

    def note(self, at_unix_s: float, seen: Points) -> None:
        """Keep one moment. When a clock was set back, what was seen before is dropped."""
        if self._at_unix_s and at_unix_s < self._at_unix_s[-1]:
            self._at_unix_s.clear()
            self._points.clear()
        self._at_unix_s.append(at_unix_s)
        self._points.append(seen)

    def series(self, at_unix_s: list[float], step_s: float) -> dict[str, list[float | None]]:
        """The last value in each step that begins at one of the times; None where none was seen."""
        names = sorted({name for seen in self._points for name in seen})
        found: dict[str, list[float | None]] = {name: [None] * len(at_unix_s) for name in names}
        times = list(self._at_unix_s)
        for step, begin in enumerate(at_unix_s):
            last = bisect_left(times, begin + step_s) - 1
            if last >= 0 and times[last] >= begin:
                for name, value in self._points[last].items():
                    found[name][step] = value
        return found


class Past:
    """Answers what was; the site's own history is asked over `watch`."""

    def __init__(self, watch: Watch[SiteImage], trace: Trace, clock: SiteClock) -> None:
        self._watch = watch
        self._trace = trace
        self._clock = clock
        self._turn = asyncio.Lock()
        self._last: tuple[ReadHistory, float, HistoryPage | str] | None = None

    async def read(self, asked: ReadHistory) -> Series:
        """The last `span_s` in at most `points` steps; what the console alone knows is added."""
        async with self._turn:
            kept = await self._from_site(asked)
        if isinstance(kept, HistoryPage):
            own = self._trace.series(kept.at_unix_s, kept.step_s)
            series = {**own, **kept.series}
            return Series(
                source="site",
                note="",
                at_unix_s=kept.at_unix_s,
                step_s=kept.step_s,
                series=series,
            )
        step_s = asked.span_s / asked.points
        begin_s = self._clock.utc().timestamp() - asked.span_s
        at_unix_s = [begin_s + step * step_s for step in range(asked.points)]
        return Series(
            source="console",
            note=f"Only what this console saw since it started; the site shows no past: {kept}",
            at_unix_s=at_unix_s,
            step_s=step_s,
            series=self._trace.series(at_unix_s, step_s),
        )

    async def _from_site(self, asked: ReadHistory) -> HistoryPage | str:
        """The site's answer, or why there is none."""
        now_s = self._clock.monotonic_s()
        if self._last is not None:
            question, asked_s, answer = self._last
            if question == asked and now_s - asked_s < SAME_S:
                return answer
        found = await self._ask(asked)
        self._last = (asked, self._clock.monotonic_s(), found)
        return found

    async def _ask(self, asked: ReadHistory) -> HistoryPage | str:
        try:
            body = await self._watch.ask(msgspec.msgpack.encode(asked), ANSWER_S)
            page = msgspec.msgpack.decode(body, type=HistoryPage)
        except ChannelError as error:
            return str(error)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return f"the site's history cannot be read: {error}"
        length = len(page.at_unix_s)
        if page.step_s <= 0 or any(len(values) != length for values in page.series.values()):
            return "the site's history is not whole: its series differ in length"
        return page
