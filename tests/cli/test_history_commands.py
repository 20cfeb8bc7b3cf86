"""`aam documents history`, `show` and `rollback`: how the documents came to be what they are, and a change undone."""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.cli.daemon import Daemon
from broker.documents import load
from broker.documents.restore import CannotRestore

Aam = Callable[..., Any]
Until = Callable[[Callable[[], Any]], Any]

pytestmark = pytest.mark.slow
POLICY = "policies/finance-analyst-readonly.yaml"


class Changing:
    """A broker of the test's own, whose documents change."""

    def __init__(self, own: Any, aam: Aam, until: Until) -> None:
        self.directory: Path = own.directory
        self.own = own
        self._aam = aam
        self._until = until
        self.first = self.digest

    @property
    def digest(self) -> str:
        """The set in force."""
        return str(Daemon(self.directory).get("/v1/status")["documents"]["digest"])

    def aam(self, *arguments: str) -> Any:
        """Run `aam documents …` for it."""
        return self._aam("documents", *arguments, "--dir", self.directory)

    def change(self, name: str, old: str, new: str) -> str:
        """Change a document and wait until that is in force; return the digest."""
        before, path = self.digest, self.directory / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        self._until(lambda: self.digest != before)
        return self.digest

    def records(self, kind: str) -> list[Any]:
        """Return the last records of a kind."""
        return [one for one in Daemon(self.directory).get("/v1/trail", last=1000) if one["kind"] == kind]

    def tree(self) -> dict[str, bytes]:
        """Return the documents as they lie there, and what lies beside them."""
        return {
            str(path.relative_to(self.directory)): path.read_bytes()
            for path in self.directory.rglob("*")
            if path.is_file() and path.parent.name not in {"data", "secrets", "run"}
        }


@pytest.fixture(name="changing")
def _changing(own: Any, aam: Aam, until: Until) -> Iterator[Changing]:
    """Serve a set."""
    with own:
        yield Changing(own, aam, until)


def test_the_history_says_when_what_and_who(changing: Changing) -> None:
    """Issue 3, `aam documents history`: documents loaded, with digest and difference, in a table and as JSON."""
    second = changing.change(POLICY, "deny: [export, update, delete]", "deny: [read]")

    said, as_json = changing.aam("history"), changing.aam("history", "--json")
    older = changing.aam("history", "--last", "1", "--before", str(as_json.json["sets"][0]["record"]), "--json")

    assert (said.code, as_json.code) == (0, 0)
    assert all(word in said.out for word in (second[:12], "in force", "~ AgentPolicy finance-analyst-readonly"))
    assert [one["digest"] for one in as_json.json["sets"]] == [second, changing.first]
    assert [one["digest"] for one in older.json["sets"]] == [changing.first]


def test_a_set_is_shown_with_its_files_and_its_differences(changing: Changing) -> None:
    """Issue 3, `aam documents show`: the policy as it was then, and what the next one changed in it."""
    text = (changing.directory / POLICY).read_text()
    second = changing.change(POLICY, "deny: [export, update, delete]", "deny: [read]")

    whole = changing.aam("show", changing.first[:8])
    file = changing.aam("show", changing.first[:8], "--file", POLICY)
    diff = changing.aam("show", second[:8], "--diff")
    back = changing.aam("show", changing.first, "--diff", "--against", second, "--json")
    nothing = changing.aam("show", second, "--diff", "--file", "broker.yaml")

    assert [ran.code for ran in (whole, file, diff, back, nothing)] == [0] * 5
    assert changing.first in whole.out
    assert POLICY in whole.out
    assert file.out == text
    assert "-      deny: [export, update, delete]\n+      deny: [read]\n" in diff.out
    assert f"--- a/{POLICY}\n+++ b/{POLICY}\n" in diff.out
    assert "-      deny: [read]" in back.json["diff"]
    assert nothing.out == "Nothing is otherwise.\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "ffff"), "ever in force"),
        (("show", "xyz"), "four or more"),
        (("show", "FIRST", "--file", "nothing.yaml"), "has no file"),
        (("show", "FIRST", "--against", "FIRST"), "needs --diff"),
        (("rollback", "ffff", "--reason", "why", "--yes"), "ever in force"),
        (("rollback", "FIRST", "--reason", " ", "--yes"), "--reason"),
    ],
)
def test_what_is_asked_wrongly_says_what_to_do(aam: Aam, served: Any, arguments: tuple[str, ...], said: str) -> None:
    """Exit status 2, one sentence, and JSON for programs."""
    first = served.daemon.get("/v1/status")["documents"]["digest"]
    command = ["documents", *(first if one == "FIRST" else one for one in arguments), "--dir", served.directory]

    ran, as_json = aam(*command), aam(*command, "--json")

    assert (ran.code, as_json.code) == (2, 2)
    assert said in ran.err
    assert said in as_json.json["message"]


