"""What is taken away from the demonstration for a while, and given back: broker and database.

Neither may cost a point of telemetry, an order or the hold of the load.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from controller.cli.demo.processes import Child, Processes


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """One process is killed `at_s` after the script's begin and stays away for `away_s`."""

    name: str
    at_s: float
    away_s: float


BROKER = Interruption(name="broker", at_s=75.0, away_s=1.0)
DATABASE = Interruption(name="database", at_s=100.0, away_s=8.0)
PLAN = (BROKER, DATABASE)


async def interrupt(
    processes: Processes,
    plan: tuple[Interruption, ...],
    wait_s: float,
    ready: Callable[[Child], Awaitable[None]],
    done: list[str],
) -> None:
    """Carry out the plan, `wait_s` before its zero; `ready` waits until a process works again.

    Each interruption's name goes to `done` once its process is back.
    """
    begun_s = asyncio.get_running_loop().time() + wait_s
    for interruption in plan:
        await asyncio.sleep(begun_s + interruption.at_s - asyncio.get_running_loop().time())
        child = next(c for c in processes.children if c.name == interruption.name)
        await processes.kill(child)
        await asyncio.sleep(interruption.away_s)
        back = await processes.launch(child.name, *child.command)
        await ready(back)
        done.append(interruption.name)
