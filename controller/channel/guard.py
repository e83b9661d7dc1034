"""What `naryn run` and `naryn guard` say to each other.

    run   ── Beat, once a second ──▶ guard      "I am here, and this is the ladder that I gave you"
    run   ── LadderPart × n ───────▶ guard      when the guard asks for it, and when it changes
    run   ── TakeOver ─────────────▶ guard      "which miners have you put to sleep?"
    person ─ Release ──────────────▶ guard      ends a latch
    person ─ TakeHold, EndHold ────▶ guard      "for so long, silence is no reason to trip"
    guard ── GuardImage ───────────▶ whoever asks

Each request is answered, TakeOver by Shed and every other by GuardImage. What they say about the
controller's own curtailments stands in curtail.py.
"""

from datetime import datetime
from hashlib import sha256

import msgspec

from controller.channel.curtail import Collect, Curtail
from drivers.contract.readings import WorkMode

LADDER_PART_ENTRIES = 1_000
"""Entries in one part: about 120 bytes each, so far below the channel's bound."""
LADDER_PARTS_MAX = 64


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One miner that may be put to sleep; the ladder's order is the order in which they go.

    `power_w`: what its sleep takes off the load, by the newest that is known; 0 for one that sleeps
    already. `ports` overrides a driver's ports by service name. `mode`, `raw_mode` and
    `power_limit_w` are what it is given back exactly.
    """

    miner_id: str
    host: str
    firmware: str
    model: str
    ports: dict[str, int]
    power_w: float
    mode: WorkMode | None = None
    raw_mode: str | None = None
    power_limit_w: float | None = None


class Ladder(msgspec.Struct, frozen=True, kw_only=True):
    """Who goes first. `floor_w`: load that no entry can take off, sleep draws among it."""

    site_id: str
    epoch: str
    floor_w: float
    entries: tuple[Entry, ...]

    @property
    def load_w(self) -> float:
        """The mining load that the ladder stands for, in W."""
        return self.floor_w + sum(entry.power_w for entry in self.entries)


def ladder_sha256(ladder: Ladder) -> str:
    """Digest of the whole ladder, in hexadecimal."""
    return sha256(msgspec.msgpack.encode(ladder)).hexdigest()


class _Ask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`epoch` names one run of one controller: two are never mistaken for each other."""

    site_id: str


class Beat(_Ask, frozen=True, kw_only=True, tag="beat"):
    """The controller is there. Answered by GuardImage."""

    epoch: str
    ladder: str | None
    """Digest of the ladder that it last made; None before the first."""


class LadderPart(_Ask, frozen=True, kw_only=True, tag="ladder"):
    """A part of a ladder, counted from 0; the guard takes it over when the last has come."""

    epoch: str
    sha256: str
    part: int
    parts: int
    floor_w: float
    entries: tuple[Entry, ...]


class TakeOver(_Ask, frozen=True, kw_only=True, tag="take_over"):
    """The controller asks for the miners that the guard put to sleep, from `offset` on, so that it
    can wake them after the latch. Answered by Shed.
    """

    epoch: str
    offset: int


class Shed(msgspec.Struct, frozen=True, kw_only=True):
    """At most LADDER_PART_ENTRIES of them, as they stood in the ladder; `count` of all."""

    count: int
    entries: tuple[Entry, ...]


class Release(_Ask, frozen=True, kw_only=True, tag="release"):
    """A person ends the latch. `by`: the login name at the command line."""

    by: str


class TakeHold(_Ask, frozen=True, kw_only=True, tag="take_hold"):
    """A person hands in a signed hold: its DSSE envelope."""

    envelope: bytes


class EndHold(_Ask, frozen=True, kw_only=True, tag="end_hold"):
    """A person ends the hold in force. `by`: the login name at the command line."""

    by: str


class Look(_Ask, frozen=True, kw_only=True, tag="look"):
    """Show me."""


GuardAsk = Beat | LadderPart | TakeOver | Release | TakeHold | EndHold | Look | Curtail | Collect


class LatchView(msgspec.Struct, frozen=True, kw_only=True):
    """A watchdog that has tripped: since when, from what load, and the limit that stands now."""

    tripped_at: datetime
    start_w: float
    limit_w: float


class HoldView(msgspec.Struct, frozen=True, kw_only=True):
    """The hold in force: until when, why, the login name of who signed, and whose key it was."""

    until_at: datetime
    ends_in_s: float
    reason: str
    by: str
    issuer: str


class RelayView(msgspec.Struct, frozen=True, kw_only=True):
    """The beats for a relay. `took_ago_s`: since it took one, None before the first; `still`: why
    none leaves now, None while they do.
    """

    took_ago_s: float | None
    still: str | None


class GuardImage(msgspec.Struct, frozen=True, kw_only=True):
    """The guard at this moment. Unknown is None.

    `heard_ago_s`: age of the last beat, None while none was heard. `ready`: entries whose command
    lies prepared; `asleep`: those that this guard has put to sleep; `untaken`: those of them that
    the controller has not taken over yet; `failed`: those that it has not put to sleep;
    `uncovered`: those that no driver of the guard can command. `ladder_wanted`: it has not the
    ladder that the last beat named. `now_s`: its CLOCK_MONOTONIC. `curtailed`: commands that it
    has sent for controllers since it began; `curtailing`: those of them that are not answered.
    `relay`: None without one.
    """

    site_id: str
    epoch: str | None
    heard_ago_s: float | None
    silence_max_s: float
    latch: LatchView | None
    hold: HoldView | None
    relay: RelayView | None
    ladder: str | None
    ladder_age_s: float | None
    entries: int
    load_w: float | None
    ready: int
    asleep: int
    untaken: int
    under_way: int
    failed: int
    uncovered: int
    ladder_wanted: bool
    now_s: float
    curtailed: int
    curtailing: int
    alarms: tuple[str, ...]
