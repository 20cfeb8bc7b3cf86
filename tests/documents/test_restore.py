"""Bringing a set back: exactly as it was, or not at all."""

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.documents import FindConnector, Invalid, Snapshot, load
from broker.documents.replace import Restoration
from broker.documents.restore import CannotRestore, Wanted, plan
from broker.testing.certificates import CertificateAuthority
from tests.documents.conftest import FILES, NOTES

SECOND = FILES["policy.yaml"].replace("finance-analyst-readonly", "second")


def wanted(snapshot: Snapshot, *without: str) -> Wanted:
    """Return a set as the history has it; without the contents of some files."""
    contents = {
        digest: snapshot.contents[name]
        for name, digest in snapshot.digests.items()
        if digest is not None and name not in without
    }
    return Wanted(snapshot.digest, snapshot.digests, contents)


def restore(directory: Path, to: Wanted) -> None:
    """Bring a set back."""
    with Restoration(plan(directory, to)) as restoration:
        restoration.apply()
        restoration.keep()


def tree(directory: Path) -> dict[str, Any]:
    """Return every file below a directory, hidden ones included."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_set_is_brought_back(directory: Path, find: FindConnector) -> None:
    """Issue 3, `aam documents rollback`: what was changed or taken away is back, and what was added is gone."""
    before = load(directory, find)
    as_it_was = tree(directory)
    (directory / "policy.yaml").unlink()
    (directory / "agent.yaml").write_text(FILES["agent.yaml"] + "# changed\n")
    (directory / "more").mkdir()
    (directory / "more/second.yaml").write_text(SECOND)
    (directory / "README.txt").write_text("no document")

    planned = plan(directory, wanted(before))
    checked = planned.check(find)
    restore(directory, wanted(before))

    assert (set(planned.write), planned.remove) == ({"policy.yaml", "agent.yaml"}, ("more/second.yaml",))
    assert checked.digest == before.digest == load(directory, find).digest
    assert tree(directory) == {**as_it_was, "README.txt": b"no document"}


def test_what_is_not_kept_is_put_back(directory: Path, find: FindConnector) -> None:
    """Half-way failures are put back: the files are as they were before the rollback, and nothing is left lying."""
    before = load(directory, find)
    (directory / "policy.yaml").unlink()
    (directory / "second.yaml").write_text(SECOND)
    (directory / "agent.yaml").chmod(0o640)
    (directory / "agent.yaml").write_text(FILES["agent.yaml"] + "# changed\n")
    now = tree(directory)

    with suppress(KeyboardInterrupt), Restoration(plan(directory, wanted(before))) as restoration:
        restoration.apply()
        applied = load(directory, find).digest
        raise KeyboardInterrupt

    assert applied == before.digest
    assert tree(directory) == now
    assert stat.S_IMODE((directory / "agent.yaml").stat().st_mode) == 0o640


def test_a_failure_in_the_middle_is_put_back(
    directory: Path, find: FindConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails between two files leaves the first as it was, too."""
    before = load(directory, find)
    for name in ("agent.yaml", "policy.yaml"):
        (directory / name).write_text(FILES[name] + "# changed\n")
    now = tree(directory)
    replace, calls = os.replace, []

    def failing(*arguments: Any, **folders: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        replace(*arguments, **folders)

    with Restoration(plan(directory, wanted(before))) as restoration:
        monkeypatch.setattr(os, "replace", failing)
        with pytest.raises(CannotRestore, match="No space left"):
            restoration.apply()

    assert len(calls) > 2
    assert tree(directory) == now


def test_the_mode_of_a_file_stays(directory: Path, find: FindConnector) -> None:
    """The broker's user may read what it could read before."""
    before = load(directory, find)
    (directory / "agent.yaml").write_text(FILES["agent.yaml"] + "# changed\n")
    (directory / "agent.yaml").chmod(0o604)

    restore(directory, wanted(before))

    assert stat.S_IMODE((directory / "agent.yaml").stat().st_mode) == 0o604


def test_what_somebody_saves_meanwhile_is_not_lost(directory: Path, find: FindConnector) -> None:
    """Neither before the files are replaced, nor when they are put back."""
    before = load(directory, find)
    agent = directory / "agent.yaml"
    agent.write_text("one")

    with Restoration(plan(directory, wanted(before))) as early:
        agent.write_text("saved meanwhile")
        with pytest.raises(CannotRestore, match=r"agent\.yaml has changed meanwhile"):
            early.apply()
    saved_early = agent.read_text()
    with Restoration(plan(directory, wanted(before))) as late:
        late.apply()
        agent.write_text("saved later")

    assert (saved_early, agent.read_text()) == ("saved meanwhile", "saved later")
    assert late.left == ["agent.yaml"]


def test_a_named_file_that_was_not_there_goes_again(directory: Path, find: FindConnector) -> None:
    """The set before a snapshot was pinned is the set without it."""
    connector = directory / "connector.yaml"
    connector.write_text(FILES["connector.yaml"] + "  snapshot: pinned.json\n")
    before = load(directory, find)
    (directory / "pinned.json").write_text("{}")
    pinned = load(directory, find)

    restore(directory, wanted(before))

    assert pinned.digest != before.digest == load(directory, find).digest
    assert not (directory / "pinned.json").exists()


@pytest.mark.parametrize("absolute", [True, False])
def test_a_file_outside_the_directory_is_not_touched(directory: Path, find: FindConnector, *, absolute: bool) -> None:
    """Only what is in the directory is anybody's to roll back; the rest must be as it was."""
    outside = directory.parent / "bundle.json"
    outside.write_bytes((directory / "bundle.json").read_bytes())
    name = str(outside) if absolute else "../bundle.json"
    (directory / "domain.yaml").write_text(FILES["domain.yaml"].replace("bundle.json", name))
    before = load(directory, find)
    (directory / "agent.yaml").write_text(FILES["agent.yaml"] + "# changed\n")

    unchanged = plan(directory, wanted(before))
    checked = unchanged.check(find)
    outside.write_bytes(outside.read_bytes() + b"\n")
    with pytest.raises(CannotRestore, match=r"bundle\.json is outside"):
        plan(directory, wanted(before))

    assert (set(unchanged.write), checked.digest) == ({"agent.yaml"}, before.digest)


def test_a_file_of_which_only_the_digest_is_kept_must_be_as_it_was(directory: Path, find: FindConnector) -> None:
    """A file that holds a private key is never kept, so that it cannot be brought back either."""
    before = load(directory, find)
    (directory / "agent.yaml").write_text(FILES["agent.yaml"] + "# changed\n")

    restore(directory, wanted(before, "bundle.json"))
    (directory / "bundle.json").write_text("{}")

    with pytest.raises(CannotRestore, match=r"bundle\.json .* not kept"):
        plan(directory, wanted(before, "bundle.json"))


def test_a_set_that_would_not_be_right_any_more_is_not_begun(directory: Path) -> None:
    """It is checked as `aam check` would: a connector may have been uninstalled since."""
    before = load(directory, lambda _: NOTES)
    (directory / "agent.yaml").write_text("changed")

    def gone(name: str) -> Any:
        raise LookupError(name)

    with pytest.raises(Invalid) as raised:
        plan(directory, wanted(before)).check(gone)

    assert "no connector 'notes' is installed" in str(raised.value.problems[0])


def test_a_certificate_is_checked_as_it_will_be(directory: Path, find: FindConnector) -> None:
    """What stands in the set is checked, not what happens to lie on disk: the key must belong to that certificate."""
    authority = CertificateAuthority(directory.parent / "tls")
    right, wrong = authority.issue("right"), authority.issue("wrong")
    (directory / "tls.key").write_bytes(right.key_file.read_bytes())
    (directory / "tls.pem").write_bytes(right.certificate_file.read_bytes())
    tls = FILES["broker.yaml"] + "  listen: { tls: { certificate: tls.pem, key: tls.key } }\n"
    (directory / "broker.yaml").write_text(tls)
    before = load(directory, find)
    (directory / "tls.pem").write_bytes(wrong.certificate_file.read_bytes())

    checked = plan(directory, wanted(before)).check(find)
    (directory / "tls.key").write_bytes(wrong.key_file.read_bytes())
    with pytest.raises(Invalid, match="1 mistake"):
        plan(directory, wanted(before)).check(find)

    assert checked.digest == before.digest
    assert "tls.key" not in checked.contents


def test_what_keeps_every_set_from_being_loaded_is_named_first(directory: Path, find: FindConnector) -> None:
    """A set that is put back and still not loaded helps nobody."""
    before = wanted(load(directory, find))
    (directory / "link").symlink_to(directory.parent)

    with pytest.raises(CannotRestore, match="link to a directory"):
        plan(directory, before)


CHANGES: dict[str, Callable[[Path], object]] = {
    "comment": lambda place: (place / "policy.yaml").write_text(FILES["policy.yaml"] + "# x\n"),
    "deny": lambda place: (place / "policy.yaml").write_text(FILES["policy.yaml"].replace("[export]", "[read]")),
    "second": lambda place: (place / "second.yml").write_text(SECOND),
    "no second": lambda place: (place / "second.yml").unlink(missing_ok=True),
    "no policy": lambda place: (place / "policy.yaml").unlink(missing_ok=True),
    "suspend": lambda place: (place / "agent.yaml").write_text(FILES["agent.yaml"] + "  status: suspended\n"),
    "bundle": lambda place: (place / "bundle.json").write_bytes((place / "bundle.json").read_bytes() + b" "),
    "snapshot": lambda place: (place / "connector.yaml").write_text(FILES["connector.yaml"] + "  snapshot: s.json\n"),
    "pin": lambda place: (place / "s.json").write_text("{}"),
    "unpin": lambda place: (place / "s.json").unlink(missing_ok=True),
}  # fmt: skip


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.sampled_from(sorted(CHANGES)), min_size=1, max_size=8), st.data())
def test_rolling_back_to_any_earlier_set_restores_exactly_its_digest(
    directory: Path, changes: list[str], data: st.DataObject
) -> None:
    """Issue 3, `aam documents rollback`: whatever happened in between."""
    with TemporaryDirectory() as own:
        place = Path(own)
        for path in directory.iterdir():
            (place / path.name).write_bytes(path.read_bytes())
        sets = [load(place, lambda _: NOTES)]
        for change in changes:
            CHANGES[change](place)
            sets.append(load(place, lambda _: NOTES))

        for to in data.draw(st.permutations(sets)):
            restore(place, wanted(to))

            assert load(place, lambda _: NOTES).digest == to.digest
        assert not [name for name in tree(place) if ".aam" in name]
