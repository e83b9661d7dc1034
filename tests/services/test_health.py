"""`/healthz` and `/readyz` over real sockets, and a port that cannot be had."""

import socket

import aiohttp

from controller.health import serve_health
from tests.loopback import free_port


async def get(port, path):
    """Status and body of one answer."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as reply,
    ):
        return reply.status, await reply.json()


async def test_a_process_is_alive_and_ready_until_something_is_wrong():
    wrong, port = [], free_port()
    async with serve_health("run", "127.0.0.1", port, lambda: list(wrong)):
        assert await get(port, "/healthz") == (200, {"process": "run", "alive": True})
        ready = {"process": "run", "ready": True, "reasons": []}
        assert await get(port, "/readyz") == (200, ready)
        wrong.append("the last tick ended 9 s ago")
        status, body = await get(port, "/readyz")
        assert (status, body["ready"], body["reasons"]) == (503, False, wrong)
        assert (await get(port, "/healthz"))[0] == 200


async def test_a_taken_port_stops_nobody(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with serve_health("run", "127.0.0.1", port, list):
            pass
    assert "health_not_served" in capsys.readouterr().out + capsys.readouterr().err


async def test_port_0_serves_nowhere():
    async with serve_health("run", "127.0.0.1", 0, list):
        pass
