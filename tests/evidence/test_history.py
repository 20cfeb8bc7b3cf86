"""Which sets were in force, with all that they held, and what each of them changed."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest

from broker.errors import AuditUnavailable, HistoryDamaged, RollbackUnderWay
from broker.evidence.history import DocumentHistory
from broker.store import Store
from tests.documents.conftest import FILES

pytestmark = pytest.mark.anyio

Load = Callable[..., Any]
Records = Callable[[], list[dict[str, Any]]]
ACTOR = {"user": "ada", "uid": 1, "role": "admin"}
POLICY, AGENT = FILES["policy.yaml"], FILES["agent.yaml"]
SUSPENDED = AGENT + "  status: suspended\n"


async def test_the_very_bytes_that_were_checked_are_kept(history: DocumentHistory, store: Store, change: Load) -> None:
    """Issue 3, `aam documents history`: read once, checked, and kept; not what lies there a moment later."""
    snapshot = change()
    change(policy__yaml=POLICY + "# later\n")

    await history.in_force("started", snapshot)

    with store.reading() as connection:
        row = history.find(connection, snapshot.digest)
        assert row is not None
        assert row.files == snapshot.digests
        assert history.content(connection, snapshot.files["policy.yaml"]) == POLICY.encode()
        assert all(history.content(connection, digest) is not None for digest in snapshot.files.values())


async def test_a_set_says_what_it_changed(history: DocumentHistory, change: Load, records: Records) -> None:
    """Issue 3, What must be true: documents loaded, with digest and difference, by file and by document."""
    first = change()
    await history.in_force("started", first)
    second = change(
        policy__yaml=POLICY.replace("[export]", "[export, read]"),
        second__yaml=POLICY.replace("finance-analyst-readonly", "second"),
        connector__yaml=FILES["connector.yaml"] + "# only a comment\n",
        agent__yaml=None,
    )
    await history.in_force("documents_loaded", second, restart_needed=False)

    started, loaded, removed = records()

    assert "difference" not in started
    assert loaded["before"] == first.digest
    assert loaded["difference"]["files"]["listed"] == [
        {"name": name, "before": first.files.get(name), "after": second.files.get(name)}
        for name in ("agent.yaml", "connector.yaml", "policy.yaml", "second.yaml")
    ]
    assert loaded["difference"]["documents"] == {
        "count": 3,
        "listed": [
            {"kind": "Agent", "name": "finance-analyst", "change": "removed"},
            {"kind": "AgentPolicy", "name": "finance-analyst-readonly", "change": "changed"},
            {"kind": "AgentPolicy", "name": "second", "change": "added"},
        ],
    }
    assert (removed["kind"], removed["status"]) == ("agent_removed", {"before": "active", "after": None})


@pytest.mark.parametrize(
    ("before", "after", "kind", "status"),
    [
        (AGENT, SUSPENDED, "agent_suspended", ("active", "suspended")),
        (SUSPENDED, AGENT, "agent_resumed", ("suspended", "active")),
        (AGENT, AGENT + "  status: retired\n", "agent_retired", ("active", "retired")),
        (AGENT + "  status: retired\n", SUSPENDED, "agent_suspended", ("retired", "suspended")),
        (AGENT, None, "agent_removed", ("active", None)),
        (None, AGENT, "agent_registered", (None, "active")),
        (None, SUSPENDED, "agent_registered", (None, "suspended")),
    ],
)
@pytest.mark.parametrize("kind_of_set", ["started", "documents_loaded"])
async def test_what_becomes_of_an_agent_is_on_record_in_the_same_commit(
    history: DocumentHistory, store: Store, change: Load, records: Records, before: str | None, after: str | None,
    kind: str, status: tuple[str | None, str | None], kind_of_set: str,
) -> None:  # fmt: skip
    """Issue 3, What must be true: agents suspended and resumed are in the trail, by reload and by restart."""
    change(agent__yaml=AGENT)
    await history.in_force("started", change(agent__yaml=before))
    snapshot = change(agent__yaml=AGENT) if after is None else change(agent__yaml=after)
    snapshot = change(agent__yaml=None) if after is None else snapshot

    with patch.object(store.commits, "submit", wraps=store.commits.submit) as submit:
        await history.in_force(kind_of_set, snapshot)

    record = records()[-1]
    assert submit.call_count == 1
    assert record["kind"] == kind
    assert {name: record[name] for name in ("agent", "workload", "owner", "team", "status", "documents")} == {
        "agent": "finance-analyst",
        "workload": "spiffe://prod/agent/finance-analyst",
        "owner": "jane.doe@example.com",
        "team": "finance",
        "status": {"before": status[0], "after": status[1]},
        "documents": snapshot.digest,
    }


async def test_what_changes_no_status_is_no_event(history: DocumentHistory, change: Load, records: Records) -> None:
    """Neither a first start, nor a restart with the same set, nor another owner."""
    await history.in_force("started", change(agent__yaml=SUSPENDED))
    await history.in_force("started", change())
    await history.in_force("documents_loaded", change(agent__yaml=SUSPENDED.replace("jane", "john")))

    assert [record["kind"] for record in records()] == ["started", "started", "documents_loaded"]


async def test_a_restart_with_the_same_set_is_no_new_set(history: DocumentHistory, store: Store, change: Load) -> None:
    """The history lists changes; each start has its own record."""
    for _ in range(2):
        await history.in_force("started", change())

    assert len(store.read(lambda connection: store.history.last(connection, 9))) == 1


async def test_of_a_very_large_set_only_digests_are_kept(
    history: DocumentHistory, store: Store, change: Load, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store does not grow without bounds, and the record says that this set cannot be shown."""
    monkeypatch.setattr("broker.evidence.history._LARGEST_SET", 1000)
    snapshot = change()

    await history.in_force("started", snapshot)

    assert records()[0]["documents"]["digests_only"] == len(snapshot.files)
    with store.reading() as connection:
        row = history.find(connection, snapshot.digest)
        assert row is not None
        assert row.files == snapshot.digests
        assert store.history.kept(connection, snapshot.files.values()) == set()


