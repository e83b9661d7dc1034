"""What every driver's question has in common: its time, and a reply that is none. Pure."""

from collections.abc import Callable
from typing import TypeVar

from drivers.contract.devices import MinerDevice
from drivers.contract.errors import Malformed, Unreachable
from drivers.miners.cgminer import ReplyError
from drivers.transport.ports import Clock

T = TypeVar("T")


def left_s(device: MinerDevice, clock: Clock, operation: str, until_s: float) -> float:
    """Return the time before `until_s`. Raises Unreachable when nothing is left."""
    left = until_s - clock.monotonic_s()
    if left <= 0.0:
        detail = "no time left before the deadline"
        raise Unreachable(device.miner_id, operation, detail, connected=False)
    return left


def read_left_s(device: MinerDevice, clock: Clock, operation: str, until_s: float) -> float:
    """Return the same for one read: at most the profile's read deadline."""
    return min(left_s(device, clock, operation, until_s), device.profile.read_deadline_s)


def decoded(device: MinerDevice, operation: str, decode: Callable[[bytes], T], body: bytes) -> T:
    """Decode a reply. Raises Malformed with the codec's sentence."""
    try:
        return decode(body)
    except ReplyError as error:
        raise Malformed(device.miner_id, operation, str(error)) from error
