"""What a verdict is given: the bytes that arrived, and the site as it stands at that moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from controller.dispatch.acceptance.clock import ClockView
from controller.power.state import OrderClass
from controller.signing import PublicKey


@dataclass(frozen=True, slots=True)
class Arrival:
    """Bytes as they came in, and when: one instant on the wall clock and on CLOCK_MONOTONIC."""

    topic: str
    payload: bytes
    now: datetime
    now_s: float


@dataclass(frozen=True, slots=True)
class KnownOrder:
    """An order that was accepted here. `in_force`: it still limits the load."""

    node: str
    order_class: OrderClass
    in_force: bool


@dataclass(frozen=True, slots=True)
class InForce:
    """The setpoint in force at a node."""

    issuer: str
    sequence: int
    cap_w: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteView:
    """What a verdict depends on beside the message.

    `caps_now_w`: what the dispatcher's own caps in force and the rating allow at each node, W; the
    keys are the nodes that may be ordered. `orders`: every order known, ended ones included, so
    that no id is used twice. `setpoints`: those in force, by node.
    """

    site: str
    keys: Mapping[str, PublicKey]
    caps_now_w: Mapping[str, float]
    orders: Mapping[str, KnownOrder] = field(default_factory=dict)
    setpoints: Mapping[str, InForce] = field(default_factory=dict)
    clock: ClockView = field(default_factory=ClockView)
