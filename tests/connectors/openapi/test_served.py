"""From a few lines of YAML to calls on record: the description pinned by a command, decided, called, in the trail."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from broker.cli.commands import app
from broker.connector import Connector
from broker.connector.installed import find_connector
from tests.support.broker import ServedBroker
from tests.support.clients import Wire
from tests.support.documents import ANALYST, HEAD, write_documents
from tests.support.library import KEY, Library
from tests.support.notes import Notes, NotesService
from tests.support.reloading import reload

POLICY = f"""{HEAD}kind: AgentPolicy
metadata: {{name: library-reader}}
spec:
  identity: {{workload: {ANALYST}}}
  tools:
    - {{resource: library.books, actions: [read, search], fields: [id, title]}}
    - {{resource: library.books, actions: [create], when: arguments.body.title != "Forbidden"}}
    - {{resource: library.loans, actions: [search]}}
"""


class Found(Notes):
    """The notes' connector, and the installed ones."""

    def find(self, name: str) -> Connector:
        """Find either."""
        return super().find(name) if name == "notes" else find_connector(name)


def connector(library: Library, settings: str) -> str:
    """Return the Connector document."""
    return f"""{HEAD}kind: Connector
metadata: {{name: library}}
spec:
  type: openapi
  url: {library.url}
  resources: {{books: /books, loans: "tag:loans"}}
  snapshot: library.snapshot.json
  grants: {{kinds: [api-key], api_key: {{header: X-Library-Key}}}}
  settings: {settings}
  reach: {{private_ranges: [127.0.0.0/8], certificate_authority: library.pem}}
"""


@pytest.fixture
def broker(library: Library, notes_service: NotesService, tmp_path: Path) -> Iterator[ServedBroker]:
    """Serve a broker that has an account at the library, and nothing pinned of it."""
    library.start()
    library.public = True
    written = write_documents(tmp_path / "access", notes_service)
    (written.directory / "library.pem").write_text(library.authority)
    written.put("library.yaml", connector(library, "{description: /openapi.json, probe: /v2/books}"))
    written.put("library-policy.yaml", HEAD + "kind: AgentPolicy\nmetadata: {name: nothing}\n"
                f"spec: {{identity: {{workload: {ANALYST}}}, tools: []}}\n")  # fmt: skip
    with ServedBroker(written, Found(), grant=False) as broker:
        broker.operators.post("/v1/grants", {"connector": "library", "kind": "api-key", "key": KEY})
        yield broker


def snapshot(broker: ServedBroker, *options: str) -> Any:
    """Run `aam connector snapshot library`, and have the broker read what it wrote."""
    ran = CliRunner().invoke(
        app, ["connector", "snapshot", "library", "--dir", str(broker.written.directory), *options]
    )
    reload(broker)
    return ran


def permit(broker: ServedBroker) -> None:
    """Put the policy in place."""
    broker.written.put("library-policy.yaml", POLICY)
    reload(broker)


def test_a_described_service_is_of_use_after_one_command(broker: ServedBroker) -> None:
    """Issue 6, openapi: pinned as a snapshot, plus a few lines of YAML, operations become tools behind the policies."""
    shown = snapshot(broker)
    pinned = snapshot(broker, "--approve")
    permit(broker)
    wire = Wire(broker)

    names = [name for name in wire.tools() if name.startswith("library_")]
    answer = wire.call("library_books_search", {"limit": 2})

    assert (shown.exit_code, pinned.exit_code) == (1, 0)
    assert "+ resources.books.search" in shown.output
    assert names == ["library_books_create", "library_books_read", "library_books_search", "library_loans_search"]
    result = json.loads(answer.raw)["result"]["structuredContent"]
    assert result["records"] == [{"id": "b1", "title": "Book 1"}, {"id": "b2", "title": "Book 2"}]
    story = broker.story(str(answer.call_id))
    assert story["finished"]["credential"]["kind"] == "api-key"
    assert KEY not in repr(story)


@pytest.mark.slow
def test_what_policies_do_not_permit_of_a_described_service_is_denied(broker: ServedBroker) -> None:
    """By action, and by what the arguments say."""
    snapshot(broker, "--approve")
    permit(broker)
    wire = Wire(broker)

    codes = [
        wire.call("library_books_delete", {"id": "b1"}).code,
        wire.call("library_books_create", {"body": {"title": "Forbidden"}}).code,
        wire.call("library_books_create", {"body": {"title": "Fine"}}).code,
        wire.call("library_events_search").code,
    ]

    assert codes == ["access_denied", "access_denied", None, "unknown_tool"]
    assert "b1" in broker_library(broker)


