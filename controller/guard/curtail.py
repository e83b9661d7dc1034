"""Sleeps that the controller decided on and the guard's waves carry.

    Curtail ─▶ taken: its prepared command leaves ─▶ outcome, told once
           └─▶ not taken: the controller's own driver does it

They are no shedding: the guard neither tries them again nor keeps anybody asleep, and there is
nothing to hand over. A trip makes what is still open the guard's own.
"""

import structlog

from controller.channel.curtail import (
    CURTAIL_MINERS_MAX,
    OUTCOMES_MAX,
    Curtail,
    OutcomeLine,
    Outcomes,
    Taken,
)
from controller.channel.frames import RequestRefused
from controller.channel.guard import Entry, Ladder
from controller.guard.shedder import Shedder
from drivers.contract.commands import AlreadySo, Applied, Outcome
from drivers.transport.ports import Clock

_log = structlog.get_logger()


class Curtailments:
    """What one controller asked for and has not been told of yet: at most one command a miner."""

    def __init__(self, shedder: Shedder, clock: Clock) -> None:
        self.sent = 0
        """Commands that left for controllers since this process began."""
        self._shedder = shedder
        self._clock = clock
        self._epoch: str | None = None
        self._entries: dict[str, Entry] = {}
        self._open: dict[str, int] = {}
        self._done: dict[str, tuple[int, Outcome]] = {}

    @property
    def under_way(self) -> int:
        """Commands that have left and are not answered yet."""
        return len(self._open)

    def cover(self, ladder: Ladder) -> None:
        """A new ladder: only its own miners are commanded, and only for its own controller."""
        self._epoch = ladder.epoch
        self._entries = {entry.miner_id: entry for entry in ladder.entries}

    def take(self, ask: Curtail) -> Taken:
        """Send what lies prepared. A request that comes too late is not taken at all: by then the
        controller does it by its drivers. Raises RequestRefused when it is too large.
        """
        if len(ask.miner_ids) > CURTAIL_MINERS_MAX:
            raise RequestRefused(f"more than {CURTAIL_MINERS_MAX} miners in one request")
        late = self._clock.monotonic_s() > ask.until_s
        if late or ask.epoch != self._epoch:
            _log.warning("curtailment_not_taken", miners=len(ask.miner_ids), late=late)
            return Taken(miner_ids=())
        ours = self._entries
        entries = {name: ours[name] for name in ask.miner_ids if name in ours}
        taken = self._shedder.lend(entries, ask.changed_s, self._answered)
        self._open |= dict.fromkeys(taken, ask.number)
        self._done = {name: done for name, done in self._done.items() if name not in self._open}
        self.sent += len(taken)
        _log.info("curtailment_taken", asked=len(ask.miner_ids), taken=len(taken))
        return Taken(miner_ids=taken)

    def tell(self) -> Outcomes:
        """The next outcomes; each is told once."""
        told = [(name, *self._done[name]) for name in list(self._done)[:OUTCOMES_MAX]]
        for name, _, _ in told:
            del self._done[name]
        return Outcomes(
            lines=tuple(OutcomeLine.of(number, name, outcome) for name, number, outcome in told),
            left=len(self._open) + len(self._done),
        )

    def trip(self) -> None:
        """What is under way is the guard's own now, and so are sleepers of which the controller was
        not told: it has hardly woken them.
        """
        asleep = [
            name
            for name, (_, outcome) in self._done.items()
            if isinstance(outcome, Applied | AlreadySo)
        ]
        self._shedder.keep(asleep)
        self.forget()

    def forget(self) -> None:
        """Nobody will ask for what is open."""
        self._open.clear()
        self._done.clear()

    def _answered(self, name: str, outcome: Outcome) -> None:
        number = self._open.pop(name, None)
        if number is not None:
            self._done[name] = number, outcome
