"""The object of `naryn bench curtail`: ratios to the raw limit of the same run, and for people."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from controller.cli.bench import report
from controller.cli.bench.peer import BUSY_PERCENT_MIN

GOAL_MINERS = 10_000
GOAL_REPEATS = 3
GOAL_PERIOD_S = 5.0
_SOURCES = {
    "T4": "a wave does little but connect and send; in the mix LuxOS wants a session first",
    "line": "the load falls along a line: half of the miners have their command at half the time",
    "T5": "the wave leaves from a process of its own, so a busy controller costs it little",
    "T6": "no slot is held while a miner thinks: those that hang cost nobody their turn",
    "T7": "what two of ten thousand miners say is no reason for the others to wait",
    "T8": "login and configuration are prepared: one request, not much dearer than any other",
}
GOALS: dict[str, dict[str, Any]] = {
    "single_to_raw": {"at_most": 1.3, "source": _SOURCES["T4"]},
    "idle_to_raw": {"at_most": 1.3, "source": _SOURCES["T4"]},
    "median_to_last": {"at_most": 0.55, "source": _SOURCES["line"]},
    "polling_to_raw": {"at_most": 1.4, "source": _SOURCES["T5"]},
    "hung_to_idle": {"at_most": 1.1, "source": _SOURCES["T6"]},
    "babble_to_idle": {"at_most": 1.05, "source": _SOURCES["T7"]},
    "antminer_cpu_to_raw": {"at_most": 1.8, "source": _SOURCES["T8"]},
    "antminer_requests_each": {"at_most": 1.0, "source": _SOURCES["T8"]},
}
_SCENES = {
    "single": "one prepared request each, alone",
    "idle": "whole mix",
    "polling": "whole mix, under the full poll",
    "hung": "whole mix, some hang, slow answers",
    "babble": "whole mix, garbage and 10 MB",
    "antminer": "stock Antminers, alone",
}


def assemble(
    figures: dict[str, Any], raws: Mapping[str, Any], machine: dict[str, Any]
) -> dict[str, Any]:
    """The object: no ratio to a raw client that waited for its peer."""
    peer_bound = sorted(
        name for name, raw in raws.items() if raw["busy_percent"] < BUSY_PERCENT_MIN
    )
    ratios = _ratios(figures, raws, peer_bound)
    judged = (
        figures["miners"] == GOAL_MINERS
        and figures["repeats"] >= GOAL_REPEATS
        and figures["period_s"] == GOAL_PERIOD_S
    )
    return {
        "bench": "curtail",
        "machine": machine,
        "figures": figures,
        "raw_limit": {
            "what": "one epoll loop in C that connects to as many miners at once and sends each "
            "one short command",
            "peer_bound": peer_bound,
            **raws,
        },
        "ratios": ratios,
        "goals": GOALS,
        "met": {
            name: ratios[name] <= goal["at_most"] if judged and name in ratios else None
            for name, goal in GOALS.items()
        },
    }


def _ratios(
    figures: Mapping[str, Any], raws: Mapping[str, Any], peer_bound: list[str]
) -> dict[str, float]:
    idle, single, antminer = (figures[name] for name in ("idle", "single", "antminer"))
    ratios = {
        "median_to_last": single["median_ms"] / single["last_ms"],
        "hung_to_idle": figures["hung"]["last_ms"] / idle["last_ms"],
        "babble_to_idle": figures["babble"]["last_ms"] / idle["last_ms"],
        "antminer_requests_each": antminer["requests"] / antminer["miners"],
    }
    if "single" not in peer_bound:
        ratios["single_to_raw"] = single["last_ms"] / raws["single"]["last_ms"]
    if "all" not in peer_bound:
        raw = raws["all"]
        ratios["idle_to_raw"] = idle["last_ms"] / raw["last_ms"]
        ratios["polling_to_raw"] = figures["polling"]["last_ms"] / raw["last_ms"]
        cpu_us = antminer["cpu_us_per_miner"]
        ratios["antminer_cpu_to_raw"] = cpu_us / raw["cpu_us_per_miner"]
    return {name: round(ratios[name], 3) for name in GOALS if name in ratios}


def render(result: dict[str, Any]) -> RenderableType:
    """Moments of each scene, ratios beside their goals, and the other libraries."""
    figures = result["figures"]
    lines: list[RenderableType] = [_moments(result), _goals(result)]
    if figures["others"]:
        lines.append(_others(figures["others"]))
    lines += [Text(f"Left out: {why}.") for why in figures["left_out"]]
    lines.append(Text(report.machine_note(result["machine"]), style="dim"))
    lines += report.peer_bound_note(result["raw_limit"])
    if None in result["met"].values():
        judged = f"{GOAL_MINERS} miners, {GOAL_REPEATS} repeats or more and {GOAL_PERIOD_S:g} s"
        lines.append(Text(f"The goals are for {judged}.", style="dim"))
    return Group(*lines)


def _moments(result: dict[str, Any]) -> Table:
    figures, raw = result["figures"], result["raw_limit"]
    table = _table(
        f"curtail: {figures['miners']} miners, ms from the decision to the command at the miner",
        ("", "miners", "by the guard", "first", "median", "last", "µs each"),
    )
    for name, label in (("single", "raw limit of these"), ("all", "raw limit of the mix")):
        table.add_row(label, *_cells(raw[name]))
    for name, label in _SCENES.items():
        table.add_row(label, *_cells(figures[name]))
    return table


def _cells(one: Mapping[str, Any]) -> list[str]:
    names = ("miners", "by_guard", "first_ms", "median_ms", "last_ms", "cpu_us_per_miner")
    values = [one.get(name) for name in names]
    return ["" if value is None else f"{value:g}" for value in values]


def _goals(result: dict[str, Any]) -> Table:
    table = _table("ratios", ("", "value", "goal", "met"))
    for name, goal in result["goals"].items():
        value = result["ratios"].get(name)
        shown = "unknown" if value is None else f"{value:g}"
        table.add_row(name, shown, f"≤ {goal['at_most']:g}", report.met_word(result["met"], name))
    poll = result["figures"]["poll"]
    table.caption = (
        f"the poll beside the wave: {poll['polls']} polls, {poll['missed']} missed, "
        f"{poll['failed']} failed"
    )
    return table


def _others(others: list[dict[str, Any]]) -> Table:
    table = _table(
        "other libraries on the same peer, ms from the call",
        ("library", "firmware", "miners", "commanded", "median", "last", "µs each"),
    )
    for one in others:
        numbers = (one["miners"], one["commanded"], one["median_ms"], one["last_ms"])
        spent = one["cpu_us_per_miner"]
        table.add_row(one["library"], one["firmware"], *(f"{n:g}" for n in (*numbers, spent)))
    return table


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title)
    for name in columns:
        table.add_column(name, justify="left" if name in {"", "library", "firmware"} else "right")
    return table
