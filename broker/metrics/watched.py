"""What metrics are read from: the parts of a running broker."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from broker.control import Approvals, Budgets, KillSwitch
from broker.documents import Documents
from broker.evidence.heads import Heads
from broker.evidence.indexer import Indexer
from broker.identity import TrustStore
from broker.pipeline import ModelCalls, Pipeline, Reconciler, Recorder
from broker.store import Store
from broker.vault import Vault


@dataclass(frozen=True, slots=True)
class Watched:
    """Nothing is changed through it."""

    documents: Documents
    store: Store
    vault: Vault
    switch: KillSwitch
    approvals: Approvals
    recorder: Recorder
    pipeline: Pipeline
    models: ModelCalls
    reconciler: Reconciler
    budgets: Budgets
    heads: Heads
    indexer: Indexer
    trust: TrustStore
    issuer_keys: Callable[[str], int]
    """How many keys of an issuer, by its URL, are known."""
    refused: Mapping[tuple[str, str], int]
    """Refused authentications, by transport and code."""
    unfinished: Callable[[], int]
    """How many calls a dead process had left open."""
    trouble: Callable[[], Mapping[str, Any] | None]
    """What keeps the broker from serving calls now, or None."""
