"""What an agent is told of a tool that its policies narrow, and that this is only a hint."""

from typing import Any

import jsonschema_rs

from broker.doors.mcp.narrowed import narrowed_schema, said
from broker.policy import Narrowing
from tests.conftest import Serve
from tests.support.clients import Wire
from tests.support.documents import ANALYST, HEAD, POLICIES

NARROW = f"""{HEAD}kind: AgentPolicy
metadata: {{name: analyst-narrow}}
spec:
  identity: {{workload: {ANALYST}}}
  tools: [{{resource: notes.notes, actions: [list], fields: [id, owner], max_records: 7}}]
"""
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "fields": {"type": "array", "items": {"$ref": "#/$defs/field"}},
        "order_by": {"$ref": "#/$defs/field"},
        "limit": {"type": "integer", "maximum": 5},
    },
    "$defs": {"field": {"enum": ["Id", "Name", "Phone"]}},
}


def listed(wire: Wire) -> dict[str, Any]:
    """Return the tool that lists notes, as the agent is told of it."""
    (found,) = (tool for tool in wire.ask("tools/list").result["tools"] if tool["name"] == "notes_notes_list")
    return dict(found)


def test_a_narrowed_tool_says_so(serve: Serve) -> None:
    """Issue 4: narrowed tools say so: an `enum` of allowed fields, a `maximum` from `max_records`."""
    broker = serve()
    broker.written.put("policies.yaml", f"{POLICIES}---\n{NARROW}")
    broker.await_(_reloaded, broker)

    tool = listed(Wire(broker))

    properties = tool["inputSchema"]["properties"]
    assert properties["fields"]["items"]["enum"] == ["id", "owner"]
    assert properties["limit"]["maximum"] == 7
    assert tool["description"].endswith("Your policies leave only the fields id, owner; 7 records at most.")


def test_a_call_is_checked_against_the_tools_own_schema(serve: Serve) -> None:
    """Issue 4: as hints: the call is validated against the tool's own schema and then decided."""
    broker = serve()
    broker.written.put("policies.yaml", f"{POLICIES}---\n{NARROW}")
    broker.await_(_reloaded, broker)

    result = Wire(broker).call("notes_notes_list", {"limit": 50, "fields": ["text"]}).result

    assert not result.get("isError")
    assert all(set(note) == {"id", "owner"} for note in result["structuredContent"]["notes"])


async def _reloaded(broker: Any) -> None:
    async def loaded(_snapshot: Any, _restart: bool) -> None:  # noqa: FBT001 - the watcher's own signature
        return

    async def refused(invalid: Any) -> None:
        raise AssertionError(invalid.problems)

    async def in_force(_snapshot: Any) -> None:
        return

    await broker.parts.documents.reload(loaded, refused, in_force)


def test_what_a_definition_names_is_narrowed_where_it_stands() -> None:
    """A connector that names its fields once has them narrowed in every place."""
    found = narrowed_schema(SCHEMA, Narrowing(frozenset({"Id", "Name", "Secret"}), 10))

    assert found["$defs"]["field"]["enum"] == ["Id", "Name"]
    assert found["properties"]["limit"]["maximum"] == 5
    assert SCHEMA["$defs"]["field"]["enum"] == ["Id", "Name", "Phone"]
    jsonschema_rs.validator_for(dict(found))


def test_a_schema_without_such_arguments_stays_as_it_is() -> None:
    """A hint that has no place is said in the description only."""
    schema = {"type": "object", "properties": {"id": {"type": "string"}}}

    assert narrowed_schema(schema, Narrowing(frozenset({"Id"}), 3)) == schema
    assert narrowed_schema({"type": "object"}, Narrowing(None, 3)) == {"type": "object", "properties": {}}


def test_nothing_is_said_of_what_is_not_narrowed() -> None:
    """Every agent that lists the tools reads what is said."""
    assert said(Narrowing()) == ""
    assert said(Narrowing(filtered=True)) == " Your policies leave only some records."
