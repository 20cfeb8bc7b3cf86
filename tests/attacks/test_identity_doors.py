import http.client
import json
import random
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import anyio
import pytest
import requests
from mcp.shared.exceptions import MCPError

from broker.testing.trust_domain import DevelopmentTrustDomain
from tests.attacks.test_stolen_proofs import later
from tests.conftest import Serve
from tests.support.broker import ServedBroker, until
from tests.support.clients import ERAS, Era, Lines, Wire, connected, request
from tests.support.documents import ANALYST, AUDIENCE, BARRED, OTHER
from tests.support.notes import NotesService

WRITE = {"name": "notes_notes_write", "arguments": {"id": "never"}}


def forged_tokens(broker: ServedBroker) -> Iterator[tuple[str, str]]:
    """Yield tokens that prove nothing, each by its own flaw."""
    good = broker.token()
    header, payload, _ = good.split(".")
    impostor = DevelopmentTrustDomain.new("prod")
    yield "signed with another key of the same name", impostor.mint(ANALYST, AUDIENCE)
    yield "signed by another trust domain", broker.written.partner.mint(ANALYST, AUDIENCE)
    yield "without a signature", f"{header}.{payload}."
    yield "with another token's signature", f"{header}.{payload}.{broker.token(OTHER).split('.')[2]}"
    yield "with a changed byte", good[:-2] + ("AA" if good[-2:] != "AA" else "BB")
    yield (
        "of algorithm none",
        impostor.sign({"sub": ANALYST, "aud": AUDIENCE, "exp": 9e9}, {"alg": "ES256", "kid": "none"}),
    )
    yield "expired", broker.token(seconds=-1)
    yield "of the future", broker.token(nbf=int(time.time()) + 600)
    yield "oversized", broker.token(padding="x" * 8192)
    yield "for another audience", broker.token(aud=["https://elsewhere.example/mcp"])
    yield "without an expiry", broker.token(exp=None)
    yield "living for ever", broker.token(seconds=10**8)
    yield "of no workload", broker.token("spiffe://prod")
    yield "garbage", "x" * 50
    yield "the word null", "null"
    yield "nothing but dots", ".."


def test_a_failed_key_check_never_becomes_an_anonymous_identity(
    broker: ServedBroker, notes_service: NotesService
) -> None:
    """lessons.md 1: an auth failure that became an empty identity let everybody in; here it is a 401 on every path."""
    before = list(notes_service.effects)

    for flaw, token in forged_tokens(broker):
        headers = {"Authorization": f"Bearer {token}", "MCP-Protocol-Version": "2026-07-28"}
        for path, method in (
            ("/mcp", "POST"),
            ("/mcp", "GET"),
            ("/mcp", "DELETE"),
            ("/sse", "GET"),
            ("/messages/", "POST"),
        ):
            response = requests.request(method, broker.url + path, headers=headers, json=WRITE, timeout=60)
            assert response.status_code == 401, (flaw, method, path)
        with Lines(broker.agents_socket) as lines:
            assert lines.ask("tools/call", WRITE, {"token": token})["error"]["code"] == -32001, flaw

    assert notes_service.effects == before


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", "Bearer {good}"), ("Authorization", "Bearer {bad}")],
        [("Authorization", "Bearer {bad}"), ("Authorization", "Bearer {good}")],
        [("Authorization", "Bearer {good}"), ("authorization", "Bearer {good}")],
        [("Authorization", "Bearer {good}, Bearer {good}")],
        [("Authorization", "Basic {good}")],
        [("Authorization", "{good}")],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer ")],
        [("Authorization", "Bearer\t{good}")],
        [("X-Authorization", "Bearer {good}")],
        [("Cookie", "access_token={good}")],
        [("Proxy-Authorization", "Bearer {good}")],
        [("X-Forwarded-User", ANALYST)],
        [("X-Forwarded-Client-Cert", f"URI={ANALYST}")],
        [("X-SPIFFE-ID", ANALYST)],
    ],
)
def test_only_the_one_authorization_header_proves_anything(
    broker: ServedBroker, headers: list[tuple[str, str]]
) -> None:
    """RFC 6750 §2: one method, once; with two, readers would disagree about which one counts."""
    where = urlsplit(broker.url)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=60)
    connection.putrequest("POST", "/mcp")
    for name, value in headers:
        connection.putheader(name, value.format(good=broker.token(), bad="x.y.z"))
    connection.putheader("Content-Length", "0")
    connection.endheaders()

    with connection.getresponse() as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer ")
    connection.close()


@pytest.mark.parametrize("parameter", ["access_token", "token", "authorization", "bearer"])
@pytest.mark.parametrize("path", ["/mcp", "/sse"])
def test_a_token_in_the_url_is_none(broker: ServedBroker, path: str, parameter: str) -> None:
    """MCP authorization: tokens are in the header only; URLs end up in logs."""
    response = requests.get(f"{broker.url}{path}", params={parameter: broker.token()}, timeout=60)

    assert response.status_code == 401
    assert response.json()["error"]["data"]["code"] == "proof_missing"


