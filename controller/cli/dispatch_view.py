"""What `naryn dispatch` prints: words for people, or one JSON object a line."""

import json
from datetime import datetime

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from controller.dispatch.message import (
    Confirmation,
    ConfirmationStage,
    Heartbeat,
    Inward,
    Order,
    Outward,
    Receipt,
    ReceiptStage,
    Setpoint,
    Status,
)
from controller.dispatch.sealing import Opened

_GOOD = {ReceiptStage.ACCEPTED, ConfirmationStage.VERIFIED, ConfirmationStage.RELEASED}
_BAD = {ReceiptStage.REJECTED, ConfirmationStage.FAILED}


class View:
    """Prints to standard output. `as_json`: for programs."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._console = Console(highlight=False, soft_wrap=True, markup=False)

    def sent(self, message: Inward) -> None:
        """Say what was handed to the broker and acknowledged by it."""
        if self._as_json:
            self._object({"kind": type(message).__name__.lower(), "sent": True}, message)
            return
        self._line("sent", _said(message), "")

    def heard(self, opened: Opened) -> None:
        """Say what the site answered."""
        message = opened.message
        kind = type(message).__name__.lower()
        if self._as_json:
            self._object({"kind": kind, "verified": opened.verified}, message)
            return
        stage = getattr(message, "stage", None)
        style = "green" if stage in _GOOD else "red" if stage in _BAD else ""
        doubt = "" if opened.verified else "  (signature not checked: give --site-key)"
        self._line(stage.value if stage is not None else kind, _answered(message) + doubt, style)

    def doubtful(self, topic: str, why: str) -> None:
        """Say that something came that cannot be believed."""
        if self._as_json:
            typer.echo(json.dumps({"kind": "unreadable", "topic": topic, "detail": why}))
            return
        self._line("NOT BELIEVED", f"{topic}: {why}", "red")

    def _object(self, head: dict[str, object], message: Inward | Outward) -> None:
        typer.echo(json.dumps({**head, **msgspec.to_builtins(message)}, ensure_ascii=False))

    def _line(self, head: str, words: str, style: str) -> None:
        # Texts of the other side may carry terminal escapes: only what prints is printed.
        printable = "".join(letter if letter.isprintable() else "�" for letter in words)
        self._console.print(Text.assemble((f"{head:<16}", style or "bold"), " ", printable))


def _said(message: Inward) -> str:
    if isinstance(message, Heartbeat):
        in_force = ", ".join(f"{node} {number}" for node, number in message.setpoints.items())
        return f"heartbeat {message.sequence}" + (f"; setpoints {in_force}" if in_force else "")
    until = f"until {_time(message.valid_until)}"
    if isinstance(message, Setpoint):
        then = f"then {message.on_expiry.value} (sequence {message.sequence})"
        return f"setpoint of {message.node}: {_power(message.cap_w)} {until}, {then}"
    return f"order {message.id} for {message.node}: {_wanted(message)} {until}"


def _wanted(order: Order) -> str:
    if order.release is not None:
        return f"release {order.release}"
    if order.cap_w is not None:
        return f"at most {_power(order.cap_w)}"
    if order.curtail_by_w is not None:
        return f"curtail by {_power(order.curtail_by_w)}"
    return f"curtail by {order.curtail_percent:g} %"


def _answered(message: Outward) -> str:
    match message:
        case Receipt():
            return _about(message) + _parts(
                message.cap_w is not None and f"cap {_power(message.cap_w)}",
                message.valid_until is not None and f"until {_time(message.valid_until)}",
                message.deliverable_w is not None
                and f"can reach {_power(message.deliverable_w)} at {_time(message.deliverable_at)}",
                message.reason,
                message.alarm is not None and f"ALARM {message.alarm}",
                message.detail,
            )
        case Confirmation():
            return _about(message) + _parts(
                message.cap_w is not None and f"cap {_power(message.cap_w)}",
                message.measured_w is not None
                and f"measured {_power(message.measured_w)} at {message.meter or 'the meter'}",
                message.t90_s is not None and f"t90 {message.t90_s:.1f} s",
                message.shortfall_w is not None and f"short by {_power(message.shortfall_w)}",
                message.floor_w is not None and f"floor {_power(message.floor_w)}",
                message.delivered_wh is not None
                and f"delivered {message.delivered_wh / 1_000:.1f} kWh",
                message.detail,
            )
        case Status():
            return f"{message.site} is {message.state}" + _parts(
                message.mode,
                message.power_w is not None and f"mining {_power(message.power_w)}",
                message.cap_w is not None and f"cap {_power(message.cap_w)}",
                message.floor_w is not None and f"floor {_power(message.floor_w)}",
            )
        case _:
            return f"{message.severity} {message.kind}: {message.text}"


def _about(message: Receipt | Confirmation) -> str:
    of = message.of
    if of.order is not None:
        return f"order {of.order}"
    if of.node is not None:
        return f"setpoint {of.sequence} of {of.node}"
    return f"message on {of.topic}"


def _parts(*parts: str | bool | None) -> str:
    return "".join(f", {part}" for part in parts if part)


def _power(power_w: int) -> str:
    """Watts as people read them.

    >>> _power(0), _power(850_000), _power(4_000_000)
    ('0 W', '850.0 kW', '4.000 MW')
    """
    if abs(power_w) >= 1_000_000:
        return f"{power_w / 1_000_000:.3f} MW"
    return f"{power_w / 1_000:.1f} kW" if abs(power_w) >= 1_000 else f"{power_w} W"


def _time(instant: datetime | None) -> str:
    return "?" if instant is None else instant.strftime("%Y-%m-%d %H:%M:%SZ")
