"""The history of the documents: each set that came into force, kept with the record that says so, in one commit."""

import asyncio
import hashlib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from broker.audit import Record, new_id, timestamp
from broker.documents import Snapshot
from broker.documents.files import set_digest
from broker.documents.private import holds_private_key
from broker.documents.rules import rule_text
from broker.errors import HistoryDamaged, RollbackUnderWay
from broker.evidence.differences import changed_agents, difference, fitting
from broker.store import Connection, SetRow, Store, Transaction

_LARGEST_SET = 64 << 20  # bytes: of larger ones, digests only
_ROOM_FOR_NAMES = 20_000  # bytes in a record, and for the names of what changed less than half of it
_ROOM_FOR_CHANGED = 8_000
_ROLLBACK_SECONDS = 120.0
_SHOWN = ("actor", "rollback", "restart_needed")


@dataclass(frozen=True, slots=True)
class Rollback:
    """Somebody's stated intention to bring an earlier set back into force."""

    id: str
    before: str
    to: str
    reason: str
    actor: Record
    deadline: float


class DocumentHistory:
    """Records which documents are in force, and who meant them to be where somebody said so."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rollback: Rollback | None = None

    async def in_force(self, kind: str, snapshot: Snapshot, **facts: Any) -> None:
        """Record that a set comes into force, with all that it changes; durable, contents and all, once it returns.

        Raises `AuditUnavailable` if that cannot be done; then it must not come into force. Of the first set of a store,
        nothing is said to have changed.
        """
        rollback = self._under_way()
        if rollback is not None and rollback.to != snapshot.digest:
            rollback = None

        kept = await asyncio.to_thread(_kept, snapshot)

        def change(transaction: Transaction) -> None:
            self._append(transaction, snapshot, kept, {"kind": kind, **_because(rollback), **facts})

        await self._store.commits.commit(change)
        if rollback is not None:
            self._rollback = None

    async def begin_rollback(self, in_force: str, to: SetRow, reason: str, actor: Record) -> Rollback:
        """Record that somebody is about to bring a set back; whichever loads that set names them.

        Raises `RollbackUnderWay` while another has neither come into force nor been given up.
        """
        if self._under_way() is not None:
            raise RollbackUnderWay
        rollback = Rollback(new_id(), in_force, to.digest, reason, actor, time.monotonic() + _ROLLBACK_SECONDS)
        self._rollback = rollback  # before it is recorded: there is no second one meanwhile
        try:
            await self._note(
                "documents_rollback", rollback.id, actor=actor, reason=reason, **{"from": in_force, "to": to.digest}
            )
        except BaseException:
            self._rollback = None
            raise
        if in_force == to.digest:  # nothing will be loaded: only files are put back
            self._rollback = None
        return rollback

    async def give_up_rollback(self, rollback_id: str, actor: Record) -> bool:
        """Record that a rollback was given up and its files put back; False if it is not under way."""
        rollback = self._under_way()
        if rollback is None or rollback.id != rollback_id:
            return False
        self._rollback = None
        await self._note(
            "rollback_failed",
            new_id(),
            actor=actor,
            rollback=rollback.id,
            **{"from": rollback.before, "to": rollback.to},
        )
        return True

    def find(self, connection: Connection, digest: str) -> SetRow | None:
        """Return a set, as it came into force last, or None; raise `HistoryDamaged` if it is not what it was."""
        row = self._store.history.find(connection, digest)
        if row is not None and set_digest(row.files) != digest:
            raise HistoryDamaged(detail=f"the files of the set {digest}")
        return row

    def content(self, connection: Connection, sha256: str) -> bytes | None:
        """Return a content that is kept, or None; raise `HistoryDamaged` if it is not what it was."""
        content = self._store.history.content(connection, sha256)
        if content is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise HistoryDamaged(detail=f"the content kept as {sha256}")
        return content

    def rules_of(self, connection: Connection, record: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the rules that a *decided* record names, each with its text as it was then; None where it is not kept.

        {"policy": "finance-analyst-readonly", "sha256": "9f86…", "place": "tools[0].deny", "text": "> 14  deny: […]"}
        """
        rules = record.get("policy", {}).get("rules", ())
        return [{**rule, "text": self.rule(connection, **rule)} for rule in rules]

    def rule(self, connection: Connection, *, policy: str, sha256: str, place: str) -> str | None:
        """Return the text of one rule as it was then; None where it is not kept."""
        content = self.content(connection, sha256)
        return None if content is None else rule_text(content, policy, place)

    def _under_way(self) -> Rollback | None:
        if self._rollback is not None and time.monotonic() > self._rollback.deadline:
            self._rollback = None  # whoever began it has gone
        return self._rollback

    def _append(
        self, transaction: Transaction, snapshot: Snapshot, kept: Mapping[str, bytes], facts: dict[str, Any]
    ) -> None:
        """Append the record, keep the set if it is another than the last one, and append what becomes of agents."""
        before = next(iter(self._store.history.last(transaction)), None)
        files, outline = dict(snapshot.digests), snapshot.outline
        record = {"id": new_id(), "time": timestamp(), **facts, "documents": _named(snapshot, kept)}
        if before is not None:
            record |= {"before": before.digest, "difference": difference(compared(before), (files, outline))}
        sealed = self._store.trail.append(transaction, record)
        if before is not None and before.digest == snapshot.digest:
            return
        agents = _agents(snapshot)
        row = SetRow(
            sealed.seq,
            record["id"],
            record["kind"],
            record["time"],
            snapshot.digest,
            files,
            [[*document, digest] for document, digest in outline.items()],
            agents,
            {name: facts[name] for name in _SHOWN if name in facts},
        )
        self._store.history.add(transaction, row, kept)
        because: Record = {name: facts[name] for name in ("actor", "rollback") if name in facts}
        for event in changed_agents(before.agents, agents) if before is not None else ():
            marks = {"id": new_id(), "time": record["time"], "documents": snapshot.digest}
            self._store.trail.append(transaction, {**marks, **event, **because})

    async def _note(self, kind: str, record_id: str, **facts: Any) -> None:
        record = {"id": record_id, "time": timestamp(), "kind": kind, **facts}
        await self._store.commits.commit(lambda change: self._store.trail.append(change, record))


