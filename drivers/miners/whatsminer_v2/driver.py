"""One WhatsMiner with API version 2.

    read    `summary`, and `status`, which cannot be joined with another: in every read while it
            does not hash, else once a minute and after a command. Every minute also pools and error
            codes, once an hour the model and build.
    apply   Sleep: power_off · Wake: mode, power_on and percentage, where they differ ·
            LimitPower: set_power_pct

`set_power_pct` takes about a second, is temporary and does not restart, so it is the verb for
frequent curtailment; `adjust_power_limit` restarts the miner and writes its flash, so it is never
used here. A changed power mode (`set_low_power` …) restarts too: it is sent only when a Wake asks
for another mode than the stored one.
"""

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
from drivers.contract.errors import (
    Busy,
    DeviceError,
    DeviceRefused,
    Malformed,
    Unauthorized,
)
from drivers.contract.frames import SleepFrame
from drivers.contract.readings import MinerReading, WorkMode
from drivers.miners.asking import decoded, read_left_s
from drivers.miners.outcomes import after_sending, refused_by
from drivers.miners.own_pace import own_period_s
from drivers.miners.whatsminer_v2 import cipher, codec, frame
from drivers.transport.ports import Clock, Endpoint, TcpJson

T = TypeVar("T")

FACTORY_LOGIN = Login(username="admin", password="admin")  # noqa: S106 - printed in every manual
"""What MicroBT ships. Writes need another password.

The miner refuses them while this one stands.
"""

TOKEN_LIFE_S = 1_500.0
"""A token lives 30 minutes (API manual); 25 leave room for a slow miner."""

TOKEN_REST_S = 300.0
"""A Sleep is prepared with a token that has at least this long to live."""

_RPC_PORT = 4028
_REPLY_BYTES_MAX = 262_144
_DETAILS_PERIOD_S = 60.0
_IDENTITY_PERIOD_S = 3_600.0


