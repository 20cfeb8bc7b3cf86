"""Attempts to have the broker call somebody else: by names, addresses, paths, headers, answers that never end."""

import asyncio
import gzip
import socket
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from broker.egress import Client, Dispatch, Egress, HeaderSecret, Limits, Reach, Session
from broker.errors import EgressDenied, InvalidArguments, Refusal, UpstreamTimeout, UpstreamTooLarge
from broker.testing.certificates import CertificateAuthority, ServerCertificate
from tests.support.low_tls import anyio_backend, authority, certificate
from tests.support.low_upstream import Exchange, serving

__all__ = ["anyio_backend", "authority", "certificate"]  # fixtures

pytestmark = pytest.mark.anyio

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
KEY = "k3y-Qa7Ws2Ed9Rf4Tg6Yh1Uj8Ik5Ol0Pz"
MakeClient = Callable[..., Client]


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


class Keyed:
    """A credential that stands in a header of its own."""

    async def header(self) -> HeaderSecret:
        """Return it."""
        return HeaderSecret(KEY, "X-Api-Key")

    async def renew(self, spent: Any) -> None:
        """Have no other."""


async def answers(exchange: Exchange) -> None:
    """Answer."""
    await exchange.answer()


async def test_a_name_that_means_something_else_at_each_look_is_condemned_each_time(
    make_client: MakeClient, certificate: ServerCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 5, Where calls may go: DNS rebinding between the check and the connection, and between two calls."""
    looks: Iterator[str] = iter(["93.184.216.34", "127.0.0.1", "169.254.169.254", "::1", "fe80::1%1", "10.0.0.1"])
    asked: list[str] = []

    async def rebinding(_host: str, port: int, **_: Any) -> list[Any]:
        asked.append(address := next(looks))
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        place: Any = (address, port, 0, 1) if ":" in address else (address, port)
        return [(family, socket.SOCK_STREAM, 6, "", place)]

    async def unconnected(*_: Any, **__: Any) -> Any:
        raise OSError("nobody is called in this test")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", rebinding)
    monkeypatch.setattr("aiohttp.TCPConnector._wrap_create_connection", unconnected)
    async with serving(certificate, answers) as upstream:
        port = upstream.host.partition(":")[2]
        client = make_client(f"*.example.com:{port}", private=())
        ends = []
        for number in range(6):  # under a new name each time, as whoever rebinds does, for answers are kept a while
            with pytest.raises(Refusal) as refused:
                await client.send("GET", f"https://r{number}.example.com:{port}/", {}, None, Dispatch())
            ends.append(refused.value.code)

    assert ends == ["upstream_unreachable", *["egress_denied"] * 5]
    assert len(asked) == 6
    assert upstream.connections == 0


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "127.0.1", "0", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
     "[2002:7f00:1::]", "[64:ff9b::7f00:1]", "[::1]", "[fe80::1%25lo]", "localhost", "127.0.0.1.", "localhost."],
)  # fmt: skip
async def test_this_machine_is_not_called_however_its_address_is_written(
    make_client: MakeClient, certificate: ServerCertificate, host: str
) -> None:
    """Issue 5, Where calls may go: decimal, octal and hex hosts, mapped IPv6, 6to4, NAT64, zone ids; even if named."""
    async with serving(certificate, answers) as upstream:
        port = upstream.host.partition(":")[2]
        client = make_client(f"{host}:{port}", f"{host.strip('[]')}:{port}", private=())
        dispatch = Dispatch()
        with pytest.raises(Refusal) as refused:
            await client.send("GET", f"https://{host}:{port}/", {}, None, dispatch)

    assert refused.value.code in {"egress_denied", "upstream_unreachable"}
    assert (upstream.connections, dispatch.sent) == (0, False)


@pytest.mark.parametrize(
    "value",
    ["..", ".", "../admin", "..%2fadmin", "%2e%2e", "%252e%252e/x", "..\\admin", "..;/admin", "a/../../b", "\x00", "",
     "a/%2e%2e/b", "..%5cadmin", "\uff0e\uff0e/admin"],
)  # fmt: skip
async def test_an_argument_does_not_climb_out_of_its_segment(
    make_client: MakeClient, certificate: ServerCertificate, value: str
) -> None:
    """lessons.md 4: FastMCP's and agentgateway's traversal; what arrives is one segment below the template's."""
    async with serving(certificate, answers) as upstream:
        session = Session(make_client(upstream.host), f"{upstream.url}/api", Keyed(), lambda _: False)
        try:
            await session.call("GET", "/records/{id}", id=value)
        except (InvalidArguments, EgressDenied):
            return

    target = upstream.received[0].target
    assert target.startswith("/api/records/")
    assert "/" not in target.removeprefix("/api/records/")
    assert ".." not in target


@pytest.mark.parametrize(
    "value", ["a&admin=true", "a#b", "a?x=1", "a\r\nX-Evil: 1", "a;b=c", "%26admin%3Dtrue", "a b+c"]
)
async def test_a_query_value_stays_one_value(
    make_client: MakeClient, certificate: ServerCertificate, value: str
) -> None:
    """Issue 5, Where calls may go: query injection; nothing in a value begins another parameter, header or line."""
    async with serving(certificate, answers) as upstream:
        session = Session(make_client(upstream.host), upstream.url, Keyed(), lambda _: False)
        await session.call("GET", "/search", query={"q": value, "limit": "1"})

    (received,) = upstream.received
    assert received.target.count("&") == received.target.count("?") == 1
    assert received.target.endswith("&limit=1")
    assert "x-evil" not in received.headers


@pytest.mark.parametrize(
    "headers",
    [{"X-Api-Key": "mine"}, {"x-api-key": "mine"}, {"Authorization": "Bearer mine"}, {"Cookie": "a=b"},
     {"Host": "evil.example"}, {"Transfer-Encoding": "chunked"}, {"Content-Length": "0"}, {"X-API-KEY": "mine"}],
)  # fmt: skip
async def test_a_callers_header_takes_no_credentials_place_and_frames_nothing(
    make_client: MakeClient, certificate: ServerCertificate, headers: dict[str, str]
) -> None:
    """credentials.md B6 (8): headers that override ours, and request smuggling; a key in a header of its own too."""
    async with serving(certificate, answers) as upstream:
        session = Session(make_client(upstream.host), upstream.url, Keyed(), lambda _: False)
        await session.send("POST", f"{upstream.url}/x", headers, b"{}")

    (received,) = upstream.received
    assert received.headers["x-api-key"] == KEY
    assert received.headers["host"] == upstream.host
    assert received.body == b"{}"
    assert not {"authorization", "cookie", "transfer-encoding"} & received.headers.keys()


@pytest.mark.parametrize("name", ["X-A\r\nX-Evil", "X A", "", "X-A:", "X\x00"])
async def test_a_header_name_is_a_name(make_client: MakeClient, certificate: ServerCertificate, name: str) -> None:
    """Issue 5, Where calls may go: header injection, by the name."""
    async with serving(certificate, answers) as upstream:
        session = Session(make_client(upstream.host), upstream.url, Keyed(), lambda _: False)
        with pytest.raises(EgressDenied):
            await session.send("GET", f"{upstream.url}/x", {name: "1"}, None)

    assert upstream.connections == 0


ZEROS = b"0" * (8 << 20)
BOMBS = {
    "gzip": (gzip.compress(ZEROS), "gzip"),
    "deflate": (zlib.compress(ZEROS), "deflate"),
    "raw deflate": (zlib.compress(ZEROS)[2:-4], "deflate"),
    "many members": (gzip.compress(b"0" * 50_000) * 50, "gzip"),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
async def test_a_bomb_is_counted_as_it_unpacks(
    make_client: MakeClient, certificate: ServerCertificate, bomb: tuple[bytes, str]
) -> None:
    """Issue 5, Where calls may go: compression bombs, of every encoding that is understood."""

    async def script(exchange: Exchange) -> None:
        await exchange.answer(200, bomb[0], {"Content-Encoding": bomb[1]})

    async with serving(certificate, script) as upstream:
        client = make_client(upstream.host, response_bytes=20_000)
        with pytest.raises(Refusal) as refused:
            await client.send("GET", upstream.url, {}, None, Dispatch())

    assert isinstance(refused.value, UpstreamTooLarge)


async def test_a_body_that_trickles_for_ever_ends_with_the_time_of_the_whole_request(
    make_client: MakeClient, certificate: ServerCertificate
) -> None:
    """Issue 5, Where calls may go: slow and never-ending bodies; each byte in time is not all of them in time."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await exchange.send(b"1\r\nx\r\n")
            await asyncio.sleep(0.02)  # the trickle itself, not a wait for something

    async with serving(certificate, script) as upstream:
        client = make_client(upstream.host, total_seconds=1.0)
        with pytest.raises(UpstreamTimeout):
            await client.send("GET", upstream.url, {}, None, Dispatch())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("where", ["https://evil.example/", "//evil.example/", "/elsewhere", "http://127.0.0.1/"])
async def test_a_redirect_takes_nothing_anywhere(
    make_client: MakeClient, certificate: ServerCertificate, status: int, where: str
) -> None:
    """Issue 5, Where calls may go: redirects, to strangers, without TLS, or only elsewhere; a key stays here too."""

    async def script(exchange: Exchange) -> None:
        await exchange.answer(status, b"", {"Location": f"{where}?{exchange.headers['x-api-key']}"})

    async with serving(certificate, script) as upstream:
        session = Session(make_client(upstream.host), upstream.url, Keyed(), lambda _: False)
        with pytest.raises(Refusal) as refused:
            await session.call("GET", "/x")

    assert refused.value.code == "upstream_redirected"
    assert KEY not in f"{refused.value.message} {refused.value.detail}"
    assert len(upstream.received) == 1
