"""The guard's beats at a real Modbus socket: a relay with a watchdog holds, and falls."""

import asyncio
import os
import signal
import sys
import time
from contextlib import asynccontextmanager

import msgspec
import pytest

from controller.channel.client import connect
from controller.channel.frames import ChannelError
from controller.channel.guard import Entry, GuardImage, Ladder, Look
from controller.clock import SystemClock
from controller.guard.heartbeat import FED_S, Heartbeat
from controller.guard.store import Store, StoreError
from drivers.transport.modbus import SocketModbus
from drivers.transport.ports import Endpoint
from simulators.devices.modbus import MeterFault, ModbusDevice
from simulators.devices.modbus_server import serve_modbus
from simulators.devices.relay import WatchdogRelay
from tests.patience import until
from tests.services.guard_ground import Clock

COIL, UNIT = 7, 3
PERIOD_S = 0.1
PATIENCE_S = 60.0

SITE = """
[site]
id = "toy"

[control]
ramp_up_mw_per_min = 3.0
ramp_down_mw_per_min = 6.0

[[node]]
id = "plant"
kind = "plant"
rating_kw = 200

[guard]
silence_s = 5
socket = "shared/guard.sock"
state_dir = "own"
decay_s = 0
port = 0

[guard.heartbeat]
host = "127.0.0.1"
port = {port}
unit_id = {unit}
coil = {coil}
period_s = {period_s}
grace_s = 5
"""


@asynccontextmanager
async def relay_served(window_s):
    relay = WatchdogRelay(COIL, window_s, time.monotonic)
    device = ModbusDevice("relay", UNIT, relay)
    async with serve_modbus(device, "127.0.0.1", 0, now_s=time.monotonic) as (_, port):
        yield relay, device, port


@asynccontextmanager
async def beating(port, clock, coil=COIL):
    modbus = SocketModbus()
    endpoint = Endpoint(device="relay", host="127.0.0.1", port=port)
    beats = Heartbeat(
        modbus,
        endpoint,
        unit_id=UNIT,
        coil=coil,
        period_s=PERIOD_S,
        grace_s=0.0,
        clock=clock,
    )
    running = asyncio.create_task(beats.run())
    try:
        yield beats
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await modbus.close()


async def test_it_beats_while_it_is_fed_and_no_longer():
    clock = Clock()
    async with relay_served(60.0) as (relay, _, port), beating(port, clock) as beats:
        await asyncio.sleep(5 * PERIOD_S)
        assert relay.changes == 0, "the guard has not come round yet"
        assert "has not looked yet" in beats.alarms()[0]
        beats.feed(None)
        await until(lambda: relay.changes >= 4 and not beats.alarms(), "the coil changes")
        assert relay.closed
        assert beats.view().still is None
        clock.now_s += FED_S + 0.1
        await until(lambda: beats.view().took_ago_s > FED_S, "the clock moves")
        await asyncio.sleep(3 * PERIOD_S)  # one that was under way has ended
        changes = relay.changes
        await asyncio.sleep(5 * PERIOD_S)
        assert relay.changes == changes
        beats.feed("the contactor must fall")
        await asyncio.sleep(5 * PERIOD_S)
        assert relay.changes == changes
        assert beats.alarms() == ["no beats for the relay: the contactor must fall"]


@pytest.mark.parametrize("fault", [MeterFault.SILENT, MeterFault.DROP, MeterFault.EXCEPTION])
async def test_a_relay_that_does_not_answer_is_alarmed_and_tried_again(fault):
    async with relay_served(60.0) as (relay, device, port), beating(port, Clock()) as beats:
        beats.feed(None)
        await until(lambda: relay.changes, "it beats")
        device.set_fault(fault)
        await until(beats.alarms, "the loss is alarmed")
        assert "the last beat did not reach the relay" in beats.alarms()[0]
        device.set_fault(None)
        changes = relay.changes
        await until(lambda: relay.changes > changes and not beats.alarms(), "it is back")


