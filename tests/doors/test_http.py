import json
import re
from typing import Any

import pytest
import requests

from tests.conftest import Serve
from tests.support.broker import ServedBroker
from tests.support.clients import Wire
from tests.support.documents import AUDIENCE, BARRED

METADATA = "http://127.0.0.1:8470/.well-known/oauth-protected-resource/mcp"
PATHS = ("/mcp", "/sse", "/messages/?session_id=0123456789abcdef0123456789abcdef")


def ask(broker: ServedBroker, path: str, **headers: str) -> requests.Response:
    """Send what is as good as nothing to a path of the agents' door."""
    method = "GET" if path == "/sse" else "POST"
    return requests.request(method, broker.url + path, headers=headers, json={}, timeout=60)


@pytest.mark.parametrize("path", PATHS)
def test_without_a_token_the_challenge_says_where_to_read_about_them(broker: ServedBroker, path: str) -> None:
    """RFC 9728 §5.1 and RFC 6750 §3.1: the metadata's URL, and no error code where nothing was presented."""
    response = ask(broker, path)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == f'Bearer resource_metadata="{METADATA}"'
    assert response.json()["error"]["data"]["code"] == "proof_missing"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"seconds": -5}, "proof_expired"),
        ({"aud": ["https://elsewhere.example"]}, "proof_for_another_audience"),
        ({"sub": "spiffe://unknown.example/agent/x"}, "proof_untrusted"),
        ({"sub": None}, "proof_malformed"),
    ],
)
def test_a_token_that_proves_nothing_is_a_401_that_says_why(
    broker: ServedBroker, path: str, claims: dict[str, Any], code: str
) -> None:
    """Issue 2, Identity: checked on every request; RFC 6750 §3.1: `invalid_token`."""
    response = ask(broker, path, Authorization=f"Bearer {broker.token(**claims)}")

    challenge = response.headers["WWW-Authenticate"]
    assert response.status_code == 401
    assert challenge == f'Bearer resource_metadata="{METADATA}", error="invalid_token", error_description="{code}"'
    assert response.json()["error"]["data"]["code"] == code


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("code", "workload"), BARRED.items())
def test_an_agent_that_may_not_call_gets_a_403_and_the_same_code_in_the_body(
    broker: ServedBroker, path: str, code: str, workload: str
) -> None:
    """architecture.md, names and answers: HTTP 403 and a JSON-RPC error with the same code."""
    response = ask(broker, path, Authorization=f"Bearer {broker.token(workload)}")

    body = response.json()
    assert response.status_code == 403
    assert (body["jsonrpc"], body["id"], body["error"]["data"]["code"]) == ("2.0", None, code)


@pytest.mark.parametrize("path", ["", "/mcp", "/sse"])
def test_the_resource_metadata_is_served(broker: ServedBroker, path: str) -> None:
    """RFC 9728 §3: `authorization_servers` is left out where no issuer is configured."""
    response = requests.get(f"{broker.url}/.well-known/oauth-protected-resource{path}", timeout=60)

    assert response.json() == {
        "resource": AUDIENCE,
        "bearer_methods_supported": ["header"],
        "resource_name": "Agent Access Manager",
    }


def test_the_metadata_is_where_the_challenge_says_for_any_path_of_the_audience(serve: Serve) -> None:
    """RFC 9728 §3.1: the well-known part goes between the host and the path of the resource."""
    broker = serve(audience="https://aam.example.com/tools/mcp")

    challenge = ask(broker, "/mcp").headers["WWW-Authenticate"]

    found = re.search(r'resource_metadata="https://aam\.example\.com([^"]+)"', challenge)
    assert found is not None
    assert requests.get(broker.url + found[1], timeout=60).json()["resource"] == "https://aam.example.com/tools/mcp"


