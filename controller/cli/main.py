"""Entry of the `naryn` command: finds each command's module, and loads no other.

All of them together take seconds to load; somebody who asks for the status waits for that alone.
"""

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

_COMMANDS = {
    "run": "run.app",
    "status": "status.app",
    "top": "status.app",
    "console": "console.app",
    "arm": "acts.app",
    "disarm": "acts.app",
    "cap": "acts.app",
    "uncap": "acts.app",
    "tag": "acts.app",
    "untag": "acts.app",
    "miners": "acts.app",
    "demo": "demo.command.app",
}
"""Command → where it stands, below this package."""
_GROUPS = {
    "inventory": "inventory.app",
    "dispatch": "dispatch.app",
    "keys": "keys.app",
    "treasury": "treasury.app",
    "telemetry": "telemetry.app",
    "bench": "bench.command.app",
    "scenario": "scenario.command.app",
    "config": "run.config_app",
    "guard": "guard.app",
}
"""Group of commands → the same."""


class _OnDemand(MutableMapping[str, Any]):
    """The commands by name; one is loaded when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        place = _COMMANDS.get(name) or _GROUPS[name]
        module, _, attribute = place.rpartition(".")
        found = getattr(import_module(f"controller.cli.{module}"), attribute)
        group: Any = typer.main.get_group(found)
        if name in _COMMANDS:
            return group.commands[name]
        group.name = name
        return group

    def __iter__(self) -> Iterator[str]:
        yield from (*_COMMANDS, *_GROUPS)

    def __len__(self) -> int:
        return len(_COMMANDS) + len(_GROUPS)

    def __contains__(self, name: object) -> bool:
        return name in _COMMANDS or name in _GROUPS

    def __setitem__(self, name: str, command: Any) -> None:
        raise TypeError("the commands stand in a table")

    def __delitem__(self, name: str) -> None:
        raise TypeError("the commands stand in a table")


class _Commands(TyperGroup):
    """The `naryn` command itself."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _OnDemand()


app = typer.Typer(
    name="naryn",
    cls=_Commands,
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


if __name__ == "__main__":
    main()
