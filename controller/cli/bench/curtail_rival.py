"""Curtails miners of one firmware with another library, as its user would. Prints a JSON line.

python -m controller.cli.bench.curtail_rival LIBRARY FIRMWARE MINERS RPC_PORT HTTP_PORT
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from typing import Any

from controller.cli.bench.peer import host


def _pyasic(firmware: str, hosts: Sequence[str], rpc_port: int, http_port: int) -> list[Any]:
    """Miner objects of the class that pyasic's own discovery chooses, pointed at the peer."""
    from pyasic.miners.backends.antminer import AntminerModern  # type: ignore[import-untyped]  # noqa: PLC0415 - only when it is asked
    from pyasic.miners.backends.braiins_os import BOSMiner  # type: ignore[import-untyped]  # noqa: PLC0415 - only when it is asked
    from pyasic.miners.backends.btminer import BTMiner  # type: ignore[import-untyped]  # noqa: PLC0415 - only when it is asked
    from pyasic.miners.backends.luxminer import LUXMiner  # type: ignore[import-untyped]  # noqa: PLC0415 - only when it is asked

    kinds: dict[str, Callable[[str], Any]] = {
        "antminer-stock": AntminerModern,
        "braiins": BOSMiner,
        "luxos": LUXMiner,
        "whatsminer-v2": BTMiner,
    }
    miners = [kinds[firmware](host) for host in hosts]
    for miner in miners:
        for service, port in ((miner.rpc, rpc_port), (miner.web, http_port)):
            if service is not None:
                service.port = port
    return miners


async def _pyasic_rs(hosts: Sequence[str]) -> list[Any]:
    from pyasic_rs import MinerFactory  # type: ignore[import-not-found]  # noqa: PLC0415 - not everybody has it

    factory = MinerFactory()
    found = await asyncio.gather(*(factory.get_miner(host) for host in hosts))
    return [miner for miner in found if miner is not None]


async def curtail(
    library: str, firmware: str, count: int, ports: tuple[int, int]
) -> dict[str, Any]:
    """Command all at once; finding the miners is not measured."""
    hosts = [host(firmware, index) for index in range(count)]
    if library == "pyasic":
        miners = _pyasic(firmware, hosts, *ports)
        commands: list[Callable[[], Awaitable[Any]]] = [miner.stop_mining for miner in miners]
    else:
        miners = await _pyasic_rs(hosts)
        commands = [miner.pause for miner in miners]
    go_ns, cpu_s = time.monotonic_ns(), time.process_time()
    await asyncio.gather(*(command() for command in commands), return_exceptions=True)
    spent_us = 1e6 * (time.process_time() - cpu_s)
    return {
        "version": version(library),
        "found": len(miners),
        "go_ns": go_ns,
        "cpu_us_per_miner": spent_us / max(1, len(miners)),
    }


def main() -> None:
    """See above."""
    library, firmware, count, rpc_port, http_port = sys.argv[1:]
    ports = (int(rpc_port), int(http_port))
    said = asyncio.run(curtail(library, firmware, int(count), ports))
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
