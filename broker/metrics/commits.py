"""How the store takes commits; told in its writer's own thread."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from broker.metrics.tables import OWN_SECONDS


class CommitMeters:
    """Times commits, and counts what is in them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "aam_store_commit_duration_seconds",
            "How long commits of the store took, those that failed included. Calls wait for two of them each.",
            registry=registry,
            buckets=OWN_SECONDS,
        )
        self._changes = Counter(
            "aam_store_changes",
            "Changes that were in these commits; many that wait at once share one.",
            registry=registry,
        )

    def ended(self, seconds: float, changes: int) -> None:
        """Count one commit, unless the writer only wants to see whether the disk takes anything again."""
        if not changes:
            return
        self._seconds.observe(seconds)
        self._changes.inc(changes)
