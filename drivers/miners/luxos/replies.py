"""What LuxOS sends, as shapes: the keys that are read, and nothing of what is in them. Pure.

Every value is of any kind here: one that is senseless makes that value unknown and not the reply.
"""

from typing import Any

import msgspec

from drivers.miners.cgminer import StatusEntry


class Config(msgspec.Struct, kw_only=True, rename="pascal", gc=False):
    curtail_mode: Any = None
    profile: Any = None
    is_atm_enabled: Any = None
    model: Any = None
    serial_number: Any = None
    mac: Any = msgspec.field(default=None, name="MACAddr")


class Summary(msgspec.Struct, kw_only=True, gc=False):
    rate_5s: Any = msgspec.field(default=None, name="GHS 5s")
    rate_1m: Any = msgspec.field(default=None, name="GHS 1m")
    rate: Any = msgspec.field(default=None, name="GHS av")
    elapsed: Any = msgspec.field(default=None, name="Elapsed")


class Power(msgspec.Struct, kw_only=True, rename="pascal", gc=False):
    watts: Any = None


class Temps(msgspec.Struct, kw_only=True, rename="pascal", gc=False):
    id: Any = msgspec.field(default=None, name="ID")
    top_left: Any = None
    top_right: Any = None
    bottom_left: Any = None
    bottom_right: Any = None


class Fan(msgspec.Struct, kw_only=True, rename="upper", gc=False):
    id: Any = None
    rpm: Any = None


class Stats(msgspec.Struct, kw_only=True, gc=False):
    """Dashed readings of chips and boards by slot."""

    temp_chip1: Any = None
    temp_chip2: Any = None
    temp_chip3: Any = None
    temp_chip4: Any = None
    temp_pcb1: Any = None
    temp_pcb2: Any = None
    temp_pcb3: Any = None
    temp_pcb4: Any = None


class Atm(msgspec.Struct, kw_only=True, rename="pascal", gc=False):
    max_profile: Any = None
    min_profile: Any = None
    power_target: Any = None


class Pool(msgspec.Struct, kw_only=True, rename="upper", gc=False):
    url: Any = None


class ProfileRow(msgspec.Struct, kw_only=True, rename="pascal", gc=False):
    name: Any = msgspec.field(default=None, name="Profile Name")
    step: Any = None
    watts: Any = None


class Event(msgspec.Struct, kw_only=True, rename="pascal", gc=False):
    code: Any = None


class Version(msgspec.Struct, kw_only=True, gc=False):
    luxminer: Any = msgspec.field(default=None, name="LUXminer")


class Session(msgspec.Struct, kw_only=True, gc=False):
    id: Any = msgspec.field(default=None, name="SessionID")


class Part(msgspec.Struct, kw_only=True, rename="upper", gc=False):
    """The reply to one command: its status and the rows under the command's name."""

    status: tuple[StatusEntry, ...]
    atm: tuple[Atm, ...] = ()
    config: tuple[Config, ...] = ()
    events: tuple[Event, ...] = ()
    fans: tuple[Fan, ...] = ()
    pools: tuple[Pool, ...] = ()
    power: tuple[Power, ...] = ()
    profiles: tuple[ProfileRow, ...] = ()
    session: tuple[Session, ...] = ()
    stats: tuple[Stats, ...] = ()
    summary: tuple[Summary, ...] = ()
    temps: tuple[Temps, ...] = ()
    version: tuple[Version, ...] = ()


NOTHING = Part(status=())


class Joined(msgspec.Struct, kw_only=True, gc=False):
    """The reply to `a+b`: by command a list with one part."""

    config: tuple[Part, ...] = ()
    atm: tuple[Part, ...] = ()
    events: tuple[Part, ...] = ()
    fans: tuple[Part, ...] = ()
    pools: tuple[Part, ...] = ()
    power: tuple[Part, ...] = ()
    profiles: tuple[Part, ...] = ()
    stats: tuple[Part, ...] = ()
    summary: tuple[Part, ...] = ()
    temps: tuple[Part, ...] = ()
