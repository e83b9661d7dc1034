"""`python -m simulators serve|inventory SCENARIO`: the simulated plant as a process of its own."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from simulators.devices.listener import DEFAULT_PORTS
from simulators.inventory import write_inventory
from simulators.scenario_file import ScenarioError, load_scenario, scenario_path
from simulators.serve import serve

PORT_NAMES = tuple(DEFAULT_PORTS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status: 0, 1 (cannot serve), 2 (wrong usage or scenario)."""
    options = _parser().parse_args(arguments)
    ports: dict[str, int] = dict(options.port)
    try:
        scenario = load_scenario(scenario_path(options.scenario))
    except ScenarioError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if options.command == "inventory":
        write_inventory(scenario, ports, sys.stdout)
        return 0
    try:
        asyncio.run(
            serve(scenario, ports=ports, seed=options.seed, truth=options.truth, out=sys.stdout)
        )
    except OSError as error:
        sys.stderr.write(f"{error.strerror or error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulators", description="A simulated hydropower plant that mines."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("scenario", help="a .toml file, or the name of a shipped scenario")
    shared.add_argument(
        "--port",
        action="append",
        default=[],
        type=_port,
        metavar="NAME=PORT",
        help=f"move a service of all miners: {', '.join(PORT_NAMES)}; may be repeated",
    )
    serving = commands.add_parser(
        "serve", parents=[shared], help="run in real time until SIGTERM or SIGINT"
    )
    serving.add_argument("--seed", type=int, help="instead of the scenario's own")
    serving.add_argument(
        "--truth", type=Path, metavar="FILE", help="append the true state, a JSON line a second"
    )
    commands.add_parser("inventory", parents=[shared], help="print the fleet as CSV")
    return parser


def _port(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if name not in PORT_NAMES or not number.isdecimal() or not 1 <= int(number) <= 65_535:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=PORT with a name of {', '.join(PORT_NAMES)} and a port to 65535"
        )
    return name, int(number)


if __name__ == "__main__":
    sys.exit(main())
