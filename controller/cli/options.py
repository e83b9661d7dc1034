"""What several commands share: which site, how to fail, how to reach a running site."""

import asyncio
import getpass
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import msgspec
import typer

from controller.channel.client import connect
from controller.channel.frames import ChannelError
from controller.channel.view import Act, Answer, SiteImage
from controller.config.load import SiteConfig, load
from controller.config.problems import ConfigError

T = TypeVar("T")

SiteOption = Annotated[
    Path,
    typer.Option("--site", "-s", envvar="NARYN_SITE", help="The site's configuration file."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
SITE_FILE = Path("site.toml")

_REQUEST_S = 10.0


def fail(sentence: str, status: int = 1) -> NoReturn:
    """End the command with a sentence on standard error."""
    print(sentence, file=sys.stderr)
    raise typer.Exit(status)


def load_site(path: Path) -> SiteConfig:
    """Load the configuration, or end with every problem and status 2."""
    try:
        return load(path)
    except ConfigError as error:
        fail(str(error), 2)


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine; what the channel refuses becomes a sentence and status 1."""
    try:
        return asyncio.run(work)
    except ChannelError as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


async def ask(config: SiteConfig, act: Act) -> Answer:
    """Ask the running site for one act. Raises ChannelError with its refusal."""
    async with connect(config.channel_path) as client:
        reply = await client.request(msgspec.msgpack.encode(act), _REQUEST_S)
    answer: Answer = msgspec.msgpack.decode(reply, type=Answer)
    return answer


async def one_image(config: SiteConfig) -> SiteImage:
    """The running site's next image."""
    async with connect(config.channel_path) as client:
        async for body in client.images():
            return msgspec.msgpack.decode(body, type=SiteImage)
    raise ChannelError("the site closed the channel before it showed anything")


def login_name() -> str:
    """Who asks, for the site's log."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
