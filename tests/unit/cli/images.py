"""Images of a site for tests of what terminals show."""

from datetime import UTC, datetime, timedelta

from controller.channel.view import (
    AlarmView,
    DispatcherView,
    EventView,
    FleetView,
    MeterView,
    NodeView,
    OrderView,
    PlannedView,
    SiteImage,
    TickView,
)

AT = datetime(2026, 11, 22, 14, 30, 5, tzinfo=UTC)


def node(node_id, kind, parent, rating_w, **facts):
    shown = {
        "limit_w": rating_w,
        "reason": "hardware rating",
        "cap_class": "plant",
        "planned": False,
        "measured_w": 0.8 * rating_w,
        "expected_w": 0.8 * rating_w,
        "settle_w": 0.8 * rating_w,
        "floor_w": 20e3,
    }
    return NodeView(
        node_id=node_id, kind=kind, parent=parent, rating_w=rating_w, **{**shown, **facts}
    )


def fleet(feeder, **facts):
    shown = dict.fromkeys(
        ("curtailing", "curtailed", "restoring", "deaf", "stuck", "unreachable"), 0
    )
    shown["running"], shown["hashrate_ths"] = 144, 15_840.0
    return FleetView(feeder=feeder, miners=144, **{**shown, **facts})


def order(order_id, stage, **facts):
    shown = {
        "cap_w": 540e3,
        "baseline_w": 900e3,
        "deliverable_w": 540e3,
        "measured_w": 533e3,
        "t90_s": 23.4,
        "shortfall_w": None,
        "delivered_wh": 1234.5,
        "within_s": 60.0,
        "reason": "line maintenance",
    }
    return OrderView(
        order_id=order_id,
        issuer="ndc",
        node_id="plant",
        order_class="dispatch",
        stage=stage,
        received_at=AT - timedelta(seconds=90),
        valid_until=AT + timedelta(minutes=15),
        **{**shown, **facts},
    )


METERS = [
    MeterView(
        meter_id="plc",
        quality="good",
        age_s=0.4,
        power_w=None,
        frequency_hz=None,
        fault=None,
        signals={
            "unit1_power_w": 6.2e6,
            "unit2_power_w": 0.0,
            "net_head_m": 61.83,
            "frequency_hz": 49.987,
        },
    )
]


def image(**facts):
    shown = {
        "site_id": "kambarata",
        "name": "Камбар-Ата 2",
        "at": AT,
        "phase": "normal",
        "mode": "armed",
        "nodes": [
            node("plant", "plant", None, 3e6),
            node("transformer", "transformer", "plant", 2.5e6, through_w=2.31e6),
            node("north", "feeder", "transformer", 5e5, armed=True, through_w=4e5),
            node("south", "feeder", "transformer", 5e5, armed=True, through_w=4e5),
        ],
        "fleet": [fleet("north"), fleet("south")],
        "orders": [],
        "setpoints": [],
        "planned": [
            PlannedView(
                node_id="plant",
                cap_w=6e5,
                begins_at=AT + timedelta(minutes=61, seconds=5),
                reason="planned window evening-peak",
            )
        ],
        "meters": METERS,
        "alarms": [],
        "events": [
            EventView(at=AT, kind="phase", text="observe → normal"),
            EventView(at=AT, kind="operator", text="asel arms north"),
        ],
        "dispatcher": DispatcherView(state="heard", connected=True, heartbeat_age_s=3.2),
        "tick": TickView(run=512, skipped=0, failed=0, last_ms=12.4),
        "skipped": {},
        "proposed": 0,
    }
    return SiteImage(**{**shown, **facts})


NORMAL = image()
OBSERVE = image(
    phase="observe",
    mode="observe",
    nodes=[
        node("plant", "plant", None, 3e6),
        node("north", "feeder", "plant", 5e5, armed=False),
        node("south", "feeder", "plant", 5e5, armed=False, measured_w=None),
    ],
    dispatcher=DispatcherView(state="none"),
    meters=[],
    events=[],
)
CURTAILED = image(
    phase="curtailed",
    nodes=[
        node(
            "plant",
            "plant",
            None,
            3e6,
            limit_w=540e3,
            measured_w=533e3,
            reason="order grid-2026-11-22-0007 of ndc: line maintenance at Toktogul",
            cap_class="dispatch",
        ),
        node("transformer", "transformer", "plant", 2.5e6, measured_w=533e3, through_w=1.4e6),
        node("north", "feeder", "transformer", 5e5, armed=True, measured_w=270e3),
        node("south", "feeder", "transformer", 5e5, armed=True, measured_w=263e3),
    ],
    fleet=[
        fleet("north", running=60, curtailed=84),
        fleet("south", running=58, curtailed=80, deaf=4, unreachable=2),
    ],
    orders=[
        order("grid-2026-11-22-0006", "released"),
        order("grid-2026-11-22-0007", "verified"),
    ],
)
TROUBLE = image(
    phase="failsafe",
    mode="part_armed",
    nodes=[
        node(
            "plant",
            "plant",
            None,
            3e6,
            limit_w=300e3,
            measured_w=353e3,
            planned=True,
            reason="dispatcher silent: fail-safe curve",
            cap_class="dispatch",
        ),
        node("north", "feeder", "plant", 5e5, armed=True, measured_w=None),
        node("south", "feeder", "plant", 5e5, armed=False, measured_w=353e3, limit_w=300e3),
    ],
    fleet=[fleet("north", stuck=3), fleet("south", restoring=7, running=137)],
    orders=[order("grid-0008", "failed", shortfall_w=53e3, t90_s=None)],
    alarms=[
        AlarmView(
            alarm_id="no_watchdog",
            severity="warning",
            since_at=AT,
            detail="armed: north",
            meaning="feeders are armed without a watchdog",
            mend="watch the site, or have a relay that sheds the feeders by itself",
        ),
        AlarmView(
            alarm_id="meter_bad:north",
            severity="critical",
            since_at=AT,
            detail="north: no whole reply within 0.5 s",
            meaning="a meter gives no usable value",
            mend="check the meter's network, power and register map",
        ),
    ],
    dispatcher=DispatcherView(
        state="silent", connected=False, heartbeat_age_s=75.0, error="connection refused"
    ),
    tick=TickView(run=900, skipped=2, failed=1, last_ms=31.0),
)
IMAGES = {"normal": NORMAL, "observe": OBSERVE, "curtailed": CURTAILED, "trouble": TROUBLE}
