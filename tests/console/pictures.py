"""Images of a site and a treasury in the states that the page must show well."""

import math
from datetime import datetime, timedelta

import msgspec

from controller.channel.history import HistoryPage
from controller.channel.treasury import (
    ChainView,
    CollectionView,
    PoolView,
    ReserveView,
    SweepView,
    TreasuryImage,
)
from controller.channel.view import AlarmView, EventView, MeterView, SetpointView
from tests.unit.cli.images import AT, CURTAILED, NORMAL, OBSERVE, TROUBLE, order

PLC = MeterView(
    meter_id="plc",
    quality="good",
    age_s=0.4,
    power_w=None,
    frequency_hz=49.987,
    fault=None,
    signals={
        "unit1_power_w": 6.2e6,
        "unit1_gate_percent": 71.4,
        "unit1_breaker_closed": 1.0,
        "unit2_power_w": 0.0,
        "unit2_gate_percent": 0.0,
        "unit2_breaker_closed": 0.0,
        "net_head_m": 61.83,
        "headwater_level_m": 1184.27,
        "tailwater_level_m": 1122.44,
        "inflow_m3_s": 11.9,
        "outflow_m3_s": 12.4,
        "reservoir_volume_m3": 41.3e6,
        "frequency_hz": 49.987,
    },
)
METERS = [
    PLC,
    *(
        MeterView(
            meter_id=name, quality="good", age_s=0.5, power_w=4e5, frequency_hz=None, fault=None
        )
        for name in ("transformer", "north", "south")
    ),
]
EVENTS = [
    EventView(at=AT - timedelta(seconds=back), kind=kind, text=text)
    for back, kind, text in (
        (90_000, "operator", "asel arms north"),
        (3_600, "operator", "asel arms south"),
        (95, "setpoint", "setpoint 12 of ndc: plant ≤ 900.0 kW"),
        (90, "order", "order grid-2026-11-22-0007 of ndc: plant ≤ 540.0 kW from 900.0 kW"),
        (90, "phase", "normal → ramp_down"),
        (61, "order", "order grid-2026-11-22-0007 verified at the meters: 533.0 kW, t90 23 s"),
        (60, "phase", "ramp_down → curtailed"),
    )
]
SETPOINT = SetpointView(
    node_id="plant", issuer="ndc", sequence=12, cap_w=900e3, valid_until=AT + timedelta(hours=3)
)


def changed(picture, **facts):
    """The same image with other facts."""
    return msgspec.structs.replace(picture, **facts)


PEACE = changed(NORMAL, meters=METERS, events=EVENTS[:2])
SETTLED = [
    changed(node, settle_w=node.measured_w, expected_w=node.measured_w) for node in CURTAILED.nodes
]
PROVED = changed(
    CURTAILED,
    nodes=SETTLED,
    meters=METERS,
    events=EVENTS,
    setpoints=[SETPOINT],
    orders=[
        order("grid-2026-11-22-0006", "released"),
        order(
            "grid-2026-11-22-0007",
            "verified",
            valid_from=AT - timedelta(seconds=90),
            reason="line maintenance at Toktogul",
        ),
    ],
)
DELIVERING = changed(
    PROVED,
    phase="ramp_down",
    nodes=[
        changed(node, measured_w=715e3, settle_w=531e3)
        if node.parent is None
        else changed(node, measured_w=node.measured_w and node.measured_w + 90e3)
        for node in PROVED.nodes
    ],
    orders=[
        order("grid-2026-11-22-0006", "released"),
        order(
            "grid-2026-11-22-0007",
            "delivering",
            valid_from=AT - timedelta(seconds=20),
            measured_w=715e3,
            t90_s=None,
            shortfall_w=175e3,
            reason="line maintenance at Toktogul",
        ),
    ],
    skipped={"min_off": 12, "deaf": 4},
    events=EVENTS[:5],
)
ALARMED = changed(
    TROUBLE,
    orders=[order("grid-0008", "failed", measured_w=593e3, shortfall_w=53e3, t90_s=None)],
    meters=[
        PLC,
        changed(METERS[1], meter_id="north", quality="bad", fault="no whole reply within 0.5 s"),
    ],
    skipped={"tagged": 2, "deaf": 4, "no_meter": 40},
    events=[
        *EVENTS,
        EventView(
            at=AT, kind="alarm_raised", text="meter_bad:north: north: no whole reply within 0.5 s"
        ),
    ],
)
WATCHING = changed(OBSERVE, proposed=12, meters=METERS)
SITES = {
    "peace": PEACE,
    "proved": PROVED,
    "delivering": DELIVERING,
    "alarmed": ALARMED,
    "watching": WATCHING,
}

