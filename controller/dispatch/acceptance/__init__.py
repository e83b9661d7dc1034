"""Whether a message from outside is believed and taken: one pure function and its values."""

from controller.dispatch.acceptance.book import Entry, SequenceBook
from controller.dispatch.acceptance.clock import ClockView, HeartbeatClock
from controller.dispatch.acceptance.judge import accept
from controller.dispatch.acceptance.verdicts import (
    Accepted,
    AcceptedHeartbeat,
    Alarm,
    AlreadySo,
    Reason,
    Rejected,
    Verdict,
    Window,
)
from controller.dispatch.acceptance.view import Arrival, InForce, KnownOrder, SiteView

__all__ = [
    "Accepted",
    "AcceptedHeartbeat",
    "Alarm",
    "AlreadySo",
    "Arrival",
    "ClockView",
    "Entry",
    "HeartbeatClock",
    "InForce",
    "KnownOrder",
    "Reason",
    "Rejected",
    "SequenceBook",
    "SiteView",
    "Verdict",
    "Window",
    "accept",
]
