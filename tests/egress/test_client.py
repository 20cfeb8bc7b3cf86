import asyncio
import gzip
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import anyio
import pytest

from broker.egress import Client, Dispatch, Egress, Limits, Reach, Response, Secret
from broker.errors import (
    EgressDenied,
    Refusal,
    UpstreamInterrupted,
    UpstreamMalformed,
    UpstreamRedirected,
    UpstreamTimeout,
    UpstreamTooLarge,
    UpstreamUnreachable,
)
from broker.testing.certificates import CertificateAuthority, ServerCertificate
from broker.testing.server import bind
from tests.support.low_upstream import Exchange, Script, Upstream, serving

pytestmark = pytest.mark.anyio

MakeClient = Callable[..., Client]
NOTHING: dict[str, str] = {}


async def answer(exchange: Exchange) -> None:
    """Answer as a service does."""
    await exchange.answer(200, b'{"ok": true}')


async def get(client: Client, upstream: Upstream, dispatch: Dispatch | None = None, path: str = "/a") -> Response:
    """Ask for something."""
    return await client.send("GET", upstream.url + path, NOTHING, None, dispatch or Dispatch())


async def refused(
    make_client: MakeClient, certificate: ServerCertificate, script: Script, **limits: float
) -> tuple[type[Refusal], bool]:
    """Return how a request to such a service ends, and whether it counts as sent."""
    dispatch = Dispatch()
    async with serving(certificate, script) as upstream:
        with pytest.raises(Refusal) as refusal, anyio.fail_after(30):
            await get(make_client(upstream, **limits), upstream, dispatch)
    return refusal.type, dispatch.sent


async def test_a_request_arrives_as_it_was_made_and_its_answer_comes_back(
    make_client: MakeClient, certificate: ServerCertificate
) -> None:
    """Issue 2, Egress: one way out; the positive control of the refusals below."""

    async def script(exchange: Exchange) -> None:
        await exchange.answer(201, b'{"id": 7}', {"ETag": "v1"})

    async with serving(certificate, script) as upstream:
        headers = {"Content-Type": "text/plain", "X-Own": "1"}
        response = await make_client(upstream).send("POST", f"{upstream.url}/a?b=c", headers, b"hello", Dispatch())

    (request,) = upstream.received
    assert (request.method, request.target, request.body) == ("POST", "/a?b=c", b"hello")
    assert (request.headers["x-own"], request.headers["content-type"]) == ("1", "text/plain")
    assert (response.status, response.json(), response.headers["etag"]) == (201, {"id": 7}, "v1")


async def test_of_the_headers_only_those_on_the_list_come_back(
    make_client: MakeClient, certificate: ServerCertificate
) -> None:
    """credentials.md B6 (2): cookies, challenges and echoes in headers stay at egress."""
    loud = ("Set-Cookie", "WWW-Authenticate", "X-Authorization", "Authorization", "Location", "X-Amz-Security-Token")

    async def script(exchange: Exchange) -> None:
        await exchange.answer(200, b"{}", dict.fromkeys(loud, "secret") | {"Retry-After": "3"})

    async with serving(certificate, script) as upstream:
        response = await get(make_client(upstream), upstream)

    assert response.headers == {"content-type": "application/json", "retry-after": "3"}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_error_and_nobody_is_called(
    make_client: MakeClient, certificate: ServerCertificate, status: int
) -> None:
    """Issue 2, Egress: redirects off, even to the same host."""

    async def script(exchange: Exchange) -> None:
        await exchange.answer(status, b"", {"Location": "/elsewhere"})

    async with serving(certificate, script) as upstream:
        with pytest.raises(UpstreamRedirected):
            await get(make_client(upstream), upstream)

    assert [exchange.target for exchange in upstream.received] == ["/a"]


async def test_an_answer_over_the_cap_is_refused(make_client: MakeClient, certificate: ServerCertificate) -> None:
    """Issue 2, Egress: size caps; what is just as large as the cap passes."""

    async def script(exchange: Exchange) -> None:
        await exchange.answer(200, b"x" * (1000 if exchange.target == "/fits" else 1001))

    async with serving(certificate, script) as upstream:
        client = make_client(upstream, response_bytes=1000)
        fits = await get(client, upstream, path="/fits")
        with pytest.raises(UpstreamTooLarge):
            await get(client, upstream)

    assert len(fits.body) == 1000


