"""The `naryn` command finds every command, and loads no module that is not asked for."""

import subprocess
import sys
from importlib import import_module

import pytest
import typer

from controller.cli.main import _COMMANDS, _GROUPS, app


def test_every_command_of_a_module_can_be_called():
    known = typer.main.get_command(app).commands
    for place in {*_COMMANDS.values(), *_GROUPS.values()}:
        module, _, attribute = place.rpartition(".")
        group = typer.main.get_group(getattr(import_module(f"controller.cli.{module}"), attribute))
        if place in _GROUPS.values():
            name = next(name for name, where in _GROUPS.items() if where == place)
            assert set(known[name].commands) == set(group.commands)
        else:
            here = {name for name, where in _COMMANDS.items() if where == place}
            assert here == set(group.commands)


@pytest.mark.parametrize(
    ("words", "foreign"),
    [
        (["status", "--help"], ["fastapi", "sqlalchemy", "bdkpython", "simulators", "pymodbus"]),
        (["console", "--help"], ["sqlalchemy", "bdkpython", "simulators", "pymodbus", "pyasic"]),
        (["--version"], ["rich.live", "pydantic", "controller.config"]),
    ],
)
def test_a_command_loads_only_what_it_needs(words, foreign):
    code = (
        "import sys; from controller.cli.main import app\n"
        f"try: app({words!r})\n"
        "except SystemExit: pass\n"
        f"print([name for name in {foreign!r} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"
