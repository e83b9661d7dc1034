"""`naryn run`: the site itself, until it is told to end. And `naryn config check`."""

import asyncio
import resource
import signal
from pathlib import Path
from typing import Annotated

import structlog
import typer
import uvloop

from controller import log
from controller.app.site import check_site
from controller.app.site import run as run_site
from controller.channel.folder import PrivateFolderError
from controller.channel.frames import ChannelError
from controller.cli.options import fail, load_site
from controller.config.load import SiteConfig
from controller.config.problems import ConfigError
from controller.site.journal_schema import JournalError
from controller.site.lock import SiteLockError
from drivers.contract.errors import DeviceError

app = typer.Typer()
config_app = typer.Typer(no_args_is_help=True, help="The site's configuration file.")

SiteArgument = Annotated[Path, typer.Argument(help="The site's configuration file.")]


@app.command()
def run(
    site: SiteArgument = Path("site.toml"),
    *,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log as JSON lines.")] = False,
) -> None:
    """Run a site: poll, decide, command, obey the dispatcher. SIGTERM or Ctrl-C ends it."""
    config = load_site(site)
    log.configure(as_json=log_json)
    _allow_connections()
    try:
        uvloop.run(_until_told(config))
    except ConfigError as error:
        fail(str(error), 2)
    except (SiteLockError, JournalError, ChannelError, PrivateFolderError, DeviceError) as error:
        fail(str(error))


def _allow_connections() -> None:
    """Raise the soft limit of open files to the hard one: a curtailment opens a connection to every
    miner at once, and the usual soft limit is 1024.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _until_told(config: SiteConfig) -> None:
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    site = asyncio.create_task(run_site(config))
    waiting = asyncio.create_task(told.wait())
    await asyncio.wait({site, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not site.done():
        site.cancel()
    try:
        await site
    except asyncio.CancelledError:
        structlog.get_logger().info("site_ended")
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from group


@config_app.command()
def check(site: SiteArgument = Path("site.toml")) -> None:
    """Check a configuration, its keys, passwords and maps; exit status 2 with every problem."""
    config = load_site(site)
    try:
        check_site(config)
    except ConfigError as error:
        fail(str(error), 2)
    print(f"{config.path}: in order")
    for node in config.file.node:
        meter = f", meter {node.meter}" if node.meter else ""
        print(f"  {node.kind} {node.id}: {node.rating_kw:g} kW{meter}")
