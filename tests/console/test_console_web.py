"""Every address of the console: twins, refusals in words, and what each answer carries."""

import asyncio
import contextlib

import httpx
import msgspec
import pytest

from controller.channel.view import SiteImage
from controller.console.pages import Pages
from controller.console.past import Past, Trace
from controller.console.shield import HEADERS
from controller.console.stream import VIEWERS_MAX, Board
from controller.console.watch import Seen
from controller.console.web import Desk, create
from tests.console.pictures import GOOD_TREASURY, PROVED
from tests.console.test_console_pages import NOBODY, PLACE
from tests.console.test_console_past import Hand

FRESH = Seen(image=PROVED, age_s=0.4)
GONE = Seen(image=PROVED, age_s=75.0, fault=NOBODY)
NEVER = Seen(fault=NOBODY)
MONEY = Seen(image=GOOD_TREASURY, age_s=0.4)


class Known:
    """A watch that knows one thing."""

    def __init__(self, seen):
        self._seen = seen

    def seen(self):
        return self._seen

    async def ask(self, body, timeout_s):
        return msgspec.msgpack.encode({"type": "done", "detail": "no history here"})


def desk(site, treasury=None):
    watch = Known(site)
    return Desk(
        site=watch,
        treasury=None if treasury is None else Known(treasury),
        pages=Pages(PLACE),
        past=Past(watch, Trace(), Hand()),
        board=Board(),
        clock=Hand(),
    )


def client(site=FRESH, treasury=MONEY, hosts=("127.0.0.1", "[::1]")):
    app = create(desk(site, treasury), hosts)
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8440")


async def test_the_first_answer_holds_every_figure_without_any_script():
    async with client() as web:
        text = (await web.get("/")).text
    for figure in ("533.0", "540.0 kW", "line maintenance at Toktogul", "49.987", "1283.12500001"):
        assert figure in text


async def test_twins_give_the_images_whole():
    async with client() as web:
        site = (await web.get("/api/site")).json()
        money = (await web.get("/api/treasury")).json()
    assert msgspec.convert(site["image"], SiteImage) == PROVED
    assert (site["age_s"], site["fault"]) == (0.4, None)
    assert money["image"]["reserve"]["ledger_sat"] == 128_312_500_001


async def test_an_old_image_is_given_with_its_age_and_none_at_all_is_503():
    async with client(GONE, NEVER) as web:
        site, money = await web.get("/api/site"), await web.get("/api/treasury")
    assert (site.status_code, site.json()["age_s"], site.json()["fault"]) == (200, 75.0, NOBODY)
    assert (money.status_code, money.json()["image"]) == (503, None)
    assert money.json()["fault"] == NOBODY


async def test_a_console_without_a_treasury_says_how_to_name_one():
    async with client(treasury=None) as web:
        told = await web.get("/api/treasury")
        page = (await web.get("/")).text
    assert told.status_code == 404
    assert "treasury_state_dir" in told.json()["error"]
    assert "treasury_state_dir" in page


async def test_ready_only_while_all_that_is_watched_is_fresh():
    async with client() as web:
        assert (await web.get("/healthz")).json() == {"process": "console", "alive": True}
        assert (await web.get("/readyz")).json() == {
            "process": "console",
            "ready": True,
            "reasons": [],
        }
    async with client(GONE, NEVER) as web:
        assert (await web.get("/healthz")).status_code == 200
        told = await web.get("/readyz")
    assert (told.status_code, told.json()["reasons"]) == (503, [NOBODY, NOBODY])


