"""Which lines a tick's image and a miner's reading make. Pure, but for what was written before.

An order is written while it is in force and once when it ends; an alarm when it begins or ends and
every minute between; an event once.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from controller.channel.view import AlarmView, MeterView, NodeView, OrderView, SiteImage
from controller.power.site import Miner
from controller.power.state import OrderStage
from controller.power.targets import reported_w
from controller.telemetry.lines import Form, Line, Stamps, unix_ns
from controller.telemetry.measurement import (
    ALARM,
    EVENT,
    FLEET,
    METER,
    MINER,
    NODE,
    ORDER,
    SITE,
)
from drivers.contract.quantities import Signal
from drivers.contract.readings import MinerReading

_ALARM_AGAIN_NS = 60_000_000_000
_WHOLE_MAX = 2**53
"""A device's whole number beyond this is nonsense, and more than the database takes."""


def frequency_hz(image: SiteImage) -> float | None:
    """Grid frequency by the first meter that measures it."""
    return next((m.frequency_hz for m in image.meters if m.frequency_hz is not None), None)


def hashrate_ths(image: SiteImage) -> float | None:
    """Of all feeders together; None while nothing was read."""
    known = [f.hashrate_ths for f in image.fleet if f.hashrate_ths is not None]
    return sum(known) if known else None


