"""Telemetry's alarms: when each stands, since when, and that each says what to do."""

from dataclasses import replace

import pytest

from controller.power.alarms import TABLE as SITE_TABLE
from controller.telemetry.alarms import (
    OVERDUE_S,
    RECENT_S,
    TABLE,
    Board,
    Facts,
    OutletFacts,
    TelemetryAlarm,
)
from controller.telemetry.verdict import Verdict
from tests.unit.telemetry.toy_clock import ToyClock

WELL = OutletFacts(
    verdict=Verdict.DELIVERED,
    detail="",
    waiting_s=None,
    waiting=0,
    rejected=3,
    lost=4,
    spool_error=None,
    spool_damaged=False,
)
ALL_WELL = Facts(outlet=WELL, history_error=None, history_damaged=False)


def standing(board, clock, facts):
    return {view.alarm_id: view for view in board.standing(facts, clock.utc(), clock.monotonic_s())}


def with_outlet(**facts):
    return replace(ALL_WELL, outlet=replace(WELL, **facts))


def test_nothing_stands_while_all_is_well_or_there_is_no_database():
    board, clock = Board(), ToyClock()
    assert standing(board, clock, ALL_WELL) == {}
    assert standing(board, clock, replace(ALL_WELL, outlet=None)) == {}


@pytest.mark.parametrize(
    ("facts", "kind", "detail"),
    [
        (
            with_outlet(verdict=Verdict.REFUSED, detail="HTTP 401", waiting=7),
            "telemetry_refused",
            "7 lines wait: HTTP 401",
        ),
        (
            with_outlet(verdict=Verdict.UNREACHED, waiting_s=OVERDUE_S + 1, detail="no route"),
            "telemetry_unreached",
            "no route",
        ),
        (
            with_outlet(verdict=None, waiting_s=OVERDUE_S + 1),
            "telemetry_unreached",
            "no answer yet",
        ),
        (with_outlet(spool_error="disk full"), "telemetry_spool", "disk full"),
        (with_outlet(spool_damaged=True), "telemetry_spool_damaged", "spool.db.damaged"),
        (replace(ALL_WELL, history_error="disk full"), "history_failed", "disk full"),
        (replace(ALL_WELL, history_damaged=True), "history_damaged", "history.db.damaged"),
    ],
)
def test_an_alarm_stands_while_its_cause_lasts(facts, kind, detail):
    board, clock = Board(), ToyClock()
    begun = clock.utc()
    (view,) = standing(board, clock, facts).values()
    clock.go(5)
    (view,) = standing(board, clock, facts).values()
    assert (view.alarm_id, view.since_at) == (kind, begun)
    assert detail in view.detail
    assert standing(board, clock, ALL_WELL) == {}
    clock.go(5)
    (again,) = standing(board, clock, facts).values()
    assert again.since_at == clock.utc(), "it stands anew"


def test_a_short_pause_is_no_alarm():
    facts = with_outlet(verdict=Verdict.UNREACHED, waiting_s=OVERDUE_S - 1)
    assert standing(Board(), ToyClock(), facts) == {}


@pytest.mark.parametrize(
    ("name", "kind"), [("rejected", "telemetry_rejected"), ("lost", "telemetry_dropped")]
)
def test_losses_are_shown_for_a_while_after_they_happened(name, kind):
    board, clock = Board(), ToyClock()
    assert standing(board, clock, with_outlet(**{name: 5})) == {}, "those of an earlier life"
    clock.go(1)
    assert standing(board, clock, with_outlet(**{name: 9}))[kind].detail == "9 lines so far"
    clock.go(RECENT_S - 1)
    assert kind in standing(board, clock, with_outlet(**{name: 9}))
    clock.go(2)
    assert standing(board, clock, with_outlet(**{name: 9})) == {}


def test_every_alarm_has_a_row_and_a_name_of_its_own():
    assert set(TABLE) == set(TelemetryAlarm)
    assert not {str(kind) for kind in TABLE} & {str(kind) for kind in SITE_TABLE}
    assert all(row.meaning and row.mend for row in TABLE.values())
