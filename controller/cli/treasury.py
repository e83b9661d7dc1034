"""`naryn treasury …`: the treasury itself, and what people ask it."""

import asyncio
import signal
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import structlog
import typer
import uvloop

from controller import log
from controller.app.treasury import read_wallets, treasury_channel_path
from controller.app.treasury import run as run_treasury
from controller.channel.client import connect
from controller.channel.frames import ChannelError
from controller.channel.treasury import TreasuryImage
from controller.channel.treasury_acts import (
    AbandonSweep,
    Acknowledge,
    EntryLine,
    GiveAddress,
    GivenAddress,
    LedgerPage,
    ReadLedger,
    RetrySweep,
    TreasuryAct,
    TreasuryDone,
)
from controller.cli.options import JsonOption, fail, login_name, run_async
from controller.cli.treasury_screen import render_image, render_ledger
from controller.config.problems import ConfigError
from controller.config.treasury import TreasuryConfig, load_treasury
from controller.money.facts import Wallet
from controller.money.ledger import LedgerError
from controller.treasury.database import DatabaseError

app = typer.Typer(no_args_is_help=True, help="The treasury: what was mined, booked and swept.")

FileArgument = Annotated[Path, typer.Argument(help="The treasury's configuration file.")]
FileOption = Annotated[
    Path,
    typer.Option(
        "--treasury", "-t", envvar="NARYN_TREASURY", help="The treasury's configuration file."
    ),
]
TREASURY_FILE = Path("treasury.toml")
_SERVER = "naryn treasury run"
_REQUEST_S = 30.0
_SHOWN = 3

T = TypeVar("T")


@app.command()
def run(
    treasury: FileArgument = TREASURY_FILE,
    *,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log as JSON lines.")] = False,
) -> None:
    """Run the treasury: follow the chain, book, sweep, reconcile. SIGTERM or Ctrl-C ends it."""
    config = _load(treasury)
    log.configure(as_json=log_json)
    try:
        uvloop.run(_until_told(config))
    except ConfigError as error:
        fail(str(error), 2)
    except LedgerError as error:
        fail(
            f"{config.state_dir / 'treasury.db'}: the book does not hold: {error}; put back the "
            "last backup, or move the file away: the book is read from the chain again"
        )
    except (DatabaseError, ChannelError) as error:
        fail(str(error))


async def _until_told(config: TreasuryConfig) -> None:
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    running = asyncio.create_task(run_treasury(config))
    waiting = asyncio.create_task(told.wait())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not running.done():
        running.cancel()
    try:
        await running
    except asyncio.CancelledError:
        structlog.get_logger().info("treasury_ended")
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from group


@app.command()
def check(treasury: FileArgument = TREASURY_FILE) -> None:
    """Check a configuration and its descriptors; exit status 2 with every problem.

    Asks nobody: the first addresses are for comparing with the wallets that made the descriptors.
    """
    config = _load(treasury)
    try:
        wallets = read_wallets(config)
    except ConfigError as error:
        fail(str(error), 2)
    print(f"{config.path}: in order, network {config.file.node.network}")
    for wallet in (Wallet.COLLECTION, Wallet.RESERVE):
        watched = wallets[wallet]
        print(f"  {wallet}: {watched.addresses} addresses watched")
        print(f'    sha256 = "{watched.sha256}"')
        for index in range(min(_SHOWN, watched.addresses)):
            print(f"    {index}: {watched.address(index)}")
    if config.file.sweep is None:
        print("  no [sweep]: watch and book only")
    for pool in config.file.pool:
        print(f"  pool {pool.id}: {len(pool.addresses)} addresses, each from a descriptor above")


@app.command()
def status(treasury: FileOption = TREASURY_FILE, *, json: JsonOption = False) -> None:
    """Show the running treasury once."""
    image = run_async(_one_image(_load(treasury)))
    if json:
        print(msgspec.json.format(msgspec.json.encode(image), indent=2).decode())
        return
    render_image(image)


@app.command()
def address(
    purpose: Annotated[str, typer.Argument(help="What it is for, one word: the pool's id.")],
    treasury: FileOption = TREASURY_FILE,
    *,
    wallet: Annotated[Wallet, typer.Option(help="Whose address.")] = Wallet.RESERVE,
    json: JsonOption = False,
) -> None:
    """Give a fresh address to a pool; the same purpose is given the same address again."""
    act = GiveAddress(by=login_name(), wallet=wallet, purpose=purpose)
    given = _ask(_load(treasury), act, GivenAddress)
    if json:
        print(msgspec.json.encode(given).decode())
    else:
        print(f"{given.address}  ({given.wallet} {given.index}, for {given.purpose})")


@app.command()
def ledger(treasury: FileOption = TREASURY_FILE, *, json: JsonOption = False) -> None:
    """Print the whole book: every posting, reversals too, and the balances."""
    config = _load(treasury)
    entries: list[EntryLine] = []
    while True:
        after = entries[-1].seq if entries else 0
        page = _ask(config, ReadLedger(by=login_name(), after=after), LedgerPage)
        entries += page.entries
        if not page.entries:
            break
    whole = LedgerPage(entries=entries, balances=page.balances, height=page.height)
    if json:
        print(msgspec.json.encode(whole).decode())
    else:
        render_ledger(whole)


SweepArgument = Annotated[str, typer.Argument(help="The sweep's id.")]


@app.command()
def retry(sweep_id: SweepArgument, treasury: FileOption = TREASURY_FILE) -> None:
    """Make a new attempt of a blocked sweep: the same coins, the same destination."""
    act = RetrySweep(by=login_name(), sweep_id=sweep_id)
    print(_ask(_load(treasury), act, TreasuryDone).detail)


@app.command()
def abandon(sweep_id: SweepArgument, treasury: FileOption = TREASURY_FILE) -> None:
    """Give up a proposed, blocked or stuck sweep; its coins may be swept by another."""
    act = AbandonSweep(by=login_name(), sweep_id=sweep_id)
    print(_ask(_load(treasury), act, TreasuryDone).detail)


@app.command()
def acknowledge(treasury: FileOption = TREASURY_FILE) -> None:
    """Say that every foreign spend until now was seen; sweeps may be proposed again."""
    print(_ask(_load(treasury), Acknowledge(by=login_name()), TreasuryDone).detail)


def _load(path: Path) -> TreasuryConfig:
    try:
        return load_treasury(path)
    except ConfigError as error:
        fail(str(error), 2)


def _ask(config: TreasuryConfig, act: TreasuryAct, form: type[T]) -> T:
    async def asked() -> bytes:
        async with connect(treasury_channel_path(config.state_dir), _SERVER) as client:
            return await client.request(msgspec.msgpack.encode(act), _REQUEST_S)

    return msgspec.msgpack.decode(run_async(asked()), type=form)


async def _one_image(config: TreasuryConfig) -> TreasuryImage:
    async with connect(treasury_channel_path(config.state_dir), _SERVER) as client:
        async with asyncio.timeout(_REQUEST_S):
            async for body in client.images():
                return msgspec.msgpack.decode(body, type=TreasuryImage)
    raise ChannelError("the treasury closed the channel before it showed anything")
