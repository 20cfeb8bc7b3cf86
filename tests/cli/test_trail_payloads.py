"""`aam trail show --reveal`, `erase` and `hold`: what is asked for, what is said, and how they end."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Serve
from tests.support.broker import ServedBroker, until
from tests.support.clients import Wire
from tests.support.documents import recording_policy

Aam = Callable[..., Any]
HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202e[bold red]knat"
WHY = ("--reason", "request 12")


@pytest.fixture
def recorded(serve: Serve) -> ServedBroker:
    """Serve a broker that has the analyst's arguments and results recorded."""
    broker = serve()
    broker.written.put("recording.yaml", recording_policy("arguments.id", "result"))
    until(lambda: broker.records(kind="documents_loaded"))
    return broker


@pytest.fixture
def run(recorded: ServedBroker, aam: Aam) -> Aam:
    """Run a command of `aam trail` against that broker."""
    return lambda *arguments: aam("trail", *arguments, "--dir", recorded.written.directory)


def call(broker: ServedBroker, note: str = "n1") -> str:
    """Make a call that is recorded, and return its id."""
    return Wire(broker).call("notes_notes_misbehave", {"id": note}).call_id


def test_a_call_says_what_is_recorded_encrypted_and_shows_it_when_asked(recorded: ServedBroker, run: Aam) -> None:
    """Issue 3, What must be true: shown to those who may, with the reason on record."""
    one = call(recorded)

    plain, revealed = run("show", one), run("show", one, "--reveal", *WHY)
    as_json = run("show", one, "--reveal", *WHY, "--json").json

    assert "arguments.id  recorded encrypted" in plain.out
    assert "Revenue" not in plain.out
    assert "Revenue grew." in revealed.out
    assert [value["field"] for value in as_json["revealed"]] == ["arguments.id", "result"]
    assert [record["call_id"] for record in as_json["records"]] == [one] * 3
    assert [record["reason"] for record in recorded.records(kind="payload_revealed")] == ["request 12"] * 2


@pytest.mark.parametrize("more", [("--reveal",), ("--reveal", "--reason", " "), ("--reason", "x")])
def test_revealing_needs_a_reason_and_a_reason_is_for_revealing(recorded: ServedBroker, run: Aam, more: Any) -> None:
    """Exit status 2, and nothing is shown or on record."""
    ran = run("show", call(recorded), *more)

    assert (ran.code, ran.out) == (2, "")
    assert recorded.records(kind="payload_revealed") == []


def test_what_was_recorded_does_nothing_to_a_terminal(recorded: ServedBroker, run: Aam) -> None:
    """What an agent sent is shown as text."""
    one = call(recorded, HOSTILE)

    for more in ((), ("--json",)):
        shown = run("show", one, "--reveal", *WHY, *more)
        assert shown.code == 0
        assert all(character.isprintable() or character == "\n" for character in shown.out)
    assert "knat" in run("show", one, "--reveal", *WHY).out


def test_what_was_erased_is_gone_and_the_call_says_so(recorded: ServedBroker, run: Aam) -> None:
    """Issue 3, What must be true: erased later; the trail still verifies."""
    one, other = call(recorded), call(recorded)

    erased = run("erase", "--call", one, "--yes", *WHY)
    as_json = run("erase", "--owner", "jane@example.com", "--since", "2026-01-01", "--yes", *WHY, "--json")

    assert (erased.code, erased.out) == (0, "erased: 2 values of 1 call\n")
    assert (as_json.code, as_json.json) == (0, {"calls": 1, "values": 2, "kept": [], "overwritten": True})
    for gone in (one, other):
        assert run("show", gone).out.count("was recorded encrypted, and has been erased") == 2
        assert run("show", gone, "--reveal", *WHY).code == 2
    assert run("verify").code == 0


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--call", "x", "--owner", "jane"),
        ("--since", "yesterday"),
        ("--decision", "maybe"),
        ("--owner", " "),
    ],
)
@pytest.mark.parametrize("command", [("erase", "--yes"), ("hold", "add", "case-17")], ids=lambda command: command[0])
def test_which_calls_are_meant_must_be_said(
    recorded: ServedBroker, run: Aam, command: tuple[str, ...], options: tuple[str, ...]
) -> None:
    """Nothing named never means everything: 2."""
    one = call(recorded)

    ran = run(*command, *options, *WHY)

    assert (ran.code, ran.out) == (2, "")
    assert recorded.operators.get("/v1/trail/payloads", call=one)["values"] == 2
    assert recorded.operators.get("/v1/trail/holds") == []


