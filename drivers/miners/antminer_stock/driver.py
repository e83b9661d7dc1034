"""One stock Antminer.

    read    4028 `stats`: one request. Every five minutes, and at once when it has restarted or
            hashing begins or ends, the stored configuration too (mode and pools), once an hour who
            it is.
    apply   read the configuration ─▶ refuse unless whole ─▶ write it with the new mode ─▶
            read back and compare

The firmware reports no power: `power_w` is always None.
"""

import secrets
from collections.abc import Callable, Mapping
from typing import TypeVar

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
from drivers.contract.devices import Login, MinerDevice
from drivers.contract.errors import DeviceError, Malformed, Unauthorized, Unreachable
from drivers.contract.frames import SleepFrame
from drivers.contract.readings import MinerReading, WorkMode
from drivers.miners.antminer_stock import codec, frame
from drivers.miners.asking import decoded, left_s
from drivers.miners.cgminer import ReplyError
from drivers.miners.outcomes import refused_by
from drivers.miners.own_pace import own_period_s
from drivers.transport.digest import parse_challenge
from drivers.transport.ports import Clock, Endpoint, Http, TcpJson

T = TypeVar("T")

FACTORY_LOGIN = Login(username="root", password="root")  # noqa: S106 - printed in every manual
"""What Bitmain ships (HTTP digest); used where the inventory gives no login."""

WRITE_DEADLINE_S_MIN = 35.0
"""The configuration write answers after about 21 s (asic-rs pull requests 249 and 251)."""

CHALLENGE_LIFE_S = 300.0
"""lighttpd takes a nonce for ten minutes; half of it is left for the frame."""

_RPC_PORT = 4028
_HTTP_PORT = 80
_REPLY_BYTES_MAX = 262_144
_CONFIG_PERIOD_S = 300.0
"""Whoever stores another configuration at the miner's page makes it restart, and that is seen."""
_CONFIG_AGAIN_S = 60.0
"""After a reading of it that failed."""
_IDENTITY_PERIOD_S = 3_600.0


