"""The benchmark's one object: figures, the raw limit of the same run, goals, and what was met."""

import contextlib
import gc
import os
import platform
import resource
from collections.abc import Iterator, Sequence
from math import ceil
from pathlib import Path
from statistics import fmean, median
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from controller.cli.bench.tick import Record, over_s

GOAL_MINERS = 10_000
GOAL_TICKS = 60
_SOURCE = (
    f"{GOAL_MINERS} miners and a tick a second on one core: a usual tick takes at most a twentieth "
    "of it, the slowest in a hundred leaves most of it to polling; docs/benchmarks.md"
)
GOALS: dict[str, dict[str, Any]] = {
    "median_ms": {"at_most": 50.0, "source": _SOURCE},
    "p99_ms": {"at_most": 150.0, "source": _SOURCE},
}


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank: the smallest value that at least this share of all is not above.

    >>> percentile([3.0, 1.0, 2.0], 0.5), percentile(range(1, 101), 0.99)
    (2.0, 99)
    """
    ranked = sorted(values)
    return ranked[max(1, ceil(round(share * len(ranked), 9))) - 1]


def assemble(
    record: Record,
    idle_over_w: list[float],
    *,
    miners: int,
    ticks: int,
    deaf: int,
    seed: int,
    machine: dict[str, Any],
) -> dict[str, Any]:
    """The object that `--json` prints."""
    decide_ms = [ns / 1e6 for ns in record.decide_ns]
    cpu_ms = [ns / 1e6 for ns in record.cpu_ns]
    bare_ms = median(record.bare_ns) / 1e6
    journal_ms = [ns / 1e6 for ns in record.journal_ns]
    figures: dict[str, Any] = {
        "miners": miners,
        "ticks": ticks,
        "seed": seed,
        "median_ms": round(median(decide_ms), 3),
        "p99_ms": round(percentile(decide_ms, 0.99), 3),
        "max_ms": round(max(decide_ms), 3),
        "cpu_median_ms": round(median(cpu_ms), 3),
        "cpu_p99_ms": round(percentile(cpu_ms, 0.99), 3),
        "gc_max_ms": round(max(record.gc_ns) / 1e6, 3),
        "cpu_per_miner_us": round(1e3 * fmean(cpu_ms) / miners, 3),
        "journal_median_ms": round(median(journal_ms), 3),
        "journal_p99_ms": round(percentile(journal_ms, 0.99), 3),
        "journal_commits": len(journal_ms),
        "commands_per_tick": round(record.commands / ticks, 3),
        "commands_total": record.commands,
        "sleeps": record.sleeps,
        "wakes": record.wakes,
        "stale_share": round(fmean(record.stale_shares), 4),
        "deaf_miners": deaf,
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }
    judged = miners == GOAL_MINERS and ticks >= GOAL_TICKS
    return {
        "bench": "tick",
        "machine": machine,
        "figures": figures,
        "raw_limit": {
            "what": "the same readings, looked up and their power added, twice, in one loop",
            "median_ms": round(bare_ms, 3),
        },
        "ratios": {"median_to_raw": round(median(decide_ms) / bare_ms, 2)},
        "goals": GOALS,
        "met": {
            name: figures[name] <= goal["at_most"] if judged else None
            for name, goal in GOALS.items()
        },
        "decisions": {
            "over_cap_s": over_s(record.over_w, ticks),
            "over_cap_s_if_nothing_was_done": over_s(idle_over_w, ticks),
            "over_cap_mean_w": round(fmean(record.over_w[:ticks])),
            "over_cap_mean_w_if_nothing_was_done": round(fmean(idle_over_w[:ticks])),
            "over_cap_final_w": round(record.over_w[-1]),
            "over_cap_final_w_if_nothing_was_done": round(idle_over_w[-1]),
            "load_final_w": round(record.final_load_w),
            "cap_final_w": round(record.final_cap_w),
            "commands": record.commands,
            "sha256": record.digest,
        },
    }


@contextlib.contextmanager
def pinned() -> Iterator[int | None]:
    """Keep this process on one core; gives its number, None where the system does not allow it."""
    before = os.sched_getaffinity(0)
    core = max(before)
    try:
        os.sched_setaffinity(0, {core})
    except OSError:
        yield None
        return
    try:
        yield core
    finally:
        os.sched_setaffinity(0, before)


def machine(pinned_core: int | None, journal_folder: Path) -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "pinned_core": pinned_core,
        "load_1m": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "gc": f"as run: {'on' if gc.isenabled() else 'off'}, {gc.get_threshold()}, frozen at start",
        "journal_filesystem": _filesystem(journal_folder),
    }


_MET = {None: "not judged", True: "[green]met[/green]", False: "[red]not met[/red]"}


def met_word(met: dict[str, bool | None], name: str) -> str:
    """Whether a goal was met; nothing for a figure that has none."""
    return _MET[met[name]] if name in met else ""


def machine_note(where: dict[str, Any]) -> str:
    """What the figures were taken on, in a line."""
    core = where["pinned_core"]
    on = "not pinned to a core" if core is None else f"on core {core}"
    return f"{where['cpu']}, {on}, {where['python']}, load {where['load_1m']}"


def peer_bound_note(raw_limit: dict[str, Any]) -> list[Text]:
    """Whose raw client waited for its peer; nothing where none did."""
    if not raw_limit["peer_bound"]:
        return []
    said = ", ".join(raw_limit["peer_bound"])
    return [Text(f"peer_bound: the raw client waited for its peer ({said}): no ratio.")]


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.machine()


def _filesystem(folder: Path) -> str | None:
    """Kind of the file system a folder is on; on tmpfs a durable write costs nothing."""
    found: tuple[int, str] | None = None
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mounts").read_text().splitlines():
            _, at, kind, *_ = line.split(" ")
            if folder.resolve().is_relative_to(at) and (found is None or len(at) >= found[0]):
                found = (len(at), kind)
    return None if found is None else found[1]


def render(result: dict[str, Any]) -> RenderableType:
    """The same for people."""
    figures, did = result["figures"], result["decisions"]
    table = Table(title=f"tick: {figures['miners']} miners, {figures['ticks']} ticks")
    for title in ("figure", "value", "goal", "met"):
        table.add_column(title, justify="left" if title in {"figure", "met"} else "right")
    for name in ("median_ms", "p99_ms", "max_ms"):
        goal = result["goals"].get(name)
        wanted = "" if goal is None else f"≤ {goal['at_most']:g} ms"
        table.add_row(
            name,
            f"{figures[name]:.1f} ms",
            wanted,
            met_word(result["met"], name),
        )
    raw_ms, ratio = result["raw_limit"]["median_ms"], result["ratios"]["median_to_raw"]
    rows = (
        ("bare pass over the readings", f"{raw_ms:.2f} ms"),
        ("median to bare pass", f"{ratio:.1f} ×"),
        ("processor time, p99", f"{figures['cpu_p99_ms']:.1f} ms"),
        ("garbage collector, worst tick", f"{figures['gc_max_ms']:.1f} ms"),
        ("processor per miner and tick", f"{figures['cpu_per_miner_us']:.2f} µs"),
        ("journal, median", f"{figures['journal_median_ms']:.1f} ms"),
        ("journal, p99", f"{figures['journal_p99_ms']:.1f} ms"),
        ("commands", f"{figures['sleeps']} sleep, {figures['wakes']} wake"),
        ("over the cap", f"{did['over_cap_s']} s"),
        ("over the cap, nothing done", f"{did['over_cap_s_if_nothing_was_done']} s"),
        ("peak memory, simulation included", f"{figures['peak_rss_mib']:.0f} MiB"),
    )
    for label, value in rows:
        table.add_row(label, value, "", "")
    where = result["machine"]
    lines = [Text(f"{machine_note(where)}, gc {where['gc']}", style="dim")]
    if None in result["met"].values():
        judged = f"The goals are for {GOAL_MINERS} miners and {GOAL_TICKS} ticks or more."
        lines.append(Text(judged, style="dim"))
    return Group(table, *lines)
