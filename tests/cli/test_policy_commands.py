"""`aam policy`: explained, tested, compared and replayed, as people and programs use it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters

from tests.cli.conftest import AAM

Aam = Callable[..., Any]
POLICIES = Path(__file__).parents[2] / "policies"


@pytest.fixture
def proposed(tmp_path: Path) -> Path:
    """Copy the examples, so that a test may change them."""
    return Path(shutil.copytree(POLICIES, tmp_path / "proposed"))


def change(directory: Path, file: str, old: str, new: str) -> None:
    """Change a file in one place."""
    text = (directory / file).read_text()
    assert old in text
    (directory / file).write_text(text.replace(old, new, 1))


# --- explain ----------------------------------------------------------------------------------------------------------


def test_a_permit_is_explained_with_its_rule_and_its_line(aam: Aam) -> None:
    """Issue 4, People can work with it: the decision, the deciding rule with file and line, what would change it."""
    ran = aam("policy", "explain", "--as", "support-triage", "salesforce.contacts", "read", "--dir", POLICIES)

    text = (POLICIES / "support-triage.yaml").read_text()
    line = text.splitlines().index("    - resource: salesforce.contacts") + 2
    assert ran.code == 0
    assert ran.out.startswith("permit (rule_permits)")
    for words in (f"(support-triage.yaml:{line})", "masked: Phone", "nothing would permit it"):
        assert words in ran.out


def test_a_denial_says_which_condition_was_false(aam: Aam) -> None:
    """Issue 4, People can work with it: what would change it."""
    asked = ("policy", "explain", "--as", "support-triage", "salesforce.contacts", "read", "--dir", POLICIES)

    found = aam(*asked, "--assurance", "peer", "--method", "unix-peer", "--json").json

    assert (found["effect"], found["reason"]) == ("deny", "no_rule_permits")
    assert [one["state"] for one in found["considered"]] == ["condition_false"]
    assert "would permit it if context.environment" in found["changes"][0]


def test_arguments_and_time_are_those_that_are_given(aam: Aam, proposed: Path) -> None:
    """Issue 4, People can work with it: `--arguments JSON`, `--at TIME`."""
    change(
        proposed,
        "support-triage.yaml",
        "      max_records: 100",
        "      valid_until: 2026-06-01T00:00:00Z\n      when: arguments.id == '001'",
    )
    change(proposed, "support-triage.yaml", "[read, search]", "[read]")
    asked = ("policy", "explain", "--as", "support-triage", "salesforce.cases", "read", "--dir", proposed, "--json")

    before = aam(*asked, "--at", "2026-05-31", "--arguments", '{"id": "001"}').json
    other = aam(*asked, "--at", "2026-05-31", "--arguments", '{"id": "002"}').json
    after = aam(*asked, "--at", "2026-06-01T00:00:00Z", "--arguments", '{"id": "001"}').json
    missing = aam(*asked, "--at", "2026-05-31").json

    assert [one["effect"] for one in (before, other, after, missing)] == ["permit", "deny", "deny", "deny"]
    assert [one["considered"][0]["state"] for one in (before, other, after, missing)] == [
        "applies", "condition_false", "not_valid_now", "cannot_be_evaluated"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("salesforce.cases", "read"), "--as NAME"),
        (("--as", "suport-triage", "salesforce.cases", "read"), "did you mean 'support-triage'?"),
        (("--as", "support-triage", "salesforce.case", "read"), "did you mean 'salesforce.cases'?"),
        (("--as", "support-triage", "salesforce.cases", "raed"), "did you mean 'read'?"),
        (("--as", "support-triage", "salesforce.cases", "read", "--arguments", "[1]"), "is no JSON object"),
        (("--as", "support-triage", "salesforce.cases", "read", "--at", "soon"), "is no moment"),
        (("--as", "support-triage", "salesforce.cases", "read", "--assurance", "high"), "--assurance"),
    ],
)
def test_a_question_that_means_nothing_is_misuse(aam: Aam, arguments: tuple[str, ...], words: str) -> None:
    """The handbook: exit status 2, and what to write instead."""
    ran = aam("policy", "explain", *arguments, "--dir", POLICIES)

    assert ran.code == 2
    assert words in ran.err


# --- test -------------------------------------------------------------------------------------------------------------


def test_the_examples_pass_their_own_tests(aam: Aam) -> None:
    """Issue 4: example documents carry their own tests; every rule of the examples is covered by one."""
    found = aam("policy", "test", POLICIES, "--json")

    assert found.code == 0
    assert (found.json["ok"], found.json["uncovered"]) == (True, [])
    assert len(found.json["tests"]) > 5


def test_a_test_that_fails_says_where_it_stands(aam: Aam, proposed: Path) -> None:
    """Issue 4: `aam policy test` runs the documents' own tests; exit status 1 if one fails."""
    change(proposed, "support-triage.yaml", "deny: [create, update, delete, export]", "deny: [create, delete, export]")
    change(proposed, "support-triage.yaml", "actions: [describe]", "actions: [describe, update]")

    ran = aam("policy", "test", proposed)

    assert ran.code == 1
    assert "support-triage-never nothing is written: deny is expected; it is permit (rule_permits)" in ran.out


def test_a_rule_that_no_test_covers_is_named(aam: Aam, proposed: Path) -> None:
    """Issue 4: says which rules none covers; that alone is no failure."""
    change(proposed, "support-triage.yaml", "    - { name: what a case has,", "    # - { name: what a case has,")

    ran = aam("policy", "test", proposed, "--json")

    assert ran.code == 0
    assert [(one["policy"], one["place"]) for one in ran.json["uncovered"]] == [("support-triage", "tools[0].actions")]


