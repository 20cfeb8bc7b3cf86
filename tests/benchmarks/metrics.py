"""What metrics cost: counting one call, on the event loop, and a scrape of many series."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from prometheus_client import Metric

from broker.identity import Agent
from broker.metrics.calls import CallMeters
from broker.metrics.exposition import text
from broker.pipeline import Ended
from broker.policy import Decision

_AGENT = Agent("analyst", "spiffe://prod/agent/a", "jane@example.com", "finance", "production", "one")
_STEPS = {"decided": 500, "recorded": 1_500, "executed": 901_500, "finished": 902_000}
_USAGE = {"input": 900, "output": 200, "cache_read": 300, "cache_write": 0, "cache_write_1h": 0, "reasoning": 50}
_ATTEMPT = {
    "route": "small",
    "provider": "openai",
    "model": "gpt",
    "status": "answered",
    "ms": 900,
    "first_ms": 30,
    "cost": 1_200_000,
    "cost_source": "usage",
    "usage": _USAGE,
}


@dataclass(frozen=True)
class _Called:
    resource: str
    action: str = "read"
    connector: str = "notes"


def metrics(count: int = 20_000, series: int = 5_000) -> dict[str, float]:
    """Count so many calls of each kind, and write the text of so many series."""
    return {
        "tool_us": _counting(count, _ended("notes.notes")),
        "model_us": _counting(count, _ended("models.small", attempts=[_ATTEMPT])),
        "scrape_ms": _scrape(series),
    }


def _ended(resource: str, **changes: Any) -> dict[str, Any]:
    decision = Decision("permit", "rule_permits", (), ("read",), ("notes",))
    given = {"model": "attempts" in changes, "agent": _AGENT, "called": _Called(resource), "decision": decision}
    told = {"status": "released", "code": None, "attempts": (), "tries": (), "steps": _STEPS, "seconds": 0.903}
    return {**given, **told, **changes}


def _counting(count: int, given: dict[str, Any]) -> float:
    meters, values = CallMeters(), tuple(given.values())
    began = time.process_time()
    for _ in range(count):
        meters.ended(Ended(*values))
    return (time.process_time() - began) / count * 1e6


def _scrape(series: int) -> float:
    meters = CallMeters()
    for number in range(series):
        meters.ended(Ended(**_ended(f"notes.n{number}")))

    async def scrape() -> float:
        began = time.perf_counter()
        await asyncio.to_thread(lambda: text(list[Metric](meters.families()), ""))
        return (time.perf_counter() - began) * 1e3

    return asyncio.run(scrape())
