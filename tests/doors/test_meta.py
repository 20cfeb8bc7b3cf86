"""Three tools in the place of many: what they show is what a list shows, and what they call is called as ever."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.catalog import RESERVED, CatalogTool, catalog_tool, found
from broker.connector import Tool
from tests.support.broker import ServedBroker, until
from tests.support.clients import CODE, ERAS, TRANSPORTS, Answered, Era, Transport, Wire, connected
from tests.support.documents import OTHER, Written, agents_document, write_documents
from tests.support.notes import Notes, NotesService

VOLATILE = {"id", "time", "call_id", "prev_hash", "seq", "run_id", "traceparent", "proof", "token_id", "steps_us"}


def write_few(directory: Path, notes: NotesService) -> Written:
    """Write documents in which the analyst is shown three tools, and another agent all."""
    written = write_documents(directory, notes)
    shown = agents_document().replace("status: active, selectors", "tools: {present: meta}, status: active, selectors")
    assert shown != agents_document()
    written.put("agents.yaml", shown)
    return written


@pytest.fixture(scope="module")
def few(notes_service: NotesService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBroker]:
    """Serve the notes."""
    with ServedBroker(write_few(tmp_path_factory.mktemp("few"), notes_service), Notes()) as broker:
        yield broker


@pytest.fixture
def wire(few: ServedBroker) -> Wire:
    """Let the analyst speak."""
    return Wire(few)


def told(answered: Answered) -> Any:
    """Return what a search or a description answered."""
    return answered.result["structuredContent"]


def test_an_agent_that_asks_for_few_tools_is_listed_three(few: ServedBroker, wire: Wire) -> None:
    """Issue 6, too many tools: an option per agent."""
    assert wire.tools() == list(RESERVED)
    assert Wire(few, few.token(OTHER)).tools() == ["notes_notes_read"]


def test_a_search_finds_what_a_list_would_show_and_nothing_else(wire: Wire) -> None:
    """Over the permitted catalogue: not what is denied, not what is unmentioned, not what is not built."""
    everything = told(wire.call("search_tools", {"limit": 50}))
    read = told(wire.call("search_tools", {"query": "read a note", "limit": 1}))

    assert [one["name"] for one in everything["tools"]] == [
        "notes_notes_misbehave",
        "notes_notes_read",
        "notes_notes_write",
    ]
    assert (everything["more"], everything["of"]) == (False, 3)
    assert [one["name"] for one in read["tools"]] == ["notes_notes_read"]
    assert read["more"]
    for words in ("purge", "archive", "secrets", "delete every"):
        assert told(wire.call("search_tools", {"query": words}))["tools"] == []


def test_a_description_is_what_a_list_says(broker: ServedBroker, wire: Wire) -> None:
    """What is described is the definition that a list would have had, word for word."""
    listed = {one["name"]: one for one in Wire(broker).ask("tools/list").result["tools"]}

    for name, definition in listed.items():
        assert told(wire.call("describe_tool", {"name": name})) == definition
    for hidden in ("notes_notes_purge", "notes_secrets_read", "nope", "call_tool"):
        assert wire.call("describe_tool", {"name": hidden}).error["data"]["code"] == "unknown_tool"


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("notes_notes_read", {"id": "n1"}),
        ("notes_notes_write", {"id": "n1"}),
        ("notes_notes_read", {}),
        ("notes_notes_read", {"id": "n1", "more": 1}),
        ("notes_notes_purge", {"id": "n1"}),
        ("notes_notes_archive", {"id": "n1"}),
        ("notes_secrets_read", {"id": "n1"}),
        ("nope", {}),
    ],
)
def test_a_call_is_decided_refused_and_recorded_as_a_direct_one(
    few: ServedBroker, wire: Wire, tool: str, arguments: Any
) -> None:
    """Tested: no path around. The record names the real tool, and nothing of the way it was called."""
    direct = wire.call(tool, arguments)
    by_name = wire.call("call_tool", {"name": tool, "arguments": arguments})

    assert by_name.code == direct.code
    assert _plain(by_name.body) == _plain(direct.body)
    of_direct, of_named = few.story(direct.call_id), few.story(by_name.call_id)
    assert of_named.keys() == of_direct.keys()
    for kind in of_direct:
        assert _plain(of_named[kind]) == _plain(of_direct[kind])


@pytest.mark.parametrize("tool", RESERVED)
def test_none_of_the_three_is_called_through_another(few: ServedBroker, wire: Wire, tool: str) -> None:
    """What is called by name is a tool of the catalogue, and nothing else is one."""
    answered = wire.call("call_tool", {"name": tool, "arguments": {"name": "notes_notes_read"}})

    assert answered.error["data"]["code"] == "unknown_tool"
    assert few.outcome(answered.call_id)["code"] == "unknown_tool"


def _plain(value: Any) -> Any:
    """Return an answer or a record without what differs from call to call."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items() if name.rpartition("/")[2] not in VOLATILE}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def test_direct_calls_still_work(wire: Wire) -> None:
    """How tools are shown is presentation: what may be called, policies say."""
    assert wire.call("notes_notes_read", {"id": "n1"}).result["structuredContent"]["id"] == "n1"


