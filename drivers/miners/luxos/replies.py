"""What LuxOS sends, as shapes: the keys that are read, and nothing of what is in them. Pure.

Every value is of any kind here: one that is senseless makes that value unknown and not the reply.
"""

from typing import Any

import msgspec

from drivers.miners.cgminer import StatusEntry


class Config(msgspec.Struct, kw_only=True, rename="pascal"):
    curtail_mode: Any = None
    profile: Any = None
    is_atm_enabled: Any = None
    model: Any = None
    serial_number: Any = None
    mac: Any = msgspec.field(default=None, name="MACAddr")


class Summary(msgspec.Struct, kw_only=True):
    rate_5s: Any = msgspec.field(default=None, name="GHS 5s")
    rate_1m: Any = msgspec.field(default=None, name="GHS 1m")
    rate: Any = msgspec.field(default=None, name="GHS av")
    elapsed: Any = msgspec.field(default=None, name="Elapsed")


class Power(msgspec.Struct, kw_only=True, rename="pascal"):
    watts: Any = None


class Temps(msgspec.Struct, kw_only=True, rename="pascal"):
    id: Any = msgspec.field(default=None, name="ID")
    top_left: Any = None
    top_right: Any = None
    bottom_left: Any = None
    bottom_right: Any = None


class Fan(msgspec.Struct, kw_only=True, rename="upper"):
    id: Any = None
    rpm: Any = None


class Stats(msgspec.Struct, kw_only=True):
    """Dashed readings of chips and boards by slot."""

    temp_chip1: Any = None
    temp_chip2: Any = None
    temp_chip3: Any = None
    temp_chip4: Any = None
    temp_pcb1: Any = None
    temp_pcb2: Any = None
    temp_pcb3: Any = None
    temp_pcb4: Any = None


class Atm(msgspec.Struct, kw_only=True, rename="pascal"):
    max_profile: Any = None
    min_profile: Any = None
    power_target: Any = None


class Pool(msgspec.Struct, kw_only=True, rename="upper"):
    url: Any = None


class ProfileRow(msgspec.Struct, kw_only=True, rename="pascal"):
    name: Any = msgspec.field(default=None, name="Profile Name")
    step: Any = None
    watts: Any = None


class Event(msgspec.Struct, kw_only=True, rename="pascal"):
    code: Any = None


class Version(msgspec.Struct, kw_only=True):
    luxminer: Any = msgspec.field(default=None, name="LUXminer")


class Session(msgspec.Struct, kw_only=True):
    id: Any = msgspec.field(default=None, name="SessionID")


class Part(msgspec.Struct, kw_only=True, rename="upper"):
    """The reply to one command: its status and the rows under the command's name."""

    status: list[StatusEntry]
    atm: list[Atm] = []
    config: list[Config] = []
    events: list[Event] = []
    fans: list[Fan] = []
    pools: list[Pool] = []
    power: list[Power] = []
    profiles: list[ProfileRow] = []
    session: list[Session] = []
    stats: list[Stats] = []
    summary: list[Summary] = []
    temps: list[Temps] = []
    version: list[Version] = []


NOTHING = Part(status=[])


class Joined(msgspec.Struct, kw_only=True):
    """The reply to `a+b`: by command a list with one part."""

    config: list[Part] = []
    atm: list[Part] = []
    events: list[Part] = []
    fans: list[Part] = []
    pools: list[Part] = []
    power: list[Part] = []
    profiles: list[Part] = []
    stats: list[Part] = []
    summary: list[Part] = []
    temps: list[Part] = []
