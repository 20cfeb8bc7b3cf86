"""The commands that ask the running broker: what it is, who may what, and which accounts it uses."""

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.cli.output import console
from broker.testing.salesforce.faults import Answer

Aam = Callable[..., Any]
AAM = Path(sys.executable).with_name("aam")


def test_status_says_what_the_broker_is_doing(aam: Aam, served: Any) -> None:
    """For people a page, for programs JSON; 0 as long as it serves."""
    ran, as_json = aam("status", "--dir", served.directory), aam("status", "--dir", served.directory, "--json")

    assert (ran.code, as_json.code) == (0, 0)
    assert "The broker is serving." in ran.out
    assert "salesforce: active" in ran.out
    assert "1 agent, 39 tools" in ran.out
    assert as_json.json["trail"]["records"] > 0


def test_status_shows_mistakes_that_are_not_in_force(aam: Aam, served: Any, until: Any) -> None:
    """architecture.md, The documents: the set in force stays; whoever asks is told that the disk has another."""
    broken = served.directory / "broken.yaml"
    broken.write_text("a: [")
    try:
        until(lambda: served.daemon.get("/v1/status")["documents"]["problems"])

        assert "broken.yaml:1" in aam("status", "--dir", served.directory).out
    finally:
        broken.unlink()
        until(lambda: not served.daemon.get("/v1/status")["documents"]["problems"])


def test_agents_are_listed_with_who_answers_for_them(aam: Aam, served: Any) -> None:
    """Issue 2, What a user can do 3: `aam agents`, with --json."""
    ran, as_json = aam("agents", "--dir", served.directory), aam("agents", "--dir", served.directory, "--json")

    assert "finance-analyst" in ran.out
    assert "jane.doe@example.com" in ran.out
    assert [agent["workload"] for agent in as_json.json] == ["spiffe://prod/agent/finance-analyst"]


def test_connectors_are_listed_with_their_accounts_and_their_allowance(aam: Aam, served: Any) -> None:
    """Issue 5: API limits shown in `aam connectors`, with --json; a call to the service makes them known."""
    aam("grants", "test", "salesforce", "--dir", served.directory)

    ran, as_json = aam("connectors", "--dir", served.directory), aam("connectors", "--dir", served.directory, "--json")

    (found,) = as_json.json
    assert (ran.code, as_json.code) == (0, 0)
    assert (found["name"], found["type"], found["grants"], found["pinned"]) == (
        "salesforce",
        "salesforce",
        ["active"],
        True,
    )
    assert (found["usage"]["most"], found["usage"]["full"]) == (15_000, False)
    assert f"{found['usage']['used']} of 15000" in " ".join(ran.out.split())