class AntminerStock:
    """Driver of one stock Antminer; see `drivers.contract.devices.MinerDriver`."""

    def __init__(self, device: MinerDevice, *, tcp: TcpJson, http: Http, clock: Clock) -> None:
        profile = device.profile
        if profile.command_deadline_s < WRITE_DEADLINE_S_MIN + profile.read_deadline_s:
            raise ValueError(
                f"{device.miner_id}: firmware {profile.firmware!r}: command_deadline_s must be at "
                f"least {WRITE_DEADLINE_S_MIN:g} s (the configuration write) plus read_deadline_s"
            )
        self._device = device
        self._tcp = tcp
        self._http = http
        self._clock = clock
        self._login = device.login or FACTORY_LOGIN
        ports = device.ports
        self._rpc = Endpoint(
            device=device.miner_id, host=device.host, port=ports.get("rpc", _RPC_PORT)
        )
        self._web = Endpoint(
            device=device.miner_id, host=device.host, port=ports.get("http", _HTTP_PORT)
        )
        self._is_applying = False
        self._written_mode: str | None = None
        self._config: codec.Config | None = None
        self._config_period_s = own_period_s(device.miner_id, _CONFIG_PERIOD_S)
        self._config_due_s = 0.0
        self._hashing: bool | None = None
        self._uptime_s: int | None = None
        self._identity: codec.Identity | None = None
        self._identity_due_s = 0.0
        self._challenge: Mapping[str, str] = {}
        self._challenge_due_s = 0.0

    async def read(self) -> MinerReading:
        """Read the live values. Raises DeviceError; costs at most the profile's read deadline."""
        begun_s = self._clock.monotonic_s()
        until_s = begun_s + self._device.profile.read_deadline_s
        stats = await self._ask("stats", codec.decode_stats, until_s)
        rate_ths = stats.hashrate_ths
        if rate_ths is None:
            rate_ths = await self._ask("summary", codec.decode_summary_hashrate_ths, until_s)
        hashing = None if rate_ths is None else rate_ths > 0.0
        if self._may_differ(hashing, stats.uptime_s):
            self._config_due_s = 0.0
        faults = await self._refresh(until_s)
        config, identity = self._config, self._identity
        if rate_ths is None and config is not None and config.mode is WorkMode.SLEEP:
            # Asleep, some builds answer with empty lists: no rate at all and the mode that explains
            # it.
            hashing = False
        return MinerReading(
            miner_id=self._device.miner_id,
            begun_s=begun_s,
            taken_s=self._clock.monotonic_s(),
            make="AntMiner",
            model=stats.model or (identity.model if identity else None),
            firmware=self._device.profile.firmware,
            firmware_version=stats.firmware_version
            or (identity.firmware_version if identity else None),
            serial=identity.serial if identity else None,
            mac=identity.mac if identity else None,
            hashing=hashing,
            hashrate_ths=rate_ths,
            mode=config.mode if config else None,
            raw_mode=config.raw_mode if config else None,
            chip_temperature_c=stats.chip_temperature_c,
            board_temperatures_c=stats.board_temperatures_c,
            fans_rpm=stats.fans_rpm,
            uptime_s=stats.uptime_s,
            pool_urls=config.pool_urls if config else None,
            faults=faults,
        )

    async def apply(self, command: Command) -> Outcome:
        """Carry out one command; never raises DeviceError. Takes about 25 s when it writes."""
        raw_mode = _raw_mode_for(command)
        if isinstance(raw_mode, Refused):
            return raw_mode
        if self._is_applying:
            return Refused(
                reason=RefusalReason.BUSY, detail="an earlier command is still under way"
            )
        self._is_applying = True
        try:
            return await self._set_mode(raw_mode)
        finally:
            self._is_applying = False
            self._config_due_s = 0.0

    async def prepare(self) -> SleepFrame | AlreadySo:
        """Read the configuration and build its write with the mode Sleep.

        See `drivers.contract.frames.FrameMaker`; takes two requests, or three when the challenge
        is new.
        """
        read_at_s = self._clock.monotonic_s()
        until_s = read_at_s + self._device.profile.read_deadline_s
        config = await self._read_config(until_s)
        if config.shows(codec.RAW_SLEEP) and config.has_both_keys:
            return AlreadySo()
        if read_at_s >= self._challenge_due_s:
            self._challenge = await self._read_challenge(until_s)
            self._challenge_due_s = read_at_s + CHALLENGE_LIFE_S
        return frame.sleep_frame(
            self._device,
            self._web.port,
            config,
            self._login,
            self._challenge,
            cnonce=secrets.token_hex(8),
            read_at_s=read_at_s,
            answer_deadline_s=self._device.profile.command_deadline_s,
        )

    async def _read_challenge(self, until_s: float) -> Mapping[str, str]:
        path = codec.CONFIG_PATH
        reply = await self._http.request(
            self._web,
            "GET",
            path,
            deadline_s=left_s(self._device, self._clock, path, until_s),
            bytes_max=_REPLY_BYTES_MAX,
        )
        found = parse_challenge(reply.headers.get("www-authenticate", ""))
        if reply.status != 401 or found is None:
            detail = f"HTTP status {reply.status} without a digest challenge"
            raise Malformed(self._device.miner_id, path, detail)
        return found

    async def _set_mode(self, raw_mode: str) -> Outcome:
        until_s = self._clock.monotonic_s() + self._device.profile.command_deadline_s
        read_s = self._device.profile.read_deadline_s
        try:
            before = await self._read_config(self._clock.monotonic_s() + read_s)
        except DeviceError as error:
            return refused_by(error)
        if before.shows(raw_mode) and (before.has_both_keys or self._written_mode == raw_mode):
            # One key alone does not tell what the firmware obeys, unless we wrote both ourselves.
            return AlreadySo()
        left_s = until_s - self._clock.monotonic_s()
        write_s = max(WRITE_DEADLINE_S_MIN, left_s - read_s)
        if write_s > left_s:
            detail = f"only {left_s:.0f} s left after reading; a write needs {write_s:.0f} s"
            return Refused(reason=RefusalReason.BUSY, detail=detail)
        refusal = await self._write(before, raw_mode, write_s)
        if refusal is not None:
            return refusal
        return await self._verify(before, raw_mode, until_s)

    async def _write(
        self, config: codec.Config, raw_mode: str, deadline_s: float
    ) -> Refused | Unconfirmed | None:
        """Write once; None when the device took it. It is never sent a second time from here."""
        try:
            reply = await self._http.request(
                self._web,
                "POST",
                codec.CONFIG_WRITE_PATH,
                body=codec.encode_config(config, raw_mode),
                content_type="application/json",
                login=self._login,
                deadline_s=deadline_s,
                bytes_max=_REPLY_BYTES_MAX,
            )
            if reply.status == 401:
                return Refused(reason=RefusalReason.UNAUTHORIZED, detail="the login was refused")
            if reply.status != 200:
                return Unconfirmed(detail=f"the write was answered with HTTP {reply.status}")
            said = codec.decode_write_reply(reply.body)
        except Unreachable as error:
            if not error.connected:
                return Refused(reason=RefusalReason.UNREACHABLE, detail=error.detail)
            return Unconfirmed(detail=f"the write was sent, {error.detail}")
        except DeviceError as error:
            return Unconfirmed(detail=f"the write was sent: {error.detail}")
        except ReplyError as error:
            return Unconfirmed(detail=f"the write was sent; its answer: {error}")
        if said is not None:
            return Refused(reason=RefusalReason.DEVICE_REFUSED, detail=said)
        return None

    async def _verify(self, before: codec.Config, raw_mode: str, until_s: float) -> Outcome:
        try:
            after = await self._read_config(until_s)
        except DeviceError as error:
            return Unconfirmed(detail=f"written, but it could not be read back: {error.detail}")
        if after.values["pools"] != before.values["pools"]:
            return Unconfirmed(detail="written, but the pools read back differ: check this miner")
        if not after.shows(raw_mode):
            detail = f"took the write but still reports work mode {sorted(after.raw_modes)}"
            return Refused(reason=RefusalReason.DEVICE_REFUSED, detail=detail)
        self._written_mode = raw_mode
        return Applied(persistent_writes=1)

    async def _ask(self, command: str, decode: Callable[[bytes], T], until_s: float) -> T:
        body = await self._tcp.exchange(
            self._rpc,
            codec.encode_query(command),
            deadline_s=left_s(self._device, self._clock, command, until_s),
            bytes_max=_REPLY_BYTES_MAX,
        )
        return decoded(self._device, command, decode, body)

    async def _get(self, path: str, decode: Callable[[bytes], T], until_s: float) -> T:
        reply = await self._http.request(
            self._web,
            "GET",
            path,
            login=self._login,
            deadline_s=left_s(self._device, self._clock, path, until_s),
            bytes_max=_REPLY_BYTES_MAX,
        )
        if reply.status == 401:
            raise Unauthorized(self._device.miner_id, path, "the login was refused")
        if reply.status != 200:
            raise Malformed(self._device.miner_id, path, f"HTTP status {reply.status}")
        return decoded(self._device, path, decode, reply.body)

    async def _read_config(self, until_s: float) -> codec.Config:
        return await self._get(codec.CONFIG_PATH, codec.decode_config, until_s)

    def _may_differ(self, hashing: bool | None, uptime_s: int | None) -> bool:
        """Tell whether the stored configuration may be another than the one that was read: hashing
        began or ended, or the miner restarted.
        """
        hashed, self._hashing = self._hashing, hashing
        before_s, self._uptime_s = self._uptime_s, uptime_s
        restarted = before_s is not None and uptime_s is not None and uptime_s < before_s
        return restarted or hashed is not hashing

    async def _refresh(self, until_s: float) -> tuple[str, ...]:
        """Read the slow parts when they are due.

        What fails is a fault of the reading, not its end.
        """
        now_s = self._clock.monotonic_s()
        faults: list[str] = []
        if now_s >= self._config_due_s:
            self._config_due_s = now_s + self._config_period_s
            self._config = None
            try:
                self._config = await self._read_config(until_s)
            except DeviceError as error:
                self._config_due_s = now_s + _CONFIG_AGAIN_S
                faults.append(f"configuration unreadable: {error.detail}")
        if now_s >= self._identity_due_s and not faults:
            self._identity_due_s = now_s + _IDENTITY_PERIOD_S
            try:
                self._identity = await self._get(
                    codec.SYSTEM_INFO_PATH, codec.decode_identity, until_s
                )
            except DeviceError as error:
                faults.append(f"system information unreadable: {error.detail}")
        return tuple(faults)


def _raw_mode_for(command: Command) -> str | Refused:
    """Return the work-mode digit that a command asks for, or why there is none."""
    match command:
        case Sleep():
            return codec.RAW_SLEEP
        case LimitPower():
            detail = "stock Antminer firmware has no power limit in watts; use Sleep"
            return Refused(reason=RefusalReason.UNSUPPORTED, detail=detail)
        case Wake(power_limit_w=None, raw_mode=None, mode=None | WorkMode.NORMAL):
            return codec.RAW_NORMAL
        case Wake(power_limit_w=None, raw_mode=str(raw)) if (
            codec.is_raw_mode(raw) and raw != codec.RAW_SLEEP
        ):
            return raw
        case Wake(power_limit_w=None, raw_mode=raw, mode=mode):
            detail = (
                f"cannot wake into mode {raw or mode}: only 0 (normal) and the digit that this "
                "miner itself reported before it slept are certain"
            )
            return Refused(reason=RefusalReason.UNSUPPORTED, detail=detail)
        case Wake():
            detail = "stock Antminer firmware has no power limit in watts; wake it without one"
            return Refused(reason=RefusalReason.UNSUPPORTED, detail=detail)
