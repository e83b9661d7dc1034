"""Entry of the `naryn` command: mounts the command groups."""

from importlib.metadata import version
from typing import Annotated

import typer

app = typer.Typer(
    name="naryn",
    help="Runs state bitcoin mining at hydropower plants.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"naryn {version('naryn')}")
        raise typer.Exit


@app.callback()
def naryn(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Naryn holds the mining load of a hydropower plant under every limit of the grid."""


def main() -> None:
    """Console script."""
    app()
