"""`aam connector add`, `list`, `show`, `test` and `remove`."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.connector.installed import find_connector, installed_types
from broker.documents import load
from broker.testing.salesforce.faults import Answer

Aam = Callable[..., Any]
AAM = Path(sys.executable).with_name("aam")
NEW = ("connector", "add", "crm", "--type", "salesforce", "--url", "https://crm.my.salesforce.com")


@pytest.fixture
def access(aam: Aam, tmp_path: Path) -> Path:
    """Write a starter set; no broker serves it."""
    assert aam("init", tmp_path / "access").code == 0
    return tmp_path / "access"


def files(directory: Path) -> dict[str, bytes]:
    """Return everything that lies in a directory."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_connector_is_added_beside_the_others(aam: Aam, access: Path) -> None:
    """Issue 6: adding one is a guided minute; all of it can be said by options, and what comes next is told."""
    more = ("--resource", "firms=Account", "--set", "limits.reserve=100", "--dir", access)

    ran = aam(*NEW, *more)

    assert ran.code == 0
    connection = load(access).connections["crm"]
    assert connection.file == "connectors/crm.yaml"
    assert connection.document.resources == {"firms": "Account"}
    assert connection.document.limits.reserve == 100
    assert connection.document.settings == {"api_version": "59.0"}
    for words in ("aam grants add crm", "aam connector snapshot crm", "aam connector test crm", "resource: crm.firms"):
        assert words in ran.out


@pytest.mark.parametrize("kind", installed_types())
def test_every_installed_type_can_be_added_by_its_own_examples(aam: Aam, access: Path, kind: str) -> None:
    """Issue 6: it must work for every installed connector: driven by what each says of itself."""
    asks = find_connector(kind).asks
    said = [f"--set={one.place}={one.example}" for one in asks if one.example]

    ran = aam("connector", "add", "fresh", "--type", kind, *said, "--dir", access, "--json")

    assert ran.code == 0, ran.out
    assert find_connector(kind).about
    models = find_connector(kind).models is not None
    assert load(access).connections["fresh"].document.limits.retries.most == (0 if models else 2)
    assert ran.json["policy"].startswith("models:" if models else "tools:")


def test_the_kind_of_account_is_said_in_the_document(aam: Aam, access: Path) -> None:
    """What comes next is of that kind; a service that takes none is called without."""
    some = aam(*NEW, "--grant", "authorization-code", "--dir", access, "--json").json
    none = aam("connector", "add", "other", *NEW[3:], "--grant", "none", "--dir", access, "--json").json

    assert [step.split(" --")[0] for step in some["next"][:2]] == ["aam grants client crm", "aam grants connect crm"]
    assert not any("grants" in step for step in none["next"])
    connections = load(access).connections
    assert (connections["crm"].kinds, connections["other"].kinds) == (("authorization-code",), ())


def test_what_comes_next_is_json_too(aam: Aam, access: Path) -> None:
    """Every command has --json."""
    found = aam(*NEW, "--dir", access, "--json").json

    assert (found["connector"], found["file"]) == ("crm", "connectors/crm.yaml")
    assert found["next"][0].startswith("aam grants add crm --client-id")
    assert any("not there yet" in warning for warning in found["warnings"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("connector", "add"), "--type which connector: there is"),
        (("connector", "add", "crm", "--type", "salesfroce"), "did you mean 'salesforce'?"),
        (("connector", "add", "crm", "--type", "salesforce"), "--url URL"),
        (("connector", "add", "Crm!", "--type", "salesforce"), "is no name"),
        ((*NEW, "--grant", "api-kye"), "takes no api-kye grants"),
        ((*NEW, "--set", "limits.reserve"), "PLACE=VALUE"),
        ((*NEW, "--set", "limits.reserve=[1"), "is no value"),
        ((*NEW, "--set", "url.x=1"), "is no mapping"),
        ((*NEW, "--resource", "=x"), "name=value"),
        ((*NEW, "--set", "limits.resreve=1"), "did you mean 'reserve'?"),
        ((*NEW, "--set", "settings.api_version=x"), "settings.api_version"),
        ((*NEW, "--url", "http://crm.my.salesforce.com"), "url"),
        ((*NEW, "--file", "../crm.yaml"), "no place below"),
        ((*NEW, "--file", "crm.json"), "no place below"),
        ((*NEW, "--file", ".hidden/crm.yaml"), "no place below"),
    ],
)  # fmt: skip
def test_a_document_that_would_be_wrong_is_not_written(
    aam: Aam, access: Path, arguments: tuple[str, ...], words: str
) -> None:
    """Nothing half-applied: the whole set is checked before anything is put in place."""
    before = files(access)

    ran = aam(*arguments, "--dir", access)

    assert ran.code == 2
    assert words in ran.err
    assert files(access) == before


