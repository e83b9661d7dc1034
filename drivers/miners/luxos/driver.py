"""One miner under LuxOS.

    config+summary+power+temps+fans+stats+atm ─▶ reading    config[+atm+profiles] ─▶ plan
                                                             logon ─▶ writes ─▶ logoff

A session is a lock that one tool holds at a time, and no security: it ends with `logoff` or a
minute after its last use.
"""

from collections.abc import Callable
from typing import TypeVar

from drivers.contract.commands import (
    AlreadySo,
    Applied,
    Command,
    Outcome,
    RefusalReason,
    Refused,
    Sleep,
    Unconfirmed,
)
from drivers.contract.devices import MinerDevice
from drivers.contract.errors import Busy, DeviceError, Malformed
from drivers.contract.frames import SleepFrame
from drivers.contract.readings import MinerReading, WorkMode
from drivers.miners.asking import decoded, read_left_s
from drivers.miners.luxos import codec, frame, plan
from drivers.miners.outcomes import after_sending, refused_by
from drivers.miners.own_pace import own_period_s
from drivers.transport.ports import Clock, Endpoint, TcpJson

T = TypeVar("T")

_RPC_PORT = 4028
_REPLY_BYTES_MAX = 262_144
_DETAILS_PERIOD_S = 60.0
_VERSION_PERIOD_S = 3_600.0
_LOG_OFF_WAIT_S = 1.0
"""Nothing depends on the answer but the other tools' turn."""

_NO_DETAILS = codec.Details(pool_urls=None, profiles=(), faults=())


