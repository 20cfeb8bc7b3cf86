"""Assertions that were used, or are somebody else's: at the token endpoint, and everywhere else."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import Serve
from tests.support.assertions import SERVER, ask, id_jag
from tests.support.broker import ServedBroker, until
from tests.support.clients import Wire
from tests.support.documents import ANALYST, AUDIENCE, OTHER, agents_document, write_documents
from tests.support.issuers import fresh, issuer_document, write_issuer
from tests.support.notes import Notes, NotesService

DESKTOP = {"agent": "analyst", "client": "desktop"}


@pytest.fixture(scope="module")
def delegating(notes_service: NotesService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBroker]:
    """Serve one broker that takes an issuer's identity assertions."""
    place = tmp_path_factory.mktemp("delegating")
    write_issuer(place, DESKTOP, id_jag=True)
    with ServedBroker(write_documents(place, notes_service), Notes()) as broker:
        yield broker


@pytest.fixture
def own(serve: Serve, tmp_path: Path) -> ServedBroker:
    """Serve one that the test may change."""
    write_issuer(tmp_path / "access", DESKTOP, id_jag=True)
    return serve()


def refusal_of(answer: requests.Response) -> tuple[str, str]:
    """Return the OAuth error and our code of an answer that is a refusal."""
    assert "access_token" not in answer.json()
    return answer.json()["error"], answer.json()["error_description"]


def test_a_replayed_id_jag_is_refused_also_after_a_restart(own: ServedBroker) -> None:
    """Issue 4: replayed single-use assertions (ID-JAG); what was used is known to the store, not to the process."""
    once = id_jag()
    assert ask(own, once).status_code == 200
    assert refusal_of(ask(own, once)) == ("invalid_grant", "assertion_replayed")

    own.stop()
    with ServedBroker(own.written, Notes(), grant=False) as again:
        assert refusal_of(ask(again, once)) == ("invalid_grant", "assertion_replayed")
        assert ask(again, id_jag()).status_code == 200


def test_of_many_who_send_one_assertion_at_once_one_is_served(own: ServedBroker) -> None:
    """No race between looking and noting: the use is noted in the commit that records it."""
    once, answers = id_jag(), list[int]()

    threads = [threading.Thread(target=lambda: answers.append(ask(own, once).status_code)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answers) == [200, *[400] * 7]
    assert len(own.records(kind="delegation_added")) == 1


def test_a_replayed_client_assertion_is_refused(delegating: ServedBroker) -> None:
    """RFC 7523 §3: one that says that it is one of a kind (jti) is good for one use; nothing else of it is used up."""
    client = delegating.written.prod.mint(ANALYST, SERVER, jti="c1")
    assert ask(delegating, id_jag(), client).status_code == 200
    unused = id_jag()

    assert refusal_of(ask(delegating, unused, client)) == ("invalid_grant", "assertion_replayed")

    assert ask(delegating, unused).status_code == 200


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"aud": AUDIENCE}, "proof_for_another_audience"),
        ({"aud": "https://elsewhere.example"}, "proof_for_another_audience"),
        ({"resource": "https://elsewhere.example/mcp"}, "proof_for_another_audience"),
        ({"iss": "https://evil.example"}, "proof_untrusted"),
        ({"client_id": "another"}, "identity_unmapped"),
        ({"client_id": None}, "identity_unmapped"),
        ({"sub": "desktop"}, "identity_unmapped"),
        ({"jti": None}, "proof_malformed"),
        ({"jti": "j" * 257}, "proof_malformed"),
        ({"jti": 1}, "proof_malformed"),
        ({"iat": None}, "proof_malformed"),
        ({"exp": None}, "proof_malformed"),
        ({"exp": 1}, "proof_expired"),
        ({"exp": 2**40}, "proof_lives_too_long"),
        ({"nbf": 2**40}, "proof_not_yet_valid"),
        ({"padding": "x" * 8192}, "proof_malformed"),
    ],
)
def test_an_assertion_that_is_not_for_this_is_good_for_nothing(
    delegating: ServedBroker, changes: dict[str, Any], code: str
) -> None:
    """ID-JAG §4.4.1: audience, resource, client, times and id; the positive control is every other test here."""
    assert refusal_of(ask(delegating, id_jag(**changes))) == ("invalid_grant", code)


def test_an_assertion_is_of_no_use_to_another_client(delegating: ServedBroker) -> None:
    """ID-JAG §4.4.1: `client_id` is the client that authenticates; who has stolen one is somebody else."""
    stolen = id_jag()

    thief = delegating.written.prod.mint(OTHER, SERVER)

    assert refusal_of(ask(delegating, stolen, thief)) == ("invalid_grant", "proof_untrusted")
    assert ask(delegating, stolen).status_code == 200


def test_one_kind_of_proof_is_no_other(delegating: ServedBroker) -> None:
    """RFC 8725 §3.11: an assertion is no access token, an access token no assertion, an SVID for tools no client's."""
    wrong = [
        Wire(delegating, id_jag()).post(b"{}", "tools/list").status_code,
        Wire(delegating, id_jag(aud=AUDIENCE)).post(b"{}", "tools/list").status_code,
        ask(delegating, fresh()).status_code,
        ask(delegating, fresh(aud=SERVER, jti="x")).status_code,
        ask(delegating, id_jag(), delegating.token()).status_code,
        ask(delegating, id_jag(), fresh(aud=SERVER)).status_code,
        ask(delegating, id_jag(), delegating.operators.post("/v1/keys", {"agent": "analyst"})["key"]).status_code,
        Wire(delegating, delegating.written.prod.mint(ANALYST, SERVER)).post(b"{}", "tools/list").status_code,
        Wire(delegating, "aamt_" + "A" * 43).post(b"{}", "tools/list").status_code,
    ]

    assert wrong == [401, 401, 400, 400, 401, 401, 401, 401, 401]


def test_a_suspended_agent_gets_no_token_and_one_that_it_has_is_no_use(own: ServedBroker) -> None:
    """The kill switch holds for tokens that the broker itself has issued."""
    wire = Wire(own, ask(own, id_jag()).json()["access_token"])
    assert wire.tools()

    own.written.put("agents.yaml", agents_document("suspended"))
    until(lambda: wire.post(b"{}", "tools/list").status_code == 403)

    assert refusal_of(ask(own, id_jag())) == ("invalid_client", "agent_suspended")


@pytest.mark.parametrize(
    "changed",
    [
        lambda: issuer_document(DESKTOP),  # the issuer's assertions are no longer taken
        lambda: issuer_document({"agent": "other", "client": "desktop"}, id_jag=True),
    ],
)
def test_what_the_documents_do_not_say_is_not_done(own: ServedBroker, changed: Callable[[], str]) -> None:
    """Absent means less: identity assertions are taken only of issuers that say so, for the agent they say."""
    assert ask(own, id_jag()).status_code == 200

    own.written.put("issuer.yaml", changed())

    until(lambda: ask(own, id_jag()).status_code == 400)