async def test_an_endless_answer_is_cut_at_the_cap(make_client: MakeClient, certificate: ServerCertificate) -> None:
    """Issue 2, Egress: size caps hold without a Content-Length, and the connection is closed at once."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await exchange.send(b"10000\r\n" + b"x" * 65_536 + b"\r\n")

    assert await refused(make_client, certificate, script, response_bytes=100_000) == (UpstreamTooLarge, True)


async def test_a_small_bomb_is_counted_as_what_it_unpacks_to(
    make_client: MakeClient, certificate: ServerCertificate
) -> None:
    """Issue 2, Egress: size caps; a gzip bomb is no way around them."""
    bomb = gzip.compress(b"0" * (32 << 20))

    async def script(exchange: Exchange) -> None:
        await exchange.answer(200, bomb, {"Content-Encoding": "gzip"})

    assert len(bomb) < 100_000
    assert await refused(make_client, certificate, script, response_bytes=100_000) == (UpstreamTooLarge, True)


async def test_a_request_over_the_cap_is_refused_before_it_is_sent(
    make_client: MakeClient, certificate: ServerCertificate
) -> None:
    """Issue 2, Egress: size caps both ways."""
    dispatch = Dispatch()
    async with serving(certificate, answer) as upstream:
        client = make_client(upstream, request_bytes=10)
        await client.send("POST", upstream.url, NOTHING, b"x" * 10, Dispatch())
        with pytest.raises(EgressDenied):
            await client.send("POST", upstream.url, NOTHING, b"x" * 11, dispatch)

    assert len(upstream.received) == 1
    assert not dispatch.sent


async def test_a_service_that_never_answers_times_out_as_sent(
    make_client: MakeClient, certificate: ServerCertificate
) -> None:
    """architecture.md, The way of one call: a request that had been sent when it was cut off is outcome_unknown."""

    async def script(exchange: Exchange) -> None:
        await exchange.until_the_client_leaves()

    assert await refused(make_client, certificate, script, total_seconds=1.0) == (UpstreamTimeout, True)


async def test_a_service_whose_headers_trickle_times_out(
    make_client: MakeClient, certificate: ServerCertificate
) -> None:
    """Issue 2, Egress: time caps are for the whole request, not between two bytes."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while True:
            await exchange.send(b"x")
            await asyncio.sleep(0.02)  # the trickle itself, not a wait for something

    assert await refused(make_client, certificate, script, total_seconds=1.0) == (UpstreamTimeout, True)


async def test_a_service_whose_body_stops_half_way_times_out(
    make_client: MakeClient, certificate: ServerCertificate
) -> None:
    """Issue 2, Egress: time caps hold for the body too."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await exchange.until_the_client_leaves()

    assert await refused(make_client, certificate, script, total_seconds=1.0) == (UpstreamTimeout, True)


async def test_a_connection_that_is_dropped_after_the_request_counts_as_sent(
    make_client: MakeClient, certificate: ServerCertificate
) -> None:
    """architecture.md, The way of one call: the service may have acted, so the outcome is unknown."""

    async def script(exchange: Exchange) -> None:
        exchange.drop()

    assert await refused(make_client, certificate, script) == (UpstreamInterrupted, True)


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\njunk",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 4\r\n\r\njunk",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 20_000 + b"\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 2000000000000 OK\r\n\r\n",
        b"\x00\xff\r\n\r\n",
        b"220 mail.example.com ESMTP\r\n",
    ],
)
async def test_an_answer_that_is_no_http_is_an_interruption(
    make_client: MakeClient, certificate: ServerCertificate, said: bytes
) -> None:
    """errors.py: whatever a service says is one of our refusals, and may have been an action."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(said)
        exchange.drop()

    assert await refused(make_client, certificate, script) == (UpstreamInterrupted, True)


async def test_a_place_where_nobody_listens_is_unreachable_and_nothing_was_sent(make_client: MakeClient) -> None:
    """architecture.md, The way of one call: what was never sent is never an unknown outcome."""
    dispatch = Dispatch()
    listener = bind(0)
    upstream = Upstream(f"https://127.0.0.1:{listener.getsockname()[1]}")
    listener.close()

    with pytest.raises(UpstreamUnreachable):
        await get(make_client(upstream), upstream, dispatch)

    assert not dispatch.sent


