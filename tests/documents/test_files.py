"""Which files make a set, and what becomes of those that cannot be read: never passed over, never a hang."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.documents import FindConnector, Invalid, Problem, load
from broker.documents.files import LARGEST_DOCUMENT, SetFiles

Problems = Callable[[], list[Problem]]
Change = Callable[..., list[Problem]]

DENY = """\
apiVersion: access.envisionai.dev/v1
kind: AgentPolicy
metadata: { name: never }
spec:
  identity: { workload: spiffe://prod/agent/finance-analyst }
  tools: [{ resource: salesforce.accounts, deny: [read] }]
"""


def test_the_set_is_right(problems: Problems) -> None:
    """The set that these tests break is one that loads."""
    assert problems() == []


def test_documents_are_found_below_the_directory(directory: Path, find: FindConnector) -> None:
    """A set is everything below its directory, whatever the folders are called and whether .yaml or .yml."""
    (directory / "deeper/still").mkdir(parents=True)
    (directory / "deeper/still/never.YML").write_text(DENY)

    assert load(directory, find).policy_names["spiffe://prod/agent/finance-analyst"] == (
        "finance-analyst-readonly",
        "never",
    )


def test_hidden_and_other_files_are_no_documents(directory: Path, problems: Problems) -> None:
    """Editors' and version control's own files are left alone."""
    (directory / ".git").mkdir()
    for name in (".git/x.yaml", ".policy.yaml.swp", "policy.yaml~", "notes.txt", ".hidden.yaml"):
        (directory / name).write_text("junk: [")

    assert problems() == []


def test_a_mounted_config_map_is_read(directory: Path, problems: Problems, find: FindConnector) -> None:
    """Kubernetes mounts a hidden directory and links to its files, and swaps one link to change them all."""
    (directory / "..2026_11_23").mkdir()
    (directory / "..data").symlink_to("..2026_11_23")
    (directory / "..2026_11_23/never.yaml").write_text(DENY)
    (directory / "never.yaml").symlink_to("..data/never.yaml")

    assert problems() == []
    assert "never.yaml" in load(directory, find).files


def test_a_link_that_leads_nowhere_is_a_mistake(directory: Path, problems: Problems) -> None:
    """It may have been the policy that denies, so it is not passed over."""
    (directory / "never.yaml").symlink_to("gone.yaml")

    assert [(problem.file, problem.message) for problem in problems()] == [
        ("never.yaml", "cannot be read: No such file or directory")
    ]


def test_a_link_to_itself_is_a_mistake(directory: Path, problems: Problems) -> None:
    """A loop of links ends."""
    (directory / "never.yaml").symlink_to("never.yaml")

    assert [problem.file for problem in problems()] == ["never.yaml"]


def test_a_link_to_a_directory_is_a_mistake(directory: Path, tmp_path: Path, problems: Problems) -> None:
    """It is not followed, because it may lead anywhere, and not passed over, because of what may be in it."""
    (tmp_path / "elsewhere").mkdir()
    (directory / "more").symlink_to(tmp_path / "elsewhere")

    assert ["link to a directory" in problem.message for problem in problems()] == [True]


def test_a_closed_directory_is_a_mistake(directory: Path, problems: Problems, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in it may deny; a real one would not do here, since root reads them all."""
    (directory / "closed").mkdir()
    scan = os.scandir

    def scandir(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)

    assert [problem.file for problem in problems()] == ["closed"]


def test_a_pipe_in_the_set_does_not_hold_the_check_up(directory: Path, problems: Problems) -> None:
    """Reading one waits for a writer that may never come."""
    os.mkfifo(directory / "pipe.yaml")

    assert [problem.message for problem in problems()] == ["cannot be read: it is not a regular file"]


def test_a_huge_file_is_not_read_whole(directory: Path, problems: Problems) -> None:
    """A file that grew by accident must not fill the memory."""
    with (directory / "huge.yaml").open("wb") as file:
        file.truncate(1 << 40)  # sparse

    assert [problem.message for problem in problems()] == [
        f"cannot be read: it is larger than {LARGEST_DOCUMENT} bytes"
    ]


def test_a_name_that_is_no_text_is_a_mistake(directory: Path, problems: Problems) -> None:
    """It could not be written into the trail."""
    Path(os.fsdecode(bytes(directory) + b"/\xff.yaml")).write_text(DENY)

    (problem,) = problems()

    assert problem.message == "the file's name is not UTF-8; rename it"
    assert problem.file.isprintable()


def test_the_wrong_directory_is_given_up_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever says 'aam check /' is told, instead of waiting for the whole disk."""
    monkeypatch.setattr("broker.documents.files._MOST_ENTRIES", 10)
    for number in range(11):
        (tmp_path / str(number)).mkdir()

    (found,) = SetFiles(tmp_path).documents()

    assert isinstance(found, Problem)
    assert "is this the right directory?" in found.message


def test_a_directory_that_is_not_there_is_one_mistake(tmp_path: Path, find: FindConnector) -> None:
    """It says which, and nothing about a missing Broker in it."""
    with pytest.raises(Invalid) as refused:
        load(tmp_path / "nowhere", find)

    assert [problem.message for problem in refused.value.problems] == ["cannot be read: No such file or directory"]


def test_a_file_that_cannot_be_read_hides_no_mistakes_and_makes_none(change: Change, directory: Path) -> None:
    """Every mistake at once; what an unreadable file mentions is not called missing."""
    (directory / "broker.yaml").write_text("kind: Broker\na: [")
    (directory / "domain.yaml").write_text("kind: TrustDomain\nmetadata: { name: prod }\na: [")

    found = change("policy.yaml", "agent: false", "agent: true")

    assert [problem.file for problem in found] == ["broker.yaml", "domain.yaml", "policy.yaml"]


@pytest.mark.parametrize("name", ["bundle.json", "../elsewhere/bundle.json"])
def test_names_in_documents_are_relative_to_the_document(
    change: Change, directory: Path, tmp_path: Path, find: FindConnector, name: str
) -> None:
    """broker/documents/files.py: they are the administrator's, may lead elsewhere, and count in the set's digest."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/bundle.json").write_bytes((directory / "bundle.json").read_bytes())

    assert change("domain.yaml", "bundle.json", name) == []
    before = load(directory, find).digest
    (directory / name).write_text('{"keys": []}')

    assert load(directory, find).digest != before


def test_an_absolute_name_in_a_document_is_the_administrators(
    change: Change, directory: Path, tmp_path: Path, find: FindConnector
) -> None:
    """A bundle that another program keeps fresh lies where that program puts it."""
    (tmp_path / "fresh.json").write_bytes((directory / "bundle.json").read_bytes())

    assert change("domain.yaml", "bundle.json", str(tmp_path / "fresh.json")) == []
    assert str(tmp_path / "fresh.json") in load(directory, find).files


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/dev/zero", "not a regular file"),
        ("/proc/self", "not a regular file"),
        (".", "not a regular file"),
        ("nowhere.json", "No such file"),
        ("x" * 5000, "File name too long"),
        ("a\\u0000b", "no name of a file"),
        ("\\ud800", "no name of a file"),
    ],
)
def test_a_name_that_is_no_file_is_a_mistake(change: Change, name: str, reason: str) -> None:
    """Whatever a document names, reading it neither hangs nor fails with a traceback."""
    assert any(reason in problem.message for problem in change("domain.yaml", "bundle.json", f'"{name}"'))
