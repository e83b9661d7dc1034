"""Makes the image of the site that consoles and command lines show. Reads decisions, decides
nothing.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controller.channel.view import (
    AlarmView,
    DispatcherView,
    EventView,
    FleetView,
    ListMiners,
    MeterView,
    MinerLine,
    MinersPage,
    NodeView,
    OrderView,
    PlannedView,
    SetpointView,
    SiteImage,
    TickView,
)
from controller.config.inventory import InventoryRow
from controller.power.alarms import TABLE, kind_of
from controller.power.caps import CapClass, collect, meter_w
from controller.power.decide import Decision
from controller.power.events import Event
from controller.power.image import Image
from controller.power.site import NodeKind, Site
from controller.power.state import State, Target, TargetState
from controller.power.targets import reported_w
from controller.site.slots import Slots
from drivers.contract.quantities import Quality

_EVENTS_SHOWN = 30
_PAGE_MAX = 500
_PLANNED_SHOWN = 5
_ORDERS_SHOWN = 20
_UNREACHABLE = "unreachable"
MINER_STATES = (*TargetState, _UNREACHABLE)
"""What a list of miners can be narrowed to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFacts:
    """What is known of the dispatcher's link; None fields where there is no dispatcher."""

    connected: bool
    error: str | None


class Pages:
    """Keeps what the pictures need of the last tick."""

    def __init__(
        self, site: Site, name: str, rows: Mapping[str, InventoryRow], slots: Slots
    ) -> None:
        self._site = site
        self._name = name
        self._rows = rows
        self._slots = slots
        self._events: deque[Event] = deque(maxlen=_EVENTS_SHOWN)
        self._state = State()
        self._now_s = 0.0

    def note(self, events: list[Event]) -> None:
        """Remember the newest events for the next picture."""
        self._events.extend(events)

    def picture(
        self,
        decision: Decision,
        image: Image,
        tick: TickView,
        link: LinkFacts | None,
        side_alarms: Sequence[AlarmView] = (),
    ) -> SiteImage:
        """The site at this tick; `side_alarms` are shown behind its own."""
        self._state, self._now_s = decision.state, image.now_s
        state = decision.state
        return SiteImage(
            site_id=self._site.site_id,
            name=self._name,
            at=image.now,
            phase=decision.phase,
            mode=_mode(state, self._site),
            nodes=[self._node(name, decision, image) for name in decision.nodes],
            fleet=self._fleet(decision, image),
            orders=_orders(state),
            setpoints=[
                SetpointView(
                    node_id=s.node_id,
                    issuer=s.issuer,
                    sequence=s.sequence,
                    cap_w=s.cap_w,
                    valid_until=s.valid_until,
                )
                for s in state.setpoints.values()
            ],
            planned=_planned(state, image, self._site),
            meters=[self._meter(name, image) for name in image.meters],
            alarms=[*_alarms(state), *side_alarms],
            events=[EventView(at=e.at, kind=e.kind, text=e.text) for e in self._events],
            dispatcher=_dispatcher(state, image, link),
            tick=tick,
            skipped={str(k): v for k, v in decision.allocation.skipped.items() if v},
            proposed=len(decision.allocation.proposed_sleep),
        )

    def _node(self, name: str, decision: Decision, image: Image) -> NodeView:
        node, load = self._site.nodes[name], decision.nodes[name]
        feeder = node.kind is NodeKind.FEEDER
        return NodeView(
            node_id=name,
            kind=node.kind,
            parent=node.parent,
            rating_w=node.rating_w,
            limit_w=load.limit.limit_w,
            reason=load.limit.cap.reason,
            cap_class=CapClass(load.limit.cap.cap_class).name.lower(),
            planned=load.limit.planned,
            measured_w=load.measured_w,
            expected_w=load.expected_w,
            settle_w=load.settle_w,
            floor_w=load.floor_w,
            through_w=meter_w(image, node.meter_id),
            armed=name in decision.state.armed if feeder else None,
        )

    def _fleet(self, decision: Decision, image: Image) -> list[FleetView]:
        counts = {name: dict.fromkeys(TargetState, 0) for name in self._site.feeders}
        unreachable = dict.fromkeys(self._site.feeders, 0)
        hashing: dict[str, float | None] = dict.fromkeys(self._site.feeders)
        targets, feeder_of = decision.state.targets, self._site.feeder_of
        for miner in self._site.miners.values():
            feeder = feeder_of[miner.node_id]
            target = targets.get(miner.miner_id)
            counts[feeder][target.state if target is not None else TargetState.RUNNING] += 1
            if miner.miner_id in image.unreachable:
                unreachable[feeder] += 1
            reading = image.miners.get(miner.miner_id)
            if reading is None or miner.miner_id in image.unreachable:
                continue
            rate_ths = reading.hashrate_ths if reading.hashing else 0.0
            hashing[feeder] = (hashing[feeder] or 0.0) + (rate_ths or 0.0)
        return [
            FleetView(
                feeder=name,
                miners=sum(states.values()),
                running=states[TargetState.RUNNING],
                curtailing=states[TargetState.CURTAILING],
                curtailed=states[TargetState.CURTAILED],
                restoring=states[TargetState.RESTORING],
                deaf=states[TargetState.DEAF],
                stuck=states[TargetState.STUCK],
                unreachable=unreachable[name],
                hashrate_ths=hashing[name],
            )
            for name, states in counts.items()
        ]

    def _meter(self, meter_id: str, image: Image) -> MeterView:
        view, track = image.meters[meter_id], self._slots.meters[meter_id].track
        reading = track.reading
        usable = {
            str(signal): value
            for signal in (reading.values if reading is not None else ())
            if track.quality(signal) is not Quality.BAD
            and (value := track.value(signal)) is not None
        }
        return MeterView(
            meter_id=meter_id,
            quality=view.quality,
            age_s=track.age_s,
            power_w=view.power_w,
            frequency_hz=view.frequency_hz,
            fault=view.fault,
            signals=usable,
        )

    def miners(self, asked: ListMiners) -> MinersPage:
        """One page of miners as they stood at the last tick."""
        chosen = [
            row
            for row in self._rows.values()
            if asked.state is None or self._is(row.miner_id, asked.state)
        ]
        first = max(0, asked.offset)
        page = chosen[first : first + min(max(1, asked.limit), _PAGE_MAX)]
        return MinersPage(total=len(chosen), miners=[self._line(row) for row in page])

    def _is(self, miner_id: str, state: str) -> bool:
        if state == _UNREACHABLE:
            return miner_id in self._slots.miners.unreachable
        return self._target_state(miner_id) == state

    def _target_state(self, miner_id: str) -> str:
        target = self._state.targets.get(miner_id)
        return TargetState.RUNNING if target is None else target.state

    def _line(self, row: InventoryRow) -> MinerLine:
        miner = self._site.miners[row.miner_id]
        slots = self._slots.miners
        reading = slots.readings.get(row.miner_id)
        target: Target | None = self._state.targets.get(row.miner_id)
        estimated = reading is not None and reading.power_w is None
        return MinerLine(
            miner_id=row.miner_id,
            host=row.host,
            firmware=row.firmware,
            model=row.model,
            node_id=row.rack or row.feeder,
            tier=row.tier,
            state=self._target_state(row.miner_id),
            why=(target.why if target is not None else "") or slots.errors.get(row.miner_id, ""),
            power_w=None if reading is None else reported_w(miner, reading),
            estimated=estimated,
            hashrate_ths=None if reading is None else reading.hashrate_ths,
            chip_temperature_c=None if reading is None else reading.chip_temperature_c,
            age_s=None if reading is None else max(0.0, self._now_s - reading.taken_s),
            unreachable=row.miner_id in slots.unreachable,
            tag=self._state.tags.get(row.miner_id),
            persistent_writes=0 if target is None else target.persistent_writes,
        )


