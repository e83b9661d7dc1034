"""How a site looks in a terminal: used by `status` and `top`. Reads an image, decides nothing.

What matters most stands first. A narrow terminal loses columns from a list, never the reason of a
limit or the name of what it limits.
"""

from collections.abc import Iterable
from datetime import datetime, tzinfo

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from controller.channel.view import (
    AlarmView,
    FleetView,
    NodeView,
    OrderView,
    PlannedView,
    SiteImage,
)

_WIDE = 120
"""Columns from which on every table shows all it has."""
_BAR = 24
_ID = 24
"""Longest order id shown whole on a narrow terminal; the protocol allows 64 characters."""
_PHASES = {
    "normal": "green",
    "ramp_up": "cyan",
    "recover_wait": "cyan",
    "curtailed": "yellow",
    "ramp_down": "yellow",
    "lockout": "red",
    "failsafe": "red",
    "observe": "blue",
}
_STAGES = {
    "verified": "bold green",
    "failed": "bold red",
    "delivering": "yellow",
    "waiting": "cyan",
}
_SEVERITIES = {"critical": "bold red", "warning": "yellow", "info": "dim"}
_EVENTS = 8
_ALARMS = 6
_ORDERS = 4


def power(power_w: float | None) -> str:
    """Watts for people: 812.4 kW, 3.250 MW; a dash when unknown.

    >>> power(812_400.0), power(3_250_000.0), power(0.0), power(None)
    ('812.4 kW', '3.250 MW', '0.0 kW', '—')
    """
    if power_w is None:
        return "—"
    return f"{power_w / 1e6:.3f} MW" if abs(power_w) >= 1e6 else f"{power_w / 1e3:.1f} kW"


def plain(text: str, style: str = "") -> Text:
    """Words of a device, a file or a stranger: shown as they are, whatever a terminal would make
    of them.

    >>> plain("[red]a\x1b[2J")
    <text '[red]a?[2J' [] ''>
    """
    return Text("".join(c if c.isprintable() else "?" for c in text), style)


def render(image: SiteImage, zone: tzinfo) -> RenderableType:
    """The whole screen, laid out for the width that it is printed at."""
    return _Screen(image, zone)


class _Screen:
    """Asks the console how wide it is."""

    def __init__(self, image: SiteImage, zone: tzinfo) -> None:
        self._image, self._zone = image, zone

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        image, zone, wide = self._image, self._zone, options.max_width >= _WIDE
        parts: list[RenderableType] = [
            _head(image, zone),
            _tree(image, wide=wide),
            _fleet(image, wide=wide),
        ]
        if image.planned:
            parts.append(_planned(image.planned[0], image.at, zone))
        if image.orders:
            parts.append(_orders(image.orders, zone, wide=wide))
        if image.alarms:
            parts.append(_alarms(image.alarms, zone, wide=wide))
        parts.append(_events(image, zone))
        yield Group(*parts)


def _clock(at: datetime, zone: tzinfo) -> str:
    return at.astimezone(zone).strftime("%H:%M:%S")


def _table(title: str | None = None, *, header: bool = True) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        padding=(0, 2, 0, 0),
        header_style="dim",
        show_header=header,
    )


def _head(image: SiteImage, zone: tzinfo) -> RenderableType:
    line = Text()
    line.append(
        f" {image.phase.upper().replace('_', ' ')} ", f"bold reverse {_PHASES.get(image.phase, '')}"
    )
    line.append(f"  {image.mode.replace('_', ' ')}", "bold" if image.mode == "armed" else "blue")
    for name, value in _plant_facts(image):
        line.append(f"   {name} ", "dim")
        line.append(value)
    said = image.dispatcher
    link = "" if said.connected or said.state == "none" else ", broker not reached"
    age = "" if said.heartbeat_age_s is None else f" {said.heartbeat_age_s:.0f} s ago"
    line.append("   dispatcher ", "dim")
    good = said.state == "heard" and said.connected
    line.append(f"{said.state.replace('_', ' ')}{age}{link}", "green" if good else "yellow")
    tick = image.tick
    line.append(f"   tick {tick.last_ms:.0f} ms", "dim")
    if tick.skipped or tick.failed:
        line.append(f" ({tick.skipped} skipped, {tick.failed} failed)", "red")
    title = plain(f"{image.name or image.site_id}  {_clock(image.at, zone)}")
    return Panel(line, title=title, title_align="left", border_style="dim")


