"""How a site looks in a terminal: used by `status` and `top`. Reads an image, decides nothing."""

from datetime import datetime, tzinfo

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from controller.channel.view import AlarmView, NodeView, OrderView, SiteImage

_BAR = 24
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


def render(image: SiteImage, zone: tzinfo) -> RenderableType:
    """The whole screen."""
    parts: list[RenderableType] = [_head(image, zone), _tree(image), _fleet(image)]
    if image.orders:
        parts.append(_orders(image.orders, zone))
    if image.alarms:
        parts.append(_alarms(image.alarms, zone))
    parts.append(_events(image, zone))
    return Group(*parts)


def _clock(at: datetime, zone: tzinfo) -> str:
    return at.astimezone(zone).strftime("%H:%M:%S")


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
    title = f"{image.name or image.site_id}  {_clock(image.at, zone)}"
    return Panel(line, title=title, title_align="left", border_style="dim")


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


def _tree(image: SiteImage) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("node", "mining now", "limit", "", "why", "through"):
        table.add_column(
            name,
            no_wrap=name != "why",
            justify="right" if name in {"mining now", "limit", "through"} else "left",
        )
    depth = _depths(image.nodes)
    for node in sorted(image.nodes, key=lambda n: depth[n.node_id][1]):
        indent = "  " * depth[node.node_id][0]
        label = Text(f"{indent}{node.node_id}")
        if node.armed is False:
            label.append(" (observed)", "blue")
        over = node.measured_w is not None and node.measured_w > 1.01 * max(
            node.limit_w, node.floor_w
        )
        measured = Text(power(node.measured_w), "bold red" if over and not node.planned else "bold")
        why = Text(node.reason, "dim" if node.cap_class in {"plant", "feeder"} else "yellow")
        if node.planned:
            why.append(" (planned)", "cyan")
        table.add_row(label, measured, power(node.limit_w), _bar(node), why, power(node.through_w))
    return table


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


def _fleet(image: SiteImage) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    columns = (
        "miners",
        "running",
        "going down",
        "asleep",
        "coming up",
        "deaf",
        "stuck",
        "unreachable",
        "hashrate",
    )
    table.add_column("feeder")
    for name in columns:
        table.add_column(name, justify="right")
    for fleet in image.fleet:
        counts = (
            fleet.miners,
            fleet.running,
            fleet.curtailing,
            fleet.curtailed,
            fleet.restoring,
            fleet.deaf,
            fleet.stuck,
            fleet.unreachable,
        )
        cells = [Text(str(n), "" if n else "dim") for n in counts]
        for index in (5, 6, 7):
            if counts[index]:
                cells[index].stylize("yellow")
        table.add_row(fleet.feeder, *cells, f"{fleet.hashrate_ths / 1000:.2f} PH/s")
    return table


def _orders(orders: list[OrderView], zone: tzinfo) -> RenderableType:
    table = Table(
        title="orders",
        title_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
        header_style="dim",
        title_style="bold",
    )
    for name in (
        "at",
        "id",
        "node",
        "limit",
        "from",
        "stage",
        "t90",
        "short by",
        "delivered",
        "until",
    ):
        table.add_column(name)
    for order in reversed(orders[-_ORDERS:]):
        short = order.shortfall_w if order.stage == "failed" else None
        table.add_row(
            _clock(order.received_at, zone),
            order.order_id,
            order.node_id,
            power(order.cap_w),
            power(order.baseline_w),
            Text(order.stage.upper(), _STAGES.get(order.stage, "dim")),
            "—" if order.t90_s is None else f"{order.t90_s:.1f} s",
            power(short),
            f"{order.delivered_wh / 1000:.1f} kWh",
            _clock(order.valid_until, zone),
        )
    return table


def _alarms(alarms: list[AlarmView], zone: tzinfo) -> RenderableType:
    table = Table(
        title="alarms",
        title_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
        show_header=False,
        title_style="bold",
    )
    rank = {"critical": 0, "warning": 1, "info": 2}
    ordered = sorted(alarms, key=lambda a: (rank.get(a.severity, 3), a.since_at))
    for alarm in ordered[:_ALARMS]:
        kind = alarm.alarm_id.partition(":")[0].replace("_", " ")
        style = _SEVERITIES.get(alarm.severity, "")
        table.add_row(
            _clock(alarm.since_at, zone),
            Text(kind, style),
            alarm.detail,
            Text(f"→ {alarm.mend}", "dim"),
        )
    if len(ordered) > _ALARMS:
        table.add_row("", f"and {len(ordered) - _ALARMS} more", "", "")
    return table


def _events(image: SiteImage, zone: tzinfo) -> RenderableType:
    table = Table(
        title="events",
        title_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
        show_header=False,
        title_style="bold",
    )
    for event in image.events[-_EVENTS:]:
        table.add_row(
            Text(_clock(event.at, zone), "dim"),
            Text(event.kind.replace("_", " "), "dim"),
            event.text,
        )
    return table
