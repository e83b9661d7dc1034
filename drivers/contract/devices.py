"""The two device protocols, and how a device is found on the network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from drivers.contract.capabilities import FirmwareProfile, MinerModel
from drivers.contract.commands import Command, Outcome
from drivers.contract.readings import MeterReading, MinerReading


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Credentials of one device. The password never appears in a representation."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class MinerDevice:
    """One miner as a driver needs it. `ports` overrides a driver's ports by service name, e.g.
    {"http": 8081}.
    """

    miner_id: str
    host: str
    profile: FirmwareProfile
    model: MinerModel
    login: Login | None = None
    ports: Mapping[str, int] = field(default_factory=dict)


class MinerDriver(Protocol):
    """Speaks to one miner. One parameter is written at a time, clamped, and read back."""

    async def read(self) -> MinerReading:
        """Read the live values. Raises DeviceError; costs at most the profile's read deadline."""
        ...

    async def apply(self, command: Command) -> Outcome:
        """Carry out one command. Never raises DeviceError: what went wrong is in the outcome.

        Costs at most the profile's command deadline.
        """
        ...


class MeterDriver(Protocol):
    """Reads one meter or PLC."""

    async def read(self) -> MeterReading:
        """Read every mapped signal once. Raises DeviceError; costs at most the meter's timeout."""
        ...
