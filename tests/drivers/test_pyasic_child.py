"""The pyasic child and its parent: frames, crashes, hangs, noise, and the fence around the plant's
network."""

import asyncio
import os
import subprocess
import sys
import textwrap

import pytest

from drivers.contract.commands import Sleep
from drivers.contract.errors import Malformed, Unreachable
from drivers.miners.pyasic_any import messages
from drivers.miners.pyasic_any.fence import Fence
from drivers.miners.pyasic_any.messages import Reply, Request, Target, Values
from drivers.miners.pyasic_any.parent import PyasicChild

TARGET = Target(
    device="m1",
    host="127.9.0.1",
    firmware="pyasic",
    model="Antminer S21",
    password="secret",
)

# ---- the parent with children of every kind

CHILD = """
import os, sys, time
from drivers.miners.pyasic_any import messages as m
def say(*replies):
    for reply in replies: os.write(1, m.encode_frame(reply))
def hear():
    head = os.read(0, 4)
    if not head: sys.exit(0)
    return m.decode_request(os.read(0, m.decode_length(head)))
say(m.Reply(id=0))
"""
CHILDREN = {
    "echoes": """
while True:
    r = hear()
    say(m.Reply(id=r.id, values=m.Values(model=r.target.model)))
""",
    "dies": """
print("last words", file=sys.stderr, flush=True)
hear()
sys.exit(3)
""",
    "hangs": "hear(); time.sleep(60)",
    "babbles": "hear(); os.write(1, b'Traceback (most recent call last)'); time.sleep(60)",
    "announces too much": "hear(); os.write(1, b'\\xff' * 4); time.sleep(60)",
    "answers others": """
r = hear()
say(m.Reply(id=r.id + 7), m.Reply(id=r.id, values=m.Values()))
hear()
""",
    "answers something else": """
r = hear()
say(m.Reply(id=r.id, verdict=m.Verdict(outcome="applied")))
hear()
""",
}


def child(kind: str) -> PyasicChild:
    return PyasicChild(command=(sys.executable, "-c", CHILD + CHILDREN[kind]))


@pytest.fixture(autouse=True)
def short_ends(monkeypatch) -> None:
    """A child that does not end by itself is given less time than in earnest."""
    monkeypatch.setattr("drivers.miners.pyasic_any.parent.END_DEADLINE_S", 0.5)
    monkeypatch.setattr("drivers.miners.pyasic_any.parent.GRACE_S", 0.5)


async def restarted(pyasic: PyasicChild, first: int) -> int:
    for _ in range(1_000):
        if pyasic.pid not in {None, first}:
            return pyasic.pid
        await asyncio.sleep(0.02)
    pytest.fail("not started again")


