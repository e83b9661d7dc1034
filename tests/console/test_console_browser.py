"""The page in a real browser: alive, stale in plain sight, alive again; hostile words stay words.

Needs chromium (`make services`); continuous integration always has it.
"""

import asyncio
import contextlib
import os
import re
import shutil
from datetime import UTC, datetime

import msgspec
import pytest
from playwright.async_api import async_playwright, expect

from controller.channel.history import ReadHistory
from controller.channel.view import EventView
from tests.console.pictures import (
    ALARMED,
    BAD_TREASURY,
    DELIVERING,
    GOOD_TREASURY,
    PEACE,
    PROVED,
    changed,
    history,
)
from tests.console.stage import Stage
from tests.unit.cli.images import AT, fleet, node

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None and "CI" not in os.environ, reason="no chromium here: make services"
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SIZES = [(390, 844), (1280, 800), (1920, 1080)]
PATIENCE_MS = 30_000


@pytest.fixture
async def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    await made.end()


class Seen:
    """What a browser met with beside what it shows."""

    def __init__(self, page, url):
        self.page = page
        self.complaints = []
        self.abroad = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))
        page.on("request", lambda request: self._asked(request.url, url))

    def _said(self, message):
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def _asked(self, url, ours):
        if not url.startswith(ours):
            self.abroad.append(url)


@contextlib.asynccontextmanager
async def browsing(stage, folder, size=(1280, 800)):
    """A page of the console in a browser that nobody used before."""
    assert CHROMIUM is not None, "chromium is not installed: make services"
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            folder / "browser",
            executable_path=CHROMIUM,
            args=FLAGS,
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark",
        )
        try:
            seen = Seen(context.pages[0], stage.url)
            await seen.page.goto(f"{stage.url}/")
            yield seen
        finally:
            await context.close()


def link(page):
    return expect(page.locator("#link"))


async def test_it_lives_turns_stale_when_the_site_dies_and_lives_again(stage, tmp_path):
    await stage.site.begin(PROVED)
    await stage.treasury.begin(GOOD_TREASURY)
    await stage.start()
    async with browsing(stage, tmp_path) as seen:
        page = seen.page
        await link(page).to_have_text("live", timeout=PATIENCE_MS)
        await expect(page.locator("#stale")).to_be_hidden()
        await expect(page.locator(".now")).to_contain_text("533.0")
        await expect(page.locator(".order")).to_contain_text("100 % of the asked drop")
        stage.site.image = DELIVERING
        await expect(page.locator(".now")).to_contain_text("715.0", timeout=PATIENCE_MS)
        await expect(page.locator(".order")).to_contain_text("51 % of the asked drop")

        await stage.site.end()
        await link(page).to_have_text(re.compile("^stale since"), timeout=PATIENCE_MS)
        await expect(page.locator("#stale")).to_contain_text("does `naryn run` run?")
        await expect(page.locator("body")).to_have_class("stale")
        await expect(page.locator(".treasury")).to_contain_text("1283.12500001")
        assert "stale" in await page.title()

        await stage.site.begin(PEACE)
        await link(page).to_have_text("live", timeout=PATIENCE_MS)
        await expect(page.locator(".now")).to_contain_text("2.400")
        await expect(page.locator("body")).not_to_have_class("stale")
    assert (seen.complaints, seen.abroad) == ([], [])


async def test_it_says_that_the_console_itself_is_gone_and_comes_back_by_itself(stage, tmp_path):
    await stage.site.begin(PEACE)
    await stage.start()
    async with browsing(stage, tmp_path) as seen:
        await link(seen.page).to_have_text("live", timeout=PATIENCE_MS)
        await stage.stop()
        await link(seen.page).to_have_text(re.compile("^stale since"), timeout=PATIENCE_MS)
        await expect(seen.page.locator("#stale")).to_contain_text("No news from the console")
        await expect(seen.page.locator("body")).to_have_class(re.compile(r"\bcut\b"))
        await stage.start()
        await link(seen.page).to_have_text("live", timeout=PATIENCE_MS)


async def test_a_treasury_that_is_away_is_said_in_its_place_and_the_rest_lives(stage, tmp_path):
    await stage.site.begin(PEACE)
    await stage.start()
    async with browsing(stage, tmp_path) as seen:
        await link(seen.page).to_have_text("live", timeout=PATIENCE_MS)
        money = expect(seen.page.locator(".treasury"))
        await money.to_contain_text("does `naryn treasury run` run?")
        await stage.treasury.begin(GOOD_TREASURY)
        await money.to_contain_text("ledger = chain", timeout=PATIENCE_MS)
    assert seen.complaints == []


