"""A Modbus TCP client written from the specification, and the evening's plant for it to read."""

import asyncio
import struct
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

from simulators.devices.modbus_server import serve_modbus
from simulators.scenario_file import load_scenario, scenario_path
from simulators.world import World

EVENING = load_scenario(scenario_path("evening"))
NOON = datetime(2026, 12, 1, 6, 0, tzinfo=UTC)
PAC, PM, UMG, SDM, PLC = "north", "south", "transformer", "station", "plc"


class Refused(Exception):
    """The device answered with a Modbus exception."""


class Client:
    """One connection, written from the Modbus TCP specification."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.transaction = 0

    async def request(self, pdu, unit_id=1):
        self.transaction += 1
        header = struct.pack(">HHHB", self.transaction, 0, len(pdu) + 1, unit_id)
        self.writer.write(header + pdu)
        transaction, protocol, length, unit = struct.unpack(
            ">HHHB", await self.reader.readexactly(7)
        )
        reply = await self.reader.readexactly(length - 1)
        assert (protocol, unit) == (0, unit_id)
        assert transaction == self.transaction, "foreign transaction"
        if reply[0] & 0x80:
            assert reply[0] == pdu[0] | 0x80
            raise Refused(reply[1])
        return reply

    async def read(self, function, address, count, unit_id=1):
        reply = await self.request(struct.pack(">BHH", function, address, count), unit_id)
        assert reply[:2] == bytes([function, 2 * count])
        return reply[2:]

    async def f32(self, function, address, count=1):
        return struct.unpack(f">{count}f", await self.read(function, address, 2 * count))


def evening(**changes):
    return World(replace(EVENING, events=(), **changes), start_utc=NOON)


@asynccontextmanager
async def connected(world, meter_id):
    async with (
        serve_modbus(world.meters[meter_id], "127.0.0.1", 0, now_s=lambda: world.now_s) as where,
        asyncio.timeout(10.0),
    ):
        reader, writer = await asyncio.open_connection(*where)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()
