"""Answers that are taken as they come: the same caps, credential and refusals as of those that are taken whole."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from broker.egress import Client, Response, Session
from broker.errors import EgressDenied, UpstreamTimeout, UpstreamTooLarge, UpstreamUnauthorized
from broker.testing.certificates import ServerCertificate
from tests.support.low_upstream import Exchange, Upstream, serving

pytestmark = pytest.mark.anyio

MakeClient = Callable[..., Client]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def expired(response: Response) -> bool:
    """Tell whether the token has expired."""
    return response.status == 401


def session(client: Client, upstream: Upstream, credential: Any) -> Session:
    """Bind a session to the service."""
    return Session(client, upstream.url, credential, expired)


async def trickle(exchange: Exchange) -> None:
    """Say two things, and then nothing more."""
    await exchange.send(HEAD + b"3\r\none\r\n")
    await exchange.send(b"3\r\ntwo\r\n")
    await asyncio.sleep(3600)


async def test_what_has_come_is_had_before_the_rest(
    make_client: MakeClient, certificate: ServerCertificate, credential: Any
) -> None:
    """An event stream is of use while it goes on."""
    async with serving(certificate, trickle) as upstream:
        bound = session(make_client(upstream), upstream, credential("good"))
        came = b""
        async with bound.stream("GET", upstream.url, {}, None) as answer:
            async for chunk in answer.chunks():
                came += chunk
                if came == b"onetwo":
                    break

    assert answer.status == 200
    assert upstream.received[0].headers["authorization"] == "Bearer good"


@pytest.mark.parametrize(
    ("limits", "kind"), [({"total_seconds": 1.0}, UpstreamTimeout), ({"response_bytes": 4}, UpstreamTooLarge)]
)
async def test_the_caps_hold_for_a_stream_as_a_whole(
    make_client: MakeClient, certificate: ServerCertificate, credential: Any, limits: Any, kind: Any
) -> None:
    """Issue 6, `mcp`: huge output and servers that never end."""
    async with serving(certificate, trickle) as upstream:
        bound = session(make_client(upstream, **limits), upstream, credential("good"))
        async with bound.stream("GET", upstream.url, {}, None) as answer:
            with pytest.raises(kind):
                await answer.read()


async def test_a_lasting_stream_must_begin_in_time(
    make_client: MakeClient, certificate: ServerCertificate, credential: Any
) -> None:
    """`total_seconds` is how long a service may take until it answers, however long the answer then lasts."""

    async def silent(_exchange: Exchange) -> None:
        await asyncio.sleep(3600)

    async with serving(certificate, silent) as upstream:
        bound = session(make_client(upstream, total_seconds=1.0), upstream, credential("good"))
        with pytest.raises(UpstreamTimeout):
            async with bound.stream("GET", upstream.url, {}, None, lasting=True):
                pass


async def test_a_refused_token_is_renewed_once_before_a_stream_begins(
    make_client: MakeClient, certificate: ServerCertificate, credential: Any
) -> None:
    """architecture.md, The way of one call: one retry after a 401, in one place."""

    async def good_is_accepted(exchange: Exchange) -> None:
        await exchange.answer(200 if exchange.headers["authorization"] == "Bearer good" else 401)

    async with serving(certificate, good_is_accepted) as upstream:
        client, renewing = make_client(upstream), credential("spent", "good")
        async with session(client, upstream, renewing).stream("GET", upstream.url, {}, None) as answer:
            assert answer.status == 200
        assert renewing.renewals == 1
        with pytest.raises(UpstreamUnauthorized):
            async with session(client, upstream, credential("bad", "bad")).stream("GET", upstream.url, {}, None):
                pass


async def test_a_stream_goes_to_the_service_of_its_session_and_no_other(
    make_client: MakeClient, certificate: ServerCertificate, credential: Any
) -> None:
    """architecture.md, Connectors: a session is bound to one origin; an SSE server's endpoint may name another."""
    async with serving(certificate, trickle) as upstream:
        bound = session(make_client(upstream), upstream, credential("good"))
        with pytest.raises(EgressDenied):
            async with bound.stream("GET", "https://elsewhere.example/x", {}, None):
                pass

    assert not upstream.received
