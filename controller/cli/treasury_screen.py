"""The treasury in a terminal: its image as tables, and the book as text."""

from datetime import datetime

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from controller.channel.treasury import TreasuryImage
from controller.channel.treasury_acts import LedgerPage
from controller.money.amounts import btc_text
from controller.money.sweep import FINAL_CONFIRMATIONS

_EVENTS_SHOWN = 8


def render_image(image: TreasuryImage) -> None:
    """Print the treasury at one moment."""
    console = Console()
    console.print(Text(f"{image.name or image.treasury_id}  {_time(image.at)}", style="bold"))
    console.print(Text(_chain(image)))
    console.print(Text(_money(image)))
    if image.sweeps:
        console.print(_sweeps(image))
    for sweep in image.sweeps:
        if sweep.reason:
            console.print(Text(f"sweep {sweep.sweep_id}: {sweep.reason}"))
    if image.pools:
        console.print(_pools(image))
    for pool in image.pools:
        if pool.error:
            console.print(Text(f"pool {pool.pool_id}: {pool.error}"))
    for alarm in image.alarms:
        style = "bold red" if alarm.severity == "critical" else "yellow"
        console.print(Text(f"{alarm.severity.upper()} {alarm.alarm_id}: {alarm.detail}", style))
        console.print(Text(f"  {alarm.meaning}\n  to do: {alarm.mend}"))
    for event in image.events[:_EVENTS_SHOWN]:
        console.print(Text(f"{_time(event.at)}  {event.text}", style="dim"))


def _chain(image: TreasuryImage) -> str:
    chain = image.chain
    if chain.error is not None:
        return f"chain      {chain.network}: not usable: {chain.error}"
    height = "–" if chain.height is None else chain.height
    age = "" if chain.tip_age_s is None else f", the newest block is {chain.tip_age_s:.0f} s old"
    return f"chain      {chain.network}, block {height}{age}"


def _money(image: TreasuryImage) -> str:
    reserve, collection = image.reserve, image.collection
    if reserve.chain_sat is None:
        proof = "not compared with the chain at this balance yet"
    else:
        same = "equal to" if reserve.chain_sat == reserve.ledger_sat else "NOT EQUAL TO"
        proof = (
            f"{same} the chain's {btc_text(reserve.chain_sat)} at block {reserve.checked_height}"
        )
    final = btc_text(reserve.final_sat)
    return (
        f"reserve    {btc_text(reserve.ledger_sat)} BTC, {final} of it final; {proof}\n"
        f"collection {btc_text(collection.mature_sat)} BTC mature, "
        f"{btc_text(collection.maturing_sat)} maturing, {collection.coins} coins"
    )


def _sweeps(image: TreasuryImage) -> Table:
    table = _table("sweep", "stage", "coins", "BTC", "fee sat", "conf.", "txid")
    for sweep in image.sweeps:
        table.add_row(
            Text(f"{sweep.sweep_id}-{sweep.attempt}"),
            sweep.stage,
            str(sweep.inputs),
            btc_text(sweep.amount_sat),
            str(sweep.fee_sat),
            f"{min(sweep.confirmations, FINAL_CONFIRMATIONS)}/{FINAL_CONFIRMATIONS}",
            Text(sweep.txid[:8]),
        )
    return table


def _table(*heads: str) -> Table:
    """A table whose figures are never cut, and which fits 80 columns."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for head in heads:
        table.add_column(head, no_wrap=True, overflow="fold")
    return table


def _pools(image: TreasuryImage) -> Table:
    table = _table("pool", "earned BTC", "paid BTC", "received BTC", "last paid")
    for pool in image.pools:
        table.add_row(
            pool.pool_id,
            "–" if pool.earned_sat is None else btc_text(pool.earned_sat),
            "–" if pool.paid_sat is None else btc_text(pool.paid_sat),
            btc_text(pool.received_sat),
            "–" if pool.last_paid_at is None else f"{pool.last_paid_at:%m-%d %H:%M} UTC",
        )
    return table


def render_ledger(book: LedgerPage) -> None:
    """Print the book, one entry a paragraph, amounts in satoshis."""
    for entry in book.entries:
        kind = f"reversal of {entry.kind}" if entry.is_reversal else entry.kind
        print(f"{entry.seq} {_time(entry.at)} block {entry.height} {kind} {entry.txid}")
        for line in entry.postings:
            print(f"    {line.account:<20} {line.amount_sat:>+20} {line.coin}".rstrip())
    print(f"balances at block {'–' if book.height is None else book.height}, in satoshis")
    for account, sat in book.balances.items():
        print(f"    {account:<20} {sat:>20}")


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