async def test_a_set_that_cannot_be_recorded_leaves_nothing(
    history: DocumentHistory, store: Store, change: Load, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record and the contents stand or fall together; the next try is as the first."""
    with monkeypatch.context() as failing:
        failing.setattr(store.history, "add", _unavailable)
        with pytest.raises(AuditUnavailable):
            await history.in_force("started", change())
    assert records() == []

    await history.in_force("started", change())

    assert [record["kind"] for record in records()] == ["started"]


def _unavailable(*_: Any) -> None:
    raise AuditUnavailable


async def test_a_set_by_rollback_names_its_actor_and_so_do_its_agents(
    history: DocumentHistory, store: Store, change: Load, records: Records
) -> None:
    """decisions/0005: a file on disk has no actor; whoever says beforehand that they roll back does."""
    first = change()
    await history.in_force("started", first)
    second = change(agent__yaml=SUSPENDED)
    await history.in_force("documents_loaded", second)
    row = store.read(lambda connection: history.find(connection, first.digest))
    assert row is not None

    rollback = await history.begin_rollback(second.digest, row, "by mistake", ACTOR)
    await history.in_force("documents_loaded", change(policy__yaml=POLICY + "# somebody else's\n"))
    await history.in_force("documents_loaded", change(agent__yaml=AGENT, policy__yaml=POLICY))
    await history.in_force("documents_loaded", change(agent__yaml=SUSPENDED))

    intended, others, loaded, resumed, later, _ = records()[3:]
    assert (intended["kind"], intended["reason"], intended["actor"]) == ("documents_rollback", "by mistake", ACTOR)
    assert (intended["from"], intended["to"]) == (second.digest, first.digest)
    assert (loaded["actor"], loaded["rollback"]) == (ACTOR, {"id": rollback.id, "reason": "by mistake"})
    assert (resumed["kind"], resumed["actor"]) == ("agent_resumed", ACTOR)
    assert "actor" not in others | later


async def test_one_rollback_at_a_time_until_it_is_given_up_or_forgotten(
    history: DocumentHistory, store: Store, change: Load, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two at once the second is refused; one whose command was killed is in nobody's way for ever."""
    snapshot = change()
    await history.in_force("started", snapshot)
    row = store.read(lambda connection: history.find(connection, snapshot.digest))
    assert row is not None

    first = await history.begin_rollback("0" * 64, row, "why", ACTOR)
    with pytest.raises(RollbackUnderWay):
        await history.begin_rollback("0" * 64, row, "why", ACTOR)
    assert not await history.give_up_rollback("another", ACTOR)
    assert await history.give_up_rollback(first.id, ACTOR)
    assert not await history.give_up_rollback(first.id, ACTOR)
    monkeypatch.setattr("broker.evidence.history._ROLLBACK_SECONDS", -1.0)
    await history.begin_rollback("0" * 64, row, "killed", ACTOR)
    await history.begin_rollback("0" * 64, row, "why", ACTOR)

    kinds = [record["kind"] for record in records()]
    assert kinds == ["started", "documents_rollback", "rollback_failed", "documents_rollback", "documents_rollback"]
    assert records()[2]["rollback"] == first.id


async def test_a_rollback_that_cannot_be_recorded_is_not_under_way(
    history: DocumentHistory, store: Store, change: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be recorded is not done, and stands in nobody's way."""
    snapshot = change()
    await history.in_force("started", snapshot)
    row = store.read(lambda connection: history.find(connection, snapshot.digest))
    assert row is not None
    with monkeypatch.context() as failing:
        failing.setattr(store.trail, "append", _unavailable)
        with pytest.raises(AuditUnavailable):
            await history.begin_rollback("0" * 64, row, "why", ACTOR)

    assert (await history.begin_rollback("0" * 64, row, "why", ACTOR)).to == snapshot.digest


@pytest.mark.parametrize(
    "damage",
    ["UPDATE document_files SET content = CAST('x' AS BLOB)", "UPDATE document_sets SET files = '{\"a.yaml\": null}'"],
)
async def test_a_history_that_was_changed_says_so(
    history: DocumentHistory, store: Store, change: Load, damage: str
) -> None:
    """Nothing is put back from what does not have its digest."""
    snapshot = change()
    await history.in_force("started", snapshot)
    await store.commits.commit(lambda transaction: transaction.execute(damage).rowcount)

    def look(connection: Any) -> None:
        history.find(connection, snapshot.digest)
        history.content(connection, snapshot.files["policy.yaml"])

    with pytest.raises(HistoryDamaged):
        store.read(look)


async def test_a_rule_is_shown_as_it_was_then(history: DocumentHistory, store: Store, change: Load) -> None:
    """Issue 3, `aam trail show`: the rule that decided, its text as it was then."""
    snapshot = change()
    await history.in_force("started", snapshot)
    await history.in_force("documents_loaded", change(policy__yaml=POLICY.replace("[export]", "[read]")))
    rule = {"policy": "finance-analyst-readonly", "sha256": snapshot.files["policy.yaml"], "place": "tools[0].deny"}
    gone = {**rule, "sha256": "0" * 64}

    found = store.read(lambda connection: history.rules_of(connection, {"policy": {"rules": [rule, gone]}}))

    assert found == [
        {**rule, "text": "   9      - resource: salesforce.accounts\n  10        actions: [read, search]\n"
                         "> 11        deny: [export]"},
        {**gone, "text": None},
    ]  # fmt: skip
    assert store.read(lambda connection: history.rules_of(connection, {"kind": "started"})) == []
