"""Plays a scenario's dispatcher: orders, setpoints and heartbeats at their times, answers kept.

    events ──▶ due(now_s, now_utc) ──▶ [(topic, payload, retain)]      hear(topic, payload) ──▶
    answers

No socket and no clock in here: the same object runs over a broker and on a virtual clock.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from simulators.scenario import DISPATCH_EVENTS, Event
from simulators.services.dispatcher.dsse import close_envelope, open_envelope
from simulators.services.dispatcher.forgery import FORGERIES, forge

HEARTBEAT_S = 5.0
ANSWERS_MAX = 10_000
FOR_S = 900.0
"""How long an order or setpoint holds when the event does not say."""

Message = tuple[str, bytes, bool]
"""Topic, payload, and whether the broker shall retain it."""

_ACTIONS = ("cap_w", "curtail_by_w", "curtail_percent")
_COMMON = {"node", "for_s", "in_s", "reason"}
_ALLOWED = {
    "order": {"id", "class", "order_number", "within_s", *_ACTIONS} | _COMMON,
    "release": {"id", "order", "node", "reason"},
    "setpoint": {"cap_w", "on_expiry"} | _COMMON,
    "heartbeat_stop": set[str](),
    "heartbeat_resume": set[str](),
    "forgery": {"fault", "cap_w"} | _COMMON,
    "clock": {"offset_s"},
}
_NEEDED = {
    "order": {"id"},
    "release": {"order"},
    "setpoint": {"cap_w"},
    "forgery": {"fault", "cap_w"},
    "clock": {"offset_s"},
}


class EventError(ValueError):
    """An event of the scenario that the dispatcher cannot play; says which, and how to mend it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the site said. `kind` is receipt, confirmation, status or event; `order` an order's id.

    `stage` is that of a receipt or confirmation. `verified`: None without the site's key.
    """

    kind: str
    stage: str | None
    order: str | None
    body: Mapping[str, Any]
    verified: bool | None


@dataclass(kw_only=True)
class Dispatcher:
    """One dispatcher for one site.

    `keys`: the first signs everything; all of them sign the release of an emergency or lockout.
    `node` is meant where an event names none. `clock_offset_s` sets this dispatcher's clock wrong.
    `first_sequence` must lie above everything sent before under the same `issuer`.
    """

    site: str
    issuer: str
    keys: Sequence[Ed25519PrivateKey]
    events: Iterable[Event]
    publish: Callable[[str, bytes, bool], None]
    node: str = "plant"
    site_key: Ed25519PublicKey | None = None
    first_sequence: int = 1
    clock_offset_s: float = 0.0
    answers: deque[Answer] = field(default_factory=lambda: deque(maxlen=ANSWERS_MAX))

    def __post_init__(self) -> None:
        """Check every event. Raises EventError."""
        ours = [event for event in self.events if event.kind in DISPATCH_EVENTS]
        for event in ours:
            _check(event)
        self._pending = deque(sorted(ours, key=lambda event: event.at_s))
        self._sequences: dict[str, int] = {}
        self._orders: dict[str, dict[str, Any]] = {}
        self._setpoints: dict[str, tuple[int, datetime]] = {}
        self._beating = True
        self._next_beat_s = 0.0

    @property
    def done(self) -> bool:
        """Whether every event was played."""
        return not self._pending

    def play(self, now_s: float, now_utc: datetime) -> None:
        """Publish what is due."""
        for topic, payload, retain in self.due(now_s, now_utc):
            self.publish(topic, payload, retain)

    def due(self, now_s: float, now_utc: datetime) -> list[Message]:
        """Messages whose time has come; `now_s` counts from the start of the scenario."""
        messages: list[Message] = []
        while self._pending and self._pending[0].at_s <= now_s:
            event = self._pending.popleft()
            now = now_utc + timedelta(seconds=self.clock_offset_s)
            match event.kind:
                case "order":
                    messages.append(self._order(event.params, now))
                case "release":
                    messages.append(self._release(event.params, now))
                case "setpoint":
                    messages.append(self._setpoint(event.params, now))
                case "forgery":
                    messages.append(self._forgery(event.params, now))
                case "clock":
                    self.clock_offset_s = float(event.params["offset_s"])
                case "heartbeat_stop":
                    self._beating = False
                case _:
                    self._beating, self._next_beat_s = True, now_s
        if self._beating and now_s >= self._next_beat_s:
            self._next_beat_s = now_s + HEARTBEAT_S
            messages.append(self._heartbeat(now_utc + timedelta(seconds=self.clock_offset_s)))
        return messages

    def hear(self, topic: str, payload: bytes) -> Answer | None:
        """Take what the site published. What cannot be read is None and is not kept."""
        if not topic.startswith(f"naryn/v1/{self.site}/"):
            return None
        try:
            opened = open_envelope(payload, self.site_key)
        except ValueError:
            return None
        kind = opened.payload_type.removeprefix("application/vnd.naryn.").partition(".")[0]
        about = opened.body.get("of")
        order = about.get("order") if isinstance(about, dict) else opened.body.get("order")
        stage = opened.body.get("stage")
        answer = Answer(
            kind,
            stage if isinstance(stage, str) else None,
            order if isinstance(order, str) else None,
            opened.body,
            opened.verified,
        )
        self.answers.append(answer)
        return answer

    def stages(self, order: str) -> list[str]:
        """Stages of every receipt and confirmation of an order, in the order of their coming."""
        return [a.stage for a in self.answers if a.order == order and a.stage is not None]

    def _order(self, params: Mapping[str, Any], now: datetime) -> Message:
        body: dict[str, Any] = {
            **self._head("order", now),
            "id": params["id"],
            "node": params.get("node", self.node),
            **_window(params, now),
            **{key: params[key] for key in (*_ACTIONS, "within_s") if key in params},
            **{key: params[key] for key in ("class", "order_number", "reason") if key in params},
        }
        self._orders[str(params["id"])] = body
        return self._message("order", body, retain=False)

    def _release(self, params: Mapping[str, Any], now: datetime) -> Message:
        released = str(params["order"])
        order = self._orders.get(released, {})
        body: dict[str, Any] = {
            **self._head("order", now),
            "id": params.get("id", f"{released}-release"),
            "node": params.get("node", order.get("node", self.node)),
            **_window({}, now),
            "release": released,
            **{key: order[key] for key in ("class", "order_number") if key in order},
            **({"reason": params["reason"]} if "reason" in params else {}),
        }
        hard = order.get("class", "dispatch") != "dispatch"
        return self._message("order", body, retain=False, keys=self.keys if hard else None)

    def _setpoint(self, params: Mapping[str, Any], now: datetime) -> Message:
        node = str(params.get("node", self.node))
        body: dict[str, Any] = {
            **self._head(f"setpoint/{node}", now),
            "node": node,
            **_window(params, now),
            "cap_w": params["cap_w"],
            **{key: params[key] for key in ("on_expiry", "reason") if key in params},
        }
        until = now + timedelta(seconds=params.get("in_s", 0.0) + params.get("for_s", FOR_S))
        self._setpoints[node] = (body["sequence"], until)
        return self._message(f"setpoint/{node}", body, retain=True)

    def _forgery(self, params: Mapping[str, Any], now: datetime) -> Message:
        """A message that must change nothing; an authentic sequence is used up all the same."""
        last = self._sequences.get("order", self.first_sequence - 1)
        fault = str(params["fault"])
        body: dict[str, Any] = {
            **self._head("order", now),
            "id": f"forged-{fault}",
            "node": params.get("node", self.node),
            **_window(params, now),
            "cap_w": params["cap_w"],
            **({"reason": params["reason"]} if "reason" in params else {}),
        }
        payload = forge(fault, body, _payload_type("order"), self.keys[:1], last)
        return self._topic("order"), payload, False

    def _heartbeat(self, now: datetime) -> Message:
        head = self._head("heartbeat", now)
        del head["issued_at"]
        in_force = {node: seq for node, (seq, until) in self._setpoints.items() if until > now}
        body = {**head, "at": _stamp(now), "clock_synced": True, "setpoints": in_force}
        return self._message("heartbeat", body, retain=False)

    def _head(self, topic: str, now: datetime) -> dict[str, Any]:
        sequence = self._sequences.get(topic, self.first_sequence - 1) + 1
        self._sequences[topic] = sequence
        return {
            "site": self.site,
            "sequence": sequence,
            "issuer": self.issuer,
            "issued_at": _stamp(now),
        }

    def _message(
        self,
        topic: str,
        body: Mapping[str, Any],
        *,
        retain: bool,
        keys: Sequence[Ed25519PrivateKey] | None = None,
    ) -> Message:
        envelope = close_envelope(body, _payload_type(topic), keys or self.keys[:1])
        return self._topic(topic), envelope, retain

    def _topic(self, topic: str) -> str:
        return f"naryn/v1/{self.site}/dispatch/{topic}"


def _payload_type(topic: str) -> str:
    return f"application/vnd.naryn.{topic.partition('/')[0]}.v1+json"


def _window(params: Mapping[str, Any], now: datetime) -> dict[str, str]:
    begin = now + timedelta(seconds=params.get("in_s", 0.0))
    end = begin + timedelta(seconds=params.get("for_s", FOR_S))
    return {"valid_from": _stamp(begin), "valid_until": _stamp(end)}


def _stamp(instant: datetime) -> str:
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _check(event: Event) -> None:
    where = f"event {event.kind!r} at {event.at_s:g} s"
    unknown = sorted(set(event.params) - _ALLOWED[event.kind])
    if unknown:
        raise EventError(f"{where}: does not know {', '.join(unknown)}; take them out")
    missing = sorted(_NEEDED.get(event.kind, set()) - set(event.params))
    if missing:
        raise EventError(f"{where}: needs {', '.join(missing)}")
    if event.kind == "order" and sum(action in event.params for action in _ACTIONS) != 1:
        raise EventError(f"{where}: give exactly one of {', '.join(_ACTIONS)}")
    if event.kind == "forgery" and event.params["fault"] not in FORGERIES:
        known = ", ".join(FORGERIES)
        raise EventError(f"{where}: fault {event.params['fault']!r} is not one of: {known}")
    for key in ("for_s", "in_s", *_ACTIONS, "within_s", "offset_s"):
        value = event.params.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise EventError(f"{where}: {key} must be a number, not {value!r}")
