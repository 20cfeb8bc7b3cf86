"""Agents that prove themselves by other tokens than SVIDs, through the doors of a broker that is served."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import Serve
from tests.support.broker import ServedBroker, until
from tests.support.clients import Lines, Wire, request
from tests.support.documents import ANALYST, AUDIENCE, HEAD, write_documents
from tests.support.issuers import ISSUER, fresh, issuer_document, write_issuer
from tests.support.notes import Notes, NotesService

DESKTOP = {"agent": "analyst", "client": "desktop"}
SERVICE = {"agent": "analyst", "actor": "analyst-service"}
ROBOT = {"agent": "other", "claims": {"sub": "robot", "client_id": "robot"}}
RULES = (DESKTOP, SERVICE, ROBOT)
READ = ("notes_notes_read", {"id": "n1"})


@pytest.fixture(scope="module")
def federated(notes_service: NotesService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBroker]:
    """Serve one broker that takes tokens of an issuer."""
    place = tmp_path_factory.mktemp("federated")
    write_issuer(place, *RULES, required_scopes=["agent-access"])
    with ServedBroker(write_documents(place, notes_service), Notes()) as broker:
        yield broker


@pytest.fixture
def own(serve: Serve, tmp_path: Path) -> ServedBroker:
    """Serve one that the test may change."""
    write_issuer(tmp_path / "access", *RULES, required_scopes=["agent-access"])
    return serve()


@pytest.mark.parametrize(
    ("claims", "agent", "delegated"),
    [
        ({}, "analyst", {"iss": ISSUER, "sub": "jane", "method": "oidc-login"}),
        ({"act": {"sub": "analyst-service"}}, "analyst", {"iss": ISSUER, "sub": "jane", "method": "token-exchange"}),
        ({"sub": "robot", "client_id": "robot"}, "other", None),
    ],
)
def test_a_call_says_how_its_agent_was_proved_and_on_whose_behalf_it_acts(
    federated: ServedBroker, claims: dict[str, Any], agent: str, delegated: Any
) -> None:
    """Issue 4: every record carries how identity was proved; the person who delegated, from a verified token only."""
    answer = Wire(federated, fresh(jti="t1", **claims)).call(*READ, meta={"on_behalf_of": "mallory"})

    identity = federated.story(answer.call_id)["requested"]["identity"]
    assert (identity["agent"], identity["on_behalf_of"]) == (agent, delegated)
    assert (identity["method"], identity["assurance"]) == ("oidc", "federated")
    assert (identity["issuer"], identity["subject"]) == (ISSUER, claims.get("sub", "jane"))
    assert (identity["key_id"], identity["token_id"]) == ("P-256/1", "t1")
    assert "mallory" not in repr(federated.story(answer.call_id))


def test_an_svid_says_nothing_of_an_issuer(federated: ServedBroker) -> None:
    """Records of SVIDs stay as they were."""
    answer = Wire(federated).call(*READ)

    identity = federated.story(answer.call_id)["requested"]["identity"]
    assert {"issuer", "subject"} & identity.keys() == set()
    assert identity["on_behalf_of"] is None


def test_a_token_that_stands_for_nobody_is_a_403_with_its_own_code(own: ServedBroker) -> None:
    """Issue 4: no rule, no agent; what an operator needs is on record, and not told to the caller."""
    response = requests.post(f"{own.url}/mcp", headers={"Authorization": f"Bearer {fresh(client_id='x')}"}, timeout=60)

    assert (response.status_code, response.json()["error"]["data"]["code"]) == (403, "identity_unmapped")
    (refused,) = own.records(kind="authentication_refused")
    assert "the nearest differs in azp" in refused["outcome"]["detail"]
    assert "differs" not in response.text


def test_a_token_without_the_scope_is_told_which_to_ask_for(federated: ServedBroker) -> None:
    """MCP authorization 2026-07-28: 403, insufficient_scope, all scopes in one challenge, and the metadata's URL."""
    response = requests.post(
        f"{federated.url}/mcp", headers={"Authorization": f"Bearer {fresh(scope='openid')}"}, timeout=60
    )

    assert (response.status_code, response.json()["error"]["data"]["code"]) == (403, "insufficient_scope")
    challenge = response.headers["WWW-Authenticate"]
    assert challenge.startswith("Bearer ")
    assert 'error="insufficient_scope"' in challenge
    assert 'scope="agent-access"' in challenge
    assert "resource_metadata=" in challenge


def test_the_metadata_lists_the_issuers_where_people_log_in(own: ServedBroker) -> None:
    """Issue 4, OAuth resource server: configured issuers, audience, scopes; as the documents in force have it."""
    url = f"{own.url}/.well-known/oauth-protected-resource/mcp"

    found = requests.get(url, timeout=60).json()
    challenge = requests.post(f"{own.url}/mcp", timeout=60).headers["WWW-Authenticate"]
    own.written.put("issuer.yaml", issuer_document(ROBOT))
    until(lambda: "authorization_servers" not in requests.get(url, timeout=60).json())

    assert found["resource"] == AUDIENCE
    assert (found["authorization_servers"], found["scopes_supported"]) == ([ISSUER], ["agent-access"])
    assert 'scope="agent-access"' in challenge
    assert "error" not in challenge


