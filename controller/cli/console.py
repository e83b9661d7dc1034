"""`naryn console`: the page of the site, until it is told to end."""

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import structlog
import typer
import uvloop

from controller import log
from controller.app.console import ConsoleError
from controller.app.console import run as run_console
from controller.cli.options import fail, load_site
from controller.config.load import SiteConfig

app = typer.Typer()


@app.command()
def console(
    site: Annotated[Path, typer.Argument(help="The site's configuration file.")] = Path(
        "site.toml"
    ),
    *,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log as JSON lines.")] = False,
) -> None:
    """Serve the page of the site at the address in its file. SIGTERM or Ctrl-C ends it."""
    config = load_site(site)
    log.configure(as_json=log_json)
    try:
        uvloop.run(_until_told(config))
    except ConsoleError as error:
        fail(str(error))


async def _until_told(config: SiteConfig) -> None:
    serving = asyncio.create_task(run_console(config))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    try:
        await serving
    except asyncio.CancelledError:
        structlog.get_logger().info("console_ended")