@pytest.mark.parametrize("name", RESERVED)
def test_to_others_the_three_are_tools_like_any_unknown_one(broker: ServedBroker, name: str) -> None:
    """Only where they are shown are they there; a call of them is on record as one of an unknown tool."""
    answered = Wire(broker).call(name, {"name": "notes_notes_read", "arguments": {"id": "n1"}})

    assert answered.error["data"]["code"] == "unknown_tool"
    assert broker.outcome(answered.call_id)["code"] == "unknown_tool"


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("call_tool", {}),
        ("call_tool", {"name": 1}),
        ("call_tool", {"name": ""}),
        ("call_tool", {"name": "notes_notes_read", "arguments": "x"}),
        ("call_tool", {"name": "notes_notes_read", "arguments": None}),
        ("call_tool", {"name": "notes_notes_read", "id": "n1"}),
        ("describe_tool", {}),
        ("describe_tool", {"name": ["notes_notes_read"]}),
        ("search_tools", {"query": 1}),
        ("search_tools", {"limit": 0}),
        ("search_tools", {"limit": True}),
        ("search_tools", {"limit": 51}),
        ("search_tools", {"words": "x"}),
    ],
)
def test_what_is_no_search_description_or_call_says_so(
    few: ServedBroker, wire: Wire, tool: str, arguments: Any
) -> None:
    """Bad input gets a clear refusal, and no call comes of it."""
    before = len(few.records())

    answered = wire.call(tool, arguments)

    assert answered.code == "invalid_arguments"
    assert answered.result["isError"]
    assert len(few.records()) == before


def test_an_agent_that_is_suspended_neither_searches_nor_calls(notes_service: NotesService, tmp_path: Path) -> None:
    """The agent's live status is read for each request."""
    written = write_few(tmp_path / "access", notes_service)
    shown = agents_document("suspended").replace("{workload", "{tools: {present: meta}, workload", 1)
    with ServedBroker(written, Notes()) as broker:
        wire = Wire(broker)
        assert wire.tools() == list(RESERVED)
        written.put("agents.yaml", shown)
        until(lambda: wire.ask("tools/list").status == 403)

        for name in RESERVED:
            assert wire.call(name, {"name": "notes_notes_read"}).status == 403


@pytest.mark.parametrize(("transport", "era"), list(itertools.product(TRANSPORTS, ERAS)))
def test_every_transport_and_era_has_them(few: ServedBroker, transport: Transport, era: Era) -> None:
    """One door for all: stdio, SSE and Streamable HTTP."""
    if (transport, era) == ("sse", "2026-07-28"):
        pytest.skip("that revision has no SSE transport")

    async def case() -> None:
        async with connected(few, transport, era) as client:
            assert [one.name for one in (await client.list_tools()).tools] == list(RESERVED)
            result = await client.call_tool("call_tool", {"name": "notes_notes_read", "arguments": {"id": "n1"}})
            refused = await client.call_tool("call_tool", {"name": "notes_notes_purge", "arguments": {"id": "n1"}})

        assert result.structured_content == {"id": "n1", "text": "Revenue grew."}
        assert (refused.meta or {})[CODE] == "access_denied"

    anyio.run(case)


# --- Names and ranking -----------------------------------------------------------------------------------------------


def tool(resource: str, action: str, words: str = "Does it.") -> CatalogTool:
    """Return a tool of a catalogue."""
    return catalog_tool("crm", Tool(resource, action, words, {"type": "object"}, {}, reads_only=True))


MANY = sorted(
    (
        tool(resource, action, f"{action.capitalize()} {resource} of the customer service.")
        for resource in ("accounts", "contacts", "orders", "invoices")
        for action in ("read", "search", "create", "delete")
    ),
    key=lambda one: one.name,
)


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("read an account", "crm_accounts_read"),
        ("createInvoice", "crm_invoices_create"),
        ("CRM_ORDERS_DELETE", "crm_orders_delete"),
        ("contac sear", "crm_contacts_search"),
        ("which orders can I search?", "crm_orders_search"),
    ],
)
def test_words_find_the_tool_that_is_meant(query: str, first: str) -> None:
    """Simple lexical ranking over names, resources and descriptions."""
    tools, more = found(MANY, query, 3)

    assert tools[0].name == first
    assert more


@settings(max_examples=50)
@given(query=st.text(max_size=60) | st.sampled_from(["read", "crm", "orders accounts", "zzz"]), most=st.integers(1, 20))
def test_a_search_is_the_same_each_time_and_shows_only_what_it_was_given(query: str, most: int) -> None:
    """Deterministic, whatever the order of what it is given; never more than was asked for."""
    tools, more = found(MANY, query, most)
    again, _ = found(MANY, query, most)
    every, _ = found(MANY, query, len(MANY))

    assert tools == again == every[:most]
    assert set(every) <= set(MANY)
    assert more == (len(every) > most)
    if every and any(character.isalnum() and character.isascii() for character in query):
        assert {one.name for one in found(list(reversed(MANY)), query, most)[0]} == {one.name for one in tools}


@pytest.mark.parametrize("name", RESERVED)
def test_no_connectors_tool_can_have_their_names(name: str) -> None:
    """Name collisions are impossible: a connector's names have three parts, and one that brings its own is refused."""
    with pytest.raises(ValueError, match=r"the broker's own"):
        catalog_tool("crm", Tool("x", "y", "", {"type": "object"}, {}, reads_only=True, name=name, prefixed=False))
