"""`naryn scenario run NAME`: one process, in-memory transports, a virtual clock, one seed."""

import json as jsonlib
import logging
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, TextIO

import structlog
import typer
from rich.console import Console

from controller.cli.options import fail
from controller.cli.scenario.judge import Row
from controller.cli.scenario.play import Script, play, site_of
from controller.cli.scenario.virtual_time import run_virtual
from controller.config.problems import ConfigError
from controller.log import LineLogger
from simulators.scenario_file import ScenarioError, load_scenario, scenario_path
from simulators.services.dispatcher.play import EventError

app = typer.Typer(no_args_is_help=True, help="A whole site and its world on a virtual clock.")


@app.command()
def run(
    name: Annotated[str, typer.Argument(help="A shipped scenario, or a .toml file.")],
    *,
    seed: Annotated[int | None, typer.Option(help="Instead of the scenario's own.")] = None,
    for_s: Annotated[
        float | None, typer.Option("--for-s", min=1, help="Seconds to play, after the warm-up.")
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(help="Write the site and the world's truth to FILE, a JSON line a second."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Play a scenario. The same seed gives the same numbers, byte for byte."""
    try:
        path = scenario_path(name)
        scenario = load_scenario(path)
        script = Script(
            scenario=scenario,
            site=site_of(path, scenario),
            seed=seed if seed is not None else scenario.seed,
            seconds=for_s if for_s is not None else scenario.duration_s,
        )
    except (ScenarioError, OSError, ValueError) as error:
        fail(str(error), 2)
    logger = LineLogger(sys.stderr)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=lambda *_: logger,
    )
    with ExitStack() as stack:
        try:
            writer = None
            if trace is not None:
                writer = _writer(stack.enter_context(trace.open("w", encoding="utf-8")))
            result = run_virtual(play(script, writer))
        except (ConfigError, EventError) as error:
            fail(str(error), 2)
        except OSError as error:
            fail(f"{trace}: cannot be written: {error.strerror}; name another --trace FILE", 2)
    if json:
        print(jsonlib.dumps(result, ensure_ascii=False, sort_keys=True))
    else:
        Console().print_json(data=result)
    raise typer.Exit(1 if result["missed"] else 0)


def _writer(file: TextIO) -> Callable[[Row], None]:
    """Write rows as they come, each a line."""

    def write(row: Row) -> None:
        file.write(jsonlib.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")

    return write