class SiteSeries:
    """Makes the lines of each image."""

    def __init__(self, site_id: str) -> None:
        self._site_id = site_id
        self._stamps = Stamps()
        self._site, self._node, self._meter = Form(SITE), Form(NODE), Form(METER)
        self._fleet, self._order = Form(FLEET), Form(ORDER)
        self._alarm, self._event = Form(ALARM), Form(EVENT)
        self._heads: dict[tuple[str, ...], str] = {}
        self._stages: dict[str, str] = {}
        self._standing: dict[str, tuple[AlarmView, int]] = {}

    def lines(self, image: SiteImage) -> Iterator[Line]:
        """Every line of this image."""
        at_ns = unix_ns(image.at)
        yield from self._of_site(image, at_ns)
        for node in image.nodes:
            yield from self._of_node(node, at_ns)
        for meter in image.meters:
            yield from self._of_meter(meter, at_ns)
        yield from self._of_fleet(image, at_ns)
        yield from self._of_orders(image.orders, at_ns)
        yield from self._of_alarms(image.alarms, at_ns)
        for event in image.events:
            if event.at == image.at:
                head = self._event.head(self._site_id, event.kind)
                yield from self._stamps.line(head, self._event.fields((), (event.text,)), at_ns)

    def _head(self, form: Form, *tags: str) -> str:
        """A head that comes back every tick, made once."""
        key = (form.name, *tags)
        head = self._heads.get(key)
        if head is None:
            head = self._heads[key] = form.head(self._site_id, *tags)
        return head

    def _of_site(self, image: SiteImage, at_ns: int) -> Iterator[Line]:
        graves = [alarm.severity for alarm in image.alarms]
        numbers = (
            frequency_hz(image),
            hashrate_ths(image),
            image.tick.last_ms,
            image.tick.run,
            image.tick.skipped,
            image.tick.failed,
            sum(image.skipped.values()),
            image.proposed,
            graves.count("critical"),
            graves.count("warning"),
            graves.count("info"),
            image.dispatcher.connected,
            image.dispatcher.heartbeat_age_s,
        )
        fields = self._site.fields(numbers, (image.phase, image.mode, image.dispatcher.state))
        yield from self._stamps.line(self._head(self._site), fields, at_ns)

    def _of_node(self, node: NodeView, at_ns: int) -> Iterator[Line]:
        numbers = (
            node.limit_w,
            node.rating_w,
            node.measured_w,
            node.expected_w,
            node.settle_w,
            node.floor_w,
            node.through_w,
            node.planned,
            node.armed,
        )
        fields = self._node.fields(numbers, (node.cap_class, node.reason))
        yield from self._stamps.line(self._head(self._node, node.node_id, node.kind), fields, at_ns)

    def _of_meter(self, meter: MeterView, at_ns: int) -> Iterator[Line]:
        numbers = (meter.age_s, *(meter.signals.get(signal) for signal in Signal))
        fields = self._meter.fields(numbers, (meter.quality, meter.fault))
        yield from self._stamps.line(self._head(self._meter, meter.meter_id), fields, at_ns)

    def _of_fleet(self, image: SiteImage, at_ns: int) -> Iterator[Line]:
        for row in image.fleet:
            numbers = (
                row.miners,
                row.running,
                row.curtailing,
                row.curtailed,
                row.restoring,
                row.deaf,
                row.stuck,
                row.unreachable,
                row.hashrate_ths,
            )
            head = self._head(self._fleet, row.feeder)
            yield from self._stamps.line(head, self._fleet.fields(numbers), at_ns)

    def _of_orders(self, orders: list[OrderView], at_ns: int) -> Iterator[Line]:
        stages = {}
        for order in orders:
            stages[order.order_id] = order.stage
            in_force = OrderStage(order.stage).in_force
            if not in_force and self._stages.get(order.order_id) == order.stage:
                continue
            numbers = (
                in_force,
                order.cap_w,
                order.within_s,
                order.baseline_w,
                order.deliverable_w,
                order.measured_w,
                order.t90_s,
                order.shortfall_w,
                order.delivered_wh,
            )
            fields = self._order.fields(numbers, (order.stage, order.reason))
            tags = (order.order_id, order.node_id, order.issuer, order.order_class)
            yield from self._stamps.line(self._order.head(self._site_id, *tags), fields, at_ns)
        self._stages = stages

    def _of_alarms(self, alarms: list[AlarmView], at_ns: int) -> Iterator[Line]:
        before, self._standing = self._standing, {}
        for alarm in alarms:
            _, said_ns = before.pop(alarm.alarm_id, (alarm, None))
            if said_ns is None or not 0 <= at_ns - said_ns < _ALARM_AGAIN_NS:
                yield from self._of_alarm(alarm, at_ns, standing=True)
                said_ns = at_ns
            self._standing[alarm.alarm_id] = (alarm, said_ns)
        for alarm, _ in before.values():
            yield from self._of_alarm(alarm, at_ns, standing=False)

    def _of_alarm(self, alarm: AlarmView, at_ns: int, *, standing: bool) -> Iterator[Line]:
        kind, _, about = alarm.alarm_id.partition(":")
        head = self._alarm.head(self._site_id, kind, about, alarm.severity)
        yield from self._stamps.line(head, self._alarm.fields((standing,), (alarm.detail,)), at_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownMiner:
    """What the inventory says of a miner, for its tags and for estimates."""

    miner: Miner
    feeder: str
    model: str


class MinerSeries:
    """Makes the line of each reading; readings of miners that are not `known` make none."""

    def __init__(self, site_id: str, known: Mapping[str, KnownMiner]) -> None:
        self._known = known
        self._stamps = Stamps()
        self._form = Form(MINER)
        self._heads = {
            name: self._form.head(site_id, name, it.feeder, it.miner.firmware, it.model)
            for name, it in known.items()
        }

    def lines(self, reading: MinerReading, at_ns: int) -> Iterable[Line]:
        """The line of this reading, which was whole at `at_ns`."""
        known = self._known.get(reading.miner_id)
        if known is None:
            return ()
        boards_c = [it for it in reading.board_temperatures_c if it is not None]
        fans = reading.fans_rpm
        faults = reading.faults
        numbers = (
            reported_w(known.miner, reading),
            reading.power_w is None,
            reading.power_limit_w,
            reading.hashrate_ths,
            reading.hashing,
            reading.chip_temperature_c,
            max(boards_c) if boards_c else None,
            reading.inlet_temperature_c,
            _whole(min(fans)) if fans else None,
            _whole(max(fans)) if fans else None,
            _whole(reading.uptime_s),
            len(faults),
            reading.taken_s - reading.begun_s,
        )
        fields = self._form.fields(numbers, (reading.mode, faults[0] if faults else None))
        return self._stamps.line(self._heads[reading.miner_id], fields, at_ns)


def _whole(value: int | None) -> int | None:
    return value if value is not None and abs(value) < _WHOLE_MAX else None