def _planned(planned: PlannedView, now: datetime, zone: tzinfo) -> RenderableType:
    wait_s = max(0, round((planned.begins_at - now).total_seconds()))
    hours, minutes, seconds = wait_s // 3600, wait_s // 60 % 60, wait_s % 60
    line = Text("next ", "dim")
    line.append(f"{_clock(planned.begins_at, zone)} in {hours}:{minutes:02}:{seconds:02}  ", "cyan")
    line.append_text(plain(f"{planned.node_id} ≤ {power(planned.cap_w)}  "))
    return line.append_text(plain(planned.reason, "dim"))


def _plant_facts(image: SiteImage) -> list[tuple[str, str]]:
    signals: dict[str, float] = {}
    for meter in image.meters:
        for name, value in meter.signals.items():
            signals.setdefault(name, value)
    facts = []
    units = [signals[k] for k in ("unit1_power_w", "unit2_power_w") if k in signals]
    if units:
        facts.append(("units", " + ".join(power(w) for w in units)))
    if "net_head_m" in signals:
        facts.append(("head", f"{signals['net_head_m']:.1f} m"))
    if "frequency_hz" in signals:
        facts.append(("grid", f"{signals['frequency_hz']:.3f} Hz"))
    return facts


def _tree(image: SiteImage, *, wide: bool) -> RenderableType:
    table = _table()
    table.add_column("node", no_wrap=True)
    table.add_column("mining now", no_wrap=True, justify="right")
    table.add_column("limit", no_wrap=True, justify="right")
    if wide:
        table.add_column("", no_wrap=True)
    table.add_column("why", overflow="fold", min_width=16)
    if wide:
        table.add_column("through", no_wrap=True, justify="right")
    depth = _depths(image.nodes)
    for node in sorted(image.nodes, key=lambda n: depth[n.node_id][1]):
        indent = "  " * depth[node.node_id][0] if wide else " " * depth[node.node_id][0]
        label = Text(f"{indent}{node.node_id}")
        if node.armed is False:
            label.append(" (observed)", "blue")
        cells = [label, _measured(node, wide=wide), Text(power(node.limit_w))]
        cells += [_bar(node), _why(node), Text(power(node.through_w))] if wide else [_why(node)]
        table.add_row(*cells)
    return table


def _measured(node: NodeView, *, wide: bool) -> Text:
    if node.measured_w is None and not wide:
        return Text("meter lost", "red")  # a wide screen says so in the bar
    over = node.measured_w is not None and node.measured_w > 1.01 * max(node.limit_w, node.floor_w)
    return Text(power(node.measured_w), "bold red" if over and not node.planned else "bold")


def _why(node: NodeView) -> Text:
    why = plain(node.reason, "dim" if node.cap_class in {"plant", "feeder"} else "yellow")
    if node.planned:
        why.append(" (planned)", "cyan")
    return why


def _depths(nodes: list[NodeView]) -> dict[str, tuple[int, str]]:
    parents = {node.node_id: node.parent for node in nodes}
    depths = {}
    for name in parents:
        path = [name]
        while (parent := parents.get(path[-1])) is not None and parent not in path:
            path.append(parent)
        depths[name] = (len(path) - 1, "/".join(reversed(path)))
    return depths


def _bar(node: NodeView) -> Text:
    bar = Text()
    if node.measured_w is None or node.rating_w <= 0:
        return Text("meter lost".ljust(_BAR), "red")
    filled = max(0, min(_BAR, round(_BAR * node.measured_w / node.rating_w)))
    mark = max(0, min(_BAR - 1, round(_BAR * node.limit_w / node.rating_w)))
    for cell in range(_BAR):
        if cell == mark and node.limit_w < node.rating_w * 0.999:
            bar.append("┃", "bold yellow")
        elif cell < filled:
            bar.append("█", "green")
        else:
            bar.append("░", "dim")
    return bar


