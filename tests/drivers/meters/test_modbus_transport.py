"""The Modbus transport against a server that misbehaves in every way we know."""

import asyncio
from collections.abc import Callable

import pytest

from drivers.contract.errors import DeviceRefused, Malformed, Unreachable
from drivers.transport.modbus import SocketModbus
from drivers.transport.ports import Endpoint
from tests.drivers.meters.modbus_stage import (
    LONG_S,
    SHORT_S,
    Asker,
    good,
    read,
    serve,
    until,
)


async def test_many_reads_use_one_connection() -> None:
    async with serve(good) as (served, modbus):
        for address in (0, 10, 65411):
            assert await read(served, modbus, address=address, count=125, within_s=LONG_S) == tuple(
                range(address, address + 125)
            )
        assert (served.connections, served.requests) == (1, 3)


async def test_function_unit_and_address_reach_the_wire() -> None:
    seen: list[tuple[int, int, int, int]] = []

    def script(asker: Asker) -> None:
        seen.append((asker.unit, asker.function, asker.address, asker.count))
        good(asker)

    async with serve(script) as (served, modbus):
        for unit_id, function in ((0, 3), (1, 4), (247, 4), (255, 3)):
            await modbus.read_registers(
                served.endpoint,
                unit_id=unit_id,
                function=function,
                address=52,
                count=2,
                timeout_s=LONG_S,
            )
    assert seen == [(0, 3, 52, 2), (1, 4, 52, 2), (247, 4, 52, 2), (255, 3, 52, 2)]


async def test_one_request_at_a_time_on_one_address() -> None:
    outstanding = most = 0

    async def script(asker: Asker) -> None:
        nonlocal outstanding, most
        outstanding += 1
        most = max(most, outstanding)
        await asyncio.sleep(0.005)
        outstanding -= 1
        good(asker)

    async with serve(script) as (served, modbus):
        reads = [read(served, modbus, address=a, within_s=LONG_S) for a in range(8)]
        assert await asyncio.gather(*reads) == [(a, a + 1) for a in range(8)]
        assert (served.connections, served.requests, most) == (1, 8, 1)


async def test_a_reply_in_crumbs_is_put_together() -> None:
    async def script(asker: Asker) -> None:
        for byte in asker.frame():
            asker.send(bytes([byte]))
            await asker.writer.drain()
            await asyncio.sleep(0.001)

    async with serve(script) as (served, modbus):
        assert await read(served, modbus, within_s=LONG_S) == (10, 11)


async def test_a_silent_device_costs_its_deadline_and_its_connection() -> None:
    def script(asker: Asker) -> None:
        if asker.connection > 1:
            good(asker)

    async with serve(script) as (served, modbus):
        with pytest.raises(Unreachable, match=r"no reply within 0\.15 s") as caught:
            await read(served, modbus, within_s=SHORT_S)
        assert caught.value.connected
        assert str(caught.value).startswith("meter-1: read 2 registers at 10 (function 3, unit 7)")
        assert await read(served, modbus, within_s=LONG_S) == (10, 11)
        assert served.connections == 2


async def test_a_late_reply_never_answers_the_next_request() -> None:
    late: list[Asker] = []

    async def script(asker: Asker) -> None:
        if asker.number == 1:
            late.append(asker)
            return
        if late:
            old = late.pop()
            old.send(old.frame())  # on its own, closed connection: lost
        await asyncio.sleep(0.01)
        good(asker)

    async with serve(script) as (served, modbus):
        with pytest.raises(Unreachable):
            await read(served, modbus, address=1, within_s=SHORT_S)
        for address in (2, 3, 4):
            words = await read(served, modbus, address=address, within_s=LONG_S)
            assert words == (address, address + 1)
        assert served.connections == 2


def wrong_transaction(asker: Asker) -> bytes:
    return asker.frame(transaction=(asker.transaction - 1) & 0xFFFF)


