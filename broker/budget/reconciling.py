"""What a call has really cost, known later: put in the place of the most that it may have cost, once.

    {"data": {"id": "gen-1a2b", "total_cost": 0.000625, "is_byok": false, "upstream_inference_cost": null}}

Only what OpenRouter says that it billed is believed, of the id that came with the attempt's own answer. What it says
must be an amount; whatever else it says, the call stays at its bound.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

from broker.audit import Record, new_id, timestamp
from broker.budget.alerts import tell_overrun
from broker.budget.money import Money
from broker.budget.place import exact
from broker.budget.usage import UsageUnusable, cost_of
from broker.policy import Cap
from broker.store import LookupRow, Store, Transaction

_LONGEST = 64 << 10  # bytes of an answer, which has some forty short members


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Of which target a cost has become known, and how much less it is than what counted before."""

    route: str
    provider: str
    model: str
    less: Money


def cost_billed(body: bytes, generation: str) -> Money:
    """Return what OpenRouter says that a generation was billed; raise `UsageUnusable` for what is no such statement."""
    if len(body) > _LONGEST:
        raise UsageUnusable("it says too much")
    try:
        said = json.loads(body, parse_float=Decimal, parse_constant=_no_number)
    except (ValueError, ArithmeticError, RecursionError):
        raise UsageUnusable("it is no JSON") from None
    data = said.get("data") if isinstance(said, dict) else None
    if not isinstance(data, dict) or data.get("id") != generation:
        raise UsageUnusable("it speaks of another generation, or of none")
    own_key = data.get("is_byok")
    if type(own_key) is not bool:
        raise UsageUnusable("it does not say whose key was billed")
    cost, upstream = data.get("total_cost"), data.get("upstream_inference_cost")
    if type(cost) not in (int, Decimal) or (own_key and type(upstream) not in (int, Decimal)):
        raise UsageUnusable("the cost is no number")
    details = {"upstream_inference_cost": upstream}
    found = cost_of({"cost": cost, "is_byok": own_key, "cost_details": details}, with_upstream=True)
    assert found is not None  # noqa: S101 - there is a cost
    return found


def _no_number(_word: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no numbers of JSON")


def reconcile(
    store: Store,
    transaction: Transaction,
    lookup: LookupRow,
    cost: Money,
    caps: Sequence[Cap],
    credential: Record | None,
) -> Reconciled | None:
    """Put a cost in the place of the bound that was spent, in the windows where it was; None if it is not there.

    More than the bound is an overrun, as wherever a provider bills more: it counts, and its target rests.
    """
    found = store.budgets.bounded(transaction, lookup.hold)
    if not store.lookups.end(transaction, lookup.hold) or found is None:
        return None
    row, bound = found
    money = [(key, start) for key, start, _ in row.windows if key.startswith("nano_usd:")]
    overrun = max(cost - row.amount, 0) if money else 0
    if not store.budgets.correct(transaction, row.id, cost, overrun):
        return None
    for key, start in money:
        store.budgets.give(transaction, key, start, 0, cost - bound)
    said: Mapping[str, Any] = {
        "hold": row.id,
        "asked_by_call": row.call_id,
        "target": {"route": row.route, "provider": row.provider, "model": row.model},
        "held": row.amount,
        "cost": exact(cost),
        "agent": row.agent,
        "workload": row.workload,
    }
    record = {"id": new_id(), "time": timestamp(), "kind": "budget_reconciled", **said}
    record |= {"counted_before": exact(bound), "generation": lookup.generation, "credential": credential}
    store.trail.append(transaction, record)
    if overrun:
        tell_overrun(store, transaction, {**said, "overrun": exact(overrun)}, caps)
    return Reconciled(row.route, row.provider, row.model, bound - cost)
