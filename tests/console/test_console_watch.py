"""Following a process on its channel: its images, its silence, its end, and its return."""

import asyncio
import contextlib

import msgspec
import pytest

from controller.channel.frames import ChannelError
from controller.channel.server import ChannelServer
from controller.channel.view import SiteImage
from controller.console.watch import Watch
from tests.console.pictures import PEACE, changed
from tests.console.stage import refuse
from tests.patience import until


class Hand:
    """A clock turned by hand."""

    def __init__(self):
        self.now_s = 100.0

    def monotonic_s(self):
        return self.now_s


@contextlib.asynccontextmanager
async def watching(path, clock=None):
    watch = Watch(path, "naryn run", SiteImage, clock or Hand(), 5.0)
    heard = []
    task = asyncio.create_task(watch.run(heard.append))
    try:
        yield watch, heard
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def body(image=PEACE):
    return msgspec.msgpack.encode(image)


async def test_the_newest_image_and_its_age(tmp_path):
    clock, path = Hand(), tmp_path / "run" / "site.sock"
    async with ChannelServer(path, refuse) as server, watching(path, clock) as (watch, heard):
        server.publish(body())
        server.publish(body(changed(PEACE, phase="ramp_up")))
        await until(lambda: heard and heard[-1] is not None, "an image")
        await until(lambda: watch.seen().image.phase == "ramp_up", "the newest")
        clock.now_s += 3
        assert (watch.seen().age_s, watch.seen().fault) == (3.0, None)


async def test_a_process_that_hangs_is_named_though_it_is_connected(tmp_path):
    clock, path = Hand(), tmp_path / "run" / "site.sock"
    async with ChannelServer(path, refuse) as server, watching(path, clock) as (watch, heard):
        server.publish(body())
        await until(lambda: heard, "an image")
        clock.now_s += 5.5
        assert "does `naryn run` hang?" in watch.seen().fault
        assert watch.seen().image == PEACE


async def test_before_anything_was_heard_there_is_no_image_and_a_reason(tmp_path):
    async with watching(tmp_path / "run" / "site.sock") as (watch, heard):
        await until(lambda: heard, "the loss told")
        assert heard == [None]
        assert (watch.seen().image, watch.seen().age_s) == (None, None)
        assert "nobody listens here; does `naryn run` run?" in watch.seen().fault


async def test_one_that_dies_leaves_its_last_image_and_is_found_again(tmp_path):
    path = tmp_path / "run" / "site.sock"
    async with watching(path) as (watch, heard):
        async with ChannelServer(path, refuse) as server:
            server.publish(body())
            await until(lambda: PEACE in heard, "an image")
        await until(lambda: watch.seen().fault is not None, "the loss")
        assert watch.seen().image == PEACE
        async with ChannelServer(path, refuse) as server:
            server.publish(body(changed(PEACE, phase="ramp_up")))
            await until(lambda: watch.seen().fault is None, "the return")
            assert watch.seen().image.phase == "ramp_up"


@pytest.mark.parametrize("other", [b"\x01", msgspec.msgpack.encode({"site_id": "x"})])
async def test_an_image_of_another_version_is_a_reason_and_not_the_end(tmp_path, other):
    path = tmp_path / "run" / "site.sock"
    async with ChannelServer(path, refuse) as server, watching(path) as (watch, heard):
        server.publish(other)
        await until(lambda: heard, "the loss told")
        assert "from the same version" in watch.seen().fault
        server.publish(body())
        await until(lambda: watch.seen().fault is None, "an image that can be read")


async def test_a_question_while_nobody_is_there_is_refused_with_the_reason(tmp_path):
    async with watching(tmp_path / "run" / "site.sock") as (watch, heard):
        await until(lambda: heard, "the loss told")
        with pytest.raises(ChannelError, match="nobody listens here"):
            await watch.ask(b"\xc0", 1.0)
