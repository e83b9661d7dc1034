"""`naryn guard run|status|release`: the second process, and the person who ends its latch."""

import asyncio
import getpass
import resource
import signal
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
from controller.channel.guard import GuardAsk, GuardImage, Look, Release
from controller.cli.options import fail, load_site
from controller.config.load import SiteConfig
from controller.config.problems import ConfigError
from controller.guard.store import StoreError

app = typer.Typer(
    no_args_is_help=True,
    help="The second process: puts the fleet to sleep when `naryn run` falls silent.",
)

SiteArgument = Annotated[Path, typer.Argument(help="The site's configuration file.")]
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
    load = "unknown" if image.load_w is None else f"{image.load_w / 1000:.1f} kW"
    age = "" if image.ladder_age_s is None else f", {image.ladder_age_s:.0f} s old"
    lines.append(f"ladder      {image.entries} miners, {load}{age}; {image.ready} prepared")
    lines.append(
        f"shed        {image.asleep} asleep, {image.under_way} under way, {image.failed} failed"
    )
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
