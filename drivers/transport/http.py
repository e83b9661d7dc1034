"""HTTP with digest authentication, for the slow web services of miners.

One session serves the fleet. Every request has a connection of its own: a kept connection that the
device has closed meanwhile would turn a write into "sent, answer unknown". The digest challenge,
however, is remembered a device, so that a request usually needs one round trip. No redirects, no
cookies, no proxies from the environment, no decompression: a device says what it has to say itself,
in as many bytes as it is allowed.
"""

import asyncio
from types import SimpleNamespace

import aiohttp

from drivers.contract.devices import Login
from drivers.contract.errors import Malformed, Unreachable
from drivers.transport.ports import Endpoint, HttpReply

_CHUNK_BYTES = 65_536


class _Trace(SimpleNamespace):
    """Travels with one request; `connected` is set when a connection stood."""

    connected: bool = False


class SocketHttp:
    """The socket form of the `Http` port. Close it with `close()` when the fleet is let go."""

    def __init__(self) -> None:
        self.opened = 0
        """Connections begun so far."""
        self._session: aiohttp.ClientSession | None = None
        self._digests: dict[tuple[str, int], tuple[Login, aiohttp.DigestAuthMiddleware]] = {}

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
        """Return the final reply; a 401 that remains after the login is returned, not raised.

        Raises `Unreachable` when there is no connection or no whole reply within `deadline_s`,
        `Malformed` when the reply is not HTTP, is cut off or is larger than `bytes_max`.
        """
        operation = f"{method} {path}"
        headers = {"Accept-Encoding": "identity"}
        if content_type is not None:
            headers["Content-Type"] = content_type
        trace = _Trace()
        try:
            async with (
                asyncio.timeout(deadline_s),
                self._open().request(
                    method,
                    f"http://{_host(endpoint.host)}:{endpoint.port}{path}",
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                    middlewares=self._login(endpoint, login),
                    trace_request_ctx=trace,
                ) as reply,
            ):
                whole = await _read(reply, endpoint.device, operation, bytes_max)
                return HttpReply(
                    status=reply.status,
                    headers={name.lower(): value for name, value in reply.headers.items()},
                    body=whole,
                )
        except TimeoutError:
            detail = f"no whole reply within {deadline_s:g} s"
            raise Unreachable(
                endpoint.device, operation, detail, connected=trace.connected
            ) from None
        except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
            raise Unreachable(endpoint.device, operation, str(error), connected=False) from error
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            detail = f"the peer closed without a reply: {error}"
            raise Unreachable(
                endpoint.device, operation, detail, connected=trace.connected
            ) from error
        except (aiohttp.ClientError, ValueError) as error:
            # A challenge, header or body that is not HTTP; aiohttp raises ValueError for some of
            # them.
            raise Malformed(endpoint.device, operation, f"reply is not HTTP: {error}") from error

    async def close(self) -> None:
        """Close the session; a later request opens a new one."""
        session, self._session = self._session, None
        self._digests.clear()
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_connection_create_start.append(self._count_connection)
            trace.on_connection_create_end.append(_note_connection)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, connect=None),
                auto_decompress=False,
                trust_env=False,
                trace_configs=[trace],
            )
        return self._session

    async def _count_connection(
        self,
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        _params: aiohttp.TraceConnectionCreateStartParams,
    ) -> None:
        self.opened += 1

    def _login(
        self, endpoint: Endpoint, login: Login | None
    ) -> tuple[aiohttp.DigestAuthMiddleware, ...]:
        if login is None:
            return ()
        key = (endpoint.host, endpoint.port)
        known = self._digests.get(key)
        if known is None or known[0] != login:
            known = (login, aiohttp.DigestAuthMiddleware(login.username, login.password))
            self._digests[key] = known
        return (known[1],)


def _host(host: str) -> str:
    """A host as it stands in a URL: an IPv6 address goes into brackets."""
    return f"[{host}]" if ":" in host else host


async def _note_connection(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceConnectionCreateEndParams,
) -> None:
    context.trace_request_ctx.connected = True


async def _read(
    reply: aiohttp.ClientResponse, device: str, operation: str, bytes_max: int
) -> bytes:
    received = bytearray()
    while chunk := await reply.content.read(_CHUNK_BYTES):
        received += chunk
        if len(received) > bytes_max:
            reply.close()
            raise Malformed(device, operation, f"reply larger than {bytes_max} bytes")
    return bytes(received)
