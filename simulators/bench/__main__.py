"""`python -m simulators.bench peer|raw-poll|raw-fanout …`: compile where needed, pin, become it."""

import argparse
import os
import resource
import sys
from collections.abc import Sequence

from simulators.bench.build import BuildError, program
from simulators.bench.replies import FIRMWARES, pack


def main(arguments: Sequence[str] | None = None) -> int:
    """Become the C program; returns only when that fails, with exit status 1."""
    options = _parser().parse_args(arguments)
    name = str(options.command).replace("-", "_")
    try:
        binary = str(program(name))
        _allow_connections()
        if options.core is not None:
            os.sched_setaffinity(0, {options.core})
        os.execv(binary, [binary, *_words(options)])  # noqa: S606 - our own, just compiled
    except (BuildError, OSError) as error:
        sys.stderr.write(f"simulators.bench {options.command}: {error}\n")
    return 1


def _words(options: argparse.Namespace) -> list[str]:
    match options.command:
        case "peer":
            return [_inherited(pack()), str(options.latency_ms)]
        case "raw-poll":
            return [str(options.port), str(options.seconds), str(options.in_flight)]
    kind = FIRMWARES[options.firmware]
    return [str(options.port), str(kind), str(options.miners), options.request]


def _inherited(content: bytes) -> str:
    """A file in memory that the program finds open; nothing of it is left on disk."""
    number = os.memfd_create("replies", 0)
    with os.fdopen(os.dup(number), "wb") as file:
        file.write(content)
    return f"/proc/self/fd/{number}"


def _allow_connections() -> None:
    """A fleet's connections are open at once; the usual soft limit is 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulators.bench", description="The raw limit that benchmarks compare with."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--core", type=int, help="keep to this core")
    client = argparse.ArgumentParser(add_help=False)
    client.add_argument("--port", type=int, required=True, help="as the peer said")
    peer = commands.add_parser("peer", parents=[shared], help="answer for every miner")
    peer.add_argument("--latency-ms", type=float, default=0.0, help="an answer takes so long")
    poll = commands.add_parser("raw-poll", parents=[shared, client], help="poll flat out")
    poll.add_argument("--seconds", type=float, default=2.0)
    poll.add_argument("--in-flight", type=int, default=200, help="polls at once")
    fanout = commands.add_parser("raw-fanout", parents=[shared, client], help="command each once")
    fanout.add_argument("--firmware", choices=tuple(FIRMWARES), default="luxos")
    fanout.add_argument("--miners", type=int, required=True, help="from 127.F.0.0 up")
    fanout.add_argument("--request", default='{"command":"curtail","parameter":"x,sleep"}')
    return parser


if __name__ == "__main__":
    sys.exit(main())
