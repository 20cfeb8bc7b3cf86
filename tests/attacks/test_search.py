"""Attempts on the search: by what is asked for, by names of a client's choice, by what stands in the index's place."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from typer.testing import CliRunner

from broker.audit import Filter
from broker.cli.commands import app
from broker.store import Store
from tests.support.broker import ServedBroker, until
from tests.support.clients import Lines, request
from tests.support.trails import call, found, index, record, selected, write

HOSTILE = [
    "' OR '1'='1",
    "' OR 1=1 --",
    '" OR ""="',
    "analyst') UNION SELECT 1 --",
    "'; DROP TABLE entries; --",
    ":owner",
    "?1",
    "$.identity.agent",
    '"},"agent":"analyst"',
    "%",
    "_nalyst",
    "a*",
    "[a]nalyst",
    "ANALYST",
    "analyst ",
    "analyst\x00",
    "analysť",
    "null",
]


@pytest.fixture
def trail(tmp_path: Path) -> Iterator[Store]:
    """Index one call of the analyst, and one of an agent for each hostile name."""
    store = Store.open(tmp_path / "broker.db", "access.example/log/test")
    who = {"workload": "spiffe://x/analyst", "owner": "analyst", "team": "analyst", "resource": "analyst"}
    write(store, [*call("c", agent="analyst", **who, action="analyst", code="analyst"), record("started", "t")])
    index(store)
    yield store
    store.close()


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("part", ["since", "until", "agent", "owner", "team", "resource", "action", "code"])
def test_what_is_asked_for_is_a_value_and_never_a_query(trail: Store, part: str, value: str) -> None:
    """Issue 3, What a user can do 2: SQL, JSON paths and wildcards in a filter mean themselves, and match nothing."""
    wanted = Filter(**{part: value}, decision="deny")
    alike = Filter(**{part: value}) if part not in {"since", "until"} else wanted

    assert found(trail, wanted) == found(trail, alike) == []
    assert selected(trail, alike, 0, 4) == []
    assert found(trail, Filter(agent="analyst")) == [0]


@pytest.mark.parametrize("value", [value for value in HOSTILE if "\x00" not in value])
def test_a_hostile_name_in_the_trail_is_found_by_itself_alone(trail: Store, value: str) -> None:
    """Whatever stands in a record is text; it is neither unescaped twice nor taken for a pattern."""
    write(trail, call("hostile", agent=value))
    index(trail)

    assert found(trail, Filter(agent=value)) == [4]
    assert found(trail, Filter(agent="analyst")) == [0]


@pytest.mark.parametrize("value", HOSTILE)
def test_the_door_takes_values_as_they_are(broker: ServedBroker, value: str) -> None:
    """A value that no agent has finds nothing, and breaks nothing."""
    answer = broker.operators.get("/v1/trail/search?agent=" + quote(value))

    assert answer["entries"] == []


NAMES = [
    "\x1b]0;owned\x07\x1b[2J\x9b1m\u202eknat[bold red]",
    "a\nb\r\nc\u2028d\x85e",
    "2026-11-24T08:00:00.000Z  analyst  notes.notes read  permit  released  0",
    "x" * 10_000,
]


def test_no_name_of_a_tool_breaks_a_line_or_reaches_the_terminal_as_more_than_text(broker: ServedBroker) -> None:
    """What an agent asks for by a name of its own choice is one cell of one line, and not a long one."""
    ids = []
    with Lines(broker.agents_socket) as lines:
        for name in NAMES:
            lines.say(request("tools/call", {"name": name, "arguments": {}}))
            ids.append(lines.next()["error"]["data"]["call_id"])
    until(lambda: not broker.operators.get("/v1/status")["search_index"]["records"])

    def search(*more: str) -> str:
        command = ["trail", "search", "--limit", str(len(NAMES)), "--dir", str(broker.written.directory), *more]
        return str(CliRunner().invoke(app, command).output)

    shown, as_json = search(), search("--json")

    listed = shown.splitlines()[: len(NAMES)]
    assert [line.rpartition("  ")[2] for line in listed] == list(reversed(ids))
    assert max(map(len, listed)) < 240
    assert all(line.isprintable() for line in [*shown.splitlines(), *as_json.splitlines()])
    entries: list[Any] = json.loads(as_json)["entries"]
    assert [entry["tool"] for entry in reversed(entries)] == [name[:200] for name in NAMES]


def test_a_link_in_the_indexs_place_is_not_written_through(tmp_path: Path) -> None:
    """Who may write there is the store's owner; and even so, nothing else is lost by it."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    store = Store.open(tmp_path / "broker.db", "access.example/log/test")
    store.search.path.symlink_to(victim)

    write(store, call("c", agent="a"))
    index(store)

    assert (victim.read_text(), found(store, Filter(agent="a"))) == ("precious", [0])
    assert not store.search.path.is_symlink()
    store.close()
