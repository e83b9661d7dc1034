"""What people must know of telemetry: one row a kind, and which alarms stand now. Pure.

Nothing here touches the load; the alarms stand beside those of the site's own decisions.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from controller.channel.view import AlarmView
from controller.power.alarms import AlarmRow, Severity
from controller.telemetry.verdict import Verdict

OVERDUE_S = 30.0
"""Lines that wait longer than this are a matter for people."""
RECENT_S = 600.0
"""How long a loss is shown after it happened."""


class TelemetryAlarm(StrEnum):
    """Stable names; they are the alarms' ids."""

    REFUSED = "telemetry_refused"
    UNREACHED = "telemetry_unreached"
    REJECTED = "telemetry_rejected"
    DROPPED = "telemetry_dropped"
    SPOOL = "telemetry_spool"
    SPOOL_DAMAGED = "telemetry_spool_damaged"
    HISTORY = "history_failed"
    HISTORY_DAMAGED = "history_damaged"


TABLE: Mapping[TelemetryAlarm, AlarmRow] = {
    TelemetryAlarm.REFUSED: AlarmRow(
        Severity.WARNING,
        "the time-series database refuses our lines; they wait in the spool",
        "mend what the detail names, in `[telemetry]` or in the database",
    ),
    TelemetryAlarm.UNREACHED: AlarmRow(
        Severity.WARNING,
        "the time-series database does not answer or is too slow; lines wait in the spool",
        "look at the database, its disk and the network to it",
    ),
    TelemetryAlarm.REJECTED: AlarmRow(
        Severity.WARNING,
        "the database took every line but some, which were put aside",
        "read the table `rejected` of spool.db; it says why for each",
    ),
    TelemetryAlarm.DROPPED: AlarmRow(
        Severity.WARNING,
        "measurements were lost: the spool or the memory before it was full",
        "mend database and disk, or allow more with `telemetry.spool_mb`",
    ),
    TelemetryAlarm.SPOOL: AlarmRow(
        Severity.WARNING,
        "the spool cannot be used, so measurements wait in memory for a short while only",
        "free the disk of the state folder, or mend its rights",
    ),
    TelemetryAlarm.SPOOL_DAMAGED: AlarmRow(
        Severity.WARNING,
        "the spool was damaged and moved aside; what had not been delivered stays in it",
        "check the disk; keep spool.db.damaged if the gap matters, then delete it",
    ),
    TelemetryAlarm.HISTORY: AlarmRow(
        Severity.WARNING,
        "the site's own history cannot be written",
        "free the disk of the state folder, or mend its rights",
    ),
    TelemetryAlarm.HISTORY_DAMAGED: AlarmRow(
        Severity.INFO,
        "the history was damaged and moved aside; it begins anew",
        "check the disk; then delete history.db.damaged",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OutletFacts:
    """How the way to the database goes. Counts are of lines.

    `waiting_s`: for how long lines wait and none was delivered; None while all goes well.
    """

    verdict: Verdict | None
    detail: str
    waiting_s: float | None
    waiting: int
    rejected: int
    lost: int
    spool_error: str | None
    spool_damaged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of telemetry now; `outlet` is None where there is no database."""

    outlet: OutletFacts | None
    history_error: str | None
    history_damaged: bool


class Board:
    """Keeps since when each alarm stands, and when lines were lost last."""

    def __init__(self) -> None:
        self._since: dict[TelemetryAlarm, datetime] = {}
        self._counts: dict[TelemetryAlarm, tuple[int, float | None]] = {}

    def standing(self, facts: Facts, now: datetime, now_s: float) -> Sequence[AlarmView]:
        """Every alarm that stands."""
        found = dict(_lasting(facts))
        if (outlet := facts.outlet) is not None:
            if self._grew_lately(TelemetryAlarm.REJECTED, outlet.rejected, now_s):
                found[TelemetryAlarm.REJECTED] = f"{outlet.rejected} lines so far"
            if self._grew_lately(TelemetryAlarm.DROPPED, outlet.lost, now_s):
                found[TelemetryAlarm.DROPPED] = f"{outlet.lost} lines so far"
        self._since = {kind: self._since.get(kind, now) for kind in found}
        return [
            AlarmView(
                alarm_id=kind,
                severity=TABLE[kind].severity,
                since_at=self._since[kind],
                detail=detail,
                meaning=TABLE[kind].meaning,
                mend=TABLE[kind].mend,
            )
            for kind, detail in found.items()
        ]

    def _grew_lately(self, kind: TelemetryAlarm, count: int, now_s: float) -> bool:
        seen, grew_s = self._counts.get(kind, (count, None))
        if count > seen:
            grew_s = now_s
        self._counts[kind] = (count, grew_s)
        return grew_s is not None and now_s - grew_s < RECENT_S


def _lasting(facts: Facts) -> Iterator[tuple[TelemetryAlarm, str]]:
    if (outlet := facts.outlet) is not None:
        if outlet.verdict is Verdict.REFUSED:
            yield TelemetryAlarm.REFUSED, f"{outlet.waiting} lines wait: {outlet.detail}"
        elif outlet.waiting_s is not None and outlet.waiting_s > OVERDUE_S:
            said = outlet.detail or "no answer yet"
            yield (
                TelemetryAlarm.UNREACHED,
                f"{outlet.waiting} lines wait for {outlet.waiting_s:.0f} s: {said}",
            )
        if outlet.spool_error is not None:
            yield TelemetryAlarm.SPOOL, outlet.spool_error
        if outlet.spool_damaged:
            yield TelemetryAlarm.SPOOL_DAMAGED, "spool.db.damaged stands in the spool folder"
    if facts.history_error is not None:
        yield TelemetryAlarm.HISTORY, facts.history_error
    if facts.history_damaged:
        yield TelemetryAlarm.HISTORY_DAMAGED, "history.db.damaged stands in the history folder"
