"""`naryn dispatch`: the grid dispatcher's own command line."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

import typer

from controller.cli.dispatch_options import Options, fail, parse_duration_s, with_options
from controller.cli.dispatch_sequence import SequenceFileError, sent_under, take_sequence
from controller.cli.dispatch_session import beat, say
from controller.cli.dispatch_session import watch as watch_site
from controller.cli.dispatch_view import View
from controller.dispatch.message import Heartbeat, Order, Setpoint, decode, encode
from controller.dispatch.topics import heartbeat_topic, order_topic, setpoint_topic
from controller.power.state import OnExpiry, OrderClass

app = typer.Typer(help="Order, set and watch a site, as its grid dispatcher.", no_args_is_help=True)

RELEASE_VALID_S = 60.0
"""A release is judged within seconds or not at all."""


def _duration(name: str, words: str, default: str) -> Any:
    return typer.Option(
        name, parser=parse_duration_s, metavar="TIME", help=words, show_default=default
    )


Node = Annotated[str, typer.Option("--node", help="Which node of the site.")]
For = Annotated[float, _duration("--for", "How long it holds, e.g. 30m.", "15m")]
In = Annotated[float, _duration("--in", "It begins after, e.g. 30m.", "at once")]
Limit = Annotated[float | None, _duration("--for", "End after, e.g. 10m.", "never")]
Timeout = Annotated[float, _duration("--timeout", "Longest wait with --wait.", "2m")]
Wait = Annotated[
    bool, typer.Option("--wait", help="Wait for receipt and confirmation; status 1 if refused.")
]
Reason = Annotated[str, typer.Option("--reason", help="Words for the site's people.")]
Class = Annotated[OrderClass, typer.Option("--class", help="Who may give and release it.")]
Number = Annotated[
    str | None, typer.Option("--order-number", help="Of the legal order; a lockout needs it.")
]
Id = Annotated[str | None, typer.Option("--id", help="The order's id.", show_default="made up")]

M = TypeVar("M", Order, Setpoint)


@app.command()
@with_options(signing=True)
def order(  # noqa: PLR0913 - one parameter an option
    options: Options,
    *,
    node: Node,
    cap_w: Annotated[int | None, typer.Option("--cap-w", help="At most this many watts.")] = None,
    by_w: Annotated[int | None, typer.Option("--by-w", help="This many watts less.")] = None,
    percent: Annotated[float | None, typer.Option("--percent", help="This share less.")] = None,
    for_s: For = 900.0,
    in_s: In = 0.0,
    within_s: Annotated[
        float | None,
        _duration("--within", "Activation time asked for, e.g. 30s.", "the site's own"),
    ] = None,
    order_class: Class = OrderClass.DISPATCH,
    order_number: Number = None,
    order_id: Id = None,
    reason: Reason = "",
    wait: Wait = False,
    timeout_s: Timeout = 120.0,
) -> None:
    """Order less load at a node: exactly one of --cap-w, --by-w, --percent."""
    now = datetime.now(UTC)
    begin = now + timedelta(seconds=in_s)
    sequence = _sequence(options, order_topic(options.site), now)
    message = _checked(
        lambda: Order(
            id=order_id or f"{options.issuer}-{sequence}",
            issuer=options.issuer,
            site=options.site,
            sequence=sequence,
            node=node,
            issued_at=now,
            valid_from=begin,
            valid_until=begin + timedelta(seconds=for_s),
            order_class=order_class,
            cap_w=cap_w,
            curtail_by_w=by_w,
            curtail_percent=percent,
            reason=reason,
            order_number=order_number,
            within_s=within_s,
        )
    )
    _run(say(options, message, View(as_json=options.as_json), timeout_s if wait else None))


@app.command()
@with_options(signing=True)
def release(
    released: Annotated[str, typer.Argument(metavar="ORDER", help="Id of the order to end.")],
    options: Options,
    *,
    node: Node,
    order_class: Class = OrderClass.DISPATCH,
    order_number: Number = None,
    order_id: Id = None,
    reason: Reason = "",
    wait: Wait = False,
    timeout_s: Timeout = 120.0,
) -> None:
    """End an order. One of class emergency or lockout needs --key of two issuers."""
    now = datetime.now(UTC)
    sequence = _sequence(options, order_topic(options.site), now)
    message = _checked(
        lambda: Order(
            id=order_id or f"{options.issuer}-{sequence}",
            issuer=options.issuer,
            site=options.site,
            sequence=sequence,
            node=node,
            issued_at=now,
            valid_from=now,
            valid_until=now + timedelta(seconds=RELEASE_VALID_S),
            order_class=order_class,
            release=released,
            reason=reason,
            order_number=order_number,
        )
    )
    _run(say(options, message, View(as_json=options.as_json), timeout_s if wait else None))


@app.command()
@with_options(signing=True)
def setpoint(
    options: Options,
    *,
    node: Node,
    cap_w: Annotated[int, typer.Option("--cap-w", help="At most this many watts.")],
    for_s: For = 900.0,
    in_s: In = 0.0,
    on_expiry: Annotated[
        OnExpiry, typer.Option("--on-expiry", help="What the node does when it runs out.")
    ] = OnExpiry.HOLD,
    reason: Reason = "",
    wait: Wait = False,
    timeout_s: Timeout = 120.0,
) -> None:
    """Set the standing limit of a node; the broker keeps it for a site that is away."""
    now = datetime.now(UTC)
    begin = now + timedelta(seconds=in_s)
    end = begin + timedelta(seconds=for_s)
    sequence = _sequence(options, setpoint_topic(options.site, node), now, valid_until=end)
    message = _checked(
        lambda: Setpoint(
            issuer=options.issuer,
            site=options.site,
            sequence=sequence,
            node=node,
            issued_at=now,
            valid_from=begin,
            valid_until=end,
            cap_w=cap_w,
            on_expiry=on_expiry,
            reason=reason,
        )
    )
    _run(say(options, message, View(as_json=options.as_json), timeout_s if wait else None))


@app.command()
@with_options(signing=True)
def heartbeat(
    options: Options,
    *,
    every_s: Annotated[float, _duration("--every", "Time between two.", "5s")] = 5.0,
    for_s: Limit = None,
) -> None:
    """Keep telling the site that its dispatcher lives, and which setpoints of this key stand."""
    if every_s < 1.0:
        fail("--every: at least 1s; the site's timeout is longer than that")

    def make() -> Heartbeat:
        now = datetime.now(UTC)
        return Heartbeat(
            issuer=options.issuer,
            site=options.site,
            sequence=_sequence(options, heartbeat_topic(options.site), now),
            at=now,
            setpoints=_standing(options, now),
        )

    _run(beat(options, make, View(as_json=options.as_json), every_s, for_s), endless=for_s is None)


@app.command()
@with_options(signing=False)
def watch(options: Options, *, for_s: Limit = None) -> None:
    """Print receipts, confirmations, status and events; --site-key checks their signatures."""
    _run(watch_site(options, View(as_json=options.as_json), for_s), endless=for_s is None)


def _sequence(
    options: Options, topic: str, now: datetime, *, valid_until: datetime | None = None
) -> int:
    if options.sequence_file is None:
        fail("--key: give the key to sign with")
    try:
        return take_sequence(options.sequence_file, topic, now, valid_until=valid_until)
    except SequenceFileError as error:
        fail(str(error))


def _standing(options: Options, now: datetime) -> dict[str, int]:
    """Setpoints that were sent under this key and have not run out, by node."""
    if options.sequence_file is None:
        return {}
    sent = sent_under(options.sequence_file, setpoint_topic(options.site, ""))
    return {
        node: last.sequence
        for node, last in sent.items()
        if last.valid_until is not None and last.valid_until > now
    }


def _checked(make: Callable[[], M]) -> M:
    """Build a message and read it back as the site will, so that a slip is named here."""
    try:
        message = make()
        return decode(encode(message), type(message))
    except ValueError as error:
        fail(f"not sent: {error}")


def _run(talk: Coroutine[Any, Any, int | None], *, endless: bool = False) -> None:
    """Run to the end; Ctrl-C ends an endless command well."""
    try:
        status = asyncio.run(talk)
    except KeyboardInterrupt:
        raise typer.Exit(0 if endless else 130) from None
    raise typer.Exit(status or 0)
