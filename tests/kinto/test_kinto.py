"""Kinto for real, behind oidc-provider: two agents, two people, each with their own account and kinto's permissions."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from typer.testing import CliRunner

from broker.cli.commands import app
from tests.kinto.conftest import POLICIES, Place
from tests.support.broker import ServedBroker
from tests.support.clients import Answered, Wire
from tests.support.documents import AUDIENCE
from tests.support.reloading import reload

pytestmark = [pytest.mark.slow, pytest.mark.node]

NOTES = {"bucket_id": "default", "collection_id": "notes"}


@dataclass
class Agent:
    """An agent that a person has logged in to, with its own token of oidc-provider's."""

    broker: ServedBroker
    token: str
    whose: Any

    def call(self, action: str, **arguments: Any) -> Answered:
        """Call a tool of kinto's."""
        return Wire(self.broker, self.token).call(f"kinto_{action}", arguments)

    def did(self, action: str, **arguments: Any) -> Any:
        """Call a tool that must do what it is for."""
        answer = self.call(action, **arguments)
        assert answer.code is None, answer.raw
        return json.loads(answer.raw)["result"]["structuredContent"]


@pytest.fixture(scope="module")
def pinned(broker: ServedBroker) -> str:
    """Pin kinto's own description by the command, and then let the agents have its records."""
    directory = str(broker.written.directory)
    ran = CliRunner().invoke(app, ["connector", "snapshot", "kinto", "--dir", directory, "--approve"])
    broker.written.put("kinto-policies.yaml", POLICIES)
    reload(broker)
    return ran.output


@pytest.fixture(scope="module")
def agents(broker: ServedBroker, place: Place, pinned: str) -> tuple[Agent, Agent]:
    """Log Alice in to the analyst and Bob in to the other agent; each connects their own account when asked to."""
    assert "pinned" in pinned
    found = []
    for name, client in (("alice", "analyst-app"), ("bob", "other-app")):
        person = place.person(name)
        agent = Agent(broker, person.token(client, AUDIENCE), person)
        refused = agent.call("records_search", **NOTES)
        assert refused.code == "consent_needed", refused.raw
        link = str(json.loads(refused.raw)["result"]["_meta"]["dev.envisionai.access/consent_url"])
        assert "Connected" in person.connect(link, broker.url)
        found.append(agent)
    return found[0], found[1]


def test_kintos_own_description_is_pinned_and_its_operations_are_tools(broker: ServedBroker, pinned: str) -> None:
    """Issue 6, openapi: kinto publishes its description; it is fetched without anybody's account, and shown."""
    assert "+ resources.records.search" in pinned
    tools = {tool.name for tool in broker.parts.documents.current.catalog if tool.connector == "kinto"}
    assert {"kinto_records_search", "kinto_records_create", "kinto_server_read"} <= tools


def test_each_agent_works_in_the_account_of_the_person_who_logged_in(agents: tuple[Agent, Agent]) -> None:
    """Issue 6, openapi: two agents, two people's grants; neither sees the other's records."""
    of_alice, of_bob = agents
    written = of_alice.did("records_create", **NOTES, body={"data": {"text": "hers", "deep": {"er": [1]}}})["data"]
    of_bob.did("records_create", **NOTES, body={"data": {"text": "his"}})

    hers = of_alice.did("records_search", **NOTES)["records"]
    his = of_bob.did("records_search", **NOTES)["records"]

    assert [one["text"] for one in hers] == ["hers"]
    assert [one["text"] for one in his] == ["his"]
    assert hers[0]["deep"] == {"er": [1]}
    assert of_alice.did("records_read", **NOTES, id=written["id"])["data"] == hers[0]
    assert of_bob.call("records_read", **NOTES, id=written["id"]).code == "upstream_not_found"


def test_kintos_own_permissions_hold_and_can_be_given(agents: tuple[Agent, Agent]) -> None:
    """Issue 6, openapi: what a person may not do at kinto, their agent may not do through the broker."""
    of_alice, of_bob = agents
    alice, bob = (agent.did("server_read")["user"] for agent in agents)
    there = {"bucket_id": alice["bucket"], "collection_id": "shared"}
    written = of_alice.did("records_create", **{**there, "bucket_id": "default"}, body={"data": {"n": 1}})["data"]

    before = [
        of_bob.call("records_search", **there).code,
        of_bob.call("records_read", **there, id=written["id"]).code,
        of_bob.call("records_update", **there, id=written["id"], body={"data": {"n": 2}}).code,
        of_bob.call("records_delete", **there, id=written["id"]).code,
    ]
    of_alice.did("records_update", **there, id=written["id"], body={"permissions": {"read": [bob["id"]]}})
    seen = of_bob.did("records_read", **there, id=written["id"])["data"]

    assert before == ["upstream_forbidden"] * 4
    assert seen["n"] == 1
    assert of_bob.call("records_delete", **there, id=written["id"]).code == "upstream_forbidden"


def test_a_list_of_kintos_goes_on_by_its_next_page(agents: tuple[Agent, Agent]) -> None:
    """Kinto pages by a token in a `Next-Page` header, three records a page here."""
    of_alice, _ = agents
    many = {**NOTES, "collection_id": "many"}
    for number in range(8):
        of_alice.did("records_create", **many, body={"data": {"n": number}})

    found = of_alice.did("records_search", **many, sort=["n"])
    first = of_alice.did("records_search", **many, sort=["n"], limit=5)
    rest = of_alice.did("records_search", **many, sort=["n"], limit=5, cursor=first["cursor"])

    assert [one["n"] for one in found["records"]] == list(range(8))
    assert [one["n"] for one in first["records"] + rest["records"]] == list(range(8))
    assert not rest["more"]


def test_a_record_that_was_changed_meanwhile_is_not_overwritten(agents: tuple[Agent, Agent]) -> None:
    """Kinto's If-Match is an argument, since it is described as a parameter."""
    of_alice, _ = agents
    record = of_alice.did("records_create", **NOTES, body={"data": {"text": "first"}})["data"]
    etag = {"If-Match": f'"{record["last_modified"]}"'}
    of_alice.did("records_update", **NOTES, id=record["id"], body={"data": {"text": "second"}}, **etag)

    answer = of_alice.call("records_update", **NOTES, id=record["id"], body={"data": {"text": "third"}}, **etag)

    assert answer.code == "upstream_changed"


def test_whose_account_a_call_used_is_on_record_and_no_token_is(
    broker: ServedBroker, agents: tuple[Agent, Agent]
) -> None:
    """The chain of evidence: agent, person, credential; the trail verifies."""
    answer = agents[1].call("records_search", **NOTES)

    story = broker.story(str(answer.call_id))

    identity = story["requested"]["identity"]
    assert (identity["agent"], identity["on_behalf_of"]["sub"]) == ("other", "bob")
    assert story["finished"]["credential"]["kind"] == "authorization-code"
    assert broker.verified().holds