def _mode(state: State, site: Site) -> str:
    armed = [name for name in site.feeders if name in state.armed]
    if not armed:
        return "observe"
    return "armed" if len(armed) == len(site.feeders) else "part_armed"


def _planned(state: State, image: Image, site: Site) -> list[PlannedView]:
    """The next limits that are still to come, the soonest first."""
    coming = [
        (cap.valid_from, cap.cap_id, cap)
        for cap in collect(state, image, site)
        if cap.valid_from is not None and cap.valid_from > image.now
    ]
    return [
        PlannedView(node_id=cap.node_id, cap_w=cap.value_w, begins_at=begins_at, reason=cap.reason)
        for begins_at, _, cap in sorted(coming, key=lambda found: found[:2])[:_PLANNED_SHOWN]
    ]


def _orders(state: State) -> list[OrderView]:
    newest = list(state.orders.values())[-_ORDERS_SHOWN:]
    return [
        OrderView(
            order_id=o.order_id,
            issuer=o.issuer,
            node_id=o.node_id,
            order_class=o.order_class,
            stage=o.stage,
            cap_w=o.cap_w,
            received_at=o.received_at,
            valid_from=o.valid_from,
            valid_until=o.valid_until,
            within_s=o.within_s,
            baseline_w=o.baseline_w,
            deliverable_w=o.deliverable_w,
            measured_w=o.measured_w,
            t90_s=o.t90_s,
            shortfall_w=o.shortfall_w,
            delivered_wh=o.delivered_wh,
            reason=o.reason,
        )
        for o in newest
    ]


def _alarms(state: State) -> list[AlarmView]:
    views = []
    for alarm_id, alarm in state.alarms.items():
        row = TABLE[kind_of(alarm_id)]
        views.append(
            AlarmView(
                alarm_id=alarm_id,
                severity=row.severity,
                since_at=alarm.since_at,
                detail=alarm.detail,
                meaning=row.meaning,
                mend=row.mend,
            )
        )
    return views


def _dispatcher(state: State, image: Image, link: LinkFacts | None) -> DispatcherView:
    source = state.source
    if link is None or source is None:
        return DispatcherView(state="none")
    age_s: float | None = image.now_s - source.heard_s
    if source.lost_s is None:
        said = "heard"
    elif source.back_s is not None:
        said = "returning"
    elif not source.ever_heard:
        said, age_s = "never_heard", None
    else:
        said = "silent"
    return DispatcherView(
        state=said, connected=link.connected, heartbeat_age_s=age_s, error=link.error
    )
