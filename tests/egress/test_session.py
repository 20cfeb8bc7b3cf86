import asyncio
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.egress import Client, Response, Session
from broker.egress.session import _fill
from broker.errors import EgressDenied, InvalidArguments, UpstreamUnauthorized
from broker.testing.certificates import ServerCertificate
from tests.support.low_upstream import Exchange, Upstream, serving

pytestmark = pytest.mark.anyio

MakeClient = Callable[..., Client]
MakeCredential = Callable[..., Any]


def unauthorized(response: Response) -> bool:
    """Tell whether the token has expired."""
    return response.status == 401


def session(make_client: MakeClient, upstream: Upstream, credential: Any, path: str = "") -> Session:
    """Bind a session to the service."""
    return Session(make_client(upstream), upstream.url + path, credential, unauthorized)


async def echo(exchange: Exchange) -> None:
    """Answer what a service does when all is well."""
    await exchange.answer()


async def good_is_accepted(exchange: Exchange) -> None:
    """Accept one token and no other."""
    await exchange.answer(200 if exchange.headers["authorization"] == "Bearer good" else 401)


async def test_a_call_goes_under_the_base_url_with_the_credential(
    make_client: MakeClient, certificate: ServerCertificate, credential: MakeCredential
) -> None:
    """architecture.md, Connectors: a session is already authorised and bound to the base URL."""
    async with serving(certificate, echo) as upstream:
        bound = session(make_client, upstream, credential("good"), "/api/")
        await bound.call("PATCH", "/things/{thing}", query={"a b": "c&d"}, json={"x": "é"}, thing="one two/three")

    (request,) = upstream.received
    assert (request.method, request.target) == ("PATCH", "/api/things/one%20two%2Fthree?a+b=c%26d")
    assert (request.body, request.headers["content-type"]) == ('{"x":"é"}'.encode(), "application/json")
    assert request.headers["authorization"] == "Bearer good"
    assert bound.base_url == f"{upstream.url}/api"


async def test_a_session_knows_whether_anything_has_left(
    make_client: MakeClient, certificate: ServerCertificate, credential: MakeCredential
) -> None:
    """architecture.md, The way of one call: a call whose request had been sent is never just 'cancelled'."""
    async with serving(certificate, echo) as upstream:
        bound = session(make_client, upstream, credential("good"))
        before = bound.sent
        await bound.call("GET", "/a")

    assert (before, bound.sent) == (False, True)


@pytest.mark.parametrize("value", ["", ".", "..", "../b", "a/../b", "a/./b", "..\\b", "..;x/b"])
async def test_a_value_that_would_climb_is_refused_and_nothing_is_sent(
    make_client: MakeClient, certificate: ServerCertificate, credential: MakeCredential, value: str
) -> None:
    """architecture.md, Connectors: values are escaped, '.' and '..' segments are refused (CVE-2026-32871)."""
    async with serving(certificate, echo) as upstream:
        bound = session(make_client, upstream, credential("good"))
        with pytest.raises(InvalidArguments):
            await bound.call("GET", "/a/{value}/b", value=value)

    assert upstream.received == []


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_value_is_one_segment_whatever_it_holds(value: str) -> None:
    """architecture.md, Connectors: paths are templates whose values are escaped (CVE-2026-29791)."""
    try:
        path = _fill("/a/{value}/b", {"value": value})
    except InvalidArguments:
        return

    assert path.count("/") == 3
    assert path.isascii()
    assert not set(path) & set(" ?#\\\r\n\x00")


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "authorization",
        "Cookie",
        "Proxy-Authorization",
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Expect",
        "Accept-Encoding",
    ],
)
async def test_what_a_caller_says_of_credentials_host_or_framing_is_left_out(
    make_client: MakeClient, certificate: ServerCertificate, credential: MakeCredential, name: str
) -> None:
    """credentials.md B6 (8): no header of a caller's overrides ours."""
    async with serving(certificate, echo) as upstream:
        bound = session(make_client, upstream, credential("good"))
        await bound.send("POST", f"{upstream.url}/a", {name: "own", "X-Own": "own"}, b"body")

    (request,) = upstream.received
    assert request.headers.get(name.lower()) != "own"
    assert (request.headers["authorization"], request.headers["host"]) == ("Bearer good", upstream.host)
    assert (request.headers["x-own"], request.body) == ("own", b"body")


@pytest.mark.parametrize(
    ("name", "value"),
    [("X-A", "a\r\nX-B: b"), ("X-A", "a\nb"), ("X-A", "a\x00b"), ("X-A: b\r\nX-B", "c"), ("X A", "b"), ("", "b")],
)
async def test_a_header_that_would_be_two_is_refused_and_nothing_is_sent(
    make_client: MakeClient, certificate: ServerCertificate, credential: MakeCredential, name: str, value: str
) -> None:
    """lessons.md 4: header values are not a way to write the request (CVE-2026-29791)."""
    async with serving(certificate, echo) as upstream:
        bound = session(make_client, upstream, credential("good"))
        with pytest.raises(EgressDenied):
            await bound.send("GET", f"{upstream.url}/a", {name: value}, None)

    assert upstream.received == []
    assert not bound.sent