async def test_hostile_words_are_shown_and_never_run(stage, tmp_path):
    evil = '<script>alert("x")</script><img src=x onerror="alert(1)">'
    events = [EventView(at=AT, kind="order", text=evil)]
    nodes = [node("plant", "plant", None, 3e6, reason=evil)]
    await stage.site.begin(changed(PEACE, events=events, nodes=nodes))
    await stage.treasury.begin(changed(GOOD_TREASURY, events=events))
    await stage.start()
    async with browsing(stage, tmp_path) as seen:
        await link(seen.page).to_have_text("live", timeout=PATIENCE_MS)
        for place in (".now", ".event", ".diagram"):
            await expect(seen.page.locator(place)).to_contain_text(evil)
        # The same words once more, by the stream.
        stage.site.image = changed(PROVED, events=events)
        await expect(seen.page.locator(".now")).to_contain_text("533.0", timeout=PATIENCE_MS)
        await expect(seen.page.locator(".event")).to_contain_text(evil)
        assert await seen.page.locator("main img, main script").count() == 0
    assert (seen.complaints, seen.abroad) == ([], [])


async def test_charts_show_the_sites_past_and_go_on(stage, tmp_path):
    async def answer(body):
        asked = msgspec.msgpack.decode(body, type=ReadHistory)
        return msgspec.msgpack.encode(history(asked, datetime.now(UTC)))

    stage.site.answer = answer
    await stage.site.begin(PROVED)
    await stage.start()
    async with browsing(stage, tmp_path) as seen:
        charts = seen.page.locator(".chart:visible canvas")
        await expect(charts).to_have_count(3, timeout=PATIENCE_MS)
        legend = expect(seen.page.locator(".chart").first.locator(".u-legend"))
        await legend.to_contain_text("0.533 MW", timeout=PATIENCE_MS)
        await legend.to_contain_text("0.540 MW")
        await expect(seen.page.locator("#charts-note")).to_be_empty()
        stage.site.image = DELIVERING
        await legend.to_contain_text("0.715 MW", timeout=PATIENCE_MS)
        await stage.treasury.begin(GOOD_TREASURY)
        await expect(charts).to_have_count(4, timeout=PATIENCE_MS)
    assert seen.complaints == []


async def test_a_site_without_a_past_leaves_live_points_and_says_why(stage, tmp_path):
    await stage.site.begin(PROVED)
    await stage.start()
    async with browsing(stage, tmp_path) as seen:
        note = expect(seen.page.locator("#charts-note"))
        await note.to_contain_text("not a known request", timeout=PATIENCE_MS)
        legend = expect(seen.page.locator(".chart").first.locator(".u-legend"))
        await legend.to_contain_text("0.533 MW", timeout=PATIENCE_MS)


def big():
    """A site of thirty feeders with long names and reasons."""
    long = "operator asel: " + "a-reason-that-has-no-space-to-break-at-" * 5
    nodes = [node("plant", "plant", None, 120e6), node("t1", "transformer", "plant", 60e6)]
    names = [f"feeder-with-a-long-name-of-hall-{n}" for n in range(30)]
    nodes += [node(name, "feeder", "t1", 5e5, armed=True) for name in names]
    nodes[-1] = changed(nodes[-1], reason=long, cap_class="operator", limit_w=0.0)
    events = [EventView(at=AT, kind="operator", text=long)] * 30
    return changed(ALARMED, nodes=nodes, fleet=[fleet(name) for name in names], events=events)


async def test_nothing_stands_beyond_the_edge_at_any_size(stage, tmp_path, record_property):
    await stage.site.begin(ALARMED)
    await stage.treasury.begin(BAD_TREASURY)
    await stage.start()
    async with browsing(stage, tmp_path) as seen:
        await link(seen.page).to_have_text("live", timeout=PATIENCE_MS)
        for picture, word in ((ALARMED, "OVER"), (big(), "feeder-with"), (PROVED, "270.0")):
            stage.site.image = picture
            tree = expect(seen.page.locator(".diagram"))
            await tree.to_contain_text(word, timeout=PATIENCE_MS)
            for width, height in SIZES:
                await seen.page.set_viewport_size({"width": width, "height": height})
                wide = await seen.page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, word
        paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
        record_property("first_contentful_paint_ms", await seen.page.evaluate(paint))
    assert (seen.complaints, seen.abroad) == ([], [])


async def test_without_scripts_the_page_says_that_it_is_a_still_picture(stage):
    assert CHROMIUM is not None, "chromium is not installed: make services"
    await stage.site.begin(PROVED)
    await stage.start()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await browser.new_page(java_script_enabled=False)
        async with asyncio.timeout(60):
            # It may have been asked before the console had heard the site.
            while "533.0" not in await page.content():
                await page.goto(f"{stage.url}/")
        await expect(page.locator("#link")).to_contain_text("still picture of")
        await browser.close()