@pytest.mark.parametrize("command", [("agents",), ("grants", "list")])
def test_what_does_not_fit_is_shown_in_blocks(
    aam: Aam, served: Any, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """An id that is broken in two cannot be copied from a terminal of 80 columns."""
    monkeypatch.setattr(console, "width", 80)

    ran = aam(*command, "--dir", served.directory)
    as_json = aam(*command, "--dir", served.directory, "--json").json

    for one in as_json:
        for name, key in (("workload", "workload"), ("name", "name")) if command == ("agents",) else (("id", "id"),):
            assert any(line.split() == [f"{name}:", one[key]] for line in ran.out.splitlines())


@pytest.mark.parametrize("agent", ["finance-analyst", "spiffe://prod/agent/finance-analyst"])
def test_tools_are_listed_as_an_agent_can_know_of_them(aam: Aam, served: Any, agent: str) -> None:
    """Issue 2, What a user can do 3: `aam tools --as ID`: what is permitted, denied, and not built."""
    ran = aam("tools", "--as", agent, "--dir", served.directory)
    as_json = aam("tools", "--as", agent, "--dir", served.directory, "--json").json

    assert "salesforce_accounts_read" in ran.out
    assert "salesforce_contacts_read" not in ran.out
    assert {tool["action"] for tool in as_json if tool["listed"]} == {"read", "search"}
    assert {tool["action"] for tool in as_json if not tool["permitted"]} == {
        "create", "delete", "describe", "export", "related", "update", "upsert"
    }  # fmt: skip


def test_tools_of_nobody_are_misuse(aam: Aam, served: Any) -> None:
    """The name was wrong, not the broker."""
    ran = aam("tools", "--as", "nobody", "--dir", served.directory, "--json")

    near = aam("tools", "--as", "finance-analist", "--dir", served.directory)

    assert (ran.code, ran.json["code"]) == (2, "not_found")
    assert "there is finance-analyst" in ran.json["message"]
    assert (near.code, "did you mean 'finance-analyst'?" in near.err) == (2, True)


# --- Grants -----------------------------------------------------------------------------------------------------------


def test_a_grant_is_tried_by_a_harmless_call(aam: Aam, served: Any) -> None:
    """Issue 2, What a user can do 3: `aam grants test`."""
    ran = aam("grants", "test", "salesforce", "--dir", served.directory)
    as_json = aam("grants", "test", "salesforce", "--dir", served.directory, "--json")

    assert ran.out.startswith("works: signed in;")
    assert as_json.json["connector"] == "salesforce"


def test_a_grant_that_does_not_work_ends_with_1_and_its_code(aam: Aam, served: Any) -> None:
    """The service's own words do not reach the terminal."""
    body = [{"errorCode": "API_DISABLED_FOR_ORG", "message": "SERVICE TEXT"}]
    served.service.faults.add(Answer(path="/limits", status=403, body=body))

    ran = aam("grants", "test", "salesforce", "--dir", served.directory, "--json")

    assert (ran.code, ran.json["code"]) == (1, "upstream_forbidden")
    assert "SERVICE TEXT" not in ran.out


def test_a_grant_that_is_not_there_is_misuse(aam: Aam, served: Any) -> None:
    """The name was wrong."""
    assert aam("grants", "test", "hubspot", "--dir", served.directory).code == 2


def test_grants_are_listed_without_a_secret(aam: Aam, served: Any) -> None:
    """Secrets never come out: issue 2, Vault."""
    ran, as_json = (
        aam("grants", "list", "--dir", served.directory),
        aam("grants", "list", "--dir", served.directory, "--json"),
    )

    assert "salesforce" in ran.out
    (grant,) = (one for one in as_json.json if one["status"] == "active")
    assert grant["subject"] == "broker@example.com"
    assert "PRIVATE" not in ran.out + as_json.out


@pytest.mark.slow
def test_a_key_comes_by_file_stdin_or_prompt_and_is_never_shown(aam: Aam, own: Any, service: Any) -> None:
    """Issue 2, Vault: secrets enter by file, prompt or stdin, never argv, and never come out."""
    key = service.private_key_file.read_text()
    app = ["--client-id", service.consumer_key, "--subject", service.username, "--dir", str(own.directory)]
    with own:
        by_file = aam("grants", "add", "salesforce", *app, "--key-file", service.private_key_file, "--json")
        assert by_file.code == 0
        assert aam("grants", "revoke", "salesforce", "--dir", own.directory).code == 0

        by_stdin = aam("grants", "add", "salesforce", *app, "--key-file", "-", stdin=key)
        assert by_stdin.code == 0
        assert "Try it: aam grants test salesforce" in by_stdin.out
        again = aam("grants", "add", "salesforce", *app, stdin=key)
        assert again.code == 1
        assert "already_exists" in again.err
        assert aam("grants", "revoke", "salesforce", "--dir", own.directory, "--json").json["status"] == "revoked"

        status, shown = _typed(["grants", "add", "salesforce", *app], key + "\n\x04")
        assert status == 0
        assert "Paste the private key" in shown
        assert "PRIVATE KEY" not in shown
        assert aam("grants", "test", "salesforce", "--dir", own.directory).code == 0

    said = by_file.out + by_stdin.out + by_stdin.err + again.err + own.log.read_text()
    assert "PRIVATE KEY" not in said
    assert key.splitlines()[5] not in said


def _typed(arguments: list[str], text: str) -> tuple[int, str]:
    """Run a command at a terminal, type when it asks, and return its status and all that the terminal showed."""
    near, far = pty.openpty()
    ran = subprocess.Popen([AAM, *arguments], stdin=far, stdout=far, stderr=far, close_fds=True)
    os.close(far)
    shown = b""
    deadline = time.monotonic() + 20
    typed = False
    while time.monotonic() < deadline:
        if select.select([near], [], [], 0.1)[0]:
            try:
                shown += os.read(near, 65536)
            except OSError:
                break
        if not typed and b"Ctrl-D" in shown:
            typed = True
            os.write(near, text.encode())
    os.close(near)
    return ran.wait(60), shown.decode()


@pytest.mark.parametrize(
    "stdin", ["", "\n", "not a key\n", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_key_that_is_none_is_refused_and_not_repeated(aam: Aam, served: Any, stdin: str) -> None:
    """What was pasted by mistake may be another secret."""
    app = ["--client-id", "x", "--subject", "y", "--dir", served.directory]

    ran = aam("grants", "add", "salesforce", *app, stdin=stdin)

    assert ran.code == 2
    assert "AAAA" not in ran.err
    assert "not a key" not in ran.err


@pytest.mark.parametrize("file", ["nowhere.pem", ".", "/bin/ls"])
def test_a_key_file_that_cannot_be_read_is_misuse(aam: Aam, served: Any, file: str) -> None:
    """A sentence, as text and as JSON."""
    app = ["--client-id", "x", "--subject", "y", "--dir", served.directory, "--key-file", file]

    assert aam("grants", "add", "salesforce", *app).code == 2
    assert aam("grants", "add", "salesforce", *app, "--json").json["code"] == "command_misused"


# --- Snapshots --------------------------------------------------------------------------------------------------------


def test_a_snapshot_that_is_what_was_pinned_changes_nothing(aam: Aam, served: Any) -> None:
    """Issue 2, Salesforce: `aam connector snapshot NAME` fetches through the same grant and egress."""
    ran = aam("connector", "snapshot", "salesforce", "--dir", served.directory)

    assert (ran.code, "Nothing has changed" in ran.out) == (0, True)


def test_what_the_service_says_otherwise_is_shown_and_pinned_only_if_somebody_wants_it(
    aam: Aam, served: Any, until: Any
) -> None:
    """Issue 2, Salesforce: shows the difference and pins it on approval; lessons.md 15 (rug-pulls)."""
    pinned = served.directory / "connectors/salesforce.snapshot.json"
    original = pinned.read_bytes()
    served.service.faults.add(Answer(path="/Account/describe", status=200, body=_description(), times=3))

    shown = aam("connector", "snapshot", "salesforce", "--dir", served.directory)
    as_json = aam("connector", "snapshot", "salesforce", "--dir", served.directory, "--json")
    unchanged = pinned.read_bytes() == original
    approved = aam("connector", "snapshot", "salesforce", "--dir", served.directory, "--approve")
    try:
        assert (shown.code, as_json.code, approved.code) == (1, 1, 0)
        assert unchanged
        assert "+ objects.Account.fields.Loyalty__c" in shown.out
        assert "- objects.Account.fields.Name" in shown.out
        assert "~ objects.Account.label: 'Account' -> 'Firm\\x1b'" in shown.out
        assert "not pinned" in shown.out
        assert any(one.startswith("+ objects.Account.fields.Loyalty__c.") for one in as_json.json["changes"])
        assert not as_json.json["pinned"]
        assert b"Loyalty__c" in pinned.read_bytes()
        until(lambda: "Loyalty__c" in str(served.daemon.get("/v1/status")) or _reloaded(served))
    finally:
        pinned.write_bytes(original)
        until(lambda: not _reloaded(served))


def _reloaded(served: Any) -> bool:
    """Tell whether the broker has loaded the changed snapshot: its tools read otherwise then."""
    tools = served.daemon.get("/v1/tools", **{"as": "finance-analyst"})
    return any("Firm" in tool["description"] for tool in tools)


def _description() -> dict[str, Any]:
    field = {"label": "x", "type": "string", "filterable": True, "sortable": True, "picklistValues": []}
    return {"label": "Firm\x1b", "fields": [{**field, "name": "Id", "type": "id"}, {**field, "name": "Loyalty__c"}]}


def test_a_connector_that_is_not_configured_is_misuse(aam: Aam, served: Any) -> None:
    """The name was wrong, and the right ones are named."""
    ran = aam("connector", "snapshot", "hubspot", "--dir", served.directory)

    assert ran.code == 2
    assert "there is salesforce" in ran.err


@pytest.mark.slow
def test_a_new_object_is_mapped_fetched_and_served_without_a_restart(aam: Aam, own: Any, until: Any) -> None:
    """The snapshot that a document needs is fetched by the broker that has loaded the document."""
    document = own.directory / "connectors/salesforce.yaml"
    document.write_text(document.read_text().replace("salesforce.snapshot.json", "fresh.json"))
    with own:
        own.add_grant()
        before = aam("tools", "--as", "finance-analyst", "--dir", own.directory, "--json").json
        assert not any(tool["built"] for tool in before)
        assert "nothing is pinned" in aam("doctor", own.directory).out

        ran = aam("connector", "snapshot", "salesforce", "--approve", "--dir", own.directory)

        assert ran.code == 0
        assert "+ objects.Account" in ran.out
        until(lambda: aam("tools", "--as", "finance-analyst", "--dir", own.directory, "--json").json != before)