@pytest.mark.parametrize("method", ["GET /x HTTP/1.1\r\nX:", "", "GE T", "GÉT"])
async def test_a_method_that_is_none_is_refused_and_nothing_is_sent(
    make_client: MakeClient, certificate: ServerCertificate, credential: MakeCredential, method: str
) -> None:
    """lessons.md 4: the request line has one author."""
    async with serving(certificate, echo) as upstream:
        with pytest.raises(EgressDenied):
            await session(make_client, upstream, credential("good")).send(method, upstream.url, {}, None)

    assert upstream.received == []


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:{port}@evil.example/a",
        "https://user@127.0.0.1:{port}/a",
        "http://127.0.0.1:{port}/a",
        "https://127.0.0.1/a",
        "https://localhost:{port}/a",
        "https://evil.example:{port}/a",
        "https://127.0.0.1:{port}x/a",
        "/a",
    ],
)
async def test_another_origin_is_refused_even_if_the_client_may_reach_it(
    make_client: MakeClient, certificate: ServerCertificate, credential: MakeCredential, url: str
) -> None:
    """credentials.md B6 (7): a token goes to the service that it is for; a next-page URL cannot take it elsewhere."""
    async with serving(certificate, echo) as upstream:
        port = upstream.host.partition(":")[2]
        client = make_client(upstream, f"localhost:{port}", f"evil.example:{port}", "127.0.0.1")
        bound = Session(client, upstream.url, credential("good"), unauthorized)
        with pytest.raises(EgressDenied):
            await bound.send("GET", url.format(port=port), {}, None)

    assert upstream.received == []


async def test_an_expired_token_is_renewed_and_the_request_repeated(
    make_client: MakeClient, certificate: ServerCertificate, credential: MakeCredential
) -> None:
    """architecture.md, The way of one call: one retry after a 401, in one home."""
    tokens = credential("old", "good")
    async with serving(certificate, good_is_accepted) as upstream:
        response = await session(make_client, upstream, tokens).call("POST", "/a", json={"n": 1})

    assert (response.status, tokens.renewals) == (200, 1)
    assert [request.body for request in upstream.received] == [b'{"n":1}', b'{"n":1}']


async def test_a_token_is_renewed_once_and_only_once(
    make_client: MakeClient, certificate: ServerCertificate, credential: MakeCredential
) -> None:
    """credentials.md B2: refresh at most once; a service that refuses every token is not asked for ever."""
    tokens = credential("old", "older", "oldest", "good")
    async with serving(certificate, good_is_accepted) as upstream:
        with pytest.raises(UpstreamUnauthorized):
            await session(make_client, upstream, tokens).call("GET", "/a")

    assert (len(upstream.received), tokens.renewals) == (2, 1)


async def test_a_session_renews_once_however_many_requests_it_makes(
    make_client: MakeClient, certificate: ServerCertificate, credential: MakeCredential
) -> None:
    """credentials.md B2: refresh at most once per call, and a call may be many pages."""
    accepted = {"first", "second"}

    async def script(exchange: Exchange) -> None:
        token = exchange.headers["authorization"].removeprefix("Bearer ")
        await exchange.answer(200 if token in accepted else 401)

    tokens = credential("expired", "first", "second")
    async with serving(certificate, script) as upstream:
        bound = session(make_client, upstream, tokens)
        await bound.call("GET", "/1")
        accepted.remove("first")
        with pytest.raises(UpstreamUnauthorized):
            await bound.call("GET", "/2")

    assert tokens.renewals == 1


async def test_requests_at_once_share_one_renewal(
    make_client: MakeClient, certificate: ServerCertificate, credential: MakeCredential
) -> None:
    """credentials.md B3: whoever comes second finds the token renewed and does not renew it again."""
    everyone_is_here = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        if len(upstream.received) == 5:
            everyone_is_here.set()
        await everyone_is_here.wait()
        await good_is_accepted(exchange)

    tokens = credential("old", "good")
    async with serving(certificate, script) as upstream:
        bound = session(make_client, upstream, tokens)
        with anyio.fail_after(30):
            responses = await asyncio.gather(*(bound.call("GET", f"/{number}") for number in range(5)))

    assert [response.status for response in responses] == [200] * 5
    assert tokens.renewals == 1


async def test_an_unauthorized_that_is_no_expiry_is_returned_as_it_is(
    make_client: MakeClient, certificate: ServerCertificate, credential: MakeCredential
) -> None:
    """credentials.md B2: what a new token would meet again is not renewed for; the connector says what that is."""

    async def script(exchange: Exchange) -> None:
        await exchange.answer(401, b"BlackTab users cannot perform API operations")

    tokens = credential("old", "good")
    async with serving(certificate, script) as upstream:
        bound = Session(make_client(upstream), upstream.url, tokens, lambda response: b"BlackTab" not in response.body)
        response = await bound.call("GET", "/a")

    assert (response.status, tokens.renewals, len(upstream.received)) == (401, 0, 1)


@pytest.mark.parametrize("base", ["http://a.example", "https://u@a.example", "https://", "a.example", ""])
async def test_a_base_url_that_is_no_plain_https_is_refused(
    make_client: MakeClient, certificate: ServerCertificate, credential: MakeCredential, base: str
) -> None:
    """egress: a session is bound to an https origin, or is not made."""
    async with serving(certificate, echo) as upstream:
        with pytest.raises(EgressDenied):
            Session(make_client(upstream), base, credential("good"), unauthorized)
