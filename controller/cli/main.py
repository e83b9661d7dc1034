"""Entry of the `naryn` command: mounts the command groups."""

from importlib.metadata import version
from typing import Annotated

import typer

from controller.cli import acts, dispatch, inventory, keys, status, telemetry, treasury
from controller.cli import console as console_group
from controller.cli import run as run_group
from controller.cli.bench import command as bench
from controller.cli.demo import command as demo
from controller.cli.scenario import command as scenario

app = typer.Typer(
    name="naryn",
    help="Runs state bitcoin mining at hydropower plants.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(run_group.app)
app.add_typer(status.app)
app.add_typer(console_group.app)
app.add_typer(acts.app)
app.add_typer(inventory.app, name="inventory")
app.add_typer(dispatch.app, name="dispatch")
app.add_typer(keys.app, name="keys")
app.add_typer(treasury.app, name="treasury")
app.add_typer(demo.app)
app.add_typer(bench.app, name="bench")
app.add_typer(scenario.app, name="scenario")
app.add_typer(run_group.config_app, name="config")
app.add_typer(telemetry.app, name="telemetry")


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


if __name__ == "__main__":
    main()
