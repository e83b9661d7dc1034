"""What the parent and the pyasic child say to each other: length-prefixed msgpack. Pure.

4 bytes, big-endian length │ one msgpack message, at most FRAME_BYTES_MAX
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from drivers.contract.commands import (
    AlreadySo,
    Applied,
    Command,
    LimitPower,
    Outcome,
    RefusalReason,
    Refused,
    Sleep,
    Unconfirmed,
    Wake,
)
from drivers.contract.errors import (
    Busy,
    DeviceError,
    DeviceRefused,
    Malformed,
    Unauthorized,
    Unreachable,
    Unsupported,
)
from drivers.contract.readings import WorkMode

LENGTH_BYTES = 4
FRAME_BYTES_MAX = 1_048_576


class FrameError(ValueError):
    """The other side sent what is no frame of ours; the conversation cannot go on."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One miner as pyasic needs it. The password never appears in a representation."""

    device: str
    host: str
    firmware: str
    model: str
    username: str | None = None
    password: str | None = None
    ports: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"Target(device={self.device!r}, host={self.host!r}, firmware={self.firmware!r})"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What pyasic takes the device for."""

    make: str | None
    model: str | None
    firmware: str | None


class Values(msgspec.Struct, frozen=True, kw_only=True):
    """What pyasic read, in this project's units; unknown is None."""

    make: str | None = None
    model: str | None = None
    firmware_version: str | None = None
    serial: str | None = None
    mac: str | None = None
    is_mining: bool | None = None
    hashrate_ths: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    chip_temperature_c: float | None = None
    board_temperatures_c: tuple[float | None, ...] = ()
    inlet_temperature_c: float | None = None
    fans_rpm: tuple[int, ...] = ()
    uptime_s: int | None = None
    pool_urls: tuple[str, ...] | None = None


class Instruction(msgspec.Struct, frozen=True, kw_only=True):
    """A command in wire form; the fields beyond `verb` are those of the command of that name."""

    verb: Literal["sleep", "wake", "limit_power"]
    mode: str | None = None
    raw_mode: str | None = None
    power_w: float | None = None


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One question to the child; `instruction` stands only where `kind` is "apply"."""

    id: int
    kind: Literal["identify", "read", "apply"]
    target: Target
    deadline_s: float
    instruction: Instruction | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """An outcome in wire form."""

    outcome: Literal["applied", "already_so", "refused", "unconfirmed"]
    persistent_writes: int = 0
    reason: RefusalReason | None = None
    detail: str = ""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A DeviceError in wire form; `kind` is its class."""

    kind: str
    operation: str
    detail: str
    connected: bool = False


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of the child: exactly one field beside `id` is there.

    Id 0 says that the child is ready.
    """

    id: int
    identity: Identity | None = None
    values: Values | None = None
    verdict: Verdict | None = None
    failure: Failure | None = None


_ERRORS: Mapping[str, type[DeviceError]] = {
    kind.__name__: kind for kind in (Busy, DeviceRefused, Malformed, Unauthorized, Unsupported)
}
_REQUESTS = msgspec.msgpack.Decoder(Request)
_REPLIES = msgspec.msgpack.Decoder(Reply)


def encode_frame(message: Request | Reply) -> bytes:
    """Return the frame of one message. Raises FrameError when it is larger than a frame may be."""
    body = msgspec.msgpack.encode(message)
    if len(body) > FRAME_BYTES_MAX:
        raise FrameError(f"message of {len(body)} bytes; a frame holds {FRAME_BYTES_MAX}")
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def decode_length(prefix: bytes) -> int:
    """Return the length that a prefix announces. Raises FrameError."""
    length = int.from_bytes(prefix, "big")
    if len(prefix) != LENGTH_BYTES or not 0 < length <= FRAME_BYTES_MAX:
        raise FrameError(f"a frame of {length} bytes is announced; at most {FRAME_BYTES_MAX}")
    return length


def decode_request(body: bytes) -> Request:
    """Decode what the parent sent. Raises FrameError."""
    try:
        return _REQUESTS.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise FrameError(f"not a request: {error}") from error


def decode_reply(body: bytes) -> Reply:
    """Decode what the child sent. Raises FrameError."""
    try:
        return _REPLIES.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise FrameError(f"not a reply: {error}") from error


def instruction_of(command: Command) -> Instruction:
    """Return the wire form of a command."""
    match command:
        case Sleep():
            return Instruction(verb="sleep")
        case Wake(mode=mode, raw_mode=raw_mode, power_limit_w=power_w):
            name = None if mode is None else mode.value
            return Instruction(verb="wake", mode=name, raw_mode=raw_mode, power_w=power_w)
        case LimitPower(power_w=power_w):
            return Instruction(verb="limit_power", power_w=power_w)


def command_of(instruction: Instruction) -> Command:
    """Return the command of a wire form. Raises FrameError."""
    power_w = instruction.power_w
    if instruction.verb == "sleep":
        return Sleep()
    if instruction.verb == "wake":
        try:
            mode = None if instruction.mode is None else WorkMode(instruction.mode)
        except ValueError as error:
            raise FrameError(str(error)) from error
        return Wake(mode=mode, raw_mode=instruction.raw_mode, power_limit_w=power_w)
    if power_w is None:
        raise FrameError("limit_power without power_w")
    return LimitPower(power_w=power_w)


def verdict_of(outcome: Outcome) -> Verdict:
    """Return the wire form of an outcome."""
    match outcome:
        case Applied(persistent_writes=writes):
            return Verdict(outcome="applied", persistent_writes=writes)
        case AlreadySo():
            return Verdict(outcome="already_so")
        case Refused(reason=reason, detail=detail):
            return Verdict(outcome="refused", reason=reason, detail=detail)
        case Unconfirmed(detail=detail):
            return Verdict(outcome="unconfirmed", detail=detail)


def outcome_of(verdict: Verdict) -> Outcome:
    """Return the outcome of a wire form; a refusal without a reason is not certain."""
    if verdict.outcome == "applied":
        return Applied(persistent_writes=verdict.persistent_writes)
    if verdict.outcome == "already_so":
        return AlreadySo()
    if verdict.outcome == "refused" and verdict.reason is not None:
        return Refused(reason=verdict.reason, detail=verdict.detail)
    return Unconfirmed(detail=verdict.detail)


def failure_of(error: DeviceError) -> Failure:
    """Return the wire form of an error."""
    return Failure(
        kind=type(error).__name__,
        operation=error.operation,
        detail=error.detail,
        connected=isinstance(error, Unreachable) and error.connected,
    )


def error_of(failure: Failure, device: str) -> DeviceError:
    """Return the error of a wire form."""
    kind = _ERRORS.get(failure.kind)
    if kind is None:
        return Unreachable(device, failure.operation, failure.detail, connected=failure.connected)
    return kind(device, failure.operation, failure.detail)
