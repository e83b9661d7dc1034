"""What stock firmware sends, as shapes: the keys that are read, nothing of what is in them. Pure.

Every value is of any kind here: one that is senseless makes that value unknown and not the reply.
"""

from typing import Any

import msgspec

from drivers.miners.cgminer import StatusEntry


class StatsEntry(msgspec.Struct, kw_only=True, gc=False):
    """Who it is, or its live values: `stats` has an entry of each kind.

    Eight boards and eight fans are more than any model has.
    """

    type: Any = msgspec.field(default=None, name="Type")
    built: Any = msgspec.field(default=None, name="CompileTime")
    miner: Any = msgspec.field(default=None, name="Miner")
    rate_ghs: Any = msgspec.field(default=None, name="GHS 5s")
    elapsed: Any = msgspec.field(default=None, name="Elapsed")
    fan_num: Any = None
    fan1: Any = None
    fan2: Any = None
    fan3: Any = None
    fan4: Any = None
    fan5: Any = None
    fan6: Any = None
    fan7: Any = None
    fan8: Any = None
    temp_pcb1: Any = None
    temp_pcb2: Any = None
    temp_pcb3: Any = None
    temp_pcb4: Any = None
    temp_pcb5: Any = None
    temp_pcb6: Any = None
    temp_pcb7: Any = None
    temp_pcb8: Any = None
    temp_chip1: Any = None
    temp_chip2: Any = None
    temp_chip3: Any = None
    temp_chip4: Any = None
    temp_chip5: Any = None
    temp_chip6: Any = None
    temp_chip7: Any = None
    temp_chip8: Any = None

    @property
    def fans(self) -> tuple[Any, ...]:
        """Speeds, in the order of their numbers."""
        return (
            self.fan1,
            self.fan2,
            self.fan3,
            self.fan4,
            self.fan5,
            self.fan6,
            self.fan7,
            self.fan8,
        )

    @property
    def boards(self) -> tuple[Any, ...]:
        """Readings of each hashboard's circuit board."""
        return (
            self.temp_pcb1,
            self.temp_pcb2,
            self.temp_pcb3,
            self.temp_pcb4,
            self.temp_pcb5,
            self.temp_pcb6,
            self.temp_pcb7,
            self.temp_pcb8,
        )

    @property
    def chips(self) -> tuple[Any, ...]:
        """Readings of each hashboard's chips."""
        return (
            self.temp_chip1,
            self.temp_chip2,
            self.temp_chip3,
            self.temp_chip4,
            self.temp_chip5,
            self.temp_chip6,
            self.temp_chip7,
            self.temp_chip8,
        )


NOTHING = StatsEntry()


class StatsReply(msgspec.Struct, kw_only=True):
    """The reply to `stats`."""

    status: tuple[StatusEntry, ...] = msgspec.field(default=(), name="STATUS")
    stats: list[StatsEntry] = msgspec.field(name="STATS")


class SummaryEntry(msgspec.Struct, kw_only=True):
    """The one row of `summary`."""

    rate_ghs: Any = msgspec.field(default=None, name="GHS 5s")


class SummaryReply(msgspec.Struct, kw_only=True):
    """The reply to `summary`."""

    status: tuple[StatusEntry, ...] = msgspec.field(default=(), name="STATUS")
    summary: list[SummaryEntry] = msgspec.field(name="SUMMARY")


class WriteReply(msgspec.Struct, kw_only=True):
    """The answer to a written configuration."""

    stats: str = ""
    code: str = ""
    msg: str = ""


class Pool(msgspec.Struct, kw_only=True):
    """One pool of the stored configuration."""

    url: str
    user: str
    password: str = msgspec.field(name="pass")
