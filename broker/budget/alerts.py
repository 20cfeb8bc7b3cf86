"""What people must know of money: thresholds that are reached, and overruns. On record, and kept to be announced."""

from collections.abc import Mapping, Sequence
from typing import Any

from broker.audit import new_id, timestamp
from broker.budget.place import Place, budget_record, exact
from broker.identity import Agent
from broker.policy import Cap
from broker.store import Store, Transaction


def alert(store: Store, transaction: Transaction, place: Place, spent: int, agent: Agent) -> None:
    """Put on record, once for each window, that a threshold of it is reached."""
    cap = place.cap
    reached = [percent for percent in cap.alerts if spent and spent * 100 >= place.limit * percent]
    if not reached or not store.budgets.alert(transaction, cap.key, place.window.start, max(reached)):
        return
    said = {
        "budget": budget_record(cap, place.window, place.limit),
        "percent": max(reached),
        "spent": exact(spent),
        "agent": agent.name,
        "workload": agent.workload,
    }
    _event(store, transaction, "budget_alerted", said, [cap])


def tell_overrun(store: Store, transaction: Transaction, said: Mapping[str, Any], caps: Sequence[Cap]) -> None:
    """Put on record that a call has cost more than was held for it."""
    _event(store, transaction, "budget_overrun", said, caps)


def _event(store: Store, transaction: Transaction, kind: str, said: Mapping[str, Any], caps: Sequence[Cap]) -> None:
    record = {"id": new_id(), "time": timestamp(), "kind": kind, **said}
    store.trail.append(transaction, record)
    for webhook in sorted({cap.webhook for cap in caps if cap.webhook is not None}):
        store.budgets.announce(transaction, new_id(), webhook, record)
