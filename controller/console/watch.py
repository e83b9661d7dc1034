"""Follows one process on its channel: the newest image, how old it is, or why there is none.

Reconnects by itself. What a page shows of a process that died is its last image and its age,
never an image that looks alive.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
import structlog

from controller.channel.client import ChannelClient, connect
from controller.channel.frames import ChannelError
from controller.channel.treasury import TreasuryImage
from controller.channel.view import SiteImage
from controller.clock import SiteClock

_log = structlog.get_logger()

RETRY_S = 0.5
RETRY_S_MAX = 2.0
"""A console is looked at: it may not be long behind a process that came back."""

T = TypeVar("T", SiteImage, TreasuryImage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen(Generic[T]):
    """What is known of a process at one moment.

    `age_s`: since the image came, in s. `fault`: why no newer one comes, and what to do.
    """

    image: T | None = None
    age_s: float | None = None
    fault: str | None = None


class Watch(Generic[T]):
    """One process: `server` is the command that runs it, `kind` the image that it publishes."""

    def __init__(
        self, path: Path, server: str, kind: type[T], clock: SiteClock, stale_after_s: float
    ) -> None:
        self.stale_after_s = stale_after_s
        self._path = path
        self._server = server
        self._clock = clock
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(kind)
        self._client: ChannelClient | None = None
        self._image: T | None = None
        self._heard_s: float | None = None
        self._error: str | None = f"{path}: not asked yet"

    def seen(self) -> Seen[T]:
        """The newest image and its age; `fault` is None only while it is fresh."""
        age_s = None if self._heard_s is None else self._clock.monotonic_s() - self._heard_s
        fault = self._error
        if fault is None and (age_s is None or age_s > self.stale_after_s):
            fault = f"{self._path}: connected, but nothing comes; does `{self._server}` hang?"
        return Seen(image=self._image, age_s=age_s, fault=fault)

    async def run(self, changed: Callable[[T | None], None]) -> None:
        """Follow for ever; `changed` is called with every image, and with None on a loss."""
        wait_s = RETRY_S
        while True:
            try:
                async with connect(self._path, self._server) as client:
                    self._client = client
                    async for body in client.images():
                        self._take(body)
                        wait_s = RETRY_S
                        changed(self._image)
            except ChannelError as error:
                self._lost(str(error))
            finally:
                self._client = None
            changed(None)
            await asyncio.sleep(wait_s)
            wait_s = min(RETRY_S_MAX, 2 * wait_s)

    def _take(self, body: bytes) -> None:
        try:
            self._image = self._decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ChannelError(
                f"{self._path}: an image that this console cannot read ({error}); "
                f"run `{self._server}` and the console from the same version"
            ) from None
        self._heard_s = self._clock.monotonic_s()
        if self._error is not None:
            _log.info("reached", process=self._server)
            self._error = None

    def _lost(self, why: str) -> None:
        if why != self._error:
            _log.warning("not_reached", process=self._server, error=why)
        self._error = why

    async def ask(self, body: bytes, timeout_s: float) -> bytes:
        """One request to the process. Raises ChannelError, also while it is not connected."""
        if self._client is None:
            raise ChannelError(self._error or f"{self._path}: not connected; it is tried again")
        return await self._client.request(body, timeout_s)