MALFORMED: dict[str, tuple[Callable[[Asker], bytes], str]] = {
    "reply is one behind": (wrong_transaction, "reply to transaction"),
    "transaction 0": (lambda a: a.frame(transaction=0), "reply to transaction 0"),
    "foreign, then the right one": (lambda a: wrong_transaction(a) + a.frame(), "transaction"),
    "protocol id 1": (lambda a: a.frame(protocol=1), "protocol id 1"),
    "unit 8 answers for 7": (lambda a: a.frame(unit=8), "reply of unit 8 in place of 7"),
    "function 4 for 3": (lambda a: a.frame(b"\x04" + a.body()[1:]), "reply to function 4"),
    "a write's reply": (lambda a: a.frame(b"\x10\x00\x0a\x00\x02"), "reply to function 16"),
    "one register too few": (lambda a: a.frame(a.body()[:-2]), "reply of 4 bytes in place of 6"),
    "one register too many": (lambda a: a.frame(a.body() + b"\0\0"), "reply of 8 bytes"),
    "byte count lies low": (lambda a: a.frame(b"\x03\x02" + a.body()[2:]), "byte count 2"),
    "byte count lies high": (lambda a: a.frame(b"\x03\xff" + a.body()[2:]), "byte count 255"),
    "length 0": (lambda a: a.frame(length=0), "beyond the end"),
    "length 1, no function": (lambda a: a.frame(b""), "a reply of 0 bytes"),
    "length 2": (lambda a: a.frame(b"\x83"), "a reply of 1 bytes"),
    "length 65535": (lambda a: a.frame(length=65535), "reply of 65534 bytes"),
    "exception with a tail": (lambda a: a.frame(b"\x83\x02\x00"), "exception reply of 3 bytes"),
    "reply sent twice at once": (lambda a: a.frame() * 2, "bytes beyond the end"),
    "HTTP": (lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n", "protocol id"),
    "zeros": (lambda _: bytes(300), "reply to transaction 0"),
    "a megabyte of noise": (lambda _: b"\xa5" * 1_000_000, "protocol id"),
}


@pytest.mark.parametrize("case", MALFORMED)
async def test_what_is_not_our_reply_is_malformed_and_ends_the_connection(case: str) -> None:
    reply, sentence = MALFORMED[case]

    def script(asker: Asker) -> None:
        if asker.connection == 1:
            asker.send(reply(asker))
        else:
            good(asker)

    async with serve(script) as (served, modbus):
        with pytest.raises(Malformed, match=sentence) as caught:
            await read(served, modbus, within_s=LONG_S)
        assert caught.value.device == "meter-1"
        assert await read(served, modbus, within_s=LONG_S) == (10, 11)
        assert served.connections == 2


async def test_a_frame_cut_short_costs_the_deadline() -> None:
    async with serve(lambda asker: asker.send(asker.frame()[:-1])) as (served, modbus):
        with pytest.raises(Unreachable, match="no reply within") as caught:
            await read(served, modbus, within_s=SHORT_S)
        assert caught.value.connected


@pytest.mark.parametrize("sent", [0, 6, 9, 12], ids=["nothing", "head", "crumb", "all but one"])
async def test_a_hang_up_is_known_at_once(sent: int) -> None:
    def script(asker: Asker) -> None:
        asker.send(asker.frame()[:sent])
        asker.writer.close()

    async with serve(script) as (served, modbus):
        with pytest.raises(Unreachable, match="connection was closed") as caught:
            await read(served, modbus, within_s=LONG_S)
        assert caught.value.connected


async def test_a_reset_is_known_at_once() -> None:
    def script(asker: Asker) -> None:
        asker.writer.transport.abort()

    async with serve(script) as (served, modbus):
        with pytest.raises(Unreachable):
            await read(served, modbus, within_s=LONG_S)


async def test_a_device_that_hangs_up_after_each_reply_is_read_all_the_same() -> None:
    def script(asker: Asker) -> None:
        asker.send(asker.frame())
        asker.writer.close()

    async with serve(script) as (served, modbus):
        for _ in range(5):
            assert await read(served, modbus, within_s=LONG_S) == (10, 11)
            await until(lambda: not served.open)
        assert served.connections == 5


async def test_bytes_that_nobody_asked_for_end_the_connection() -> None:
    async def script(asker: Asker) -> None:
        asker.send(asker.frame())
        if asker.connection == 1:
            await asker.writer.drain()
            await asyncio.sleep(0.01)
            asker.send(asker.frame(transaction=asker.transaction + 1))

    async with serve(script) as (served, modbus):
        assert await read(served, modbus, address=1, within_s=LONG_S) == (1, 2)
        await until(lambda: not served.open)
        assert await read(served, modbus, address=5, within_s=LONG_S) == (5, 6)
        assert served.connections == 2


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (2, r"exception 2 \(illegal data address\)"),
        (6, r"exception 6 \(device busy\)"),
        (99, "exception 99"),
        (0, "exception 0"),
    ],
)
async def test_an_exception_reply_is_a_refusal_and_keeps_the_connection(
    code: int, text: str
) -> None:
    def script(asker: Asker) -> None:
        refusal = asker.frame(bytes([0x83, code]))
        asker.send(refusal if asker.number == 1 else asker.frame())

    async with serve(script) as (served, modbus):
        with pytest.raises(DeviceRefused, match=text):
            await read(served, modbus, within_s=LONG_S)
        assert await read(served, modbus, within_s=LONG_S) == (10, 11)
        assert served.connections == 1


