"""What the journal's tests share: one rich state, numbered batches, and a child to kill."""

import contextlib
import os
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller.config.inventory import InventoryRow
from controller.power.state import (
    AlarmState,
    FeederState,
    OnExpiry,
    OperatorCap,
    Order,
    OrderClass,
    OrderStage,
    Setpoint,
    SourceState,
    State,
    Target,
    TargetState,
)
from controller.site.journal import Batch, Event, Journal, JournalError
from drivers.contract.readings import WorkMode

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 22, 12, 30, 15, 250_000, tzinfo=UTC)
BOOT = "fb2ff45a-ed30-4a37-85af-8dbe35d51e93"
NOBODY = 65_534
PATIENCE_S = 30.0


def target(number=0, **how):
    values = {
        "state": TargetState.CURTAILING,
        "since_s": 1000.25 + number,
        "commanded_s": 1001.5,
        "baseline_w": 3251.7,
        "from_w": 3250.0,
        "mode": WorkMode.LOW,
        "raw_mode": "3",
        "why": "limit",
    }
    return Target(**{**values, **how})


def order(order_id="kegoc-17", **how):
    values = {
        "order_id": order_id,
        "issuer": "kegoc",
        "node_id": "plant",
        "order_class": OrderClass.EMERGENCY,
        "cap_w": 0.0,
        "received_at": NOW,
        "received_s": 1000.0,
        "valid_from": NOW,
        "valid_until": NOW + timedelta(hours=2),
        "start_s": 1000.0,
        "expires_s": 8200.0,
        "within_s": 60.0,
        "stage": OrderStage.DELIVERING,
    }
    return Order(**{**values, **how})


STATE = State(
    targets={"m00001": target(1), "m00002": target(2, power_limit_w=2800.0, raw_mode=None)},
    feeders={"f1": FeederState(gain=1.031, bias_w=-12.5), "f2": FeederState(floor_w=9_100.0)},
    orders={"kegoc-17": order(t90_s=31.25, measured_w=412_000.0)},
    setpoints={
        "plant": Setpoint(
            issuer="kegoc",
            node_id="plant",
            sequence=2**40,
            cap_w=4_200_000.0,
            valid_from=NOW,
            valid_until=NOW + timedelta(minutes=15),
            on_expiry=OnExpiry.FAILSAFE,
            received_s=900.0,
            starts_s=900.0,
            expires_s=1800.0,
        )
    },
    operator_caps={
        "f2": OperatorCap(node_id="f2", cap_w=0.0, set_at=NOW, by="aigul", reason="трансформатор")
    },
    source=SourceState(heard_s=999.0, lost_s=1029.0, held_w=4_000_000.0),
    armed=("f1", "f2"),
    tags={"m00002": "bakyt: fan"},
    alarms={"meter_lost:f2": AlarmState(since_at=NOW, detail="f2: no reading for 9 s")},
    meter_lost_s={"f2": 991.0},
    headroom_since_s=None,
    decided_s=1030.0,
)
ROWS = (
    InventoryRow(
        miner_id="m2",
        host="10.0.0.2",
        firmware="whatsminer-v2",
        make="MicroBT",
        model="M50",
        feeder="f1",
        ports={"rpc": 14_028},
    ),
    InventoryRow(
        miner_id="m1", host="10.0.0.1", firmware="luxos", make="", model="S21", feeder="f1", tier=0
    ),
)


def opened(place, **how):
    return Journal(place, **{"site_id": "kambarata", "boot_id": BOOT, "now": NOW, **how})


@contextlib.contextmanager
def raw(path):
    """The file as SQLite sees it."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        yield database


def refused(path, match, **how):
    """Opening raises, and leaves every byte of the file as it was."""
    before = path.read_bytes()
    with pytest.raises(JournalError, match=match) as caught:
        opened(path, **how)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.services.journal_bench import NOW, numbered, opened

async def main(place, kill_at, kill_statement):
    journal = opened(Path(place))
    database = journal._database
    steps = 0

    def step():
        nonlocal steps
        steps += 1
        if steps == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def see(statement):
        if statement.startswith(kill_statement):
            os.kill(os.getpid(), signal.SIGKILL)

    for number in range(1, 10**6):
        if number == 5 and kill_at:
            database.set_progress_handler(step, 1)
        if number == 5 and kill_statement:
            database.set_trace_callback(see)
        await journal.commit(numbered(number))
        print(number, flush=True)

asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
"""


def numbered(number):
    """A batch that writes its number into every table."""
    return Batch(
        at=NOW,
        state=State(decided_s=float(number), tags={f"m{i}": "x" * 200 for i in range(50)}),
        changed_targets={f"m{i:03}": target(since_s=float(number)) for i in range(200)},
        orders=(order(f"o{number}", start_s=float(number)),),
        events=(Event(at=NOW, kind="n", detail={"n": number}),),
        blobs={"n": b"%d" % number},
    )


async def stored_number(path):
    """The number of the last batch that is there; every table must agree on it."""
    with opened(path) as journal:
        restored = journal.load()
        number = int(restored.blobs.get("n", b"0"))
        assert (restored.state.decided_s or 0) == number
        assert {t.since_s for t in restored.state.targets.values()} == (
            {number} if number else set()
        )
        orders = await journal.recent_orders(10**6)
        assert sorted(int(o.start_s) for o in orders) == [*range(1, number + 1)]
        events = await journal.recent_events(10**6)
        assert [e.detail["n"] for e in events] == [*range(number, 0, -1)]
        return number


def child(path, *, kill_at=0, kill_statement=""):
    code = CHILD.format(root=str(ROOT))
    command = [sys.executable, "-c", code, str(path), str(kill_at), kill_statement]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


@contextlib.contextmanager
def without_privilege(*places):
    """Root may write everything; then be nobody, who owns these places, for a while."""
    if os.geteuid() != 0:
        yield
        return
    for place in places:
        os.chown(place, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
