"""One miner that pyasic drives. It knows pyasic only through `PyasicPort`."""

from drivers.contract.commands import Applied, Command, Outcome
from drivers.contract.devices import MinerDevice
from drivers.contract.errors import DeviceError
from drivers.contract.readings import MinerReading, WorkMode
from drivers.miners.outcomes import after_sending
from drivers.miners.pyasic_any.messages import Target
from drivers.miners.pyasic_any.port import PyasicPort
from drivers.transport.ports import Clock


class PyasicMiner:
    """Driver of one miner of any make; see `drivers.contract.devices.MinerDriver`."""

    def __init__(self, device: MinerDevice, *, pyasic: PyasicPort, clock: Clock) -> None:
        self._device = device
        self._pyasic = pyasic
        self._clock = clock
        login = device.login
        self._target = Target(
            device=device.miner_id,
            host=device.host,
            firmware=device.profile.firmware,
            model=device.model.model,
            username=login.username if login else None,
            password=login.password if login else None,
            ports=dict(device.ports),
        )

    async def read(self) -> MinerReading:
        """Read the live values. Raises DeviceError; costs at most the profile's read deadline."""
        begun_s = self._clock.monotonic_s()
        values = await self._pyasic.read(
            self._target, deadline_s=self._device.profile.read_deadline_s
        )
        rate_ths = values.hashrate_ths
        hashing = values.is_mining if rate_ths is None else rate_ths > 0.0
        return MinerReading(
            miner_id=self._device.miner_id,
            begun_s=begun_s,
            taken_s=self._clock.monotonic_s(),
            make=values.make,
            model=values.model,
            firmware=self._device.profile.firmware,
            firmware_version=values.firmware_version,
            serial=values.serial,
            mac=values.mac,
            hashing=hashing,
            hashrate_ths=rate_ths,
            power_w=values.power_w,
            power_limit_w=values.power_limit_w,
            mode=WorkMode.SLEEP if values.is_mining is False else None,
            chip_temperature_c=values.chip_temperature_c,
            board_temperatures_c=values.board_temperatures_c,
            inlet_temperature_c=values.inlet_temperature_c,
            fans_rpm=values.fans_rpm,
            uptime_s=values.uptime_s,
            pool_urls=values.pool_urls,
        )

    async def apply(self, command: Command) -> Outcome:
        """Carry out one command; never raises DeviceError.

        Applied says only that pyasic reported success: the next reading and the meter tell the
        truth.
        """
        profile = self._device.profile
        try:
            outcome = await self._pyasic.apply(
                self._target, command, deadline_s=profile.command_deadline_s
            )
        except DeviceError as error:
            return after_sending(error)
        if isinstance(outcome, Applied) and profile.sleep_is_persistent:
            # pyasic does not tell what it stored; a firmware that stores its sleep has written at
            # least once.
            return Applied(persistent_writes=max(1, outcome.persistent_writes))
        return outcome