TXID = "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"
SWEEP = SweepView(
    sweep_id="s-7",
    attempt=1,
    stage="confirmed",
    inputs=14,
    amount_sat=312_500_000,
    fee_sat=4_310,
    vsize=1_022,
    address="bcrt1qreserve",
    dest_index=7,
    txid=TXID,
    confirmations=3,
    block_height=884_102,
    created_at=AT - timedelta(minutes=50),
    updated_at=AT - timedelta(minutes=4),
)


def treasury(**facts):
    """A treasury in order, with some facts changed."""
    shown = {
        "treasury_id": "kr",
        "name": "State reserve",
        "at": AT,
        "chain": ChainView(network="regtest", height=884_105, tip_at=AT, tip_age_s=412.0),
        "collection": CollectionView(mature_sat=50_000_000, maturing_sat=6_250_000_001, coins=9),
        "reserve": ReserveView(
            ledger_sat=128_312_500_001,
            final_sat=128_000_000_001,
            chain_sat=128_312_500_001,
            checked_height=884_105,
        ),
        "sweeps": [SWEEP],
        "pools": [
            PoolView(pool_id="ocean", earned_sat=812_345, paid_sat=800_000, received_sat=800_000),
            PoolView(
                pool_id="braiins",
                earned_sat=None,
                paid_sat=None,
                received_sat=1_000,
                error="the pool answers 403: renew its token",
            ),
        ],
        "alarms": [],
        "events": [
            EventView(
                at=AT - timedelta(minutes=4),
                kind="sweep",
                text=f"sweep in block 884102: reserve +0.5 BTC ({TXID})",
            )
        ],
    }
    return TreasuryImage(**{**shown, **facts})


GOOD_TREASURY = treasury()
BAD_TREASURY = treasury(
    chain=ChainView(network="regtest", error="the node does not answer: connection refused"),
    reserve=ReserveView(
        ledger_sat=128_312_500_001,
        final_sat=128_000_000_001,
        chain_sat=128_000_000_001,
        checked_height=884_100,
    ),
    sweeps=[changed(SWEEP, stage="stuck", confirmations=0, block_height=None, attempt=2)],
    alarms=[
        AlarmView(
            alarm_id="ledger_differs",
            severity="critical",
            since_at=AT,
            detail="the chain holds 3.12500000 BTC less than the ledger",
            meaning="the ledger and the chain do not agree",
            mend="stop sweeps and compare the two with the auditor",
        )
    ],
)
TREASURIES = {"good": GOOD_TREASURY, "bad": BAD_TREASURY}


def moved(view, by):
    """The same, with every instant later by `by`."""
    if isinstance(view, msgspec.Struct):
        fields = {name: moved(getattr(view, name), by) for name in view.__struct_fields__}
        return type(view)(**fields)
    if isinstance(view, list):
        return [moved(entry, by) for entry in view]
    return view + by if isinstance(view, datetime) else view


def at(view, moment):
    """An image as if it were made at `moment`."""
    return moved(view, moment - view.at)


def history(asked, moment):
    """What a site would answer: a load that came down, some lost steps, a grid that swings."""
    step_s = asked.span_s / asked.points
    steps = range(asked.points)
    share = [step / asked.points for step in steps]
    load_w = [533e3 if at > 0.6 else 905e3 + 9e3 * math.sin(70 * at) for at in share]
    series = {
        "plant/measured_w": [None if 100 <= step < 110 else load_w[step] for step in steps],
        "plant/limit_w": [540e3 if at > 0.58 else 3e6 for at in share],
        "site/frequency_hz": [
            50 + 0.02 * math.sin(40 * at) + 0.011 * math.sin(311 * at) for at in share
        ],
        "site/hashrate_ths": [power_w / 28 for power_w in load_w],
    }
    begin_s = moment.timestamp() - asked.span_s
    at_unix_s = [begin_s + step * step_s for step in steps]
    return HistoryPage(at_unix_s=at_unix_s, step_s=step_s, series=series)
