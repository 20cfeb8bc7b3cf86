"""The token endpoint: a person's delegation by identity assertion (ID-JAG), up to a call."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.support.assertions import SERVER, ask, id_jag
from tests.support.broker import ServedBroker
from tests.support.clients import Wire
from tests.support.documents import write_documents
from tests.support.issuers import ISSUER, write_issuer
from tests.support.notes import Notes, NotesService


@pytest.fixture(scope="module")
def delegating(notes_service: NotesService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBroker]:
    """Serve one broker that takes an issuer's identity assertions."""
    place = tmp_path_factory.mktemp("delegating")
    write_issuer(place, {"agent": "analyst", "client": "desktop"}, id_jag=True)
    with ServedBroker(write_documents(place, notes_service), Notes()) as broker:
        yield broker


def test_an_agent_acts_for_the_person_whose_assertion_it_brings(delegating: ServedBroker) -> None:
    """Issue 4, On whose behalf: ID-JAG for a client that authenticates with its JWT-SVID; recorded with its use."""
    answer = ask(delegating, id_jag(jti="a1"))
    issued = answer.json()

    called = Wire(delegating, issued["access_token"]).call("notes_notes_read", {"id": "n1"})

    assert (answer.status_code, issued["token_type"], answer.headers["Cache-Control"]) == (200, "Bearer", "no-store")
    assert 0 < issued["expires_in"] <= 300
    identity = delegating.story(called.call_id)["requested"]["identity"]
    assert identity["on_behalf_of"] == {"iss": ISSUER, "sub": "jane", "method": "id-jag"}
    assert (identity["agent"], identity["method"], identity["issuer"]) == ("analyst", "id-jag", ISSUER)
    assert (identity["assurance"], identity["token_id"]) == ("development", "a1")
    (added,) = delegating.records(kind="delegation_added")
    assert added["delegation"] == {"issuer": ISSUER, "id": "a1"}
    assert added["identity"]["on_behalf_of"] == identity["on_behalf_of"]
    assert issued["access_token"] not in repr(delegating.records())


def test_the_metadata_says_what_the_endpoint_takes(delegating: ServedBroker) -> None:
    """RFC 8414 §2; MCP Enterprise-Managed Authorization: the grant profile is advertised, and where it is offered."""
    found = requests.get(f"{delegating.url}/.well-known/oauth-authorization-server", timeout=60).json()
    resource = requests.get(f"{delegating.url}/.well-known/oauth-protected-resource", timeout=60).json()

    assert (found["issuer"], found["token_endpoint"]) == (SERVER, f"{SERVER}/oauth2/token")
    assert found["authorization_grant_profiles_supported"] == ["urn:ietf:params:oauth:grant-profile:id-jag"]
    assert resource["authorization_servers"] == [ISSUER, SERVER]


@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({"grant_type": "client_credentials"}, 400, "unsupported_grant_type"),
        ({"grant_type": None}, 400, "unsupported_grant_type"),
        ({"client_assertion_type": None}, 401, "invalid_client"),
        ({"client_assertion": None}, 401, "invalid_client"),
        ({"client_assertion": "x.y.z"}, 401, "invalid_client"),
        ({"resource": "https://elsewhere.example/mcp"}, 400, "invalid_target"),
        ({"assertion": None}, 400, "invalid_grant"),
        ({"assertion": "x.y.z"}, 400, "invalid_grant"),
    ],
)
def test_a_request_that_is_none_is_told_so_in_oauths_words(
    delegating: ServedBroker, fields: dict[str, Any], status: int, error: str
) -> None:
    """RFC 6749 §5.2."""
    answer = ask(delegating, id_jag(), **fields)

    assert (answer.status_code, answer.json()["error"]) == (status, error)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{}", "application/json"),
        (b"grant_type=a&grant_type=b", "application/x-www-form-urlencoded"),
        (b"\xff=1", "application/x-www-form-urlencoded"),
        (b"a=" + b"x" * 40_000, "application/x-www-form-urlencoded"),
    ],
)
def test_what_is_no_form_is_an_invalid_request(delegating: ServedBroker, body: bytes, kind: str) -> None:
    """RFC 6749 §3.2: parameters must not be included more than once."""
    url = f"{delegating.url}/oauth2/token"

    answer = requests.post(url, data=body, headers={"Content-Type": kind}, timeout=60)

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_a_token_lives_no_longer_than_the_proof_that_it_was_issued_for(delegating: ServedBroker) -> None:
    """An agent whose SVIDs end in a minute has no token for longer."""
    svid = delegating.written.prod.mint("spiffe://prod/agent/analyst", SERVER, exp=int(time.time()) + 60)

    assert ask(delegating, id_jag(), svid).json()["expires_in"] <= 60