@pytest.mark.parametrize("more", [("--file", "connectors/salesforce.yaml"), ("--file", "policies/dangling.yaml")])
def test_nothing_is_overwritten_by_what_is_added(aam: Aam, access: Path, more: tuple[str, ...]) -> None:
    """Neither a file, nor what a link leads to."""
    (access / "policies/dangling.yaml").symlink_to("/nowhere")
    before = files(access)

    ran = aam(*NEW, *more, "--dir", access)

    assert ran.code == 1
    assert files(access) == before


def test_a_name_is_taken_once(aam: Aam, access: Path) -> None:
    """The second of a name would be refused by the check, in harder words."""
    assert aam(*NEW, "--dir", access).code == 0

    ran = aam(*NEW, "--file", "other.yaml", "--dir", access)

    assert ran.code == 1
    assert "already, in connectors/crm.yaml" in ran.err
    assert not (access / "other.yaml").exists()


def test_a_set_with_mistakes_is_mended_first(aam: Aam, access: Path) -> None:
    """What would not be loaded anyway is not added to."""
    (access / "x.yaml").write_text("a: [")

    ran = aam(*NEW, "--dir", access)

    assert ran.code == 1
    assert "x.yaml:1" in ran.err
    assert not (access / "connectors/crm.yaml").exists()


@pytest.mark.slow
def test_at_a_terminal_it_asks(access: Path) -> None:
    """A guided minute: type, name, URL, resources; Enter takes what is usual, and a wrong answer is asked again."""
    answers = ["salesforce", "", "https://crm.my.salesforce.com", "=x", "firms=Account", "", "", ""]

    status, shown = _typed(["connector", "add", "--dir", str(access), "--file", "new.yaml"], [*answers], name="crm")

    assert status == 0, shown
    assert "Salesforce: objects read" in shown
    assert "name=value" in shown
    assert load(access).connections["crm"].document.resources == {"firms": "Account"}


def _typed(arguments: list[str], answers: list[str], name: str) -> tuple[int, str]:
    """Run a command at a terminal and answer each of its questions; return its status, and what was shown."""
    answers[1] = name
    near, far = pty.openpty()
    ran = subprocess.Popen([AAM, *arguments], stdin=far, stdout=far, stderr=far, close_fds=True)
    os.close(far)
    shown, deadline = b"", time.monotonic() + 90
    while time.monotonic() < deadline:
        if select.select([near], [], [], 0.05)[0]:
            try:
                shown += os.read(near, 65536)
            except OSError:
                break
        elif answers and shown.endswith(b": "):
            shown += b"\n"
            os.write(near, answers.pop(0).encode() + b"\n")
    os.close(near)
    return ran.wait(90), shown.decode()


# --- Taking one away --------------------------------------------------------------------------------------------------


def test_a_connector_that_policies_name_is_not_removed(aam: Aam, access: Path) -> None:
    """Issue 6: refused while policies name it; each rule is named, with its line."""
    before = files(access)

    ran = aam("connector", "remove", "salesforce", "--keep-grants", "--yes", "--dir", access)
    also = aam("connector", "remove", "salesforce", "--keep-grants", "--yes", "--with-policies", "--dir", access)

    assert (ran.code, also.code) == (1, 1)
    assert re.search(r"finance-analyst-readonly.yaml:\d+: the policy finance-analyst-readonly names", ran.err)
    assert "speak of other things too" in also.err  # it has models
    assert files(access) == before


def test_without_a_broker_nobody_knows_of_grants(aam: Aam, access: Path) -> None:
    """Unless one says that they are to be kept."""
    aam(*NEW, "--dir", access)
    before = files(access)

    ran = aam("connector", "remove", "crm", "--yes", "--dir", access)

    assert (ran.code, "--keep-grants" in ran.err) == (1, True)
    assert files(access) == before


def test_a_removed_connector_is_kept_beside(aam: Aam, access: Path) -> None:
    """A way back: the file as it was, under a name that is no document's; a second one overwrites no first."""
    for number in range(2):
        aam(*NEW, "--dir", access)
        text = (access / "connectors/crm.yaml").read_bytes()

        ran = aam("connector", "remove", "crm", "--keep-grants", "--yes", "--dir", access, "--json")

        assert ran.code == 0
        (kept,) = ran.json["kept"]
        assert kept == "connectors/crm.yaml.removed" + ("-1" if number else "")
        assert (access / kept).read_bytes() == text
        assert "crm" not in load(access).connections


POLICY = """---
apiVersion: access.envisionai.dev/v1
kind: AgentPolicy
metadata: {name: crm-only}
spec:
  identity: {workload: spiffe://prod/agent/finance-analyst}
  tools: [{resource: crm.accounts, actions: [read]}]
"""


def test_policies_of_nothing_else_go_along_and_the_rest_of_their_file_stays(aam: Aam, access: Path) -> None:
    """Comments and other documents stay as they are, byte by byte."""
    aam(*NEW, "--dir", access)
    policies = access / "policies/finance-analyst-readonly.yaml"
    original = policies.read_text()
    policies.write_text(original + POLICY)

    refused = aam("connector", "remove", "crm", "--keep-grants", "--yes", "--dir", access)
    ran = aam("connector", "remove", "crm", "--keep-grants", "--with-policies", "--yes", "--dir", access)

    assert (refused.code, ran.code) == (1, 0)
    assert policies.read_text() == original
    assert (access / "policies/finance-analyst-readonly.yaml.removed").read_text() == original + POLICY
    assert not (access / "connectors/crm.yaml").exists()