class Luxos:
    """Driver of one miner under LuxOS; see `drivers.contract.devices.MinerDriver`."""

    def __init__(self, device: MinerDevice, *, tcp: TcpJson, clock: Clock) -> None:
        self._device = device
        self._tcp = tcp
        self._clock = clock
        port = device.ports.get("rpc", _RPC_PORT)
        self._rpc = Endpoint(device=device.miner_id, host=device.host, port=port)
        self._session_id: str | None = None
        self._is_applying = False
        self._details = _NO_DETAILS
        self._details_period_s = own_period_s(device.miner_id, _DETAILS_PERIOD_S)
        self._details_due_s = 0.0
        self._version: str | None = None
        self._version_due_s = 0.0

    async def read(self) -> MinerReading:
        """Read the live values. Raises DeviceError; costs at most the profile's read deadline."""
        begun_s = self._clock.monotonic_s()
        until_s = begun_s + self._device.profile.read_deadline_s
        live = await self._ask(codec.LIVE, codec.decode_live, until_s)
        faults = await self._refresh(until_s)
        settings, details = live.settings, self._details
        hashing = None if live.hashrate_ths is None else live.hashrate_ths > 0.0
        modes = {True: WorkMode.SLEEP, False: WorkMode.NORMAL, None: None}
        return MinerReading(
            miner_id=self._device.miner_id,
            begun_s=begun_s,
            taken_s=self._clock.monotonic_s(),
            make="AntMiner",
            model=live.model,
            firmware=self._device.profile.firmware,
            firmware_version=self._version,
            serial=live.serial,
            mac=live.mac,
            hashing=False if hashing is None and settings.is_asleep else hashing,
            hashrate_ths=live.hashrate_ths,
            power_w=live.power_w,
            power_limit_w=plan.power_limit_w(settings, details.profiles),
            mode=modes[settings.is_asleep],
            raw_mode=plan.raw_mode(settings, details.profiles),
            chip_temperature_c=live.chip_temperature_c,
            board_temperatures_c=live.board_temperatures_c,
            fans_rpm=live.fans_rpm,
            uptime_s=live.uptime_s,
            pool_urls=details.pool_urls,
            faults=(*details.faults, *faults),
        )

    async def apply(self, command: Command) -> Outcome:
        """Carry out one command; never raises DeviceError."""
        if self._is_applying:
            detail = "an earlier command is still under way"
            return Refused(reason=RefusalReason.BUSY, detail=detail)
        self._is_applying = True
        try:
            until_s = self._clock.monotonic_s() + self._device.profile.command_deadline_s
            outcome = await self._carry_out(command, until_s)
            await self._log_off(until_s)
        except DeviceError as error:
            return refused_by(error)
        else:
            return outcome
        finally:
            self._is_applying = False

    async def prepare(self) -> SleepFrame | AlreadySo:
        """Make the first of a Sleep's requests ready; see `drivers.contract.frames.FrameMaker`."""
        now_s = self._clock.monotonic_s()
        until_s = now_s + self._device.profile.read_deadline_s
        settings, _ = await self._ask(codec.STATE, codec.decode_settings, until_s)
        if settings.is_asleep:
            return AlreadySo()
        return frame.sleep_frame(self._device, self._rpc.port, now_s + frame.LIFE_S)

    async def _carry_out(self, command: Command, until_s: float) -> Outcome:
        """Errors that are raised from here came before anything was sent."""
        # To sleep, nothing but the present state matters; on a mass curtailment bytes are time.
        wanted = codec.STATE if isinstance(command, Sleep) else codec.SETTINGS
        settings, profiles = await self._ask(wanted, codec.decode_settings, until_s)
        try:
            writes = plan.plan(settings, profiles, command)
        except plan.PlanError as error:
            return Refused(reason=RefusalReason.UNSUPPORTED, detail=str(error))
        return await self._write_all(writes, until_s)

    async def _write_all(self, writes: tuple[plan.Write, ...], until_s: float) -> Outcome:
        """The first write that is not applied ends it; a failure after another is not certain."""
        for index, write in enumerate(writes):
            outcome = await self._write(write, until_s)
            if isinstance(outcome, Applied):
                continue
            done = writes[: index + isinstance(outcome, Unconfirmed)]
            if len(writes) == 1 or not done:
                return outcome
            detail = f"{' '.join(write)}: {outcome.detail}"
            if plan.ATM_OFF in done:
                back = await self._write(plan.atm_on_again(writes), until_s)
                is_back = isinstance(back, Applied)
                detail += "; ATM is on again" if is_back else "; ATM is off, switch it on again"
            return Unconfirmed(detail=detail)
        return Applied(persistent_writes=len(writes)) if writes else AlreadySo()

    async def _write(self, write: plan.Write, until_s: float) -> Applied | Refused | Unconfirmed:
        """Send one write; once more under a new session when it was refused for the old one's end.

        Codes of refusals are not published, so the miner is asked whose session is in force.
        """
        name, *parameters = write
        for is_last in (False, True):
            try:
                session_id = await self._session(until_s)
            except DeviceError as error:
                return refused_by(error)
            request = codec.encode_write(name, session_id, *parameters)
            try:
                said = await self._answer(name, request, until_s)
            except DeviceError as error:
                return after_sending(error)
            if said.is_success:
                break
            refused = Refused(
                reason=RefusalReason.DEVICE_REFUSED, detail=f"code {said.code}: {said.text}"
            )
            if is_last or await self._is_in_force(session_id, until_s):
                return refused
            self._session_id = None
        return Applied(persistent_writes=1)

    async def _session(self, until_s: float) -> str:
        """Return the id of our session, a new one where none is kept. Raises DeviceError."""
        if self._session_id is None:
            said = await self._answer("logon", codec.encode_query("logon"), until_s)
            if not said.is_success:
                mend = "another tool holds it until it logs off, or a minute from its last use"
                detail = f"no session, code {said.code}: {said.text}; {mend}"
                raise Busy(self._device.miner_id, "logon", detail)
            if said.session_id is None:
                raise Malformed(self._device.miner_id, "logon", "the reply has no session id")
            self._session_id = said.session_id
        return self._session_id

    async def _is_in_force(self, session_id: str, until_s: float) -> bool:
        """Whether the session lives, so that a refusal was not for its sake; yes when unknown."""
        try:
            said = await self._answer("session", codec.encode_query("session"), until_s)
        except DeviceError:
            return True
        return not said.is_success or said.session_id == session_id

    async def _log_off(self, until_s: float) -> None:
        """End our session. Without an answer its id is kept, and the next command goes on under it:
        it would lock ourselves out for a minute.
        """
        if self._session_id is None:
            return
        request = codec.encode_write("logoff", self._session_id)
        until_s = min(until_s, self._clock.monotonic_s() + _LOG_OFF_WAIT_S)
        try:
            await self._answer("logoff", request, until_s)
        except DeviceError:
            return
        self._session_id = None

    async def _refresh(self, until_s: float) -> tuple[str, ...]:
        """Read the slow parts when they are due.

        What fails is a fault of the reading, not its end.
        """
        now_s = self._clock.monotonic_s()
        try:
            if now_s >= self._details_due_s:
                self._details_due_s = now_s + self._details_period_s
                self._details = _NO_DETAILS
                self._details = await self._ask(codec.DETAILS, codec.decode_details, until_s)
            if now_s >= self._version_due_s:
                self._version_due_s = now_s + _VERSION_PERIOD_S
                self._version = await self._ask(
                    ("version",), codec.decode_firmware_version, until_s
                )
        except DeviceError as error:
            return (f"{error.operation} unreadable: {error.detail}",)
        return ()

    async def _ask(
        self, commands: tuple[str, ...], decode: Callable[[bytes], T], until_s: float
    ) -> T:
        name = "+".join(commands)
        body = await self._exchange(name, codec.encode_query(*commands), until_s)
        return decoded(self._device, name, decode, body)

    async def _answer(self, name: str, request: bytes, until_s: float) -> codec.Said:
        body = await self._exchange(name, request, until_s)
        return decoded(self._device, name, codec.decode_answer, body)

    async def _exchange(self, name: str, request: bytes, until_s: float) -> bytes:
        deadline_s = read_left_s(self._device, self._clock, name, until_s)
        return await self._tcp.exchange(
            self._rpc, request, deadline_s=deadline_s, bytes_max=_REPLY_BYTES_MAX
        )
