"""Builds `naryn console`: two watches, the page, and the server in front of it."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import structlog
import uvicorn

from controller.channel.treasury import TreasuryImage
from controller.channel.view import SiteImage
from controller.clock import SystemClock
from controller.config.load import SiteConfig
from controller.console.pages import Pages, Place
from controller.console.past import Past, Trace, points
from controller.console.stream import Board
from controller.console.watch import Watch
from controller.console.web import Desk, create

_log = structlog.get_logger()

_STALE_S = 5.0
_STALE_TICKS = 3
_TREASURY_STALE_S = 10.0
_CONNECTIONS_MAX = 256
_STUCK_S = 20
"""A client that takes nothing for this long is cut, and its place is free again."""
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class ConsoleError(Exception):
    """The console cannot be served. Says where, why and how to mend."""


async def run(config: SiteConfig) -> None:
    """Serve the page until cancelled. Raises ConsoleError when its address cannot be had."""
    section = config.file.console
    host = f"[{section.host}]" if ":" in section.host else section.host
    desk, trace = _build(config)
    server = _Server(
        uvicorn.Config(
            create(desk, (*_LOOPBACK, host)),
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_CONNECTIONS_MAX,
            timeout_graceful_shutdown=1,
        )
    )

    def changed(image: SiteImage | TreasuryImage | None) -> None:
        if isinstance(image, SiteImage):
            seen = points(desk.site.seen(), desk.seen_treasury())
            trace.note(desk.clock.utc().timestamp(), seen)
        desk.board.changed()

    with _listen(section.host, section.port) as listener, _faults_logged():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(desk.site.run(changed))
            tasks.create_task(desk.board.run(desk.pieces))
            if desk.treasury is not None:
                tasks.create_task(desk.treasury.run(changed))
            _log.info("console_serving", url=f"http://{host}:{section.port}/")
            await _until_cancelled(server, listener, desk.board)


def _build(config: SiteConfig) -> tuple[Desk, Trace]:
    file, clock = config.file, SystemClock()
    root = next(node for node in file.node if node.parent is None)
    place = Place(
        name=file.site.name or file.site.id,
        root_id=root.id,
        rating_w=root.rating_kw * 1000.0,
        zone=ZoneInfo(file.site.timezone),
        timezone=file.site.timezone,
        stale_after_s=max(_STALE_S, _STALE_TICKS * file.control.tick_s),
    )
    site = Watch(config.channel_path, "naryn run", SiteImage, clock, place.stale_after_s)
    treasury = None
    if file.console.treasury_state_dir is not None:
        path = config.folder / file.console.treasury_state_dir / "run" / "treasury.sock"
        treasury = Watch(path, "naryn treasury run", TreasuryImage, clock, _TREASURY_STALE_S)
    trace = Trace()
    desk = Desk(
        site=site,
        treasury=treasury,
        pages=Pages(place),
        past=Past(site, trace, clock),
        board=Board(),
        clock=clock,
    )
    return desk, trace


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Every accepted socket inherits it: the kernel cuts clients that are stuck or gone.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * _STUCK_S)
            listener.bind(address)
            listener.listen()
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ConsoleError(
            f"{host}:{port}: cannot be listened on: {error.strerror}; end what listens there, or "
            "write another `host` or `port` under [console] in the site file"
        ) from None
    return listener


async def _until_cancelled(server: uvicorn.Server, listener: socket.socket, board: Board) -> None:
    """Serve; when cancelled, end the streams first, so that nobody is waited for."""
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(serving)
    finally:
        board.close()
        server.should_exit = True
        await serving


class _Server(uvicorn.Server):
    """Leaves the signals to the command that runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class _Faults(logging.Handler):
    """Tells our log what uvicorn tells Python's."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line, with the trace where there is one."""
        told: dict[str, Any] = {"said": record.getMessage()}
        if record.exc_info:
            told["exc_info"] = record.exc_info
        _log.error("http_server_fault", **told)


@contextlib.contextmanager
def _faults_logged() -> Iterator[None]:
    """Faults only: who sends what is no HTTP gets an answer, and no line in the log."""
    logger, handler = logging.getLogger("uvicorn.error"), _Faults(logging.ERROR)
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
