"""The independent judge: real pyasic, in a process of its own, against the simulated miners.

pyasic names make and model, its figures follow the physics, and what its stop and resume did is
read off the physics: its own answer is no evidence (for a stock Antminer it is always True). pyasic
knows only the vendors' ports, 80 and 4028, so these tests run where port 80 may be bound.

Where pyasic 0.79 misreads a reply of the vendor's form, the simulator keeps the form:
- LuxOS: `_get_hashrate` and `_get_mac` return None before they look; the boards' sum stands in for
  the hashrate; a session id is kept for ever, though the miner forgets it after a minute;
- WhatsMiner: the API version is looked for under `rpc_ver`, while the vendor writes `api_ver`.
"""

import asyncio
import errno
import os
import random
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from simulators.devices.antminer import Antminer, ModeKey
from simulators.devices.fleet import build_fleet
from simulators.devices.persona import Persona
from simulators.judge import Judge, JudgeError, forbid_outside
from tests.patience import until
from tests.protocols.simulated_fleet import Group, World, served_at_vendor_ports

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.fixed_ports,
]

GROUPS = (
    Group("antminer-stock", "S19 Pro", "127.66.1.1", count=2),
    Group("antminer-stock", "S21", "127.66.1.11"),
    Group("antminer-stock", "S19j Pro", "127.66.1.21", deaf_count=1),
    Group("whatsminer-v2", "M50S", "127.66.2.1"),
    Group("whatsminer-v2", "M30S++", "127.66.2.11"),
    Group("luxos", "S21", "127.66.3.1"),
    Group("luxos", "S19k Pro", "127.66.3.11"),
    Group("braiins", "S19j Pro", "127.66.4.1"),
    Group("braiins", "S21", "127.66.4.11"),
)
OBEYS_MINER_MODE, OBEYS_EITHER, DEAF = "127.66.1.1", "127.66.1.2", "127.66.1.21"
ONE_OF_EACH = ("127.66.1.1", "127.66.2.1", "127.66.3.1", "127.66.4.1")
LONGEST_S = 200.0
"""Longer than any simulated firmware takes to settle."""


