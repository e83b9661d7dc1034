"""The demonstration's own MQTT broker: amqtt on loopback. Production has mosquitto."""

import argparse
import asyncio
import logging
import signal
import sys

from amqtt.broker import Broker  # type: ignore[import-untyped]
from amqtt.contexts import BrokerConfig, ListenerConfig  # type: ignore[import-untyped]
from amqtt.errors import AMQTTError  # type: ignore[import-untyped]


async def serve(port: int) -> None:
    """Serve until SIGTERM or SIGINT; prints `ready` when it listens."""
    told, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    broker = Broker(
        BrokerConfig(
            listeners={"default": ListenerConfig(type="tcp", bind=f"127.0.0.1:{port}")},
            plugins={"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        )
    )
    await broker.start()
    print("ready", flush=True)
    await told.wait()
    await broker.shutdown()


def main() -> int:
    """Command line of the process."""
    parser = argparse.ArgumentParser(prog="demo-broker")
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    logging.disable(logging.CRITICAL)
    try:
        asyncio.run(serve(port))
    except (OSError, AMQTTError) as error:
        print(f"127.0.0.1:{port} cannot be had for the broker: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
