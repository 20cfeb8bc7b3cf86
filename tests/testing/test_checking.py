"""`check_connector`: what is right passes, and each thing that is wrong is named."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from broker.cli.connectors.new import write_package
from broker.connector import Connector, ConnectorDocument, Response, Session, Tool, ToolCall, errors
from broker.testing import Example, check_connector
from broker.testing.checking import trials
from broker.testing.checking.samples import sample
from tests.support.notes import expired

TEXT = {"type": "string"}
INPUT = {"type": "object", "properties": {"id": TEXT}, "required": ["id"], "additionalProperties": False}
OUTPUT = {"type": "object", "properties": {"id": TEXT}, "required": ["id"], "additionalProperties": False}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "_MOST_SECONDS", 0.5)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModuleType, ModuleType]:
    """Write a package as `aam connector new` does, and load its connector and its test."""
    place = tmp_path_factory.mktemp("new") / "tasks"
    write_package("tasks", place)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(place))
        return load(place / "aam_connector_tasks.py"), load(place / "tests/test_connector.py")


def load(file: Path) -> ModuleType:
    """Load a file as a module."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_new_connector_is_right_at_once(written: tuple[ModuleType, ModuleType]) -> None:
    """Issue 6: `aam connector new NAME` writes a working one with its test."""
    written[1].test_it_is_a_good_connector()


async def careless(call: ToolCall, session: Session) -> Any:
    """Make every mistake of one tool: no look at the status, the argument in the path by hand."""
    answer = await session.send("PUT", f"{session.base_url}/notes/{call.arguments['id']}", {}, None)
    return {"id": answer.json()["id"]}


async def talkative(call: ToolCall, session: Session) -> Any:
    """Repeat what the service says, whatever happened."""
    answer = await session.call("GET", "/notes/{id}", id=call.arguments["id"])
    if answer.status != 200:
        raise errors.UpstreamForbidden(answer.body.decode())
    return {"number": 1}


async def probe(session: Session, _document: ConnectorDocument) -> str:
    """Say that all is well, whatever is answered."""
    return str((await session.call("GET", "/me")).status)


def never(_response: Response) -> bool:
    """Take no answer for an expired token."""
    return False


def connector(like: Connector, *tools: Tool, **changes: Any) -> Connector:
    """Return a connector with other tools."""
    return replace(like, tools=lambda _document, _snapshot: tools, **changes)


def problems(judged: Connector, *document: Any, **more: Any) -> str:
    """Return what is said to be wrong."""
    with pytest.raises(AssertionError) as raised:
        check_connector(judged, *document, **more)
    return str(raised.value)


def test_each_mistake_of_a_tool_is_named(written: tuple[ModuleType, ModuleType]) -> None:
    """architecture.md, Connectors: every tool run against success, 401, 403, 404, 429, 500, timeout and junk."""
    like = written[0].CONNECTOR
    judged = connector(
        like,
        Tool("notes", "read", "Read.", INPUT, OUTPUT, reads_only=True, run=careless),
        Tool("notes", "tell", "Tell.", INPUT, OUTPUT, reads_only=True, run=talkative),
        expired=never,
        probe=probe,
    )
    answer = Example({"id": "1"}, {"id": "1"})

    said = problems(judged, examples={"notes_read": answer, "notes_tell": answer, "notes_write": answer})

    for words in (
        "notes read: it says that it only reads, and sends PUT",
        "notes read: against 401, it fails with KeyError; UpstreamUnauthorized is expected",
        "notes read: against null for an answer, it fails with TypeError",
        "notes read: 'id' gets out of its place in the URL",
        "notes tell: its result is not what its output schema says",
        "notes tell: against 403, it repeats the service's own words to the agent",
        "notes tell: against 404, it raises UpstreamForbidden; UpstreamNotFound is expected",
        "notes tell: against 500, it raises UpstreamForbidden; UpstreamFailed is expected",
        "probe: against 429, it says that all is well; UpstreamBusy is expected",
        "there is an example of 'notes_write', and no such tool",
    ):
        assert words in said


def test_each_mistake_of_what_is_declared_is_named(written: tuple[ModuleType, ModuleType]) -> None:
    """architecture.md, Connectors: names, closed schemas, scopes."""
    like = written[0].CONNECTOR
    is_open = {"type": "object", "properties": {"id": TEXT, "more": {"type": "object"}}}
    bad: Any = "api"
    judged = connector(
        like,
        Tool("Notes", "read", "Read.", INPUT, OUTPUT, reads_only=True),
        Tool(
            "notes",
            "list",
            "",
            is_open,
            {"type": "object", "additionalProperties": True},
            reads_only=True,
            run=careless,
        ),
        Tool("notes", "scoped", "x", INPUT, OUTPUT, reads_only=True, scopes=bad),
        Tool("notes", "spaced", "x", INPUT, OUTPUT, reads_only=True, scopes=["a b"]),
        Tool("notes", "spaced", "x", {"type": "array"}, OUTPUT, reads_only=True),
        name="Tasks!",
        hosts=("https://example.com",),
        expired=expired,
    )

    said = problems(judged, {"url": "https://x.example/api", "resources": {"notes": "notes"}})

    for words in (
        "the name 'Tasks!' is not of small letters",
        "hosts.0:",
        "cannot be named in a policy",
        "it has no description",
        "its input schema is open at the top",
        "its input schema is open at more",
        "its output schema lets anything leave at the top",
        "its scopes are a list of texts",
        "its scopes are not all names of scopes",
        "notes spaced is there 2 times",
        "its input schema must be of type object",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"enum": ["b", "a"]}, "b"),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "number", "exclusiveMinimum": 1}, 2),
        ({"type": "string", "minLength": 4}, "x1xx"),
        ({"type": "string", "maxLength": 1}, "x"),
        ({"type": "string", "format": "date"}, "2026-01-31"),
        ({"type": ["string", "null"]}, "x1"),
        ({"type": "array", "items": TEXT, "minItems": 2}, ["x1", "x1"]),
        ({"anyOf": [{"const": 7}, TEXT]}, 7),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        (INPUT, {"id": "x1"}),
    ],
)
def test_arguments_are_made_up_as_a_schema_allows(schema: Any, value: Any) -> None:
    """An author who gives no example gets a trial all the same."""
    assert sample(schema) == value