async def test_a_handshake_that_does_not_end_is_unreachable_in_the_time_to_connect(make_client: MakeClient) -> None:
    """Issue 2, Egress: time caps; a peer that accepts and says nothing holds a call for the connect limit only."""
    dispatch = Dispatch()
    with bind(0) as listener:
        listener.listen()
        upstream = Upstream(f"https://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(UpstreamUnreachable), anyio.fail_after(30):
            await get(make_client(upstream, connect_seconds=1.0, total_seconds=60), upstream, dispatch)

    assert not dispatch.sent


async def test_a_call_that_finds_no_free_connection_in_time_was_not_sent(
    make_client: MakeClient, certificate: ServerCertificate
) -> None:
    """Issue 2, Egress: the cap on requests at once; waiting for a place is not sending."""

    async def script(exchange: Exchange) -> None:
        await exchange.until_the_client_leaves()

    dispatch = Dispatch()
    async with serving(certificate, script) as upstream, anyio.create_task_group() as tasks:
        client = make_client(upstream, connections=1, connect_seconds=1.0, total_seconds=60)
        tasks.start_soon(get, client, upstream)
        with anyio.fail_after(30):
            await upstream.arrived.wait()
            with pytest.raises(UpstreamUnreachable):
                await get(client, upstream, dispatch)
        tasks.cancel_scope.cancel()

    assert not dispatch.sent


async def test_a_certificate_of_another_authority_is_not_accepted(make_client: MakeClient, tmp_path: Path) -> None:
    """Issue 2, Egress: only https, and only with a certificate that the connector trusts."""
    dispatch = Dispatch()
    stranger = CertificateAuthority(tmp_path).issue("server")

    async with serving(stranger, answer) as upstream:
        with pytest.raises(UpstreamUnreachable) as refusal:
            await get(make_client(upstream), upstream, dispatch)

    assert "certificate" in str(refusal.value.detail)
    assert upstream.received == []
    assert not dispatch.sent


async def test_the_systems_trust_does_not_accept_the_test_authority(certificate: ServerCertificate) -> None:
    """Issue 2, Egress: a client without an authority of its own trusts the system's, not whoever answers."""
    egress = Egress()
    async with serving(certificate, answer) as upstream:
        client = egress.client(Reach(frozenset({upstream.host}), (ip_network("127.0.0.0/8"),)), Limits())
        with pytest.raises(UpstreamUnreachable):
            await get(client, upstream)
    await egress.close()


async def test_cancelling_closes_the_connection(make_client: MakeClient, certificate: ServerCertificate) -> None:
    """Issue 2, MCP: cancelling a call cuts the upstream request; the service sees its client go."""
    left = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.until_the_client_leaves()
        left.set()

    dispatch = Dispatch()
    async with serving(certificate, script) as upstream:
        call = asyncio.create_task(get(make_client(upstream), upstream, dispatch))
        with anyio.fail_after(30):
            await upstream.arrived.wait()
            call.cancel()
            await left.wait()
        with pytest.raises(asyncio.CancelledError):
            await call

    assert dispatch.sent


async def test_cookies_are_neither_kept_nor_sent(make_client: MakeClient, certificate: ServerCertificate) -> None:
    """credentials.md B6: nothing of one call reaches the next through a jar."""

    async def script(exchange: Exchange) -> None:
        await exchange.answer(200, b"{}", {"Set-Cookie": "session=secret; Path=/"})

    async with serving(certificate, script) as upstream:
        client = make_client(upstream)
        for _ in range(2):
            await get(client, upstream)

    assert ["cookie" in exchange.headers for exchange in upstream.received] == [False, False]
    assert upstream.connections == 1


async def test_the_authorization_is_written_at_the_last_moment(
    make_client: MakeClient, certificate: ServerCertificate
) -> None:
    """architecture.md, The way of one call: egress writes the Authorization header; no one else holds the text."""
    async with serving(certificate, answer) as upstream:
        await make_client(upstream).send(
            "GET", upstream.url, NOTHING, None, Dispatch(), authorization=Secret("Bearer abc")
        )

    assert upstream.received[0].headers["authorization"] == "Bearer abc"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nan", b"\xff", b"[" * 100_000, b'{"a": "\\ud800"}', "\ufeff{}".encode(), b"<html>"]
)
async def test_a_body_that_is_no_json_is_malformed(body: bytes) -> None:
    """errors.py: a service's junk is `upstream_malformed`, however deep or short."""
    with pytest.raises(UpstreamMalformed):
        Response(200, {}, body).json()


async def test_equal_settings_share_a_client_and_others_do_not() -> None:
    """egress: one client for each distinct reach, limits and authority, so that a pin is a client's own."""
    egress = Egress()
    first = egress.client(Reach(frozenset({"a.example"})), Limits())

    assert egress.client(Reach(frozenset({"a.example"})), Limits()) is first
    assert egress.client(Reach(frozenset({"b.example"})), Limits()) is not first
    assert egress.client(Reach(frozenset({"a.example"})), Limits(connections=1)) is not first
    await egress.close()
