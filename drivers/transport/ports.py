"""What a driver asks of a transport. The socket and in-memory forms pass the same contract tests.

Every call raises `Unreachable` (with `connected` telling whether a connection stood), or
`Malformed` when a reply is larger than `bytes_max` or not of the protocol's form. Nothing
outlives its deadline: sockets are closed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from drivers.contract.devices import Login


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a device listens; `device` is its id, named in every error."""

    device: str
    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReply:
    """Status, lower-case header names, and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class TcpJson(Protocol):
    """One short connection: send, read until the peer closes, a NUL byte, or a complete JSON
    text.
    """

    async def exchange(
        self, endpoint: Endpoint, request: bytes, *, deadline_s: float, bytes_max: int
    ) -> bytes:
        """Send `request` and return the reply without trailing NUL bytes and white space."""
        ...


class Http(Protocol):
    """One HTTP request, with digest authentication where a login is given."""

    async def request(
        self,
        endpoint: Endpoint,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        content_type: str | None = None,
        login: Login | None = None,
        deadline_s: float,
        bytes_max: int,
    ) -> HttpReply:
        """Return the final reply (after the digest challenge). 401 after login is returned, not
        raised.
        """
        ...


class Grpc(Protocol):
    """One unary gRPC call over a short connection without TLS, as miners serve it."""

    async def unary(
        self,
        endpoint: Endpoint,
        path: str,
        message: bytes,
        *,
        metadata: Mapping[str, str],
        deadline_s: float,
        bytes_max: int,
    ) -> bytes:
        """Call `/package.Service/Method` with one message and return the reply's message.

        `metadata` has lower-case names. A status other than OK is raised as the DeviceError that
        `drivers.transport.grpc_status` gives it.
        """
        ...


class Modbus(Protocol):
    """Modbus TCP with one persistent connection an endpoint and one outstanding request.

    After a timeout the socket is closed: a late reply would answer the next request.
    """

    async def read_registers(
        self,
        endpoint: Endpoint,
        *,
        unit_id: int,
        function: int,
        address: int,
        count: int,
        timeout_s: float,
    ) -> tuple[int, ...]:
        """Return `count` 16-bit words. `function` is 3 or 4; `address` is the 0-based wire address.

        A Modbus exception reply raises DeviceRefused with the exception code in its detail.
        """
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class Coils(Protocol):
    """The one thing that is ever written over Modbus: a coil of a relay or PLC."""

    async def write_coil(
        self, endpoint: Endpoint, *, unit_id: int, address: int, on: bool, timeout_s: float
    ) -> None:
        """Write the coil at the 0-based wire `address` with function 5; the device repeats it.

        A Modbus exception reply raises DeviceRefused with the exception code in its detail.
        """
        ...


class Clock(Protocol):
    """Monotonic time for stamping readings."""

    def monotonic_s(self) -> float:
        """CLOCK_MONOTONIC, in seconds; a virtual clock in the scenario runner."""
        ...
