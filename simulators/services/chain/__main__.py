"""`python -m simulators.services.chain --rpc-port P --folder DIR …`: the chain as a process."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from aiohttp import web

from simulators.services.chain.calls import execute
from simulators.services.chain.node import Node
from simulators.services.chain.rpc import application, write_cookie
from simulators.services.chain.wire import WireError

ANYONE = b"\x51"
SCRIPT_BYTES_MAX = 10_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Status: 0, 1 (folder or port cannot be had), 2 (wrong usage)."""
    options = _parser().parse_args(arguments)
    try:
        asyncio.run(_run(options))
    except (WireError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


async def _run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    options.folder.mkdir(parents=True, exist_ok=True)
    node = Node(options.folder, options.pay_coinbase_to)
    try:
        if node.ledger.height == 0:
            for _ in range(options.premine):
                node.mine()
        loop.add_signal_handler(signal.SIGUSR1, node.mine)
        await _serve(options, node, stop)
    finally:
        node.close()


async def _serve(options: argparse.Namespace, node: Node, stop: asyncio.Event) -> None:
    cookie = options.cookie or options.folder / ".cookie"
    app = application(partial(execute, node), write_cookie(cookie))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, options.rpc_host, options.rpc_port)
        await site.start()
        _say(
            {
                "ready": True,
                "url": f"http://{options.rpc_host}:{options.rpc_port}",
                "cookie_file": str(cookie),
                "height": node.ledger.height,
                "tip": node.ledger.tip,
            }
        )
        while not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), options.block_every_s)
                break
            node.mine()
    finally:
        await runner.cleanup()
        cookie.unlink(missing_ok=True)


def _say(line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _script(text: str) -> bytes:
    try:
        script = bytes.fromhex(text)
    except ValueError:
        script = b""
    if not 0 < len(script) <= SCRIPT_BYTES_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no script in hexadecimal")
    return script


def _period(text: str) -> float:
    try:
        period_s = float(text)
    except ValueError:
        period_s = 0.0
    if not 0.1 <= period_s <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.1 to 86400")
    return period_s


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 10000")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to 65535")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulators.services.chain",
        description="A regtest bitcoin chain with real consensus behind Bitcoin Core's JSON-RPC. "
        "SIGUSR1 makes a block at once.",
    )
    parser.add_argument("--rpc-port", type=_port, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="holds the chain; made if new")
    parser.add_argument("--rpc-host", default="127.0.0.1")
    parser.add_argument(
        "--block-every-s", type=_period, help="make a block of what waits that often"
    )
    parser.add_argument(
        "--pay-coinbase-to",
        type=_script,
        default=ANYONE,
        metavar="SCRIPT_HEX",
        help="who gets the coins of blocks made here; anyone when not given",
    )
    parser.add_argument(
        "--premine", type=_count, default=0, metavar="N", help="make N blocks in a new folder"
    )
    parser.add_argument("--cookie", type=Path, help="where the password goes; FOLDER/.cookie")
    return parser


if __name__ == "__main__":
    sys.exit(main())
