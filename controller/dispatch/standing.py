"""What stands at a site, as a verdict on a new message needs it."""

from collections.abc import Sequence

from controller.dispatch.acceptance import KnownOrder
from controller.power.caps import setpoint_in_force
from controller.power.instructions import Instruction, NewOrder
from controller.power.site import NodeKind, Site
from controller.power.state import Setpoint, State


def caps_now_w(state: State, site: Site, now_s: float) -> dict[str, float]:
    """What rating and the dispatcher's own caps in force allow at each node, in W.

    Racks have no meter at which an order could be proved, so none can be ordered.
    """
    caps = {}
    for name, node in site.nodes.items():
        if node.kind is NodeKind.RACK:
            continue
        setpoint = setpoint_in_force(name, state, now_s)
        caps[name] = min(node.rating_w, node.rating_w if setpoint is None else setpoint.cap_w)
    for order in state.orders.values():
        if order.stage.in_force and now_s < order.expires_s and order.node_id in caps:
            caps[order.node_id] = min(caps[order.node_id], order.cap_w)
    return caps


def least_cap_w(node: str, newest: Setpoint, state: State, now_s: float) -> int:
    """What a new setpoint is compared with, in W: the newest, or a lower one still in force."""
    standing = setpoint_in_force(node, state, now_s) or newest
    return int(min(newest.cap_w, standing.cap_w))


def known_orders(state: State, earlier: Sequence[Instruction]) -> dict[str, KnownOrder]:
    """Every order that the state knows, and those of this tick that it does not know yet."""
    known = {
        name: KnownOrder(order.node_id, order.order_class, order.stage.in_force)
        for name, order in state.orders.items()
    }
    for instruction in earlier:
        if isinstance(instruction, NewOrder):
            known[instruction.order_id] = KnownOrder(
                instruction.node_id, instruction.order_class, in_force=True
            )
    return known
