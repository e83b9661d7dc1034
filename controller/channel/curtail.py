"""What a controller and its guard say about Sleeps that the guard's waves carry.

run ── Curtail ─▶ guard      "put these to sleep"; answered at once by Taken
run ── Collect ─▶ guard      "what came of them?"; answered by Outcomes, each told once
"""

from typing import Literal, Self, assert_never

import msgspec

from drivers.contract.commands import (
    AlreadySo,
    Applied,
    Outcome,
    RefusalReason,
    Refused,
    Unconfirmed,
)

CURTAIL_MINERS_MAX = 10_000
OUTCOMES_MAX = 1_000
_DETAIL_CHARS_MAX = 120
"""Devices' own words; a thousand of them stay below the channel's bound in any script."""


class Curtail(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="curtail"):
    """Sleeps of one tick, at most CURTAIL_MINERS_MAX. Answered by Taken.

    `number`: counted by the controller; outcomes carry it back. `until_s`: the moment after which
    nothing of it may be taken any more, by the guard's own CLOCK_MONOTONIC, which its images tell.
    `changed_s`: by the same clock, since when a miner's stored configuration may be another; a
    command that would write back an older one is not taken.
    """

    site_id: str
    epoch: str
    number: int
    until_s: float
    miner_ids: tuple[str, ...]
    changed_s: dict[str, float] = {}


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """The miners whose command leaves now; the others are the controller's own to command."""

    miner_ids: tuple[str, ...]


class Collect(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="collect"):
    """Tell me what came of what you took. Answered by Outcomes."""

    site_id: str
    epoch: str


class OutcomeLine(msgspec.Struct, frozen=True, array_like=True):
    """What came of one command. `reason` is of a refusal, `persistent_writes` of an Applied."""

    number: int
    miner_id: str
    kind: Literal["applied", "already_so", "refused", "unconfirmed"]
    persistent_writes: int = 0
    reason: RefusalReason = RefusalReason.DEVICE_REFUSED
    detail: str = ""

    @classmethod
    def of(cls, number: int, miner_id: str, outcome: Outcome) -> Self:
        """An outcome as it is told."""
        match outcome:
            case Applied(persistent_writes=writes):
                return cls(number, miner_id, "applied", writes)
            case AlreadySo():
                return cls(number, miner_id, "already_so")
            case Refused(reason=reason, detail=detail):
                return cls(number, miner_id, "refused", 0, reason, detail[:_DETAIL_CHARS_MAX])
            case Unconfirmed(detail=detail):
                return cls(number, miner_id, "unconfirmed", detail=detail[:_DETAIL_CHARS_MAX])
            case _:
                assert_never(outcome)

    def outcome(self) -> Outcome:
        """The same as a driver would have answered it."""
        match self.kind:
            case "applied":
                return Applied(persistent_writes=self.persistent_writes)
            case "already_so":
                return AlreadySo()
            case "refused":
                return Refused(reason=self.reason, detail=self.detail)
            case "unconfirmed":
                return Unconfirmed(detail=self.detail)
            case _:
                assert_never(self.kind)


class Outcomes(msgspec.Struct, frozen=True, kw_only=True):
    """At most OUTCOMES_MAX. `left`: how many commands there are besides that are not told yet."""

    lines: tuple[OutcomeLine, ...]
    left: int
