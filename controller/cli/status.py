"""`naryn status` and `naryn top`: the running site in a terminal."""

from zoneinfo import ZoneInfo

import msgspec
import typer
from rich.console import Console
from rich.live import Live

from controller.channel.client import connect
from controller.channel.frames import ChannelError
from controller.channel.view import SiteImage
from controller.cli.options import (
    SITE_FILE,
    JsonOption,
    SiteOption,
    load_site,
    one_image,
    run_async,
)
from controller.cli.screen import render
from controller.config.load import SiteConfig

app = typer.Typer()


@app.command()
def status(site: SiteOption = SITE_FILE, *, json: JsonOption = False) -> None:
    """Show the running site once."""
    config = load_site(site)
    image = run_async(one_image(config))
    if json:
        print(msgspec.json.format(msgspec.json.encode(image), indent=2).decode())
        return
    Console().print(render(image, ZoneInfo(config.file.site.timezone)))


@app.command()
def top(site: SiteOption = SITE_FILE) -> None:
    """Watch the running site; Ctrl-C ends."""
    run_async(_watch(load_site(site)))


async def _watch(config: SiteConfig) -> None:
    zone = ZoneInfo(config.file.site.timezone)
    with Live(screen=True, auto_refresh=False) as live:
        async with connect(config.channel_path) as client:
            async for body in client.images():
                image = msgspec.msgpack.decode(body, type=SiteImage)
                live.update(render(image, zone), refresh=True)
    raise ChannelError("the site closed the channel: `naryn run` has ended")
