"""Where a channel may stand, and who may come in."""

import contextlib
import os
import socket
import stat

import pytest

from controller.channel.client import connect
from controller.channel.frames import (
    ChannelError,
)
from controller.channel.server import ChannelServer
from tests.services.channel_bench import NOBODY, PATIENCE_S, echo, pack, short_folder, unpack


@pytest.fixture
def folder():
    with short_folder() as made:
        yield made


@pytest.fixture
def path(folder):
    return folder / "run" / "site.sock"


@pytest.fixture
async def server(path):
    async with ChannelServer(path, echo) as serving:
        yield serving


async def test_nobody_listens(path):
    with pytest.raises(ChannelError, match="nobody listens here; does `naryn run` run"):
        async with connect(path):
            pass


async def test_the_socket_of_a_dead_process_is_removed(path):
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(path))
    with pytest.raises(ChannelError, match="nobody listens here"):
        async with connect(path):
            pass
    async with ChannelServer(path, echo), connect(path) as client:
        assert unpack(await client.request(pack(1), PATIENCE_S)) == 1


async def test_the_socket_of_a_living_process_is_left_to_it(server, path):
    with pytest.raises(ChannelError, match="another process listens here"):
        async with ChannelServer(path, echo):
            pass
    async with connect(path) as client:
        assert unpack(await client.request(pack(1), PATIENCE_S)) == 1


async def test_a_file_in_its_place_is_left_alone(path):
    path.parent.mkdir(mode=0o700)
    path.write_text("precious")
    with pytest.raises(ChannelError, match=r"site\.sock: is not a socket; move it away"):
        async with ChannelServer(path, echo):
            pass
    assert path.read_text() == "precious"
    with pytest.raises(ChannelError, match="nobody listens here"):
        async with connect(path):
            pass


async def test_only_the_user_himself_gets_in(path):
    before = os.umask(0)
    try:
        async with ChannelServer(path, echo):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    finally:
        os.umask(before)


@contextlib.contextmanager
def as_a_stranger(path):
    """Another user if we may become one, otherwise ourselves with the rights taken away."""
    if os.geteuid() != 0:
        path.chmod(0)
        yield
        return
    for place in (path.parent, path.parent.parent):
        place.chmod(0o711)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


async def test_another_user_is_refused_by_name(server, path):
    with as_a_stranger(path), pytest.raises(ChannelError, match=r"site\.sock: permission denied"):
        async with connect(path):
            pass


@contextlib.contextmanager
def as_a_stranger_of(group):
    """Another user in this group, if we may become one; otherwise ourselves, who are in ours."""
    if os.geteuid() != 0:
        yield
        return
    before = os.getegid(), os.getgroups()
    os.setgroups([])
    os.setegid(group)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(before[0])
        os.setgroups(before[1])


async def test_a_shared_socket_takes_its_folders_group_and_nobody_else(path):
    path.parent.parent.chmod(0o711)
    path.parent.mkdir(mode=0o750)
    before = os.umask(0)
    try:
        server = ChannelServer(path, echo, shared=True)
        async with server:
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            with as_a_stranger_of(path.stat().st_gid):
                async with connect(path) as client:
                    assert unpack(await client.request(pack(1), PATIENCE_S)) == 1
            if os.geteuid() == 0:
                refused = pytest.raises(ChannelError, match="or in the group of a socket")
                with as_a_stranger_of(NOBODY), refused:
                    async with connect(path):
                        pass
    finally:
        os.umask(before)


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o751])
async def test_a_shared_folder_that_lets_more_in_is_refused(path, mode):
    path.parent.mkdir()
    path.parent.chmod(mode)
    with pytest.raises(ChannelError, match=r"lets others in; mend: chmod 750"):
        async with ChannelServer(path, echo, shared=True):
            pass


async def test_a_shared_folder_is_not_made(path):
    with pytest.raises(ChannelError, match="make it: install -d -m 0750"):
        async with ChannelServer(path, echo, shared=True):
            pass


async def test_a_folder_open_to_others_is_refused_and_left_as_it_is(path):
    path.parent.mkdir(mode=0o755)
    path.parent.chmod(0o755)
    with pytest.raises(ChannelError, match=r"mode 0755 lets others in; mend: chmod 700"):
        async with ChannelServer(path, echo):
            pass
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755


async def test_a_file_where_the_folder_should_be(path):
    path.parent.write_text("")
    with pytest.raises(ChannelError, match="run: is not a folder"):
        async with ChannelServer(path, echo):
            pass


@pytest.mark.parametrize(("longer", "fits"), [(0, True), (1, False)], ids=["107", "108"])
async def test_a_path_longer_than_the_system_takes_names_the_setting(folder, longer, fits):
    path = folder / "run" / ("x" * (107 - len(os.fsencode(folder)) - len("/run/") + longer))
    if fits:
        async with ChannelServer(path, echo), connect(path) as client:
            assert unpack(await client.request(pack(1), PATIENCE_S)) == 1
        return
    for opening in (ChannelServer(path, echo), connect(path)):
        with pytest.raises(ChannelError, match=r"at most 107 bytes.*has 108.*`site\.state_dir`"):
            async with opening:
                pass
