"""Renders the page: the same pieces stand in the first response and follow one by one afterwards.

Every text that is put into a template passes `_shown`: unknown becomes a dash, what is not
printable a question mark, and Jinja escapes the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from controller.channel.treasury import TreasuryImage
from controller.channel.view import AlarmView, EventView, SiteImage
from controller.console import facts, orders, tree, words
from controller.console.past import points
from controller.console.watch import Seen

PIECES = ("head", "now", "order", "alarms", "facts", "tree", "events", "treasury")
BEAT = "beat"
"""The piece for scripts: how old what is, and the newest point of each chart. JSON."""
_ALARMS_MAX = 12
_EVENTS_MAX = 30
_POOLS_MAX = 8
_LIMITS_MAX = 4
_RANK = {"critical": 0, "warning": 1, "info": 2}

Pieces = Mapping[str, str]
"""Name of a piece → its HTML, or JSON for BEAT; each in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What is known of a site before it answers. `timezone`: its name, for scripts."""

    name: str
    root_id: str
    rating_w: float
    zone: tzinfo
    timezone: str
    stale_after_s: float


def _shown(value: object) -> object:
    if value is None:
        return words.UNKNOWN
    return (
        words.printable(value)
        if isinstance(value, str) and not isinstance(value, Markup)
        else value
    )


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("controller.console"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for filtering in (
        words.power,
        words.hashrate,
        words.energy,
        words.bitcoin,
        words.sat,
        words.parts,
        words.age,
        words.words,
        words.short,
        words.brief,
    ):
        made.filters[filtering.__name__] = filtering
    made.filters["said"] = lambda word, table: words.said(table, word)
    made.globals |= {
        "PHASES": words.PHASES,
        "STAGES": words.STAGES,
        "SWEEPS": words.SWEEPS,
        "MODES": words.MODES,
        "SEVERITIES": words.SEVERITIES,
        "UNKNOWN": words.UNKNOWN,
    }
    return made


_TEMPLATES = _environment()


class Pages:
    """Renders one site, and the treasury beside it."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._known: frozenset[str] = frozenset()

    def pieces(
        self, site: Seen[SiteImage], treasury: Seen[TreasuryImage] | None, now: datetime
    ) -> Pieces:
        """Every piece as it stands now. `treasury` None: the site file names none."""
        context = self._context(site, treasury, now)
        found = {name: self._piece(name, context) for name in PIECES}
        found[BEAT] = _beat(site, treasury, now)
        return found

    def page(self, pieces: Pieces, site: Seen[SiteImage], now: datetime) -> str:
        """The whole document around the pieces."""
        safe = {name: Markup(text) for name, text in pieces.items()}  # noqa: S704 - rendered above
        context = {
            "piece": safe,
            "place": self._place,
            "site": site,
            "now": words.clock(now, self._place.zone),
        }
        return _TEMPLATES.get_template("page.html").render(context)

    def _piece(self, name: str, context: dict[str, Any]) -> str:
        text = _TEMPLATES.get_template(f"{name}.html").render(context)
        return " ".join(line for raw in text.splitlines() if (line := raw.strip()))

    def _context(
        self, site: Seen[SiteImage], treasury: Seen[TreasuryImage] | None, now: datetime
    ) -> dict[str, Any]:
        zone = self._place.zone
        context: dict[str, Any] = {
            "place": self._place,
            "site": site,
            "treasury": treasury,
            "at": lambda moment: words.clock(moment, zone, now),
            "alarms": _alarms(site, treasury),
            "events": _events(site, treasury),
            "alarms_max": _ALARMS_MAX,
            "pools_max": _POOLS_MAX,
        }
        if (image := site.image) is not None:
            self._known |= facts.named(image.meters)
            diagram = tree.grow(image.nodes, image.fleet)
            limited = [node for node in image.nodes if tree.is_limited(node)]
            context |= {
                "image": image,
                "tree": diagram,
                "root": diagram.roots[0] if diagram.roots else None,
                "limited": [n for n in limited if n.parent is not None][:_LIMITS_MAX],
                "desk": orders.choose(image.orders, image.at),
                "until": lambda moment: words.countdown((moment - image.at).total_seconds()),
                "facts": facts.facts(image, self._known),
                "miners": facts.miners(image),
                "bad_meters": facts.bad_meters(image),
                "no_watchdog": any(a.alarm_id.startswith("no_watchdog") for a in image.alarms),
            }
        return context


def _alarms(
    site: Seen[SiteImage], treasury: Seen[TreasuryImage] | None
) -> list[tuple[str, AlarmView]]:
    """Every alarm with where it stands, the worst and then the oldest first."""
    found = [("", alarm) for alarm in (site.image.alarms if site.image is not None else ())]
    if treasury is not None and treasury.image is not None:
        found += [("treasury", alarm) for alarm in treasury.image.alarms]
    return sorted(found, key=lambda told: (_RANK.get(told[1].severity, 3), told[1].since_at))


def _events(
    site: Seen[SiteImage], treasury: Seen[TreasuryImage] | None
) -> list[tuple[str, EventView]]:
    """The newest events of both, the newest first."""
    told = [("", event) for event in (site.image.events if site.image is not None else ())]
    if treasury is not None and treasury.image is not None:
        told += [("treasury", event) for event in treasury.image.events]
    newest = sorted(enumerate(told), key=lambda entry: (entry[1][1].at, entry[0]), reverse=True)
    return [entry for _, entry in newest[:_EVENTS_MAX]]


def _beat(site: Seen[SiteImage], treasury: Seen[TreasuryImage] | None, now: datetime) -> str:
    """One heartbeat for scripts, as JSON in one line."""
    told = {
        "at_unix_s": now.timestamp(),
        "age_s": site.age_s,
        "fault": None if site.fault is None else words.printable(site.fault),
        "points": points(site, treasury),
    }
    return msgspec.json.encode(told).decode()
