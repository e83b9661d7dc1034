"""pyasic's JSON requests over this project's bounded transport.

pyasic waits 100 s for a reply, reads without a size limit, turns a refused connection into an empty
answer and leaves the socket open when it is cancelled. `BoundedRpc` takes the place of its sender
and remembers what happened, because pyasic itself swallows the reasons.
"""

from typing import Any

from pyasic.errors import APIError  # type: ignore[import-untyped]

from drivers.contract.errors import DeviceError, Unreachable
from drivers.transport.ports import Endpoint, TcpJson

REPLY_BYTES_MAX = 262_144
_REPLY_WAIT_S = 5.0
_TEXT_CHARACTERS_MAX = 300


class BoundedRpc:
    """Sends for one miner. `begin` clears the memory before each request of the parent."""

    def __init__(self, tcp: TcpJson, device: str, host: str) -> None:
        self._tcp = tcp
        self._device = device
        self._host = host
        self.errors: list[DeviceError] = []
        self.replies = 0
        self.last_text = ""

    def begin(self) -> None:
        """Forget what happened before."""
        self.errors.clear()
        self.replies = 0
        self.last_text = ""

    def take_over(self, rpc: Any) -> None:
        """Put this sender in the place of a pyasic API object's own."""

        async def send(data: bytes, **options: Any) -> bytes:
            port = options.get("port")
            return await self.send(data, rpc.port if port is None else port)

        rpc._send_bytes = send  # noqa: SLF001 - the one seam that pyasic has

    async def send(self, data: bytes, port: int) -> bytes:
        """Exchange one request. Raises pyasic's APIError: its own empty answer reads as success."""
        if any(isinstance(error, Unreachable) for error in self.errors):
            raise APIError("the miner did not answer before")
        endpoint = Endpoint(device=self._device, host=self._host, port=port)
        try:
            body = await self._tcp.exchange(
                endpoint, data, deadline_s=_REPLY_WAIT_S, bytes_max=REPLY_BYTES_MAX
            )
        except DeviceError as error:
            self.errors.append(error)
            raise APIError(error.detail) from error
        self.replies += 1
        self.last_text = body[:_TEXT_CHARACTERS_MAX].decode("utf-8", errors="replace")
        return body

    @property
    def was_never_connected(self) -> bool:
        """True when every attempt failed before a connection stood.

        Nothing can have been received.
        """
        return (
            self.replies == 0
            and bool(self.errors)
            and all(isinstance(error, Unreachable) and not error.connected for error in self.errors)
        )
