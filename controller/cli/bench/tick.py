"""Runs the ticks of the benchmark: warms up, measures, settles, and compares with doing nothing.

    warm-up            ticks            settle             hold
    ├──────────────────┼────────────────┼──────────────────┼──────┤
    arm, learn, obey   measured; the    last cap stands    no node over its cap
    the first order    cap moves

Only `decide` and what a tick adds before commands may leave (its events worded, its journal
durable) are timed; building the image and playing the world are not.
"""

import asyncio
import gc
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

import uvloop

from controller.cli.bench.fleet import ROOT, BenchPlant
from controller.cli.bench.script import LEARN_TICKS, Script
from controller.cli.bench.world import World
from controller.power.decide import Decision, Phase
from controller.power.events import happened
from controller.power.image import Image
from controller.power.site import Site
from controller.power.state import State
from controller.site.journal import Batch, Journal
from controller.site.journal import Event as JournalEvent
from drivers.contract.commands import Sleep
from drivers.contract.readings import MinerReading

Decide = Callable[[State, Image, Site], Decision]

HOLD_TICKS = 10
OVER_SHARE = 0.01
"""A load counts as over its cap beyond this share of it: the controller's own `over_limit`."""
FINAL_LOAD_SHARE = 0.5
"""The cap must not be held by putting everything to sleep: at the end at least this share of it is
in use.
"""
_SAVE_EVERY_S = 10.0
"""As a running site: what meters taught is journaled this often while nothing else changes."""


