"""The gRPC API of one miner under Braiins OS+: calls with the token that it asks for.

    call ─▶ a valid token? ─no─▶ Login ─▶ call ─refused─▶ Login, and the call once more

The token stands in memory only.
"""

from collections.abc import Callable
from typing import TypeVar

from drivers.contract.commands import Refused, Unconfirmed
from drivers.contract.devices import Login, MinerDevice
from drivers.contract.errors import DeviceError, Unauthorized
from drivers.miners.asking import decoded, read_left_s
from drivers.miners.braiins import codec
from drivers.miners.outcomes import after_sending
from drivers.transport.grpc_status import operation_of
from drivers.transport.ports import Clock, Endpoint, Grpc

T = TypeVar("T")

FACTORY_LOGIN = Login(username="root", password="root")  # noqa: S106 - what pyasic knows as well
"""Used where the inventory gives no login."""

TOKEN_SHARE = 0.9
"""A token is renewed by every use, and replaced when it was not used for this share of its life."""

TOKEN_REST_S = 600.0
"""A Sleep is prepared with a token that has at least this long to live."""

_PORT = 50051


class Api:
    """Each call is one connection; the token is kept between them."""

    def __init__(self, device: MinerDevice, grpc: Grpc, clock: Clock) -> None:
        self._device = device
        self._grpc = grpc
        self._clock = clock
        self._login = device.login or FACTORY_LOGIN
        port = device.ports.get("grpc", _PORT)
        self._endpoint = Endpoint(device=device.miner_id, host=device.host, port=port)
        self._session: codec.Session | None = None
        self._session_until_s = 0.0

    @property
    def port(self) -> int:
        """Where the API listens."""
        return self._endpoint.port

    async def lasting_session(self, until_s: float) -> tuple[codec.Session, float]:
        """Return a token with `TOKEN_REST_S` to live or more, and the instant at which it ends.

        Raises DeviceError.
        """
        if self._clock.monotonic_s() >= self._session_until_s - TOKEN_REST_S:
            self._session = None
        session, _ = await self._valid_session(until_s)
        return session, self._session_until_s

    async def act(
        self, path: str, message: bytes, decode: Callable[[bytes], T], until_s: float
    ) -> T | Refused | Unconfirmed:
        """Send what changes something. Raises DeviceError for what came before it was sent."""
        await self._valid_session(until_s)
        try:
            return await self._call(path, message, decode, until_s)
        except DeviceError as error:
            return after_sending(error)

    async def ask(self, path: str, decode: Callable[[bytes], T], until_s: float) -> T:
        """Read something. Raises DeviceError."""
        return await self._call(path, codec.EMPTY, decode, until_s)

    async def _call(
        self, path: str, message: bytes, decode: Callable[[bytes], T], until_s: float
    ) -> T:
        """Call with the token; once more with a fresh one when a kept one was refused."""
        session, is_fresh = await self._valid_session(until_s)
        try:
            body = await self._exchange(path, message, session, until_s)
        except Unauthorized:
            # A plain no, so nothing was carried out: the miner restarted and forgot the token.
            self._session = None
            if is_fresh:
                raise
            session, _ = await self._valid_session(until_s)
            body = await self._exchange(path, message, session, until_s)
        return decoded(self._device, operation_of(path), decode, body)

    async def _valid_session(self, until_s: float) -> tuple[codec.Session, bool]:
        """Return the kept session or a new one, and whether it is new. Raises DeviceError."""
        if self._session is not None and self._clock.monotonic_s() < self._session_until_s:
            return self._session, False
        message = codec.encode_login(self._login.username, self._login.password)
        body = await self._exchange(codec.LOGIN, message, None, until_s)
        self._session = decoded(self._device, operation_of(codec.LOGIN), codec.decode_session, body)
        self._session_until_s = self._clock.monotonic_s() + TOKEN_SHARE * self._session.life_s
        return self._session, True

    async def _exchange(
        self, path: str, message: bytes, session: codec.Session | None, until_s: float
    ) -> bytes:
        asked_s = self._clock.monotonic_s()
        body = await self._grpc.unary(
            self._endpoint,
            path,
            message,
            metadata={} if session is None else {"authorization": session.token},
            deadline_s=read_left_s(self._device, self._clock, operation_of(path), until_s),
            bytes_max=codec.MESSAGE_BYTES_MAX,
        )
        if session is not None:
            self._session_until_s = asked_s + TOKEN_SHARE * session.life_s
        return body
