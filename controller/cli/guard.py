"""`naryn guard`: the second process, and the person who holds it and who ends its latch."""

import asyncio
import getpass
import resource
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec
import structlog
import typer
import uvloop

from controller import log
from controller.app.guard import guard_section
from controller.app.guard import run as run_guard
from controller.channel.client import connect
from controller.channel.frames import ChannelError
from controller.channel.guard import (
    EndHold,
    GuardAsk,
    GuardImage,
    Look,
    Release,
    TakeHold,
)
from controller.cli.options import fail, load_site
from controller.config.load import SiteConfig
from controller.config.problems import ConfigError
from controller.dispatch.secret_files import SecretFileError, read_secret
from controller.guard.hold import HOLD_S_MAX, Hold, sealed
from controller.guard.store import StoreError
from controller.signing import KeyFormatError, parse_private_key

app = typer.Typer(
    no_args_is_help=True,
    help="The second process: puts the fleet to sleep when `naryn run` falls silent.",
)

SiteArgument = Annotated[
    Path, typer.Argument(envvar="NARYN_SITE", help="The site's configuration file.")
]
_ANSWER_S = 5.0


@app.command()
def run(
    site: SiteArgument = Path("site.toml"),
    *,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log as JSON lines.")] = False,
) -> None:
    """Watch over `naryn run` of this site. SIGTERM or Ctrl-C ends it."""
    config = load_site(site)
    log.configure(as_json=log_json)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        uvloop.run(_until_told(config))
    except ConfigError as error:
        fail(str(error), 2)
    except (StoreError, ChannelError) as error:
        fail(str(error))


@app.command()
def status(
    site: SiteArgument = Path("site.toml"),
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what the guard knows; exit status 1 while it is latched or has an alarm."""
    config = load_site(site)
    image = _asked(config, Look(site_id=config.file.site.id))
    if as_json:
        print(msgspec.json.encode(image).decode())
    else:
        print("\n".join(_lines(image)))
    if image.latch is not None or image.alarms:
        raise typer.Exit(1)


@app.command()
def release(site: SiteArgument = Path("site.toml")) -> None:
    """End the latch: the controller may wake the miners again. It must be running."""
    config = load_site(site)
    _asked(config, Release(site_id=config.file.site.id, by=getpass.getuser()))
    print("released; `naryn run` brings the load back by its ramp")


@app.command()
def hold(
    site: SiteArgument = Path("site.toml"),
    *,
    minutes: Annotated[
        int | None, typer.Option(min=1, max=int(HOLD_S_MAX // 60), help="How long at most.")
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(help="Private key to sign with, whose public half is a [[guard.hold_key]]."),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for whoever looks.")] = "",
    end: Annotated[bool, typer.Option("--end", help="End the hold in force; no key.")] = False,
) -> None:
    """Keep the guard from tripping while `naryn run` is updated; the hold ends by itself."""
    config = load_site(site)
    site_id, by = config.file.site.id, getpass.getuser()
    if end and minutes is None and key is None:
        _asked(config, EndHold(site_id=site_id, by=by))
        print("the hold has ended; a silent controller trips the guard")
        return
    if end or minutes is None or key is None:
        fail("name both --minutes and --key to hold, or --end alone", 2)
    now = datetime.now(UTC)
    until = now + timedelta(minutes=minutes)
    asked = Hold(site=site_id, from_at=now, until_at=until, reason=reason, by=by)
    try:
        envelope = sealed(asked, parse_private_key(read_secret(key)))
    except SecretFileError as error:
        fail(str(error), 2)
    except KeyFormatError as error:
        fail(f"{key}: {error}", 2)
    _asked(config, TakeHold(site_id=site_id, envelope=envelope))
    print(f"held until {until:%H:%M:%S} UTC; `naryn guard hold --end` ends it earlier")


def _asked(config: SiteConfig, question: GuardAsk) -> GuardImage:
    async def ask() -> bytes:
        async with connect(config.guard_path, "naryn guard run") as client:
            return await client.request(msgspec.msgpack.encode(question), _ANSWER_S)

    try:
        guard_section(config)
        return msgspec.msgpack.decode(asyncio.run(ask()), type=GuardImage)
    except ConfigError as error:
        fail(str(error), 2)
    except (ChannelError, msgspec.MsgspecError) as error:
        fail(str(error))


def _lines(image: GuardImage) -> list[str]:
    heard = "never" if image.heard_ago_s is None else f"{image.heard_ago_s:.1f} s ago"
    lines = [f"controller  heard {heard}; trips after {image.silence_max_s:g} s of silence"]
    if image.latch is None:
        lines.append("latch       open")
    else:
        lines.append(
            f"latch       TRIPPED {image.latch.tripped_at:%Y-%m-%d %H:%M:%S} UTC at "
            f"{image.latch.start_w / 1000:.1f} kW; "
            f"may stand now: {image.latch.limit_w / 1000:.1f} kW"
        )
    if image.hold is not None:
        lines.append(
            f"hold        until {image.hold.until_at:%H:%M:%S} UTC, {image.hold.ends_in_s:.0f} s "
            f"left, by {image.hold.by} ({image.hold.issuer}): {image.hold.reason or 'no reason'}"
        )
    load = "unknown" if image.load_w is None else f"{image.load_w / 1000:.1f} kW"
    age = "" if image.ladder_age_s is None else f", {image.ladder_age_s:.0f} s old"
    lines.append(f"ladder      {image.entries} miners, {load}{age}; {image.ready} prepared")
    lines.append(
        f"shed        {image.asleep} asleep, {image.under_way} under way, {image.failed} failed"
    )
    lines.append(f"curtailed   {image.curtailed} for the controller, {image.curtailing} under way")
    if image.relay is not None:
        took = image.relay.took_ago_s
        ago = "no beat yet" if took is None else f"took a beat {took:.1f} s ago"
        still = "" if image.relay.still is None else f"; STILL: {image.relay.still}"
        lines.append(f"relay       {ago}{still}")
    return [*lines, *(f"ALARM       {alarm}" for alarm in image.alarms)]


async def _until_told(config: SiteConfig) -> None:
    guarding = asyncio.create_task(run_guard(config))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, guarding.cancel)
    try:
        await guarding
    except asyncio.CancelledError:
        structlog.get_logger().info("guard_ended")
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from group