async def gone(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        await asyncio.sleep(0.02)
    return False


async def test_answers_find_their_requests() -> None:
    async with child("echoes") as pyasic:
        pid = pyasic.pid
        targets = [
            Target(device="m", host="127.0.0.1", firmware="pyasic", model=str(model))
            for model in range(50)
        ]
        values = await asyncio.gather(*(pyasic.read(target, deadline_s=5.0) for target in targets))
        assert [value.model for value in values] == [target.model for target in targets]
    assert await gone(pid)


@pytest.mark.parametrize("kind", ["dies", "hangs", "babbles", "announces too much"])
async def test_a_child_that_fails_is_unreachable_and_started_again(kind) -> None:
    async with child(kind) as pyasic:
        first = pyasic.pid
        with pytest.raises(Unreachable) as caught:
            await pyasic.read(TARGET, deadline_s=0.2)
        assert caught.value.connected
        if kind == "dies":
            assert "last words" in caught.value.detail
        assert await gone(first)
        with pytest.raises(Unreachable) as caught:
            await pyasic.read(TARGET, deadline_s=0.2)
        assert not caught.value.connected, "nothing was sent while there was no child"
        second = await restarted(pyasic, first)
        assert pyasic.restarts == 1
    assert await gone(second)


async def test_an_answer_to_nobody_is_passed_over() -> None:
    async with child("answers others") as pyasic:
        assert await pyasic.read(TARGET, deadline_s=5.0) == Values()


async def test_an_answer_of_the_wrong_kind_is_malformed() -> None:
    async with child("answers something else") as pyasic:
        with pytest.raises(Malformed):
            await pyasic.read(TARGET, deadline_s=5.0)


async def test_a_child_that_cannot_start_is_told(monkeypatch) -> None:
    monkeypatch.setattr("drivers.miners.pyasic_any.parent.START_DEADLINE_S", 1.0)
    code = "import sys; sys.exit('no such thing')"
    with pytest.raises(Unreachable, match="no such thing"):
        async with PyasicChild(command=(sys.executable, "-c", code)):
            pass


async def test_no_task_is_left_behind() -> None:
    before = asyncio.all_tasks()
    async with child("hangs"):
        pass
    assert asyncio.all_tasks() == before


# ---- the real child


@pytest.mark.fixed_ports
async def test_the_real_child_reports_a_miner_that_is_not_there() -> None:
    """pyasic looks at the vendors' ports only, where nobody else may listen now."""
    target = Target(device="m1", host="127.0.0.1", firmware="pyasic", model="Antminer S21")
    async with PyasicChild() as pyasic:
        pid = pyasic.pid
        with pytest.raises(Unreachable) as caught:
            await pyasic.read(target, deadline_s=10.0)
        assert not caught.value.connected
        with pytest.raises(Unreachable) as caught:
            await pyasic.apply(target, Sleep(), deadline_s=10.0)
        assert not caught.value.connected
        name = Target(device="m1", host="miner.example", firmware="pyasic", model="S21")
        with pytest.raises(Unreachable, match="give the miner's IP address"):
            await pyasic.read(name, deadline_s=10.0)
    assert await gone(pid)


def test_noise_and_ctrl_c_do_not_reach_the_frames() -> None:
    """The child's own main, with a backend that prints: standard output carries frames and nothing
    else."""
    code = textwrap.dedent("""
        import os, sys, types
        from drivers.miners.pyasic_any import child, messages
        class Backend:
            def __init__(self, tcp): print("noise on import")
            async def read(self, target):
                print("noise"); os.write(1, b"raw noise"); os.system("echo shell noise")
                return messages.Values(model="calm")
        fake = types.ModuleType("backend"); fake.Backend = Backend
        sys.modules["drivers.miners.pyasic_any.backend"] = fake
        child.main()
    """)
    request = Request(id=5, kind="read", target=TARGET, deadline_s=5.0)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    head = process.stdout.read(4)
    assert messages.decode_reply(process.stdout.read(messages.decode_length(head))).id == 0
    process.send_signal(2)
    process.stdin.write(messages.encode_frame(request))
    process.stdin.flush()
    head = process.stdout.read(4)
    reply = messages.decode_reply(process.stdout.read(messages.decode_length(head)))
    assert reply == Reply(id=5, values=Values(model="calm"))
    rest, noise = process.communicate(timeout=10.0)
    assert rest == b""
    assert {b"noise", b"raw noise" + b"shell noise"} <= set(noise.splitlines())
    assert process.returncode == 0


def test_the_fence_lets_out_only_to_admitted_hosts() -> None:
    fence = Fence()
    fence.admit("127.0.0.1")
    fence.check("socket.connect", (None, ("127.0.0.1", 80)))
    fence.check("socket.connect", (None, "/run/a.socket"))
    fence.check("open", ("anything",))
    fence.check("socket.getaddrinfo", ("127.0.0.1", 80, 0, 0, 0))
    for event, arguments in [
        ("socket.connect", (None, ("8.8.8.8", 443))),
        ("socket.sendto", (None, ("8.8.8.8", 53))),
        ("socket.getaddrinfo", ("wmt.pyasic.org", 443, 0, 0, 0)),
        ("socket.gethostbyname", ("wmt.pyasic.org",)),
    ]:
        with pytest.raises(PermissionError, match="outside the fence"):
            fence.check(event, arguments)
    with pytest.raises(ValueError, match="wmt"):
        fence.admit("wmt.pyasic.org")


def test_the_fence_holds_for_pyasics_call_to_the_internet() -> None:
    code = textwrap.dedent("""
        import asyncio
        from pyasic.rpc.btminer import BTMinerRPCAPI
        from drivers.miners.pyasic_any.fence import Fence
        fence = Fence(); fence.admit("127.0.0.1"); fence.put_up()
        async def main():
            try:
                await BTMinerRPCAPI("127.0.0.1").open_api()
            except BaseException as error:
                while error is not None:
                    print(type(error).__name__, error)
                    error = error.__cause__ or error.__context__
        asyncio.run(main())
    """)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "outside the fence" in done.stdout, done.stdout + done.stderr
