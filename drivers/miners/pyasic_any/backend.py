"""The child's half that touches pyasic: builds its miner objects, reads them, commands them.

pyasic's own identification runs once a miner and its result is kept. What pyasic returns is taken
apart here into plain values; its `bool` is reported as what it is, a claim.
"""

import asyncio
import contextlib
import math
from typing import Any

import pyasic  # type: ignore[import-untyped]
from pyasic import settings
from pyasic.errors import APIError  # type: ignore[import-untyped]
from pyasic.miners.backends import (  # type: ignore[import-untyped]
    AntminerModern,
    BOSer,
    LUXMiner,
)
from pyasic.miners.base import MinerProtocol  # type: ignore[import-untyped]

from drivers.contract.commands import (
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
from drivers.contract.errors import Malformed, Unreachable
from drivers.contract.readings import WorkMode
from drivers.miners.pyasic_any.messages import Identity, Target, Values
from drivers.miners.pyasic_any.rpc import BoundedRpc
from drivers.miners.pyasic_any.values import decode_values
from drivers.transport.ports import TcpJson

READ_PARTS = (
    "mac",
    "fw_ver",
    "serial_number",
    "hashrate",
    "hashboards",
    "env_temp",
    "wattage",
    "wattage_limit",
    "fans",
    "is_mining",
    "uptime",
    "pools",
)
_HOSTS_MAX = 20_000
_API_WAIT_S = 5
_LOG_OFF_WAIT_S = 1.0
"""May come on top of a deadline that has passed, so it is shorter than the parent's grace."""


class _Known:
    """One miner object with its sender; `lock` lets one request at a time use it."""

    def __init__(self, target: Target, miner: Any, rpc: BoundedRpc) -> None:
        self.target = target
        self.miner = miner
        self.rpc = rpc
        self.lock = asyncio.Lock()


class Backend:
    """Answers for every miner of the child."""

    def __init__(self, tcp: TcpJson) -> None:
        self._tcp = tcp
        self._known: dict[str, _Known] = {}
        for key in ("factory_get_timeout", "api_function_timeout", "network_ping_timeout"):
            settings.update(key, _API_WAIT_S)

    async def identify(self, target: Target) -> Identity:
        """Ask pyasic what the device is, afresh. Raises DeviceError."""
        self._known.pop(target.host, None)
        miner = await self._scanned(target)
        return Identity(
            make=_name(miner.make), model=_name(miner.raw_model), firmware=_name(miner.firmware)
        )

    async def read(self, target: Target) -> Values:
        """Read the live values. Raises DeviceError."""
        known = await self._of(target)
        async with known.lock:
            known.rpc.begin()
            # The raw parts: pyasic's own MinerData says "is mining" where it knows nothing.
            parts = await known.miner._get_data(  # noqa: SLF001
                allow_warning=False, include=list(READ_PARTS)
            )
            values = decode_values(known.miner, parts)
            if values.hashrate_ths is None and values.power_w is None and values.uptime_s is None:
                if known.rpc.errors:
                    raise known.rpc.errors[-1]
                raise Malformed(target.device, "read", "pyasic found no value in what it said")
            return values

    async def apply(self, target: Target, command: Command) -> Outcome:
        """Carry out one command. Raises DeviceError for what came before the command was sent."""
        known = await self._of(target)
        if isinstance(known.miner, AntminerModern):
            mend = "set its firmware to antminer-stock in the inventory"
            detail = f"stock Antminers have a driver of their own; {mend}"
            return Refused(reason=RefusalReason.UNSUPPORTED, detail=detail)
        async with known.lock:
            known.rpc.begin()
            if not isinstance(known.miner, LUXMiner):
                return await _carry_out(known, command)
            refused = await _log_on(known)
            if refused is not None:
                return refused
            try:
                return await _carry_out(known, command)
            finally:
                # A session left open locks every other tool out for a minute.
                with contextlib.suppress(APIError, LookupError, TimeoutError):
                    async with asyncio.timeout(_LOG_OFF_WAIT_S):
                        await known.miner.rpc.logoff()
                known.miner.rpc.session_token = None

    async def _of(self, target: Target) -> _Known:
        known = self._known.get(target.host)
        if known is not None and known.target == target:
            return known
        miner = await self._scanned(target)
        rpc = BoundedRpc(self._tcp, target.device, target.host)
        _configure(miner, target, rpc)
        if len(self._known) >= _HOSTS_MAX:
            self._known.clear()
        self._known[target.host] = known = _Known(target, miner, rpc)
        return known

    async def _scanned(self, target: Target) -> Any:
        miner = await pyasic.get_miner(target.host)
        if miner is None:
            raise Unreachable(
                target.device, "identify", "pyasic recognised no miner there", connected=False
            )
        return miner


def _configure(miner: Any, target: Target, rpc: BoundedRpc) -> None:
    """Give a miner object the inventory's ports and login, and the bounded sender."""
    if miner.rpc is not None:
        miner.rpc.port = target.ports.get("rpc", miner.rpc.port)
        if target.password is not None:
            miner.rpc.pwd = target.password
        if miner.rpc.port != 4433:  # the WhatsMiner version 3 service frames its messages itself
            rpc.take_over(miner.rpc)
    if miner.web is not None:
        service = "grpc" if isinstance(miner, BOSer) else "http"
        miner.web.port = target.ports.get(service, miner.web.port)
        if target.username is not None:
            miner.web.username = target.username
        if target.password is not None:
            miner.web.pwd = target.password


async def _log_on(known: _Known) -> Refused | None:
    """Open a LuxOS session of our own; None when it stands. The firmware grants one at a time."""
    known.miner.rpc.session_token = None
    try:
        reply = await known.miner.rpc.logon()
        known.miner.rpc.session_token = reply["SESSION"][0]["SessionID"]
    except (APIError, LookupError, TypeError) as error:
        unreachable = known.rpc.was_never_connected
        reason = RefusalReason.UNREACHABLE if unreachable else RefusalReason.BUSY
        return Refused(reason=reason, detail=f"no session: {error} {known.rpc.last_text}".strip())
    return None


async def _carry_out(known: _Known, command: Command) -> Outcome:
    match command:
        case Sleep():
            return await _call(known, "stop_mining", writes=0)
        case LimitPower(power_w=power_w):
            return await _call(known, "set_power_limit", math.floor(power_w), writes=1)
        case Wake(mode=WorkMode.LOW | WorkMode.HIGH as mode):
            detail = f"pyasic resumes in the stored mode; it cannot wake into {mode}"
            return Refused(reason=RefusalReason.UNSUPPORTED, detail=detail)
        case Wake(power_limit_w=power_w):
            if power_w is None:
                return await _call(known, "resume_mining", writes=0)
            return await _wake_at(known, power_w)


async def _wake_at(known: _Known, power_w: float) -> Outcome:
    """Set the limit first where it differs, so that the miner does not pass it on its way up."""
    limit_w = await known.miner.get_wattage_limit()
    writes = 0
    if limit_w != math.floor(power_w):
        limited = await _call(known, "set_power_limit", math.floor(power_w), writes=1)
        if not isinstance(limited, Applied):
            return limited
        writes = limited.persistent_writes
    return await _call(known, "resume_mining", writes=writes)


async def _call(known: _Known, verb: str, *arguments: int, writes: int) -> Outcome:
    """Call one of pyasic's verbs.

    `writes` are the writes to flash that it causes where it succeeds.
    """
    if getattr(type(known.miner), verb) is getattr(MinerProtocol, verb):
        detail = f"pyasic has no {verb} for {_name(known.miner.model)}"
        return Refused(reason=RefusalReason.UNSUPPORTED, detail=detail)
    try:
        claims_success = await getattr(known.miner, verb)(*arguments)
    except APIError as error:
        claims_success = False
        known.rpc.last_text = known.rpc.last_text or str(error)
    if claims_success:
        return Applied(persistent_writes=writes)
    said = known.rpc.last_text or "no text"
    if known.rpc.was_never_connected:
        return Refused(reason=RefusalReason.UNREACHABLE, detail=known.rpc.errors[-1].detail)
    if known.rpc.errors or not known.rpc.replies:
        return Unconfirmed(detail=f"pyasic's {verb} failed without a certain answer: {said}")
    return Refused(reason=RefusalReason.DEVICE_REFUSED, detail=said)


def _name(value: Any) -> str | None:
    return None if value is None else str(value)[:200]