async def test_a_relay_that_is_not_there_or_has_no_such_coil_has_its_sentence():
    async with relay_served(60.0) as (_, _, port), beating(port, Clock(), COIL + 1) as beats:
        beats.feed(None)
        refusal = "write coil 8 (unit 3): exception 2 (illegal data address)"
        await until(lambda: refusal in " ".join(beats.alarms()), "the refusal is alarmed")
    async with beating(port, Clock()) as beats:
        beats.feed(None)
        await until(lambda: "no connection" in " ".join(beats.alarms()), "nobody listens any more")


async def test_a_fault_of_our_own_is_alarmed_too():
    class Broken:
        async def write_coil(self, *_, **__):
            raise RuntimeError("a fault of our own")

    beats = Heartbeat(
        Broken(),
        Endpoint(device="relay", host="h", port=1),
        unit_id=1,
        coil=1,
        period_s=PERIOD_S,
        grace_s=0.0,
        clock=SystemClock(),
    )
    beats.feed(None)
    running = asyncio.create_task(beats.run())
    await until(beats.alarms, "it is alarmed")
    assert "a fault of our own" in beats.alarms()[0]
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def image_of(folder):
    """What the guard says, as soon as it does."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            async with connect(folder / "shared" / "guard.sock") as client:
                said = await client.request(msgspec.msgpack.encode(Look(site_id="toy")), 5.0)
            return msgspec.msgpack.decode(said, type=GuardImage)
        except ChannelError:
            assert time.monotonic() < deadline_s, (folder / "guard.log").read_text()
            await asyncio.sleep(0.1)


@asynccontextmanager
async def guard_process(folder):
    command = [sys.executable, "-m", "controller.cli.main", "guard", "run", "site.toml"]
    log = (folder / "guard.log").open("ab")
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, stderr=log, stdout=log)
    log.close()
    try:
        yield process
    finally:
        if process.returncode is None:
            os.kill(process.pid, signal.SIGKILL)
        await process.wait()


@pytest.fixture
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("g")
    made.chmod(0o700)
    (made / "shared").mkdir(mode=0o750)
    return made


async def test_the_contactor_falls_with_the_process_and_with_miners_that_do_not_sleep(folder):
    """One miner, which nobody can reach, and no controller: silence trips, and it mines on."""
    entry = Entry("m0", "127.0.0.1", "whatsminer-v2", "WhatsMiner M50S", {"rpc": 9}, 3_000.0)
    async with relay_served(2.0) as (relay, _, port):
        text = SITE.format(port=port, unit=UNIT, coil=COIL, period_s=PERIOD_S)
        (folder / "site.toml").write_text(text)
        async with guard_process(folder):
            image = await image_of(folder)
            assert "there is no ladder" in image.relay.still
            assert relay.changes == 0
        assert not (folder / "state").exists(), "a guard of its own touches nothing of the site's"
        store = Store(folder / "own", "toy")
        store.save_ladder(Ladder(site_id="toy", epoch="e", floor_w=100.0, entries=(entry,)))
        async with guard_process(folder):
            await until(lambda: relay.closed, "the beats of a living guard hold the contactor")
        await until(lambda: not relay.closed, "it falls when the guard is killed")
        async with guard_process(folder):
            await until(lambda: relay.closed, "it is held again")
            await until(lambda: "contactor_falls" in (folder / "guard.log").read_text(), "it trips")
            await until(lambda: not relay.closed, "a miner that does not sleep is shed by it")
        latch = store.load_latch()
        assert latch is not None
        assert latch.fell
        changes = relay.changes
        async with guard_process(folder):
            image = await image_of(folder)
            assert "the contactor must fall" in image.relay.still
            assert "the contactor must fall" in " ".join(image.alarms)
        assert relay.changes == changes, "a restart brings no load back"


async def test_a_latch_of_before_there_were_relays_is_read(folder):
    store = Store(folder / "guard", "toy")
    older = {"version": 1, "tripped_at": SystemClock().utc(), "start_w": 1.0}
    (folder / "guard" / "latch").write_bytes(msgspec.msgpack.encode(older))
    assert store.load_latch().fell is False
    (folder / "guard" / "latch").write_bytes(b"")
    with pytest.raises(StoreError):
        store.load_latch()
