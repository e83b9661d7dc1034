"""One miner under Braiins OS+.

    read    4028: one joined request; the pools join it every minute. By gRPC every minute who it is
            and whether it is paused, and at once after a command or when hashing begins or ends;
            the power only where 4028 does not tell it.
    apply   Sleep: PauseMining · Wake: power target where it differs, ResumeMining ·
            LimitPower: SetPowerTarget

Pause and resume write nothing. A power target is stored in every case, so it is sent only where it
differs from the stored one, and each one counts as a write to flash.
"""

import math
from dataclasses import replace

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
from drivers.contract.devices import MinerDevice
from drivers.contract.errors import DeviceError, Unsupported
from drivers.contract.frames import SleepFrame
from drivers.contract.readings import MinerReading, WorkMode
from drivers.miners.asking import decoded, read_left_s
from drivers.miners.braiins import codec, frame, live
from drivers.miners.braiins.api import Api
from drivers.miners.outcomes import refused_by
from drivers.miners.own_pace import own_period_s
from drivers.transport.ports import Clock, Endpoint, Grpc, TcpJson

_RPC_PORT = 4028
_REPLY_BYTES_MAX = 262_144
_SLOW_PERIOD_S = 60.0
_ENVELOPE_PERIOD_S = 3_600.0


class Braiins:
    """Driver of one miner under Braiins OS+; see `drivers.contract.devices.MinerDriver`."""

    def __init__(self, device: MinerDevice, *, tcp: TcpJson, grpc: Grpc, clock: Clock) -> None:
        self._device = device
        self._tcp = tcp
        self._clock = clock
        port = device.ports.get("rpc", _RPC_PORT)
        self._rpc = Endpoint(device=device.miner_id, host=device.host, port=port)
        self._api = Api(device, grpc, clock)
        self._is_applying = False
        self._slow_period_s = own_period_s(device.miner_id, _SLOW_PERIOD_S)
        self._details = codec.Details()
        self._details_due_s = 0.0
        self._hashing_at_details: bool | None = None
        self._pool_urls: tuple[str, ...] | None = None
        self._pools_due_s = 0.0
        self._envelope = codec.Envelope()
        self._envelope_due_s = 0.0

    async def read(self) -> MinerReading:
        """Read the live values. Raises DeviceError; costs at most the profile's read deadline."""
        begun_s = self._clock.monotonic_s()
        until_s = begun_s + self._device.profile.read_deadline_s
        said = await self._read_live(until_s)
        hashing = None if said.hashrate_ths is None else said.hashrate_ths > 0.0
        faults, power_w = list(said.faults), said.power_w
        try:
            await self._refresh_details(hashing, until_s)
            if power_w is None:
                power_w = await self._api.ask(codec.GET_STATS, codec.decode_power_w, until_s)
        except DeviceError as error:
            faults.append(f"{error.operation} unreadable: {error.detail}")
        details = self._details
        if details.status is not None and details.mode is None:
            faults.append(f"the firmware says that it is {details.status}")
        return MinerReading(
            miner_id=self._device.miner_id,
            begun_s=begun_s,
            taken_s=self._clock.monotonic_s(),
            make=details.make,
            model=details.model,
            firmware=self._device.profile.firmware,
            firmware_version=details.firmware_version,
            serial=details.serial,
            mac=details.mac,
            hashing=hashing,
            hashrate_ths=said.hashrate_ths,
            power_w=power_w,
            power_limit_w=said.power_limit_w,
            mode=details.mode,
            chip_temperature_c=said.chip_temperature_c,
            board_temperatures_c=said.board_temperatures_c,
            fans_rpm=said.fans_rpm,
            uptime_s=said.uptime_s,
            pool_urls=self._pool_urls,
            faults=tuple(faults),
        )

    async def apply(self, command: Command) -> Outcome:
        """Carry out one command; never raises DeviceError."""
        if self._is_applying:
            detail = "an earlier command is still under way"
            return Refused(reason=RefusalReason.BUSY, detail=detail)
        self._is_applying = True
        try:
            until_s = self._clock.monotonic_s() + self._device.profile.command_deadline_s
            match command:
                case Sleep():
                    return await self._switch(codec.PAUSE_MINING, until_s)
                case Wake():
                    return await self._wake(command, until_s)
                case LimitPower(power_w=power_w):
                    return await self._limit(power_w, until_s)
        except DeviceError as error:
            return refused_by(error)
        finally:
            self._is_applying = False
            self._details_due_s = 0.0

    async def prepare(self) -> SleepFrame:
        """Make a pause ready with a token that lasts; see `drivers.contract.frames.FrameMaker`."""
        until_s = self._clock.monotonic_s() + self._device.profile.read_deadline_s
        session, valid_until_s = await self._api.lasting_session(until_s)
        return frame.sleep_frame(self._device, self._api.port, session, valid_until_s)

    async def _wake(self, command: Wake, until_s: float) -> Outcome:
        """Target before power, so that the miner does not pass it on its way up."""
        if command.raw_mode is not None or command.mode not in {None, WorkMode.NORMAL}:
            wanted = command.raw_mode or command.mode
            detail = f"cannot wake into mode {wanted!r}: Braiins OS+ mines or it does not"
            return Refused(reason=RefusalReason.UNSUPPORTED, detail=detail)
        done: Outcome = AlreadySo()
        if command.power_limit_w is not None:
            stored = await self._api.ask(codec.GET_CONFIGURATION, codec.decode_target, until_s)
            # A tuner that is off or after a hashrate never had this limit: it wakes as it was set.
            if stored.is_obeyed:
                done = await self._set_target(command.power_limit_w, stored, until_s)
        if isinstance(done, Refused | Unconfirmed):
            return done
        return _joined(done, await self._switch(codec.RESUME_MINING, until_s))

    async def _limit(self, power_w: float, until_s: float) -> Outcome:
        stored = await self._api.ask(codec.GET_CONFIGURATION, codec.decode_target, until_s)
        if not stored.is_obeyed:
            mend = "set it to a power target on the miner, or use Sleep"
            detail = f"the tuner is off or after a hashrate, and that would be lost; {mend}"
            return Refused(reason=RefusalReason.UNSUPPORTED, detail=detail)
        return await self._set_target(power_w, stored, until_s)

    async def _set_target(self, power_w: float, stored: codec.Target, until_s: float) -> Outcome:
        target_w = math.floor(power_w)
        if target_w != stored.power_w:
            target_w = (await self._read_envelope(until_s)).clamp(target_w)
        if target_w < 1:
            detail = f"{power_w:g} W is no power target; use Sleep"
            return Refused(reason=RefusalReason.UNSUPPORTED, detail=detail)
        if target_w == stored.power_w:
            return AlreadySo()
        message = codec.encode_power_target(target_w)
        stands_w = await self._api.act(
            codec.SET_POWER_TARGET, message, codec.decode_power_target, until_s
        )
        if not isinstance(stands_w, int):
            return stands_w
        if stands_w != target_w:
            detail = f"asked for {target_w} W, and the miner says {stands_w} W"
            return Unconfirmed(detail=detail)
        return Applied(persistent_writes=1)

    async def _switch(self, path: str, until_s: float) -> Outcome:
        """Pause or resume."""
        already = await self._api.act(path, codec.EMPTY, codec.decode_already, until_s)
        if not isinstance(already, bool):
            return already
        return AlreadySo() if already else Applied()

    async def _read_live(self, until_s: float) -> live.Live:
        now_s = self._clock.monotonic_s()
        parts: tuple[str, ...] = live.LIVE_PARTS
        if is_due := now_s >= self._pools_due_s:
            self._pools_due_s, self._pool_urls = now_s + self._slow_period_s, None
            parts = (*parts, "pools")
        operation = "+".join(parts)
        body = await self._tcp.exchange(
            self._rpc,
            live.encode_query(parts),
            deadline_s=read_left_s(self._device, self._clock, operation, until_s),
            bytes_max=_REPLY_BYTES_MAX,
        )
        said = decoded(self._device, operation, live.decode_live, body)
        if is_due:
            self._pool_urls = said.pool_urls
        return said

    async def _refresh_details(self, hashing: bool | None, until_s: float) -> None:
        """Ask who it is and whether it is paused, when that is due. Raises DeviceError."""
        now_s = self._clock.monotonic_s()
        if now_s < self._details_due_s and hashing is self._hashing_at_details:
            return
        self._details_due_s, self._hashing_at_details = now_s + self._slow_period_s, hashing
        self._details = replace(self._details, status=None)
        self._details = await self._api.ask(codec.GET_DETAILS, codec.decode_details, until_s)

    async def _read_envelope(self, until_s: float) -> codec.Envelope:
        """Return the bounds of power targets; none for a firmware that does not tell them."""
        now_s = self._clock.monotonic_s()
        if now_s >= self._envelope_due_s:
            try:
                self._envelope = await self._api.ask(
                    codec.GET_CONSTRAINTS, codec.decode_envelope, until_s
                )
            except Unsupported:
                self._envelope = codec.Envelope()
            self._envelope_due_s = now_s + _ENVELOPE_PERIOD_S
        return self._envelope


def _joined(first: Outcome, then: Outcome) -> Outcome:
    """Return the outcome of target and power; the first of them has not failed."""
    match first, then:
        case Applied(), AlreadySo():
            return first
        case Applied(persistent_writes=writes), Applied():
            return Applied(persistent_writes=writes)
        case Applied(), Refused(detail=detail) | Unconfirmed(detail=detail):
            return Unconfirmed(detail=f"the target is set, but it did not resume: {detail}")
        case _:
            return then
