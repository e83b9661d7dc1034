"""`python -m simulators.services.dispatcher SCENARIO …`: the dispatcher over a real broker."""

import argparse
import asyncio
import json
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from aiomqtt import Client, MqttError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from simulators.scenario import Scenario
from simulators.scenario_file import ScenarioError, load_scenario, scenario_path
from simulators.services.dispatcher.play import Dispatcher, EventError, Message

STEP_S = 0.1
RETRY_S = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM, SIGINT or the end. Status: 0, 2 (wrong usage, scenario or key)."""
    options = _parser().parse_args(arguments)
    try:
        scenario = load_scenario(scenario_path(options.scenario))
        dispatcher, outbox = _dispatcher(options, scenario)
    except (ScenarioError, EventError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    until_s = scenario.duration_s if options.for_s is None else options.for_s
    asyncio.run(_run(options.broker, dispatcher, outbox, until_s))
    return 0


def _dispatcher(
    options: argparse.Namespace, scenario: Scenario
) -> tuple[Dispatcher, asyncio.Queue[Message]]:
    outbox: asyncio.Queue[Message] = asyncio.Queue()
    dispatcher = Dispatcher(
        site=options.site,
        issuer=options.issuer,
        keys=[_private(path) for path in options.key],
        events=scenario.events,
        publish=lambda topic, payload, retain: outbox.put_nowait((topic, payload, retain)),
        node=options.node,
        site_key=None if options.site_key is None else _public(options.site_key),
        # Grows by less than one a second, so a new start is always above the last one.
        first_sequence=int(time.time()),
        clock_offset_s=options.clock_offset_s,
    )
    return dispatcher, outbox


async def _run(
    broker: tuple[str, int], dispatcher: Dispatcher, outbox: asyncio.Queue[Message], until_s: float
) -> None:
    """Play, send and hear, until the time is over or a signal comes; reconnects as needed."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    tasks = [
        asyncio.create_task(_play(dispatcher, until_s, ended)),
        asyncio.create_task(_connect(broker, dispatcher, outbox)),
    ]
    await ended.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _play(dispatcher: Dispatcher, until_s: float, ended: asyncio.Event) -> None:
    start_s = time.monotonic()
    while (now_s := time.monotonic() - start_s) < until_s:
        dispatcher.play(now_s, datetime.now(UTC))
        await asyncio.sleep(STEP_S)
    ended.set()


async def _connect(
    broker: tuple[str, int], dispatcher: Dispatcher, outbox: asyncio.Queue[Message]
) -> None:
    host, port = broker
    unsent: deque[Message] = deque()
    while True:
        try:
            async with Client(host, port, username=dispatcher.issuer, keepalive=10) as client:
                site = dispatcher.site
                for topic in ("dispatch/receipt", "status", "event"):
                    await client.subscribe(f"naryn/v1/{site}/{topic}", qos=1)
                _say({"connected": True, "site": site})
                async with asyncio.TaskGroup() as group:
                    group.create_task(_send(client, outbox, unsent))
                    group.create_task(_hear(client, dispatcher))
        except* MqttError as errors:
            _say({"connected": False, "error": str(errors.exceptions[0])})
        await asyncio.sleep(RETRY_S)


async def _send(client: Client, outbox: asyncio.Queue[Message], unsent: deque[Message]) -> None:
    """Send in order; what was not acknowledged is sent again over the next connection."""
    while True:
        if not unsent:
            unsent.append(await outbox.get())
        topic, payload, retain = unsent[0]
        await client.publish(topic, payload, qos=1, retain=retain)
        unsent.popleft()


async def _hear(client: Client, dispatcher: Dispatcher) -> None:
    async for message in client.messages:
        answer = dispatcher.hear(message.topic.value, message.payload)
        if answer is not None:
            _say({"kind": answer.kind, "verified": answer.verified, **answer.body})


def _say(line: object) -> None:
    sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _private(path: Path) -> Ed25519PrivateKey:
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{path}: is no Ed25519 private key")  # noqa: TRY004 - wrong content
    return key


def _public(path: Path) -> Ed25519PublicKey:
    key = load_pem_public_key(path.read_bytes())
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError(f"{path}: is no Ed25519 public key")  # noqa: TRY004 - wrong content
    return key


def _broker(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host, int(port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulators.services.dispatcher",
        description="Plays the dispatcher of a scenario; prints every answer as a JSON line.",
    )
    parser.add_argument("scenario", help="a .toml file, or the name of a shipped scenario")
    parser.add_argument("--broker", type=_broker, required=True, metavar="HOST:PORT")
    parser.add_argument("--site", required=True)
    parser.add_argument(
        "--key",
        type=Path,
        action="append",
        required=True,
        help="private PEM; further ones sign the release of emergencies and lockouts too",
    )
    parser.add_argument("--site-key", type=Path, help="the site's public PEM, to check answers")
    parser.add_argument("--issuer", default="dispatcher", help="whose key it is")
    parser.add_argument("--node", default="plant", help="where an event names no node")
    parser.add_argument("--for-s", type=float, help="end after this many seconds")
    parser.add_argument(
        "--clock-offset-s", type=float, default=0.0, help="set this dispatcher's clock wrong"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
