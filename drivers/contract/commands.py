"""One instruction to one miner, and what can come of it.

A driver answers with a value, never with a bare bool: the truth is the next read.
"""

from dataclasses import dataclass
from enum import StrEnum

from drivers.contract.readings import WorkMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleep:
    """Stop hashing and fall to sleep draw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wake:
    """Hash again, in exactly the mode and at the power target that the miner had before it was
    curtailed.

    `mode`/`raw_mode` None: the firmware's normal mode. `power_limit_w` None: leave the limit alone.
    """

    mode: WorkMode | None = None
    raw_mode: str | None = None
    power_limit_w: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitPower:
    """Hold wall power at or under `power_w`, clamped by the driver to the firmware's declared
    envelope.
    """

    power_w: float


Command = Sleep | Wake | LimitPower


class RefusalReason(StrEnum):
    """Why a command was not carried out. Stable: journals and messages carry these words."""

    DEVICE_REFUSED = "device_refused"
    UNAUTHORIZED = "unauthorized"
    UNSUPPORTED = "unsupported"
    UNREACHABLE = "unreachable"
    """No connection was made, so the miner certainly has not received the command."""
    BUSY = "busy"
    MALFORMED_STATE = "malformed_state"
    """The miner's own configuration could not be read whole; writing it back could wipe its
    pools.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The device took the command; `persistent_writes` counts writes to its flash."""

    persistent_writes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AlreadySo:
    """The device was in that state; nothing was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Certainly not carried out. `detail` is for people: device's own code and text."""

    reason: RefusalReason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unconfirmed:
    """May or may not have been carried out (no answer in time, answer cut off). Readings will
    tell.
    """

    detail: str


Outcome = Applied | AlreadySo | Refused | Unconfirmed
