import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
import requests

from broker.egress import Client, Response, Session
from broker.egress.requests_adapter import requests_session
from broker.errors import EgressDenied, UpstreamRedirected, UpstreamTooLarge
from broker.testing.certificates import ServerCertificate
from tests.support.low_upstream import Exchange, Upstream, serving

pytestmark = pytest.mark.anyio

MakeClient = Callable[..., Client]
MakeCredential = Callable[..., Any]
Work = Callable[[requests.Session], Any]


def unauthorized(response: Response) -> bool:
    """Tell whether the token has expired."""
    return response.status == 401


async def run(client: Client, upstream: Upstream, credential: Any, work: Work) -> Any:
    """Run blocking code in a worker thread, with a session that leaves through egress."""
    session = Session(client, upstream.url, credential, unauthorized)
    with anyio.fail_after(30):
        return await anyio.to_thread.run_sync(work, requests_session(session))


async def test_a_blocking_library_works_without_holding_a_token(
    make_client: MakeClient, certificate: ServerCertificate, credential: MakeCredential
) -> None:
    """architecture.md, The way of one call: adapters are thin, so that no library holds a token."""

    async def script(exchange: Exchange) -> None:
        await exchange.answer(200, b'{"name": "Z\xc3\xbcrich"}')

    def work(blocking: requests.Session) -> requests.Response:
        return blocking.post(f"{upstream.url}/a", params={"q": "x y"}, json={"n": 1}, headers={"Authorization": "none"})

    async with serving(certificate, script) as upstream:
        response = await run(make_client(upstream), upstream, credential("good"), work)

    (request,) = upstream.received
    assert (request.method, request.target, request.body) == ("POST", "/a?q=x+y", b'{"n": 1}')
    assert request.headers["authorization"] == "Bearer good"
    assert (response.status_code, response.json()) == (200, {"name": "Zürich"})
    assert "good" not in repr((vars(response), dict(response.request.headers), vars(response.request)))


async def test_a_response_can_be_read_in_every_way_that_requests_offers(
    make_client: MakeClient, certificate: ServerCertificate, credential: MakeCredential
) -> None:
    """egress: a stranger's client library streams, and must not find an empty response."""

    async def script(exchange: Exchange) -> None:
        await exchange.answer(200, b"one\ntwo\n")

    def work(blocking: requests.Session) -> list[bytes]:
        return list(blocking.get(upstream.url, stream=True).iter_lines())

    async with serving(certificate, script) as upstream:
        lines = await run(make_client(upstream), upstream, credential("good"), work)

    assert lines == [b"one", b"two"]


async def test_a_redirect_is_not_followed_though_the_library_would(
    make_client: MakeClient, certificate: ServerCertificate, credential: MakeCredential
) -> None:
    """Issue 2, Egress: redirects off, through the adapters too."""

    async def script(exchange: Exchange) -> None:
        await exchange.answer(302, b"", {"Location": f"{upstream.url}/elsewhere"})

    async with serving(certificate, script) as upstream:
        with pytest.raises(UpstreamRedirected):
            await run(make_client(upstream), upstream, credential("good"), lambda blocking: blocking.get(upstream.url))

    assert len(upstream.received) == 1


@pytest.mark.parametrize(
    "url", ["https://evil.example/", "http://127.0.0.1/", "https://127.0.0.1:1/", "file:///etc/passwd"]
)
async def test_a_blocking_library_gets_nowhere_else(
    make_client: MakeClient, certificate: ServerCertificate, credential: MakeCredential, url: str
) -> None:
    """architecture.md, The way of one call: a pin holds everywhere."""

    async def script(exchange: Exchange) -> None:
        await exchange.answer()

    async with serving(certificate, script) as upstream:
        with pytest.raises((EgressDenied, requests.exceptions.InvalidSchema)):
            await run(make_client(upstream), upstream, credential("good"), lambda blocking: blocking.get(url))

    assert upstream.received == []


async def test_caps_hold_for_a_blocking_library_too(
    make_client: MakeClient, certificate: ServerCertificate, credential: MakeCredential
) -> None:
    """Issue 2, Egress: size and time caps are egress's, whatever a library asks for."""

    async def script(exchange: Exchange) -> None:
        await exchange.answer(200, b"x" * 2000)

    def work(blocking: requests.Session) -> requests.Response:
        return blocking.get(upstream.url, timeout=3600, stream=True)

    async with serving(certificate, script) as upstream:
        with pytest.raises(UpstreamTooLarge):
            await run(make_client(upstream, response_bytes=1000), upstream, credential("good"), work)


async def test_cancelling_cuts_the_request_of_a_blocking_library(
    make_client: MakeClient, certificate: ServerCertificate, credential: MakeCredential
) -> None:
    """architecture.md, The way of one call: cancelling works, though the library blocks a thread."""
    left = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.until_the_client_leaves()
        left.set()

    async with serving(certificate, script) as upstream, anyio.create_task_group() as tasks:
        client = make_client(upstream, total_seconds=60)
        tasks.start_soon(run, client, upstream, credential("good"), lambda blocking: blocking.get(upstream.url))
        with anyio.fail_after(30):
            await upstream.arrived.wait()
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await left.wait()

    assert len(upstream.received) == 1


async def test_the_environment_changes_nothing(
    make_client: MakeClient,
    certificate: ServerCertificate,
    credential: MakeCredential,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Issue 2, Egress: proxies, .netrc and CA bundles of the environment are no way around, in or out."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login netrc password netrc\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(tmp_path / "nothing.pem"))

    async def script(exchange: Exchange) -> None:
        await exchange.answer()

    async with serving(certificate, script) as upstream:
        await run(make_client(upstream), upstream, credential("good"), lambda blocking: blocking.get(upstream.url))

    assert upstream.received[0].headers["authorization"] == "Bearer good"