def test_what_a_permit_is_narrowed_to_can_be_tested(aam: Aam, proposed: Path) -> None:
    """A rule that lets more out than its test says is a failure."""
    change(proposed, "support-triage.yaml", "      max_records: 100\n", "")

    ran = aam("policy", "test", proposed)

    assert ran.code == 1
    assert "100 records at most are expected; it is any number" in ran.out


def test_a_set_with_mistakes_is_not_tested(aam: Aam, proposed: Path) -> None:
    """What cannot be loaded cannot pass."""
    change(proposed, "support-triage.yaml", "context.assurance", "context.asurance")

    ran = aam("policy", "test", proposed)

    assert ran.code == 1
    assert "did you mean 'assurance'?" in ran.err


# --- diff -------------------------------------------------------------------------------------------------------------


def test_what_becomes_allowed_refused_and_bound_otherwise_is_listed(aam: Aam, proposed: Path) -> None:
    """Issue 4: `aam policy diff OLD NEW` lists what becomes allowed and refused."""
    change(proposed, "support-triage.yaml", "actions: [describe]", "actions: [describe, read]")
    change(proposed, "support-triage.yaml", "actions: [read, search]", "actions: [search]")
    change(proposed, "support-triage.yaml", "max_records: 100", "max_records: 50")
    change(proposed, "support-triage.yaml", "actions: [read]  ", "actions: [search]  ")
    change(proposed, "support-triage.yaml", "max_records: 100 }", "max_records: 50 }")

    found = aam("policy", "diff", POLICIES, proposed, "--json").json

    assert [(one["resource"], one["action"], one["change"]) for one in found] == [
        ("salesforce.cases", "read", "changed"),
        ("salesforce.cases", "search", "changed"),
        ("salesforce.contacts", "read", "refused"),
        ("salesforce.contacts", "search", "allowed"),
    ]
    assert found[0]["new"] == ["permitted"]
    assert "50 records at most" in found[1]["new"][0]


def test_sets_that_permit_the_same_do_not_differ(aam: Aam, proposed: Path) -> None:
    """How it is written does not matter."""
    change(proposed, "support-triage.yaml", "actions: [read, search]", "actions: [search, read, search]")

    assert "Nothing that agents may do differs." in aam("policy", "diff", POLICIES, proposed).out


# --- what the trail tells of ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def called(shared: Any) -> list[str]:
    """Search once, and try to export once; return the calls' ids."""
    socket = str(shared.directory / "run/agents.sock")
    server = StdioServerParameters(command=str(AAM), args=["stdio", "--socket", socket, "--agent", "finance-analyst"])

    async def call() -> list[str]:
        async with Client(server) as client:
            answers = [
                await client.call_tool("salesforce_accounts_search", {"limit": 1, "fields": ["Id"]}),
                await client.call_tool("salesforce_accounts_export", {}),
            ]
            return [str((answer.meta or {})["dev.envisionai.access/call_id"]) for answer in answers]

    return anyio.run(call)


def test_a_call_is_explained_by_its_records(aam: Aam, served: Any, called: list[str]) -> None:
    """Issue 4: `explain CALL` prints the decision and the deciding rule, as it was then."""
    ran = aam("policy", "explain", called[1], "--dir", served.directory)

    assert ran.code == 0
    assert ran.out.startswith("deny (rule_denies)")
    for words in (
        "finance-analyst-readonly tools[0].deny",
        "deny: [export, update, delete]",
        "aam policy explain --as",
    ):
        assert words in ran.out


def test_a_call_that_there_is_not_is_misuse(aam: Aam, served: Any) -> None:
    """Nothing is made up."""
    assert aam("policy", "explain", "no-such-call", "--dir", served.directory).code == 2


def copied(served: Any, place: Path) -> Path:
    """Copy the documents in force, to be changed."""
    return Path(shutil.copytree(served.directory, place / "new", ignore=shutil.ignore_patterns("run", "data")))


def _replayed(aam: Aam, served: Any, place: Path, old: str, new: str) -> Any:
    directory = copied(served, place)
    change(directory, "policies/finance-analyst-readonly.yaml", old, new)
    return aam("policy", "replay", directory, "--since", "1d", "--dir", served.directory, "--json")


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("[read, search]", "[read]", {"deny"}),
        ("actions: [read, search]", "actions: [read, search]\n      fields: [Name]", set()),
        ("deny: [export, update, delete]", "when: agent.team == 'nobody'", {"deny"}),
        ("deny: [export, update, delete]", "when: arguments.limit < 5", {"undetermined"}),
        ("deny: [export, update, delete]", "when: context.transport == 'stdio'", set()),
    ],
)
def test_the_trail_is_replayed_against_a_proposed_set(
    aam: Aam, served: Any, called: list[str], tmp_path: Path, old: str, new: str, wanted: set[str]
) -> None:
    """Issue 4: replays the trail; conditions on arguments that were only digested are reported as undetermined."""
    assert called
    ran = _replayed(aam, served, tmp_path, old, new)

    assert ran.code == 0
    searches = {one["becomes"] for one in ran.json["differences"] if one["action"] == "search"}
    assert searches == wanted
    assert ran.json["calls"] == sum(ran.json[name] for name in ("same", "different", "undetermined"))


def test_replaying_is_told_in_one_line_for_each_kind(aam: Aam, served: Any, called: list[str], tmp_path: Path) -> None:
    """For people: how many calls, whose, and by which rule."""
    assert called
    directory = copied(served, tmp_path)
    change(directory, "policies/finance-analyst-readonly.yaml", "[read, search]", "[read]")

    ran = aam("policy", "replay", directory, "--dir", served.directory)

    assert "finance-analyst  salesforce.accounts search  permit → deny" in ran.out
    assert "undetermined" in ran.out.splitlines()[-1]
