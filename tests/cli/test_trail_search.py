"""`aam trail search` and `aam trail reindex`, as people and programs use them."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters

from tests.cli.conftest import AAM

Aam = Callable[..., Any]


@pytest.fixture(scope="module")
def called(shared: Any, until: Any) -> list[str]:
    """Call twice, and be refused once; return the calls' ids, once they are indexed."""
    socket = str(shared.directory / "run/agents.sock")
    server = StdioServerParameters(command=str(AAM), args=["stdio", "--socket", socket, "--agent", "finance-analyst"])

    async def call() -> list[str]:
        async with Client(server) as client:
            answers = [
                await client.call_tool("salesforce_accounts_search", {"limit": 1, "fields": ["Id"]}),
                await client.call_tool("salesforce_accounts_export", {}),
            ]
            return [str((answer.meta or {})["dev.envisionai.access/call_id"]) for answer in answers]

    ids = anyio.run(call)
    until(lambda: not shared.daemon.get("/v1/status")["search_index"]["records"])
    return ids


def test_calls_are_listed_newest_first_one_a_line_with_their_ids(aam: Aam, served: Any, called: list[str]) -> None:
    """Issue 3, What a user can do 2: when, who, what, the decision, how it ended; the id can be copied."""
    ran = aam("trail", "search", "--agent", "finance-analyst", "--limit", "2", "--dir", served.directory)

    refused, released = (line.split() for line in ran.out.splitlines()[:2])
    assert ran.code == 0
    assert refused[1:] == [
        "finance-analyst", "salesforce.accounts", "export", "deny", "refused", "access_denied", called[1]
    ]  # fmt: skip
    assert released[1:] == ["finance-analyst", "salesforce.accounts", "search", "permit", "released", called[0]]


def test_what_is_found_can_be_shown(aam: Aam, served: Any, called: list[str]) -> None:
    """Issue 3, What a user can do: from a search to the whole story."""
    query = ("--decision", "deny", "--resource", "salesforce.accounts", "--code", "access_denied", "--limit", "1")
    line = aam("trail", "search", *query, "--dir", served.directory).out.splitlines()[0]

    shown = aam("trail", "show", line.split()[-1], "--dir", served.directory)

    assert (shown.code, "access_denied" in shown.out, called[1] in shown.out) == (0, True, True)


def test_the_next_page_is_said_and_goes_on_where_this_one_ends(aam: Aam, served: Any, called: list[str]) -> None:
    """Issue 3, What a user can do 2: pages."""
    first = aam("trail", "search", "--limit", "1", "--agent", "finance-analyst", "--dir", served.directory)
    before = first.out.splitlines()[1].split()[-1]
    query = ("--limit", "1", "--agent", "finance-analyst", "--before", before)

    second = aam("trail", "search", *query, "--dir", served.directory, "--json").json

    assert "--before" in first.out
    assert [entry["call_id"] for entry in second["entries"]] == [called[0]]


def test_events_are_listed_with_their_actor_and_record(aam: Aam, served: Any, called: list[str]) -> None:
    """What is no call is found beside the calls: nothing asks for an agent here."""
    events = [
        entry
        for entry in aam("trail", "search", "--limit", "200", "--dir", served.directory, "--json").json["entries"]
        if entry["kind"] == "grant_added"
    ]
    shown = aam("trail", "search", "--limit", "200", "--dir", served.directory).out

    assert called
    assert events
    (line,) = (line for line in shown.splitlines() if line.endswith(f"record {events[0]['seq']}"))
    assert line.split()[1:3] == [events[0]["actor"]["user"], "grant_added"]


def test_nothing_found_is_said_and_fine(aam: Aam, served: Any, called: list[str]) -> None:
    """An empty answer is an answer."""
    ran = aam("trail", "search", "--agent", "nobody", "--dir", served.directory)

    assert called
    assert (ran.code, ran.out) == (0, "Nothing in the trail matches.\n")


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("--since", "yesterday", "--since"),
        ("--until", "2026-99-01", "--until"),
        ("--decision", "maybe", "--decision"),
        ("--agent", "", "--agent"),
        ("--owner", "a\x1bb", "--owner"),
        ("--code", "\udc80", "--code"),
        ("--limit", "0", "--limit"),
        ("--limit", "201", "--limit"),
        ("--before", "0", "--before"),
    ],
)
def test_an_option_that_asks_for_nothing_known_is_misuse_and_named(
    aam: Aam, served: Any, option: str, value: str, named: str
) -> None:
    """Absent means less: a filter that was meant and is wrong must not be left out."""
    ran = aam("trail", "search", option, value, "--dir", served.directory)

    assert (ran.code, ran.out) == (2, "")
    assert named in ran.err


def test_how_far_the_index_lags_is_said(
    aam: Aam, served: Any, called: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 3, What a user can do 2: its lag shown; what is not there may only not be indexed yet."""
    answer = served.daemon.get("/v1/trail/search", limit=1) | {"lag": {"records": 3, "seconds": 1.5}}
    monkeypatch.setattr("broker.cli.daemon.Daemon.get", lambda *_, **__: answer)

    ran = aam("trail", "search", "--dir", served.directory)

    assert called
    assert "The index is 3 records behind, for 1.5 s" in ran.out


def test_the_index_is_made_again_and_status_says_how_far_it_is(
    aam: Aam, served: Any, called: list[str], until: Any
) -> None:
    """Issue 3, What a user can do 2: rebuildable; the trail itself is not touched."""
    before = aam("status", "--dir", served.directory, "--json").json["trail"]["records"]

    ran = aam("trail", "reindex", "--dir", served.directory)
    as_json = aam("trail", "reindex", "--dir", served.directory, "--json")
    until(lambda: "search index     up to date" in aam("status", "--dir", served.directory).out)

    assert (ran.code, as_json.code) == (0, 0)
    assert f"made again from {before + 1} records" in ran.out
    assert set(as_json.json["lag"]) == {"records", "seconds"}
    newest = aam("trail", "search", "--limit", "1", "--dir", served.directory, "--json").json["entries"][0]
    assert (newest["kind"], newest["seq"]) == ("index_rebuilt", before + 1)
    assert called[1] in aam("trail", "search", "--code", "access_denied", "--dir", served.directory).out
