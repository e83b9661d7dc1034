"""A Sleep made ready beforehand: bytes that need no reading, no login and no thought when it is
time.

    prepare() ─▶ SleepFrame ─▶ sent on a fresh connection ─▶ judge(frame, reply so far) ─▶ Outcome
                     ▲                                              │
                     └──────────── Follow: the next request ◀───────┘
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from drivers.contract.commands import AlreadySo, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class SleepFrame:
    """One miner's Sleep as it goes on the wire.

    It carries a login of the moment, so neither bytes nor key are ever shown. After `valid_until_s`
    (CLOCK_MONOTONIC) the login may have expired, or a stored configuration inside may have been
    changed by a person: it must not be sent any more. `answer_deadline_s` is how long the device
    may take to answer, counted from the moment at which the connection is begun. `reply_key` opens
    an encrypted answer. `read_s` (CLOCK_MONOTONIC) is when the configuration that it writes back
    was asked for; None when it writes none. `goes_on`: its answer brings the request that counts,
    so that it is looked at as soon as it comes.
    """

    miner_id: str
    firmware: str
    host: str
    port: int
    request: bytes = field(repr=False)
    valid_until_s: float
    answer_deadline_s: float
    reply_key: bytes = field(default=b"", repr=False)
    goes_on: bool = False
    read_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    """A firmware that wants more than one request: `frame` goes out next, on a fresh connection.

    With `done` the Sleep has come to its outcome already, and `frame` only tidies up: it is sent
    when no other miner waits for its command, and its answer changes nothing.
    """

    frame: SleepFrame
    done: Outcome | None = None


Judge = Callable[[SleepFrame, bytes, bool], Outcome | Follow | None]
"""What a reply means: (frame, everything received, whether the peer has closed).

None: not whole yet. Never raises; `Refused` with UNAUTHORIZED says that the prepared login did not
hold and nothing was carried out. With the peer closed it always answers.
"""


@runtime_checkable
class FrameMaker(Protocol):
    """A driver that can prepare."""

    async def prepare(self) -> SleepFrame | AlreadySo:
        """Log in and read what the frame needs. Raises DeviceError; at most the read deadline.

        AlreadySo: the miner's stored state is asleep, there is nothing to prepare.
        """
        ...
