"""Whose account a call uses: lessons.md 6, consent and its link, in the broker as it is served."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest

from broker.errors import Refusal
from broker.identity import Identifier, OnBehalfOf, Proof, WorkloadIdentity
from broker.pipeline import Answer, Origin, Request, silent
from tests.support.broker import ServedBroker
from tests.support.clients import Wire
from tests.support.documents import ANALYST
from tests.support.notes import Notes, NotesService
from tests.support.operators import OperatorRefused
from tests.support.people import APP, PUBLIC, SECRET, Browser, People, documents_for
from tests.support.raw import INITIALIZE, INITIALIZED

CAPABLE: dict[str, Any] = {"elicitation": {"url": {}}}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    """Serve people's notes, and the provider that knows them."""
    with People(tmp_path_factory.mktemp("people")) as people:
        yield people


@pytest.fixture(scope="module")
def served(people: People, notes_service: NotesService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Serve a broker with a registered client, and no account of anybody's."""
    written = documents_for(people, tmp_path_factory.mktemp("persons") / "access", notes_service)
    with ServedBroker(written, Notes(), grant=False) as broker:
        client = {"connector": "notes", "client_id": APP, "client_secret": SECRET, "client_auth": "client_secret_post"}
        broker.operators.put("/v1/grants/client", client)
        yield broker


@pytest.fixture
def broker(served: ServedBroker) -> Iterator[ServedBroker]:
    """Lend it, and take back what was connected."""
    yield served
    for grant in served.operators.get("/v1/grants"):
        if grant["status"] != "revoked":
            served.operators.delete(f"/v1/grants/{grant['id']}")


def call(broker: ServedBroker, people: People, whose: str | None, issuer: str | None = None) -> Answer | Refusal:
    """Read a note on somebody's behalf, as a door does once it knows who calls."""
    delegated = None if whose is None else OnBehalfOf(issuer or people.url, whose, "oidc-login")
    identity = WorkloadIdentity(ANALYST, "prod", "jwt-svid", "development", "sha256:0", on_behalf_of=delegated)
    asked = Request(identity, "notes_notes_read", {"id": "n1"}, Origin("streamable-http", "127.0.0.1"))
    try:
        return broker.await_(broker.parts.pipeline.call, asked, silent)
    except Refusal as refusal:
        return refusal


def link_for(broker: ServedBroker, people: People, whose: str) -> str:
    """Return the invitation that a call on somebody's behalf is refused with."""
    refusal = call(broker, people, whose)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "consent_needed"
    return str(refusal.facts["consent_url"])


def connect(broker: ServedBroker, people: People, whose: str) -> None:
    """Have somebody consent."""
    page = Browser(people, broker.url, PUBLIC, whose).accept(link_for(broker, people, whose))
    assert "Connected" in page.text


def code_of(outcome: Answer | Refusal) -> str:
    """Return a refusal's code."""
    assert isinstance(outcome, Refusal), outcome
    return outcome.code


def test_a_call_without_a_consent_is_refused_with_a_link_and_works_once_its_person_has_consented(
    broker: ServedBroker, people: People
) -> None:
    """Issue 5: refused with a consent link for that person, bound to them, and works when retried."""
    link = link_for(broker, people, "alice")
    assert "alice" not in link
    assert people.url not in link

    page = Browser(people, broker.url, PUBLIC, "alice").accept(link)
    answer = call(broker, people, "alice")

    assert page.status_code == 200
    assert isinstance(answer, Answer)
    assert json.loads(answer.text)["text"] == "a note of alice"
    (grant,) = [one for one in broker.operators.get("/v1/grants") if one["status"] == "active"]
    assert (grant["person"], grant["scopes"]) == ([people.url, "alice"], ["notes.read"])


def test_nobodys_call_runs_with_another_persons_token(broker: ServedBroker, people: People) -> None:
    """lessons.md 6: user A's call ran with user B's token; here each of many at once has its own, or none."""
    for name in ("alice", "bob"):
        connect(broker, people, name)
    people.asked.clear()

    outcomes = [call(broker, people, name) for name in ("alice", "bob", "carol", "alice", "bob")]
    texts = [json.loads(one.text)["text"] if isinstance(one, Answer) else one.code for one in outcomes]

    assert texts == ["a note of alice", "a note of bob", "consent_needed", "a note of alice", "a note of bob"]
    assert people.asked == ["alice", "bob", "alice", "bob"]


@pytest.mark.parametrize("name", ["Alice", "alice ", "alice/", "bob|alice", "", "*", "%", "ALICE", "alice\x00"])
def test_a_likeness_of_a_person_is_not_that_person(broker: ServedBroker, people: People, name: str) -> None:
    """lessons.md 6: issuer and subject together are who, byte for byte."""
    connect(broker, people, "alice")

    assert code_of(call(broker, people, name)) == "consent_needed"


def test_the_same_subject_of_another_issuer_is_somebody_else(broker: ServedBroker, people: People) -> None:
    """identity: a subject is its issuer's; nothing is moved between what stands before and behind the border."""
    connect(broker, people, "alice")

    assert code_of(call(broker, people, "alice", "https://other.example")) == "consent_needed"
    assert code_of(call(broker, people, "lice", people.url + "a")) == "consent_needed"


def test_neither_the_organisation_nor_a_person_stands_in_for_the_other(broker: ServedBroker, people: People) -> None:
    """credentials.md B1: the broker's own wide account is never the answer to a person's call, nor theirs to it."""
    connect(broker, people, "alice")
    assert code_of(call(broker, people, None)) == "grant_unavailable"

    broker.operators.post("/v1/grants", {"connector": "notes", "kind": "api-key", "key": "organisation-key-0123"})

    assert code_of(call(broker, people, "bob")) == "consent_needed"


def test_whoever_else_opens_the_link_does_not_connect_an_account_for_its_person(
    broker: ServedBroker, people: People
) -> None:
    """mcp.md, URL elicitation: the agent that was given the link cannot put its own account in the person's place."""
    link = link_for(broker, people, "alice")

    page = Browser(people, broker.url, PUBLIC, "mallory").accept(link)

    assert page.status_code == 403
    assert code_of(call(broker, people, "alice")) == "consent_needed"
    assert [one for one in broker.operators.get("/v1/grants") if one["status"] == "active"] == []
    assert broker.records(kind="consent_refused")[-1]["outcome"] == {"reason": "somebody else signed in"}


def test_another_browser_cannot_finish_what_one_has_begun(broker: ServedBroker, people: People) -> None:
    """Issue 5: the finishing browser session is bound to that person."""
    link = link_for(broker, people, "alice")
    alice, mallory = (Browser(people, broker.url, PUBLIC, name) for name in ("alice", "mallory"))
    signed_in = alice.get(alice.press(link).headers["location"]).headers["location"]
    taken_up = mallory.press(link)
    stolen = mallory.get(signed_in)
    consenting = alice.get(alice.get(signed_in).headers["location"]).headers["location"]
    finished_elsewhere = mallory.get(consenting)

    assert [one.status_code for one in (taken_up, stolen, finished_elsewhere)] == [403, 403, 403]
    assert "Connected" in alice.get(consenting).text


def test_a_state_a_code_and_a_link_are_good_once(broker: ServedBroker, people: People) -> None:
    """RFC 6749 §10.12: what comes back twice, or without the rest, does nothing."""
    link = link_for(broker, people, "alice")
    alice = Browser(people, broker.url, PUBLIC, "alice")
    signed_in = alice.get(alice.press(link).headers["location"]).headers["location"]
    consent_url = alice.get(signed_in).headers["location"]
    assert alice.get(signed_in).status_code == 403
    callback = alice.get(consent_url).headers["location"]

    assert alice.get(f"{callback}&state=x").status_code == 403
    assert alice.get(callback.replace("state=", "state=x")).status_code == 403
    assert alice.get(callback).status_code == 200
    assert alice.get(callback).status_code == 403
    assert alice.get(link).status_code == 403


@pytest.mark.parametrize("issuer", ["", "&iss=https%3A%2F%2Fevil.example"])
def test_an_answer_of_another_authorization_server_is_refused(
    broker: ServedBroker, people: People, issuer: str
) -> None:
    """RFC 9207: mix-up; a server that always names itself has not sent an answer that does not."""
    alice = Browser(people, broker.url, PUBLIC, "alice")
    signed_in = alice.get(alice.press(link_for(broker, people, "alice")).headers["location"]).headers["location"]
    callback = alice.get(alice.get(signed_in).headers["location"]).headers["location"]

    assert alice.get(callback.partition("&iss=")[0] + issuer).status_code == 403
    assert code_of(call(broker, people, "alice")) == "consent_needed"


def test_pages_give_nothing_to_other_pages(broker: ServedBroker, people: People) -> None:
    """threat-model.md: a link is a person's; it is not framed, cached, told of elsewhere or run with scripts."""
    alice = Browser(people, broker.url, PUBLIC, "alice")
    link = link_for(broker, people, "alice")
    pages = [alice.get(link), alice.press(link), alice.get(f"{PUBLIC}/consent/unknown<script>")]

    for page in pages:
        assert page.headers["x-frame-options"] == "DENY"
        assert page.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "<script>" not in pages[2].text
    cookie = pages[1].headers["set-cookie"].lower()
    assert all(word in cookie for word in ("__host-", "httponly", "secure", "samesite=lax", "path=/"))


def test_an_organisations_consent_ends_with_the_operator_who_began_it(broker: ServedBroker, people: People) -> None:
    """Issue 5, `aam grants connect`: state and issuer are checked, and what it may do is said."""
    begun = broker.operators.post("/v1/grants/connect", {"connector": "notes"})
    alice = Browser(people, broker.url, PUBLIC, "admin")
    where = f"/v1/grants/connect/{begun['ticket']}"
    assert broker.operators.post(where) == {"waiting": True}

    page = alice.get(alice.get(begun["url"]).headers["location"])
    grant = broker.operators.post(where)

    assert "Go back to the terminal" in page.text
    assert (grant["principal"], grant["kind"], grant["scopes"]) == ("broker", "authorization-code", ["notes.read"])
    assert "notes_notes_read" in grant["may"]
    assert isinstance(call(broker, people, None), Answer)
    with pytest.raises(OperatorRefused):
        broker.operators.post(where)


def test_a_loopback_answer_with_another_state_connects_nothing(broker: ServedBroker, people: People) -> None:
    """RFC 6749 §10.12: whoever can reach the loopback listener cannot put their own account into the broker."""
    body = {"connector": "notes", "redirect_uri": "http://127.0.0.1:9999/callback"}
    begun = broker.operators.post("/v1/grants/connect", body)
    answer = {"code": "stolen", "state": "another", "iss": people.url}

    with pytest.raises(OperatorRefused) as refused:
        broker.operators.post(f"/v1/grants/connect/{begun['ticket']}", answer)

    assert refused.value.code == "consent_refused"
    assert [one for one in broker.operators.get("/v1/grants") if one["status"] == "active"] == []


def test_a_client_that_can_show_a_link_is_asked_to_in_both_eras(broker: ServedBroker, people: People) -> None:
    """mcp.md, URL elicitation: an error of its own on the older wires, an input request on the newer."""
    identify = Identifier.identify

    def on_behalf(self: Identifier, proof: Proof) -> WorkloadIdentity:
        return dataclasses.replace(identify(self, proof), on_behalf_of=OnBehalfOf(people.url, "dave", "oidc-login"))

    with patch.object(Identifier, "identify", on_behalf):
        plain = Wire(broker).call("notes_notes_read", {"id": "n1"})
        modern, legacy = asked_modern(broker), asked_legacy(broker)

    assert plain.code == "consent_needed"
    assert f"{PUBLIC}/consent/" in plain.raw.decode()
    assert legacy["error"]["code"] == -32042
    questions = [modern["result"]["inputRequests"]["consent"]["params"], legacy["error"]["data"]["elicitations"][0]]
    for question in questions:
        assert question["mode"] == "url"
        assert question["url"].startswith(f"{PUBLIC}/consent/")


def asked_modern(broker: ServedBroker) -> Any:
    """Call as a client of the newer revision that can show links."""
    meta = {"io.modelcontextprotocol/clientCapabilities": CAPABLE}
    asked = Wire(broker).ask("tools/call", {"name": "notes_notes_read", "arguments": {"id": "n1"}}, meta=meta)
    return json.loads(asked.raw)


def asked_legacy(broker: ServedBroker) -> Any:
    """Call as a client of an older revision that can show links."""
    wire, headers = Wire(broker), {"MCP-Protocol-Version": "2025-11-25"}
    hello = INITIALIZE | {"params": {**INITIALIZE["params"], "capabilities": CAPABLE}}  # type: ignore[dict-item]
    headers["Mcp-Session-Id"] = wire.post(json.dumps(hello).encode(), "initialize", **headers).headers["Mcp-Session-Id"]
    wire.post(json.dumps(INITIALIZED).encode(), "notifications/initialized", **headers)
    params = {"name": "notes_notes_read", "arguments": {"id": "n1"}}
    call_body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return said(wire.post(json.dumps(call_body).encode(), "tools/call", "notes_notes_read", **headers))


def said(response: Any) -> Any:
    """Return the one message of an answer, which may come as an event."""
    lines = [line.removeprefix("data:") for line in response.text.splitlines() if line.startswith(("data:", "{"))]
    return json.loads(next(line for line in lines if line.strip()))
