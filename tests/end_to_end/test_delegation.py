"""An agent acts for a person, from the token that says so to that person's own account at the service."""

import json
from collections.abc import Iterator

import pytest

from tests.support.broker import ServedBroker
from tests.support.clients import Answered, Wire
from tests.support.issuers import fresh, write_issuer
from tests.support.notes import Notes, NotesService
from tests.support.people import APP, PUBLIC, SECRET, Browser, People, documents_for

SERVICE = {"agent": "analyst", "actor": "analyst-service"}
READ = ("notes_notes_read", {"id": "n1"})


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    """Serve people's notes, and the provider that knows them."""
    with People(tmp_path_factory.mktemp("people")) as people:
        yield people


@pytest.fixture(scope="module")
def broker(
    people: People, notes_service: NotesService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServedBroker]:
    """Serve a broker that takes the provider's exchanged tokens, and knows nobody's account."""
    written = documents_for(people, tmp_path_factory.mktemp("delegated") / "access", notes_service)
    write_issuer(written.directory, SERVICE, issuer=people.url)
    with ServedBroker(written, Notes(), grant=False) as broker:
        client = {"connector": "notes", "client_id": APP, "client_secret": SECRET, "client_auth": "client_secret_post"}
        broker.operators.put("/v1/grants/client", client)
        yield broker


def call(broker: ServedBroker, people: People, whose: str) -> Answered:
    """Read a note with a token in which a person has delegated to the agent (RFC 8693 §4.1)."""
    return Wire(broker, fresh(iss=people.url, sub=whose, act={"sub": "analyst-service"})).call(*READ)


def text_of(answer: Answered) -> str:
    """Return the note that a call was answered with."""
    return str(json.loads(answer.raw)["result"]["structuredContent"]["text"])


def test_a_delegated_call_uses_the_account_of_the_person_who_delegated_once_they_have_consented(
    broker: ServedBroker, people: People
) -> None:
    """Issues 4 and 5: refused with a link for this person; then their own account, on record, and nobody else's."""
    refused = call(broker, people, "alice")
    link = str(json.loads(refused.raw)["result"]["_meta"]["dev.envisionai.access/consent_url"])
    page = Browser(people, broker.url, PUBLIC, "alice").accept(link)

    answer, of_bob = call(broker, people, "alice"), call(broker, people, "bob")

    assert refused.code == "consent_needed"
    assert "Connected" in page.text
    assert text_of(answer) == "a note of alice"
    assert of_bob.code == "consent_needed"
    story = broker.story(str(answer.call_id))
    delegated = {"iss": people.url, "sub": "alice", "method": "token-exchange"}
    assert story["requested"]["identity"]["on_behalf_of"] == delegated
    assert story["finished"]["credential"]["kind"] == "authorization-code"
    assert broker.verified().holds


def test_what_an_argument_says_of_a_person_is_nothing(broker: ServedBroker, people: People) -> None:
    """lessons.md 6: the person comes from a verified token, never from the agent's words."""
    token = fresh(iss=people.url, sub="mallory", act={"sub": "analyst-service"})

    answer = Wire(broker, token).call(*READ, meta={"on_behalf_of": "alice", "sub": "alice"})

    assert answer.code == "consent_needed"