class Court:
    """The judge, the judged, and the clock."""

    def __init__(self, world: World, judge: Judge) -> None:
        self.world, self.judge = world, judge

    def miner(self, host: str) -> Persona:
        return self.world.fleet[host]

    def settle(self) -> None:
        self.world.advance(LONGEST_S)

    async def ask(self, operation: str, host: str, **arguments: float) -> dict[str, Any]:
        return await self.judge.ask(operation, host, **arguments)

    async def act(self, operation: str, host: str, **arguments: float) -> bool:
        """Let pyasic act while simulated time goes by; returns what pyasic claims.

        It is made anew for each act: it would go on using a LuxOS session or a WhatsMiner token
        that the miner has long forgotten.
        """
        await self.ask("identify", host)
        task = asyncio.ensure_future(self.ask(operation, host, **arguments))
        while not task.done():
            await asyncio.wait({task}, timeout=0.05)
            self.world.advance(1.0)
        self.settle()
        return bool(task.result()["claimed"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def court() -> AsyncIterator[Court]:
    world = World(build_fleet(GROUPS, rng=random.Random(11)))
    world.advance(LONGEST_S)
    try:
        async with served_at_vendor_ports(world), Judge(tuple(world.fleet)) as judge:
            yield Court(world, judge)
    except OSError as problem:
        if problem.errno not in {errno.EACCES, errno.EPERM, errno.EADDRINUSE}:
            raise
        if os.environ.get("CI") == "true":
            pytest.fail(f"the judge must run in CI, but {problem}")
        pytest.skip(f"pyasic asks at the vendors' ports: {problem}")


@pytest.mark.parametrize(
    ("host", "make", "model", "firmware"),
    [
        ("127.66.1.1", "AntMiner", "S19 Pro", "Stock"),
        ("127.66.1.11", "AntMiner", "S21", "Stock"),
        ("127.66.1.21", "AntMiner", "S19j Pro", "Stock"),
        ("127.66.2.1", "WhatsMiner", "M50S VH50", "Stock"),
        ("127.66.2.11", "WhatsMiner", "M30S++ VH50", "Stock"),
        ("127.66.3.1", "AntMiner", "S21", "LuxOS"),
        ("127.66.3.11", "AntMiner", "S19k Pro", "LuxOS"),
        ("127.66.4.1", "AntMiner", "S19j Pro", "BOS+"),
        ("127.66.4.11", "AntMiner", "S21", "BOS+"),
    ],
)
async def test_pyasic_names_make_model_and_firmware(
    court: Court, host: str, make: str, model: str, firmware: str
) -> None:
    found = await court.ask("identify", host)
    assert (found["make"], found["model"], found["firmware"]) == (make, model, firmware)


@pytest.mark.parametrize("host", ONE_OF_EACH)
async def test_pyasics_figures_follow_the_physics(court: Court, host: str) -> None:
    miner = court.miner(host).miner
    for share, ambient_c in ((1.0, 25.0), (0.8, 35.0), (1.1, 12.0)):
        miner.full_hashrate_ths = miner.rating.hashrate_ths * share
        for _ in range(400):
            court.world.now_s += 1.0
            miner.step(court.world.now_s, 1.0, ambient_c)
        said = await court.ask("data", host)
        assert said["hashrate_ths"] == pytest.approx(miner.hashrate_ths, rel=0.02)
        assert said["chip_temperature_c"] == pytest.approx(miner.chip_temperature_c, rel=0.02)
        assert said["board_temperature_c"] == pytest.approx(miner.board_temperature_c, rel=0.02)
        assert said["fans_rpm"] == [miner.fan_rpm] * miner.rating.fans
        assert said["chips"] == miner.rating.boards * miner.rating.chips
        assert said["is_mining"] in {True, None}
        assert said["errors"] == []
        if said["inlet_temperature_c"] is not None:
            assert said["inlet_temperature_c"] == pytest.approx(ambient_c)
    miner.full_hashrate_ths = miner.rating.hashrate_ths


@pytest.mark.parametrize("host", ONE_OF_EACH)
async def test_pyasic_sees_the_power_that_the_firmware_admits(court: Court, host: str) -> None:
    persona = court.miner(host)
    said = await court.ask("data", host)
    if isinstance(persona, Antminer):
        assert said["power_w"] is None
    else:
        assert said["power_w"] == round(persona.miner.reported_power_w)
        assert 0.95 * persona.miner.wall_power_w - 1 <= said["power_w"]
        assert said["power_w"] <= persona.miner.wall_power_w


async def test_pyasic_reads_who_each_miner_is(court: Court) -> None:
    for host in ONE_OF_EACH:
        said, persona = await court.ask("data", host), court.miner(host)
        assert said["mac"] == (None if persona.firmware == "luxos" else persona.mac)
        assert said["serial"] == (None if persona.firmware == "luxos" else persona.serial)
        assert said["pools"] == [
            "stratum+tcp://pool-a.invalid:3333",
            "stratum+tcp://pool-b.invalid:3333",
        ]
    assert (await court.ask("data", "127.66.3.1"))["raw_hashrate_ths"] is None
    assert (await court.ask("data", "127.66.2.1"))["api_version"] is None


@pytest.mark.parametrize("host", [*ONE_OF_EACH, OBEYS_EITHER])
async def test_pyasic_stops_and_resumes_and_the_wall_says_so(court: Court, host: str) -> None:
    miner = court.miner(host).miner
    assert await court.act("stop", host)
    assert miner.hashrate_ths == 0.0
    assert miner.wall_power_w == pytest.approx(miner.rating.sleep_power_w)
    said = await court.ask("data", host)
    assert said["hashrate_ths"] in {0.0, None}
    assert await court.act("resume", host)
    assert miner.wall_power_w == pytest.approx(miner.full_power_w, rel=0.001)
    assert miner.hashrate_ths > 0.95 * miner.full_hashrate_ths


async def test_pyasics_own_answer_is_no_evidence(court: Court) -> None:
    miner = court.miner(DEAF).miner
    assert await court.act("stop", DEAF)
    assert miner.wall_power_w == pytest.approx(miner.full_power_w)
    assert miner.hashrate_ths > 0.95 * miner.full_hashrate_ths


async def test_a_stop_is_claimed_long_before_it_is_so(court: Court) -> None:
    """pyasic gives up on the 21 s write after 5 s, says True, and the write goes on without it."""
    persona = court.miner(OBEYS_MINER_MODE)
    task = asyncio.ensure_future(court.ask("stop", OBEYS_MINER_MODE))
    await until(lambda: persona.miner.sleep_wanted, "it is told to sleep")
    assert (await task)["claimed"]
    assert persona.miner.wall_power_w == pytest.approx(persona.miner.full_power_w)
    court.settle()
    assert persona.miner.hashrate_ths == 0.0
    assert await court.act("resume", OBEYS_MINER_MODE)


async def test_both_kinds_of_antminer_stood_in_this_court(court: Court) -> None:
    traits = []
    for host in (OBEYS_MINER_MODE, OBEYS_EITHER):
        persona = court.miner(host)
        assert isinstance(persona, Antminer)
        traits.append(persona.mode_key)
        assert len(persona.pools) == 3
        assert [pool.url for pool in persona.pools if pool.url] == [
            "stratum+tcp://pool-a.invalid:3333",
            "stratum+tcp://pool-b.invalid:3333",
        ]
    assert traits == [ModeKey.MINER_MODE_ONLY, ModeKey.EITHER]


@pytest.mark.parametrize(
    ("host", "limit_w", "settles_w"),
    [
        ("127.66.2.1", 2500, 2500.0),
        ("127.66.3.1", 2500, 2400.0),  # the strongest LuxOS profile that needs no more
        ("127.66.4.1", 2500, 2500.0),
    ],
)
async def test_pyasics_power_limit_holds_at_the_wall(
    court: Court, host: str, limit_w: int, settles_w: float
) -> None:
    persona = court.miner(host)
    assert await court.act("set_power_limit", host, power_w=limit_w)
    assert persona.miner.wall_power_w == pytest.approx(settles_w, abs=1.0)
    assert (await court.ask("data", host))["power_limit_w"] == pytest.approx(settles_w, abs=1.0)
    assert await court.act("set_power_limit", host, power_w=round(persona.miner.rating.power_w))


async def test_a_stock_antminer_knows_no_power_limit(court: Court) -> None:
    assert not await court.act("set_power_limit", OBEYS_EITHER, power_w=2000)
    miner = court.miner(OBEYS_EITHER).miner
    assert miner.wall_power_w == pytest.approx(miner.full_power_w)


async def test_the_judge_speaks_only_to_the_hosts_it_was_given(court: Court) -> None:
    with pytest.raises(JudgeError, match=r"127\.66\.9\.9 was not named on the command line"):
        await court.ask("identify", "127.66.9.9")
    with pytest.raises(JudgeError, match="op must be one of"):
        await court.ask("upgrade", ONE_OF_EACH[0])


async def test_the_judge_refuses_to_start_for_an_outside_host() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "simulators.judge",
        "127.0.0.1",
        "192.0.2.7",
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 2
    assert b"name loopback addresses, e.g. 127.1.0.1; got 192.0.2.7" in said


@pytest.mark.parametrize(
    ("event", "arguments", "allowed"),
    [
        ("socket.connect", (None, ("127.66.1.1", 80)), True),
        ("socket.connect", (None, ("192.0.2.7", 443)), False),
        ("socket.connect", (None, ("::1", 443, 0, 0)), True),
        ("socket.connect", (None, ("2001:db8::1", 443, 0, 0)), False),
        ("socket.getaddrinfo", ("127.66.1.1", 80, 0, 0, 0), True),
        ("socket.getaddrinfo", ("wmt.pyasic.org", 443, 0, 0, 0), False),
        ("socket.getaddrinfo", (b"wmt.pyasic.org", 443, 0, 0, 0), False),
        ("open", ("/etc/hostname", "r", 0), True),
    ],
)
async def test_the_way_out_is_shut(event: str, arguments: tuple[Any, ...], allowed: bool) -> None:
    if allowed:
        forbid_outside(event, arguments)
    else:
        with pytest.raises(PermissionError, match="loopback addresses only"):
            forbid_outside(event, arguments)