def broker_library(broker: ServedBroker) -> Any:
    """Return what the library shows of itself through the broker."""
    return json.loads(Wire(broker).call("library_books_search", {"limit": 20}).raw)["result"]["content"][0]["text"]


@pytest.mark.slow
def test_a_description_that_everybody_may_see_is_fetched_without_the_grant(
    broker: ServedBroker, library: Library
) -> None:
    """Issue 6, openapi: through the grant or without; a credential goes nowhere where none is needed."""
    library.public = False
    refused = snapshot(broker, "--json")
    settings = f"{{description: '{library.url}/openapi.json', description_with_grant: true}}"
    broker.written.put("library.yaml", connector(library, settings))
    reload(broker)

    with_grant = snapshot(broker, "--json")

    assert json.loads(refused.output)["code"] == "upstream_unauthorized"
    assert json.loads(with_grant.output)["changes"]
    openly, by_grant = broker.records(kind="snapshot_fetched")
    assert openly["credential"] is None
    assert by_grant["credential"]["kind"] == "api-key"


@pytest.mark.slow
def test_a_description_can_be_a_file_in_yaml(broker: ServedBroker, library: Library, tmp_path: Path) -> None:
    """Issue 6, openapi: JSON or YAML, file or URL; what is handed in is on record."""
    file = tmp_path / "library.yml"
    with file.open("w") as opened:
        YAML().dump(library.description, opened)

    pinned = snapshot(broker, "--from", str(file), "--approve")
    again = snapshot(broker, "--approve")

    assert (pinned.exit_code, again.exit_code) == (0, 0)
    assert "Nothing has changed" in again.output
    assert [record["actor"]["role"] for record in broker.records(kind="snapshot_handed_in")] == ["admin"]


@pytest.mark.slow
def test_a_description_beside_the_documents_can_be_the_snapshot_itself(broker: ServedBroker, library: Library) -> None:
    """Issue 6, openapi: a file beside the documents can be the source too; it is mapped as it is loaded."""
    (broker.written.directory / "library.snapshot.json").write_text(json.dumps(library.description))
    permit(broker)

    assert not Wire(broker).call("library_books_read", {"id": "b1"}).result.get("isError")


@pytest.mark.slow
@pytest.mark.parametrize("content", ["{", "- a\n- b\n", "swagger: '1.2'\n", "a: [", "\x00"])
def test_a_file_that_is_no_description_is_refused_with_the_reason(
    broker: ServedBroker, tmp_path: Path, content: str
) -> None:
    """Nothing is pinned of what cannot be read."""
    file = tmp_path / "wrong.yaml"
    file.write_text(content)

    ran = snapshot(broker, "--from", str(file), "--approve", "--json")

    assert (ran.exit_code, json.loads(ran.output)["code"]) == (1, "upstream_malformed")
    assert not (broker.written.directory / "library.snapshot.json").exists()


@pytest.mark.slow
def test_a_described_service_is_tried_and_shown_by_commands(broker: ServedBroker) -> None:
    """Issue 6: `aam connector test|show`: a trial is a harmless call, and says what failed."""
    directory = ["--dir", str(broker.written.directory)]
    snapshot(broker, "--approve")

    tried = CliRunner().invoke(app, ["connector", "test", "library", *directory])
    shown = CliRunner().invoke(app, ["connector", "show", "library", *directory])

    assert (tried.exit_code, shown.exit_code) == (0, 0), tried.output + shown.output
    assert "answers with HTTP 200" in tried.output
    assert "library_books_search" in shown.output


@pytest.mark.slow
def test_adding_a_described_service_is_one_command(tmp_path: Path) -> None:
    """Issue 6: `aam connector add`: what it writes is right, and can be pinned."""
    place = tmp_path / "access"
    assert CliRunner().invoke(app, ["init", str(place)]).exit_code == 0
    said = ["--type", "openapi", "--url", "https://api.example.com", "--resource", "books=/books"]
    said += ["--set", "settings.description=/openapi.json"]

    added = CliRunner().invoke(app, ["connector", "add", "more", *said, "--dir", str(place)])
    checked = CliRunner().invoke(app, ["check", str(place)])

    assert (added.exit_code, checked.exit_code) == (0, 0), added.output + checked.output
    document = YAML(typ="safe").load(place / "connectors/more.yaml")
    assert document["spec"]["resources"] == {"books": "/books"}
    assert document["spec"]["snapshot"] == "more.snapshot.json"
    assert "aam connector snapshot more" in added.output
