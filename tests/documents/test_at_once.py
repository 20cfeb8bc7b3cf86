"""Every mistake at once: none hides another, in the same rule or in another file."""

from collections.abc import Callable
from pathlib import Path

import pytest

from broker.documents import Problem

Change = Callable[..., list[Problem]]
Problems = Callable[[], list[Problem]]

TAB = "apiVersion: access.envisionai.dev/v1\nkind: Agent\nmetadata:\n\tname: other\n"


def said(problems: list[Problem]) -> list[tuple[str, str, str]]:
    """Return where each problem is, and the nearest right word that it names, if any."""
    return [(one.file, one.key, one.message.partition("did you mean ")[2]) for one in problems]


@pytest.mark.parametrize(
    ("resource", "meant"), [("salesforce.acounts", "'salesforce.accounts'?"), ("acounts", ""), ("elsewhere.things", "")]
)
def test_the_mistakes_of_one_rule_are_reported_together(change: Change, resource: str, meant: str) -> None:
    """Issue 2, What a user can do 3: a wrong key hides neither the resource nor the actions, and neither the other."""
    found = change(
        "policy.yaml", "salesforce.accounts", resource, "[read, search]", "[search, raed]", "deny: [", "denny: ["
    )

    assert said(found) == [
        ("policy.yaml", "spec.tools[0].resource", meant),
        ("policy.yaml", "spec.tools[0].actions[1]", "'read'?"),
        ("policy.yaml", "spec.tools[0].denny", "'deny'?"),
    ]


def test_an_action_that_is_written_wrong_does_not_hide_the_one_beside_it(change: Change) -> None:
    """Each member of a list is checked by itself, under its own number."""
    found = change("policy.yaml", "[read, search]", "[7, raed]")

    assert [problem.key for problem in found] == ["spec.tools[0].actions[0]", "spec.tools[0].actions[1]"]


def test_a_file_that_cannot_be_read_hides_no_missing_reference(directory: Path, change: Change) -> None:
    """It does not mention what is missing, so that is missing whatever else it holds."""
    (directory / "tab.yaml").write_text(TAB)
    change("policy.yaml", "salesforce.accounts", "salesfroce.accounts")

    found = change("agent.yaml", "spiffe://prod", "spiffe://prd")

    assert said(found) == [
        ("agent.yaml", "spec.workload", "'prod'?"),
        ("policy.yaml", "spec.tools[0].resource", "'salesforce.accounts'?"),
        ("tab.yaml", "", ""),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_what_a_file_that_cannot_be_read_mentions_is_not_called_missing(
    directory: Path, change: Change, encoding: str
) -> None:
    """It may be there, and would be once the file is mended."""
    (directory / "tab.yaml").write_bytes(TAB.replace("other", "prd").encode(encoding))

    assert [problem.file for problem in change("agent.yaml", "spiffe://prod", "spiffe://prd")] == ["tab.yaml"]


@pytest.mark.parametrize("mention", ["prd-two", "a-prd", "prdx"])
def test_a_longer_word_is_no_mention(directory: Path, change: Change, mention: str) -> None:
    """`prod` is not mentioned in `production`."""
    (directory / "tab.yaml").write_text(TAB.replace("other", mention))

    found = change("agent.yaml", "spiffe://prod", "spiffe://prd")

    assert [problem.file for problem in found] == ["agent.yaml", "tab.yaml"]


def test_what_was_read_of_a_file_before_it_broke_is_no_mention(change: Change) -> None:
    """A reference does not excuse itself."""
    found = change("agent.yaml", "spiffe://prod", "spiffe://prd", '4000000002"]\n', '4000000002"]\n---\na:\n\tb: 1\n')

    assert [problem.key for problem in found] == ["spec.workload", ""]


def test_a_file_that_cannot_be_opened_may_hold_what_is_missing(directory: Path, change: Change) -> None:
    """Nothing is known of its text."""
    (directory / "gone.yaml").symlink_to("nowhere")

    assert [problem.file for problem in change("agent.yaml", "spiffe://prod", "spiffe://prd")] == ["gone.yaml"]


@pytest.mark.parametrize(
    ("right", "wrong"), [("url:", "urll:"), ("type: notes", "type: nots"), ("https://notes", "https://127.0.0.1#")]
)
@pytest.mark.parametrize("resource", ["salesfroce.accounts", "salesforce.acounts"])
def test_a_connector_with_a_mistake_still_lends_its_names(
    change: Change, right: str, wrong: str, resource: str
) -> None:
    """Its own name and the keys of its resources are known, whatever else is wrong with it."""
    change("policy.yaml", "salesforce.accounts", resource)

    found = [problem for problem in change("connector.yaml", right, wrong) if problem.file == "policy.yaml"]

    assert said(found) == [("policy.yaml", "spec.tools[0].resource", "'salesforce.accounts'?")]


def test_a_set_without_a_broker_says_so_though_another_file_cannot_be_read(directory: Path, problems: Problems) -> None:
    """The other file does not even mention one."""
    (directory / "broker.yaml").unlink()
    (directory / "tab.yaml").write_text(TAB)

    assert "there is no Broker document" in [problem.message for problem in problems()]


def test_a_version_that_is_wrong_is_reported_once(change: Change) -> None:
    """One mistake, one line."""
    found = change("policy.yaml", "access.envisionai.dev/v1", "access.envisionai.dev/v2")

    assert [(problem.key, problem.message) for problem in found] == [("apiVersion", "must be access.envisionai.dev/v1")]
