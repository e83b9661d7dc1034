"""The gRPC messages of Braiins OS+: bytes ↔ values. Pure.

Source of methods and field numbers: braiins/bos-plus-api `proto/bos/v1/*.proto`, API 1.11, commit
efa32c74.
"""

import re
from dataclasses import dataclass, field

from drivers.contract.readings import WorkMode
from drivers.miners import cgminer
from drivers.miners.braiins import protobuf
from drivers.miners.cgminer import ReplyError

_V1 = "/braiins.bos.v1."
LOGIN = f"{_V1}AuthenticationService/Login"
PAUSE_MINING = f"{_V1}ActionsService/PauseMining"
RESUME_MINING = f"{_V1}ActionsService/ResumeMining"
SET_POWER_TARGET = f"{_V1}PerformanceService/SetPowerTarget"
GET_CONFIGURATION = f"{_V1}ConfigurationService/GetMinerConfiguration"
GET_CONSTRAINTS = f"{_V1}ConfigurationService/GetConstraints"
GET_DETAILS = f"{_V1}MinerService/GetMinerDetails"
GET_STATS = f"{_V1}MinerService/GetMinerStats"

MESSAGE_BYTES_MAX = 65_536
"""Far above any message that is asked for here."""

EMPTY = b""
"""The request of every method that has no fields."""

TOKEN_LIFE_S = 3_600
"""Seconds that a token lives after its last use (README of the vendor's API)."""

_SAVE_AND_APPLY = 2
"""common.proto SaveAction. All of its values save: there is no target without a write to flash."""

_TUNER_MODE_HASHRATE = 2
"""performance.proto TunerMode."""

_STATUSES = {1: "not started", 2: "normal", 3: "paused", 4: "suspended", 5: "restricted"}
"""miner.proto MinerStatus."""

_MODES = {"normal": WorkMode.NORMAL, "paused": WorkMode.SLEEP}
_MAKES = {1: "AntMiner", 2: "WhatsMiner"}
"""miner.proto MinerBrand."""

_TOKEN = re.compile(r"[!-~]{1,512}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A token, and how many seconds it lives after its last use."""

    token: str = field(repr=False)
    life_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """Who the miner is, and what its mining has been told: `status` in the vendor's words."""

    make: str | None = None
    model: str | None = None
    firmware_version: str | None = None
    mac: str | None = None
    serial: str | None = None
    status: str | None = None

    @property
    def mode(self) -> WorkMode | None:
        """The mode; None for a status that is neither mining nor a pause."""
        return None if self.status is None else _MODES.get(self.status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The stored power target. `is_obeyed`: the tuner is neither off nor after a hashrate."""

    power_w: int | None
    is_obeyed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The power targets that the firmware takes; None: no bound is told."""

    low_w: int | None = None
    high_w: int | None = None

    def clamp(self, power_w: int) -> int:
        """Return the nearest power that the firmware takes."""
        if self.high_w is not None:
            power_w = min(power_w, self.high_w)
        return power_w if self.low_w is None else max(power_w, self.low_w)


def encode_login(username: str, password: str) -> bytes:
    """Return a LoginRequest (authentication.proto)."""
    return protobuf.encode({1: username, 2: password})


def decode_session(body: bytes) -> Session:
    """Decode a LoginResponse. Raises ReplyError for one without a token that can be used."""
    fields = protobuf.decode(body)
    token = protobuf.text_at(fields, 1) or ""
    if not token:
        # The message carries it since API 1.1; before, only the reply's metadata did.
        raise ReplyError("no token in the reply; Braiins OS 24.04 or newer is needed")
    if not _TOKEN.fullmatch(token):
        raise ReplyError("the token is not printable")
    life_s = protobuf.number_at(fields, 2) or TOKEN_LIFE_S
    return Session(token=token, life_s=min(life_s, TOKEN_LIFE_S))


def decode_already(body: bytes) -> bool:
    """Decode the reply to a pause or a resume: whether it was so already (actions.proto).

    Raises ReplyError.
    """
    return bool(protobuf.number_at(protobuf.decode(body), 1))


def encode_power_target(power_w: int) -> bytes:
    """Return a SetPowerTargetRequest (performance.proto) that is saved and applied."""
    return protobuf.encode({1: _SAVE_AND_APPLY, 2: protobuf.encode({1: power_w})})


def decode_power_target(body: bytes) -> int:
    """Decode a SetPowerTargetResponse: the target that stands now. Raises ReplyError."""
    power_w = _watt_at(protobuf.decode(body), 1)
    if power_w is None:
        raise ReplyError("no power target in the reply")
    return power_w


def decode_target(body: bytes) -> Target:
    """Decode the tuner's part of a GetMinerConfigurationResponse (configuration.proto).

    Raises ReplyError.
    """
    tuner = protobuf.message_at(protobuf.decode(body), 3)
    if tuner is None:
        return Target(power_w=None, is_obeyed=False)
    is_off = protobuf.number_at(tuner, 1) == 0
    by_hashrate = protobuf.number_at(tuner, 2) == _TUNER_MODE_HASHRATE
    return Target(power_w=_watt_at(tuner, 3), is_obeyed=not (is_off or by_hashrate))


def decode_envelope(body: bytes) -> Envelope:
    """Decode the tuner's part of a GetConstraintsResponse (constraints.proto).

    Raises ReplyError.
    """
    constraints = protobuf.message_at(protobuf.decode(body), 1, 1)
    if constraints is None:
        return Envelope()
    low_w, high_w = _watt_at(constraints, 2), _watt_at(constraints, 3)
    if low_w is not None and high_w is not None and low_w > high_w:
        raise ReplyError(f"lowest power target {low_w} W is above the highest, {high_w} W")
    return Envelope(low_w=low_w, high_w=high_w)


def decode_details(body: bytes) -> Details:
    """Decode a GetMinerDetailsResponse (miner.proto). Raises ReplyError."""
    fields = protobuf.decode(body)
    identity = protobuf.message_at(fields, 2) or {}
    version = protobuf.message_at(fields, 5) or {}
    status = protobuf.number_at(fields, 12) or 0
    model = protobuf.text_at(identity, 4) or protobuf.text_at(identity, 3)
    return Details(
        make=_MAKES.get(protobuf.number_at(identity, 1) or 0),
        model=cgminer.text(model),
        firmware_version=cgminer.text(protobuf.text_at(version, 1)),
        mac=cgminer.mac(protobuf.text_at(fields, 7)),
        serial=cgminer.text(protobuf.text_at(fields, 16)),
        status=_STATUSES.get(status),
    )


def decode_power_w(body: bytes) -> float | None:
    """Decode the power of a GetMinerStatsResponse (miner.proto). Raises ReplyError."""
    power = protobuf.message_at(protobuf.decode(body), 3)
    return None if power is None else cgminer.power_w(_watt_at(power, 1))


def _watt_at(fields: protobuf.Fields, number: int) -> int | None:
    """A Power (units.proto); None where it is missing or beyond what any miner draws."""
    power = protobuf.message_at(fields, number)
    if power is None:
        return None
    watt = protobuf.number_at(power, 1) or 0
    return watt if cgminer.power_w(watt) is not None else None
