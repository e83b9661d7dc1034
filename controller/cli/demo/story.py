"""What a run showed, from the site's images, and whether a scripted evening happened. Pure.

normal → order −40 % → VERIFIED → release and ramp → planned peak that arrives on time
       → an order too large that ends FAILED with the right shortfall
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from controller.channel.view import NodeView, OrderView, SiteImage

FIRST, LAST = "evening-1", "evening-2"
_BACK_SHARE = 0.9
"""The load counts as back when this share of what the order took is drawn again."""
_OVER = 1.01
_SETTLE = timedelta(seconds=45)
"""Time to come down after a limit fell; a verified order has settled, however fast it was."""
_SHORTFALL_SHARE = 0.02
_NOISE_W = 2_000.0


@dataclass(slots=True)
class Record:
    """Tallies a site's images, one a second; `root` is the plant's node."""

    root: str
    orders: dict[str, OrderView] = field(default_factory=dict)
    alarms: dict[str, str] = field(default_factory=dict)
    phases: list[str] = field(default_factory=list)
    ticks: tuple[int, int] = (0, 0)
    over_limit_s: int = 0
    _limit_w: float | None = None
    _fell_at: datetime | None = None

    def see(self, image: SiteImage) -> NodeView:
        """Take in one image; returns the plant's node in it."""
        root = next(node for node in image.nodes if node.node_id == self.root)
        self.orders.update({order.order_id: order for order in image.orders})
        for alarm in image.alarms:
            self.alarms.setdefault(alarm.alarm_id, alarm.detail)
        if not self.phases or self.phases[-1] != image.phase:
            self.phases.append(image.phase)
        self.ticks = (image.tick.run, image.tick.skipped)
        if self._limit_w is not None and root.limit_w < 0.99 * self._limit_w:
            self._fell_at = image.at
        self._limit_w = root.limit_w
        measured_w = root.measured_w
        if measured_w is None or root.planned or not self._settled(image.at):
            return root
        if measured_w > _OVER * max(root.limit_w, root.floor_w):
            self.over_limit_s += 1
        return root

    def _settled(self, at: datetime) -> bool:
        stages = {order.stage for order in self.orders.values()}
        if stages & {"delivering", "failed"}:
            return False  # its own proof says how far it came
        return "verified" in stages or self._fell_at is None or at - self._fell_at > _SETTLE

    def summary(self, receipts: Mapping[str, list[str]]) -> dict[str, Any]:
        """The run in numbers. `receipts`: order id → the stages that the dispatcher was told."""
        return {
            "orders": [_order(order, receipts) for order in self.orders.values()],
            "ticks": {"run": self.ticks[0], "skipped": self.ticks[1]},
            "over_limit_s": self.over_limit_s,
            "alarms": [{"id": name, "detail": said} for name, said in self.alarms.items()],
        }

    def missed(self) -> list[str]:
        """What no run may show."""
        if not self.over_limit_s:
            return []
        return [f"{self.over_limit_s} s more than 1 % over the limit after settling"]


@dataclass(slots=True)
class Evening:
    """The script of the demonstration, followed image by image beside a record."""

    record: Record
    peak_from: datetime
    peak_until: datetime
    came_back: bool = False
    peak_begin_w: float | None = None
    peak_cap_w: float | None = None
    true_failed_w: float | None = None
    """The true load while the last order stood FAILED."""

    def see(self, image: SiteImage, truth_w: float | None) -> None:
        """Take in one image, and the true mining load at that moment."""
        root = self.record.see(image)
        last = self.record.orders.get(LAST)
        if last is not None and last.stage == "failed":
            self.true_failed_w = truth_w
        if root.measured_w is None:
            return
        first = self.record.orders.get(FIRST)
        if first is not None and first.stage == "released" and first.baseline_w is not None:
            taken_w = first.baseline_w - first.cap_w
            if root.measured_w >= first.cap_w + _BACK_SHARE * taken_w:
                self.came_back = True
        if self.peak_begin_w is None and self.peak_from <= image.at < self.peak_until:
            self.peak_begin_w, self.peak_cap_w = root.measured_w, root.limit_w

    def missed(self) -> list[str]:
        """What the script promised and did not happen."""
        return [
            *self._missed_first(),
            *self._missed_peak(),
            *self._missed_last(),
            *self.record.missed(),
        ]

    def _missed_first(self) -> list[str]:
        first = self.record.orders.get(FIRST)
        if first is None:
            return [f"order {FIRST} never came"]
        said = []
        if first.t90_s is None or first.stage not in {"verified", "released"}:
            said.append(f"order {FIRST} was not VERIFIED: {first.stage}")
        if first.stage != "released":
            said.append(f"order {FIRST} was not released")
        elif not self.came_back:
            said.append("the load did not come back after the release")
        return said

    def _missed_peak(self) -> list[str]:
        if self.peak_begin_w is None or self.peak_cap_w is None:
            return ["the planned peak was not seen"]
        if self.peak_begin_w > _OVER * self.peak_cap_w:
            begun, cap = self.peak_begin_w / 1000, self.peak_cap_w / 1000
            return [f"the planned peak began at {begun:.1f} kW, over its cap of {cap:.1f} kW"]
        return []

    def _missed_last(self) -> list[str]:
        last, truth_w = self.record.orders.get(LAST), self.true_failed_w
        if last is None or last.stage != "failed" or last.shortfall_w is None:
            stage = "never came" if last is None else f"ended {last.stage}"
            return [f"order {LAST} should be FAILED with its shortfall; it {stage}"]
        if last.measured_w is None or truth_w is None:
            return [f"the true load at order {LAST} is not known"]
        true_short_w = truth_w - (last.measured_w - last.shortfall_w)
        if abs(last.shortfall_w - true_short_w) > _SHORTFALL_SHARE * truth_w + _NOISE_W:
            told, true = last.shortfall_w / 1000, true_short_w / 1000
            return [f"order {LAST} is said short by {told:.1f} kW, in truth by {true:.1f} kW"]
        return []

    def summary(self, receipts: Mapping[str, list[str]]) -> dict[str, Any]:
        """The demonstration's result, for programs."""
        return {
            **self.record.summary(receipts),
            "planned_peak": {
                "cap_w": _whole(self.peak_cap_w),
                "at_begin_w": _whole(self.peak_begin_w),
            },
            "missed": self.missed(),
        }


def _order(order: OrderView, receipts: Mapping[str, list[str]]) -> dict[str, Any]:
    told = receipts.get(order.order_id, [])
    proofs = [stage for stage in told if stage in {"VERIFIED", "FAILED"}]
    return {
        "id": order.order_id,
        "cap_w": round(order.cap_w),
        "t90_s": None if order.t90_s is None else round(order.t90_s, 1),
        "delivered_kwh": round(order.delivered_wh / 1000, 2),
        "confirmation": proofs[0] if proofs else None,
        "shortfall_w": _whole(order.shortfall_w),
        "receipts": told,
    }


def _whole(power_w: float | None) -> int | None:
    return None if power_w is None else round(power_w)
