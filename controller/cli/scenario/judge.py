"""Watches a virtual-clock run: the site's images and the world's truth side by side.

    image, one a second ──▶ see ──▶ record, trace row        result ──▶ the run in numbers
    world.truth()       ──▶

The site's word never judges itself here: what the load was is asked of the physics.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from controller.channel.view import SiteImage
from controller.cli.demo.ground import Timetable
from controller.cli.demo.story import Evening, Record
from controller.site.slots import MinerSlots
from simulators.services.dispatcher.play import Answer, Dispatcher
from simulators.world import World

ROOT = "plant"
"""Every site of a scenario calls its uppermost node so."""
Row = dict[str, Any]
"""One second of a run as JSON values: `t_s` since the script began, `truth`, `site`, and
`reading_age_s` of every miner that was ever read, by its id."""

_LEFT_OUT = ("site_id", "name", "events")
"""Parts of the image that say nothing new each second."""


class Judge:
    """`trace` is called with a row for every image; `begin_s` is when the script begins."""

    def __init__(
        self,
        world: World,
        timetable: Timetable,
        *,
        begin_s: float,
        trace: Callable[[Row], None] | None,
    ) -> None:
        self._world = world
        self._begin_s = begin_s
        self._trace = trace
        self._record = Record(root=ROOT)
        self._evening = None
        if world.scenario.name == "evening":
            self._evening = Evening(
                record=self._record,
                peak_from=timetable.peak_from,
                peak_until=timetable.peak_until,
            )
        self.dispatcher: Dispatcher | None = None
        self.miners: MinerSlots | None = None
        self._truth_w: list[float] = []
        self._measured_w: list[float | None] = []

    def see(self, image: SiteImage) -> None:
        """Take in one image."""
        truth_w = round(self._world.plant.mining_w, 1)
        if self._evening is not None:
            self._evening.see(image, truth_w)
        else:
            self._record.see(image)
        root = next(node for node in image.nodes if node.node_id == ROOT)
        self._truth_w.append(truth_w)
        self._measured_w.append(root.measured_w)
        if self._trace is not None:
            self._trace(self._row(image))

    def _row(self, image: SiteImage) -> Row:
        now_s = (image.at - self._world.start_utc).total_seconds()
        readings = {} if self.miners is None else self.miners.readings
        site = msgspec.to_builtins(image)
        for name in _LEFT_OUT:
            del site[name]
        return {
            "t_s": round(now_s - self._begin_s, 3),
            "truth": self._world.truth(),
            "site": site,
            "reading_age_s": {
                name: round(now_s - readings[name].begun_s, 2) for name in sorted(readings)
            },
        }

    def result(self, seed: int) -> dict[str, Any]:
        """What the run came to: numbers only, none of them of the clock on the wall."""
        truth_w = self._truth_w
        receipts: dict[str, list[str]] = {}
        answers: Iterable[Answer] = ()
        if self.dispatcher is not None:
            receipts = {name: self.dispatcher.stages(name) for name in self._record.orders}
            answers = self.dispatcher.answers
        if self._evening is not None:
            summary = self._evening.summary(receipts)
        else:
            summary = {**self._record.summary(receipts), "missed": self._record.missed()}
        digest = hashlib.sha256(json.dumps([truth_w, self._measured_w]).encode()).hexdigest()
        return {
            "scenario": self._world.scenario.name,
            "seed": seed,
            **summary,
            "answers": [_told(answer) for answer in answers if answer.stage is not None],
            "phases": self._record.phases,
            "mining_w": {
                "first": truth_w[0],
                "last": truth_w[-1],
                "least": min(truth_w),
                "most": max(truth_w),
                "mean": round(sum(truth_w) / len(truth_w), 1),
            },
            "sha256": digest,
        }


def _told(answer: Answer) -> dict[str, Any]:
    """A receipt or confirmation as the dispatcher got it; `about` names topic and sequence."""
    about = answer.body.get("of")
    said = about if isinstance(about, Mapping) else {}
    kept = {name: answer.body[name] for name in ("reason", "alarm") if answer.body.get(name)}
    topic = str(said.get("topic", "")).partition("/dispatch/")[2]
    return {
        "stage": answer.stage,
        "order": answer.order,
        "about": f"{topic}#{said.get('sequence')}",
        "verified": answer.verified,
        **kept,
    }
