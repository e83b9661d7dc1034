"""Simulated meters that misbehave, and clients that do."""

import asyncio
import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.devices.modbus import MeterFault
from simulators.devices.modbus_server import PortTaken, serve_modbus
from tests.protocols.modbus_client import (
    PAC,
    PLC,
    PM,
    UMG,
    Client,
    Refused,
    connected,
    evening,
)

WORLD = evening()

# --- faults -------------------------------------------------------------------------------------


async def test_silent_says_nothing_and_heals():
    world = evening()
    world.meters[PAC].set_fault(MeterFault.SILENT, until_s=5.0)
    async with connected(world, PAC) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.f32(3, 65)
        world.step_to(5.0)
        client.transaction = 1
        assert await client.f32(3, 65)


async def test_frozen_repeats_the_last_registers():
    world = evening()
    world.step_to(10.0)
    async with connected(world, PAC) as client:
        world.meters[PAC].set_fault(MeterFault.FROZEN, until_s=40.0)
        frozen = await client.read(3, 1, 70)
        for persona in world.miners.values():
            persona.miner.sleep(world.now_s)
        world.step_to(39.9)
        assert await client.read(3, 1, 70) == frozen
        world.step_to(42.0)
        (power_w,) = await client.f32(3, 65)
        assert power_w < struct.unpack(">f", frozen[128:132])[0] / 2


@pytest.mark.parametrize(
    ("meter_id", "address", "words"),
    [
        (PAC, 65, "7fc00000"),
        (PM, 3059, "ffc00000"),
        (UMG, 1369, "7fc00000"),
        (PAC, 801, "7ff8000000000000"),
        (PLC, 4, "ffff"),
        (PLC, 24, "80000000"),
    ],
)
async def test_nan_is_the_products_own_not_available(meter_id, address, words):
    world = evening()
    world.meters[meter_id].set_fault(MeterFault.NAN)
    async with connected(world, meter_id) as client:
        assert (await client.read(3, address, len(words) // 4)).hex() == words


async def test_late_answers_after_its_delay():
    world = evening()
    world.meters[PAC].set_fault(MeterFault.LATE, delay_s=0.2)
    async with connected(world, PAC) as client:
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        await client.f32(3, 65)
        assert loop.time() - begun_s >= 0.2
    served = world.meters[PAC].answer(1, b"\x03\x00\x41\x00\x02", 0.0)
    assert served.delay_s == 0.2


async def test_wrong_transaction_answers_under_a_foreign_id():
    world = evening()
    world.meters[PAC].set_fault(MeterFault.WRONG_TRANSACTION)
    async with connected(world, PAC) as client:
        with pytest.raises(AssertionError, match="foreign transaction"):
            await client.f32(3, 65)


async def test_exception_refuses_everything():
    world = evening()
    world.meters[PAC].set_fault(MeterFault.EXCEPTION)
    async with connected(world, PAC) as client:
        with pytest.raises(Refused) as caught:
            await client.f32(3, 65)
        assert caught.value.args == (4,)


async def test_drop_closes_the_connection():
    world = evening()
    world.meters[PAC].set_fault(MeterFault.DROP)
    async with connected(world, PAC) as client:
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.f32(3, 65)


# --- hostile clients ----------------------------------------------------------------------------


@settings(max_examples=200)
@given(pdu=st.binary(max_size=300), unit_id=st.integers(0, 255))
def test_no_request_breaks_a_device(pdu, unit_id):
    for meter in WORLD.meters.values():
        served = meter.answer(unit_id, pdu, 0.0)
        assert served.pdu is not None
        assert 2 <= len(served.pdu) <= 253


@pytest.mark.parametrize(
    "frame",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack(">HHHB", 1, 0, 1, 1),
        struct.pack(">HHHB", 1, 0, 300, 1) + bytes(300),
        struct.pack(">HHHB", 1, 7, 6, 1) + b"\x03\x00\x41\x00\x02",
    ],
    ids=["http", "no-pdu", "too-long", "not-modbus"],
)
async def test_broken_framing_ends_the_connection(frame):
    world = evening()
    async with connected(world, PAC) as client:
        client.writer.write(frame)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.reader.readexactly(1)


async def test_connections_are_bounded():
    world = evening()
    async with (
        serve_modbus(world.meters[PAC], "127.0.0.1", 0, now_s=lambda: 0.0) as where,
        asyncio.timeout(10.0),
    ):
        clients = [Client(*await asyncio.open_connection(*where)) for _ in range(16)]
        for client in clients:
            assert await client.f32(3, 65)
        extra = Client(*await asyncio.open_connection(*where))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await extra.f32(3, 65)
        for client in (*clients, extra):
            client.writer.close()


async def test_a_taken_port_is_named():
    world = evening()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"north: 127.0.0.1:{port} is taken"):
            async with serve_modbus(world.meters[PAC], "127.0.0.1", port, now_s=lambda: 0.0):
                pass


async def test_the_end_of_serving_ends_connections_without_a_sound():
    loop = asyncio.get_running_loop()
    complaints = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    world = evening()
    world.meters[PAC].set_fault(MeterFault.LATE, delay_s=60.0)
    async with connected(world, UMG) as idle:
        await idle.f32(3, 1369)
        async with serve_modbus(world.meters[PAC], "127.0.0.1", 0, now_s=lambda: 0.0) as where:
            client = Client(*await asyncio.open_connection(*where))
            waiting = asyncio.create_task(client.f32(3, 65))
            await asyncio.sleep(0.05)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await waiting
        client.writer.close()
    await asyncio.sleep(0)
    assert complaints == []
