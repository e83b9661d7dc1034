"""Which lines an image and a reading make, read by a reader written apart."""

from collections import Counter
from datetime import timedelta

import pytest

from controller.channel.view import DispatcherView
from controller.power.site import Miner
from controller.telemetry.lines import numbered, unix_ns
from controller.telemetry.measurement import MEASUREMENTS
from controller.telemetry.series import KnownMiner, MinerSeries, SiteSeries
from drivers.contract.capabilities import Dynamics
from drivers.contract.readings import MinerReading, WorkMode
from tests.unit.telemetry.line_reader import read_line
from tests.unit.telemetry.toy_clock import START
from tests.unit.telemetry.toy_image import alarm, event, fleet, image, meter, node, order

AT_NS = unix_ns(START)


def read(lines):
    """Every line as (measurement, tags, fields, ns)."""
    return [read_line(numbered(line, seq)) for seq, line in enumerate(lines, 1)]


def of(name, lines):
    return [(tags, fields) for measurement, tags, fields, _ in read(lines) if measurement == name]


def test_an_image_makes_one_line_of_the_site_and_of_each_node_meter_and_feeder():
    shown = image(
        nodes=[node(), node("f1", kind="feeder", armed=True, through_w=4050.0)],
        meters=[
            meter(signals={"power_w": 4000.0, "energy_import_wh": 123456789012.0}),
            meter(50.013, quality="stale", fault="no answer"),
        ],
        fleet=[fleet(hashrate_ths=100.0), fleet("f2", deaf=1), fleet("f3", hashrate_ths=50.0)],
        skipped={"locked": 2, "wear": 3},
        alarms=[alarm("meter_bad:m1", "critical"), alarm("no_watchdog")],
        dispatcher=DispatcherView(state="heard", connected=True, heartbeat_age_s=1.25),
    )
    lines = list(SiteSeries("toy").lines(shown))
    counts = Counter(name for name, *_ in read(lines))
    assert counts == {"site": 1, "node": 2, "meter": 2, "fleet": 3, "alarm": 2}
    assert {ns for *_, ns in read(lines)} <= {AT_NS, AT_NS + 1}
    ((tags, site),) = of("site", lines)
    assert tags == {"site": "toy"}
    site.pop("seq")
    assert site == {
        "frequency_hz": 50.013,
        "hashrate_ths": 150.0,
        "tick_ms": 2.5,
        "ticks_run": 7,
        "ticks_skipped": 1,
        "ticks_failed": 0,
        "passed_over": 5,
        "proposed": 0,
        "alarms_critical": 1,
        "alarms_warning": 1,
        "alarms_info": 0,
        "dispatcher_connected": True,
        "heartbeat_age_s": 1.25,
        "phase": "normal",
        "mode": "armed",
        "dispatcher": "heard",
    }
    plant, feeder = of("node", lines)
    assert plant[0] == {"site": "toy", "node": "plant", "kind": "plant"}
    assert plant[1]["limit_w"] == 5000.0
    assert plant[1]["reason"] == "line 2 is out"
    assert not {"armed", "through_w"} & plant[1].keys(), "unknown is left out"
    assert (feeder[1]["armed"], feeder[1]["through_w"]) == (True, 4050.0)
    good, stale = of("meter", lines)
    assert good[1]["energy_import_wh"] == 123456789012.0
    assert "fault" not in good[1]
    assert (stale[1]["quality"], stale[1]["fault"]) == ("stale", "no answer")
    assert of("fleet", lines)[1][1]["deaf"] == 1
    assert "hashrate_ths" not in of("fleet", lines)[1][1]


def test_every_field_of_the_table_is_written_by_something():
    full = image(
        nodes=[node(armed=True, through_w=1.0)],
        meters=[
            meter(50.0, fault="x", signals=dict.fromkeys(signal_names(), 1.0)),
        ],
        hashrate_ths=1.0,
        orders=[order(t90_s=1.0, shortfall_w=1.0)],
        alarms=[alarm("meter_bad:m1")],
        events=[event("it happened")],
        dispatcher=DispatcherView(state="heard", connected=True, heartbeat_age_s=1.0),
    )
    lines = [*SiteSeries("toy").lines(full), *miner_series().lines(reading(), AT_NS)]
    seen = {name: (tags.keys(), fields.keys()) for name, tags, fields, _ in read(lines)}
    for measurement in MEASUREMENTS:
        tags, fields = seen[measurement.name]
        assert tags == set(measurement.tags)
        assert fields == {field.name for field in measurement.fields} | {"seq"}


def signal_names():
    table = {measurement.name: measurement for measurement in MEASUREMENTS}
    return [field.name for field in table["meter"].numbers[1:]]


