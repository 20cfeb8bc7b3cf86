"""`aam connector test` at the operators' door: each way to fail, on loopback, is told for what it is."""

from collections.abc import Iterator
from typing import Any

import pytest

from broker.doors.admin.trying import DO
from broker.egress import Secret
from broker.oauth import ApiKeyGrant, JwtBearerGrant
from broker.testing.server import bind
from tests.support.broker import ServedBroker, private_key
from tests.support.documents import write_documents
from tests.support.failing import Failing, FailingService, connector_documents
from tests.support.notes import NotesService

ACTOR = {"user": "test", "uid": 0, "role": "admin"}
FAILING = {
    "s401": "token",
    "scope": "scope",
    "s403": "permission",
    "s404": "not_found",
    "s429": "rate_limit",
    "s500": "outage",
    "s503": "outage",
    "slow": "timeout",
    "drop": "timeout",
    "s302": "redirect",
    "junk": "answer",
    "dns": "dns",
    "address": "address",
    "connect": "connect",
    "tls": "tls",
    "dead": "token",
    "lacking": "scope",
    "odd": "connector",
    "nobody": "grant",
}


def document(name: str, url: str, more: str = "reach: {private_ranges: [127.0.0.0/8, '::1/128']}") -> str:
    """Return a Connector document for a place that is not the service's own."""
    head = f"---\napiVersion: access.envisionai.dev/v1\nkind: Connector\nmetadata: {{name: {name}}}\nspec:\n"
    return f"{head}  {{type: notes, url: '{url}', resources: {{notes: notes}}, {more}}}\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FailingService]:
    """Serve what fails in every way."""
    with FailingService(tmp_path_factory.mktemp("failing")) as service:
        yield service


@pytest.fixture(scope="module")
def broker(
    service: FailingService, notes_service: NotesService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServedBroker]:
    """Serve a connector for each way to fail, every one but `nobody` with an account."""
    written = write_documents(tmp_path_factory.mktemp("access"), notes_service)
    (written.directory / "failing.pem").write_text(service.authority)
    trust = "reach: {private_ranges: [127.0.0.0/8], certificate_authority: failing.pem}"
    closed = bind(0)
    port = closed.getsockname()[1]
    closed.close()
    parts = ("ok", "401", "scope", "403", "404", "429", "500", "503", "slow", "drop", "302", "junk", "odd", "nobody")
    text = connector_documents(service, *parts, slow="limits: {total_seconds: 1}")
    for name, url, more in (
        ("dns", "https://nothing.invalid", ""),
        ("address", f"https://localhost:{service.port}", "reach: {}"),
        ("connect", f"https://127.0.0.1:{port}", ""),
        ("tls", service.url, ""),
        ("dead", f"{service.url}/ok", f"oauth: {{token_endpoint: '{service.url}/oauth-invalid_grant/'}}, {trust}"),
        ("lacking", f"{service.url}/ok", f"oauth: {{token_endpoint: '{service.url}/oauth-invalid_scope/'}}, {trust}"),
    ):
        text += document(name, url, more) if more else document(name, url)
    written.put("failing.yaml", text)
    for name in ("notes.yaml", "policies.yaml"):
        (written.directory / name).unlink()
    with ServedBroker(written, Failing(), grant=False) as broker:  # type: ignore[arg-type] # it finds a connector
        for name in {*FAILING, "ok"} - {"nobody"}:
            given: Any = ApiKeyGrant(Secret("an-api-key-0123456789"))
            if name in {"dead", "lacking", "ok"}:
                given = JwtBearerGrant("client", "subject", Secret(private_key()))
            broker.await_(broker.parts.vault.add, name, given, ACTOR)
        yield broker


def test_a_service_that_works_is_said_to(broker: ServedBroker) -> None:
    """Issue 6: `test` makes a harmless real call; it is on record as a use of the credential."""
    found = broker.operators.post("/v1/connectors/ok/test")

    assert (found["works"], found["failed"]) == (True, None)
    assert found["answer"] == "Revenue grew."
    assert found["passed"] == ["dns", "address", "connect", "tls", "token", "call"]
    record = broker.records(kind="grant_tested")[-1]
    assert (record["connector"], record["outcome"]) == ("ok", {"code": None})
    assert record["credential"]["fingerprint"]


@pytest.mark.parametrize(("name", "step"), FAILING.items(), ids=FAILING)
def test_what_failed_is_named_with_what_to_do(broker: ServedBroker, name: str, step: str) -> None:
    """Issue 6: `test` says what failed (DNS, TLS, token, scope, permission) and what to do."""
    found = broker.operators.post(f"/v1/connectors/{name}/test")

    assert (found["works"], found["answer"], found["failed"]["at"]) == (False, None, step)
    assert found["failed"]["do"] == DO[step].format(name=name)
    assert "SERVICE TEXT" not in str(found)


def test_every_step_has_its_test() -> None:
    """Advice that no failure leads to would be untried."""
    assert set(DO) - {"reach"} == set(FAILING.values())


def test_a_place_that_the_connector_may_not_reach_is_told(
    broker: ServedBroker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The check of documents finds most of it; what is left is found before anything is sent."""
    connection = broker.parts.documents.current.connections["ok"]
    monkeypatch.setattr(type(connection), "token_endpoint", property(lambda _: "https://elsewhere.example/token"))

    found = broker.operators.post("/v1/connectors/ok/test")

    assert (found["failed"]["at"], found["failed"]["code"]) == ("reach", "egress_denied")


def test_a_connector_is_shown_whole(broker: ServedBroker) -> None:
    """Issue 6: `show` prints document, tools, grants, what is pinned."""
    found = broker.operators.get("/v1/connectors/ok")

    assert found["file"] == "failing.yaml"
    assert found["document"]["resources"] == {"notes": "notes"}
    assert [tool["name"] for tool in found["tools"]] == ["ok_notes_read", "ok_notes_write"]
    assert [grant["kind"] for grant in found["grants"]] == ["jwt-bearer"]
    assert found["snapshot"] is None
