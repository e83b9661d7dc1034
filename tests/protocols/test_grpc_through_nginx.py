"""Our gRPC through nginx: an HTTP/2 that has nothing in common with h2, which both of our ends use.

nginx stands between the driver and the simulated miner and opens a connection of its own.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drivers.contract.commands import AlreadySo, Applied, LimitPower, Sleep
from drivers.contract.devices import MinerDevice
from drivers.contract.errors import Malformed
from drivers.miners.braiins.driver import Braiins
from drivers.miners.braiins.frame import judge
from drivers.profiles import load_catalogue
from drivers.transport.grpc import SocketGrpc
from drivers.transport.ports import Endpoint
from drivers.transport.tcp_json import SocketTcpJson
from tests.loopback import free_port
from tests.protocols.miner_plant import RealClock
from tests.protocols.simulated_fleet import braiins_of, served
from tests.services.databases import needed

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@asynccontextmanager
async def nginx_before(host: str, port: int, folder: Path) -> AsyncIterator[int]:
    """Run nginx before a gRPC service; yields the port at which it listens."""
    needed(NGINX, "nginx")
    own = free_port()
    paths = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in TEMPORARY)
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;"
        f"events {{}} http {{ access_log off; {paths} server {{ listen 127.0.0.1:{own} http2;"
        f"location /braiins {{ grpc_pass grpc://{host}:{port}; }} }} }}"
    )
    words = (NGINX, "-e", str(folder / "error.log"), "-c", str(config))
    process = await asyncio.create_subprocess_exec(*words)
    try:
        for _ in range(1_000):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", own)
                break
            except ConnectionRefusedError:
                assert process.returncode is None, (folder / "error.log").read_text()
                await asyncio.sleep(0.02)
        writer.close()
        yield own
    finally:
        process.terminate()
        await process.wait()


async def test_a_miner_behind_nginx_is_read_and_commanded(tmp_path) -> None:
    world, persona = braiins_of()
    catalogue = load_catalogue()
    async with (
        served(world) as ports,
        nginx_before(persona.host, ports["grpc"], tmp_path) as own,
    ):
        device = MinerDevice(
            miner_id="m1",
            host="127.0.0.1",
            profile=catalogue.profile("braiins"),
            model=catalogue.model("Antminer S19j Pro"),
            ports={"grpc": own},
        )
        miner = Braiins(device, tcp=SocketTcpJson(), grpc=SocketGrpc(), clock=RealClock())
        assert await miner.apply(LimitPower(power_w=2_000.0)) == Applied(persistent_writes=1)
        assert persona.target_w == 2_000
        frame = await miner.prepare()
        assert await miner.apply(Sleep()) == Applied()
        assert persona.miner.sleep_wanted

        reader, writer = await asyncio.open_connection(frame.host, frame.port)
        writer.write(frame.request)
        received = b""
        while (outcome := judge(frame, received, False)) is None:
            piece = await asyncio.wait_for(reader.read(4_096), 10.0)
            assert piece, "nginx closed before it answered"
            received += piece
        writer.close()
        assert outcome == AlreadySo()

        with pytest.raises(Malformed, match="HTTP status '404'"):
            await SocketGrpc().unary(
                Endpoint(device="m1", host="127.0.0.1", port=own),
                "/elsewhere/Nothing",
                b"",
                metadata={},
                deadline_s=5.0,
                bytes_max=1_000,
            )