async def test_nobody_listens() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    modbus = SocketModbus()
    endpoint = Endpoint(device="meter-9", host="127.0.0.1", port=port)
    with pytest.raises(Unreachable, match=rf"meter-9: .*127\.0\.0\.1:{port}: no conn") as caught:
        await modbus.read_registers(
            endpoint, unit_id=1, function=3, address=0, count=1, timeout_s=LONG_S
        )
    assert not caught.value.connected
    await modbus.close()


async def test_waiting_for_the_turn_counts() -> None:
    async with serve(lambda _: None) as (served, modbus):
        first = asyncio.ensure_future(read(served, modbus, within_s=3 * SHORT_S))
        await asyncio.sleep(0)
        with pytest.raises(Unreachable, match="another request to it did not end") as caught:
            await read(served, modbus, within_s=SHORT_S)
        assert not caught.value.connected
        with pytest.raises(Unreachable):
            await first
        assert served.requests == 1


async def test_a_cancelled_read_leaves_no_reply_behind() -> None:
    pending: list[Asker] = []

    def script(asker: Asker) -> None:
        if asker.number == 1:
            pending.append(asker)
        else:
            good(asker)

    async with serve(script) as (served, modbus):
        reading = asyncio.ensure_future(read(served, modbus, address=1, within_s=LONG_S))
        await until(lambda: bool(pending))
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        pending[0].send(pending[0].frame())
        assert await read(served, modbus, address=5, within_s=LONG_S) == (5, 6)
        assert served.connections == 2


async def test_close_ends_the_request_under_way_and_every_socket() -> None:
    async with serve(lambda _: None) as (served, modbus):
        reading = asyncio.ensure_future(read(served, modbus, within_s=LONG_S))
        await until(lambda: served.requests > 0)
        await modbus.close()
        with pytest.raises(Unreachable):
            await reading
        await until(lambda: not served.open)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"function": 6}, "function 6"),
        ({"unit_id": 256}, "unit_id 256"),
        ({"count": 0}, "count 0"),
        ({"count": 126}, "count 126"),
        ({"address": 65535, "count": 2}, "address 65535"),
        ({"address": -1}, "address -1"),
        ({"timeout_s": 0.0}, "timeout_s 0"),
        ({"timeout_s": float("nan")}, "timeout_s nan"),
    ],
)
async def test_what_modbus_cannot_carry_is_a_callers_mistake(
    changed: dict[str, int], sentence: str
) -> None:
    asked = {"unit_id": 1, "function": 3, "address": 0, "count": 2, "timeout_s": 1.0} | changed
    with pytest.raises(ValueError, match=sentence):
        await SocketModbus().read_registers(
            Endpoint(device="m", host="127.0.0.1", port=1),
            **asked,  # type: ignore[arg-type]
        )
