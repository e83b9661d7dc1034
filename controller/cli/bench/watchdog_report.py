"""The object of `naryn bench watchdog`: what the curve expects, and what the miners saw."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from controller.cli.bench import report
from controller.cli.bench.peer import KINDS

GOAL_MINERS = 10_000
GOALS: dict[str, dict[str, Any]] = {
    "first_late_s": {
        "at_most": 1.0,
        "source": "the guard looks at the silence four times a second, and commands lie ready",
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """The end of a controller: its last beat and its kill by CLOCK_MONOTONIC, and the commands
    that lay ready.
    """

    beat_s: float
    killed_s: float
    prepared: int


def moments(
    death: Death, stamped: Mapping[str, Any], silence_s: float, decay_s: float
) -> dict[str, Any]:
    """Moments in seconds from the last beat that the guard heard, as the peer read commands."""

    def after_s(moment_ns: int) -> float:
        return round(moment_ns / 1e9 - death.beat_s, 3)

    first_s, last_s = after_s(stamped["first_ns"]), after_s(stamped["last_ns"])
    return {
        "prepared": death.prepared,
        "killed_s": round(death.killed_s - death.beat_s, 3),
        "expected_first_s": silence_s,
        "first_s": first_s,
        "first_late_s": round(first_s - silence_s, 3),
        "median_s": after_s(stamped["median_ns"]),
        "expected_last_s": silence_s + decay_s,
        "last_s": last_s,
        "last_late_s": round(last_s - silence_s - decay_s, 3),
        "last_s_by_firmware": {
            name: after_s(said["last_ns"])
            for name, kind in KINDS.items()
            if (said := stamped["by_firmware"][str(kind)])["last_ns"] is not None
        },
    }


def assemble(
    figures: dict[str, Any], raw: dict[str, Any], machine: dict[str, Any]
) -> dict[str, Any]:
    """The object. Where the load falls at once, the fall is compared with the raw limit."""
    fall_ms = 1e3 * (figures["last_s"] - figures["first_s"])
    at_once = figures["decay_s"] == 0.0
    judged = figures["miners"] == GOAL_MINERS
    return {
        "bench": "watchdog",
        "machine": machine,
        "figures": figures,
        "raw_limit": {
            "what": "one epoll loop in C that connects to as many miners at once and sends each "
            "one short command",
            **raw,
        },
        "ratios": {"fall_to_raw": round(fall_ms / raw["last_ms"], 3)} if at_once else {},
        "goals": GOALS,
        "met": {
            name: figures[name] <= goal["at_most"] if judged else None
            for name, goal in GOALS.items()
        },
    }


def render(result: dict[str, Any]) -> RenderableType:
    """Expected and seen moments, side by side."""
    figures = result["figures"]
    table = Table(
        title=f"watchdog: kill -9, {figures['miners']} miners, {figures['prepared']} prepared"
    )
    for name in ("s from the last beat", "the curve", "the miners"):
        table.add_column(name, justify="left" if name.startswith("s ") else "right")
    table.add_row("controller killed", "", f"{figures['killed_s']:g}")
    for name in ("first", "median", "last"):
        expected = figures.get(f"expected_{name}_s")
        wanted = "" if expected is None else f"{expected:g}"
        table.add_row(f"{name} command", wanted, f"{figures[f'{name}_s']:g}")
    for firmware, last_s in figures["last_s_by_firmware"].items():
        table.add_row(f"last of {firmware}", "", f"{last_s:g}")
    raw = f"the C client needs {result['raw_limit']['last_ms']:g} ms for as many"
    return Group(table, Text(f"{raw}; {report.machine_note(result['machine'])}", style="dim"))
