"""HTTP and digest: the same cases against the socket form and the in-memory form."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from drivers.contract.devices import Login
from drivers.contract.errors import Malformed, Unreachable
from drivers.transport.digest import authorization, parse_challenge
from drivers.transport.http import SocketHttp
from drivers.transport.memory import (
    HttpAnswer,
    HttpQuestion,
    MemoryHttp,
)
from drivers.transport.ports import Endpoint, Http, HttpReply

MAX = 10_000
DEADLINE_S = 0.4


# ---- HTTP ----------------------------------------------------------------------------------------
# ----------------

CHALLENGE = 'Digest realm="antMiner Configuration", nonce="{nonce}", qop="auth"'
LOGIN = Login(username="root", password="root")


class Gate:
    """A digest gate written from RFC 7616, independent of what it checks.

    Nonces go stale after `uses`.
    """

    def __init__(self, uses: int = 1000) -> None:
        self.uses = uses
        self.serial = 0
        self.counts: dict[str, int] = {}
        self.challenges = 0

    def allows(self, method: str, header: str) -> bool:
        fields = dict(
            part.strip().partition("=")[::2] for part in header.removeprefix("Digest ").split(",")
        )
        fields = {name: value.strip('"') for name, value in fields.items()}
        nonce, count = fields.get("nonce", ""), int(fields.get("nc", "0"), 16)
        if nonce not in self.counts or count != self.counts[nonce] + 1 or count > self.uses:
            return False
        ha1 = hashlib.md5(b"root:antMiner Configuration:root").hexdigest()
        ha2 = hashlib.md5(f"{method}:{fields['uri']}".encode()).hexdigest()
        wanted = f"{ha1}:{nonce}:{fields['nc']}:{fields['cnonce']}:auth:{ha2}"
        if hashlib.md5(wanted.encode()).hexdigest() != fields["response"]:
            return False
        self.counts[nonce] = count
        return True

    def challenge(self) -> str:
        self.serial += 1
        self.challenges += 1
        nonce = f"{self.serial:08x}"
        self.counts[nonce] = 0
        return CHALLENGE.format(nonce=nonce)


HttpPeer = Callable[[HttpQuestion], HttpAnswer | None]


@asynccontextmanager
async def http_over_socket(listening, peer: HttpPeer) -> AsyncIterator[tuple[Http, Endpoint]]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        answer = peer(HttpQuestion(method=method, path=path, headers=headers, body=body))
        if answer is None:
            writer.transport.abort()
            return
        if answer.reply is None:
            await reader.read()
        else:
            await asyncio.sleep(answer.after_s)
            said = answer.reply
            lines = [f"HTTP/1.1 {said.status} Said", f"content-length: {len(said.body)}"]
            lines += [f"{name}: {value}" for name, value in said.headers.items()]
            writer.write("\r\n".join([*lines, "", ""]).encode() + said.body)

    async with listening(serve) as port:
        http = SocketHttp()
        try:
            yield http, Endpoint(device="m1", host="127.0.0.1", port=port)
        finally:
            await http.close()


@asynccontextmanager
async def http_in_memory(listening, peer: HttpPeer) -> AsyncIterator[tuple[Http, Endpoint]]:
    def handler(host: str, port: int, question: HttpQuestion) -> HttpAnswer:
        assert (host, port) == ("10.0.0.1", 80)
        answer = peer(question)
        if answer is None:
            raise ConnectionResetError
        return answer

    yield MemoryHttp(handler), Endpoint(device="m1", host="10.0.0.1", port=80)


HTTP_FORMS = pytest.mark.parametrize("form", [http_over_socket, http_in_memory])


def said(
    status: int = 200, body: bytes = b"{}", after_s: float = 0.0, **headers: str
) -> HttpAnswer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpAnswer(reply=HttpReply(status=status, headers=named, body=body), after_s=after_s)


def gated(gate: Gate, answer: HttpAnswer) -> HttpPeer:
    def peer(question: HttpQuestion) -> HttpAnswer:
        if gate.allows(question.method, question.headers.get("authorization", "")):
            return answer
        return said(401, b"who are you", www_authenticate=gate.challenge())

    return peer


async def ask(http: Http, endpoint: Endpoint, **more) -> HttpReply:
    options = {"deadline_s": 5.0, "bytes_max": MAX} | more
    return await http.request(endpoint, "GET", "/cgi-bin/get_miner_conf.cgi", **options)


@HTTP_FORMS
async def test_http_passes_the_digest_gate_and_remembers_the_nonce(form, listening) -> None:
    gate = Gate()
    async with form(listening, gated(gate, said(body=b'{"ok":1}'))) as (http, endpoint):
        for _ in range(3):
            reply = await ask(http, endpoint, login=LOGIN)
            assert (reply.status, reply.body) == (200, b'{"ok":1}')
        if isinstance(http, SocketHttp):
            assert http.opened == 4, "one connection a request, and one for the challenge"
    assert gate.challenges == 1


@HTTP_FORMS
async def test_http_takes_a_stale_nonce_for_what_it_is(form, listening) -> None:
    gate = Gate(uses=1)
    async with form(listening, gated(gate, said())) as (http, endpoint):
        assert [(await ask(http, endpoint, login=LOGIN)).status for _ in range(3)] == [200] * 3
    assert gate.challenges == 3


@HTTP_FORMS
async def test_http_returns_401_for_a_wrong_password(form, listening) -> None:
    async with form(listening, gated(Gate(), said())) as (http, endpoint):
        wrong = Login(username="root", password="wrong")
        assert (await ask(http, endpoint, login=wrong)).status == 401
        assert (await ask(http, endpoint)).status == 401


@HTTP_FORMS
async def test_http_sends_body_and_type_and_lowers_header_names(form, listening) -> None:
    seen: list[HttpQuestion] = []

    def peer(question: HttpQuestion) -> HttpAnswer:
        seen.append(question)
        return said(x_miner="S19")

    async with form(listening, peer) as (http, endpoint):
        reply = await http.request(
            endpoint,
            "POST",
            "/set?x=1",
            body=b'{"a":1}',
            content_type="application/json",
            deadline_s=5.0,
            bytes_max=MAX,
        )
    assert reply.headers["x-miner"] == "S19"
    assert (seen[0].method, seen[0].path, seen[0].body) == ("POST", "/set?x=1", b'{"a":1}')
    assert seen[0].headers["content-type"] == "application/json"


@HTTP_FORMS
async def test_http_follows_no_redirect_and_keeps_no_cookie(form, listening) -> None:
    seen: list[HttpQuestion] = []

    def peer(question: HttpQuestion) -> HttpAnswer:
        seen.append(question)
        return said(307, b"", location="http://127.0.0.2/elsewhere", set_cookie="a=b")

    async with form(listening, peer) as (http, endpoint):
        assert (await ask(http, endpoint)).status == 307
        assert (await ask(http, endpoint)).status == 307
    assert len(seen) == 2
    assert all("cookie" not in question.headers for question in seen)


@HTTP_FORMS
@pytest.mark.parametrize(
    "answer",
    [HttpAnswer(reply=None), said(after_s=5.0), None],
    ids=["silent", "past the deadline", "reset"],
)
async def test_http_without_a_reply_is_unreachable(form, listening, answer) -> None:
    async with form(listening, lambda _: answer) as (http, endpoint):
        with pytest.raises(Unreachable) as caught:
            await ask(http, endpoint, deadline_s=DEADLINE_S)
    assert caught.value.connected


async def test_http_refused_is_unreachable_and_was_never_connected(listening) -> None:
    async with http_over_socket(listening, lambda _: said()) as (http, endpoint):
        pass
    with pytest.raises(Unreachable) as caught:
        await ask(http, endpoint)
    assert not caught.value.connected
    await http.close()


@HTTP_FORMS
async def test_http_reply_too_large_is_malformed(form, listening) -> None:
    async with form(listening, lambda _: said(body=b"x" * 10_000_000)) as (http, endpoint):
        with pytest.raises(Malformed, match="larger than"):
            await ask(http, endpoint)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\x01 garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\ncut off",
        b"HTTP/1.1 401 No\r\nwww-authenticate: Digest nonsense\r\ncontent-length: 0\r\n\r\n",
        b'HTTP/1.1 401 No\r\nwww-authenticate: Digest realm="a", nonce=""\r\n\r\n',
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 100_000 + b"\r\n",
    ],
    ids=["garbage", "cut off", "no challenge", "empty nonce", "endless headers"],
)
async def test_http_peer_that_speaks_no_http_raises_only_device_errors(listening, raw) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(raw)

    http = SocketHttp()
    async with listening(serve) as port:
        try:
            reply = await ask(http, Endpoint(device="m1", host="127.0.0.1", port=port), login=LOGIN)
        except (Malformed, Unreachable):
            pass
        else:
            assert reply.status == 401, "only a challenge that cannot be answered is a reply"
    await http.close()


# ---- digest and Modbus
# -------------------------------------------------------------------------------------------


def test_digest_answers_the_example_of_the_standard() -> None:
    """RFC 7616, section 3.9.1, the SHA-256 and the MD5 answer to the same request."""
    common = (
        'realm="http-auth@example.org", qop="auth, auth-int", '
        'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"'
    )
    login = Login(username="Mufasa", password="Circle of Life")
    for algorithm, wanted in [
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
    ]:
        challenge = parse_challenge(f"Digest {common}, algorithm={algorithm}")
        assert challenge is not None
        header = authorization(
            challenge,
            login,
            "GET",
            "/dir/index.html",
            count=1,
            cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        )
        assert f'response="{wanted}"' in header


@pytest.mark.parametrize(
    "header",
    ["", "Basic realm=x", 'Digest realm="a"', 'Digest realm="a", nonce="b", algorithm=FOO'],
)
def test_digest_takes_nothing_else_for_a_challenge(header) -> None:
    assert parse_challenge(header) is None