def test_a_changed_rule_holds_for_the_next_call(own: ServedBroker) -> None:
    """A token that has been verified is remembered; what it stands for is what the documents say now."""
    wire = Wire(own, fresh())
    assert wire.tools()

    own.written.put("issuer.yaml", issuer_document({"agent": "other", "client": "desktop"}))
    until(lambda: wire.tools() == ["notes_notes_read"])

    assert own.story(wire.call(*READ).call_id)["requested"]["identity"]["agent"] == "other"


def test_a_session_belongs_to_the_person_too(federated: ServedBroker) -> None:
    """lessons.md 5 and 6: a session that A opened with an agent is not B's who uses the same agent."""
    initialize = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    }
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": initialize}
    accepted = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}

    def post(token: str, body: Any, session: str | None = None) -> requests.Response:
        headers = {**accepted, "Authorization": f"Bearer {token}", **({"Mcp-Session-Id": session} if session else {})}
        return requests.post(f"{federated.url}/mcp", json=body, headers=headers, timeout=60)

    session = post(fresh(), message).headers["Mcp-Session-Id"]
    listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}

    assert post(fresh(jti="renewed"), listing, session).status_code == 200
    assert post(fresh(sub="mallory"), listing, session).status_code == 404
    assert post(federated.token(), listing, session).status_code == 404


def test_a_connection_on_the_agents_socket_belongs_to_the_person_too(federated: ServedBroker) -> None:
    """The same for what `aam stdio` relays."""
    with Lines(federated.agents_socket) as lines:
        lines.say(request("tools/list"), {"token": fresh()})
        assert "result" in lines.next()
        lines.say(request("tools/list"), {"token": fresh(sub="mallory")})
        refused = lines.next()
        lines.say(request("tools/list"), {"token": fresh(jti="renewed")})
        assert "result" in lines.next()

    assert refused["error"]["data"]["code"] == "session_of_another"


def test_an_access_key_is_issued_used_and_revoked_on_record(federated: ServedBroker) -> None:
    """Issue 4: shown once, stored hashed, every change on record with its actor, every use recorded as such."""
    operators = federated.operators
    issued = operators.post("/v1/keys", {"agent": "analyst", "days": 30, "label": "notebook"})
    wire = Wire(federated, issued["key"])

    answer = wire.call(*READ)
    (listed,) = operators.get("/v1/keys")
    operators.post(f"/v1/keys/{issued['id']}/revoke", {"reason": "ticket 1"})
    refused = wire.ask("tools/list")

    identity = federated.story(answer.call_id)["requested"]["identity"]
    assert (identity["method"], identity["assurance"], identity["key_id"]) == ("access-key", "key", issued["id"])
    assert (listed["agent"], listed["status"], listed["label"]) == ("analyst", "active", "notebook")
    assert (refused.status, refused.body["error"]["data"]["code"]) == (401, "proof_revoked")
    (added,), (revoked,) = federated.records(kind="access_key_added"), federated.records(kind="access_key_revoked")
    assert added["access_key"] | {"workload": ANALYST, "label": "notebook"} == added["access_key"]
    assert added["actor"]["role"] == revoked["actor"]["role"] == "admin"
    assert revoked["reason"] == "ticket 1"
    secret = issued["key"].rpartition("_")[2]
    assert secret not in repr(federated.records()) + repr(operators.get("/v1/keys"))
    for stored in federated.written.directory.joinpath("data").iterdir():
        assert secret.encode() not in stored.read_bytes()


def test_policies_see_how_an_agent_was_proved_and_on_whose_behalf_it_acts(own: ServedBroker) -> None:
    """Issue 4: access keys are refusable by policy; a delegation can be required and conditions may speak of it."""
    key = own.operators.post("/v1/keys", {"agent": "analyst"})["key"]
    own.written.put(
        "policies.yaml",
        f"{HEAD}kind: AgentPolicy\nmetadata: {{name: analyst-notes}}\nspec:\n"
        f"  identity: {{workload: '{ANALYST}'}}\n"
        "  require: {refuse_methods: [access-key], on_behalf_of: true}\n"
        "  tools:\n    - resource: notes.notes\n      actions: [read]\n"
        "      when: on_behalf_of.subject == 'jane' && context.assurance == 'federated'\n",
    )
    until(lambda: Wire(own, key).call(*READ).code == "access_denied")

    codes = [Wire(own, token).call(*READ).code for token in (fresh(), fresh(sub="john"), own.token(), key)]

    assert codes == [None, "access_denied", "access_denied", "access_denied"]
