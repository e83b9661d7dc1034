"""Real sockets of the simulated miners: one listener a port, the local address names the miner."""

import asyncio
import errno
import json
import random
import re
import socket

import pytest

from simulators.devices.fleet import build_fleet
from simulators.devices.listener import serve_fleet
from simulators.devices.persona import HUGE_BYTES
from tests.patience import until
from tests.protocols.simulated_fleet import (
    Group,
    World,
    antminer_of,
    digest_header,
    exchange,
    served,
    whole_configuration,
    world_of,
)


class TestSockets:
    async def test_the_local_address_tells_which_miner_is_meant(self) -> None:
        world = world_of()
        async with served(world) as ports:
            for host, persona in world.fleet.items():
                body = await exchange(host, ports["rpc"], b'{"command":"summary"}')
                here = persona.tcp("rpc", b'{"command":"summary"}', world.now_s)
                assert here is not None
                assert body == here.body

    async def test_an_address_without_a_miner_is_closed(self) -> None:
        async with served(world_of()) as ports:
            with pytest.raises(ConnectionError):
                assert await exchange("127.77.99.9", ports["rpc"], b"{}") == b"never"

    async def test_a_service_that_the_miner_does_not_offer_is_closed(self) -> None:
        async with served(world_of()) as ports:
            with pytest.raises(ConnectionError):
                assert await exchange("127.77.1.1", ports["grpc"], b"PRI *") == b"never"

    async def test_a_request_in_pieces_is_put_together(self) -> None:
        async with served(world_of()) as ports:
            reader, writer = await asyncio.open_connection("127.77.3.1", ports["rpc"])
            writer.write(b'{"comm')
            await writer.drain()
            await asyncio.sleep(0.02)
            writer.write(b'and":"version"}')
            assert b"LUXminer" in await reader.read()
            writer.close()

    async def test_an_endless_request_is_cut_off(self) -> None:
        async with served(world_of()) as ports:
            with pytest.raises(ConnectionError):
                assert await exchange("127.77.3.1", ports["rpc"], b"{" * 200_000) == b"never"

    async def test_a_write_goes_on_when_its_client_has_gone(self) -> None:
        world, miner = antminer_of()
        body = json.dumps(whole_configuration(miner, world.now_s) | {"miner-mode": 1}).encode()
        path = "/cgi-bin/set_miner_conf.cgi"
        async with served(world) as ports:
            bare = await exchange(
                miner.host,
                ports["http"],
                f"GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n".encode(),
            )
            challenge = re.search(rb"WWW-Authenticate: (.*)\r\n", bare)
            assert challenge is not None
            header = digest_header(challenge[1].decode(), "POST", path, "root")
            head = f"POST {path} HTTP/1.1\r\nAuthorization: {header}\r\n"
            _, writer = await asyncio.open_connection(miner.host, ports["http"])
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
            await until(lambda: miner.miner.sleep_wanted, "it is told to sleep")
            writer.transport.abort()
        world.advance(60.0)
        assert miner.miner.hashrate_ths == 0.0
        assert whole_configuration(miner, world.now_s)["bitmain-work-mode"] == "1"

    async def test_a_late_answer_leaves_when_the_simulated_time_has_come(self) -> None:
        world = world_of()
        world.fleet["127.77.2.1"].set_fault("slow")
        async with served(world) as ports:
            task = asyncio.ensure_future(
                exchange("127.77.2.1", ports["rpc"], b'{"command":"status"}')
            )
            await asyncio.sleep(0.05)
            world.advance(4.9)
            await asyncio.sleep(0.05)
            assert not task.done()
            world.advance(0.2)
            assert b"mineroff" in await task

    async def test_http_keeps_the_connection_and_takes_two_requests_at_once(self) -> None:
        async with served(world_of()) as ports:
            reader, writer = await asyncio.open_connection("127.77.4.1", ports["http"])
            writer.write(b"GET / HTTP/1.1\r\n\r\nGET /x HTTP/1.1\r\nConnection: close\r\n\r\n")
            replies = await reader.read()
            writer.close()
        assert replies.startswith(b"HTTP/1.1 200 OK")
        assert b"Braiins OS" in replies
        assert replies.count(b"HTTP/1.1 404 Not Found") == 1

    @pytest.mark.parametrize(
        ("request_bytes", "status"),
        [
            (b"hello\r\n\r\n", b"400"),
            (b"GET nowhere HTTP/1.1\r\n\r\n", b"400"),
            (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"400"),
            (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
            (b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", b"413"),
            (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
            (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 100 + b"\r\n", b"431"),
            (b"GET / HTTP/1.1\r\nA: " + b"b" * 20_000, b"431"),
        ],
    )
    async def test_http_that_is_none_gets_its_status(
        self, request_bytes: bytes, status: bytes
    ) -> None:
        async with served(world_of()) as ports:
            reply = await exchange("127.77.4.1", ports["http"], request_bytes)
        assert reply.startswith(b"HTTP/1.1 " + status)

    async def test_a_whatsminer_sends_web_visitors_to_https(self) -> None:
        async with served(world_of()) as ports:
            head = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n"
            reply = await exchange("127.77.2.1", ports["http"], head)
        assert reply.startswith(b"HTTP/1.1 307")
        assert b"Location: https://127.77.2.1/" in reply

    async def test_one_bad_miner_costs_the_others_nothing(self) -> None:
        world = world_of()
        world.fleet["127.77.1.1"].set_fault("hang")
        world.fleet["127.77.2.1"].set_fault("closed")
        world.fleet["127.77.4.1"].set_fault("huge")
        async with served(world) as ports:
            _, hanging = await asyncio.open_connection("127.77.1.1", ports["rpc"])
            hanging.write(b'{"command":"summary"}')
            with pytest.raises(ConnectionError):
                assert await exchange("127.77.2.1", ports["rpc"], b"{}") == b"never"
            request = b'{"command":"summary"}'
            assert len(await exchange("127.77.4.1", ports["rpc"], request)) > HUGE_BYTES
            assert b"SUMMARY" in await exchange("127.77.3.1", ports["rpc"], request)
            hanging.close()

    async def test_no_miner_keeps_more_than_its_share_of_connections(self) -> None:
        async with served(world_of()) as ports:
            writers = []
            for _ in range(48):
                _, writer = await asyncio.open_connection("127.77.3.1", ports["rpc"])
                writers.append(writer)
            await asyncio.sleep(0.05)
            with pytest.raises(ConnectionError):
                assert await exchange("127.77.3.1", ports["rpc"], b"{}") == b"never"
            assert b"BOSer" in await exchange("127.77.4.1", ports["rpc"], b'{"command":"version"}')
            for writer in writers:
                writer.close()

    async def test_thousands_of_miners_need_one_listener(self) -> None:
        fleet = build_fleet(
            [Group("luxos", "S21", "127.78.0.1", count=3_000)], rng=random.Random(1)
        )
        world = World(fleet)
        async with served(world) as ports:
            for host in ("127.78.0.1", "127.78.5.255", "127.78.11.184"):
                body = await exchange(host, ports["rpc"], b'{"command":"config"}')
                assert json.loads(body.rstrip(b"\0"))["CONFIG"][0]["IPAddr"] == host

    async def test_a_taken_port_is_named_with_what_to_do(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(OSError, match=rf"port {port} \(rpc\) is taken") as problem:
                async with serve_fleet({}, now_s=lambda: 0.0, ports={"rpc": port}):
                    pass
        assert problem.value.errno == errno.EADDRINUSE

    async def test_an_unknown_service_is_refused(self) -> None:
        with pytest.raises(ValueError, match="service 'ssh' is not known; use: rpc, http, grpc"):
            async with serve_fleet({}, now_s=lambda: 0.0, ports={"ssh": 22}):
                pass

    async def test_leaving_closes_every_connection_and_port(self) -> None:
        world = world_of()
        world.fleet["127.77.3.1"].set_fault("hang")
        async with served(world) as ports:
            reader, writer = await asyncio.open_connection("127.77.3.1", ports["rpc"])
            writer.write(b'{"command":"summary"}')
            await asyncio.sleep(0.05)
        with pytest.raises(ConnectionError):
            assert await reader.read() == b"never"
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.77.3.1", ports["rpc"])
