"""The site as decisions see it: the tree of limits, the miners on it, and the policy. Never
changes in a tick.

    plant ── line ── transformer ─┬─ feeder A ─┬─ rack A1
                                  │            └─ rack A2
                                  └─ feeder B
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import time, tzinfo
from enum import StrEnum
from functools import cached_property

from drivers.contract.capabilities import Dynamics


class NodeKind(StrEnum):
    """What a node of the tree is."""

    PLANT = "plant"
    LINE = "line"
    TRANSFORMER = "transformer"
    FEEDER = "feeder"
    RACK = "rack"


class OnMeterLoss(StrEnum):
    """What a feeder does while its meter is not GOOD."""

    MODEL = "model"
    """Count what the miners report, raised by 8 %, and start none (energy.md §3.8.1)."""
    CURTAIL = "curtail"
    """Walk the fail-safe curve down to the node's `failsafe_w`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One place with a limit of its own.

    A feeder carries mining load only, and its meter sees only that. The meter of any other node
    sees everything that flows through it; what is not mining is *other load*, counted at
    `other_max_w` while it cannot be measured. `auxiliary_w` is what a feeder draws beside its
    miners (fans, network).
    """

    node_id: str
    kind: NodeKind
    parent: str | None
    rating_w: float
    meter_id: str | None = None
    auxiliary_w: float = 0.0
    other_max_w: float = 0.0
    on_meter_loss: OnMeterLoss = OnMeterLoss.MODEL
    failsafe_w: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Miner:
    """One miner of the inventory, joined with its model's nameplate and its firmware's dynamics.

    `tier`: 0 is protected (curtailed last), larger numbers are curtailed earlier.
    """

    miner_id: str
    node_id: str
    tier: int
    firmware: str
    rated_power_w: float
    rated_hashrate_ths: float
    sleep_power_w: float
    dynamics: Dynamics

    @property
    def efficiency_jth(self) -> float:
        """Nameplate J/TH; lower is better."""
        return self.rated_power_w / self.rated_hashrate_ths


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A limit that comes back by the calendar, e.g. the evening peak.

    Local times; `until` at or before `since` runs past midnight. Empty `months` or `weekdays`
    (Monday = 0) mean all; both are those of the local day on which the window begins.
    """

    window_id: str
    node_id: str
    cap_w: float
    since: time
    until: time
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class FailsafeCurve:
    """How the limit of a lost source falls: held, then linear down to `value_w`. It never rises."""

    hold_s: float = 30.0
    decay_s: float = 60.0
    value_w: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchPolicy:
    """What the site does about its dispatcher. Defaults: energy.md §3.8; restart delay as
    Beckhoff TF8360.

    `node_id` is where the fail-safe limit acts. A heartbeat older than `heartbeat_timeout_s` is
    lost.
    """

    node_id: str
    heartbeat_timeout_s: float = 30.0
    curve: FailsafeCurve = FailsafeCurve()
    restart_delay_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Constants of the control law. Defaults and their evidence: energy.md §3.4.

    `margin` and `over_limit` are shares of the limit, `deadband` of the node's rating. Ramps are
    of the whole site. `confirm_s`: how long after a command's full effect a confirming reading
    may still take. `verify_hold_s`: how long the meters must stay under the limit before an order
    is VERIFIED. `service_s`: time to deliver an order that names none. `recover_s`: how long
    headroom must last before the first start. `urgent_s`: what must go at once goes from miners
    that are down in this time, where there are any (θ_max of the reference).
    """

    tick_s: float = 1.0
    margin: float = 0.01
    deadband: float = 0.01
    over_limit: float = 0.01
    trim_gain: float = 0.15
    ramp_up_w_per_s: float
    ramp_down_w_per_s: float
    min_on_s: float = 300.0
    min_off_s: float = 60.0
    confirm_s: float = 8.0
    retry_s: float = 60.0
    retry_max_s: float = 600.0
    recover_s: float = 10.0
    verify_hold_s: float = 5.0
    service_s: float = 60.0
    urgent_s: float = 10.0


@dataclass(frozen=True)
class Site:
    """Everything fixed that a decision needs. Raises ValueError when the tree does not hold
    together.
    """

    site_id: str
    timezone: tzinfo
    nodes: Mapping[str, Node]
    miners: Mapping[str, Miner]
    policy: Policy
    windows: Sequence[Window] = ()
    dispatch: DispatchPolicy | None = None
    paths: Mapping[str, tuple[str, ...]] = field(init=False)
    """Every node's path, itself first and the root last."""

    def __post_init__(self) -> None:
        roots = [node.node_id for node in self.nodes.values() if node.parent is None]
        if len(roots) != 1:
            raise ValueError(f"the tree needs exactly one node without a parent, not {roots}")
        object.__setattr__(self, "paths", {name: self._path(name) for name in self.nodes})
        for name, path in self.paths.items():
            if sum(self.nodes[above].kind is NodeKind.FEEDER for above in path) > 1:
                raise ValueError(f"node {name}: one feeder cannot hang below another: {path}")
        limited = {f"window {w.window_id}": w.node_id for w in self.windows}
        if self.dispatch is not None:
            limited["dispatch"] = self.dispatch.node_id
        for what, name in limited.items():
            if name not in self.nodes:
                raise ValueError(f"{what} limits unknown node {name}: name one of the tree")
        for miner in self.miners.values():
            if miner.node_id not in self.nodes:
                raise ValueError(f"miner {miner.miner_id} hangs on unknown node {miner.node_id}")
            if not any(self.nodes[n].kind is NodeKind.FEEDER for n in self.paths[miner.node_id]):
                raise ValueError(f"miner {miner.miner_id}: no feeder above {miner.node_id}")

    def _path(self, name: str) -> tuple[str, ...]:
        path = [name]
        while (parent := self.nodes[path[-1]].parent) is not None:
            if parent not in self.nodes or parent in path:
                raise ValueError(f"node {path[-1]}: parent {parent} is unknown or makes a ring")
            path.append(parent)
        return tuple(path)

    def standing(self, node_id: str) -> str:
        """The node itself; the root for one that is no longer in the tree, so that no limit is
        ever lost.
        """
        return node_id if node_id in self.nodes else self.root_id

    @cached_property
    def root_id(self) -> str:
        """The one node without a parent."""
        return next(node.node_id for node in self.nodes.values() if node.parent is None)

    @cached_property
    def feeders(self) -> tuple[str, ...]:
        """Ids of the mining feeders, in the order of the configuration."""
        return tuple(n.node_id for n in self.nodes.values() if n.kind is NodeKind.FEEDER)

    @cached_property
    def feeders_below(self) -> Mapping[str, tuple[str, ...]]:
        """Feeders at or below a node; a rack has none of its own."""
        return {
            name: tuple(f for f in self.feeders if name in self.paths[f]) for name in self.nodes
        }

    @cached_property
    def feeder_of(self) -> Mapping[str, str]:
        """The feeder at or above a leaf node that carries miners."""
        return {
            name: next(n for n in path if self.nodes[n].kind is NodeKind.FEEDER)
            for name, path in self.paths.items()
            if any(self.nodes[n].kind is NodeKind.FEEDER for n in path)
        }

    @cached_property
    def deepest_first(self) -> tuple[str, ...]:
        """Nodes ordered so that children come before their parents."""
        return tuple(sorted(self.nodes, key=lambda name: (-len(self.paths[name]), name)))

    @cached_property
    def slowest_down_s(self) -> float:
        """Longest time that any firmware here takes to fall to sleep."""
        return max((m.dynamics.down_s for m in self.miners.values()), default=0.0)

    @cached_property
    def up_times_s(self) -> tuple[float, ...]:
        """The different times that firmwares here take to come up, shortest first."""
        return tuple(sorted({m.dynamics.up_s for m in self.miners.values()}))
