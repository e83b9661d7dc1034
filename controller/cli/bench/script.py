"""The cap that moves: steps and ramps, down and up, by order, setpoint and operator.

    share of full load
    0.97 ┐                    ╭────────╮
    0.90 │           ╭────────╯        ╲           setpoint
    0.80 └───────────┘ order 1           ╲              ╭──── 0.58
    0.60                      ▁▁▁▁▁▁▁▁▁▁▁▁╲▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁ order 2
    0.52                                    ╲───────────╯
    0.45                      ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁ operator of t2
         warm-up     0     0.25 0.35  0.50  0.75 0.80  0.90   share of the run

The same table gives the instructions and what the load is judged by, so the judge does not ask the
decisions what the cap was.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from math import ceil, inf

from controller.cli.bench.fleet import ROOT, BenchPlant
from controller.power.instructions import (
    ArmFeeder,
    ClearOperatorCap,
    Instruction,
    NewOrder,
    NewSetpoint,
    ReleaseOrder,
    SetOperatorCap,
)
from controller.power.state import OnExpiry, OrderClass

_ISSUER, _OPERATOR, _LIMITED = "dispatcher", "operator", "t2"
_LASTS = timedelta(hours=2)
LEARN_TICKS = 20
"""Every miner is polled and the meters teach their scale before the first order."""
_SETPOINT = ((0.0, 0.90), (0.25, 0.97), (0.50, 0.97), (0.80, 0.52), (0.90, 0.52), (0.90, 0.58))
"""The plant's setpoint between these points (share of the run, share of full load)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A limit that begins and ends at shares of the run. `since` below 0 is within the warm-up."""

    name: str
    node_id: str
    cap: float
    since: float
    until: float
    within_s: float | None = None


_ORDERS = (
    _Step(name="order-1", node_id=ROOT, cap=0.80, since=-inf, until=0.0),
    _Step(name="order-2", node_id=ROOT, cap=0.60, since=0.35, until=inf, within_s=10.0),
)
"""The second leaves too little time for the slow firmwares, the first enough."""
_LIMIT = _Step(name="operator", node_id=_LIMITED, cap=0.45, since=0.35, until=0.75)


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """The moves of one run. Tick 0 is the first that is measured; the run begins `warm_up` ticks
    before it and measures `ticks`.
    """

    plant: BenchPlant
    warm_up: int
    ticks: int

    def instructions(self, tick: int, now: datetime) -> tuple[Instruction, ...]:
        """What people say in this tick."""
        said: list[Instruction] = []
        if tick == -self.warm_up:
            said += [ArmFeeder(node_id=f, by=_OPERATOR) for f in self.plant.site.feeders]
        for step in _ORDERS:
            if tick == self._tick(step.since):
                said.append(self._order(step, now))
            if tick == self._tick(step.until):
                said.append(ReleaseOrder(order_id=step.name, issuer=_ISSUER))
        if tick == 0 or (tick > 0 and self._setpoint_w(tick) != self._setpoint_w(tick - 1)):
            said.append(self._setpoint(tick, now))
        if tick == self._tick(_LIMIT.since):
            cap_w = self._cap_w(_LIMIT)
            said.append(
                SetOperatorCap(node_id=_LIMITED, cap_w=cap_w, by=_OPERATOR, reason="work on t2")
            )
        if tick == self._tick(_LIMIT.until):
            said.append(ClearOperatorCap(node_id=_LIMITED, by=_OPERATOR))
        return tuple(said)

    def caps_w(self, tick: int) -> dict[str, float]:
        """The lowest cap of each node that has one in this tick, in W."""
        caps_w: dict[str, float] = {}
        for step in (*_ORDERS, _LIMIT):
            if self._tick(step.since) <= tick < self._tick(step.until):
                caps_w[step.node_id] = self._cap_w(step)
        if tick >= 0:
            setpoint_w = self._setpoint_w(tick)
            caps_w[ROOT] = min(setpoint_w, caps_w.get(ROOT, setpoint_w))
        return caps_w

    def _tick(self, share: float) -> float:
        if share == -inf:
            return LEARN_TICKS - self.warm_up
        return share if share == inf else ceil(round(share * self.ticks, 6))

    def _cap_w(self, step: _Step) -> float:
        return step.cap * self.plant.full_w[step.node_id]

    def _order(self, step: _Step, now: datetime) -> NewOrder:
        return NewOrder(
            order_id=step.name,
            issuer=_ISSUER,
            node_id=step.node_id,
            order_class=OrderClass.DISPATCH,
            valid_from=now,
            valid_until=now + _LASTS,
            cap_w=self._cap_w(step),
            within_s=step.within_s,
        )

    def _setpoint(self, tick: int, now: datetime) -> NewSetpoint:
        return NewSetpoint(
            issuer=_ISSUER,
            node_id=ROOT,
            sequence=tick + 1,
            cap_w=self._setpoint_w(tick),
            valid_from=now,
            valid_until=now + _LASTS,
            on_expiry=OnExpiry.HOLD,
        )

    def _setpoint_w(self, tick: int) -> float:
        share = _SETPOINT[-1][1]
        for (since, begin), (until, end) in pairwise(_SETPOINT):
            first, last = self._tick(since), self._tick(until)
            if first <= tick < last:
                share = begin + (end - begin) * (tick - first) / (last - first)
                break
        return share * self.plant.full_w[ROOT]
