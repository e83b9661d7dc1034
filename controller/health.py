"""`/healthz` and `/readyz` over HTTP: whether a process lives, and whether it does its work.

`/healthz` answers 200 as long as the loop turns. `/readyz` answers 200 while nothing is wrong and
503 otherwise, with every reason in words. Both are JSON; nothing else is served.
"""

import contextlib
from collections.abc import AsyncIterator, Callable

import structlog
from aiohttp import web

_log = structlog.get_logger()

Reasons = Callable[[], list[str]]
"""What keeps the process from doing its work now; empty: ready."""


@contextlib.asynccontextmanager
async def serve_health(process: str, host: str, port: int, reasons: Reasons) -> AsyncIterator[None]:
    """Serve both while the context is entered; `port` 0 serves nothing.

    A port that cannot be had is logged and nothing more: a site must run without its health page.
    """
    if not port:
        yield
        return

    async def healthz(_request: web.Request) -> web.Response:
        return web.json_response({"process": process, "alive": True})

    async def readyz(_request: web.Request) -> web.Response:
        wrong = reasons()
        body = {"process": process, "ready": not wrong, "reasons": wrong}
        return web.json_response(body, status=503 if wrong else 200)

    app = web.Application(client_max_size=1024)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            _log.error("health_not_served", where=f"{host}:{port}", error=error.strerror)
        yield
    finally:
        await runner.cleanup()