def test_owner_team_and_environment_come_from_the_registry_whatever_a_token_claims(
    broker: ServedBroker, wire: Wire
) -> None:
    """Issue 2, Identity: never from a token or a client."""
    token = broker.token(owner="mallory", team="root", environment="staging", deployment="x", agent="other")

    answer = Wire(broker, token).call("notes_notes_read", {"id": "n1"}, meta={"owner": "mallory", "agent": "other"})

    identity = broker.story(answer.call_id)["requested"]["identity"]
    assert (identity["owner"], identity["team"], identity["agent"]) == ("jane@example.com", "finance", "analyst")
    assert identity["environment"] == "production"
    assert "mallory" not in repr(broker.story(answer.call_id))
    assert wire.tools()


@pytest.mark.parametrize("era", ERAS)
def test_a_token_that_expires_ends_its_session(broker: ServedBroker, era: Era) -> None:
    """Issue 2, Identity: checked on every request; a session that was opened proves nothing later."""

    async def case() -> None:
        with anyio.fail_after(30):
            async with connected(broker, "streamable-http", era, broker.token(seconds=120)) as client:
                await client.list_tools()
                await client.call_tool("notes_notes_read", {"id": "n1"})
                with later(broker, 121), pytest.raises(MCPError):
                    await client.call_tool("notes_notes_read", {"id": "n1"})

    anyio.run(case)


def test_the_identities_of_concurrent_callers_never_mix(broker: ServedBroker) -> None:
    """lessons.md 6: a call by A that ran as B. Many at once, over one connection pool, each recorded as its own."""
    tokens = {ANALYST: broker.token(), OTHER: broker.token(OTHER)}
    expected: list[tuple[str, str]] = []

    async def case() -> None:
        async def caller(number: int) -> None:
            workload = random.choice(list(tokens))  # noqa: S311 - no secret
            with Lines(broker.agents_socket) as lines:
                for _ in range(5):
                    answer = await anyio.to_thread.run_sync(
                        lines.ask,
                        "tools/call",
                        {"name": "notes_notes_read", "arguments": {"id": f"n{number}"}},
                        {"token": tokens[workload]},
                    )
                    expected.append((answer["result"]["_meta"]["dev.envisionai.access/call_id"], workload))

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(caller, number)

    anyio.run(case)

    requested = {record["call_id"]: record["identity"]["spiffe_id"] for record in broker.records(kind="requested")}
    assert [requested[call_id] for call_id, _ in expected] == [workload for _, workload in expected]


def test_no_door_lets_a_barred_agent_list_or_call(broker: ServedBroker, notes_service: NotesService) -> None:
    """lessons.md 3: access checked in one flow only; here each door, each transport and each message is checked."""
    before = list(notes_service.effects)

    for code, workload in BARRED.items():
        token = broker.token(workload)
        for era in ERAS:
            headers = {"Authorization": f"Bearer {token}", "MCP-Protocol-Version": era, "Accept": "text/event-stream"}
            for path, method in (("/mcp", "POST"), ("/mcp", "GET"), ("/sse", "GET"), ("/messages/", "POST")):
                response = requests.request(
                    method, broker.url + path, headers=headers, json=request("tools/call", WRITE), timeout=60
                )
                assert (response.status_code, response.json()["error"]["data"]["code"]) == (403, code)
        with Lines(broker.agents_socket) as lines:
            for method in ("initialize", "server/discover", "tools/list", "tools/call", "ping"):
                assert lines.ask(method, WRITE, {"token": token})["error"]["data"]["code"] == code

    assert notes_service.effects == before


def test_a_development_domain_is_inert_without_the_mode(serve: Serve) -> None:
    """Issue 2, Identity: the development trust domain is a named, loud mode; without it its tokens prove nothing."""
    broker = serve(development=False, operators=[{"user": "daemon", "role": "admin"}])
    refused = requests.post(f"{broker.url}/mcp", headers={"Authorization": f"Bearer {broker.token()}"}, timeout=60)
    partner = Wire(broker, broker.token("spiffe://partner.example/agent/partner"))

    with Lines(broker.agents_socket) as lines:
        by_peer = lines.ask("tools/list")

    assert (refused.status_code, refused.json()["error"]["data"]["code"]) == (401, "development_only")
    assert by_peer["error"]["data"]["code"] == "development_only"
    assert partner.tools() == []


def test_the_assurance_of_a_development_proof_is_recorded_as_what_it_is(broker: ServedBroker) -> None:
    """Issue 2, Identity: nobody takes a key on a developer's disk for an attestation."""
    answer = Wire(broker).call("notes_notes_read", {"id": "n1"})

    assert broker.story(answer.call_id)["requested"]["identity"]["assurance"] == "development"


def test_a_rotated_key_ends_what_the_old_one_signed(serve: Serve) -> None:
    """Issue 2, Identity: a verified token is cached by hash and still checked against the bundle in force."""
    broker = serve()
    old = Wire(broker, broker.token())
    assert old.tools()

    fresh = DevelopmentTrustDomain.new("prod")
    (broker.written.directory / "prod.json").write_text(json.dumps(fresh.bundle(sequence=2)))
    _until_status(old, 401)

    assert Wire(broker, fresh.mint(ANALYST, AUDIENCE)).tools()


def _until_status(wire: Wire, status: int) -> None:
    until(lambda: wire.post(b"{}", "tools/list").status_code == status)
