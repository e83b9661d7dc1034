"""Topic names of the protocol, and back: which site, which message, which node.

naryn/v1/{site}/dispatch/order            in    an event, not retained
naryn/v1/{site}/dispatch/setpoint/{node}  in    state, retained
naryn/v1/{site}/dispatch/heartbeat        in
naryn/v1/{site}/dispatch/receipt          out   receipts and confirmations
naryn/v1/{site}/status                    out   retained, last will
naryn/v1/{site}/event                     out
"""

import re
from dataclasses import dataclass
from enum import StrEnum

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}\Z"
"""Sites, nodes, issuers and order ids: safe as one level of a topic and as a file name."""
_NAME = re.compile(NAME_PATTERN)
_ROOT = "naryn/v1"


class Kind(StrEnum):
    """What a topic carries."""

    ORDER = "order"
    SETPOINT = "setpoint"
    HEARTBEAT = "heartbeat"


@dataclass(frozen=True, slots=True)
class TopicRef:
    """A topic of the dispatcher, taken apart. `node` is None but for setpoints."""

    site: str
    kind: Kind
    node: str | None = None


def is_name(text: str) -> bool:
    """Tell whether `text` may name a site, node, issuer or order.

    >>> is_name("feeder-1"), is_name("a/b"), is_name("")
    (True, False, False)
    """
    return _NAME.match(text) is not None


def order_topic(site: str) -> str:
    """Orders to `site`."""
    return f"{_ROOT}/{site}/dispatch/order"


def setpoint_topic(site: str, node: str) -> str:
    """Setpoint of one node; `+` as node subscribes to all."""
    return f"{_ROOT}/{site}/dispatch/setpoint/{node}"


def heartbeat_topic(site: str) -> str:
    """The dispatcher's heartbeats to `site`."""
    return f"{_ROOT}/{site}/dispatch/heartbeat"


def receipt_topic(site: str) -> str:
    """Receipts and confirmations of `site`."""
    return f"{_ROOT}/{site}/dispatch/receipt"


def status_topic(site: str) -> str:
    """Retained status of `site`, and its last will."""
    return f"{_ROOT}/{site}/status"


def event_topic(site: str) -> str:
    """Audit mirror of `site`."""
    return f"{_ROOT}/{site}/event"


def site_subscriptions(site: str) -> tuple[str, ...]:
    """What a site listens to."""
    return order_topic(site), setpoint_topic(site, "+"), heartbeat_topic(site)


def dispatcher_subscriptions(site: str) -> tuple[str, ...]:
    """What a dispatcher listens to."""
    return receipt_topic(site), status_topic(site), event_topic(site)


def parse_topic(topic: str) -> TopicRef | None:
    """Take a dispatcher's topic apart; None when it is none.

    >>> parse_topic("naryn/v1/kambarata/dispatch/setpoint/feeder-1")
    TopicRef(site='kambarata', kind=<Kind.SETPOINT: 'setpoint'>, node='feeder-1')
    """
    match topic.split("/"):
        case ["naryn", "v1", site, "dispatch", "order"] if is_name(site):
            return TopicRef(site, Kind.ORDER)
        case ["naryn", "v1", site, "dispatch", "heartbeat"] if is_name(site):
            return TopicRef(site, Kind.HEARTBEAT)
        case ["naryn", "v1", site, "dispatch", "setpoint", node] if is_name(site) and is_name(node):
            return TopicRef(site, Kind.SETPOINT, node)
        case _:
            return None


def matches(topic_filter: str, topic: str) -> bool:
    """Tell whether an MQTT topic filter takes in a topic.

    >>> matches("a/+/c", "a/b/c"), matches("a/#", "a/b/c"), matches("a/+", "a/b/c")
    (True, True, False)
    """
    wanted, given = topic_filter.split("/"), topic.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(given) or level not in ("+", given[index]):
            return False
    return len(wanted) == len(given)
