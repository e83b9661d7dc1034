"""What an operator does to a running site: arm, disarm, limit a node, lock out a miner."""

from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from controller.channel.view import (
    Act,
    Arm,
    CapNode,
    Disarm,
    Done,
    ListMiners,
    MinerLine,
    MinersPage,
    Tag,
    UncapNode,
    Untag,
)
from controller.cli.options import (
    SITE_FILE,
    JsonOption,
    SiteOption,
    ask,
    load_site,
    login_name,
    run_async,
)
from controller.cli.screen import plain, power
from controller.config.load import SiteConfig

app = typer.Typer()

_PAGE = 500

Reason = Annotated[str, typer.Option(help="Why; others will read it.")]


def _do(config: SiteConfig, act: Act) -> None:
    answer = run_async(ask(config, act))
    if isinstance(answer, Done):
        print(answer.detail)


@app.command()
def arm(
    feeder: str,
    site: SiteOption = SITE_FILE,
    *,
    without_watchdog: Annotated[
        bool, typer.Option("--without-watchdog", help="Arm although nothing watches the site.")
    ] = False,
) -> None:
    """Command a feeder's miners from now on, after a witnessed test."""
    act = Arm(node_id=feeder, without_watchdog=without_watchdog, by=login_name())
    _do(load_site(site), act)


@app.command()
def disarm(feeder: str, site: SiteOption = SITE_FILE) -> None:
    """Only observe a feeder's miners from now on."""
    _do(load_site(site), Disarm(node_id=feeder, by=login_name()))


@app.command()
def cap(
    node: str,
    cap_kw: Annotated[float, typer.Argument(min=0, help="The limit, in kW.")],
    reason: Reason,
    site: SiteOption = SITE_FILE,
) -> None:
    """Limit the mining load of a node until `naryn uncap`."""
    act = CapNode(node_id=node, cap_w=cap_kw * 1000, reason=reason, by=login_name())
    _do(load_site(site), act)


@app.command()
def uncap(node: str, site: SiteOption = SITE_FILE) -> None:
    """Lift the operator's own limit of a node."""
    _do(load_site(site), UncapNode(node_id=node, by=login_name()))


@app.command()
def tag(miner: str, reason: Reason, site: SiteOption = SITE_FILE) -> None:
    """Lock a miner out: a person works on it, so it is never commanded."""
    _do(load_site(site), Tag(miner_id=miner, reason=reason, by=login_name()))


@app.command()
def untag(miner: str, site: SiteOption = SITE_FILE) -> None:
    """Take a miner's lock-out off."""
    _do(load_site(site), Untag(miner_id=miner, by=login_name()))


@app.command()
def miners(
    site: SiteOption = SITE_FILE,
    *,
    state: Annotated[
        str | None, typer.Option(help="Only those running, curtailed, deaf, stuck, …")
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the miners and what each is doing."""
    config, total = load_site(site), 1
    found: list[MinerLine] = []
    while len(found) < total:
        act = ListMiners(offset=len(found), limit=_PAGE, state=state, by=login_name())
        page = run_async(ask(config, act))
        if not isinstance(page, MinersPage) or not page.miners:
            break
        found, total = found + page.miners, page.total
    if json:
        print(msgspec.json.encode(found).decode())
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in (
        "miner",
        "host",
        "firmware",
        "model",
        "node",
        "state",
        "power",
        "hashrate",
        "age",
        "",
    ):
        table.add_column(name)
    for line in found:
        about = power(line.power_w) + (" est." if line.estimated and line.power_w else "")
        table.add_row(
            line.miner_id,
            line.host,
            line.firmware,
            line.model,
            line.node_id,
            "unreachable" if line.unreachable else line.state,
            about,
            "—" if line.hashrate_ths is None else f"{line.hashrate_ths:.1f} TH/s",
            "—" if line.age_s is None else f"{line.age_s:.0f} s",
            plain(line.tag or line.why),
        )
    Console(markup=False).print(table)