def names_of_changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return the names of files that are not the same, as many as have room in a record."""
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return fitting(changed, _ROOM_FOR_CHANGED)


def _because(rollback: Rollback | None) -> Record:
    if rollback is None:
        return {}
    return {"actor": dict(rollback.actor), "rollback": {"id": rollback.id, "reason": rollback.reason}}


def compared(row: SetRow) -> tuple[Mapping[str, str | None], Mapping[tuple[str, str], str]]:
    """Return what a set is compared by."""
    return row.files, {(kind, name): digest for kind, name, digest in row.outline}


def _named(snapshot: Snapshot, kept: Mapping[str, bytes]) -> Record:
    """Name every file with its digest; of very many, the set's own digest must do. Say how much of it is kept."""
    files = [{"name": name, "sha256": digest} for name, digest in sorted(snapshot.files.items())]
    return {
        "sha256": snapshot.digest,
        "count": len(files),
        "files": fitting(files, _ROOM_FOR_NAMES),
        "digests_only": len(set(snapshot.files.values()) - kept.keys()),
    }


def _kept(snapshot: Snapshot) -> dict[str, bytes]:
    """Return the contents to keep by their SHA-256: none that holds a private key, and none of a very large set."""
    if sum(map(len, snapshot.contents.values())) > _LARGEST_SET:
        return {}
    return {
        snapshot.files[name]: content for name, content in snapshot.contents.items() if not holds_private_key(content)
    }


def _agents(snapshot: Snapshot) -> list[dict[str, Any]]:
    shown = ("name", "workload", "owner", "team", "status")
    agents = sorted(snapshot.registry.agents.values(), key=lambda agent: agent.workload)
    return [{name: value for name, value in asdict(agent).items() if name in shown} for agent in agents]