async def test_history_has_bounds_and_defaults():
    async with client() as web:
        found = (await web.get("/api/history")).json()
        small = (await web.get("/api/history?span_s=60&points=2")).json()
    assert (len(found["at_unix_s"]), found["step_s"], found["source"]) == (600, 6.0, "console")
    assert len(small["at_unix_s"]) == 2


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("span_s=0", "span_s"),
        ("span_s=nan", "span_s"),
        ("span_s=inf", "span_s"),
        ("span_s=1e99", "span_s"),
        ("span_s=an+hour", "span_s"),
        ("points=1", "points"),
        ("points=1001", "points"),
        ("points=2.5", "points"),
        ("points=" + "9" * 5000, "points"),
    ],
)
async def test_a_question_out_of_bounds_is_refused_by_name(query, word):
    async with client() as web:
        told = await web.get(f"/api/history?{query}")
    assert told.status_code == 422
    assert told.json()["error"].startswith(f"{word}: ")
    assert len(told.content) < 1000


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/static/../web.py", 404),
        ("GET", "/static/%2e%2e/web.py", 404),
        ("GET", "/static/nothing.js", 404),
        ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404),
        ("POST", "/", 405),
        ("POST", "/api/site", 405),
        ("DELETE", "/api/treasury", 405),
    ],
)
async def test_what_is_not_served_is_refused_in_words(method, path, status):
    async with client() as web:
        told = await web.request(method, path)
    assert told.status_code == status
    assert told.json()["error"]


async def test_every_answer_carries_the_headers_and_no_figure_is_kept():
    paths = ["/", "/api/site", "/api/history", "/nothing", "/readyz", "/static/console.css"]
    async with client() as web:
        for path in paths:
            told = await web.get(path)
            assert {name: told.headers[name] for name in HEADERS} == HEADERS
            kept = "no-cache" if path.startswith("/static") else "no-store"
            assert told.headers["Cache-Control"] == kept
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'self'")
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:8440", 200),
        ("[::1]:8440", 200),
        ("evil.example", 400),
        ("127.0.0.1.evil.example", 400),
        ("", 400),
    ],
)
async def test_a_page_of_another_name_cannot_read_us(host, status):
    async with client() as web:
        told = await web.get("/api/site", headers={"Host": host})
    assert told.status_code == status
    assert told.headers["X-Frame-Options"] == "DENY"


async def test_static_files_are_asked_for_again_and_not_sent_again():
    async with client() as web:
        first = await web.get("/static/console.js")
        again = await web.get(
            "/static/console.js", headers={"If-None-Match": first.headers["ETag"]}
        )
    assert (first.status_code, again.status_code) == (200, 304)


@contextlib.asynccontextmanager
async def hung(render):
    board = Board()
    task = asyncio.create_task(board.run(render))
    try:
        yield board
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_who_reads_slowly_misses_messages_and_holds_nobody(monkeypatch):
    monkeypatch.setattr("controller.console.stream.REST_S", 0.01)
    monkeypatch.setattr("controller.console.stream.PATIENCE_S", 0.01)
    made = []

    def render():
        made.append(str(len(made)))
        return {"beat": made[-1]}

    async with hung(render) as board:
        with board.viewer():
            slow, quick = board.news(), board.news()
            assert await anext(slow) == {"beat": "0"}
            seen = [(await anext(quick))["beat"] for _ in range(20)]
            assert seen == sorted(seen, key=int)
            assert int((await anext(slow))["beat"]) >= 20
            board.close()
            assert [pieces async for pieces in quick] == []


async def test_nothing_is_rendered_while_nobody_looks(monkeypatch):
    monkeypatch.setattr("controller.console.stream.REST_S", 0.0)
    monkeypatch.setattr("controller.console.stream.PATIENCE_S", 0.001)
    made = []

    async with hung(lambda: made.append(1) or {}) as board:
        await asyncio.sleep(0.05)
        assert made == []
        with board.viewer():
            await anext(board.news())
        count = len(made)
        await asyncio.sleep(0.05)
        assert len(made) <= count + 1


async def test_one_client_too_many_is_turned_away_in_words():
    made = desk(FRESH)
    transport = httpx.ASGITransport(create(made, ["127.0.0.1"]))
    with contextlib.ExitStack() as seats:
        for _ in range(VIEWERS_MAX):
            seats.enter_context(made.board.viewer())
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as web:
            told = await web.get("/events")
    assert told.status_code == 503
    assert "pages are open already" in told.json()["error"]
    assert made.board.viewers == 0