class WrongDecisionsError(Exception):
    """The decisions did not do what they are for, so their speed is worth nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopwatch:
    """Two clocks in ns: of the wall, and of the processor time of this process."""

    wall_ns: Callable[[], int]
    cpu_ns: Callable[[], int]


@dataclass(slots=True, kw_only=True)
class Record:
    """What one run showed. Times are of measured ticks, loads of measured ticks and after."""

    decide_ns: list[int] = field(default_factory=list)
    cpu_ns: list[int] = field(default_factory=list)
    bare_ns: list[int] = field(default_factory=list)
    journal_ns: list[int] = field(default_factory=list)
    gc_ns: list[int] = field(default_factory=list)
    """By tick: the part of its time that went to the garbage collector."""
    stale_shares: list[float] = field(default_factory=list)
    sleeps: int = 0
    wakes: int = 0
    digest: str = ""
    """SHA-256 of every command of the run, in order: same seed, same digest."""
    over_w: list[float] = field(default_factory=list)
    """By tick: how far above its cap the worst node stood; 0 within the tolerance."""
    final_load_w: float = 0.0
    final_cap_w: float = 0.0

    @property
    def commands(self) -> int:
        """Commands of the measured ticks."""
        return self.sleeps + self.wakes


def settle_ticks(site: Site) -> int:
    """How long a cap is given to be reached: two descents of the slowest firmware, since who
    turns out to be deaf after the first is replaced in the second.
    """
    descent_s = site.slowest_down_s + site.policy.confirm_s
    return round(2 * descent_s / site.policy.tick_s)


def _script(plant: BenchPlant, ticks: int) -> Script:
    return Script(plant=plant, warm_up=LEARN_TICKS + settle_ticks(plant.site), ticks=ticks)


def _span(script: Script) -> range:
    return range(-script.warm_up, script.ticks + settle_ticks(script.plant.site) + HOLD_TICKS)


def play(
    plant: BenchPlant,
    ticks: int,
    seed: int,
    decide: Decide,
    stopwatch: Stopwatch,
    journal: Journal,
) -> Record:
    """A whole run with decisions. Raises JournalError when the journal cannot be written."""
    script, world, record = _script(plant, ticks), World(plant, seed), Record()
    state, digest = State(), hashlib.sha256()
    names = tuple(plant.site.miners)
    with _Pauses(stopwatch) as pauses, asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        diary = _Diary(journal, loop)
        for tick in _span(script):
            world.step()
            image = world.image(script.instructions(tick, world.now))
            measured = 0 <= tick < ticks
            if measured:
                record.bare_ns.append(_bare_ns(names, image.miners, stopwatch))
                record.stale_shares.append(world.stale_share(image.miners))
            pauses.spent_ns = 0
            cpu_ns, wall_ns = stopwatch.cpu_ns(), stopwatch.wall_ns()
            decision = decide(state, image, plant.site)
            decided_ns = stopwatch.wall_ns()
            used_ns, paused_ns = stopwatch.cpu_ns() - cpu_ns, pauses.spent_ns
            written = diary.write(state, decision, image)
            written_ns = stopwatch.wall_ns() - decided_ns
            if measured:
                record.decide_ns.append(decided_ns - wall_ns)
                record.cpu_ns.append(used_ns)
                record.gc_ns.append(paused_ns)
                record.journal_ns += [written_ns] if written else []
                _count(record, decision)
            if tick >= 0:
                record.over_w.append(_over_w(world, script, tick))
            for issued in decision.commands:
                kind = type(issued.command).__name__
                digest.update(f"{tick} {issued.miner_id} {kind}\n".encode())
            world.carry_out(decision.commands)
            state = decision.state
    record.digest = digest.hexdigest()
    record.final_load_w = world.load_w(ROOT)
    record.final_cap_w = script.caps_w(_span(script)[-1])[ROOT]
    return record


def play_idle(plant: BenchPlant, ticks: int, seed: int) -> list[float]:
    """`Record.over_w` of the same world when every decision is thrown away: nobody hears one, so
    none is made.
    """
    script, world, over_w = _script(plant, ticks), World(plant, seed), []
    for tick in _span(script):
        world.step()
        if tick >= 0:
            over_w.append(_over_w(world, script, tick))
    return over_w


def over_s(over_w: list[float], ticks: int) -> int:
    """Seconds of the measured ticks with some node over its cap."""
    return sum(over > 0 for over in over_w[:ticks])


def prove(record: Record, idle_over_w: list[float], ticks: int) -> None:
    """Raises WrongDecisionsError unless the decisions differ from doing nothing and hold the cap.

    The comparison must be able to fail: where doing nothing keeps the cap too, nothing is proved.
    """
    done_s, idle_s = over_s(record.over_w, ticks), over_s(idle_over_w, ticks)
    if not idle_s or not any(idle_over_w[-HOLD_TICKS:]):
        raise WrongDecisionsError("nothing proved: the load keeps the caps without any decision")
    if not record.commands:
        raise WrongDecisionsError(
            f"no command was decided, although the load stands over its cap for {idle_s} of "
            f"{ticks} s when nothing is done"
        )
    if done_s >= idle_s:
        raise WrongDecisionsError(
            f"{record.commands} commands changed nothing: {done_s} s over the cap, {idle_s} s if "
            "nothing was done"
        )
    worst_w = max(record.over_w[-HOLD_TICKS:])
    if worst_w > 0:
        raise WrongDecisionsError(
            f"the cap is not held: {worst_w / 1000:.1f} kW above it when every command has had "
            "its time twice"
        )
    if record.final_load_w < FINAL_LOAD_SHARE * record.final_cap_w:
        raise WrongDecisionsError(
            f"far too much sleeps: {record.final_load_w / 1000:.1f} kW of the "
            f"{record.final_cap_w / 1000:.1f} kW that the cap allows"
        )


class _Pauses:
    """Adds up the collector's pauses while it is entered; the collector itself is left as it is."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        self.spent_ns = 0
        self._stopwatch = stopwatch
        self._begun_ns = 0

    def __enter__(self) -> Self:
        gc.callbacks.append(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(self._note)

    def _note(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._begun_ns = self._stopwatch.wall_ns()
        else:
            self.spent_ns += self._stopwatch.wall_ns() - self._begun_ns


class _Diary:
    """Journals ticks as a running site does: in the journal's own thread, awaited."""

    def __init__(self, journal: Journal, loop: asyncio.Runner) -> None:
        self._journal = journal
        self._loop = loop
        self._phase: Phase | None = None
        self._saved_s: float | None = None

    def write(self, before: State, decision: Decision, image: Image) -> bool:
        """Returns whether this tick had something to store."""
        events = happened(before, self._phase, decision, image)
        self._phase = decision.phase
        orders = tuple(
            order
            for name, order in decision.state.orders.items()
            if (old := before.orders.get(name)) is None or old.stage is not order.stage
        )
        due = self._saved_s is None or image.now_s - self._saved_s >= _SAVE_EVERY_S
        worth = decision.changed_targets or events or orders or image.instructions
        if not (worth or due):
            return False
        batch = Batch(
            at=image.now,
            state=decision.state,
            changed_targets=decision.changed_targets,
            orders=orders,
            events=tuple(
                JournalEvent(
                    at=event.at,
                    kind=event.kind,
                    detail={"severity": str(event.severity), "text": event.text},
                )
                for event in events
            ),
        )
        self._loop.run(self._journal.commit(batch))
        self._saved_s = image.now_s
        return True


def _count(record: Record, decision: Decision) -> None:
    sleeps = sum(isinstance(issued.command, Sleep) for issued in decision.commands)
    record.sleeps += sleeps
    record.wakes += len(decision.commands) - sleeps


def _over_w(world: World, script: Script, tick: int) -> float:
    over_w = 0.0
    for name, cap_w in script.caps_w(tick).items():
        above_w = world.load_w(name) - cap_w
        if above_w > OVER_SHARE * cap_w:
            over_w = max(over_w, above_w)
    return over_w


def _bare_ns(
    names: tuple[str, ...], readings: Mapping[str, MinerReading], stopwatch: Stopwatch
) -> int:
    begun_ns = stopwatch.wall_ns()
    bare_pass_w(names, readings)
    bare_pass_w(names, readings)
    return stopwatch.wall_ns() - begun_ns


def bare_pass_w(names: tuple[str, ...], readings: Mapping[str, MinerReading]) -> float:
    """The raw limit's work: look every miner up once and add what it says it draws, in W."""
    total_w = 0.0
    for name in names:
        power_w = readings[name].power_w
        if power_w is not None:
            total_w += power_w
    return total_w