def test_without_a_yes_nothing_is_erased_where_nobody_can_answer(recorded: ServedBroker, run: Aam) -> None:
    """What is erased does not come back."""
    one = call(recorded)

    for more in ((), ("--json",)):
        assert run("erase", "--call", one, *WHY, *more).code == 2

    assert recorded.operators.get("/v1/trail/payloads", call=one)["values"] == 2


@pytest.mark.parametrize(("answer", "left", "code"), [("n", 2, 1), ("y", 0, 0)])
def test_who_can_answer_is_asked_and_sees_what_would_be_erased(
    recorded: ServedBroker, aam: Aam, monkeypatch: pytest.MonkeyPatch, answer: str, left: int, code: int
) -> None:
    """On a terminal."""
    one = call(recorded)
    monkeypatch.setattr(importlib.import_module("broker.cli.trail.erase"), "_can_answer", lambda: True)

    ran = aam("trail", "erase", "--call", one, *WHY, "--dir", recorded.written.directory, stdin=f"{answer}\n")

    assert ran.code == code
    assert "Erase 2 values of 1 call for good?" in ran.out
    assert recorded.operators.get("/v1/trail/payloads", call=one)["values"] == left


def test_a_hold_keeps_is_listed_and_is_released(recorded: ServedBroker, run: Aam) -> None:
    """Issue 3, What a user can do 6: legal holds win."""
    one = call(recorded)

    added = run("hold", "add", "case-17", "--agent", "analyst", "--reason", "case 17")
    kept = run("erase", "--call", one, "--yes", *WHY)
    listed, as_json = run("hold", "list"), run("hold", "list", "--json").json
    released = run("hold", "release", "case-17", "--reason", "closed")
    erased = run("erase", "--call", one, "--yes", *WHY)

    assert (added.code, added.out) == (0, "held: agent analyst\n")
    assert kept.out == "erased: 0 values of 0 calls\nkept: 1 call by the hold case-17\n"
    assert all(word in listed.out for word in ("case-17", "agent analyst", "case 17"))
    assert [(hold["name"], hold["filter"], hold["released"]) for hold in as_json] == [
        ("case-17", {"agent": "analyst"}, None)
    ]
    assert (released.code, erased.out) == (0, "erased: 2 values of 1 call\n")
    assert run("hold", "release", "case-17", *WHY).code == 2
    assert run("hold", "add", "case-17", "--call", one, *WHY).code == 1


def test_what_still_stands_in_the_log_is_said(recorded: ServedBroker, run: Aam) -> None:
    """1: it is erased, and somebody who can read the disk could still find the sealed bytes."""
    one = call(recorded)
    store = recorded.parts.store

    with store.reading() as connection:
        store.payloads.of_call(connection, one)
        ran = run("erase", "--call", one, "--yes", *WHY)
    again = run("erase", "--call", one, "--yes", *WHY)

    assert (ran.code, "write-ahead log" in ran.err) == (1, True)
    assert (again.code, again.err) == (0, "")


def test_holds_of_a_new_broker_are_none(aam: Aam, broker: ServedBroker) -> None:
    """A sentence, and an empty list."""
    directory: Path = broker.written.directory

    assert aam("trail", "hold", "list", "--dir", directory).out == "There is no hold.\n"
    assert aam("trail", "hold", "list", "--dir", directory, "--json").json == []
