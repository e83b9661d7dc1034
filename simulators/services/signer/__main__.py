"""`python -m simulators.services.signer …`: makes keys, or answers an exchange folder."""

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from simulators.services.key_file import KeyFileError
from simulators.services.signer.desk import Desk
from simulators.services.signer.keys import (
    NETWORK_NAMES,
    CollectionKey,
    new_collection_key,
    new_reserve,
)
from simulators.services.signer.policy import Policy
from simulators.services.signer.reserve import Reserve
from simulators.services.signer.sign import FAULTS

POLL_S = 0.2
RETRY_S = 2.0
"""After the folder could not be read or written."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Status: 0, 2 (wrong usage, key or descriptor)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] == ["new"]:
            new = _new_parser().parse_args(given[1:])
            sys.stdout.write(f"{new_collection_key(new.key_file, new.network).descriptor}\n")
        elif given[:1] == ["new-reserve"]:
            reserve = _new_reserve_parser().parse_args(given[1:])
            sys.stdout.write(f"{new_reserve(reserve.folder, reserve.network)}\n")
        else:
            _serve(_parser().parse_args(given))
    except (KeyFileError, ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _serve(options: argparse.Namespace) -> None:
    """Answer requests until SIGTERM or SIGINT."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    collection = CollectionKey.of_file(options.key_file)
    policy = Policy(
        collection, Reserve(options.reserve, options.reserve_range), options.max_fee_sat
    )
    if policy.reserve.for_tests != collection.for_tests:
        raise ValueError("the reserve is of another network than the key; give its own")
    for folder in (options.inbox, options.outbox):
        folder.mkdir(parents=True, exist_ok=True)
    if options.inbox.samefile(options.outbox):
        raise ValueError("inbox and outbox are one folder; give two")
    ready = {"ready": True, "pid": os.getpid(), "collection": collection.descriptor}
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    kind, late_s = options.fault or (None, 0.0)
    desk = Desk(options.inbox, options.outbox, policy, fault=kind, late_s=late_s)
    trouble = None
    while not ended.wait(RETRY_S if trouble else POLL_S):
        found = desk.round(time.monotonic())
        if found and found != trouble:
            sys.stderr.write(f"{found}\n")
        trouble = found


def _fault(text: str) -> tuple[str | None, float]:
    name, _, value = text.partition(":")
    if name == "late" and value.isdecimal() and int(value) <= 86_400:
        return None, float(value)
    if text in FAULTS:
        return text, 0.0
    raise argparse.ArgumentTypeError(f"{text!r} is not one of: {', '.join(FAULTS)}, late:SECONDS")


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10**12:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _new_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulators.services.signer new",
        description="Makes the collection's key; prints its public descriptor.",
    )
    parser.add_argument("--key-file", type=Path, required=True, help="new; mode 0600")
    parser.add_argument("--network", choices=NETWORK_NAMES, default="regtest")
    return parser


def _new_reserve_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulators.services.signer new-reserve",
        description="Makes three cosigners' keys; prints the public 2-of-3 descriptor.",
    )
    parser.add_argument("--folder", type=Path, required=True, help="for the keys; kept cold")
    parser.add_argument("--network", choices=NETWORK_NAMES, default="regtest")
    return parser


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulators.services.signer",
        description="Signs what pays the reserve; `new` and `new-reserve` make keys.",
    )
    parser.add_argument("--inbox", type=Path, required=True, help="NAME.psbt, base64 text")
    parser.add_argument("--outbox", type=Path, required=True, help="NAME.psbt or NAME.refused")
    parser.add_argument("--key-file", type=Path, required=True, help="of the collection; 0600")
    parser.add_argument("--reserve", required=True, help="the reserve's public descriptor")
    parser.add_argument(
        "--reserve-range", type=_count, default=1_000, help="how many of its addresses count"
    )
    parser.add_argument("--max-fee-sat", type=_count, default=100_000)
    parser.add_argument("--fault", type=_fault, help=f"{', '.join(FAULTS)}, late:SECONDS")
    return parser


if __name__ == "__main__":
    sys.exit(main())
