"""What only the disk knows: how budgets stand, overruns, what is held, how large files are, how far the index is."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import Metric

from broker.control import Standing
from broker.documents import Snapshot
from broker.evidence.indexer import Lag
from broker.metrics.families import gauge, gauges
from broker.metrics.watched import Watched
from broker.policy import Cap

_MOST_BUDGETS = 1000
_NANO = 1e-9
_BUDGET = ("budget", "of", "name", "period")
Target = tuple[str, str]
"""A provider, by its connector, and a model."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What was read. `overruns` are those that nobody has acknowledged; every target of a route is among them."""

    standings: Sequence[Standing] = ()
    budgets: int = 0
    overruns: Mapping[Target, int] = field(default_factory=dict)
    holds: int = 0
    held: int = 0
    sizes: Mapping[str, int] = field(default_factory=dict)
    lag: Lag = field(default_factory=lambda: Lag(records=0, seconds=0.0))
    names: Mapping[str, str] = field(default_factory=dict)
    """The agents' names, by workload."""


def read(watched: Watched) -> Stored:
    """Read it, in a worker thread; raise `AuditUnavailable` if the store cannot be read."""
    snapshot, store = watched.documents.current, watched.store
    caps = sorted(snapshot.budgets, key=_agents_last)
    with store.reading() as connection:
        standings = watched.budgets.read(connection, caps[:_MOST_BUDGETS])
        overruns = Counter((one["provider"], one["model"]) for one in store.budgets.overruns(connection))
        live = store.budgets.live(connection)
    return Stored(
        standings,
        len(caps),
        dict.fromkeys(_targets(snapshot), 0) | overruns,
        len(live),
        sum(row.amount for row in live),
        {kind: _size(path) for kind, path in store.files.items()},
        watched.indexer.lag(),
        {agent.workload: agent.name for agent in snapshot.registry.agents.values()},
    )


def families(stored: Stored, at: float) -> Iterator[Metric]:
    """Yield the metrics of what was read at a moment."""
    rows = [(_labels(one, stored.names), one) for one in stored.standings]
    yield gauge(
        "aam_budgets",
        "Budgets that some agent is under; those of agents have metrics up to a thousand.",
        stored.budgets,
    )
    for name, said, amounts in (
        ("limit", "What a budget's window of now allows, with what it is raised by.", [one.limit for _, one in rows]),
        ("spent", "What is spent of it.", [one.spent for _, one in rows]),
        ("held", "What running calls hold of it.", [one.held for _, one in rows]),
    ):
        values = zip((labels for labels, _ in rows), (amount * _NANO for amount in amounts), strict=True)
        yield gauges(f"aam_budget_{name}_usd", f"{said} In US dollars.", _BUDGET, values)
    resets = ((labels, one.window.end) for labels, one in rows)
    yield gauges("aam_budget_resets_timestamp_seconds", "When a budget begins anew.", _BUDGET, resets)
    yield gauges(
        "aam_budget_overruns",
        "Calls that have cost more than was held for them and that nobody has acknowledged: budgets block the model.",
        ("provider", "model"),
        stored.overruns.items(),
    )
    yield gauge("aam_budget_holds", "Attempts at models whose cost is held and not settled yet.", stored.holds)
    yield gauge("aam_budget_holds_usd", "What they hold, in US dollars.", stored.held * _NANO)
    sizes = (((kind,), size) for kind, size in stored.sizes.items())
    yield gauges("aam_store_file_bytes", "How large the store's files are.", ("file",), sizes)
    yield gauge("aam_search_index_lag_records", "Records that the search index lacks.", stored.lag["records"])
    yield gauge("aam_search_index_lag_seconds", "For how long it has lacked any.", stored.lag["seconds"])
    yield gauge(
        "aam_store_read_timestamp_seconds",
        "When budgets, overruns, holds and sizes were read last; they stand still while the store cannot be read.",
        at,
    )


def _agents_last(cap: Cap) -> tuple[bool, str]:
    return cap.whose == "agent", cap.key


def _targets(snapshot: Snapshot) -> Iterator[Target]:
    return ((target.connector, target.model) for route in snapshot.routes.values() for target in route.targets)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _labels(one: Standing, names: Mapping[str, str]) -> tuple[str, str, str, str]:
    """Return a budget's labels. An owner is a person, and is told by the document alone."""
    cap = one.cap
    name = "" if cap.whose == "owner" else names.get(cap.name, cap.name)
    return cap.source, cap.whose, name, cap.period
