"""Changes on disk: loaded without a restart, whole or not at all, and only once they have settled."""

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from broker.documents import Documents, FindConnector, Invalid, Memory, Snapshot, files, load
from broker.documents import watch as watching
from broker.errors import AuditUnavailable

AGENT = "spiffe://prod/agent/finance-analyst"

Scenario = Callable[["Watched"], Awaitable[None]]
Watch = Callable[[Scenario], "Watched"]


class Watched:
    """Documents that are being watched, and what became of each change."""

    def __init__(self, documents: Documents, directory: Path) -> None:
        self.documents = documents
        self.directory = directory
        self.loaded: list[tuple[Snapshot, bool]] = []
        self.refused: list[Invalid] = []
        self.unavailable = False

    async def on_loaded(self, snapshot: Snapshot, restart_needed: bool) -> None:  # noqa: FBT001 - watch's own signature
        """Note a set that comes into force, unless nothing can be recorded."""
        if self.unavailable:
            raise AuditUnavailable
        self.loaded.append((snapshot, restart_needed))

    async def on_in_force(self, snapshot: Snapshot) -> None:
        """See that what is told of as in force is."""
        assert self.documents.current is snapshot

    async def on_refused(self, invalid: Invalid) -> None:
        """Note a set with mistakes."""
        self.refused.append(invalid)

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until something is so."""
        with anyio.fail_after(30):
            while not reached():
                await anyio.lowlevel.checkpoint()

    async def looks(self, count: int = 3) -> None:
        """Wait until the directory has been looked at so often."""
        before = Watched.looked
        await self.until(lambda: Watched.looked >= before + count)

    looked = 0


@pytest.fixture
def watch(directory: Path, find: FindConnector, monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Watch the set while a scenario happens, without the waiting of real life."""
    monkeypatch.setattr(watching, "_LOOK_EVERY", 0.001)
    monkeypatch.setattr(watching, "_SETTLE", 0.002)
    look = files.look

    def counted(place: Path, names: object) -> object:
        Watched.looked += 1
        return look(place, names)  # type: ignore[arg-type]

    monkeypatch.setattr(watching, "look", counted)

    @contextlib.asynccontextmanager
    async def watched() -> AsyncIterator[Watched]:
        found = Watched(Documents(load(directory, find), find), directory)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(found.documents.watch, found.on_loaded, found.on_refused, found.on_in_force)
            await found.looks()
            yield found
            tasks.cancel_scope.cancel()

    def watch(scenario: Scenario) -> Watched:
        async def main() -> Watched:
            async with watched() as found:
                await scenario(found)
            return found

        return asyncio.run(main())

    return watch


def edit(path: Path, old: str, new: str) -> None:
    """Replace text in a file, as an editor does: a new file under the old name."""
    text = path.read_text()
    assert old in text
    fresh = path.with_name(".fresh")
    fresh.write_text(text.replace(old, new))
    fresh.replace(path)


def test_a_change_is_loaded_without_a_restart(watch: Watch) -> None:
    """architecture.md, The documents: loaded as a whole into one immutable snapshot."""

    async def scenario(watched: Watched) -> None:
        edit(watched.directory / "policy.yaml", "[read, search]", "[read]")
        await watched.until(lambda: bool(watched.loaded))

    watched = watch(scenario)

    assert [tool.action for tool in watched.documents.current.visible[AGENT]] == ["read"]
    assert [restart for _, restart in watched.loaded] == [False]


def test_a_new_file_and_a_deleted_one_are_changes(watch: Watch) -> None:
    """A policy comes by being put there, and goes by being taken away."""

    async def scenario(watched: Watched) -> None:
        second = watched.directory / "deeper/second.yaml"
        second.parent.mkdir()
        second.write_text((watched.directory / "policy.yaml").read_text().replace("analyst-readonly", "second"))
        await watched.until(lambda: len(watched.loaded) == 1)
        second.unlink()
        await watched.until(lambda: len(watched.loaded) == 2)

    watched = watch(scenario)

    assert [len(snapshot.policy_names[AGENT]) for snapshot, _ in watched.loaded] == [2, 1]


def test_a_mistake_keeps_the_set_in_force(watch: Watch) -> None:
    """architecture.md, The documents: a set with one broken document is refused, and the set in force stays."""

    async def scenario(watched: Watched) -> None:
        before = watched.documents.current
        edit(watched.directory / "policy.yaml", "expose_to_agent: false", "expose_to_agent: true")
        edit(watched.directory / "agent.yaml", "owner: jane", "owner: joan")
        await watched.until(lambda: bool(watched.refused))
        await watched.looks()
        assert watched.documents.current is before
        assert watched.documents.last_problem is watched.refused[-1]

        edit(watched.directory / "policy.yaml", "expose_to_agent: true", "expose_to_agent: false")
        await watched.until(lambda: bool(watched.loaded))

    watched = watch(scenario)

    assert watched.documents.last_problem is None
    assert watched.documents.current.registry.agents[AGENT].owner == "joan.doe@example.com"


