"""Takes lines from the spool to the database, oldest first, until the database has them.

    delivered ─► out of the spool          unreached, busy ─► wait, longer each time, and again
    refused   ─► wait for people           too large       ─► send less at once
    bad line  ─► halve until it is found, put it aside, deliver the others

Nothing leaves the spool before the database said yes. Delivering twice does no harm: the same
series at the same time overwrites itself.
"""

import random
import threading
from dataclasses import dataclass
from typing import Protocol

import structlog

from controller.clock import SiteClock
from controller.telemetry.keeper import SpoolKeeper
from controller.telemetry.spool import Batch
from controller.telemetry.store import StoreError
from controller.telemetry.verdict import Reply, Verdict

_log = structlog.get_logger()

LINES_MAX = 5_000
"""Lines in one request."""
_IDLE_S = 0.5
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0
_SPLIT = frozenset({Verdict.BAD_LINE, Verdict.TOO_LARGE})


class Writer(Protocol):
    """Where lines go; controller/telemetry/influx.py is the real one."""

    def post(self, body: bytes) -> Reply:
        """Send whole lines."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """How the last try went."""

    verdict: Verdict
    detail: str


class Shipper:
    """A thread that delivers until it is ended."""

    def __init__(self, keeper: SpoolKeeper, writer: Writer, clock: SiteClock) -> None:
        self.shipped: Shipped | None = None
        """None while nothing was tried."""
        self.waiting_since_s: float | None = None
        """Since when lines wait and none was delivered, monotonic; None while all goes well."""
        self._keeper = keeper
        self._writer = writer
        self._clock = clock
        self._lines_max = LINES_MAX
        self._failures = 0
        self._told = threading.Event()
        # A daemon: a database that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="telemetry-shipper", daemon=True)
        self._jitter = random.Random()  # noqa: S311 - spreads retries, guards nothing

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> None:
        """Ask it to deliver what it can with one try each, and to end; returns at once."""
        self._told.set()

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while True:
                wait_s = self._once()
                if self._told.is_set():
                    if wait_s is None or wait_s > 0:
                        return
                elif wait_s is None:
                    self._keeper.wait_filled(_IDLE_S)
                else:
                    self._told.wait(wait_s)
        finally:
            self._writer.close()

    def _once(self) -> float | None:
        """Deliver once. Returns how long to wait before the next; None when nothing is left."""
        try:
            batches = self._keeper.use(lambda spool: spool.oldest(self._lines_max))
            if not batches:
                self.waiting_since_s = None
                return None
            if self.waiting_since_s is None:
                self.waiting_since_s = self._clock.monotonic_s()
            reply = self._deliver(batches)
        except StoreError as error:
            # The keeper says so too, as an alarm.
            _log.warning("spool_not_read", error=str(error))
            return _FIRST_WAIT_S
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end the thread for ever
            _log.exception("shipper_failed")
            reply = Reply(Verdict.REFUSED, f"a fault of the program: {error!r}")
        return self._note(reply)

    def _note(self, reply: Reply) -> float:
        if self.shipped is None or self.shipped.verdict is not reply.verdict:
            said = _log.info if reply.verdict is Verdict.DELIVERED else _log.warning
            said("database_answers", verdict=str(reply.verdict), detail=reply.detail)
        self.shipped = Shipped(verdict=reply.verdict, detail=reply.detail)
        if reply.verdict is Verdict.DELIVERED:
            self._failures, self.waiting_since_s = 0, None
            return 0.0
        wait_s = min(_FIRST_WAIT_S * 2.0**self._failures, _LONGEST_WAIT_S)
        self._failures = min(self._failures + 1, 10)
        return max(wait_s * self._jitter.uniform(0.5, 1.0), reply.retry_after_s or 0.0)

    def _deliver(self, batches: list[Batch]) -> Reply:
        """Post all of it; on a bad line, everything but the bad lines."""
        reply = self._writer.post(b"\n".join(batch.body for batch in batches))
        bad: list[tuple[bytes, str]] = []
        if reply.verdict is Verdict.DELIVERED:
            self._lines_max = min(self._lines_max * 2, LINES_MAX)
        elif reply.verdict in _SPLIT:
            lines = [line for batch in batches for line in batch.body.split(b"\n")]
            if reply.verdict is Verdict.TOO_LARGE:
                self._lines_max = max(1, len(lines) // 2)
            reply, bad = self._sift(lines)
        if reply.verdict is Verdict.DELIVERED:
            now_unix_s = self._clock.utc().timestamp()
            self._keeper.use(lambda spool: spool.delivered(batches, bad, now_unix_s=now_unix_s))
        return reply

    def _sift(self, lines: list[bytes]) -> tuple[Reply, list[tuple[bytes, str]]]:
        """Deliver by halves. Returns the first reply that stopped it, and the lines found bad."""
        bad: list[tuple[bytes, str]] = []
        takes_any = False
        half = len(lines) // 2
        waiting = [lines[half:], lines[:half]] if half else [lines]
        while waiting:
            part = waiting.pop()
            reply = self._writer.post(b"\n".join(part))
            if reply.verdict is Verdict.DELIVERED:
                takes_any = True
            elif reply.verdict not in _SPLIT:
                return reply, []
            elif len(part) > 1:
                half = len(part) // 2
                waiting += [part[half:], part[:half]]
            elif takes_any or self._takes_any(lines):
                takes_any = True
                bad.append((part[0], reply.detail))
            else:
                self._lines_max = LINES_MAX  # among more lines there may be one that it takes
                said = f"it takes none of our lines; mend the database: {reply.detail}"
                return Reply(Verdict.REFUSED, said), []
            if self._told.is_set() and waiting:
                return Reply(Verdict.BUSY, "ended in the middle of a batch"), []
        return Reply(Verdict.DELIVERED), bad

    def _takes_any(self, lines: list[bytes]) -> bool:
        """Whether the database takes the first or last line of any measurement among these.

        If it takes none, something is wrong with it or its address, not with our lines.
        """
        samples: dict[tuple[bytes, str], bytes] = {}
        for line in lines:
            measurement = line.partition(b",")[0]
            samples.setdefault((measurement, "first"), line)
            samples[measurement, "last"] = line
        return any(
            self._writer.post(line).verdict is Verdict.DELIVERED for line in samples.values()
        )
