"""Images of a small site, as a tick publishes them."""

from controller.channel.view import (
    AlarmView,
    DispatcherView,
    EventView,
    FleetView,
    MeterView,
    NodeView,
    OrderView,
    SiteImage,
    TickView,
)
from tests.unit.telemetry.toy_clock import START


def node(node_id="plant", **facts):
    shown = {
        "kind": "plant",
        "parent": None,
        "rating_w": 9000.0,
        "limit_w": 5000.0,
        "reason": "line 2 is out",
        "cap_class": "operator",
        "planned": False,
        "measured_w": 4000.0,
        "expected_w": 4100.0,
        "settle_w": 4200.0,
        "floor_w": 100.0,
    }
    return NodeView(node_id=node_id, **{**shown, **facts})


def fleet(feeder="f1", **facts):
    counts = ("running", "curtailing", "curtailed", "restoring", "deaf", "stuck", "unreachable")
    shown = {**dict.fromkeys(counts, 0), "hashrate_ths": None, **facts}
    return FleetView(feeder=feeder, miners=20, **shown)


def order(order_id="o1", stage="delivering", **facts):
    shown = {
        "issuer": "ndc",
        "node_id": "plant",
        "order_class": "dispatch",
        "cap_w": 3000.0,
        "received_at": START,
        "valid_until": START,
        "within_s": 60.0,
        "baseline_w": 4000.0,
        "deliverable_w": 3000.0,
        "measured_w": 3900.0,
        "t90_s": None,
        "shortfall_w": None,
        "delivered_wh": 1.5,
        "reason": "",
    }
    return OrderView(order_id=order_id, stage=stage, **{**shown, **facts})


def alarm(alarm_id, severity="warning", detail="why"):
    return AlarmView(
        alarm_id=alarm_id,
        severity=severity,
        since_at=START,
        detail=detail,
        meaning="it means",
        mend="do this",
    )


def event(text, at=START, kind="alarm_raised"):
    return EventView(at=at, kind=kind, text=text)


def meter(frequency_hz=None, **facts):
    shown = {"quality": "good", "age_s": 0.5, "power_w": 4000.0, "fault": None, **facts}
    return MeterView(meter_id="m1", frequency_hz=frequency_hz, **shown)


def image(at=START, *, frequency_hz=None, hashrate_ths=None, **facts):
    shown = {
        "nodes": [node()],
        "fleet": [fleet(hashrate_ths=hashrate_ths)],
        "meters": [meter(frequency_hz)],
        "orders": [],
        "alarms": [],
        "events": [],
        "skipped": {},
        "proposed": 0,
        "dispatcher": DispatcherView(state="none"),
        "tick": TickView(run=7, skipped=1, failed=0, last_ms=2.5),
    }
    return SiteImage(
        site_id="toy",
        name="Toy",
        at=at,
        phase="normal",
        mode="armed",
        setpoints=[],
        planned=[],
        **{**shown, **facts},
    )
