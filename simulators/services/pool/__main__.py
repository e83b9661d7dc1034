"""`python -m simulators.services.pool …`: a pool that pays for what the plant really hashed."""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import Never

from aiohttp import web

from simulators.services.key_file import KeyFileError
from simulators.services.pool.api import FAULTS, Api
from simulators.services.pool.book import Book
from simulators.services.pool.earning import Terms
from simulators.services.pool.intake import Hashrate, Intake
from simulators.services.pool.node import Node
from simulators.services.pool.paying import Habits, Paymaster
from simulators.services.pool.truth import TruthTail
from simulators.services.pool.wallet import Wallet, script_of

POLL_S = 0.5
THRESHOLD_SAT_MIN = 2_000
SHORT_PERMILLE_MAX = 500
"""Half of the least payout is still no dust: a node would refuse that for ever."""
SHUTDOWN_S = 1.0
"""What a request may still take at the end; a hanging one would take for ever."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Status: 0, 2 (wrong usage, key, folder or port)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] == ["script"]:
            options = _script_parser().parse_args(given[1:])
            sys.stdout.write(f"{Wallet.of_file(options.key_file).script_hex}\n")
        else:
            asyncio.run(_serve(_parser().parse_args(given)))
    except asyncio.CancelledError:
        return 0
    except (KeyFileError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


async def _serve(options: argparse.Namespace) -> None:
    """Earn, pay and answer until SIGTERM or SIGINT."""
    serving = asyncio.current_task()
    assert serving is not None  # noqa: S101 - a coroutine runs in a task
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    faults = dict(options.fault)
    wallet = Wallet.of_file(options.key_file)
    habits = Habits(
        options.destination,
        every=timedelta(seconds=options.pay_every_s),
        threshold_sat=options.threshold_sat,
        late=timedelta(seconds=faults.get("late", 0)),
        short_permille=faults.get("short", 0),
    )
    terms = Terms(options.difficulty, options.subsidy_sat, options.fee_permille)
    async with AsyncExitStack() as stack:
        book = stack.enter_context(closing(Book(options.folder)))
        tail = stack.enter_context(closing(TruthTail(options.truth)))
        hashrate = Hashrate()
        api = Api(
            book,
            hashrate,
            options.destination,
            lambda: datetime.now(UTC),
            fault=next((name for name in FAULTS if name in faults), None),
        )
        port = await _listen(api, options.host, options.port, stack)
        ready = {"ready": True, "pid": os.getpid(), "url": f"http://{options.host}:{port}"}
        sys.stdout.write(json.dumps({**ready, "script": wallet.script_hex}) + "\n")
        sys.stdout.flush()
        intake = Intake(tail, book, hashrate)
        paymaster = Paymaster(book, Node(options.node, options.cookie), wallet, terms, habits)
        await _work(intake, paymaster)


async def _listen(api: Api, host: str, port: int, stack: AsyncExitStack) -> int:
    runner = web.AppRunner(api.application(), access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, host, port).start()
    return int(runner.addresses[0][1])


async def _work(intake: Intake, paymaster: Paymaster) -> Never:
    trouble = None
    while True:
        more, found = False, None
        try:
            more = intake.take()
        except OSError as error:
            found = f"the plant's truth: {error}; it is read again"
        found = await paymaster.turn(datetime.now(UTC)) or found
        if found and found != trouble:
            sys.stderr.write(f"{found}\n")
        trouble = found
        await asyncio.sleep(0.0 if more else POLL_S)


def _fault(text: str) -> tuple[str, int]:
    name, _, value = text.partition(":")
    most = {"late": 86_400 * 30, "short": SHORT_PERMILLE_MAX}
    if name in most and value.isdecimal() and 1 <= int(value) <= most[name]:
        return name, int(value)
    if text in FAULTS:
        return text, 1
    known = ", ".join(("late:SECONDS", "short:PERMILLE", *FAULTS))
    raise argparse.ArgumentTypeError(f"{text!r} is not one of: {known}")


def _difficulty(text: str) -> Fraction:
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal(0)
    if not value.is_finite() or not Decimal("1e-12") <= value <= Decimal("1e20"):
        raise argparse.ArgumentTypeError(f"{text!r} is no difficulty of a network")
    return Fraction(value)


def _whole(most: int, least: int = 1) -> Callable[[str], int]:
    def check(text: str) -> int:
        if not text.isdecimal() or not least <= int(text[:20]) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {least} … {most}")
        return int(text)

    return check


def _address(text: str) -> str:
    try:
        script_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _script_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulators.services.pool script",
        description="Prints the scriptPubKey that the pool's coinbases must pay, in hex.",
    )
    parser.add_argument("--key-file", type=Path, required=True, help="made when it is missing")
    return parser


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulators.services.pool",
        description="A pool that earns from the plant's truth; `script` prints where it is paid.",
    )
    parser.add_argument("--truth", type=Path, required=True, help="as `simulators serve` writes it")
    parser.add_argument("--folder", type=Path, required=True, help="for its book")
    parser.add_argument("--key-file", type=Path, required=True, help="made when it is missing")
    parser.add_argument("--node", required=True, metavar="URL", help="of the node's JSON-RPC")
    parser.add_argument("--cookie", type=Path, required=True, help="the node's cookie file")
    parser.add_argument(
        "--destination",
        type=_address,
        action="append",
        required=True,
        metavar="ADDRESS",
        help="whom it pays; of several the next one after each payout",
    )
    parser.add_argument("--host", default="127.0.0.1", help="where the API listens")
    parser.add_argument("--port", type=_whole(65_535, 0), default=0, help="0: any free one")
    parser.add_argument("--pay-every-s", type=_whole(86_400 * 30), default=86_400)
    parser.add_argument(
        "--threshold-sat", type=_whole(10**12, THRESHOLD_SAT_MIN), default=1_048_576
    )
    parser.add_argument("--difficulty", type=_difficulty, required=True, help="of the network")
    parser.add_argument("--subsidy-sat", type=_whole(5_000_000_000), default=312_500_000)
    parser.add_argument("--fee-permille", type=_whole(999, 0), default=20)
    parser.add_argument(
        "--fault",
        type=_fault,
        action="append",
        default=[],
        help=f"late:SECONDS, short:PERMILLE, {', '.join(FAULTS)}; may be repeated",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