def test_without_yes_nothing_is_removed(aam: Aam, access: Path) -> None:
    """A script says that it means it."""
    aam(*NEW, "--dir", access)

    ran = aam("connector", "remove", "crm", "--keep-grants", "--dir", access)

    assert ran.code == 2
    assert (access / "connectors/crm.yaml").exists()


def test_a_connector_that_is_not_there_is_misuse_when_removed(aam: Aam, access: Path) -> None:
    """The nearest right name is told."""
    ran = aam("connector", "remove", "salesfroce", "--yes", "--dir", access)

    assert (ran.code, "did you mean 'salesforce'?" in ran.err) == (2, True)


@pytest.mark.slow
def test_grants_are_in_the_way_until_somebody_says_what_becomes_of_them(
    aam: Aam, own: Any, until: Callable[[Callable[[], Any]], Any]
) -> None:
    """Issue 6: refused while grants exist, unless told what to do; the history brings the document back."""
    with own:
        connector = (own.directory / "connectors/salesforce.yaml").read_text()
        (own.directory / "connectors/crm.yaml").write_text(connector.replace("name: salesforce", "name: crm"))
        until(lambda: "crm" in own.daemon.get("/v1/status")["connectors"])
        key = own.service.private_key_file.read_text()
        own.daemon.post("/v1/grants", {"connector": "crm", "client_id": "x", "subject": "y", "private_key": key})
        remove = ("connector", "remove", "crm", "--yes", "--dir", own.directory)

        refused, both = aam(*remove), aam(*remove, "--revoke", "--keep-grants")
        ran = aam(*remove, "--revoke", "--json")

        assert (refused.code, "It has 1 grant" in refused.err, both.code) == (1, True, 2)
        assert (ran.code, len(ran.json["revoked"])) == (0, 1)
        until(lambda: "crm" not in own.daemon.get("/v1/status")["connectors"])
        digest = ran.json["back"].split()[3]
        back = aam("documents", "rollback", digest, "--reason", "needed", "--yes", "--dir", own.directory)
        assert back.code == 0, back.err
        assert "crm" in own.daemon.get("/v1/status")["connectors"]


# --- Looking at one ---------------------------------------------------------------------------------------------------


def test_a_connector_is_shown_with_tools_accounts_and_what_is_pinned(aam: Aam, served: Any) -> None:
    """Issue 6: `show` prints document, tools, grants, the snapshot's age and digest, limits."""
    ran = aam("connector", "show", "salesforce", "--dir", served.directory)
    as_json = aam("connector", "show", "salesforce", "--dir", served.directory, "--json").json

    assert ran.code == 0
    for words in (
        "salesforce.snapshot.json, SHA-256",
        "salesforce_accounts_read",
        "jwt-bearer (active)",
        served.service.url,
    ):
        assert words in ran.out
    assert as_json["snapshot"]["sha256"] in ran.out
    assert json.dumps(as_json["document"]["resources"]).count(":") == 4


def test_the_list_is_that_of_connectors(aam: Aam, served: Any) -> None:
    """`aam connectors` stays what it was."""
    old, new = (
        aam(*command, "--dir", served.directory, "--json") for command in (("connectors",), ("connector", "list"))
    )

    assert old.json[0]["name"] == new.json[0]["name"] == "salesforce"
    assert aam("connector", "list", "--dir", served.directory).code == 0


def test_a_connector_is_tried(aam: Aam, served: Any) -> None:
    """Issue 6: `test` makes a harmless real call; exit 1, the step and what to do where it fails."""
    works = aam("connector", "test", "salesforce", "--dir", served.directory)
    served.service.faults.add(
        Answer(path="/limits", status=403, body=[{"errorCode": "X", "message": "SERVICE TEXT"}], times=2)
    )
    fails, as_json = (
        aam("connector", "test", "salesforce", "--dir", served.directory, *more) for more in ((), ("--json",))
    )

    assert (works.code, "works: signed in" in works.out) == (0, True)
    assert (fails.code, as_json.code) == (1, 1)
    assert "✗ permission" in fails.out
    assert "its administrator must permit it" in fails.out
    assert as_json.json["failed"]["at"] == "permission"
    assert "SERVICE TEXT" not in fails.out + as_json.out


@pytest.mark.parametrize("command", ["show", "test"])
def test_a_connector_that_is_not_there_is_misuse(aam: Aam, served: Any, command: str) -> None:
    """The right names are told."""
    ran = aam("connector", command, "hubspot", "--dir", served.directory)

    assert (ran.code, "there is salesforce" in ran.err) == (2, True)
