"""Writes a scenario, plays it on the virtual clock, and reads what was true from its trace.

A world under worlds/ is a scenario that runs as it is; a test changes some of its lines and adds
its events. What is judged is the physics (`truth`), by numbers that the test itself gives: the
site's own idea of its limits is never asked.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.cli.scenario.play import Script, play, site_of
from controller.cli.scenario.virtual_time import run_virtual
from simulators.scenario_file import load_scenario

WORLDS = Path(__file__).parent / "worlds"
LARGEST_W = 3_600.0
"""No miner of these worlds draws more, by one percent of spread."""
STOCK_DOWN_S = 31.0
"""Planned fall of a stock Antminer: 21 s of configuration write, 10 s of ramp (its profile)."""

Row = Mapping[str, Any]
Event = tuple[float, str, Mapping[str, object]]
Swaps = Mapping[str, str]


def event(at_s: float, kind: str, **params: object) -> Event:
    """One `[[event]]`; times count from the begin of the script."""
    return at_s, kind, params


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A run that is over. `file` can be played again with `naryn scenario run FILE --seed SEED`."""

    file: Path
    result: Mapping[str, Any]
    rows: list[Row]

    def between(self, from_s: float, until_s: float) -> list[Row]:
        """Rows of the script's seconds [from_s, until_s]."""
        found = [row for row in self.rows if from_s <= row["t_s"] <= until_s]
        assert found, f"no second between {from_s} and {until_s}"
        return found

    def at(self, at_s: float) -> Row:
        """The last row not after this second."""
        return [row for row in self.rows if row["t_s"] <= at_s][-1]

    def true_w(self, at_s: float, place: str = "plant") -> float:
        """True mining load then."""
        return true_w(self.at(at_s), place)

    def peak_w(self, from_s: float, until_s: float, place: str = "plant") -> float:
        """Largest true mining load of any second between."""
        return max(true_w(row, place) for row in self.between(from_s, until_s))

    def least_w(self, from_s: float, until_s: float, place: str = "plant") -> float:
        """Smallest true mining load of any second between."""
        return min(true_w(row, place) for row in self.between(from_s, until_s))

    def first_s(self, holds: Callable[[Row], bool], from_s: float = 0.0) -> float | None:
        """When something first holds at or after `from_s`."""
        return next((row["t_s"] for row in self.rows if row["t_s"] >= from_s and holds(row)), None)

    def order(self, order_id: str) -> Mapping[str, Any]:
        """An order as the result tells of it."""
        found: list[Row] = [o for o in self.result["orders"] if o["id"] == order_id]
        (only,) = found
        return only

    def stages(self, order_id: str) -> list[str]:
        """What the dispatcher was told of an order, in turn."""
        return list(self.order(order_id)["receipts"])

    def alarms(self, from_s: float = -1e9, until_s: float = 1e9) -> set[str]:
        """Ids of all alarms that stood at any time between."""
        return {
            alarm["alarm_id"]
            for row in self.between(from_s, until_s)
            for alarm in row["site"]["alarms"]
        }


def true_w(row: Row, place: str = "plant") -> float:
    """True mining load of the plant, or of one feeder."""
    truth = row["truth"]
    return float(truth["mining_w"] if place == "plant" else truth["feeders"][place]["power_w"])


def meter(row: Row, meter_id: str) -> Mapping[str, Any]:
    """What the site says of one meter."""
    found: list[Row] = [held for held in row["site"]["meters"] if held["meter_id"] == meter_id]
    (only,) = found
    return only


@dataclass(frozen=True, slots=True)
class Ground:
    """Where scenarios are written."""

    folder: Path

    def play(
        self,
        world: str,
        *events: Event,
        until_s: float,
        swap: Swaps | None = None,
        site: Swaps | None = None,
        seed: int | None = None,
        site_more: str = "",
    ) -> Played:
        """Play a world with these events for `until_s` seconds of script.

        `swap` and `site` replace lines of the scenario and of its `site.toml`; each must be there.
        """
        file = self.lay(world, *events, swap=swap, site=site, site_more=site_more)
        scenario = load_scenario(file)
        rows: list[Row] = []
        script = Script(
            scenario=scenario,
            site=site_of(file, scenario),
            seed=scenario.seed if seed is None else seed,
            seconds=until_s,
        )
        result = run_virtual(play(script, rows.append))
        return Played(file=file, result=result, rows=rows)

    def lay(
        self,
        world: str,
        *events: Event,
        swap: Swaps | None = None,
        site: Swaps | None = None,
        site_more: str = "",
    ) -> Path:
        """Write the scenario and its site; returns the scenario's file."""
        text = _swapped((WORLDS / f"{world}.toml").read_text("utf-8"), swap)
        file = self.folder / f"{world}.toml"
        file.write_text(text + "".join(_toml(events)), "utf-8")
        own = _swapped((WORLDS / f"{world}.site.toml").read_text("utf-8"), site) + site_more
        file.with_name(f"{world}.site.toml").write_text(own, "utf-8")
        return file


def _swapped(text: str, swaps: Swaps | None) -> str:
    for old, new in (swaps or {}).items():
        assert old in text, f"{old!r} is not there to be changed"
        text = text.replace(old, new, 1)
    return text


def _toml(events: Iterable[Event]) -> Iterable[str]:
    for at_s, kind, params in events:
        yield f"\n[[event]]\nat_s = {at_s}\nkind = {json.dumps(kind)}\n"
        yield from (f"{key} = {json.dumps(value)}\n" for key, value in params.items())
