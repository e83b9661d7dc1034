"""Every address of the console. Reads only: nothing that arrives here can command anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic, TypeVar

import msgspec
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from controller.channel.history import POINTS_MAX, SPAN_S_MAX, ReadHistory
from controller.channel.treasury import TreasuryImage
from controller.channel.view import SiteImage
from controller.clock import SiteClock
from controller.console.pages import Pages, Pieces
from controller.console.past import Past
from controller.console.shield import STATIC, Shield
from controller.console.stream import Board, EventStream
from controller.console.watch import Seen, Watch

SPAN_S_MIN = 60.0
NO_TREASURY = "no treasury is named: write `treasury_state_dir` under [console] in the site file"

_FILES = Path(__file__).parent / "static"

T = TypeVar("T", SiteImage, TreasuryImage)


class Twin(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """What the page shows of a process, for programs. `fault` is null only while it is fresh."""

    age_s: float | None
    fault: str | None
    image: T | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """All that the addresses read from. `treasury` None: the site file names none."""

    site: Watch[SiteImage]
    treasury: Watch[TreasuryImage] | None
    pages: Pages
    past: Past
    board: Board
    clock: SiteClock

    def pieces(self) -> Pieces:
        """The page's pieces as they stand now."""
        return self.pages.pieces(self.site.seen(), self.seen_treasury(), self.clock.utc())

    def seen_treasury(self) -> Seen[TreasuryImage] | None:
        """What is known of the treasury; None where there is none to be known of."""
        return None if self.treasury is None else self.treasury.seen()


def create(desk: Desk, hosts: Sequence[str]) -> FastAPI:
    """The console as an ASGI application; `hosts`: the names it answers to."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    app.add_middleware(Shield)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.mount(STATIC, StaticFiles(directory=_FILES))
    _pages(app, desk)
    _twins(app, desk)
    return app


def _pages(app: FastAPI, desk: Desk) -> None:
    @app.get("/")
    async def page() -> HTMLResponse:
        text = desk.pages.page(desk.pieces(), desk.site.seen(), desk.clock.utc())
        return HTMLResponse(text)

    @app.get("/events")
    async def events() -> Response:
        return EventStream(desk.board)

    @app.get("/healthz")
    async def healthz() -> JSONResponse:
        return JSONResponse({"process": "console", "alive": True})

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        watched = (desk.site, desk.treasury)
        wrong = [w.seen().fault for w in watched if w is not None and w.seen().fault is not None]
        body = {"process": "console", "ready": not wrong, "reasons": wrong}
        return JSONResponse(body, 503 if wrong else 200)


def _twins(app: FastAPI, desk: Desk) -> None:
    @app.get("/api/site")
    async def site() -> Response:
        return _twin(desk.site.seen())

    @app.get("/api/treasury")
    async def treasury() -> Response:
        if desk.treasury is None:
            raise HTTPException(404, NO_TREASURY)
        return _twin(desk.treasury.seen())

    @app.get("/api/history")
    async def history(
        span_s: Annotated[float, Query(ge=SPAN_S_MIN, le=SPAN_S_MAX, allow_inf_nan=False)] = 3600.0,
        points: Annotated[int, Query(ge=2, le=POINTS_MAX)] = 600,
    ) -> Response:
        found = await desk.past.read(ReadHistory(span_s=span_s, points=points))
        return _json(found)


def _twin(seen: Seen[T]) -> Response:
    """503 while there is no image at all; an old one is given with its age and what is wrong."""
    twin = Twin(age_s=seen.age_s, fault=seen.fault, image=seen.image)
    return _json(twin, 503 if seen.image is None else 200)


def _json(found: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(found), status, media_type="application/json")


def _refused(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    detail = error.detail
    if error.status_code == 404 and detail == "Not Found":
        detail = "nothing is served at this address; the page is at /, its twins under /api/"
    return JSONResponse({"error": detail}, error.status_code, error.headers)


def _not_understood(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    told = [f"{problem['loc'][-1]}: {problem['msg'].lower()}" for problem in error.errors()]
    return JSONResponse({"error": "; ".join(told)[:500]}, 422)