def test_a_change_is_undone_and_on_record_with_its_actor(changing: Changing) -> None:
    """Issue 3, `aam documents rollback`: the old set is in force again, byte for byte, with who and why."""
    before = changing.tree()
    second = changing.change(POLICY, "deny: [export, update, delete]", "deny: [read]")
    (changing.directory / "agents/finance-analyst.yaml").rename(changing.directory / "agents/renamed.yml")
    third = changing.change("agents/renamed.yml", "  owner:", "  status: suspended\n  owner:")

    asked = changing.aam("rollback", changing.first[:8], "--reason", "why")
    unchanged = changing.digest
    ran = changing.aam("rollback", changing.first[:8], "--reason", "denies too much", "--yes")
    again = changing.aam("rollback", changing.first[:8], "--reason", "why", "--yes", "--json")

    assert (asked.code, unchanged) == (2, third)
    assert (ran.code, again.code) == (0, 0)
    assert all(line in ran.out for line in (f"~ {POLICY}", "+ agents/finance-analyst.yaml", "- agents/renamed.yml"))
    assert f"In force: {changing.first[:12]}, after {third[:12]}." in ran.out
    assert (again.json["written"], again.json["removed"], changing.digest) == ([], [], changing.first)
    assert changing.tree() == before
    loaded, (resumed,) = changing.records("documents_loaded")[-1], changing.records("agent_resumed")
    assert loaded["actor"] == resumed["actor"] == changing.records("documents_rollback")[0]["actor"]
    assert loaded["rollback"]["reason"] == "denies too much"
    assert len(changing.records("documents_rollback")) == 1
    assert changing.aam("rollback", second, "--reason", "no, that one", "--yes").code == 0
    assert changing.digest == second


def test_work_that_the_history_does_not_know_is_not_lost(changing: Changing) -> None:
    """A set with a mistake was never in force: what is in it exists nowhere else."""
    changing.change(POLICY, "deny: [export, update, delete]", "deny: [read]")
    path = changing.directory / POLICY
    path.write_text("half an hour's work: [")

    refused = changing.aam("rollback", changing.first, "--reason", "why", "--yes")
    work = path.read_text()
    forced = changing.aam("rollback", changing.first, "--reason", "why", "--yes", "--force")

    assert (refused.code, work) == (1, "half an hour's work: [")
    assert POLICY in refused.err
    assert "--force" in refused.err
    assert (forced.code, changing.digest) == (0, changing.first)


def test_mistakes_on_disk_are_undone_by_rolling_back_to_the_set_in_force(changing: Changing) -> None:
    """operations.md, Undo a change: the set in force is one to go back to, too."""
    (changing.directory / POLICY).write_text("a: [")

    ran = changing.aam("rollback", changing.first, "--reason", "why", "--yes", "--force", "--json")

    assert (ran.code, ran.json["written"]) == (0, [POLICY])
    assert load(changing.directory).digest == changing.first


def test_a_set_that_the_broker_does_not_take_is_put_back(changing: Changing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half-way failures are put back, and the trail says that nothing came of it."""
    second = changing.change(POLICY, "deny: [export, update, delete]", "deny: [read]")
    before = changing.tree()
    monkeypatch.setattr(importlib.import_module("broker.cli.documents.rollback"), "_PATIENCE", -1.0)

    ran = changing.aam("rollback", changing.first, "--reason", "why", "--yes", "--json")

    assert (ran.code, ran.json["code"]) == (1, "command_failed")
    assert "everything is as it was" in ran.json["message"]
    assert changing.tree() == before
    assert changing.records("rollback_failed")[0]["to"] == changing.first
    assert load(changing.directory).digest == second


def test_a_set_that_the_broker_refuses_is_waited_for_no_longer() -> None:
    """What the broker says is wrong with it is what the command says; what was wrong before is not."""

    class Refusing:
        answers = iter((["old"], ["old"], ["new"]))

        def get(self, _path: str) -> Any:
            return {"documents": {"digest": "in force", "problems": next(self.answers)}}

    rollback: Any = importlib.import_module("broker.cli.documents.rollback")

    with pytest.raises(CannotRestore, match="refuses the set, and everything is as it was: new"):
        rollback._until_in_force(Refusing(), "wanted", {"digest": "in force", "problems": ["old"]})


def test_a_changed_broker_document_says_that_it_needs_a_restart(changing: Changing) -> None:
    """What the Broker document says stays as it was at the start."""
    other = changing.change("broker.yaml", "role: admin", "role: admin\n  caps: { list_page: 7 }")

    plain = changing.aam("rollback", changing.first, "--reason", "why", "--yes")
    needed = changing.aam("rollback", other, "--reason", "why", "--yes")

    assert (plain.code, needed.code) == (0, 0)
    assert "restart the broker" not in plain.out
    assert "restart the broker" in needed.out
    assert "restart" in changing.aam("show", other).out


def test_another_directory_than_the_brokers_is_not_written(changing: Changing, aam: Aam, tmp_path: Path) -> None:
    """A copy of the documents names the same socket; the broker would never load what is written there."""
    other = tmp_path / "copy"
    other.mkdir()
    socket = changing.directory / "run/operators.sock"
    text = (changing.directory / "broker.yaml").read_text()
    (other / "broker.yaml").write_text(text.replace("run/operators.sock", str(socket)))

    ran = aam("documents", "rollback", changing.first, "--reason", "why", "--yes", "--dir", other)

    assert ran.code == 2
    assert str(changing.directory) in ran.err
    assert [path.name for path in other.iterdir()] == ["broker.yaml"]


def test_what_a_file_says_does_nothing_to_a_terminal(changing: Changing) -> None:
    """A document is somebody's text: no markup, no control characters."""
    evil = changing.change(POLICY, "# What", "# [red]\u202e What")

    file, diff = changing.aam("show", evil, "--file", POLICY), changing.aam("show", evil, "--diff")
    as_json = changing.aam("show", evil, "--file", POLICY, "--json")

    for ran in (file, diff):
        assert "# [red]\ufffd What" in ran.out
    assert "\u202e" not in as_json.out
    assert as_json.json["text"] == (changing.directory / POLICY).read_text()
