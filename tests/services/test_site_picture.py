"""The image of the site: unknown is None, and what stands in it is what was decided."""

import msgspec
import pytest

from controller.channel.view import ListMiners, SiteImage
from controller.cli.scenario.virtual_time import run_virtual
from controller.power.instructions import ArmFeeder, SetOperatorCap
from controller.power.site import DispatchPolicy
from drivers.contract.readings import MinerReading
from tests.services.site_ground import FULL_W, RATED_W, Ground, meter_reading, small_site


def line(ground, miner_id="m00"):
    page = ground.pages.miners(ListMiners(by="test"))
    return next(one for one in page.miners if one.miner_id == miner_id)


def test_nothing_known_is_none_everywhere():
    async def story():
        ground = Ground()
        ground.meter_lost = True
        for miner in ground.miners.values():
            miner.silent = True
        await ground.tick()
        image = ground.images[-1]
        for node in image.nodes:
            assert (node.measured_w, node.through_w) == (None, None)
        meter = image.meters[0]
        assert (meter.age_s, meter.power_w, meter.frequency_hz) == (None, None, None)
        assert (meter.quality, meter.fault, meter.signals) == ("bad", "no reading yet", {})
        miner = line(ground)
        assert (miner.power_w, miner.hashrate_ths, miner.age_s) == (None, None, None)
        assert miner.chip_temperature_c is None
        assert image.dispatcher.state == "none"
        assert image.orders == []

    run_virtual(story())


def test_zero_watts_are_zero_watts():
    async def story():
        ground = Ground()
        ground.meter_lost = True
        ground.slots.meters["f1-meter"].put(meter_reading(ground.clock.monotonic_s(), 0.0))
        await ground.tick()
        node = next(n for n in ground.images[-1].nodes if n.node_id == "f1")
        assert node.measured_w == 0.0
        assert node.through_w == 0.0

    run_virtual(story())


def test_a_lost_meter_takes_the_power_with_it_and_keeps_its_age():
    async def story():
        ground = Ground()
        await ground.tick(3)
        ground.meter_lost = True
        ground.slots.meters["f1-meter"].miss("connection refused")
        await ground.tick(6)
        image = ground.images[-1]
        meter = image.meters[0]
        assert (meter.quality, meter.power_w) == ("stale", None)
        assert meter.age_s == pytest.approx(6.0)
        assert meter.fault == "connection refused"
        assert [n.measured_w for n in image.nodes] == [None, None]
        assert "meter_bad:f1-meter" in {alarm.alarm_id for alarm in image.alarms}

    run_virtual(story())


def test_a_firmware_without_power_is_estimated_and_said_so():
    async def story():
        ground = Ground()
        await ground.tick()
        now_s = ground.clock.monotonic_s()
        ground.slots.miners.put(
            MinerReading(
                miner_id="m00", begun_s=now_s, taken_s=now_s, hashing=True, hashrate_ths=50.0
            )
        )
        miner = line(ground)
        assert miner.estimated
        assert miner.power_w == pytest.approx(RATED_W / 2)
        assert not line(ground, "m01").estimated

    run_virtual(story())


def test_the_running_site_as_it_stands():
    async def story():
        ground = Ground()
        ground.acts.put(ArmFeeder(node_id="f1", by="test"))
        await ground.tick(3)
        ground.acts.put(SetOperatorCap(node_id="plant", cap_w=30e3, by="asel", reason="repair"))
        await ground.tick(15)
        image = ground.images[-1]
        fleet = image.fleet[0]
        assert (fleet.feeder, fleet.miners) == ("f1", 20)
        counted = fleet.running + fleet.curtailing + fleet.curtailed + fleet.restoring
        assert counted + fleet.deaf + fleet.stuck == 20
        assert fleet.curtailed == sum(miner.power_w < 100 for miner in ground.miners.values())
        assert fleet.hashrate_ths == pytest.approx(100.0 * (20 - fleet.curtailed))
        root = next(node for node in image.nodes if node.node_id == "plant")
        assert root.limit_w == 30e3
        assert root.cap_class == "operator"
        assert "repair" in root.reason
        assert root.measured_w == pytest.approx(ground.load_w)
        assert root.armed is None, "only feeders are armed"
        assert image.tick.run == 18
        for alarm in image.alarms:
            assert alarm.meaning
            assert alarm.mend

    run_virtual(story())


@pytest.mark.parametrize(
    ("armed", "mode"), [((), "observe"), (("f1",), "armed")], ids=["observe", "armed"]
)
def test_mode(armed, mode):
    async def story():
        ground = Ground()
        for name in armed:
            ground.acts.put(ArmFeeder(node_id=name, by="test"))
        await ground.tick()
        assert ground.images[-1].mode == mode

    run_virtual(story())


def test_the_image_survives_the_wire():
    async def story():
        ground = Ground()
        await ground.tick(2)
        image = ground.images[-1]
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(image), type=SiteImage) == image
        assert msgspec.json.decode(msgspec.json.encode(image), type=SiteImage) == image

    run_virtual(story())


def test_a_dispatcher_without_a_desk_is_none_not_heard():
    async def story():
        ground = Ground(site=small_site(dispatch=DispatchPolicy(node_id="plant")))
        await ground.tick()
        assert ground.images[-1].dispatcher.state == "none"

    run_virtual(story())


def test_events_and_orders_shown_are_bounded():
    async def story():
        ground = Ground()
        for number in range(60):
            cap_w = FULL_W + number
            ground.acts.put(
                SetOperatorCap(node_id="plant", cap_w=cap_w, by="asel", reason=f"r{number}")
            )
        await ground.tick()
        events = ground.images[-1].events
        assert len(events) == 30
        assert "r59" in " ".join(event.text for event in events)

    run_virtual(story())