def test_an_event_is_written_once_and_two_at_one_instant_are_two():
    series = SiteSeries("toy")
    old = event("long ago", START - timedelta(seconds=1))
    first = list(series.lines(image(events=[old, event("a"), event("b")])))
    said = [(ns, f["text"]) for name, _, f, ns in read(first) if name == "event"]
    assert said == [(AT_NS, "a"), (AT_NS + 1, "b")]
    later = START + timedelta(seconds=1)
    again = list(series.lines(image(later, events=[old, event("a"), event("b")])))
    assert of("event", again) == []


def test_an_alarm_is_written_as_it_begins_every_minute_and_as_it_ends():
    series, said = SiteSeries("toy"), []
    for second in range(150):
        at = START + timedelta(seconds=second)
        standing = [alarm("meter_bad:m1", "critical")] if 10 <= second < 140 else []
        said += [
            (second, tags["about"], fields["standing"])
            for tags, fields in of("alarm", series.lines(image(at, alarms=standing)))
        ]
    assert said == [
        (10, "m1", True),
        (70, "m1", True),
        (130, "m1", True),
        (140, "m1", False),
    ]


def test_an_order_is_written_while_in_force_and_once_when_it_ends():
    series, said = SiteSeries("toy"), []
    for second, stage in enumerate(["delivering", "verified", "verified", "released", "released"]):
        at = START + timedelta(seconds=second)
        said += [
            (fields["stage"], fields["in_force"])
            for _, fields in of("order", series.lines(image(at, orders=[order(stage=stage)])))
        ]
    assert said == [
        ("delivering", True),
        ("verified", True),
        ("verified", True),
        ("released", False),
    ]


KNOWN = KnownMiner(
    miner=Miner(
        miner_id="m1",
        node_id="f1",
        tier=1,
        firmware="antminer-stock",
        rated_power_w=3000.0,
        rated_hashrate_ths=100.0,
        sleep_power_w=30.0,
        dynamics=Dynamics(down_dead_s=2, down_ramp_s=4, up_dead_s=5, up_ramp_s=10),
    ),
    feeder="f1",
    model="Antminer S19 Pro",
)


def miner_series():
    return MinerSeries("toy", {"m1": KNOWN})


def reading(**facts):
    shown = {
        "begun_s": 10.0,
        "taken_s": 10.25,
        "hashing": True,
        "hashrate_ths": 90.0,
        "power_w": 3100.0,
        "power_limit_w": 3200.0,
        "mode": WorkMode.NORMAL,
        "chip_temperature_c": 71.5,
        "board_temperatures_c": (60.0, None, 64.0),
        "inlet_temperature_c": 25.0,
        "fans_rpm": (5900, 6100),
        "uptime_s": 86400,
        "faults": ("fan 3 lost", "more"),
    }
    return MinerReading(miner_id="m1", **{**shown, **facts})


def test_a_reading_makes_a_line_with_the_tags_of_the_inventory():
    ((name, tags, fields, ns),) = read(miner_series().lines(reading(), AT_NS))
    assert (name, ns) == ("miner", AT_NS)
    assert tags == {
        "site": "toy",
        "miner": "m1",
        "feeder": "f1",
        "firmware": "antminer-stock",
        "model": "Antminer S19 Pro",
    }
    assert fields == {
        "power_w": 3100.0,
        "power_estimated": False,
        "power_limit_w": 3200.0,
        "hashrate_ths": 90.0,
        "hashing": True,
        "chip_temperature_c": 71.5,
        "board_temperature_c_max": 64.0,
        "inlet_temperature_c": 25.0,
        "fan_rpm_min": 5900,
        "fan_rpm_max": 6100,
        "uptime_s": 86400,
        "faults": 2,
        "read_s": 0.25,
        "mode": "normal",
        "fault": "fan 3 lost",
        "seq": 1,
    }


def test_a_firmware_without_watts_is_written_as_estimated():
    ((_, _, fields, _),) = read(miner_series().lines(reading(power_w=None), AT_NS))
    assert (fields["power_w"], fields["power_estimated"]) == (2700.0, True)


@pytest.mark.parametrize(
    "nonsense", [{"uptime_s": 10**40}, {"fans_rpm": (10**19, 5)}, {"chip_temperature_c": 1e999}]
)
def test_nonsense_of_a_device_is_left_out_and_the_rest_written(nonsense):
    ((_, _, fields, _),) = read(miner_series().lines(reading(**nonsense), AT_NS))
    assert fields["power_w"] == 3100.0
    assert not {"uptime_s", "fan_rpm_max", "chip_temperature_c"} <= fields.keys()


def test_a_stranger_makes_no_line():
    assert list(MinerSeries("toy", {}).lines(reading(), AT_NS)) == []
