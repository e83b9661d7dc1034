"""A coil is written once, and its echo awaited."""

import struct

import pytest

from drivers.contract.errors import DeviceRefused, Malformed, Unreachable
from drivers.transport.modbus import SocketModbus
from tests.drivers.meters.modbus_stage import (
    LONG_S,
    SHORT_S,
    Asker,
    Served,
    read,
    serve,
)


def echoed(asker: Asker, **changed: int) -> bytes:
    """What a device says to function 5: the request again."""
    facts = {"address": asker.address, "value": asker.count} | changed
    return asker.frame(struct.pack(">BHH", 5, facts["address"], facts["value"]))


async def write(served: Served, modbus: SocketModbus, *, on: bool, within_s: float) -> None:
    await modbus.write_coil(served.endpoint, unit_id=7, address=11, on=on, timeout_s=within_s)


async def test_a_coil_is_written_as_the_specification_says_and_its_echo_awaited() -> None:
    seen: list[tuple[int, int, int, int]] = []

    def script(asker: Asker) -> None:
        seen.append((asker.unit, asker.function, asker.address, asker.count))
        asker.send(echoed(asker) if asker.function == 5 else asker.frame())

    async with serve(script) as (served, modbus):
        await write(served, modbus, on=True, within_s=LONG_S)
        await write(served, modbus, on=False, within_s=LONG_S)
        assert await read(served, modbus, within_s=LONG_S) == (10, 11)
        assert served.connections == 1
    assert seen[:2] == [(7, 5, 11, 0xFF00), (7, 5, 11, 0)]


@pytest.mark.parametrize("changed", [{"address": 12}, {"value": 0}])
async def test_another_coils_echo_is_malformed_and_ends_the_connection(
    changed: dict[str, int],
) -> None:
    def script(asker: Asker) -> None:
        asker.send(echoed(asker, **changed) if asker.connection == 1 else echoed(asker))

    async with serve(script) as (served, modbus):
        with pytest.raises(Malformed, match="in place of 05000bff00"):
            await write(served, modbus, on=True, within_s=LONG_S)
        await write(served, modbus, on=True, within_s=LONG_S)
        assert served.connections == 2


async def test_a_coil_that_is_refused_or_not_answered_says_so() -> None:
    def script(asker: Asker) -> None:
        if asker.number == 1:
            asker.send(asker.frame(bytes([0x85, 2])))

    async with serve(script) as (served, modbus):
        with pytest.raises(DeviceRefused, match=r"write coil 11 \(unit 7\): exception 2"):
            await write(served, modbus, on=True, within_s=LONG_S)
        with pytest.raises(Unreachable, match="no reply within"):
            await write(served, modbus, on=True, within_s=SHORT_S)
        with pytest.raises(ValueError, match="address 65536"):
            await modbus.write_coil(
                served.endpoint, unit_id=7, address=65536, on=True, timeout_s=LONG_S
            )
