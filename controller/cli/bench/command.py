"""`naryn bench`: figures of this machine. Fails by what was decided, never by the clock."""

import json as jsonlib
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console, RenderableType

from controller import log
from controller.app.site import keep_what_stays
from controller.cli.bench import curtail as curtail_bench
from controller.cli.bench import curtail_report, poll_report, report, watchdog_report
from controller.cli.bench import poll as poll_bench
from controller.cli.bench import watchdog as watchdog_bench
from controller.cli.bench.babble import BabbleError
from controller.cli.bench.curtail_site import GuardError
from controller.cli.bench.curtail_waves import CurtailError
from controller.cli.bench.fleet import build_plant
from controller.cli.bench.peer import MINERS_MAX, PeerError
from controller.cli.bench.tick import Stopwatch, WrongDecisionsError, play, play_idle, prove
from controller.cli.bench.world import World
from controller.cli.options import JsonOption, fail
from controller.power.decide import decide
from controller.site.journal import Journal
from controller.site.journal_schema import JournalError
from drivers.contract.errors import DeviceError
from drivers.profiles import ProfileError, load_catalogue

app = typer.Typer(no_args_is_help=True, help="Measure this machine; exit 0 whatever the figures.")


@app.callback()
def bench() -> None:
    """Each benchmark prints its figures beside the raw limit of the same run."""
    signal.signal(signal.SIGTERM, _end)  # a guard or a peer that was started ends with it


def _end(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


@app.command()
def tick(
    *,
    miners: Annotated[int, typer.Option(min=100, max=100_000, help="Size of the fleet.")] = 10_000,
    ticks: Annotated[int, typer.Option(min=10, max=3_600, help="Ticks that are measured.")] = 60,
    seed: Annotated[int, typer.Option(help="The same seed gives the same decisions.")] = 1,
    json: JsonOption = False,
) -> None:
    """Time the decision of one tick under a moving cap, and prove that the decisions matter."""
    try:
        result = measure(miners, ticks, seed)
    except (WrongDecisionsError, ProfileError, JournalError, OSError) as error:
        fail(f"bench tick: {error}")
    _show(result, report.render, json=json)


@app.command()
def poll(
    *,
    miners: Annotated[
        int, typer.Option(min=20, max=MINERS_MAX, help="Size of the fleet.")
    ] = 10_000,
    period_s: Annotated[
        float, typer.Option(min=0.2, max=3_600, help="Each is read so often.")
    ] = 5.0,
    latency_ms: Annotated[
        float, typer.Option(min=0, max=1_000, help="A miner thinks so long.")
    ] = 20.0,
    hung_percent: Annotated[float, typer.Option(min=0, max=50, help="These never answer.")] = 2.0,
    seconds: Annotated[
        float,
        typer.Option(
            min=0.2,
            max=86_400,
            help="Measured for so long, and as long again with two that babble.",
        ),
    ] = 60.0,
    json: JsonOption = False,
) -> None:
    """Poll a fleet over sockets, with telemetry: processor, lateness, memory, connections."""
    log.configure(as_json=False)
    try:
        result = poll_bench.measure(miners, period_s, latency_ms, hung_percent, seconds)
    except (PeerError, BabbleError, ProfileError, DeviceError, OSError) as error:
        fail(f"bench poll: {error}")
    _show(result, poll_report.render, json=json)


@app.command()
def curtail(
    *,
    miners: Annotated[
        int, typer.Option(min=200, max=MINERS_MAX, help="Size of the fleet.")
    ] = 10_000,
    repeats: Annotated[int, typer.Option(min=1, max=99, help="The median of these counts.")] = 3,
    period_s: Annotated[
        float, typer.Option(min=0.2, max=3_600, help="Period of the poll beside it.")
    ] = 5.0,
    others: Annotated[
        bool, typer.Option(help="Measure pyasic and pyasic-rs on the same peer too.")
    ] = True,
    json: JsonOption = False,
) -> None:
    """Curtail the whole fleet: from the decision until the last miner has its command."""
    log.configure(as_json=False)
    try:
        result = curtail_bench.measure(miners, repeats, period_s, others=others)
    except (CurtailError, GuardError, PeerError, ProfileError, DeviceError, OSError) as error:
        fail(f"bench curtail: {error}")
    _show(result, curtail_report.render, json=json)


@app.command()
def watchdog(
    *,
    miners: Annotated[
        int, typer.Option(min=20, max=MINERS_MAX, help="Size of the fleet.")
    ] = 10_000,
    silence_s: Annotated[
        float, typer.Option(min=5, max=60, help="The guard trips after so long without a beat.")
    ] = 20.0,
    decay_s: Annotated[
        float, typer.Option(min=0, max=600, help="The load falls within so long.")
    ] = 0.0,
    json: JsonOption = False,
) -> None:
    """Kill the controller, and see when the miners have their command from the guard."""
    log.configure(as_json=False)
    try:
        result = watchdog_bench.measure(miners, silence_s, decay_s)
    except (GuardError, PeerError, ProfileError, OSError) as error:
        fail(f"bench watchdog: {error}")
    _show(result, watchdog_report.render, json=json)


def measure(miners: int, ticks: int, seed: int) -> dict[str, Any]:
    """Run once and return the object of `--json`.

    Raises WrongDecisionsError when the decisions do not prove themselves, ProfileError,
    JournalError or OSError when nothing could be measured.
    """
    plant = build_plant(miners, load_catalogue())
    stopwatch = Stopwatch(wall_ns=time.perf_counter_ns, cpu_ns=time.process_time_ns)
    with report.pinned() as core, tempfile.TemporaryDirectory(prefix="naryn-bench-") as folder:
        machine = report.machine(core, Path(folder))
        place = Path(folder) / "journal.db"
        first = World(plant, seed)
        keep_what_stays()  # as `naryn run` does once it is put together
        with Journal(place, site_id="bench", boot_id="bench", now=first.now) as journal:
            record = play(plant, ticks, seed, decide, stopwatch, journal)
    idle_over_w = play_idle(plant, ticks, seed)
    prove(record, idle_over_w, ticks)
    return report.assemble(
        record,
        idle_over_w,
        miners=miners,
        ticks=ticks,
        deaf=first.deaf,
        seed=seed,
        machine=machine,
    )


def _show(
    result: dict[str, Any], render: Callable[[dict[str, Any]], RenderableType], *, json: bool
) -> None:
    if json:
        print(jsonlib.dumps(result, ensure_ascii=False))
    else:
        Console().print(render(result))
