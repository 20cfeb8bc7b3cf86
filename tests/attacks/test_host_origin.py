import socket
from urllib.parse import urlsplit

import pytest
import requests

from tests.conftest import Serve
from tests.support.broker import ServedBroker
from tests.support.clients import Wire

PATHS = ["/mcp", "/sse", "/messages/", "/healthz", "/readyz", "/.well-known/oauth-protected-resource", "/nothing/here"]
FOREIGN_HOSTS = [
    "evil.example",
    "evil.example:8470",
    "127.0.0.1.evil.example",
    "127.0.0.1",
    "localhost",
    "127.0.0.1:1",
    "0.0.0.0",  # noqa: S104 - as a name in a header
    "2130706433",
    "127.0.0.1:8470@evil.example",
    "",
]
FOREIGN_ORIGINS = [
    "https://evil.example",
    "null",
    "http://127.0.0.1",
    "http://localhost:1",
    "file://",
    "http://127.0.0.1:1",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_a_page_whose_name_was_rebound_to_us_is_refused_on_every_path(
    broker: ServedBroker, path: str, host: str
) -> None:
    """lessons.md 8: DNS rebinding reaches a local listener; the Host header still names the page's site."""
    headers = {"Host": host, "Authorization": f"Bearer {broker.token()}"}

    response = requests.get(broker.url + path, headers=headers, timeout=60)

    assert response.status_code == 421


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
def test_a_web_page_is_refused_on_every_path(broker: ServedBroker, path: str, origin: str) -> None:
    """lessons.md 8: a page that speaks to localhost sends its Origin, and a token does not help it."""
    headers = {"Origin": origin, "Authorization": f"Bearer {broker.token()}"}

    response = requests.get(broker.url + path, headers=headers, timeout=60)

    assert response.status_code == 403


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/messages"])
def test_a_web_page_reaches_no_model_either(broker: ServedBroker, path: str) -> None:
    """doors/mcp/http.py, `posted`: what is found by its path alone is checked before, and as often as it comes."""
    own = {"Authorization": f"Bearer {broker.token()}"}

    answers = [
        requests.post(broker.url + path, json={"model": "none"}, headers={**own, **page}, timeout=60).status_code
        for page in ({}, {"Host": "evil.example"}, {"Origin": "https://evil.example"}, {})
    ]

    assert answers == [404, 421, 403, 404]


def test_a_preflight_gets_no_permission(broker: ServedBroker) -> None:
    """Without a CORS header no browser lets a page read an answer."""
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}

    response = requests.options(f"{broker.url}/mcp", headers=headers, timeout=60)

    assert response.status_code == 403
    assert not [name for name in response.headers if name.lower().startswith("access-control")]


def test_a_request_without_a_host_is_refused(broker: ServedBroker) -> None:
    """HTTP/1.0 has no Host header; what cannot be checked is not let through."""
    where = urlsplit(broker.url)
    with socket.create_connection((where.hostname, where.port), timeout=60) as connection:
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")

        assert connection.recv(100).startswith(b"HTTP/1.1 421")


def test_names_that_a_document_gives_are_accepted(serve: Serve) -> None:
    """The Broker document says under which names agents and pages reach the listener."""
    listen = {"http": "127.0.0.1:0", "hosts": ["aam.example"], "origins": ["https://console.example"]}
    wire = Wire(serve(listen=listen))

    answer = wire.ask("tools/list", Host="aam.example", Origin="https://console.example")

    assert "result" in answer.body


def test_the_listeners_own_names_are_accepted(wire: Wire, broker: ServedBroker) -> None:
    """A local client reaches it under any of the names of this machine, and under the audience's."""
    port = urlsplit(broker.url).port

    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}", "127.0.0.1:8470"):
        assert "result" in wire.ask("tools/list", Host=host).body