def test_health_and_readiness_need_no_proof(broker: ServedBroker) -> None:
    """architecture.md, names and answers: the paths."""
    health, ready = (requests.get(f"{broker.url}/{path}", timeout=60) for path in ("healthz", "readyz"))

    assert (health.status_code, ready.status_code, ready.json()) == (200, 200, {"status": "ok"})


def test_a_broker_that_drains_is_not_ready(serve: Serve) -> None:
    """A load balancer sends nothing more to a broker that is about to stop."""
    broker = serve()
    broker.parts.pipeline.draining = True

    ready = requests.get(f"{broker.url}/readyz", timeout=60)

    assert (ready.status_code, ready.json()) == (503, {"status": "draining"})


@pytest.mark.parametrize("path", ["/mcp", "/messages/?session_id=0123456789abcdef0123456789abcdef"])
def test_a_body_over_the_cap_is_a_413(broker: ServedBroker, path: str) -> None:
    """Issue 2, MCP: bodies are capped with clear errors; a session that does not exist makes no difference."""
    headers = {"Authorization": f"Bearer {broker.token()}", "Content-Type": "application/json"}

    response = requests.post(broker.url + path, data=b" " * ((1 << 20) + 1), headers=headers, timeout=60)

    assert response.status_code == 413


def test_a_body_without_a_declared_length_is_capped_too(broker: ServedBroker) -> None:
    """Issue 2, MCP: bodies are capped, chunked ones while they come."""
    headers = {"Authorization": f"Bearer {broker.token()}", "Content-Type": "application/json"}
    chunks = (b" " * 65_536 for _ in range(17))

    response = requests.post(f"{broker.url}/mcp", data=chunks, headers=headers, timeout=60)

    assert response.status_code == 413


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe\x00",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"[" * 100_000,
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":' + b"1" * 5000 + b"}",
        json.dumps({"jsonrpc": "2.0", "id": 1, "result": {}}).encode(),
        json.dumps({"jsonrpc": "2.0", "id": 1, "method": 7}).encode(),
        json.dumps({"jsonrpc": "2.0", "id": {"x": 1}, "method": "tools/list"}).encode(),
        json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": [1]}).encode(),
        json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": None}}).encode(),
        json.dumps(
            {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x", "arguments": 3}}
        ).encode(),
        json.dumps({"jsonrpc": "2.0", "id": 1, "method": "\ud800"}).encode(),
    ],
    ids=range(15),
)
@pytest.mark.parametrize("version", ["2026-07-28", "2025-11-25"])
def test_a_malformed_message_is_refused_and_harms_nothing(wire: Wire, body: bytes, version: str) -> None:
    """Issue 2, MCP: no exception text leaves a handler, and what one client sends is no other's trouble."""
    response = wire.post(body, "tools/call", **{"MCP-Protocol-Version": version})

    assert 400 <= response.status_code < 500
    assert "Traceback" not in response.text
    assert "broker/" not in response.text
    assert wire.tools()


def test_notifications_get_no_answer_and_do_nothing(broker: ServedBroker, wire: Wire) -> None:
    """JSON-RPC 2.0 §4.1: a notification is not answered, not even one that nobody knows or that looks like a call."""
    before = len(broker.records())

    for method in ("notifications/cancelled", "notifications/nobody/knows", "tools/call"):
        body = json.dumps({"jsonrpc": "2.0", "method": method, "params": {"name": "notes_notes_write"}}).encode()
        response = wire.post(body, method)
        assert (response.status_code, response.content) == (202, b"")

    assert len(broker.records()) == before


@pytest.mark.parametrize("path", ["/", "/v1/status", "/admin", "/metrics", "/docs", "/mcp/../v1/status", "/%2e%2e/v1"])
def test_the_agents_door_serves_nothing_else(broker: ServedBroker, path: str) -> None:
    """lessons.md 7: there is no side door; the operators' requests are answered on their own socket only."""
    response = requests.get(
        broker.url + path, headers={"Authorization": f"Bearer {broker.token()}"}, timeout=60, allow_redirects=False
    )

    assert response.status_code == 404
