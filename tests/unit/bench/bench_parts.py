"""One small run of the benchmark with any decisions, and a stopwatch that needs no real clock."""

from itertools import count

from controller.cli.bench.fleet import build_plant
from controller.cli.bench.tick import Record, Stopwatch, play, play_idle, prove
from controller.cli.bench.world import World
from controller.power.decide import decide
from controller.site.journal import Journal
from drivers.profiles import load_catalogue

MINERS, TICKS, SEED = 200, 10, 1


def stopwatch(step_ns=1_000_000):
    """Each look at it is one step later."""
    wall, cpu = count(0, step_ns), count(0, step_ns)
    return Stopwatch(wall_ns=lambda: next(wall), cpu_ns=lambda: next(cpu))


def run(brain=decide, *, seed=SEED, plant=None):
    """The record of a run, its journal in memory."""
    plant = build_plant(MINERS, load_catalogue()) if plant is None else plant
    now = World(plant, seed).now
    with Journal(":memory:", site_id="bench", boot_id="b", now=now, threaded=False) as journal:
        return play(plant, TICKS, seed, brain, stopwatch(), journal)


def judge(record: Record):
    """Raises WrongDecisionsError as the command does."""
    plant = build_plant(MINERS, load_catalogue())
    prove(record, play_idle(plant, TICKS, SEED), TICKS)