def test_a_mistake_is_told_of_once(watch: Watch) -> None:
    """Its record and its log lines must not fill the disk while somebody thinks."""

    async def scenario(watched: Watched) -> None:
        edit(watched.directory / "policy.yaml", "salesforce.accounts", "salesforce.acounts")
        await watched.until(lambda: bool(watched.refused))
        await watched.looks(10)

    watched = watch(scenario)

    assert len(watched.refused) == 1


def test_taking_a_mistake_back_brings_the_set_in_force_back_to_peace(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing new is in force, and nothing is wrong any more; whoever reads the log is told so, once."""
    caplog.set_level(logging.INFO, "broker.documents")

    async def scenario(watched: Watched) -> None:
        edit(watched.directory / "policy.yaml", "salesforce.accounts", "salesforce.acounts")
        await watched.until(lambda: bool(watched.refused))
        edit(watched.directory / "policy.yaml", "salesforce.acounts", "salesforce.accounts")
        await watched.until(lambda: watched.documents.last_problem is None)
        (watched.directory / "policy.yaml").touch()
        await watched.looks()

    assert watch(scenario).loaded == []
    assert [record.message for record in caplog.records] == ["the documents on disk are in force again"]


def test_a_mistake_that_is_mended_otherwise_is_not_told_of_as_what_was_in_force(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    """What comes into force is told of by whoever puts it on record."""
    caplog.set_level(logging.INFO, "broker.documents")

    async def scenario(watched: Watched) -> None:
        edit(watched.directory / "policy.yaml", "salesforce.accounts", "salesforce.acounts")
        await watched.until(lambda: bool(watched.refused))
        edit(watched.directory / "policy.yaml", "salesforce.acounts", "salesforce.contacts")
        await watched.until(lambda: bool(watched.loaded))

    watch(scenario)

    assert caplog.records == []


def test_a_file_that_a_refused_set_waits_for_is_noticed(watch: Watch) -> None:
    """A document may be there before the file that it names; when that comes, the set is right."""

    async def scenario(watched: Watched) -> None:
        bundle = watched.directory / "bundle.json"
        edit(watched.directory / "domain.yaml", "bundle.json", "renewed.json")
        await watched.until(lambda: bool(watched.refused))
        shutil.copy(bundle, watched.directory / "renewed.json")
        await watched.until(lambda: bool(watched.loaded))

    assert "renewed.json" in watch(scenario).documents.current.files


def test_a_change_of_a_file_that_a_document_names_is_a_change(watch: Watch) -> None:
    """A rotated bundle and an approved snapshot come into force like any document."""

    async def scenario(watched: Watched) -> None:
        (watched.directory / "bundle.json").write_text('{"keys": []}')
        await watched.until(lambda: bool(watched.loaded))

    assert watch(scenario).documents.current.trust_sources["prod"].bundle.keys == {}  # type: ignore[union-attr]


def test_a_touched_file_is_no_change(watch: Watch) -> None:
    """A checkout that rewrites every file with the same content loads nothing and records nothing."""

    async def scenario(watched: Watched) -> None:
        before = watched.documents.current
        for path in watched.directory.iterdir():
            path.write_bytes(path.read_bytes())
        await watched.looks(5)
        assert watched.documents.current is before

    assert watch(scenario).loaded == []


def test_a_change_between_two_reads_is_not_loaded(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, directory: Path
) -> None:
    """architecture.md, The documents: only when two reads a moment apart have the same digest."""
    policy, read_again = directory / "policy.yaml", files.digests
    halves = iter(["[search]", "[read]"])

    def digests(place: Path, names: object) -> object:
        if "deny: [export]" not in policy.read_text() and (new := next(halves, None)):
            edit(policy, "[update]", "[update, delete]") if new == "[read]" else None
            edit(policy, "actions: [read, search]", f"actions: {new}") if new == "[search]" else None
        return read_again(place, names)  # type: ignore[arg-type]

    monkeypatch.setattr(watching, "digests", digests)

    async def scenario(watched: Watched) -> None:
        edit(policy, "deny: [export]", "deny: [update]")
        await watched.until(lambda: bool(watched.loaded))
        await watched.looks()

    watched = watch(scenario)

    ((snapshot, _),) = watched.loaded
    assert "update, delete" in policy.read_text()
    assert [tool.action for tool in snapshot.visible[AGENT]] == ["search"]
    assert not snapshot.policies_of(AGENT).could_permit("salesforce.accounts", "delete")


def test_a_change_of_the_broker_needs_a_restart_and_says_so(watch: Watch) -> None:
    """architecture.md, The documents: the Broker's changes need a restart; the rest of the set comes into force."""

    async def scenario(watched: Watched) -> None:
        edit(watched.directory / "broker.yaml", "4000000001", "4000000009")
        edit(watched.directory / "policy.yaml", "[read, search]", "[read]")
        await watched.until(lambda: bool(watched.loaded))

    watched = watch(scenario)

    assert [restart for _, restart in watched.loaded][-1:] == [True]
    assert set(watched.documents.current.operators) == {4000000001}
    assert watched.documents.current.broker.operators[0].user == "4000000001"


def test_a_broker_that_moves_to_another_folder_stays_where_it_was_until_the_restart(watch: Watch) -> None:
    """Its paths are relative to it, and the sockets are where they were opened."""

    async def scenario(watched: Watched) -> None:
        (watched.directory / "conf").mkdir()
        (watched.directory / "broker.yaml").rename(watched.directory / "conf/broker.yaml")
        await watched.until(lambda: bool(watched.loaded))

    watched = watch(scenario)

    assert watched.documents.current.base == watched.directory


def test_what_cannot_be_recorded_does_not_come_into_force(watch: Watch) -> None:
    """architecture.md, The way of one call: what cannot be recorded is not done; it is tried again."""

    async def scenario(watched: Watched) -> None:
        before = watched.documents.current
        watched.unavailable = True
        edit(watched.directory / "policy.yaml", "[read, search]", "[read]")
        await watched.looks(10)
        assert watched.documents.current is before

        watched.unavailable = False
        await watched.until(lambda: watched.documents.current is not before)

    watched = watch(scenario)

    assert [tool.action for tool in watched.documents.current.visible[AGENT]] == ["read"]


def test_a_directory_that_goes_away_keeps_the_set_in_force(watch: Watch) -> None:
    """An unmounted disk or a checkout that begins by deleting is not an empty policy."""

    async def scenario(watched: Watched) -> None:
        before = watched.documents.current
        gone = watched.directory.with_name("gone")
        watched.directory.rename(gone)
        await watched.until(lambda: bool(watched.refused))
        assert watched.documents.current is before
        gone.rename(watched.directory)
        await watched.until(lambda: watched.documents.last_problem is None)

    assert watch(scenario).loaded == []


def test_a_policy_that_is_emptied_is_a_mistake_and_not_a_permit(watch: Watch) -> None:
    """A disk that is full truncates what an editor writes; what was denied stays denied."""

    async def scenario(watched: Watched) -> None:
        before = watched.documents.current
        os.truncate(watched.directory / "policy.yaml", 0)
        await watched.until(lambda: bool(watched.refused))
        assert watched.documents.current is before

    assert [problem.file for problem in watch(scenario).refused[-1].problems] == ["policy.yaml"]


def test_a_set_that_is_being_written_is_not_begun_with(
    directory: Path, find: FindConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """architecture.md, The documents: never half a checkout, at the start neither."""
    policy = next(path for path in directory.rglob("*.yaml") if "kind: AgentPolicy" in path.read_text())
    text, written = policy.read_text(), [0]
    policy.unlink()
    monkeypatch.setattr(watching, "_SETTLE", 0)

    def read_again(*arguments: Any) -> Any:
        written[0] += 1
        policy.write_text(text)
        return files.digests(*arguments)

    monkeypatch.setattr(watching, "digests", read_again)
    snapshot = asyncio.run(watching.load_settled(directory, find, Memory()))

    assert written == [2]
    assert snapshot.policies_of(AGENT).mentions("salesforce.accounts")


def test_a_set_that_never_settles_is_not_begun_with(
    directory: Path, find: FindConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that waits for ever tells nobody why."""
    monkeypatch.setattr(watching, "_SETTLE", 0)
    monkeypatch.setattr(watching, "digests", lambda *_: {})

    with pytest.raises(Invalid) as refused:
        asyncio.run(watching.load_settled(directory, find, Memory()))

    assert "do not stop changing" in refused.value.problems[0].message


def test_a_file_that_two_documents_name_is_the_same_for_both(tmp_path: Path) -> None:
    """files.py: read once in a load, so that the digest is that of what was read."""
    (tmp_path / "ca.pem").write_bytes(b"one")
    found = files.SetFiles(tmp_path)
    first = found.named("a.yaml", "ca.pem")
    (tmp_path / "ca.pem").write_bytes(b"two")

    assert first == found.named("b.yaml", "ca.pem") == b"one"
