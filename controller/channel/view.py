"""What our processes say to each other: one image of the site a second, and acts upon it.

Everything here is for people and pages: already decided, already named. Unknown is None.
"""

from datetime import datetime

import msgspec


class _View(msgspec.Struct, frozen=True, kw_only=True):
    """Fields unknown to an older reader are ignored, so processes may be upgraded one by one."""


class NodeView(_View, frozen=True, kw_only=True):
    """One node of the tree: its limit and why, its load by the meters. Powers in W.

    `through_w` is everything that flows through the node by its own meter, other load included.
    `armed` is given for feeders only.
    """

    node_id: str
    kind: str
    parent: str | None
    rating_w: float
    limit_w: float
    reason: str
    cap_class: str
    planned: bool
    measured_w: float | None
    expected_w: float
    settle_w: float
    floor_w: float
    through_w: float | None = None
    armed: bool | None = None


class FleetView(_View, frozen=True, kw_only=True):
    """Miners of one feeder by what they are doing.

    `hashrate_ths` sums those that hash and answer; None while none was read.
    """

    feeder: str
    miners: int
    running: int
    curtailing: int
    curtailed: int
    restoring: int
    deaf: int
    stuck: int
    unreachable: int
    hashrate_ths: float | None


class OrderView(_View, frozen=True, kw_only=True):
    """One order, and its proof. `within_s` counts from `valid_from`, or its receipt if later."""

    order_id: str
    issuer: str
    node_id: str
    order_class: str
    stage: str
    cap_w: float
    received_at: datetime
    valid_from: datetime | None = None
    valid_until: datetime
    within_s: float
    baseline_w: float | None
    deliverable_w: float | None
    measured_w: float | None
    t90_s: float | None
    shortfall_w: float | None
    delivered_wh: float
    reason: str


class SetpointView(_View, frozen=True, kw_only=True):
    """The dispatcher's standing limit of one node."""

    node_id: str
    issuer: str
    sequence: int
    cap_w: float
    valid_until: datetime


class PlannedView(_View, frozen=True, kw_only=True):
    """A limit that is still to come; the load comes down so as to arrive at `begins_at`."""

    node_id: str
    cap_w: float
    begins_at: datetime
    reason: str


class MeterView(_View, frozen=True, kw_only=True):
    """One meter or PLC. `signals` holds every usable value by its name, which ends in the unit."""

    meter_id: str
    quality: str
    age_s: float | None
    power_w: float | None
    frequency_hz: float | None
    fault: str | None
    signals: dict[str, float] = {}


class AlarmView(_View, frozen=True, kw_only=True):
    """An alarm that stands: what it means and what to do."""

    alarm_id: str
    severity: str
    since_at: datetime
    detail: str
    meaning: str
    mend: str


class EventView(_View, frozen=True, kw_only=True):
    """One line of the journal's event log."""

    at: datetime
    kind: str
    text: str


class DispatcherView(_View, frozen=True, kw_only=True):
    """The link to the dispatcher. `state`: none, never_heard, heard, silent or returning."""

    state: str
    connected: bool = False
    heartbeat_age_s: float | None = None
    error: str | None = None


class TickView(_View, frozen=True, kw_only=True):
    """How the loop keeps its pace. `last_ms`: decision and journal of the last tick."""

    run: int
    skipped: int
    failed: int
    last_ms: float


class SiteImage(_View, frozen=True, kw_only=True):
    """The site at one tick.

    `mode`: observe, part_armed or armed. `skipped`: miners passed over, by reason. `proposed`:
    miners that would be curtailed on feeders that only observe.
    """

    site_id: str
    name: str
    at: datetime
    phase: str
    mode: str
    nodes: list[NodeView]
    fleet: list[FleetView]
    orders: list[OrderView]
    setpoints: list[SetpointView]
    planned: list[PlannedView]
    meters: list[MeterView]
    alarms: list[AlarmView]
    events: list[EventView]
    dispatcher: DispatcherView
    tick: TickView
    skipped: dict[str, int]
    proposed: int


class _Act(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`by`: who asks, the login name at the console or command line."""

    by: str


class Arm(_Act, frozen=True, kw_only=True, tag="arm"):
    """Command a feeder's miners from now on; without a watchdog only where that is said."""

    node_id: str
    without_watchdog: bool = False


class Disarm(_Act, frozen=True, kw_only=True, tag="disarm"):
    """Only observe a feeder from now on."""

    node_id: str


class CapNode(_Act, frozen=True, kw_only=True, tag="cap"):
    """The operator limits a node, in W."""

    node_id: str
    cap_w: float
    reason: str


class UncapNode(_Act, frozen=True, kw_only=True, tag="uncap"):
    """The operator lifts his limit of a node."""

    node_id: str


class Tag(_Act, frozen=True, kw_only=True, tag="tag"):
    """A person works on this miner: never command it."""

    miner_id: str
    reason: str


class Untag(_Act, frozen=True, kw_only=True, tag="untag"):
    """The person has left."""

    miner_id: str


class ListMiners(_Act, frozen=True, kw_only=True, tag="miners"):
    """A page of miners in the order of the inventory; `state` filters by the target's state."""

    offset: int = 0
    limit: int = 200
    state: str | None = None


Act = Arm | Disarm | CapNode | UncapNode | Tag | Untag | ListMiners


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """The act is taken in and journaled."""

    detail: str


class MinerLine(_View, frozen=True, kw_only=True):
    """One miner. `state` is the target's; powers in W, ages in seconds."""

    miner_id: str
    host: str
    firmware: str
    model: str
    node_id: str
    tier: int
    state: str
    why: str
    power_w: float | None
    estimated: bool
    hashrate_ths: float | None
    chip_temperature_c: float | None
    age_s: float | None
    unreachable: bool
    tag: str | None
    persistent_writes: int


class MinersPage(msgspec.Struct, frozen=True, kw_only=True, tag="page"):
    """Some miners, and how many there are in all."""

    total: int
    miners: list[MinerLine]


Answer = Done | MinersPage