class WhatsminerV2:
    """Driver of one WhatsMiner; see `drivers.contract.devices.MinerDriver`."""

    def __init__(self, device: MinerDevice, *, tcp: TcpJson, clock: Clock) -> None:
        self._device = device
        self._tcp = tcp
        self._clock = clock
        self._password = (device.login or FACTORY_LOGIN).password
        port = device.ports.get("rpc", _RPC_PORT)
        self._rpc = Endpoint(device=device.miner_id, host=device.host, port=port)
        self._token: cipher.Token | None = None
        self._token_until_s = 0.0
        self._is_applying = False
        self._status: codec.Status | None = None
        self._status_due_s = 0.0
        self._model: str | None = None
        self._build: str | None = None
        self._identity_due_s = 0.0
        self._pool_urls: tuple[str, ...] | None = None
        self._errors: tuple[str, ...] = ()
        self._details_period_s = own_period_s(device.miner_id, _DETAILS_PERIOD_S)
        self._details_due_s = 0.0

    async def read(self) -> MinerReading:
        """Read the live values. Raises DeviceError; costs at most the profile's read deadline."""
        begun_s = self._clock.monotonic_s()
        until_s = begun_s + self._device.profile.read_deadline_s
        summary, status = await self._live(until_s)
        faults = await self._refresh(until_s)
        rate_ths = summary.hashrate_ths
        hashing = None if rate_ths is None else rate_ths > 0.0
        raw_mode = summary.raw_mode or status.raw_mode
        return MinerReading(
            miner_id=self._device.miner_id,
            begun_s=begun_s,
            taken_s=self._clock.monotonic_s(),
            make="WhatsMiner",
            model=self._model,
            firmware=self._device.profile.firmware,
            firmware_version=self._build or summary.firmware_version or status.firmware_version,
            mac=summary.mac,
            hashing=False if hashing is None and status.is_off else hashing,
            hashrate_ths=rate_ths,
            power_w=summary.power_w,
            power_limit_w=_limit_w(summary, status),
            mode=WorkMode.SLEEP if status.is_off else codec.mode_of(raw_mode),
            raw_mode=raw_mode,
            chip_temperature_c=summary.chip_temperature_c,
            inlet_temperature_c=summary.inlet_temperature_c,
            fans_rpm=summary.fans_rpm,
            uptime_s=summary.uptime_s,
            pool_urls=self._pool_urls,
            faults=(*self._errors, *faults),
        )

    async def apply(self, command: Command) -> Outcome:
        """Carry out one command; never raises DeviceError."""
        if self._is_applying:
            detail = "an earlier command is still under way"
            return Refused(reason=RefusalReason.BUSY, detail=detail)
        self._is_applying = True
        try:
            until_s = self._clock.monotonic_s() + self._device.profile.command_deadline_s
            return await self._carry_out(command, until_s)
        except DeviceError as error:
            return refused_by(error)
        finally:
            self._is_applying = False
            self._status = None

    async def prepare(self) -> SleepFrame:
        """Seal a Sleep with a token that lasts; see `drivers.contract.frames.FrameMaker`."""
        now_s = self._clock.monotonic_s()
        if now_s >= self._token_until_s - TOKEN_REST_S:
            self._token = None
        token, _ = await self._valid_token(now_s + self._device.profile.read_deadline_s)
        return frame.sleep_frame(self._device, self._rpc.port, token, self._token_until_s)

    async def _carry_out(self, command: Command, until_s: float) -> Outcome:
        """Errors that are raised from here came before anything was sent."""
        status = await self._ask("status", codec.decode_status, until_s)
        match command:
            case Sleep():
                if status.is_off:
                    return AlreadySo()
                return await self._send(*frame.SLEEP, until_s)
            case Wake():
                return await self._wake(command, status, until_s)
            case LimitPower(power_w=power_w):
                if status.is_off:
                    detail = "the hashboards are off and a percentage would be lost; wake it first"
                    return Refused(reason=RefusalReason.UNSUPPORTED, detail=detail)
                return await self._limit(power_w, status, until_s)

    async def _wake(self, command: Wake, status: codec.Status, until_s: float) -> Outcome:
        """Mode, then power, then percentage; the first step that is not applied ends it."""
        wanted = command.raw_mode or (command.mode.value if command.mode is not None else None)
        if wanted is not None and wanted not in codec.MODE_COMMANDS:
            detail = f"power mode {wanted!r} is not one of {', '.join(codec.MODE_COMMANDS)}"
            return Refused(reason=RefusalReason.UNSUPPORTED, detail=detail)
        done: Outcome = AlreadySo()
        if wanted is not None and status.raw_mode is not None and wanted != status.raw_mode:
            done = await self._send(codec.MODE_COMMANDS[wanted], {}, until_s, writes=1)
        if status.is_off and not isinstance(done, Refused | Unconfirmed):
            done = _joined(done, await self._send("power_on", {}, until_s))
        if command.power_limit_w is None or isinstance(done, Refused | Unconfirmed):
            return done
        # A percentage ends with the mining process: after power_on only a limit below full power
        # needs one.
        full_w = status.power_limit_w
        if status.is_off and full_w is not None and command.power_limit_w >= full_w:
            return done
        return _joined(done, await self._limit(command.power_limit_w, status, until_s))

    async def _limit(self, power_w: float, status: codec.Status, until_s: float) -> Outcome:
        percent = codec.percent_for(
            power_w,
            power_limit_w=status.power_limit_w,
            rated_power_w=self._device.model.rated_power_w,
        )
        if percent < 1:
            detail = f"{power_w:g} W is under 1 % of full power; use Sleep"
            return Refused(reason=RefusalReason.UNSUPPORTED, detail=detail)
        return await self._send("set_power_pct", {"percent": str(percent)}, until_s)

    async def _send(
        self, command: str, parameters: Mapping[str, str], until_s: float, *, writes: int = 0
    ) -> Outcome:
        """Send one encrypted command; once more with a fresh token when a kept one was refused."""
        try:
            token, is_fresh = await self._valid_token(until_s)
        except DeviceError as error:
            return refused_by(error)
        try:
            said = await self._exchange_sealed(token, command, parameters, until_s)
            if said.code in codec.CODES_OF_A_BAD_TOKEN and not is_fresh:
                # A plain no, so nothing was carried out: the miner restarted and forgot the token.
                self._token = None
                token, _ = await self._valid_token(until_s)
                said = await self._exchange_sealed(token, command, parameters, until_s)
            if said.is_success:
                return Applied(persistent_writes=writes)
            self._token = None
            raise self._error(command, said)
        except DeviceError as error:
            return after_sending(error)

    async def _exchange_sealed(
        self, token: cipher.Token, command: str, parameters: Mapping[str, str], until_s: float
    ) -> codec.Said:
        body = await self._exchange(command, cipher.seal(token, command, parameters), until_s)
        return decoded(self._device, command, lambda raw: codec.decode_answer(token, raw), body)

    async def _valid_token(self, until_s: float) -> tuple[cipher.Token, bool]:
        """Return the kept token or a new one, and whether it is new. Raises DeviceError."""
        now_s = self._clock.monotonic_s()
        if self._token is not None and now_s < self._token_until_s:
            return self._token, False
        token = await self._ask(
            "get_token",
            lambda body: cipher.derive_token(codec.content(body), self._password),
            until_s,
        )
        self._token, self._token_until_s = token, now_s + TOKEN_LIFE_S
        return token, True

    async def _live(self, until_s: float) -> tuple[codec.Summary, codec.Status]:
        """Return what it does, and whether its hashboards are off.

        They are on while it hashes, so that is not asked each time.
        """
        refused = None
        summary = codec.Summary()
        try:
            summary = await self._ask("summary", codec.decode_summary, until_s)
        except DeviceRefused as error:
            # With the hashboards off some builds have no mining process that could answer.
            refused = error
        status, now_s = self._status, self._clock.monotonic_s()
        hashes = (summary.hashrate_ths or 0.0) > 0.0
        if status is None or status.is_off or not hashes or now_s >= self._status_due_s:
            self._status = None
            status = await self._ask("status", codec.decode_status, until_s)
            self._status, self._status_due_s = status, now_s + self._details_period_s
        if refused is not None and not status.is_off:
            raise refused
        return summary, status

    async def _refresh(self, until_s: float) -> tuple[str, ...]:
        """Read the slow parts when they are due.

        What fails is a fault of the reading, not its end.
        """
        now_s = self._clock.monotonic_s()
        try:
            if now_s >= self._details_due_s:
                self._details_due_s = now_s + self._details_period_s
                self._pool_urls, self._errors = None, ()
                self._pool_urls = await self._ask("pools", codec.decode_pool_urls, until_s)
                self._errors = await self._ask("get_error_code", codec.decode_errors, until_s)
            if now_s >= self._identity_due_s:
                self._identity_due_s = now_s + _IDENTITY_PERIOD_S
                self._build = await self._ask("get_version", codec.decode_firmware_version, until_s)
                self._model = await self._ask("devdetails", codec.decode_model, until_s)
        except DeviceError as error:
            return (f"{error.operation} unreadable: {error.detail}",)
        return ()

    async def _ask(self, command: str, decode: Callable[[bytes], T], until_s: float) -> T:
        body = await self._exchange(command, codec.encode_query(command), until_s)
        try:
            return decoded(self._device, command, decode, body)
        except Malformed:
            refusal = decoded(self._device, command, codec.decode_refusal, body)
            if refusal is None:
                raise
        raise self._error(command, refusal)

    async def _exchange(self, command: str, request: bytes, until_s: float) -> bytes:
        deadline_s = read_left_s(self._device, self._clock, command, until_s)
        return await self._tcp.exchange(
            self._rpc, request, deadline_s=deadline_s, bytes_max=_REPLY_BYTES_MAX
        )

    def _error(self, command: str, said: codec.Said) -> DeviceError:
        detail = f"code {said.code}: {said.text}"
        miner_id = self._device.miner_id
        if said.code == codec.CODE_TOKENS_EXHAUSTED or "over max" in said.text:
            return Busy(miner_id, command, detail)
        if said.code in codec.CODES_OF_A_BAD_TOKEN | {codec.CODE_PERMISSION_DENIED} or (
            "can't access write cmd" in said.text
        ):
            mend = "check the password, and that the API switch is on"
            return Unauthorized(miner_id, command, f"{detail}; {mend}")
        return DeviceRefused(miner_id, command, detail)


def _limit_w(summary: codec.Summary, status: codec.Status) -> float | None:
    return summary.power_limit_w if summary.power_limit_w is not None else status.power_limit_w


def _joined(first: Outcome, then: Outcome) -> Outcome:
    """Return the outcome of two steps.

    A failed second one after a first that was applied is not certain.
    """
    match first, then:
        case Applied(persistent_writes=before), Applied(persistent_writes=after):
            return Applied(persistent_writes=before + after)
        case Applied(), AlreadySo():
            return first
        case Applied(), Refused(detail=detail) | Unconfirmed(detail=detail):
            return Unconfirmed(detail=f"awake, but the next step failed: {detail}")
        case _:
            return then
