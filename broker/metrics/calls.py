"""What calls come to, counted where each of them ends. It must cost next to nothing: calls wait for it."""

from collections.abc import Iterator

from prometheus_client import Metric

from broker.catalog import CatalogTool
from broker.metrics.attempts import AttemptMeters
from broker.metrics.tables import OWN_SECONDS, Count, Table, Times, counts, times
from broker.pipeline import Ended

_NOTHING = ("", "", "")


class CallMeters:
    """Counts calls. What an agent has sent is no label: what it called has one only where its policies speak of it."""

    def __init__(self) -> None:
        self._calls, self._agents = Table(Count), Table(Count)
        self._decisions, self._retries = Table(Count), Table(Count)
        self._seconds, self._added = Table(Times), Table(lambda: Times(OWN_SECONDS))
        self._attempts = AttemptMeters()

    def ended(self, ended: Ended) -> None:
        """Count one call."""
        kind, agent, status, code = _kind(ended), ended.agent, ended.status, ended.code or ""
        called = ended.called
        connector, resource, action = _NOTHING if called is None else (called.connector, called.resource, called.action)
        self._calls.of((kind, connector, resource, action, status, code)).number += 1
        name, team = ("", "") if agent is None else (agent.name, agent.team)
        self._agents.of((name, team, kind, status, code)).number += 1
        self._seconds.of((kind, connector, status)).add(ended.seconds)
        if (added := ended.added) is not None:
            self._added.of((kind,)).add(added)
        if (decision := ended.decision) is not None:
            self._decisions.of((kind, decision.effect, decision.reason)).number += 1
        for one in ended.tries:
            self._retries.of((connector, one["code"])).number += 1
        if ended.attempts:
            self._attempts.ended(ended.attempts, team)

    def families(self) -> Iterator[Metric]:
        """Yield what was counted."""
        yield counts(
            "aam_calls",
            "Calls that have ended, by what was called and how they ended. What an agent may not know of has no name.",
            ("kind", "connector", "resource", "action", "status", "code"),
            self._calls,
        )
        yield counts(
            "aam_agent_calls",
            "Calls that have ended, by the agent that made them and how they ended.",
            ("agent", "team", "kind", "status", "code"),
            self._agents,
        )
        yield times(
            "aam_call_duration_seconds",
            "How long calls took, from their arrival until their end was on disk and the answer could go.",
            ("kind", "connector", "status"),
            self._seconds,
        )
        yield times(
            "aam_call_added_seconds",
            "How much of that was the broker's own: all but the service's or the model's answering.",
            ("kind",),
            self._added,
        )
        yield counts(
            "aam_decisions",
            "Decisions of policies, by effect and reason.",
            ("kind", "effect", "reason"),
            self._decisions,
        )
        yield counts(
            "aam_call_retries",
            "How often a read was made again because the service failed, by the code of that failure.",
            ("connector", "code"),
            self._retries,
        )
        yield from self._attempts.families()


def _kind(ended: Ended) -> str:
    """Return what of MCP was called, or that it was a model."""
    if ended.model:
        return "model"
    return ended.called.tool.serves if isinstance(ended.called, CatalogTool) else "tool"
