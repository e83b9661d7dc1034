"""The object of `naryn bench poll` for people."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from controller.cli.bench import report

_ROWS = (
    ("polls", "polls in the measured time", ""),
    ("missed", "missed", ""),
    ("timeouts", "timeouts of miners that hang", ""),
    ("failed", "failed, of miners that answer", ""),
    ("cpu_share", "share of one core", ""),
    ("cpu_us_per_poll", "processor per poll, all included", "µs"),
    ("late_p50_ms", "late, median", "ms"),
    ("late_p99_ms", "late, p99", "ms"),
    ("loop_lag_p99_ms", "event loop late, p99", "ms"),
    ("rss_mib", "memory", "MiB"),
    ("rss_per_miner_kib", "memory per miner", "KiB"),
    ("connections_per_s", "new connections a second", ""),
    ("conntrack_entries", "of these a firewall remembers", ""),
    ("flat_to_raw", "flat out, to the raw limit", "×"),
    ("fleet_to_raw", "fleet with telemetry, to the raw limit", "×"),
    ("babble_reads", "two babble: their failed reads", ""),
    ("babble_missed", "two babble: missed of the others", ""),
    ("babble_failed", "two babble: failed of the others", ""),
    ("babble_cpu_us_per_poll", "two babble: processor per poll", "µs"),
    ("babble_late_p99_ms", "two babble: late, p99", "ms"),
    ("babble_loop_lag_p99_ms", "two babble: event loop late, p99", "ms"),
    ("babble_to_well", "two babble, to none: processor per poll", "×"),
)


def render(result: dict[str, Any]) -> RenderableType:
    """Figures beside their goals, then each firmware beside its raw limit."""
    figures, goals = result["figures"], result["goals"]
    found = {**figures, **result["ratios"]}
    table = Table(
        title=f"poll: {figures['miners']} miners every {figures['period_s']:g} s, "
        f"{figures['hung']} hang, {figures['latency_ms']:g} ms, telemetry on"
    )
    for title in ("figure", "value", "goal", "met"):
        table.add_column(title, justify="left" if title in {"figure", "met"} else "right")
    for name, label, unit in _ROWS:
        wanted = f"≤ {goals[name]['at_most']:g}" if name in goals else ""
        table.add_row(
            label,
            _shown(found.get(name), unit),
            wanted,
            report.met_word(result["met"], name),
        )
    lines: list[RenderableType] = [table, _by_firmware(result)]
    lines.append(Text(report.machine_note(result["machine"]), style="dim"))
    lines += report.peer_bound_note(result["raw_limit"])
    if figures["left_out"]:
        said = ", ".join(figures["left_out"])
        lines.append(Text(f"Left out, without a driver of their own: {said}."))
    if None in result["met"].values():
        lines.append(
            Text("The goals are for 10000 miners every 5 s and 20 s or more.", style="dim")
        )
    return Group(*lines)


def _by_firmware(result: dict[str, Any]) -> Table:
    table = Table(title="processor per poll, flat out, µs")
    for title in ("firmware", "miners", "ours", "raw", "ratio"):
        table.add_column(title, justify="left" if title == "firmware" else "right")
    ours = result["figures"]["flat_us_per_poll"]
    ratios = result["ratios"]["flat_to_raw_by_firmware"]
    for name, count in result["figures"]["firmwares"].items():
        raw = result["raw_limit"]["by_firmware"][name]["cpu_us_per_poll"]
        ratio = _shown(ratios.get(name), "×")
        table.add_row(name, str(count), f"{ours[name]:.1f}", f"{raw:.1f}", ratio)
    return table


def _shown(value: float | None, unit: str) -> str:
    return "unknown" if value is None else f"{value:g} {unit}".strip()