_TROUBLE = ("deaf", "stuck", "unreachable")


def _rate(hashrate_ths: float | None) -> str:
    return "—" if hashrate_ths is None else f"{hashrate_ths / 1000:.2f} PH/s"


def _fleet(image: SiteImage, *, wide: bool) -> RenderableType:
    table = _table()
    table.add_column("feeder", no_wrap=True)
    shown = [
        name
        for name in ("miners", "running", "curtailing", "curtailed", "restoring", *_TROUBLE)
        if wide or name not in _TROUBLE or any(getattr(f, name) for f in image.fleet)
    ]
    words = {"curtailing": "going down", "curtailed": "asleep", "restoring": "coming up"}
    short = {"curtailing": "down", "curtailed": "asleep", "restoring": "up", "unreachable": "lost"}
    for name in shown:
        table.add_column((words if wide else short).get(name, name), justify="right", no_wrap=True)
    table.add_column("hashrate", justify="right", no_wrap=True)
    for fleet in image.fleet:
        counts = (_count(fleet, name) for name in shown)
        table.add_row(plain(fleet.feeder), *counts, _rate(fleet.hashrate_ths))
    return table


def _count(fleet: FleetView, name: str) -> Text:
    number: int = getattr(fleet, name)
    if not number:
        return Text("0", "dim")
    return Text(str(number), "yellow" if name in _TROUBLE else "")


def _orders(orders: list[OrderView], zone: tzinfo, *, wide: bool) -> RenderableType:
    table = _table("orders")
    wanted = "id stage limit t90 short_by node"
    if wide:
        wanted = "at id stage limit from t90 short_by delivered until node"
    columns = [name.replace("_", " ") for name in wanted.split()]
    for name in columns:
        table.add_column(name, no_wrap=True, max_width=_ID if name == "id" and not wide else None)
    for order in reversed(orders[-_ORDERS:]):
        facts = _order_facts(order, zone)
        table.add_row(*(facts[name] for name in columns))
    return table


def _order_facts(order: OrderView, zone: tzinfo) -> dict[str, Text | str]:
    short_w = order.shortfall_w if order.stage == "failed" else None
    return {
        "at": _clock(order.received_at, zone),
        "id": plain(order.order_id),
        "node": plain(order.node_id),
        "limit": power(order.cap_w),
        "from": power(order.baseline_w),
        "stage": Text(order.stage.upper(), _STAGES.get(order.stage, "dim")),
        "t90": "—" if order.t90_s is None else f"{order.t90_s:.1f} s",
        "short by": power(short_w),
        "delivered": f"{order.delivered_wh / 1000:.1f} kWh",
        "until": _clock(order.valid_until, zone),
    }


def _alarms(alarms: list[AlarmView], zone: tzinfo, *, wide: bool) -> RenderableType:
    table = _table("alarms", header=False)
    rank = {"critical": 0, "warning": 1, "info": 2}
    ordered = sorted(alarms, key=lambda a: (rank.get(a.severity, 3), a.since_at))
    for alarm in ordered[:_ALARMS]:
        kind = alarm.alarm_id.partition(":")[0].replace("_", " ")
        style = _SEVERITIES.get(alarm.severity, "")
        mend = Text(f"→ {alarm.mend}", "dim")
        at, what = Text(_clock(alarm.since_at, zone), "dim"), Text(kind, style)
        table.add_row(*_told(at, what, plain(alarm.detail), mend, wide=wide))
    if len(ordered) > _ALARMS:
        table.add_row("", "", f"and {len(ordered) - _ALARMS} more")
    return table


def _told(at: Text, what: Text, detail: Text, mend: Text, *, wide: bool) -> Iterable[Text]:
    """On a narrow terminal what to do stands below what is wrong."""
    return (at, what, detail, mend) if wide else (at, what, Text("\n").join((detail, mend)))


def _events(image: SiteImage, zone: tzinfo) -> RenderableType:
    table = _table("events", header=False)
    for event in image.events[-_EVENTS:]:
        table.add_row(
            Text(_clock(event.at, zone), "dim"),
            Text(event.kind.replace("_", " "), "dim"),
            plain(event.text),
        )
    return table
