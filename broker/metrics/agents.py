"""How many agents may call, of those that are registered."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client import Metric

from broker.errors import AgentBarred
from broker.metrics.families import gauges
from broker.metrics.watched import Watched

_STATUSES = ("active", "suspended", "retired", "expired")


def families(watched: Watched) -> Iterator[Metric]:
    """Yield it; of ten thousand agents that takes some milliseconds, so ask in a worker thread."""
    counts = Counter(_status(watched, workload) for workload in watched.documents.current.registry.agents)
    rows = (((status,), counts[status]) for status in _STATUSES)
    yield gauges(
        "aam_agents", "Registered agents, by what their document and operators say together.", ("status",), rows
    )


def _status(watched: Watched, workload: str) -> str:
    try:
        watched.switch.standing(workload)
    except AgentBarred as barred:
        return barred.code.removeprefix("agent_")
    return "active"
